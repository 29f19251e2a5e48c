"""Devices without int64, bool or float64: how such tensors are held in the dtypes that there are.

A tensor's dtype is what the user asked for. A key's ``stored`` is what its arrays have
(:meth:`flambeau.backends.base.Backend.stored`), and kernels see nothing else. Here is what stands between the two:
values that come from the host are checked, and a few kernels, those that are told a dtype or that would leave the 0
and 1 of a bool, are wrapped when they are looked up. A device that has every dtype meets none of this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import numpy as np

from flambeau.backends.base import MINIMUM, Array, HostArray, Kernel
from flambeau.core import dtype as dt
from flambeau.core.device import device
from flambeau.core.dtype import DType
from flambeau.core.errors import DTypeError
from flambeau.core.record import VIEW, Op

Key: TypeAlias = Any  # of core.keys, which stands above

#: Of bools held as 0 and 1: the kernel of integers that stands for the op.
_INSTEAD: Final = {"add": "bitwise_or", "mul": "bitwise_and", "sub": "bitwise_xor"}
#: What moves elements, whatever they mean; of other kernels those of the minimum alone are asked.
_MOVING: Final = frozenset({"cast", "clone", "full", "empty", "cat", "pad", "flip", "copy", "to_device"})
#: Kernels of integers whose result for bools must be made 0 and 1 again.
_COUNTING: Final = ("matmul", "scatter", "sum")


# -- values ------------------------------------------------------------------------------------------
def checked(host: HostArray, dtype: DType, stored: DType, where: device) -> HostArray:
    """Host values of ``dtype`` as ``stored``; DTypeError where one is out of its range."""
    if host.size and dtype.category == dt.INTEGER:
        limits = dt.iinfo(stored)
        low, high = int(host.min()), int(host.max())
        if low < limits.min or high > limits.max:
            raise out_of_range(high if high > limits.max else low, dtype, stored, where)
    with np.errstate(all="ignore"):
        held = host.astype(stored.numpy)
    if host.size and dtype.category == dt.FLOATING:
        lost = np.isinf(held) & np.isfinite(host)
        if lost.any():
            raise out_of_range(float(host[lost].flat[0]), dtype, stored, where)
    return held


def number(value: Any, dtype: DType, stored: DType, where: device) -> Any:  # Any: as Python and numpy have numbers
    """A Python number as an element of ``dtype``, which is held as ``stored``; DTypeError where it is out of range."""
    if dtype.category == dt.BOOL:
        return bool(value)
    if dtype.category == dt.INTEGER:
        whole = int(value.real) if isinstance(value, (float, complex)) else int(value)
        whole = (whole + (1 << 63)) % (1 << 64) - (1 << 63)  # as it would be in int64
        limits = dt.iinfo(stored)
        if not limits.min <= whole <= limits.max:
            raise out_of_range(whole, dtype, stored, where)
        return whole
    return value


def out_of_range(value: float, dtype: DType, stored: DType, where: device) -> DTypeError:
    largest = dt.iinfo(stored).max if stored.category == dt.INTEGER else dt.finfo(stored).max
    return DTypeError(
        f"{value} does not fit on device {str(where)!r}, which has no {dtype.name} and holds it as {stored.name}, "
        f"up to {largest}; keep such values on the cpu"
    )


def check_bytes(name: str, key: Key) -> None:
    """DTypeError where the bytes of a dtype are asked for that the device holds as another."""
    if key.stored is not key.dtype:
        raise DTypeError(
            f"{name}: device {str(key.device)!r} holds {key.dtype.name} as {key.stored.name}, so the bytes are not "
            f"those of {key.dtype.name}; convert the values with .to(dtype), or view them on the cpu"
        )


# -- kernels -----------------------------------------------------------------------------------------
def name_of(op: Op, key: Key) -> str | None:
    """The kernel that may serve an op: of bools held as numbers one that keeps them 0 and 1, or None for the body."""
    if not key.truth or op.family is VIEW or op.name in _MOVING:
        return op.name
    return _INSTEAD.get(op.name, op.name) if op.name in MINIMUM else None


_NUMBERS = ("uniform_numbers", "normal_numbers", "integer_numbers")


def adapted(kernel: Kernel | None, op: Op, key: Key) -> Kernel | None:
    """A kernel of a device that lacks dtypes, as the dispatcher may call it."""
    if kernel is None:
        return None
    if op.name in _NUMBERS and key.stored is not key.dtype:
        return None  # the body knows how many words a number of key.dtype takes
    special = _ADAPTED.get(op.name)
    if special is not None:
        return special(kernel, key)
    if any(p.type == "DType" for p in op.schema.params):
        return lambda *arrays, dtype, **params: kernel(*arrays, dtype=held(key, dtype), **params)
    if key.truth and op.name in _COUNTING:
        return lambda *arrays, **params: truth(key, kernel(*arrays, **params))
    return kernel


def held(key: Key, dtype: DType) -> DType:
    """What holds ``dtype`` on the key's device; DTypeError where nothing can."""
    stored: DType = key.sibling(dtype).stored
    return stored


def truth(key: Key, x: Array) -> Array:
    """0 and 1 for the elements of ``x``, an array of ``key``, that are 0 and that are not."""
    bools = key.boolean
    zeros = key.eq(x, key.constant(0))
    return bools.eq(zeros, bools.constant(False))


def _cast(kernel: Kernel, key: Key) -> Kernel:
    def cast(x: Array, *, dtype: DType) -> Array:
        goal = key.sibling(dtype)
        if goal.truth and not key.truth and key.dtype is not dt.bool_:
            return truth(key, x)
        return kernel(x, dtype=goal.stored)

    return cast


def _full(kernel: Kernel, key: Key) -> Kernel:
    def full(*, value: Any, dtype: DType, **params: Any) -> Array:
        goal = key.sibling(dtype)
        return kernel(value=goal.element(value), dtype=goal.stored, **params)

    return full


def _pad(kernel: Kernel, key: Key) -> Kernel:
    return lambda x, *, value=0, **params: kernel(x, value=key.element(value), **params)


def _arange(kernel: Kernel, key: Key) -> Kernel:
    def arange(start: Any, step: Any, *, length: int, dtype: DType, **params: Any) -> Array:
        goal = key.sibling(dtype)
        if length:
            for end in (start, start + (length - 1) * step):
                goal.element(end)
        return kernel(start, step, length=length, dtype=goal.stored, **params)

    return arange


def _view_dtype(kernel: Kernel, key: Key) -> Kernel:
    def view_dtype(x: Array, *, dtype: DType) -> Array:
        goal = key.sibling(dtype)
        if key.dtype.itemsize * goal.stored.itemsize != dtype.itemsize * key.stored.itemsize:  # no shape fits
            check_bytes("view_dtype", key)
            check_bytes("view_dtype", goal)
        return kernel(x, dtype=goal.stored)

    return view_dtype


_ADAPTED: Final[dict[str, Callable[[Kernel, Key], Kernel]]] = {
    "cast": _cast, "full": _full, "pad": _pad, "arange": _arange, "view_dtype": _view_dtype,
}  # fmt: skip
