"""The formulas of Kullback-Leibler divergences: within a family, and between families that have one in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from flambeau.core.creation import full_like
from flambeau.core.ops.elementwise import where
from flambeau.core.ops.elementwise import xlogy_p as xlogy
from flambeau.core.ops.solve import solve_triangular
from flambeau.core.tensor import Tensor
from flambeau.distributions.bernoulli import Bernoulli
from flambeau.distributions.beta import Beta
from flambeau.distributions.binomial import Binomial
from flambeau.distributions.categorical import Categorical
from flambeau.distributions.cauchy import Cauchy
from flambeau.distributions.continuous_bernoulli import ContinuousBernoulli
from flambeau.distributions.dirichlet import Dirichlet
from flambeau.distributions.distribution import Distribution
from flambeau.distributions.exp_family import ExponentialFamily
from flambeau.distributions.exponential import Exponential
from flambeau.distributions.gamma import Gamma
from flambeau.distributions.geometric import Geometric
from flambeau.distributions.gumbel import Gumbel
from flambeau.distributions.half_normal import HalfNormal
from flambeau.distributions.independent import Independent
from flambeau.distributions.kl import kl_divergence, register_kl
from flambeau.distributions.laplace import Laplace
from flambeau.distributions.lowrank_multivariate_normal import LowRankMultivariateNormal
from flambeau.distributions.multivariate_normal import MultivariateNormal, _batch_mahalanobis
from flambeau.distributions.normal import Normal
from flambeau.distributions.one_hot_categorical import OneHotCategorical
from flambeau.distributions.pareto import Pareto
from flambeau.distributions.poisson import Poisson
from flambeau.distributions.transformed_distribution import TransformedDistribution
from flambeau.distributions.uniform import Uniform
from flambeau.distributions.utils import _sum_rightmost, euler_constant
from flambeau.nn.functional import logsigmoid

Multivariate = MultivariateNormal | LowRankMultivariateNormal
Kinds = Sequence[type[Distribution]]


def _register(formula: Callable[..., Tensor], kinds_p: Kinds, kinds_q: Kinds) -> None:
    """One formula for all pairs of these classes."""
    for p in kinds_p:
        for q in kinds_q:
            register_kl(p, q)(formula)


def _log_beta(a: Tensor, b: Tensor) -> Tensor:
    return a.lgamma() + b.lgamma() - (a + b).lgamma()


# -- of one family -----------------------------------------------------------------------------------
@register_kl(Bernoulli, Bernoulli)
def _kl_bernoulli_bernoulli(p: Bernoulli, q: Bernoulli) -> Tensor:
    one = p.probs * (logsigmoid(p.logits) - logsigmoid(q.logits))
    one = where(q.probs == 0, math.inf, one)
    zero = (1 - p.probs) * (logsigmoid(-p.logits) - logsigmoid(-q.logits))
    zero = where(q.probs == 1, math.inf, zero)
    return where(p.probs == 0, 0.0, one) + where(p.probs == 1, 0.0, zero)


@register_kl(Beta, Beta)
def _kl_beta_beta(p: Beta, q: Beta) -> Tensor:
    a, b, c, d = p.concentration1, p.concentration0, q.concentration1, q.concentration0
    total = (a - c + b - d) * (a + b).digamma()
    return _log_beta(c, d) - _log_beta(a, b) + (a - c) * a.digamma() + (b - d) * b.digamma() - total


@register_kl(Binomial, Binomial)
def _kl_binomial_binomial(p: Binomial, q: Binomial) -> Tensor:
    if bool((p.total_count < q.total_count).any()):
        raise NotImplementedError("KL between Binomials where q.total_count > p.total_count is not implemented")
    one = p.probs * (p.logits - q.logits) + (-p.probs).log1p() - (-q.probs).log1p()
    return where(p.total_count > q.total_count, math.inf, p.total_count * one)


@register_kl(Categorical, Categorical)
def _kl_categorical_categorical(p: Categorical, q: Categorical) -> Tensor:
    found = p.probs * (p.logits - q.logits)
    found = where(q.probs == 0, math.inf, found)
    return where(p.probs == 0, 0.0, found).sum(-1)


@register_kl(OneHotCategorical, OneHotCategorical)
def _kl_onehotcategorical_onehotcategorical(p: OneHotCategorical, q: OneHotCategorical) -> Tensor:
    return _kl_categorical_categorical(p._categorical, q._categorical)


@register_kl(Cauchy, Cauchy)
def _kl_cauchy_cauchy(p: Cauchy, q: Cauchy) -> Tensor:
    """Chyzak and Nielsen, arXiv:1905.10965."""
    above = (p.scale + q.scale).pow(2) + (p.loc - q.loc).pow(2)
    return above.log() - (4 * p.scale * q.scale).log()


@register_kl(ContinuousBernoulli, ContinuousBernoulli)
def _kl_continuous_bernoulli_continuous_bernoulli(p: ContinuousBernoulli, q: ContinuousBernoulli) -> Tensor:
    sizes = p._cont_bern_log_norm() + (-p.probs).log1p() - q._cont_bern_log_norm() - (-q.probs).log1p()
    return p.mean * (p.logits - q.logits) + sizes


@register_kl(Dirichlet, Dirichlet)
def _kl_dirichlet_dirichlet(p: Dirichlet, q: Dirichlet) -> Tensor:
    a, b = p.concentration, q.concentration
    sizes = a.sum(-1).lgamma() - b.sum(-1).lgamma() - (a.lgamma() - b.lgamma()).sum(-1)
    return sizes + ((a - b) * (a.digamma() - a.sum(-1, keepdim=True).digamma())).sum(-1)


@register_kl(Exponential, Exponential)
def _kl_exponential_exponential(p: Exponential, q: Exponential) -> Tensor:
    ratio = q.rate / p.rate
    return ratio - 1 - ratio.log()


@register_kl(ExponentialFamily, ExponentialFamily)
def _kl_expfamily_expfamily(p: ExponentialFamily, q: ExponentialFamily) -> Tensor:
    """Bregman's divergence of the log normalizers (Nielsen and Nock, 2010)."""
    if type(p) is not type(q):
        raise NotImplementedError(
            f"No KL(p || q) is implemented for the families {type(p).__name__} and {type(q).__name__}"
        )
    given, normalizer, params, slopes = p._with_slopes()
    others = q._natural_params
    found = q._log_normalizer(*others) - normalizer
    for mine, other, slope in zip(params, others, slopes, strict=True):
        term = (other - mine) * slope
        found = found - _sum_rightmost(term, term.ndim - len(p.batch_shape))
    return found if any(x.requires_grad for x in (*given, *others)) else found.detach()


