"""Gamma and Dirichlet numbers with gradients, and binomial ones.

A sample z of a distribution F(z; a) moves with its parameter by dz/da = -(dF/da) / (dF/dz), the implicit
reparameterised gradient (Figurnov, Mohamed and Mnih, "Implicit reparameterization gradients", 2018). dF/da is an
integral of the density times the score, here over the logarithm of a gamma number or the logit of a beta one, where
both are smooth and log-concave: Gauss and Legendre's rule gives it from the side on which nothing cancels. Where the
density has a long tail, the power series of F and its derivative are used. All is computed in float64, on the host
where a device has none, so that every device gives the same numbers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from flambeau.core import dtype as dt
from flambeau.core.autograd.function import Function, FunctionCtx
from flambeau.core.creation import arange
from flambeau.core.device import device as Device
from flambeau.core.errors import DTypeError
from flambeau.core.from_data import tensor
from flambeau.core.keys import precise
from flambeau.core.ops import random
from flambeau.core.ops.elementwise import digamma_p, exp_p, expm1_p, log1p_p, log_p, maximum_p, sqrt_p, where
from flambeau.core.ops.expand import broadcast_tensors
from flambeau.core.ops.joining import cat
from flambeau.core.ops.nn.softmax import softmax_p
from flambeau.core.public import public
from flambeau.core.random import Philox
from flambeau.core.tensor import Tensor

_ROUNDS: Final = 16  # of rejection: one number in 10**20 is left without one, and gets the middle
#: Nodes and terms that leave errors of 1e-12 where the operands are float64, and of 1e-7 in other dtypes.
_FINE, _COARSE = (40, 56), (24, 40)
_PIECE: Final = 1 << 13  # so many elements at a time, each with a row of nodes
_TAIL: Final = 40.0  # integrals end where the density has fallen by exp(-40)


def _precisely(fn: Callable[..., Tensor], *operands: Tensor) -> Tensor:
    """``fn`` of the operands in float64; the result on the device and in the dtype of the first."""
    like = operands[0]
    where_to = like.device if precise(like.device) is dt.float64 else Device("cpu")
    return fn(*(t.to(where_to, dt.float64) for t in operands)).to(like.device, like.dtype)


def _need_floats(name: str, **operands: Tensor) -> None:
    for label, t in operands.items():
        if t.dtype.category != dt.FLOATING:
            raise DTypeError(f"{name}: {label} must be floating point, got {t.dtype.name}")


# -- gamma numbers -----------------------------------------------------------------------------------
def _log_gamma_numbers(alpha: Tensor, generator: Philox | None) -> Tensor:
    """Logarithms of gamma numbers: Marsaglia and Tsang, "A simple method for generating gamma variables", 2000.

    Below 1 the number of ``alpha + 1`` times a power of a uniform one, whose logarithm does not underflow.
    """
    shape, device = tuple(alpha.shape), alpha.device
    d = where(alpha < 1, alpha + 1, alpha) - 1.0 / 3
    c = 1 / sqrt_p(9 * d)
    found, missing = log_p(d), d == d
    for _ in range(_ROUNDS):
        x = random.standard_normal(shape, dt.float64, device, generator)
        u = 1.0 - random.uniform(shape, dt.float64, device, generator)
        v = (1 + c * x) ** 3
        log_v = log_p(where(v > 0, v, 1.0))
        accepted = missing & (v > 0) & (log_p(u) < 0.5 * x * x + d * (1 - v + log_v))
        found = where(accepted, log_p(d) + log_v, found)
        missing = missing & ~accepted
        if alpha._key.level is None and not bool(missing.any()):
            break
    u = 1.0 - random.uniform(shape, dt.float64, device, generator)
    return where(alpha < 1, found + log_p(u) / alpha, found)


class StandardGamma(Function):
    """Gamma numbers of rate 1; backward by their implicit gradient."""

    @staticmethod
    def forward(alpha: Tensor, generator: Philox | None) -> Tensor:
        found = _precisely(lambda a: exp_p(_log_gamma_numbers(a, generator)), alpha)
        return maximum_p(found, dt.finfo(alpha._key.stored).tiny)

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], output)

    @staticmethod
    def backward(ctx: FunctionCtx, g: Tensor) -> tuple[Tensor, None]:
        alpha, z = ctx.saved_tensors
        return g * standard_gamma_grad(alpha, z), None


@public("_standard_gamma", method=False)
def standard_gamma(input: Tensor, generator: Philox | None = None) -> Tensor:
    """Gamma numbers of rate 1 with the shape parameters in ``input``, a floating tensor; they have a gradient.

    >>> fb._standard_gamma(fb.ones(3)).shape
    flambeau.Size([3])
    """
    _need_floats("_standard_gamma", input=input)
    return StandardGamma.apply(input, generator)  # type: ignore[no-any-return]  # apply is for any function


@public("_standard_gamma_grad", method=False)
def standard_gamma_grad(input: Tensor, output: Tensor) -> Tensor:
    """How gamma numbers ``output`` move with their shape parameters ``input``: of floating dtype, broadcast.

    >>> fb._standard_gamma_grad(fb.tensor([2.0]), fb.tensor([1.0]))
    tensor([0.7508])
    """
    _need_floats("_standard_gamma_grad", input=input, output=output)
    nodes, terms = _sizes(input)
    return _precisely(lambda a, z: _in_pieces(_gamma_slope, nodes, terms, a, z), *broadcast_tensors(input, output))


def _sizes(like: Tensor) -> tuple[int, int]:
    return _FINE if like.dtype is dt.float64 else _COARSE


def _in_pieces(fn: Callable[..., Tensor], nodes: int, terms: int, *operands: Tensor) -> Tensor:
    """An elementwise function of columns (n, 1), computed for some thousand elements at a time."""
    shape, flat = tuple(operands[0].shape), [t.reshape((-1, 1)) for t in operands]
    pieces = zip(*(t.split(_PIECE) for t in flat), strict=True)
    return cat([fn(*piece, nodes, terms) for piece in pieces]).reshape(shape)


@functools.cache
def _rule(count: int) -> tuple[list[float], list[float]]:
    """Nodes and weights of Gauss and Legendre's rule in [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return ((nodes + 1) / 2).tolist(), (weights / 2).tolist()


