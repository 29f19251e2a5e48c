"""Transforms: their inverses, Jacobians against those of autograd, caches; and divergences that PyTorch lacks."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest

import flambeau as fb
from flambeau import distributions as D
from flambeau.distributions import biject_to, constraints, transform_to


def t(*values: float) -> fb.Tensor:
    return fb.tensor(values, dtype=fb.float64)


X = t(0.3, -0.8, 1.1, 0.05, -0.4, 0.9)
BIJECTIONS: dict[str, Callable[[], D.Transform]] = {
    "exp": D.ExpTransform, "sigmoid": D.SigmoidTransform, "softplus": D.SoftplusTransform, "tanh": D.TanhTransform,
    "affine": lambda: D.AffineTransform(t(1.0), -t(2.5)),
    "affine event": lambda: D.AffineTransform(0.5, 3.0, event_dim=1),
    "power": lambda: D.ComposeTransform([D.ExpTransform(), D.PowerTransform(t(-1.5))]),
    "stick breaking": D.StickBreakingTransform, "correlations": D.transforms.CorrCholeskyTransform,
    "independent": lambda: D.IndependentTransform(D.TanhTransform(), 1),
    "reshape": lambda: D.ReshapeTransform((6,), (2, 3)),
    "cat": lambda: D.CatTransform([D.ExpTransform(), D.TanhTransform()], dim=-1, lengths=[2, 4]),
    "stack": lambda: D.StackTransform([D.ExpTransform(), D.TanhTransform(), D.AffineTransform(0.0, 2.0)] * 2, dim=-1),
    "cdf": lambda: D.CumulativeDistributionTransform(D.Normal(t(0.5), t(2.0))),
    "composed": lambda: D.ComposeTransform([D.AffineTransform(0.5, 2.0), D.StickBreakingTransform()]),
    "matrix": lambda: D.ComposeTransform(
        [D.IndependentTransform(D.ExpTransform(), 1), D.ReshapeTransform((6,), (3, 2))]),
}  # fmt: skip


def jacobian(transform: D.Transform, x: fb.Tensor) -> fb.Tensor:
    """By autograd, the rows of those coordinates that say all of y."""
    rows = []
    for i in range(x.numel()):
        leaf = x.clone().requires_grad_()
        y = coordinates(transform, transform(leaf))
        rows.append(fb.autograd.grad(y[i], leaf)[0])
    return fb.stack(rows)


def coordinates(transform: D.Transform, y: fb.Tensor) -> fb.Tensor:
    if transform.codomain is constraints.corr_cholesky:
        return y[fb.ones_like(y).tril(-1).bool()]
    return y[..., :-1] if y.shape[-1] == X.numel() + 1 else y.reshape((-1,))


@pytest.mark.parametrize("name", BIJECTIONS)
def test_bijections(name: str) -> None:
    transform = BIJECTIONS[name]()
    y = transform(X)
    assert transform.bijective and bool(transform.codomain.check(y).all())
    assert (transform.inv(y) - X).abs().max() < 1e-9
    assert tuple(transform.forward_shape(X.shape)) == tuple(y.shape)
    assert tuple(transform.inverse_shape(y.shape)) == tuple(X.shape)
    found = transform.log_abs_det_jacobian(X, y)
    wanted = fb.linalg.slogdet(jacobian(transform, X))[1]
    assert (found.sum() - wanted).abs() < 1e-8
    assert (transform.inv.log_abs_det_jacobian(y, X) + found).abs().max() < 1e-12
    assert transform.inv.inv == transform and transform.inv == transform.inv
    if name != "stack":  # whose axis PyTorch counts to the event, but does not sum over
        assert found.ndim == X.ndim - transform.domain.event_dim


def test_jacobians_of_transforms_far_out() -> None:
    x = t(-60.0, 60.0, 300.0)
    for transform in (D.TanhTransform(), D.SigmoidTransform(), D.SoftplusTransform()):
        assert bool(transform.log_abs_det_jacobian(x, transform(x)).isfinite().all())


@pytest.mark.parametrize("shape", [(3, 3), (2, 4, 4)])
def test_matrices_from_the_reals(shape: tuple[int, ...]) -> None:
    fb.manual_seed(0)
    x = fb.randn(shape, dtype=fb.float64)
    for constraint in (constraints.lower_cholesky, constraints.positive_definite):
        y = transform_to(constraint)(x)
        assert bool(constraint.check(y).all())
        assert (transform_to(constraint)(transform_to(constraint).inv(y)) - y).abs().max() < 1e-9
    v = fb.randn((2, 6), dtype=fb.float64)
    assert bool(constraints.corr_cholesky.check(biject_to(constraints.corr_cholesky)(v)).all())


def test_what_was_computed_is_kept() -> None:
    for transform in (D.ExpTransform(cache_size=1), D.ExpTransform().with_cache(1), D.ExpTransform().inv.with_cache()):
        y = transform(X.abs())
        assert transform.inv(y) is transform.inv(y) and transform(transform.inv(y)) is y
    plain = D.ExpTransform()
    assert plain.inv(plain(X)) is not X and plain.with_cache(0) is plain
    whole = D.ComposeTransform([D.ExpTransform(), D.PowerTransform(2.0)], cache_size=1)
    assert whole.inv(whole(X)) is X
    twin = copy.deepcopy(whole)
    assert twin == whole or (twin(X) - whole(X)).abs().max() == 0


def test_densities_of_transformed_numbers() -> None:
    base, down = D.Normal(t(0.0), 1.0), D.AffineTransform(1.0, -2.0)
    d = D.TransformedDistribution(base, [down])
    x = t(0.3, 2.0)
    assert (d.log_prob(x) - D.Normal(t(1.0), 2.0).log_prob(x)).abs().max() < 1e-12
    assert (d.cdf(x) - D.Normal(t(1.0), 2.0).cdf(x)).abs().max() < 1e-12
    assert (d.icdf(d.cdf(x)) - x).abs().max() < 1e-10
    wide = D.TransformedDistribution(D.Normal(t(0.0), 1.0), D.AffineTransform(fb.zeros(3, dtype=fb.float64), 1.0))
    assert wide.batch_shape == (3,) and wide.rsample((2,)).shape == (2, 3)
    event = D.TransformedDistribution(D.Normal(fb.zeros(4, 2), 1.0), D.StickBreakingTransform())
    assert (event.batch_shape, event.event_shape) == ((4,), (3,))
    assert event.log_prob(event.sample((5,))).shape == (5, 4)


# -- divergences and defaults ------------------------------------------------------------------------
def test_divergence_of_wishart_by_samples() -> None:
    fb.manual_seed(1)
    one = fb.tensor([[2.0, 0.3], [0.3, 1.0]], dtype=fb.float64)
    p, q = D.Wishart(t(4.0, 5.0), one), D.Wishart(t(5.0, 3.5), fb.eye(2, dtype=fb.float64))
    x = p.sample((8000,))
    assert (D.kl_divergence(p, q) - (p.log_prob(x) - q.log_prob(x)).mean(0)).abs().max() < 0.08


def test_divergences_by_samples() -> None:
    fb.manual_seed(2)
    pairs: list[tuple[Any, Any]] = [
        (D.Gamma(t(2.0), 1.5), D.Gumbel(t(0.5), 2.0)), (D.Pareto(t(1.0), 4.0), D.Gamma(t(2.0), 1.0)),
        (D.Uniform(t(0.2), 0.7), D.Beta(t(0.5), 3.0)), (D.Normal(t(0.3), 1.2), D.Laplace(t(-0.5), 0.7)),
        (D.Poisson(t(0.0)), D.Poisson(t(1.0))),
    ]  # fmt: skip
    for p, q in pairs:
        x = p.sample((10000,))
        assert (D.kl_divergence(p, q) - (p.log_prob(x) - q.log_prob(x)).mean(0)).abs() < 0.05


def test_only_classes_are_registered() -> None:
    one: Any = D.Normal(0.0, 1.0)
    with pytest.raises(TypeError, match="type_q to be a class"):
        D.register_kl(D.Normal, one)


def test_an_ambiguous_divergence_warns() -> None:
    class Left(D.Normal):
        pass

    class Right(D.Normal):
        pass

    D.register_kl(Left, D.Normal)(lambda p, q: fb.zeros(()))
    D.register_kl(D.Normal, Right)(lambda p, q: fb.ones(()))
    with pytest.warns(RuntimeWarning, match="Ambiguous"):
        D.kl_divergence(Left(0.0, 1.0), Right(0.0, 1.0))


def test_whether_arguments_are_checked() -> None:
    before = D.Distribution._validate_args
    try:
        D.Distribution.set_default_validate_args(False)
        D.Normal(0.0, -1.0)
        D.Distribution.set_default_validate_args(True)
        with pytest.raises(ValueError, match=r"scale .* to satisfy the constraint GreaterThan"):
            D.Normal(0.0, -1.0)
    finally:
        D.Distribution.set_default_validate_args(before)


def test_a_family_of_ones_own() -> None:
    class Bare(D.Distribution):
        def log_prob(self, value: fb.Tensor) -> fb.Tensor:
            return self._checked(value)

    with pytest.warns(UserWarning, match="arg_constraints"):
        bare = Bare(validate_args=True)
    with pytest.warns(UserWarning, match="support"):
        bare.log_prob(t(1.0)[0])
    with pytest.raises(NotImplementedError):
        bare.sample()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert repr(Bare()) == "Bare()"
    assert float(D.Normal(0.0, 1.0).perplexity()) == pytest.approx(4.1327, 1e-4)
    with pytest.warns(FutureWarning):
        assert D.Normal(0.0, 1.0).sample_n(3).shape == (3,)