@register_kl(Gamma, Gamma)
def _kl_gamma_gamma(p: Gamma, q: Gamma) -> Tensor:
    a, b = p.concentration, q.concentration
    sizes = b * (p.rate / q.rate).log() + b.lgamma() - a.lgamma()
    return sizes + (a - b) * a.digamma() + (q.rate - p.rate) * (a / p.rate)


@register_kl(Gumbel, Gumbel)
def _kl_gumbel_gumbel(p: Gumbel, q: Gumbel) -> Tensor:
    ratio, shift = p.scale / q.scale, (q.loc - p.loc) / q.scale
    return -ratio.log() - shift + ratio * euler_constant + (shift + (1 + ratio).lgamma()).exp() - (1 + euler_constant)


@register_kl(Geometric, Geometric)
def _kl_geometric_geometric(p: Geometric, q: Geometric) -> Tensor:
    return -p.entropy() - (-q.probs).log1p() / p.probs - q.logits


@register_kl(HalfNormal, HalfNormal)
def _kl_halfnormal_halfnormal(p: HalfNormal, q: HalfNormal) -> Tensor:
    return _kl_normal_normal(p.base_dist, q.base_dist)


@register_kl(Laplace, Laplace)
def _kl_laplace_laplace(p: Laplace, q: Laplace) -> Tensor:
    ratio, away = p.scale / q.scale, (p.loc - q.loc).abs()
    return -ratio.log() + away / q.scale + ratio * (-away / p.scale).exp() - 1


