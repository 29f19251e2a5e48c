"""The transforms of numbers, vectors and matrices: exp, sigmoid, stick breaking, Cholesky factors and the like."""

from __future__ import annotations

import math
from typing import Any

from flambeau.core.creation import arange, eye, full_like
from flambeau.core.dtype import finfo
from flambeau.core.errors import ArgumentError
from flambeau.core.ops.decompose import cholesky
from flambeau.core.ops.expand import broadcast_shapes
from flambeau.core.size import Size
from flambeau.core.tensor import Tensor
from flambeau.distributions import constraints
from flambeau.distributions.transform import Transform
from flambeau.distributions.utils import Shape, Value, _sum_rightmost, tril_matrix_to_vec, vec_to_tril_matrix
from flambeau.nn.functional import logsigmoid, pad, softmax

__all__ = [
    "AbsTransform", "AffineTransform", "CorrCholeskyTransform", "ExpTransform", "LowerCholeskyTransform",
    "PositiveDefiniteTransform", "PowerTransform", "SigmoidTransform", "SoftmaxTransform", "SoftplusTransform",
    "StickBreakingTransform", "TanhTransform",
]  # fmt: skip


class _Alike(Transform):
    """A transform without parameters: those of a class are equal."""

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    __hash__ = object.__hash__


class _Monotone(_Alike):
    """A rising map of numbers."""

    domain: Any = constraints.real
    bijective = True
    sign: Any = 1


# -- numbers -----------------------------------------------------------------------------------------
class ExpTransform(_Monotone):
    """y = exp(x), from the reals to the positive numbers.

    >>> fb.distributions.ExpTransform()(fb.zeros(2))
    tensor([1., 1.])
    """

    codomain = constraints.positive

    def _call(self, x: Tensor) -> Tensor:
        return x.exp()

    def _inverse(self, y: Tensor) -> Tensor:
        return y.log()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return x


class PowerTransform(Transform):
    """y = x ** exponent, of positive numbers.

    >>> fb.distributions.PowerTransform(2)(fb.tensor([3.0]))
    tensor([9.])
    """

    domain = constraints.positive
    codomain = constraints.positive
    bijective = True

    def __init__(self, exponent: Value, cache_size: int = 0):
        super().__init__(cache_size=cache_size)
        self.exponent = exponent

    @property
    def _shape(self) -> Shape:
        return getattr(self.exponent, "shape", ())

    def with_cache(self, cache_size: int = 1) -> Transform:
        return self if self._cache_size == cache_size else PowerTransform(self.exponent, cache_size=cache_size)

    @property
    def sign(self) -> Any:  # Any: as in Transform
        """That of the exponent."""
        return self.exponent.sign() if isinstance(self.exponent, Tensor) else math.copysign(1, self.exponent)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PowerTransform) and _equal(self.exponent, other.exponent)

    __hash__ = object.__hash__

    def _call(self, x: Tensor) -> Tensor:
        return x.pow(self.exponent)

    def _inverse(self, y: Tensor) -> Tensor:
        return y.pow(1 / self.exponent)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return (self.exponent * y / x).abs().log()

    def forward_shape(self, shape: Shape) -> Shape:
        return broadcast_shapes(tuple(shape), tuple(self._shape))

    inverse_shape = forward_shape


def _equal(x: Value, y: Value) -> bool:
    """Whether two parameters are equal everywhere."""
    if isinstance(x, Tensor) or isinstance(y, Tensor):
        found = x == y
        return bool(found.all()) if isinstance(found, Tensor) else found
    return x == y


class SigmoidTransform(_Monotone):
    """y = 1 / (1 + exp(-x)), from the reals to (0, 1): held so far from both ends that the inverse is finite.

    >>> fb.distributions.SigmoidTransform()(fb.zeros(1))
    tensor([0.5000])
    """

    codomain = constraints.unit_interval

    def _call(self, x: Tensor) -> Tensor:
        return _clipped_sigmoid(x)

    def _inverse(self, y: Tensor) -> Tensor:
        limits = finfo(y._key.stored)
        y = y.clamp(limits.tiny, 1 - limits.eps)
        return y.log() - (-y).log1p()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return logsigmoid(x) + logsigmoid(-x)


def _clipped_sigmoid(x: Tensor) -> Tensor:
    limits = finfo(x._key.stored)
    return x.sigmoid().clamp(limits.tiny, 1 - limits.eps)


class SoftplusTransform(_Monotone):
    """y = log(1 + exp(x)), from the reals to the positive numbers.

    >>> fb.distributions.SoftplusTransform()(fb.zeros(1))
    tensor([0.6931])
    """

    codomain = constraints.positive

    def _call(self, x: Tensor) -> Tensor:
        return -logsigmoid(-x)

    def _inverse(self, y: Tensor) -> Tensor:
        return (-y).expm1().neg().log() + y

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return logsigmoid(x)


