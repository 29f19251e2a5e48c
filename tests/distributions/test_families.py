"""Densities and moments against scipy, samples against distribution functions, gradients against differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import integrate, special, stats

import flambeau as fb
from flambeau import distributions as D
from flambeau.gradcheck import gradcheck

Make = Callable[[], Any]


def t(*values: float) -> fb.Tensor:
    return fb.tensor(values, dtype=fb.float64)


A, B = t(0.4, 1.0, 3.5), t(0.7, 1.3, 2.0)
a, b = A.numpy(), B.numpy()
CONTINUOUS: dict[str, tuple[Make, Any]] = {
    "Beta": (lambda: D.Beta(A, B), stats.beta(a, b)),
    "Cauchy": (lambda: D.Cauchy(A, B), stats.cauchy(a, b)),
    "Chi2": (lambda: D.Chi2(A), stats.chi2(a)),
    "Exponential": (lambda: D.Exponential(B), stats.expon(scale=1 / b)),
    "FisherSnedecor": (lambda: D.FisherSnedecor(A + 1, B + 9), stats.f(a + 1, b + 9)),
    "Gamma": (lambda: D.Gamma(A, B), stats.gamma(a, scale=1 / b)),
    "GeneralizedPareto": (lambda: D.GeneralizedPareto(A, B, t(-0.5, 0.0, 0.3)),
                          stats.genpareto([-0.5, 0.0, 0.3], loc=a, scale=b)),
    "Gumbel": (lambda: D.Gumbel(A, B), stats.gumbel_r(a, b)),
    "HalfCauchy": (lambda: D.HalfCauchy(B), stats.halfcauchy(scale=b)),
    "HalfNormal": (lambda: D.HalfNormal(B), stats.halfnorm(scale=b)),
    "InverseGamma": (lambda: D.InverseGamma(A + 2, B), stats.invgamma(a + 2, scale=b)),
    "Laplace": (lambda: D.Laplace(A, B), stats.laplace(a, b)),
    "LogNormal": (lambda: D.LogNormal(A, B / 4), stats.lognorm(b / 4, scale=np.exp(a))),
    "Normal": (lambda: D.Normal(A, B), stats.norm(a, b)),
    "Pareto": (lambda: D.Pareto(B, A + 2), stats.pareto(a + 2, scale=b)),
    "StudentT": (lambda: D.StudentT(A + 2, A, B), stats.t(a + 2, a, b)),
    "Uniform": (lambda: D.Uniform(A, A + B), stats.uniform(a, b)),
    "Weibull": (lambda: D.Weibull(B, A + 1), stats.weibull_min(a + 1, scale=b)),
}  # fmt: skip
DISCRETE: dict[str, tuple[Make, Any]] = {
    "Bernoulli": (lambda: D.Bernoulli(t(0.1, 0.5, 0.8)), stats.bernoulli([0.1, 0.5, 0.8])),
    "Binomial": (lambda: D.Binomial(t(5, 40, 300), t(0.1, 0.5, 0.8)), stats.binom([5, 40, 300], [0.1, 0.5, 0.8])),
    "Geometric": (lambda: D.Geometric(t(0.1, 0.5, 0.8)), stats.geom([0.1, 0.5, 0.8], loc=-1)),
    "NegativeBinomial": (lambda: D.NegativeBinomial(A * 4, t(0.1, 0.5, 0.8)),
                         stats.nbinom(a * 4, [0.9, 0.5, 0.2])),
    "Poisson": (lambda: D.Poisson(A * 9), stats.poisson(a * 9)),
}  # fmt: skip


def same(found: fb.Tensor, wanted: Any, rtol: float = 1e-9, atol: float = 1e-11) -> None:
    np.testing.assert_allclose(found.detach().numpy(), wanted, rtol=rtol, atol=atol)


def test_logarithms_of_distribution_functions_as_in_scipy() -> None:
    shapes = np.array([-0.5, 0.0, 1e-3, 0.3, 2.0])
    reference = stats.genpareto(shapes, loc=1.5, scale=2.0)
    x = reference.ppf(np.array([[1e-9], [0.05], [0.5], [1 - 1e-6]]))
    d = D.GeneralizedPareto(1.5, 2.0, t(*shapes))
    same(d.log_cdf(fb.tensor(x)), reference.logcdf(x), 1e-7)
    same(d.log_survival_function(fb.tensor(x)), reference.logsf(x), 1e-8, 1e-9)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_continuous_families_as_in_scipy(name: str) -> None:
    make, reference = CONTINUOUS[name]
    d, u = make(), np.array([[0.05] * 3, [0.5] * 3, [0.9] * 3])
    x = reference.ppf(u)
    same(d.log_prob(fb.tensor(x)), reference.logpdf(x), 1e-8)
    if name not in ("Beta", "FisherSnedecor", "StudentT"):  # whose distribution functions PyTorch has not either
        same(d.cdf(fb.tensor(x)), u, 1e-8)
    if name not in ("Beta", "Chi2", "FisherSnedecor", "Gamma", "InverseGamma", "StudentT"):
        same(d.icdf(fb.tensor(u)), x, 1e-8)
    if name not in ("Cauchy", "HalfCauchy"):
        same(d.mean, reference.mean(), 1e-8)
        same(d.variance, reference.var(), 1e-7)
    if name != "FisherSnedecor":
        same(d.entropy(), reference.entropy(), 1e-7)


@pytest.mark.parametrize("name", DISCRETE)
def test_discrete_families_as_in_scipy(name: str) -> None:
    make, reference = DISCRETE[name]
    d, k = make(), np.array([[0.0] * 3, [1.0] * 3])
    same(d.log_prob(fb.tensor(k)), reference.logpmf(k))
    same(d.mean, reference.mean())
    same(d.variance, reference.var())


@pytest.mark.parametrize("name", CONTINUOUS)
def test_samples_follow_the_distribution_function(name: str) -> None:
    make, reference = CONTINUOUS[name]
    fb.manual_seed(5)
    samples = make().sample((4000,)).numpy()
    u = np.sort(reference.cdf(samples), axis=0)
    steps = (np.arange(4000)[:, None] + 0.5) / 4000
    assert np.abs(u - steps).max() < 1.95 / 4000**0.5  # Kolmogorov and Smirnov, at 0.1 %


@pytest.mark.parametrize("name", DISCRETE)
def test_counts_follow_the_probabilities(name: str) -> None:
    make, reference = DISCRETE[name]
    fb.manual_seed(6)
    n, top = 3000, 320
    found = make().sample((n,)).numpy()
    wanted = reference.pmf(np.arange(top)[:, None]) * n
    for column in range(3):
        counts = np.bincount(found[:, column].astype(int), minlength=top)[:top]
        often = wanted[:, column] > 5
        pairs = [*zip(counts[often], wanted[often, column], strict=True)]
        pairs.append((n - counts[often].sum(), n - wanted[often, column].sum()))
        surprise = sum((c - w) ** 2 / max(w, 1) for c, w in pairs)
        assert surprise < stats.chi2(len(pairs) - 1 or 1).isf(1e-3)


def test_generalized_pareto_of_no_shape_is_exponential() -> None:
    x = t(0.5, 1.0)
    for c in (0.0, 1e-300):
        d = D.GeneralizedPareto(0.0, t(2.0, 3.0), c)
        same(d.log_prob(x), D.Exponential(1 / t(2.0, 3.0)).log_prob(x))
        same(d.icdf(d.cdf(x)), x.numpy())
    assert bool(D.GeneralizedPareto(t(0.0), 1.0, t(1.5)).mean.isnan())


def test_modes_of_kumaraswamy_are_where_the_density_is_largest() -> None:
    d = D.Kumaraswamy(t(2.0, 3.0), t(1.5, 4.0))
    grid = fb.linspace(0.0005, 0.9995, 1000, dtype=fb.float64).unsqueeze(-1)
    best = grid[d.log_prob(grid).argmax(0), 0]
    assert (d.mode - best).abs().max() < 1e-3
    assert bool(D.Kumaraswamy(t(0.5), t(2.0)).mode.isnan().all())


def test_student_and_f_without_moments() -> None:
    assert str(D.StudentT(t(0.5, 1.5, 3.0)).variance.tolist()) == "[nan, inf, 3.0]"
    assert str(D.StudentT(t(0.5, 1.5)).mean.tolist()) == "[nan, 0.0]"
    assert bool(D.FisherSnedecor(t(1.0), t(1.5)).mean.isnan())


def test_von_mises_and_continuous_bernoulli_integrate_to_one() -> None:
    angles = fb.linspace(-np.pi, np.pi, 2001, dtype=fb.float64).unsqueeze(-1)
    d = D.VonMises(t(0.3, 1.0), t(0.5, 700.0))
    np.testing.assert_allclose(
        integrate.simpson(d.log_prob(angles).exp().numpy(), angles[:, 0].numpy(), axis=0), 1, 1e-9
    )
    ratio = special.i1e([0.5, 700.0]) / special.i0e([0.5, 700.0])
    same(d.variance, 1 - ratio)
    c = D.ContinuousBernoulli(t(0.2, 0.4999, 0.5, 0.50101, 0.9))
    x = fb.linspace(0, 1, 1001, dtype=fb.float64).unsqueeze(-1)
    density, points = c.log_prob(x).exp().numpy(), x[:, 0].numpy()
    np.testing.assert_allclose(integrate.simpson(density, points, axis=0), 1, 1e-9)
    mean = integrate.simpson(density * x.numpy(), points, axis=0)
    same(c.mean, mean, 1e-9)
    same(c.variance, integrate.simpson(density * (x.numpy() - mean) ** 2, points, axis=0), 1e-6)


def test_vectors_as_in_scipy() -> None:
    fb.manual_seed(1)
    x = fb.rand(3, 3, dtype=fb.float64)
    matrix = x @ x.T + fb.eye(3, dtype=fb.float64)
    loc, value = fb.rand(3, dtype=fb.float64), fb.rand(5, 3, dtype=fb.float64)
    reference = stats.multivariate_normal(loc.numpy(), matrix.numpy())
    for d in (
        D.MultivariateNormal(loc, matrix), D.MultivariateNormal(loc, precision_matrix=fb.linalg.inv(matrix)),
        D.LowRankMultivariateNormal(loc, x, fb.ones(3, dtype=fb.float64)),
    ):  # fmt: skip
        same(d.log_prob(value), reference.logpdf(value.numpy()))
        same(d.entropy(), reference.entropy())
        same(d.covariance_matrix, matrix.numpy())
        same(d.precision_matrix @ d.scale_tril @ d.scale_tril.mT, np.eye(3), atol=1e-10)
        draws = d.sample((6000,))
        assert (draws.mean(0) - loc).abs().max() < 0.1
        assert (draws.T.cov() - matrix).abs().max() < 0.25
    p = t(0.2, 0.3, 0.5)
    same(D.Dirichlet(A).log_prob(p), stats.dirichlet(a).logpdf(p.numpy()))
    same(D.Dirichlet(A).entropy(), stats.dirichlet(a).entropy(), 1e-8)
    counts = t(1, 2, 3)
    same(D.Multinomial(6, p).log_prob(counts), stats.multinomial(6, p.numpy()).logpmf([1, 2, 3]))
    same(D.Multinomial(6, p).entropy(), stats.multinomial(6, p.numpy()).entropy())
    w = D.Wishart(t(4.5), matrix)
    same(w.log_prob(matrix + 1), stats.wishart(4.5, matrix.numpy()).logpdf(matrix.numpy() + 1))
    same(w.entropy(), stats.wishart(4.5, matrix.numpy()).entropy(), 1e-8)
    draws = w.sample((4000,))
    assert ((draws.mean(0) - w.mean) / w.stddev).abs().max() < 0.06


def test_correlations_of_lkj_follow_their_beta_distribution() -> None:
    """Entry (i, j) of a matrix of concentration c and n rows is 2 beta - 1, both parameters c + n / 2 - 1."""
    fb.manual_seed(2)
    factors = D.LKJCholesky(4, t(1.5)).sample((4000,))[:, 0]
    matrices = (factors @ factors.mT).numpy()
    for i, j in ((1, 0), (2, 1), (3, 0), (3, 2)):
        assert stats.kstest((matrices[:, i, j] + 1) / 2, stats.beta(2.5, 2.5).cdf).pvalue > 1e-3


# -- gradients of samples ----------------------------------------------------------------------------
def test_gamma_numbers_move_as_their_distribution_function_says() -> None:
    alpha = np.repeat([0.01, 0.3, 1.0, 2.5, 40.0, 1000.0], 3)
    u = np.tile([0.02, 0.5, 0.97], 6)
    z = stats.gamma(alpha).ppf(u)
    step = 1e-4 * alpha
    wanted = (stats.gamma(alpha + step).ppf(u) - stats.gamma(alpha - step).ppf(u)) / (2 * step)
    same(fb._standard_gamma_grad(fb.tensor(alpha), fb.tensor(z)), wanted, 2e-6)
    same(fb._standard_gamma_grad(fb.tensor(alpha).float(), fb.tensor(z).float()), wanted, 1e-3)


def test_beta_numbers_move_as_their_distribution_function_says() -> None:
    p, q = (g.reshape(-1) for g in np.meshgrid([0.05, 0.8, 1.0, 4.0, 60.0], [0.05, 0.8, 1.0, 4.0, 60.0]))
    for u in (0.1, 0.6, 0.9):
        x = stats.beta(p, q).ppf(u)
        inside = (x > 1e-200) & (x < 1 - 1e-9)
        h = 1e-4 * p
        wanted = (stats.beta(p + h, q).ppf(u) - stats.beta(p - h, q).ppf(u)) / (2 * h) / (1 - x)
        found = fb._dirichlet_grad(fb.tensor(x), fb.tensor(p), fb.tensor(p + q)).numpy()
        np.testing.assert_allclose(found[inside], wanted[inside], rtol=1e-4)  # as exact as scipy's inverse is


def test_samples_are_differentiable() -> None:
    fb.manual_seed(3)
    x = (A * 1).requires_grad_()
    for d in (D.Gamma(x, B), D.Beta(x, B), D.StudentT(x, A, B), D.InverseGamma(x + 2, B), D.FisherSnedecor(x, B)):
        (g,) = fb.autograd.grad(d.rsample((50,)).sum(), x)
        assert bool(g.isfinite().all()) and bool((g != 0).all())
    total = D.Dirichlet(x).rsample((20,)).sum()
    (g,) = fb.autograd.grad(total, x)
    assert g.abs().max() < 1e-8  # a sum of 1 does not move


def test_gradients_of_means_of_samples() -> None:
    """The mean of x**2 of Gamma(c, 1) is c (c + 1), so its gradient 2 c + 1."""
    fb.manual_seed(4)
    c = t(0.6, 2.0, 9.0).requires_grad_()
    (g,) = fb.autograd.grad(D.Gamma(c, 1.0).rsample((5000,)).pow(2).mean(0).sum(), c)
    assert (g / (2 * c + 1) - 1).abs().max() < 0.15


def test_rsample_of_a_seed_is_a_function_of_the_parameters() -> None:
    def draw(family: Any) -> Callable[..., fb.Tensor]:
        def fn(x: fb.Tensor, y: fb.Tensor) -> fb.Tensor:
            fb.manual_seed(11)
            return family(x, y).rsample((3,))  # type: ignore[no-any-return]

        return fn

    x, y = t(0.5, 1.5).requires_grad_(), t(0.7, 2.0).requires_grad_()
    for family in (D.Normal, D.Laplace, D.Cauchy, D.Gumbel, D.Weibull, D.Pareto, D.LogNormal, D.Kumaraswamy):
        assert gradcheck(draw(family), (x, y))
    low = lambda x, y: D.Uniform(x, x + y)  # noqa: E731  # a family by other arguments
    assert gradcheck(draw(low), (x, y))


@pytest.mark.parametrize("device", ["strict", "narrow"])
def test_the_same_numbers_on_devices_with_few_kernels_or_dtypes(device: str) -> None:
    found = []
    for where in ("cpu", device):
        fb.manual_seed(7)
        alpha = fb.tensor([0.3, 1.0, 5.0], device=where, requires_grad=True)
        z = fb._standard_gamma(alpha)
        (g,) = fb.autograd.grad(z.sum(), alpha)
        x = fb._sample_dirichlet(alpha)
        (h,) = fb.autograd.grad((x * x).sum(), alpha)
        n = fb.binomial(fb.tensor([5.0, 100.0], device=where), fb.tensor(0.4, device=where))
        found.append([v.detach().cpu().tolist() for v in (z, g, x, h, n)])
    np.testing.assert_allclose(np.concatenate(found[0]), np.concatenate(found[1]), rtol=1e-5)


def test_samplers_under_vmap() -> None:
    alpha = fb.tensor([[0.5, 2.0], [3.0, 1.0]])
    draws = fb.vmap(fb._standard_gamma, randomness="different")(alpha)
    assert draws.shape == (2, 2) and bool((draws > 0).all())
    same_draws = fb.vmap(lambda a: fb._sample_dirichlet(a), randomness="same")(fb.ones(3, 2))
    assert fb.equal(same_draws[0], same_draws[1])
    log_probs = fb.vmap(lambda m, x: D.Normal(m, 1.0).log_prob(x))(fb.zeros(3), fb.ones(3))
    same(log_probs, np.full(3, -1.4189385), 1e-6)


def test_binomial_refuses() -> None:
    with pytest.raises(ValueError, match="count must be floating point"):
        fb.binomial(fb.tensor([3]), fb.tensor([0.5]))
    with pytest.raises(RuntimeError, match="of one dtype"):
        fb.binomial(fb.tensor([3.0]), fb.tensor([0.5], dtype=fb.float64))
    found = fb.binomial(fb.tensor([-2.0, 2.5, float("nan")]), fb.tensor([0.5, 1.0, 0.5]))
    assert str(found.tolist()) == "[0.0, 2.0, nan]"
