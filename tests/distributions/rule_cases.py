"""Constraints, the registry of transforms, arguments that are refused, and helpers, in the torch API."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tests.recorded import Case, collected

CASES: dict[str, Case] = {}
case = collected(CASES)

CONSTRAINTS: dict[str, Callable[[Any], Any]] = {
    "boolean": lambda c: c.boolean, "real": lambda c: c.real, "positive": lambda c: c.positive,
    "nonnegative": lambda c: c.nonnegative, "unit_interval": lambda c: c.unit_interval,
    "positive_integer": lambda c: c.positive_integer, "nonnegative_integer": lambda c: c.nonnegative_integer,
    "integer_interval": lambda c: c.integer_interval(-1, 1), "greater_than": lambda c: c.greater_than(0.5),
    "greater_than_eq": lambda c: c.greater_than_eq(0.5), "less_than": lambda c: c.less_than(0.5),
    "interval": lambda c: c.interval(-1, 0.5), "half_open_interval": lambda c: c.half_open_interval(-1, 0.5),
    "real_vector": lambda c: c.real_vector, "simplex": lambda c: c.simplex, "one_hot": lambda c: c.one_hot,
    "multinomial": lambda c: c.multinomial(2), "lower_triangular": lambda c: c.lower_triangular,
    "lower_cholesky": lambda c: c.lower_cholesky, "corr_cholesky": lambda c: c.corr_cholesky,
    "square": lambda c: c.square, "symmetric": lambda c: c.symmetric,
    "positive_definite": lambda c: c.positive_definite,
    "positive_semidefinite": lambda c: c.positive_semidefinite, "independent": lambda c: c.independent(c.positive, 1),
    "cat": lambda c: c.cat([c.positive, c.real], -1, [1, 2]), "stack": lambda c: c.stack([c.positive] * 3, -1),
    "mixture": lambda c: c.MixtureSameFamilyConstraint(c.unit_interval), "dependent": lambda c: c.dependent,
}  # fmt: skip
VALUES = (
    [[[1.0, 0.0, 0.0], [0.5, 0.75, 0.0], [0.5, 0.0, 0.5]], [[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 1.0]]],
    [[[0.0, 0.5, 0.5], [0.0, 1.0, 0.0], [float("nan"), 1.0, -1.0]], [[1.0, 2.0, 3.0]] * 3],
)  # fmt: skip


def checked(make: Callable[[Any], Any], T: Any) -> Any:
    constraint = make(T.distributions.constraints)
    facts = [repr(constraint)]
    for fact in ("event_dim", "is_discrete"):
        try:
            facts.append(getattr(constraint, fact))
        except NotImplementedError:
            facts.append("unknown")
    return [facts, *(constraint.check(T.tensor(v)) for v in VALUES)]


def reached(name: str, make: Callable[[Any], Any], T: Any) -> Any:
    """Where a registry's transform leads."""
    transform = getattr(T.distributions, name)(make(T.distributions.constraints))
    x = T.tensor([[0.3, -0.5, 1.5], [1.0, 0.0, -2.0], [0.7, 0.1, 0.2]], dtype=T.float64)
    y = transform(x)
    back = transform.inv(y)
    found = [
        transform.bijective,
        y,
        back,
        list(transform.forward_shape(x.shape)),
        list(transform.inverse_shape(y.shape)),
    ]
    return [*found, transform.log_abs_det_jacobian(x, y)] if transform.bijective else found


for _name, _make in CONSTRAINTS.items():
    CASES[f"constraint {_name}"] = partial(checked, _make)
    for _registry in ("biject_to", "transform_to"):
        CASES[f"{_registry} {_name}"] = partial(reached, _registry, _make)