class TanhTransform(_Monotone):
    """y = tanh(x), from the reals to (-1, 1).

    >>> fb.distributions.TanhTransform()(fb.zeros(1))
    tensor([0.])
    """

    codomain = constraints.interval(-1.0, 1.0)

    def _call(self, x: Tensor) -> Tensor:
        return x.tanh()

    def _inverse(self, y: Tensor) -> Tensor:
        return y.atanh()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return _log_slope_of_tanh(x)


def _log_slope_of_tanh(x: Tensor) -> Tensor:
    """log(1 - tanh(x)**2), where that is 0 in floating point too: 4 times the product of two sigmoids."""
    return 2 * math.log(2) + logsigmoid(2 * x) + logsigmoid(-2 * x)


class AbsTransform(_Alike):
    """y = abs(x); the inverse gives the positive x.

    >>> fb.distributions.AbsTransform()(fb.tensor([-2.0]))
    tensor([2.])
    """

    domain = constraints.real
    codomain = constraints.positive

    def _call(self, x: Tensor) -> Tensor:
        return x.abs()

    def _inverse(self, y: Tensor) -> Tensor:
        return y


class AffineTransform(Transform):
    """y = loc + scale * x, of events of ``event_dim`` axes.

    >>> fb.distributions.AffineTransform(1.0, 2.0)(fb.tensor([3.0]))
    tensor([7.])
    """

    bijective = True

    def __init__(self, loc: Value, scale: Value, event_dim: int = 0, cache_size: int = 0):
        super().__init__(cache_size=cache_size)
        self.loc, self.scale, self._event_dim = loc, scale, event_dim

    @property
    def event_dim(self) -> int:
        """The number of axes of an event."""
        return self._event_dim

    @constraints.dependent_property(is_discrete=False)
    def domain(self) -> Any:
        """The reals."""
        return constraints.independent(constraints.real, self._event_dim) if self._event_dim else constraints.real

    @constraints.dependent_property(is_discrete=False)
    def codomain(self) -> Any:
        """The reals."""
        return self.domain

    def with_cache(self, cache_size: int = 1) -> Transform:
        if self._cache_size == cache_size:
            return self
        return AffineTransform(self.loc, self.scale, self._event_dim, cache_size=cache_size)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AffineTransform) and _equal(self.loc, other.loc) and _equal(self.scale, other.scale)

    __hash__ = object.__hash__

    @property
    def sign(self) -> Any:  # Any: as in Transform
        """That of the scale."""
        if isinstance(self.scale, Tensor):
            return self.scale.sign()
        return (self.scale > 0) - (self.scale < 0)

    def _call(self, x: Tensor) -> Tensor:
        return self.loc + self.scale * x

    def _inverse(self, y: Tensor) -> Tensor:
        return (y - self.loc) / self.scale

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        scale = self.scale
        if not isinstance(scale, Tensor):
            each = full_like(x, math.log(abs(scale)))
        else:
            shape = broadcast_shapes(tuple(x.shape), tuple(scale.shape))
            each = scale.abs().log().expand(shape)
        return _sum_rightmost(each, self._event_dim)

    def forward_shape(self, shape: Shape) -> Shape:
        return broadcast_shapes(
            tuple(shape), *(tuple(v.shape) for v in (self.loc, self.scale) if isinstance(v, Tensor))
        )

    inverse_shape = forward_shape


# -- vectors -----------------------------------------------------------------------------------------
class SoftmaxTransform(_Alike):
    """y = softmax(x), from real vectors to the simplex; the inverse is log(y), one of many.

    >>> fb.distributions.SoftmaxTransform()(fb.zeros(2))
    tensor([0.5000, 0.5000])
    """

    domain = constraints.real_vector
    codomain = constraints.simplex

    def _call(self, x: Tensor) -> Tensor:
        return softmax(x, dim=-1)

    def _inverse(self, y: Tensor) -> Tensor:
        return y.log()

    def forward_shape(self, shape: Shape) -> Shape:
        return _with_axes(self, shape, 1)

    inverse_shape = forward_shape


def _with_axes(transform: Transform, shape: Shape, count: int) -> Shape:
    if len(shape) < count:
        raise ArgumentError(f"{type(transform).__name__}: expects at least {count} axes, got the shape {tuple(shape)}")
    return shape