@register_kl(Normal, Normal)
def _kl_normal_normal(p: Normal, q: Normal) -> Tensor:
    ratio = (p.scale / q.scale).pow(2)
    return 0.5 * (ratio + ((p.loc - q.loc) / q.scale).pow(2) - 1 - ratio.log())


@register_kl(Pareto, Pareto)
def _kl_pareto_pareto(p: Pareto, q: Pareto) -> Tensor:
    ratio = q.alpha / p.alpha
    found = q.alpha * (p.scale / q.scale).log() - ratio.log() + ratio - 1
    return where(p.scale < q.scale, math.inf, found)


@register_kl(Poisson, Poisson)
def _kl_poisson_poisson(p: Poisson, q: Poisson) -> Tensor:
    return xlogy(p.rate, p.rate) - xlogy(p.rate, q.rate) - (p.rate - q.rate)


@register_kl(Uniform, Uniform)
def _kl_uniform_uniform(p: Uniform, q: Uniform) -> Tensor:
    found = ((q.high - q.low) / (p.high - p.low)).log()
    return where((q.low > p.low) | (q.high < p.high), math.inf, found)


# -- vectors and what is made of others --------------------------------------------------------------
def _kl_of_vectors(p: Multivariate, q: Multivariate) -> Tensor:
    """By the Cholesky factors, or where q is of low rank by Woodbury's identity, which ``log_prob`` knows."""
    if p.event_shape != q.event_shape:
        raise ValueError(
            f"KL-divergence between two normal distributions of {p.event_shape} and {q.event_shape}: "
            "they must have the same event shapes"
        )
    if isinstance(q, LowRankMultivariateNormal):
        return _to_low_rank(p, q)
    factor, mine = q._unbroadcasted_scale_tril, p.scale_tril
    away = _batch_mahalanobis(factor, q.loc - p.loc)
    trace = solve_triangular(factor, mine, upper=False).pow(2).sum((-2, -1))
    logs = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1) - mine.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return logs + 0.5 * (trace + away - p.event_shape[0])


def _to_low_rank(p: Multivariate, q: LowRankMultivariateNormal) -> Tensor:
    """The mean of -log q under p, less the entropy of p: the trace is that of tr(Sigma_q^-1 Sigma_p)."""
    diagonal, factor = q._unbroadcasted_cov_diag, q._unbroadcasted_cov_factor
    inner = solve_triangular(q._capacitance_tril, factor.mT / diagonal.unsqueeze(-2), upper=False)
    trace = (p.variance / diagonal).sum(-1)
    if isinstance(p, LowRankMultivariateNormal):
        low = (inner @ p._unbroadcasted_cov_factor).pow(2).sum((-2, -1))
        trace = trace - low - (inner.pow(2) * p._unbroadcasted_cov_diag.unsqueeze(-2)).sum((-2, -1))
    else:
        trace = trace - (inner @ p._unbroadcasted_scale_tril).pow(2).sum((-2, -1))
    n = p.event_shape[0]
    away = -2 * q.log_prob(p.loc) - n * math.log(2 * math.pi)  # log det of q, and the distance of the means
    return 0.5 * (trace + away + n * (1 + math.log(2 * math.pi)) - n) - p.entropy()


_register(
    _kl_of_vectors, (MultivariateNormal, LowRankMultivariateNormal), (MultivariateNormal, LowRankMultivariateNormal)
)


@register_kl(TransformedDistribution, TransformedDistribution)
def _kl_transformed_transformed(p: TransformedDistribution, q: TransformedDistribution) -> Tensor:
    """Of the bases, where the transforms are equal."""
    if p.transforms != q.transforms or p.event_shape != q.event_shape:
        raise NotImplementedError("No KL(p || q) is implemented for distributions of different transforms")
    more = len(p.event_shape) - len(p.base_dist.event_shape)
    return _sum_rightmost(kl_divergence(p.base_dist, q.base_dist), max(more, 0))


