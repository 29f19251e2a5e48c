"""Kullback-Leibler divergences in the torch API: the pairs of families that have a formula, and some that have none."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tests.distributions.family_cases import corner, positive, share
from tests.recorded import Case, Inputs, collected, on_inputs

CASES: dict[str, Case] = {}
case, given = collected(CASES), on_inputs(CASES)
#: Where PyTorch's digamma functions are less exact than their dtype.
ROUNDED: dict[str, float] = {}

ONE: dict[str, Callable[[Any, Inputs], Any]] = {
    "Bernoulli": lambda D, i: D.Bernoulli(share(i, 3)),
    "Beta": lambda D, i: D.Beta(positive(i, 3), positive(i, 3)),
    "Binomial": lambda D, i: D.Binomial(4, share(i, 3)),
    "Categorical": lambda D, i: D.Categorical(logits=i.x(2, 3)),
    "Cauchy": lambda D, i: D.Cauchy(i.x(3), positive(i, 3)),
    "ContinuousBernoulli": lambda D, i: D.ContinuousBernoulli(share(i, 3)),
    "Dirichlet": lambda D, i: D.Dirichlet(positive(i, 2, 3)),
    "Exponential": lambda D, i: D.Exponential(positive(i, 3)),
    "Gamma": lambda D, i: D.Gamma(positive(i, 3), positive(i, 3)),
    "Geometric": lambda D, i: D.Geometric(share(i, 3)),
    "Gumbel": lambda D, i: D.Gumbel(i.x(3), positive(i, 3)),
    "HalfNormal": lambda D, i: D.HalfNormal(positive(i, 3)),
    "Independent": lambda D, i: D.Independent(D.Normal(i.x(2, 3), positive(i, 3)), 1),
    "Laplace": lambda D, i: D.Laplace(i.x(3), positive(i, 3)),
    "LogNormal": lambda D, i: D.LogNormal(i.x(3), positive(i, 3)),
    "LowRankMultivariateNormal": lambda D, i: D.LowRankMultivariateNormal(i.x(2, 3), i.x(2, 3, 1), positive(i, 3)),
    "MultivariateNormal": lambda D, i: D.MultivariateNormal(i.x(2, 3), scale_tril=corner(i, 3, 3)),
    "Normal": lambda D, i: D.Normal(i.x(3), positive(i, 3)),
    "OneHotCategorical": lambda D, i: D.OneHotCategorical(share(i, 3)),
    "Pareto": lambda D, i: D.Pareto(positive(i, 3), positive(i, 3) + 2),
    "Poisson": lambda D, i: D.Poisson(positive(i, 3)),
    "Uniform": lambda D, i: D.Uniform(i.x(3, low=0.1, high=0.4), i.x(3, low=0.6, high=0.9)),
}
PAIRS = """Bernoulli Poisson; Beta ContinuousBernoulli; Beta Pareto; Beta Exponential; Beta Gamma; Beta Normal;
Beta Uniform; ContinuousBernoulli Pareto;
ContinuousBernoulli Exponential; ContinuousBernoulli Normal; ContinuousBernoulli Uniform;
Exponential Uniform; Exponential Pareto; Exponential ContinuousBernoulli; Exponential Beta; Exponential Gamma;
Exponential Gumbel; Exponential Normal; Gamma Uniform; Gamma Pareto; Gamma Beta; Gamma ContinuousBernoulli;
Gamma Exponential; Gamma Gumbel; Gamma Normal; Gumbel Uniform; Gumbel Pareto; Gumbel Gamma; Gumbel Exponential;
Gumbel ContinuousBernoulli; Gumbel Beta; Gumbel Normal; Laplace Uniform; Laplace Pareto; Laplace Gamma;
Laplace Exponential; Laplace ContinuousBernoulli; Laplace Beta; Laplace Normal; Normal Uniform; Normal Pareto;
Normal Gamma; Normal Exponential; Normal ContinuousBernoulli; Normal Beta; Normal Gumbel; Normal Laplace;
Pareto Uniform; Pareto ContinuousBernoulli; Pareto Beta; Pareto Exponential; Pareto Gamma; Pareto Normal;
Poisson Binomial; Poisson Bernoulli; Uniform Beta; Uniform ContinuousBernoulli; Uniform Exponential; Uniform Gamma;
Uniform Gumbel; Uniform Normal; Uniform Pareto; MultivariateNormal LowRankMultivariateNormal;
LowRankMultivariateNormal MultivariateNormal; Normal Cauchy; Bernoulli Binomial; Gamma Laplace; LogNormal Normal"""


def divergence(p: str, q: str, T: Any, i: Inputs) -> Any:
    D = T.distributions
    return D.kl_divergence(ONE[p](D, i), ONE[q](D, i))


for _pair in [(n, n) for n in ONE] + [tuple(pair.split()) for pair in PAIRS.split(";")]:
    given(" ".join(_pair), partial(divergence, *_pair))
    ROUNDED[" ".join(_pair)] = 1e-7


@case
def edges(T: Any) -> Any:
    """Where a value of p has no probability under q."""
    D, kl = T.distributions, T.distributions.kl_divergence
    zero, one = T.tensor([0.0, 1.0, 0.5]), T.tensor([1.0, 0.0, 0.5])
    return [
        kl(D.Bernoulli(zero), D.Bernoulli(one)), kl(D.Bernoulli(zero), D.Bernoulli(zero)),
        kl(D.Categorical(T.tensor([0.0, 1.0])), D.Categorical(T.tensor([1.0, 0.0]))),
        kl(D.Categorical(T.tensor([0.0, 1.0])), D.Categorical(T.tensor([0.0, 1.0]))),
        kl(D.Uniform(0.0, 2.0), D.Uniform(0.0, 1.0)), kl(D.Uniform(-1.0, 2.0), D.Gamma(1.0, 1.0)),
        kl(D.Binomial(5, T.tensor(0.5)), D.Binomial(3, T.tensor(0.5))),
        kl(D.Pareto(1.0, 1.5), D.Normal(0.0, 1.0)),
    ]  # fmt: skip


@case
def smaller_binomial(T: Any) -> Any:
    D = T.distributions
    return D.kl_divergence(D.Binomial(3, T.tensor(0.5)), D.Binomial(5, T.tensor(0.5)))


@case
def registry(T: Any) -> Any:
    """Classes of one's own, by their superclasses; what is no class of distributions is refused."""
    D = T.distributions

    class A(D.Normal):  # type: ignore[name-defined,misc]  # of either framework
        pass

    class B(A):
        pass

    D.register_kl(A, D.Normal)(lambda p, q: "left")
    found = [D.kl_divergence(A(0.0, 1.0), D.Normal(0.0, 1.0)), D.kl_divergence(B(0.0, 1.0), D.Normal(0.0, 1.0))]
    D.register_kl(B, B)(lambda p, q: "both")
    found.append(D.kl_divergence(B(0.0, 1.0), B(0.0, 1.0)))
    return [*found, D.kl_divergence(D.Normal(0.0, 1.0), A(0.0, 1.0))]