class StickBreakingTransform(_Alike):
    """Real vectors of n numbers to the simplex of n + 1: each number says which part of the rest to break off.

    The numbers are moved so that zeros give equal parts.

    >>> fb.distributions.StickBreakingTransform()(fb.zeros(1))
    tensor([0.5000, 0.5000])
    """

    domain = constraints.real_vector
    codomain = constraints.simplex
    bijective = True

    def _moved(self, x: Tensor) -> Tensor:
        return x - self._log_left(x)

    def _log_left(self, x: Tensor) -> Tensor:
        """log(n), ..., log(1)."""
        return arange(x.shape[-1], 0, -1, dtype=x.dtype, device=x.device).log()

    def _call(self, x: Tensor) -> Tensor:
        part = _clipped_sigmoid(self._moved(x))
        rest = (1 - part).cumprod(-1)
        return pad(part, [0, 1], value=1) * pad(rest, [1, 0], value=1)

    def _inverse(self, y: Tensor) -> Tensor:
        first = y[..., :-1]
        rest = (1 - first.cumsum(-1)).clamp(min=finfo(y._key.stored).tiny)
        return first.log() - rest.log() + self._log_left(first)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return (y[..., :-1].log() + logsigmoid(-self._moved(x))).sum(-1)

    def forward_shape(self, shape: Shape) -> Shape:
        shape = _with_axes(self, shape, 1)
        return Size((*shape[:-1], shape[-1] + 1))

    def inverse_shape(self, shape: Shape) -> Shape:
        shape = _with_axes(self, shape, 1)
        return Size((*shape[:-1], shape[-1] - 1))


# -- matrices ----------------------------------------------------------------------------------------
class CorrCholeskyTransform(Transform):
    """Real vectors of n (n - 1) / 2 numbers to Cholesky factors of n x n correlation matrices.

    Their tanh are canonical partial correlations (Lewandowski, Kurowicka and Joe, "Generating random correlation
    matrices based on vines and extended onion method", 2009): entry j of a row is one times what length the row has
    left after the entries before it.

    >>> fb.distributions.transforms.CorrCholeskyTransform()(fb.zeros(1))
    tensor([[1., 0.],
            [0., 1.]])
    """

    domain = constraints.real_vector
    codomain = constraints.corr_cholesky
    bijective = True

    def _call(self, x: Tensor) -> Tensor:
        eps = finfo(x._key.stored).eps
        r = vec_to_tril_matrix(x.tanh().clamp(-1 + eps, 1 - eps), diag=-1)
        left = pad((1 - r * r).sqrt().cumprod(-1)[..., :-1], [1, 0], value=1)
        return (r + eye(r.shape[-1], dtype=r.dtype, device=r.device)) * left

    def _inverse(self, y: Tensor) -> Tensor:
        left = pad((1 - (y * y).cumsum(-1))[..., :-1], [1, 0], value=1)
        r = tril_matrix_to_vec(y, diag=-1) / tril_matrix_to_vec(left, diag=-1).sqrt()
        return r.atanh()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        left = tril_matrix_to_vec(1 - (y * y).cumsum(-1), diag=-2)
        return 0.5 * left.log().sum(-1) + _log_slope_of_tanh(x).sum(-1)

    def forward_shape(self, shape: Shape) -> Shape:
        count = _with_axes(self, shape, 1)[-1]
        n = round((0.25 + 2 * count) ** 0.5 + 0.5)
        if n * (n - 1) // 2 != count:
            raise ArgumentError(f"CorrCholeskyTransform: no n has n (n - 1) / 2 = {count} entries below the diagonal")
        return Size((*shape[:-1], n, n))

    def inverse_shape(self, shape: Shape) -> Shape:
        rows, n = _with_axes(self, shape, 2)[-2:]
        if rows != n:
            raise ArgumentError(f"CorrCholeskyTransform: expects square matrices, got the shape {tuple(shape)}")
        return Size((*shape[:-2], n * (n - 1) // 2))


class LowerCholeskyTransform(_Alike):
    """Matrices to lower triangular ones with a positive diagonal, the exponential of their own.

    >>> fb.distributions.LowerCholeskyTransform()(fb.zeros(2, 2))
    tensor([[1., 0.],
            [0., 1.]])
    """

    domain = constraints.independent(constraints.real, 2)
    codomain = constraints.lower_cholesky

    def _call(self, x: Tensor) -> Tensor:
        return x.tril(-1) + x.diagonal(dim1=-2, dim2=-1).exp().diag_embed()

    def _inverse(self, y: Tensor) -> Tensor:
        return y.tril(-1) + y.diagonal(dim1=-2, dim2=-1).log().diag_embed()


class PositiveDefiniteTransform(_Alike):
    """Matrices to positive definite ones, by their Cholesky factors.

    >>> fb.distributions.PositiveDefiniteTransform()(fb.zeros(1, 1))
    tensor([[1.]])
    """

    domain = constraints.independent(constraints.real, 2)
    codomain = constraints.positive_definite

    def _call(self, x: Tensor) -> Tensor:
        factor = LowerCholeskyTransform()(x)
        return factor @ factor.mT

    def _inverse(self, y: Tensor) -> Tensor:
        return LowerCholeskyTransform().inv(cholesky(y))