def _integral(width: Tensor, count: int, fn: Callable[[Tensor], Tensor]) -> Tensor:
    """The integral of ``fn`` from 0 to ``width``, of columns."""
    nodes, weights = (tensor(v, dtype=dt.float64, device=width.device) for v in _rule(count))
    return width.squeeze(-1) * (fn(width * nodes) * weights).sum(-1)


def _gamma_slope(alpha: Tensor, z: Tensor, nodes: int, terms: int) -> Tensor:
    z = z.clamp(min=dt.finfo(dt.float64).tiny)
    small = z <= 3
    return where(small.squeeze(-1), _gamma_series(alpha, where(small, z, 1.0), terms // 2),
                 _gamma_quadrature(where(small, 4.0, alpha), where(small, 4.0, z), nodes))  # fmt: skip


def _gamma_series(alpha: Tensor, z: Tensor, count: int) -> Tensor:
    """From F = z**a exp(-z) / gamma(a + 1) times the sum of z**n / ((a + 1) ... (a + n)) (DLMF 8.7.1)."""
    k = arange(1, count + 1, dtype=dt.float64, device=z.device)
    terms, falling = (z / (alpha + k)).cumprod(-1), (1 / (alpha + k)).cumsum(-1)
    a, z = alpha.squeeze(-1), z.squeeze(-1)
    return -z / a * ((log_p(z) - digamma_p(a + 1)) * (1 + terms.sum(-1)) - (terms * falling).sum(-1))


def _gamma_quadrature(alpha: Tensor, z: Tensor, nodes: int) -> Tensor:
    """Over w, from log z down (side 1) below the mean, from log z up (side -1) above it."""
    side = where(z < alpha, 1.0, -1.0)
    score = side * (digamma_p(alpha) - log_p(z))
    m, rate = where(z < alpha, alpha - z - _TAIL / 2, z - alpha), where(z < alpha, alpha, z)
    width = 2 * _TAIL / (sqrt_p(m * m + 2 * _TAIL * rate) + m)
    found = _integral(width, nodes, lambda w: exp_p(-side * alpha * w - z * expm1_p(-side * w)) * (score + w))
    return z.squeeze(-1) * found


# -- Dirichlet numbers -------------------------------------------------------------------------------
class SampleDirichlet(Function):
    """Dirichlet numbers along the last axis; backward by the implicit gradient of each one's beta distribution."""

    @staticmethod
    def forward(alpha: Tensor, generator: Philox | None) -> Tensor:
        found = _precisely(lambda a: softmax_p(_log_gamma_numbers(a, generator), axis=-1), alpha)
        limits = dt.finfo(alpha._key.stored)
        return found.clamp(limits.tiny, 1 - limits.eps / 2)  # never at a vertex, where densities may be infinite

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], output)

    @staticmethod
    def backward(ctx: FunctionCtx, g: Tensor) -> tuple[Tensor, None]:
        alpha, x = ctx.saved_tensors
        slope = dirichlet_grad(x, alpha, alpha.sum(-1, keepdim=True).expand_as(alpha))
        return slope * (g - (x * g).sum(-1, keepdim=True)), None


