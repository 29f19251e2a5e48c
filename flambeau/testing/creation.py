"""Tensors of random values to test with."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Final

from flambeau.core import dtype as dt
from flambeau.core.blame import users_level
from flambeau.core.creation import empty, full
from flambeau.core.device import device as Device
from flambeau.core.dtype import DType, finfo, iinfo
from flambeau.core.memory_format import MemoryFormat
from flambeau.core.ops.joining import stack
from flambeau.core.ops.random import rand, randint
from flambeau.core.ops.views import view_as_complex
from flambeau.core.tensor import Tensor

__all__ = ["make_tensor"]

#: Values by default, [low, high): of floating dtypes, of complex ones the parts.
_FLOATING: Final = (-9.0, 9.0)


def make_tensor(
    *shape: int | Sequence[int], dtype: DType, device: str | Device, low: float | None = None,
    high: float | None = None, requires_grad: bool = False, noncontiguous: bool = False, exclude_zero: bool = False,
    memory_format: MemoryFormat | None = None,
) -> Tensor:  # fmt: skip
    """A tensor of even random values in [low, high).

    Args:
        shape: sizes, or one sequence of them.
        dtype: of the values; of complex ones both parts are drawn.
        device: where it is.
        low, high: by default -9 and 9 for floating and complex dtypes, -9 and 10 for signed integers, 0 and 10 for
            unsigned ones, 0 and 2 for bool. Infinities stand for the dtype's largest values.
        requires_grad: for floating and complex dtypes.
        noncontiguous: with gaps in memory, where it has two elements or more.
        exclude_zero: the smallest positive value instead of zeros, 1 for integers.
        memory_format: excludes ``noncontiguous``.

    Raises:
        ValueError: bounds that are nan, in the wrong order or beyond the dtype.

    >>> fb.testing.make_tensor((2, 3), dtype=fb.int64, device="cpu", low=4, high=5)
    tensor([[4, 4, 4], [4, 4, 4]])
    """
    sizes = tuple(shape[0]) if len(shape) == 1 and not isinstance(shape[0], int) else shape
    if noncontiguous and memory_format is not None:
        raise ValueError(
            "The parameters `noncontiguous` and `memory_format` are mutually exclusive, but got "
            f"noncontiguous={noncontiguous} and memory_format={memory_format}"
        )
    inexact = dtype.is_floating_point or dtype.is_complex
    if requires_grad and not inexact:
        raise ValueError(
            f"`requires_grad=True` is not supported for boolean and integral dtypes, but got dtype={dtype}"
        )
    lowest, highest = _checked(dtype, low, high)
    if noncontiguous and math.prod(sizes) > 1:  # type: ignore[arg-type]
        sizes = (*sizes[:-1], 2 * sizes[-1])  # type: ignore[operator]
    made = _drawn(sizes, dtype, device, lowest, highest)  # type: ignore[arg-type]
    if noncontiguous and made.numel() > 2:
        made = made[..., ::2]
    if memory_format is not None:
        made = made.clone(memory_format=memory_format)
    if exclude_zero:
        made[made == 0] = 1 if not inexact else finfo(dtype).tiny
    return made.requires_grad_(requires_grad) if requires_grad else made


def _checked(dtype: DType, low: float | None, high: float | None) -> tuple[float, float]:
    """The bounds, within what the dtype has."""
    if dtype is dt.bool_:
        usual, limits = (0, 2), (0, 2)
    elif dtype.is_floating_point or dtype.is_complex:
        usual, limits = _FLOATING, (finfo(dtype).min, finfo(dtype).max)  # type: ignore[assignment]
    else:
        info = iinfo(dtype)
        usual, limits = (0 if info.min == 0 else -9, 10), (info.min, info.max + 1)
    lower, upper = usual[0] if low is None else low, usual[1] if high is None else high
    if math.isnan(lower) or math.isnan(upper):
        raise ValueError(f"`low` and `high` cannot be NaN, but got low={lower} and high={upper}")
    inexact = dtype.is_floating_point or dtype.is_complex
    if lower == upper and inexact:
        warnings.warn(
            "Passing `low==high` to make_tensor for floating or complex types is deprecated; use full(...) instead.",
            FutureWarning, stacklevel=users_level(),
        )  # fmt: skip
    elif lower >= upper:
        raise ValueError(f"`low` must be less than `high`, but got {lower} >= {upper}")
    elif upper < limits[0] or lower >= limits[1]:
        raise ValueError(
            f"The value interval specified by `low` and `high` is [{lower}, {upper}), but {dtype} only supports "
            f"[{limits[0]}, {limits[1]})"
        )
    lower, upper = max(lower, limits[0]), min(upper, limits[1])
    return (lower, upper) if inexact else (math.ceil(lower), math.ceil(upper))


def _drawn(shape: tuple[int, ...], dtype: DType, device: str | Device, low: float, high: float) -> Tensor:
    if dtype.is_complex:
        part = dt.float32 if dtype is dt.complex64 else dt.float64
        return view_as_complex(stack([_drawn(shape, part, device, low, high) for _ in range(2)], dim=-1))
    if not dtype.is_floating_point:
        if dtype is dt.bool_:
            return randint(int(low), int(high), shape, device=device).to(dtype)
        if dtype is dt.uint64:
            low, high = min(low, iinfo(dt.int64).max - 1), min(high, iinfo(dt.int64).max)
        return randint(int(low), int(high), shape, dtype=dt.int64, device=device).to(dtype)
    if low == high:
        return full(shape, low, dtype=dtype, device=device)
    if not math.prod(shape):
        return empty(shape, dtype=dtype, device=device)
    share = rand(shape, dtype=dtype if dtype is dt.float64 else dt.float32, device=device)
    # Each bound by its own share, so that their difference, which may overflow, is never taken.
    return (share * high + (1 - share) * low).to(dtype)
