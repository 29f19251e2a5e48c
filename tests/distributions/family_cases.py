"""Every family in the torch API: densities, moments, entropies, with gradients by the parameters; and what they say."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tests.recorded import Case, Inputs, on_inputs

CASES: dict[str, Case] = {}
given = on_inputs(CASES)
Family = tuple[Callable[[Any, Inputs], Any], Callable[[Any, Inputs], Any]]


def positive(i: Inputs, *shape: int) -> Any:
    return i.x(*shape, low=0.5, high=2.5)


def share(i: Inputs, *shape: int) -> Any:
    return i.x(*shape, low=0.1, high=0.9)


def value(low: float, high: float, *shape: int) -> Callable[[Any, Inputs], Any]:
    return lambda D, i: i.x(*(shape or (2, 3)), low=low, high=high, grad=False)


def whole(high: int, *shape: int) -> Callable[[Any, Inputs], Any]:
    return lambda D, i: i.ints(high, *(shape or (2, 3))).double()


def spd(i: Inputs, *shape: int) -> Any:
    """Positive definite matrices."""
    x = i.x(*shape)
    return x @ x.mT + i.T.eye(shape[-1], dtype=i.T.float64)


def corner(i: Inputs, *shape: int) -> Any:
    """Cholesky factors."""
    x = i.x(*shape)
    return x.tril(-1) + i.T.diag_embed(i.x(*shape[:-1], low=0.5, high=1.5))


def simplex(D: Any, i: Inputs) -> Any:
    x = i.x(2, 3, low=0.1, high=1.0, grad=False)
    return x / x.sum(-1, keepdim=True)


REAL, UP, UNIT = value(-2, 2), value(0.2, 3), value(0.1, 0.9)
FAMILIES: dict[str, Family] = {
    "Bernoulli probs": (lambda D, i: D.Bernoulli(share(i, 3)), lambda D, i: i.ints(2, 2, 3).double()),
    "Bernoulli logits": (lambda D, i: D.Bernoulli(logits=i.x(3)), lambda D, i: i.ints(2, 2, 3).double()),
    "Beta": (lambda D, i: D.Beta(positive(i, 3) + 1, positive(i, 2, 1) + 1), UNIT),
    "Binomial": (lambda D, i: D.Binomial(5, share(i, 3)), whole(6)),
    "Binomial logits": (lambda D, i: D.Binomial(i.ints(9, 2, 1, low=5), logits=i.x(3)), whole(6)),
    "Categorical": (lambda D, i: D.Categorical(share(i, 3, 4)), lambda D, i: i.ints(4, 2, 3)),
    "Categorical logits": (lambda D, i: D.Categorical(logits=i.x(4)), lambda D, i: i.ints(4, 2, 3)),
    "Cauchy": (lambda D, i: D.Cauchy(i.x(3), positive(i, 3)), REAL),
    "Chi2": (lambda D, i: D.Chi2(positive(i, 3) + 2), UP),
    "ContinuousBernoulli": (lambda D, i: D.ContinuousBernoulli(share(i, 3)), UNIT),
    "ContinuousBernoulli logits": (lambda D, i: D.ContinuousBernoulli(logits=i.x(3)), UNIT),
    "ContinuousBernoulli half": (lambda D, i: D.ContinuousBernoulli(i.x(3, low=0.4995, high=0.5005)), UNIT),
    "Dirichlet": (lambda D, i: D.Dirichlet(positive(i, 3) + 1), simplex),
    "Exponential": (lambda D, i: D.Exponential(positive(i, 3)), UP),
    "FisherSnedecor": (lambda D, i: D.FisherSnedecor(positive(i, 3) + 2, positive(i, 3) + 5), UP),
    "Gamma": (lambda D, i: D.Gamma(positive(i, 3), positive(i, 2, 1)), UP),
    "Geometric": (lambda D, i: D.Geometric(share(i, 3)), whole(6)),
    "Geometric logits": (lambda D, i: D.Geometric(logits=i.x(3)), whole(6)),
    "Gumbel": (lambda D, i: D.Gumbel(i.x(3), positive(i, 3)), REAL),
    "HalfCauchy": (lambda D, i: D.HalfCauchy(positive(i, 3)), UP),
    "HalfNormal": (lambda D, i: D.HalfNormal(positive(i, 3)), UP),
    "Independent": (lambda D, i: D.Independent(D.Normal(i.x(2, 3), positive(i, 3)), 1), REAL),
    "InverseGamma": (lambda D, i: D.InverseGamma(positive(i, 3) + 2, positive(i, 3)), UP),
    "Kumaraswamy": (lambda D, i: D.Kumaraswamy(positive(i, 3) + 1, positive(i, 3) + 1), UNIT),
    "LKJCholesky": (lambda D, i: D.LKJCholesky(3, positive(i, 2)),
                    lambda D, i: D.transforms.CorrCholeskyTransform()(i.x(2, 3, grad=False))),
    "Laplace": (lambda D, i: D.Laplace(i.x(3), positive(i, 3)), REAL),
    "LogNormal": (lambda D, i: D.LogNormal(i.x(3), positive(i, 3)), UP),
    "LogisticNormal": (lambda D, i: D.LogisticNormal(i.x(2), positive(i, 2)), simplex),
    "LowRankMultivariateNormal": (
        lambda D, i: D.LowRankMultivariateNormal(i.x(2, 3), i.x(2, 3, 2), positive(i, 3)), value(-2, 2, 4, 2, 3)),
    "MixtureSameFamily": (
        lambda D, i: D.MixtureSameFamily(D.Categorical(share(i, 3, 4)), D.Normal(i.x(3, 4), positive(i, 4))), REAL),
    "MixtureSameFamily vectors": (
        lambda D, i: D.MixtureSameFamily(D.Categorical(share(i, 4)),
                                         D.Independent(D.Normal(i.x(4, 3), positive(i, 3)), 1)), REAL),
    "Multinomial": (lambda D, i: D.Multinomial(4, share(i, 3)),
                    lambda D, i: i.T.tensor([[4, 0, 0], [1, 2, 1]]).double()),
    "MultivariateNormal": (lambda D, i: D.MultivariateNormal(i.x(2, 3), scale_tril=corner(i, 3, 3)),
                           value(-2, 2, 4, 2, 3)),
    "MultivariateNormal batch": (lambda D, i: D.MultivariateNormal(i.x(3), scale_tril=corner(i, 2, 1, 3, 3)),
                                 value(-2, 2, 4, 2, 5, 3)),
    "MultivariateNormal covariance": (lambda D, i: D.MultivariateNormal(i.x(3), spd(i, 2, 3, 3)), REAL),
    "MultivariateNormal precision": (
        lambda D, i: D.MultivariateNormal(i.x(3), precision_matrix=spd(i, 2, 3, 3)), REAL),
    "NegativeBinomial": (lambda D, i: D.NegativeBinomial(positive(i, 3), share(i, 3)), whole(6)),
    "NegativeBinomial logits": (lambda D, i: D.NegativeBinomial(4, logits=i.x(3)), whole(6)),
    "Normal": (lambda D, i: D.Normal(i.x(3), positive(i, 2, 1)), REAL),
    "OneHotCategorical": (lambda D, i: D.OneHotCategorical(share(i, 2, 3)),
                          lambda D, i: i.T.eye(3, dtype=i.T.float64)[:2]),
    "Pareto": (lambda D, i: D.Pareto(i.x(3, low=0.05, high=0.15), positive(i, 3) + 2), UP),
    "Poisson": (lambda D, i: D.Poisson(positive(i, 3)), whole(6)),
    "RelaxedBernoulli": (lambda D, i: D.RelaxedBernoulli(i.T.tensor(0.7, dtype=i.T.float64), share(i, 3)), UNIT),
    "RelaxedOneHotCategorical": (
        lambda D, i: D.RelaxedOneHotCategorical(i.T.tensor(0.7, dtype=i.T.float64), logits=i.x(3)), simplex),
    "StudentT": (lambda D, i: D.StudentT(positive(i, 3) + 2, i.x(3), positive(i, 3)), REAL),
    "TransformedDistribution": (
        lambda D, i: D.TransformedDistribution(D.Normal(i.x(3), positive(i, 3)),
                                               [D.AffineTransform(0.5, -2.0), D.SigmoidTransform()]), UNIT),
    "Uniform": (lambda D, i: D.Uniform(-positive(i, 3) - 2, positive(i, 3) + 2), REAL),
    "VonMises": (lambda D, i: D.VonMises(i.x(3), positive(i, 3)), REAL),
    "Weibull": (lambda D, i: D.Weibull(positive(i, 3), positive(i, 3) + 1), UP),
    "Wishart": (lambda D, i: D.Wishart(positive(i, 2) + 5, spd(i, 2, 3, 3)), lambda D, i: spd(i, 4, 2, 3, 3).detach()),
}  # fmt: skip
#: Where PyTorch's own numbers are less exact than their dtype: digamma functions, Bessel functions by polynomials.
ROUNDED = {
    "Beta": 1e-8,
    "Dirichlet": 1e-8,
    "Multinomial": 2e-8,
    "StudentT": 1e-8,
    "VonMises": 1e-6,
    "VonMises says": 1e-6,
}
#: What PyTorch gets wrong: it has nan for every mode.
BUT = {"Kumaraswamy": ("mode",)}


def numbers(name: str, T: Any, i: Inputs) -> Any:
    """Density, cumulative distribution and its inverse, moments and entropy."""
    make, points = FAMILIES[name]
    d, x, u = make(T.distributions, i), points(T.distributions, i), share(i, 2, 3).detach()
    facts = {
        "log_prob": lambda: d.log_prob(x), "cdf": lambda: d.cdf(x).detach(), "icdf": lambda: d.icdf(u),
        "entropy": d.entropy, "mean": lambda: d.mean, "variance": lambda: d.variance, "stddev": lambda: d.stddev,
        "mode": lambda: d.mode,
    }  # fmt: skip
    return [attempt(fact) for what, fact in facts.items() if what not in BUT.get(name, ())]


def attempt(fn: Callable[[], Any]) -> Any:
    """A result, or that there is none."""
    try:
        return fn()
    except NotImplementedError:
        return "none"


def told(name: str, T: Any) -> Any:
    """What a distribution says of itself, and its shape, draws and density when it is expanded."""
    i = Inputs(T, name)
    make, points = FAMILIES[name]
    d = make(T.distributions, i)
    facts: dict[str, Any] = {"class": repr(d).split("(")[0]}
    for fact in ("batch_shape", "event_shape", "has_rsample", "has_enumerate_support"):
        found = getattr(d, fact)
        facts[fact] = found if isinstance(found, bool) else list(found)
    facts["support"] = [repr(d.support).split("(")[0], d.support.event_dim, d.support.is_discrete]
    facts["arguments"] = sorted(d.arg_constraints)
    facts["draws"] = [list(d.sample((2, 1)).shape), bool(d.support.check(d.sample((50,))).all())]
    facts["values"] = attempt(lambda: [d.enumerate_support(), list(d.enumerate_support(expand=False).shape)])
    facts["gradient"] = attempt(lambda: d.rsample().requires_grad)
    wide = d.expand((5, 2, *d.batch_shape)).expand((5, 2, *d.batch_shape))
    facts["wide"] = [list(wide.batch_shape), list(wide.sample((3,)).shape)]
    x = points(T.distributions, i).detach()
    while x.ndim > len(d.batch_shape) + len(d.event_shape):
        x = x[0]
    facts["wide log_prob"] = wide.log_prob(x)[0].detach()
    return facts


for _name in FAMILIES:
    given(_name, partial(numbers, _name))
    CASES[f"{_name} says"] = partial(told, _name)