@public("_sample_dirichlet", method=False)
def sample_dirichlet(input: Tensor, generator: Philox | None = None) -> Tensor:
    """Dirichlet numbers along the last axis with the concentrations in ``input``, floating; they have a gradient.

    >>> fb._sample_dirichlet(fb.ones(2, 3)).sum(-1).round()
    tensor([1., 1.])
    """
    _need_floats("_sample_dirichlet", input=input)
    return SampleDirichlet.apply(input, generator)  # type: ignore[no-any-return]  # apply is for any function


@public("_dirichlet_grad", method=False)
def dirichlet_grad(x: Tensor, alpha: Tensor, total: Tensor) -> Tensor:
    """How Dirichlet numbers ``x`` move with their concentrations ``alpha`` of sum ``total``, over 1 - x.

    >>> fb._dirichlet_grad(fb.tensor([0.2]), fb.tensor([1.0]), fb.tensor([3.0]))
    tensor([0.3277])
    """
    _need_floats("_dirichlet_grad", x=x, alpha=alpha, total=total)
    nodes, terms = _sizes(x)
    return _precisely(
        lambda x, a, t: _in_pieces(_beta_slope, nodes, terms, x, a, t - a), *broadcast_tensors(x, alpha, total)
    )  # fmt: skip


def _beta_slope(x: Tensor, a: Tensor, b: Tensor, nodes: int, terms: int) -> Tensor:
    """dx/da / (1 - x) of a beta number."""
    x = x.clamp(dt.finfo(dt.float64).tiny, 1 - dt.finfo(dt.float64).eps / 2)
    lower = x <= 0.5
    small = ((a < 1) | (b < 1)) & ((a + b) * where(lower, x, 1 - x) <= 1.5)
    x_small, x_large = where(small, x, 0.5), where(small, 0.5, x)
    p, q = where(small, 2.0, a), where(small, 2.0, b)
    return where(small.squeeze(-1), _beta_series(x_small, a, b, lower | ~small, terms),
                 _beta_quadrature(x_large, p, q, nodes))  # fmt: skip


def _beta_series(x: Tensor, a: Tensor, b: Tensor, lower: Tensor, count: int) -> Tensor:
    """From F = x**a (1 - x)**b / (a B(a, b)) times a hypergeometric series (DLMF 8.17.8), or 1 - F so of 1 - x."""
    k = arange(1, count + 1, dtype=dt.float64, device=x.device)
    first, total = where(lower, a, b), a + b
    terms = (where(lower, x, 1 - x) * (total + k - 1) / (first + k)).cumprod(-1)
    growth = (1 / (total + k - 1) - where(lower, 1.0, 0.0) / (a + k)).cumsum(-1)
    score = log_p(x) - digamma_p(a) + digamma_p(total) - where(lower, 1 / a, 0.0)
    slope = score.squeeze(-1) * (1 + terms.sum(-1)) + (terms * growth).sum(-1)
    return (where(lower, -x, x) / first).squeeze(-1) * slope


def _beta_quadrature(x: Tensor, a: Tensor, b: Tensor, nodes: int) -> Tensor:
    """Over w, from the logit of x down (side 1) where log x is below its mean, else up (side -1)."""
    score = digamma_p(a) - digamma_p(a + b) - log_p(x)
    side = where(score > 0, 1.0, -1.0)

    def fall(w: Tensor) -> tuple[Tensor, Tensor]:
        """By how much log x and log(1 - x) are smaller at w."""
        return log1p_p((1 - x) * expm1_p(side * w)), log1p_p(x * expm1_p(-side * w))

    def integrand(w: Tensor) -> Tensor:
        of_x, of_rest = fall(w)
        return exp_p(-a * of_x - b * of_rest) * side * (score + of_x)

    found = _integral(_beta_width(x, a, b, side, fall), nodes, integrand)
    return x.squeeze(-1) * found


def _beta_width(
    x: Tensor, a: Tensor, b: Tensor, side: Tensor, fall: Callable[[Tensor], tuple[Tensor, Tensor]]
) -> Tensor:
    """Where the density has fallen by exp(-40): Newton's method, from beyond, for a convex function."""
    down = side > 0
    rest = where(down, -log1p_p(-x), -log_p(x))
    w = ((_TAIL + (a + b) * rest) / where(down, a, b)).clamp(max=600.0)
    for _ in range(12):
        of_x, of_rest = fall(w)
        slope = side * (a * (1 - x) * exp_p(side * w - of_x) - b * x * exp_p(-side * w - of_rest))
        w = w - (a * of_x + b * of_rest - _TAIL) / slope
    return w
