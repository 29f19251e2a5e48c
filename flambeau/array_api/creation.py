"""The functions of the array API standard that make arrays, and those about dtypes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from flambeau.core import creation, exchange, from_data
from flambeau.core import dtype as dt
from flambeau.core.creation import empty_like, full_like, ones_like, zeros_like
from flambeau.core.device import DeviceLike
from flambeau.core.dtype import DType, Number
from flambeau.core.errors import NumberError
from flambeau.core.ops import joining, standard, triangle
from flambeau.core.ops.array_api import __array_namespace_info__, astype, isdtype
from flambeau.core.tensor import Tensor

__all__ = [
    "__array_namespace_info__", "arange", "asarray", "astype", "can_cast", "empty", "empty_like", "eye", "finfo",
    "from_dlpack", "full", "full_like", "iinfo", "isdtype", "linspace", "meshgrid", "ones", "ones_like", "result_type",
    "tril", "triu", "zeros", "zeros_like",
]  # fmt: skip

Shape = int | Sequence[int]


def asarray(
    obj: Any, /, *, dtype: DType | None = None, device: DeviceLike = None, copy: bool | None = None
) -> Tensor:  # Any: numbers, nested sequences, arrays  # fmt: skip
    """A tensor of data, which shares the memory of an array unless ``copy``.

    >>> fb.array_api.asarray([1, 2], dtype=fb.int8)
    tensor([1, 2], dtype=flambeau.int8)
    """
    try:
        return from_data.asarray(obj, dtype=dtype, device=device, copy=copy)
    except NumberError:
        if dtype is not dt.uint64:
            raise
        return from_data.asarray(np.asarray(obj, np.uint64), dtype=dtype, device=device)  # ints beyond int64


def arange(
    start: float, /, stop: float | None = None, step: float = 1, *, dtype: DType | None = None,
    device: DeviceLike = None,
) -> Tensor:  # fmt: skip
    """Numbers from ``start`` (0, where one number alone is given) up to ``stop``, which is left out; none there may be.

    >>> fb.array_api.arange(3, 1), fb.array_api.arange(3)
    (tensor([], dtype=flambeau.int64), tensor([0, 1, 2]))
    """
    start, stop = (0, start) if stop is None else (start, stop)
    if (stop - start) * step <= 0 and step:
        whole = all(isinstance(v, int) for v in (start, stop, step))
        return creation.empty(0, dtype=(dt.int64 if whole else None) if dtype is None else dtype, device=device)
    return creation.arange(start, stop, step, dtype=dtype, device=device)


def empty(shape: Shape, *, dtype: DType | None = None, device: DeviceLike = None) -> Tensor:
    """A tensor whose values are whatever was in its memory."""
    return creation.empty(shape, dtype=dtype, device=device)


def zeros(shape: Shape, *, dtype: DType | None = None, device: DeviceLike = None) -> Tensor:
    """A tensor of zeros."""
    return creation.zeros(shape, dtype=dtype, device=device)


def ones(shape: Shape, *, dtype: DType | None = None, device: DeviceLike = None) -> Tensor:
    """A tensor of ones."""
    return creation.ones(shape, dtype=dtype, device=device)


def full(shape: Shape, fill_value: Number, *, dtype: DType | None = None, device: DeviceLike = None) -> Tensor:
    """A tensor of one value."""
    return creation.full((shape,) if isinstance(shape, int) else shape, fill_value, dtype=dtype, device=device)


def eye(
    n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: DType | None = None, device: DeviceLike = None
) -> Tensor:
    """A matrix of zeros with ones on its ``k``-th diagonal.

    >>> fb.array_api.eye(2, 3, k=1)
    tensor([[0., 1., 0.],
            [0., 0., 1.]])
    """
    n_cols = n_rows if n_cols is None else n_cols
    wide = creation.zeros((n_rows, n_cols), dtype=dtype, device=device)
    if -n_rows < k < n_cols:
        wide.diagonal(k).fill_(1)
    return wide


def linspace(
    start: Number, stop: Number, /, num: int, *, dtype: DType | None = None, device: DeviceLike = None,
    endpoint: bool = True,
) -> Tensor:  # fmt: skip
    """``num`` numbers at equal distances from ``start`` to ``stop``, which is the last one if ``endpoint``.

    >>> fb.array_api.linspace(0, 1, 4, endpoint=False)
    tensor([0.0000, 0.2500, 0.5000, 0.7500])
    """
    if endpoint:
        return creation.linspace(start, stop, num, dtype=dtype, device=device)
    return creation.linspace(start, stop, num + 1, dtype=dtype, device=device)[:num]


def from_dlpack(
    x: Any, /, *, device: DeviceLike = None, copy: bool | None = None
) -> Tensor:  # Any: has __dlpack__  # fmt: skip
    """A tensor that shares the memory of an array of another library."""
    return exchange.from_dlpack(x, device=device, copy=copy)


def meshgrid(*arrays: Tensor, indexing: Literal["xy", "ij"] = "xy") -> list[Tensor]:
    """Coordinates of a grid from those along each axis; "xy": the second array goes down."""
    return list(joining.meshgrid(*arrays, indexing=indexing)) if arrays else []


def tril(x: Tensor, /, *, k: int = 0) -> Tensor:
    """The lower triangle of each matrix, the ``k``-th diagonal its border; elsewhere zeros."""
    return triangle.tril_p(x, k)


def triu(x: Tensor, /, *, k: int = 0) -> Tensor:
    """The upper triangle of each matrix, the ``k``-th diagonal its border; elsewhere zeros."""
    return triangle.triu_p(x, k)


def _dtype_of(value: DType | Tensor) -> DType:
    return value.dtype if isinstance(value, Tensor) else value


def can_cast(from_: DType | Tensor, to: DType, /) -> bool:
    """Whether promotion would take ``from_`` to ``to``.

    >>> fb.array_api.can_cast(fb.int8, fb.int32), fb.array_api.can_cast(fb.int64, fb.float32)
    (True, False)
    """
    given = _dtype_of(from_)
    joined = {given.category, to.category}
    if len(joined) > 1 and joined & {dt.BOOL, dt.INTEGER}:
        return False
    try:
        return dt.promote_types(given, to) is to
    except TypeError:  # uint64 and a signed dtype promote to none
        return False


def result_type(*arrays_and_dtypes: Tensor | DType | Number) -> DType:
    """What arrays, dtypes and numbers promote to; a number counts by its kind alone.

    >>> fb.array_api.result_type(fb.int8, fb.ones((), dtype=fb.int16), 3)
    flambeau.int16
    """
    dtypes = [_dtype_of(v) for v in arrays_and_dtypes if isinstance(v, (Tensor, DType))]
    numbers = [v for v in arrays_and_dtypes if isinstance(v, (bool, int, float, complex))]
    if not dtypes or len(dtypes) + len(numbers) < len(arrays_and_dtypes):
        raise TypeError("result_type: expects arrays, dtypes and numbers, and at least one array or dtype")
    found = standard.common(dtypes)
    for kind in (dt.scalar_dtype(v) for v in numbers):
        if kind.category > found.category:
            real = found if found.category == dt.FLOATING else dt.get_default_dtype()
            found = kind if kind.category < dt.FLOATING else real.to_complex() if kind.category == dt.COMPLEX else real
    return found


class FloatLimits(NamedTuple):
    """What :func:`finfo` says of a floating point dtype; of a complex one, of its parts."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: DType


class IntLimits(NamedTuple):
    """What :func:`iinfo` says of an integer dtype."""

    bits: int
    max: int
    min: int
    dtype: DType


def finfo(type: DType | Tensor, /) -> FloatLimits:
    """The limits of a floating point dtype.

    >>> fb.array_api.finfo(fb.complex64).dtype
    flambeau.float32
    """
    info, dtype = dt.finfo(_dtype_of(type)), _dtype_of(type).to_real()
    return FloatLimits(info.bits, info.eps, info.max, info.min, info.smallest_normal, dtype)


def iinfo(type: DType | Tensor, /) -> IntLimits:
    """The limits of an integer dtype.

    >>> fb.array_api.iinfo(fb.ones(2, dtype=fb.int8)).max
    127
    """
    info = dt.iinfo(_dtype_of(type))
    return IntLimits(info.bits, info.max, info.min, _dtype_of(type))