@register_kl(Independent, Independent)
def _kl_independent_independent(p: Independent, q: Independent) -> Tensor:
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise NotImplementedError("No KL(p || q) is implemented where different numbers of axes are taken in")
    return _sum_rightmost(kl_divergence(p.base_dist, q.base_dist), p.reinterpreted_batch_ndims)


# -- where p has values that q has not ---------------------------------------------------------------
def _first_param(p: Distribution) -> Tensor:
    return next(v for name in p.arg_constraints if isinstance(v := getattr(p, name), Tensor))


def _kl_infinity(p: Distribution, q: Distribution) -> Tensor:
    return full_like(_first_param(p), math.inf)


_BOUNDED: Final = (Beta, ContinuousBernoulli, Pareto, Uniform)
_HALF: Final = (Beta, ContinuousBernoulli, Exponential, Gamma, Pareto, Uniform)
_register(_kl_infinity, (Beta, ContinuousBernoulli), (Pareto,))
_register(_kl_infinity, (Exponential, Gamma), _BOUNDED)
_register(_kl_infinity, (Gumbel, Laplace, Normal), _HALF)
_register(_kl_infinity, (Pareto,), (Beta, ContinuousBernoulli, Uniform))
_register(_kl_infinity, (Poisson,), (Bernoulli, Binomial))


# -- of two families: the mean of -log q under p, less the entropy of p -----------------------------------
def _to_normal(p: Distribution, q: Normal) -> Tensor:
    square = (p.variance + (p.mean - q.loc).pow(2)) / q.scale.pow(2)
    return 0.5 * square + q.scale.log() + 0.5 * math.log(2 * math.pi) - p.entropy()


def _to_exponential(p: Distribution, q: Exponential) -> Tensor:
    return q.rate * p.mean - q.rate.log() - p.entropy()


def _mean_log(p: Distribution) -> Tensor:
    """The mean of log x, for those of positive numbers."""
    if isinstance(p, Beta):
        return p.concentration1.digamma() - (p.concentration1 + p.concentration0).digamma()
    if isinstance(p, Gamma):
        return p.concentration.digamma() - p.rate.log()
    if isinstance(p, Exponential):
        return -euler_constant - p.rate.log()
    if isinstance(p, Pareto):
        return p.scale.log() + p.alpha.reciprocal()
    if isinstance(p, Uniform):
        return (xlogy(p.high, p.high) - xlogy(p.low, p.low)) / (p.high - p.low) - 1
    raise NotImplementedError(f"the mean of the logarithm of {type(p).__name__} numbers")


def _to_gamma(p: Distribution, q: Gamma) -> Tensor:
    a = q.concentration
    return a.lgamma() - a * q.rate.log() - (a - 1) * _mean_log(p) + q.rate * p.mean - p.entropy()


def _mean_exp(p: Distribution, t: Tensor) -> Tensor:
    """The mean of exp(-t x)."""
    if isinstance(p, Exponential):
        return p.rate / (p.rate + t)
    if isinstance(p, Gamma):
        return (1 + t / p.rate).pow(-p.concentration)
    if isinstance(p, Normal):
        return (0.5 * (p.scale * t).pow(2) - p.loc * t).exp()
    if isinstance(p, Uniform):
        return ((-t * p.low).exp() - (-t * p.high).exp()) / (t * (p.high - p.low))
    raise NotImplementedError(f"the mean of the exponential of {type(p).__name__} numbers")


def _to_gumbel(p: Distribution, q: Gumbel) -> Tensor:
    rate = q.scale.reciprocal()
    return q.scale.log() + (p.mean - q.loc) * rate + (q.loc * rate).exp() * _mean_exp(p, rate) - p.entropy()


_register(_to_normal, (Beta, ContinuousBernoulli, Exponential, Gamma, Gumbel, Laplace, Uniform), (Normal,))
_register(_to_exponential, (Beta, ContinuousBernoulli, Gamma), (Exponential,))
_register(_to_gamma, (Beta, Exponential), (Gamma,))
_register(_to_gumbel, (Exponential, Gamma, Normal, Uniform), (Gumbel,))


