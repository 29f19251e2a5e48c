"""Helpers that the distributions share: broadcasting, logits and probabilities, lazily made parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeAlias, TypeVar, overload

from flambeau.core.creation import arange, full, zeros
from flambeau.core.device import device as Device
from flambeau.core.dtype import DType, finfo, get_default_dtype
from flambeau.core.errors import ArgumentError
from flambeau.core.ops.expand import broadcast_tensors
from flambeau.core.ops.random import randn
from flambeau.core.state import enable_grad
from flambeau.core.tensor import Tensor
from flambeau.nn.functional import softmax

__all__ = [
    "broadcast_all", "clamp_probs", "lazy_property", "logits_to_probs", "probs_to_logits", "tril_matrix_to_vec",
    "vec_to_tril_matrix",
]  # fmt: skip

Value: TypeAlias = Tensor | float
Shape: TypeAlias = Sequence[int]
T = TypeVar("T")

euler_constant: Final = 0.57721566490153286060  # Euler and Mascheroni's


def broadcast_all(*values: Value) -> tuple[Tensor, ...]:
    """Tensors of one shape: numbers become tensors of the dtype and device of the first tensor.

    ValueError for what is neither a tensor nor a number.

    >>> fb.distributions.utils.broadcast_all(fb.ones(2), 3.0)
    (tensor([1., 1.]), tensor([3., 3.]))
    """
    for i, value in enumerate(values):
        if not isinstance(value, (Tensor, int, float)):
            raise ArgumentError(f"broadcast_all: value {i} must be a tensor or a number, got {type(value).__name__}")
    like = next((v for v in values if isinstance(v, Tensor)), None)
    dtype = get_default_dtype() if like is None else like.dtype
    device = None if like is None else like.device
    return tuple(
        broadcast_tensors(*(v if isinstance(v, Tensor) else full((), v, dtype=dtype, device=device) for v in values))
    )


def _standard_normal(shape: Shape, dtype: DType, device: Device) -> Tensor:
    return randn(tuple(shape), dtype=dtype, device=device)


def _sum_rightmost(value: Tensor, dim: int) -> Tensor:
    """The sum over the last ``dim`` axes."""
    return value.sum(tuple(range(-dim, 0))) if dim else value


def _all(valid: Tensor) -> bool:
    """Whether a check holds everywhere; inside a transform, whose tensors have no values, it is taken to."""
    return valid._key.level is not None or bool(valid.all())


def logits_to_probs(logits: Tensor, is_binary: bool = False) -> Tensor:
    """Probabilities: the sigmoid of binary logits, else the softmax along the last axis.

    >>> fb.distributions.utils.logits_to_probs(fb.zeros(4))
    tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    return logits.sigmoid() if is_binary else softmax(logits, dim=-1)


def clamp_probs(probs: Tensor) -> Tensor:
    """Probabilities held within [eps, 1 - eps] of their dtype, so that their logarithms are finite.

    >>> fb.distributions.utils.clamp_probs(fb.tensor([0.5, 1.0])) < 1.0
    tensor([True, True])
    """
    eps = finfo(probs._key.stored).eps
    return probs.clamp(eps, 1 - eps)


def probs_to_logits(probs: Tensor, is_binary: bool = False) -> Tensor:
    """Logits of (clamped) probabilities: log-odds of binary ones, else logarithms.

    >>> fb.distributions.utils.probs_to_logits(fb.tensor([0.5]), is_binary=True)
    tensor([0.])
    """
    safe = clamp_probs(probs)
    return safe.log() - (-safe).log1p() if is_binary else safe.log()


class lazy_property(Generic[T]):  # named as a decorator
    """A property that is computed at first need and then an attribute of the instance.

    >>> class Square:
    ...     @fb.distributions.utils.lazy_property
    ...     def area(self):
    ...         return 4.0
    >>> Square().area
    4.0
    """

    def __init__(self, wrapped: Callable[[Any], T]):
        self.wrapped = wrapped
        self.__doc__ = wrapped.__doc__
        self.__name__ = wrapped.__name__

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> _Unbound: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None) -> T: ...
    def __get__(self, instance: object, owner: type | None = None) -> T | _Unbound:
        if instance is None:
            return _Unbound(self.wrapped)
        with enable_grad():  # it is kept, also for those who want gradients
            value = self.wrapped(instance)
        setattr(instance, self.__name__, value)
        return value


class _Unbound(lazy_property[Any], property):
    """A lazy property seen on its class: a property to those who ask for its documentation."""

    def __init__(self, wrapped: Callable[[Any], Any]):
        property.__init__(self, wrapped)


def tril_matrix_to_vec(mat: Tensor, diag: int = 0) -> Tensor:
    """The entries of matrices (..., n, n) on and below diagonal ``diag``, row by row, as vectors.

    >>> fb.distributions.utils.tril_matrix_to_vec(fb.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([1., 3., 4.])
    """
    n = mat.shape[-1]
    if not -n <= diag < n:
        raise ArgumentError(f"tril_matrix_to_vec: diag must be in [{-n}, {n - 1}], got {diag}")
    return mat[..., _below(n, diag, mat.device)]


def vec_to_tril_matrix(vec: Tensor, diag: int = 0) -> Tensor:
    """Matrices (..., n, n) with the vectors' entries on and below diagonal ``diag``, row by row, else zeros.

    ValueError where no n has as many entries.

    >>> fb.distributions.utils.vec_to_tril_matrix(fb.tensor([1.0, 3.0, 4.0]))
    tensor([[1., 0.],
            [3., 4.]])
    """
    size = vec.shape[-1]
    root = ((1 + 2 * diag) ** 2 + 8 * size + 4 * abs(diag) * (diag + 1)) ** 0.5
    n = (-(1 + 2 * diag) + root) / 2
    if not math.isclose(n, round(n), abs_tol=finfo(vec.dtype).eps):
        raise ArgumentError(f"vec_to_tril_matrix: no matrix has {size} entries on and below diagonal {diag}")
    n = round(n)
    mat = zeros((*vec.shape[:-1], n, n), dtype=vec.dtype, device=vec.device)
    mat[..., _below(n, diag, vec.device)] = vec
    return mat


def _below(n: int, diag: int, device: Device) -> Tensor:
    rows = arange(n, device=device)
    return rows < rows.unsqueeze(-1) + (diag + 1)