REFUSED: dict[str, Callable[[Any, Any], Any]] = {
    "negative scale": lambda T, D: D.Normal(0.0, T.tensor([1.0, -1.0])),
    "nan": lambda T, D: D.Normal(T.tensor(float("nan")), 1.0),
    "unchecked": lambda T, D: D.Normal(0.0, T.tensor([1.0, -1.0]), validate_args=False).scale,
    "both": lambda T, D: D.Bernoulli(probs=T.tensor(0.5), logits=T.tensor(0.5)),
    "neither": lambda T, D: D.Categorical(),
    "probability": lambda T, D: D.Bernoulli(T.tensor(1.5)),
    "no axis": lambda T, D: D.Categorical(T.tensor(0.5)),
    "no failure": lambda T, D: D.Geometric(T.tensor(0.0)),
    "no interval": lambda T, D: D.Uniform(1.0, 1.0),
    "counts": lambda T, D: D.Multinomial(T.tensor([1, 2]), T.ones(2)),
    "concentration": lambda T, D: D.Dirichlet(T.tensor(1.0)),
    "two matrices": lambda T, D: D.MultivariateNormal(T.zeros(2), T.eye(2), T.eye(2)),
    "no matrix": lambda T, D: D.MultivariateNormal(T.zeros(2)),
    "indefinite": lambda T, D: D.MultivariateNormal(T.zeros(2), -T.eye(2)),
    "factor shape": lambda T, D: D.LowRankMultivariateNormal(T.zeros(2), T.ones(3, 1), T.ones(2)),
    "small df": lambda T, D: D.Wishart(T.tensor(0.5), T.eye(2)),
    "small dim": lambda T, D: D.LKJCholesky(1),
    "too many axes": lambda T, D: D.Independent(D.Normal(0.0, 1.0), 1),
    "no transform": lambda T, D: D.TransformedDistribution(D.Normal(0.0, 1.0), [3]),
    "small event": lambda T, D: D.TransformedDistribution(D.Normal(0.0, 1.0), D.StickBreakingTransform()),
    "weights": lambda T, D: D.MixtureSameFamily(D.Categorical(T.ones(3)), D.Normal(T.zeros(2), 1.0)),
    "text": lambda T, D: D.Normal("a", 1.0),
    "cache": lambda T, D: D.ExpTransform(cache_size=2),
    "reshape": lambda T, D: D.ReshapeTransform((2,), (3,)),
    "value": lambda T, D: D.Exponential(1.0).log_prob(T.tensor(-1.0)),
    "value shape": lambda T, D: D.Normal(T.zeros(3), 1.0).log_prob(T.zeros(2)),
    "event shape": lambda T, D: D.Dirichlet(T.ones(3)).log_prob(T.ones(2)),
    "number": lambda T, D: D.Normal(0.0, 1.0).log_prob(0.5),
    "no mean": lambda T, D: D.LogisticNormal(T.zeros(2), T.ones(2)).mean,
    "no rsample": lambda T, D: D.Poisson(1.0).rsample(),
    "no values": lambda T, D: D.Poisson(1.0).enumerate_support(),
    "no cdf": lambda T, D: D.Beta(1.0, 1.0).cdf(T.tensor(0.5)),
    "product of values": lambda T, D: D.Independent(D.Bernoulli(T.ones(2)), 1).enumerate_support(),
    "other counts": lambda T, D: D.Binomial(T.tensor([2, 3]), T.tensor(0.5)).enumerate_support(),
    "settings": lambda T, D: D.Distribution.set_default_validate_args(3),
    "registry": lambda T, D: D.biject_to.register(int, lambda c: None),
    "no bijection": lambda T, D: D.biject_to(D.constraints.lower_cholesky),
    "no expand": lambda T, D: type("Mine", (D.Normal,), {"__init__": lambda self: D.Normal.__init__(self, 0.0, 1.0)})(
        ).expand((2,)),
    "event dim": lambda T, D: D.transforms.CorrCholeskyTransform().event_dim,
    "no sign": lambda T, D: D.AbsTransform().sign,
    "triangle": lambda T, D: D.utils.vec_to_tril_matrix(T.ones(4)),
    "mixed": lambda T, D: D.utils.broadcast_all(T.ones(2), "x"),
}  # fmt: skip
for _name, _refused in REFUSED.items():
    CASES[f"refused {_name}"] = lambda T, _refused=_refused: _refused(T, T.distributions)


@case
def texts(T: Any) -> Any:
    D = T.distributions
    shown = [
        D.Normal(T.zeros(2), T.ones(2)), D.Independent(D.Normal(T.zeros(2), T.ones(2)), 1), D.ExpTransform().inv,
        D.ComposeTransform([D.ExpTransform(), D.TanhTransform()]), D.IndependentTransform(D.ExpTransform(), 1),
        D.Categorical(T.ones(3)), D.constraints.interval(0, 1),
    ]  # fmt: skip
    return [repr(d).replace("flambeau.", "torch.") for d in shown]


@case
def vectors_and_matrices(T: Any) -> Any:
    u, x = T.distributions.utils, T.arange(9.0).reshape(3, 3)
    vectors = [u.tril_matrix_to_vec(x, d) for d in (-2, -1, 0, 1, 2)]
    return [*vectors, *(u.vec_to_tril_matrix(v, d) for v, d in zip(vectors, (-2, -1, 0, 1, 2), strict=True))]


@case
def transforms_that_are_equal(T: Any) -> Any:
    D = T.distributions
    one = [D.ExpTransform(), D.AffineTransform(0, 1), D.AffineTransform(0, 2), D.PowerTransform(T.tensor(2.0)),
           D.ComposeTransform([D.ExpTransform()]), D.ExpTransform().inv, D.SigmoidTransform(),
           D.AbsTransform()]  # fmt: skip
    other = [D.ExpTransform(), D.AffineTransform(T.tensor(0.0), 1), D.PowerTransform(T.tensor(2.0)),
             D.ComposeTransform([D.ExpTransform()]), D.ExpTransform().inv]  # fmt: skip
    return [[x == y for y in other] for x in one]


@case
def signs(T: Any) -> Any:
    D = T.distributions
    down = D.ComposeTransform([D.ExpTransform(), D.AffineTransform(0.0, -2.0)])
    found = [D.ExpTransform().sign, D.AffineTransform(0.0, T.tensor([1.0, -1.0])).sign, down.sign, down.inv.sign]
    d = D.TransformedDistribution(D.Normal(0.0, 1.0), D.AffineTransform(1.0, T.tensor([2.0, -2.0])))
    return [*map(float, found[:1]), found[1], *map(float, found[2:]), d.cdf(T.tensor([0.5, 0.5], dtype=T.float64)),
            d.icdf(T.tensor([0.3, 0.3], dtype=T.float64))]  # fmt: skip


@case
def domains(T: Any) -> Any:
    D = T.distributions
    whole = D.ComposeTransform([D.ExpTransform(), D.StickBreakingTransform(), D.ReshapeTransform((3,), (3, 1))])
    return [repr(whole.domain), repr(whole.codomain), whole.domain.event_dim, whole.codomain.event_dim,
            list(whole.forward_shape((5, 2))), list(whole.inverse_shape((5, 3, 1)))]  # fmt: skip


@case
def entropies_of_exponential_families(T: Any) -> Any:
    """By Bregman's formula, as by their own."""
    D, x = T.distributions, T.tensor([0.3, 0.6], dtype=T.float64)
    given = [D.Bernoulli(x), D.Dirichlet(x), D.Exponential(x), D.Gamma(x, x), D.Normal(x, x), D.ContinuousBernoulli(x)]
    return [D.ExponentialFamily.entropy(d).detach() for d in given]