@register_kl(Pareto, Exponential)
def _kl_pareto_exponential(p: Pareto, q: Exponential) -> Tensor:
    return where(p.alpha <= 1, math.inf, _to_exponential(p, q))


@register_kl(Pareto, Gamma)
def _kl_pareto_gamma(p: Pareto, q: Gamma) -> Tensor:
    return where(p.alpha <= 1, math.inf, _to_gamma(p, q))


@register_kl(Pareto, Normal)
def _kl_pareto_normal(p: Pareto, q: Normal) -> Tensor:
    return where(p.alpha <= 2, math.inf, _to_normal(p, q))


@register_kl(Bernoulli, Poisson)
def _kl_bernoulli_poisson(p: Bernoulli, q: Poisson) -> Tensor:
    return -p.entropy() - (p.probs * q.rate.log() - q.rate)


@register_kl(Beta, ContinuousBernoulli)
def _kl_beta_continuous_bernoulli(p: Beta, q: ContinuousBernoulli) -> Tensor:
    return -p.entropy() - p.mean * q.logits - (-q.probs).log1p() - q._cont_bern_log_norm()


def _in(low: Tensor | float, p: Distribution, high: Tensor | float, found: Tensor) -> Tensor:
    """``found`` where p, in an interval of its own, stays in [low, high], else infinity."""
    start, end = (p.low, p.high) if isinstance(p, Uniform) else (found * 0, found * 0 + 1)
    return where((start < low) | (end > high), math.inf, found)


@register_kl(Beta, Uniform)
def _kl_beta_uniform(p: Beta, q: Uniform) -> Tensor:
    return _in(q.low, p, q.high, (q.high - q.low).log() - p.entropy())


@register_kl(ContinuousBernoulli, Uniform)
def _kl_continuous_bernoulli_uniform(p: ContinuousBernoulli, q: Uniform) -> Tensor:
    return _in(q.low, p, q.high, (q.high - q.low).log() - p.entropy())


@register_kl(Normal, Laplace)
def _kl_normal_laplace(p: Normal, q: Laplace) -> Tensor:
    """The mean of |x - loc| is that of a folded normal number."""
    away = p.loc - q.loc
    z = away / p.scale
    folded = math.sqrt(2 / math.pi) * p.scale * (-0.5 * z.pow(2)).exp() + away * (z * math.sqrt(0.5)).erf()
    return (2 * q.scale).log() + folded / q.scale - p.entropy()


@register_kl(Uniform, Beta)
def _kl_uniform_beta(p: Uniform, q: Beta) -> Tensor:
    a, b = q.concentration1, q.concentration0
    mirrored = Uniform(1 - p.high, 1 - p.low, validate_args=False)
    found = _log_beta(a, b) - (a - 1) * _mean_log(p) - (b - 1) * _mean_log(mirrored) - p.entropy()
    return _in(0.0, p, 1.0, found)


@register_kl(Uniform, ContinuousBernoulli)
def _kl_uniform_continuous_bernoulli(p: Uniform, q: ContinuousBernoulli) -> Tensor:
    found = -p.entropy() - p.mean * q.logits - (-q.probs).log1p() - q._cont_bern_log_norm()
    return _in(0.0, p, 1.0, found)


@register_kl(Uniform, Exponential)
def _kl_uniform_exponential(p: Uniform, q: Exponential) -> Tensor:
    return where(p.low < 0, math.inf, _to_exponential(p, q))


@register_kl(Uniform, Gamma)
def _kl_uniform_gamma(p: Uniform, q: Gamma) -> Tensor:
    return where(p.low < 0, math.inf, _to_gamma(p, q))


@register_kl(Uniform, Pareto)
def _kl_uniform_pareto(p: Uniform, q: Pareto) -> Tensor:
    found = (q.alpha + 1) * _mean_log(p) - q.alpha.log() - q.alpha * q.scale.log() - p.entropy()
    return where(p.low < q.scale, math.inf, found)
