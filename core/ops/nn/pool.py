"""Pooling over windows of (N, C, *S): maximum with indices, and average."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from flambeau.core import dtype as dt
from flambeau.core.creation import arange
from flambeau.core.declare import OpFunction, composite
from flambeau.core.errors import DTypeError, ShapeError
from flambeau.core.ops.elementwise import where
from flambeau.core.ops.nn.conv import padded, spread, windows
from flambeau.core.ops.nn.resample import AxisTaps, resample_p
from flambeau.core.ops.nn.rules import Shape, floats, means, reals, served
from flambeau.core.record import DTypeRule
from flambeau.core.tensor import Tensor

Indices: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]


def pool_size(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil: bool) -> int:
    """How many windows there are; with ``ceil`` a last one may stick out, if it starts inside."""
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    count = (room + (stride - 1 if ceil else 0)) // stride + 1
    if ceil and (count - 1) * stride >= size + padding:
        count -= 1
    return count


@lru_cache(1024)
def _sizes(name: str, x: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, ceil: bool) -> Shape:
    n = len(kernel)
    name = f"{name}{n}d"
    if len(x) != n + 2:
        raise ShapeError(f"{name}: input must have {n + 2} dimensions (N, C, and {n} sizes), got shape {tuple(x)}")
    if 0 in x[1:]:
        raise ShapeError(f"{name}: only the batch of input (N, C, and {n} sizes) may be empty, got shape {tuple(x)}")
    for option, value, least in (
        ("kernel_size", kernel, 1),
        ("stride", stride, 1),
        ("padding", padding, 0),
        ("dilation", dilation, 1),
    ):
        if len(value) != n or any(v < least for v in value):
            raise ShapeError(f"{name}: {option} must be {n} numbers of at least {least}, got {tuple(value)}")
    if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        raise ShapeError(f"{name}: padding {tuple(padding)} must be at most half of kernel_size {tuple(kernel)}")
    sizes = tuple(pool_size(*v, ceil) for v in zip(x[2:], kernel, stride, padding, dilation, strict=True))
    if any(s < 1 for s in sizes):
        raise ShapeError(
            f"{name}: input of shape {tuple(x)} is smaller than kernel_size {tuple(kernel)} with "
            f"padding={tuple(padding)} "
            f"and dilation={tuple(dilation)}: the result would have sizes {sizes}"
        )
    return sizes


def _after(sizes: Shape, x: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape) -> list[int]:
    """The space after each axis that the last window needs; negative where elements are left over."""
    return [
        (o - 1) * s + d * (k - 1) + 1 - p - n
        for o, n, k, s, p, d in zip(sizes, x, kernel, stride, padding, dilation, strict=True)
    ]


# -- max ---------------------------------------------------------------------------------------------
_MAX = "kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, ceil: bool"
_and_index: DTypeRule = reals.but("and_index", result=("same", "index"))


def _max_infer(
    x: Shape, *, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, ceil: bool
) -> tuple[Shape, Shape]:
    shape = (*x[:2], *_sizes("max_pool", tuple(x), kernel, stride, padding, dilation, ceil))
    return shape, shape


def lowest(x: Tensor) -> float:
    """The value that no maximum prefers, of the dtype of ``x``."""
    if x._key.dtype.category >= dt.FLOATING:
        return -math.inf
    return False if x._key.dtype is dt.bool_ else dt.iinfo(x._key.stored).min


@composite(
    f"max_pool(x: Tensor, *, {_MAX}) -> (out: Tensor, indices: Tensor)",
    infer=_max_infer,
    dtype=_and_index,
    check=True,
    public=False,
    vjp=dict(x=lambda g, indices, x_shape: max_pool_grad_p(g[0], indices, tuple(x_shape))),
)
def max_pool_p(
    x: Tensor, *, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, ceil: bool
) -> tuple[Tensor, Tensor]:
    """The largest of each window, and where it is in the flattened sizes; nan counts as the largest."""
    n, sizes = len(kernel), x.shape[2:]
    out = _sizes("max_pool", x.shape, kernel, stride, padding, dilation, ceil)
    wide = padded(x, padding, _after(out, sizes, kernel, stride, padding, dilation), lowest(x))
    w = windows(wide, kernel, stride, dilation).reshape(*x.shape[:2], *out, math.prod(kernel))
    best = w.argmax(dim=-1, keepdim=True)
    return w.gather(-1, best).squeeze(-1), _flat_place(
        best.squeeze(-1), sizes, out, n, kernel, stride, padding, dilation
    )


def _flat_place(
    best: Tensor, sizes: Shape, out: Shape, n: int, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape
) -> Tensor:
    """The index in the flattened input of an index in the flattened window."""
    place = best * 0
    for i in range(n):
        inside = best // math.prod(kernel[i + 1 :]) % kernel[i]
        first = (arange(out[i], device=best.device) * stride[i] - padding[i]).reshape(-1, *[1] * (n - 1 - i))
        here = first + inside * dilation[i]
        if padding[i]:  # a window of lowest values alone finds its padding first: name its first element instead
            here = where(here < 0, here % dilation[i], here)
        place = place * sizes[i] + here
    return place


def _max_pool_grad(grad: Tensor, indices: Tensor, *, shape: Shape) -> Tensor:
    """Zeros of ``shape`` (N, C, *S) with the elements of ``grad`` added where ``indices`` say."""
    lead = tuple(shape[:2])
    flat = grad.new_zeros(*lead, math.prod(shape[2:]))
    return flat.scatter_add(-1, indices.flatten(2), grad.flatten(2)).reshape(tuple(shape))


max_pool_grad_p: OpFunction[Tensor] = composite(
    "max_pool_grad(grad: Tensor, indices: Tensor, *, shape: Ints) -> Tensor",
    infer=lambda grad, indices, *, shape: shape,
    dtype=reals,
    kinds={"indices": "index"},
    public=False,
    vjp=dict(grad=lambda g, indices: taken(g, indices)),
)(_max_pool_grad)


def taken(x: Tensor, indices: Tensor) -> Tensor:
    """The elements of ``x`` (N, C, *S) that ``indices`` into the flattened sizes say."""
    return x.flatten(2).gather(-1, indices.flatten(2)).reshape(indices.shape)


# -- average -----------------------------------------------------------------------------------------
_AVG = "kernel: Ints, stride: Ints, padding: Ints, ceil: bool, count_include_pad: bool, divisor: int?"


def _avg_infer(x: Shape, *, kernel: Shape, stride: Shape, padding: Shape, ceil: bool, **p: object) -> Shape:
    found = _sizes("avg_pool", tuple(x), kernel, stride, padding, (1,) * len(kernel), ceil)
    if len(kernel) == 3 and any(k > s for k, s in zip(kernel, x[2:], strict=True)):  # torch's rule, of three axes only
        raise ShapeError(f"avg_pool3d: input of shape {tuple(x)} is smaller than kernel_size {tuple(kernel)}")
    return (*x[:2], *found)


def _counts(
    like: Tensor, size: int, out: int, kernel: int, stride: int, padding: int, include_pad: bool
) -> int | Tensor:
    """How many elements each window counts along one axis: an int when all count the same."""
    starts = [i * stride - padding for i in range(out)]
    ends = [min(s + kernel, size + padding) for s in starts]
    if not include_pad:
        starts, ends = [max(s, 0) for s in starts], [min(e, size) for e in ends]
    counts = [e - s for s, e in zip(starts, ends, strict=True)]
    return counts[0] if len(set(counts)) == 1 else like.new_tensor(counts)


def _over_counts(
    x: Tensor, sizes: Shape, out: Shape, kernel: Shape, stride: Shape, padding: Shape, include: bool,
    divisor: int | None,
) -> Tensor:  # fmt: skip
    """``x`` (N, C, *out) over the number of elements that each window counts."""
    n = len(kernel)
    total: int | Tensor = 1 if divisor is None else divisor
    for i in range(n if divisor is None else 0):
        c = _counts(x, sizes[i], out[i], kernel[i], stride[i], padding[i], include)
        total = total * (c if isinstance(c, int) else c.reshape(-1, *[1] * (n - 1 - i)))
    return x / total if x.dtype.category == dt.FLOATING else x.div(total, rounding_mode="trunc")


@composite(
    f"avg_pool(x: Tensor, *, {_AVG}) -> Tensor",
    infer=_avg_infer,
    dtype=means,
    check=True,
    linear=["x"],
    public=False,
    vjp=dict(
        x=lambda g, x_shape, kernel, stride, padding, ceil, count_include_pad, divisor: avg_pool_grad_p(
            g, tuple(x_shape), kernel, stride, padding, ceil, count_include_pad, divisor
        )
    ),
)
def avg_pool_p(
    x: Tensor, *, kernel: Shape, stride: Shape, padding: Shape, ceil: bool, count_include_pad: bool, divisor: int | None
) -> Tensor:
    """The mean of each window."""
    n, sizes = len(kernel), x.shape[2:]
    ones = (1,) * n
    out = _sizes("avg_pool", x.shape, kernel, stride, padding, ones, ceil)
    wide = padded(x, padding, _after(out, sizes, kernel, stride, padding, ones))
    total = windows(wide, kernel, stride, ones).sum(dim=_last(n))
    return _over_counts(total, sizes, out, kernel, stride, padding, count_include_pad, divisor)


def _last(n: int) -> tuple[int, ...]:
    return tuple(range(-n, 0))


def _avg_pool_grad(
    grad: Tensor, *, shape: Shape, kernel: Shape, stride: Shape, padding: Shape, ceil: bool, count_include_pad: bool,
    divisor: int | None,
) -> Tensor:  # fmt: skip
    """Each element of ``grad`` shared evenly by its window of ``shape``: window sums of the spread gradient."""
    n, out = len(kernel), tuple(grad.shape[2:])
    ones = (1,) * n
    grad = _over_counts(grad, shape[2:], out, kernel, stride, padding, count_include_pad, divisor)
    wide = spread(grad, stride)
    before = [k - 1 - p for k, p in zip(kernel, padding, strict=True)]
    after = [
        size + k - 1 - b - have for size, k, b, have in zip(shape[2:], kernel, before, wide.shape[2:], strict=True)
    ]
    return windows(padded(wide, before, after), kernel, ones, ones).sum(dim=_last(n))


avg_pool_grad_p: OpFunction[Tensor] = composite(
    f"avg_pool_grad(grad: Tensor, *, shape: Ints, {_AVG}) -> Tensor",
    infer=lambda grad, *, shape, **p: shape,
    dtype=floats,
    linear=["grad"],
    public=False,
    vjp=dict(
        grad=lambda g, kernel, stride, padding, ceil, count_include_pad, divisor: avg_pool_p(
            g, kernel, stride, padding, ceil, count_include_pad, divisor
        )
    ),
)(_avg_pool_grad)


# -- adaptive ----------------------------------------------------------------------------------------
def adaptive_edges(size: int, out: int) -> tuple[Indices, Indices]:
    """Where each of ``out`` windows over ``size`` elements starts and ends."""
    i = np.arange(out, dtype=np.int64)
    return i * size // out, -(-(i + 1) * size // out)


def adaptive_windows(x: Tensor, axis: int, out: int, fill: float) -> tuple[Tensor, Tensor, Tensor]:
    """Windows along ``axis`` as a new last axis, ``fill`` where they are shorter; their places and lengths."""
    starts, ends = adaptive_edges(x.shape[axis], out)
    width = int((ends - starts).max())
    places = starts[:, None] + np.arange(width)
    index = x.new_tensor(np.minimum(places, x.shape[axis] - 1), dtype=dt.int64)
    found = x.index_select(axis, index.reshape(-1)).unflatten(axis, (out, width)).movedim(axis + 1, -1)
    shape = [1] * (found.ndim - 1)
    shape[axis] = out
    mask = x.new_tensor(places < ends[:, None], dtype=dt.bool_).reshape(*shape, width)
    lengths = x.new_tensor(ends - starts, dtype=x.dtype).reshape(shape)
    return where(mask, found, fill), index, lengths


def _of_nothing(x: Tensor, out: Sequence[int]) -> Tensor:
    """No windows, or none of anything: a result without elements."""
    return x.flatten()[:0].reshape(*x.shape[:2], *out)


@lru_cache(64)
def _means(size: int, out: int) -> AxisTaps:
    """The taps of the means of windows that cover ``size`` elements."""
    starts, ends = adaptive_edges(size, out)
    places = starts[:, None] + np.arange(int((ends - starts).max()))
    return AxisTaps(size, np.where(places < ends[:, None], places, -1), 1 / (ends - starts)[:, None] + 0.0 * places)


def adaptive_avg_pool(x: Tensor, out: Sequence[int]) -> Tensor:
    """The mean of each of ``out`` windows that cover the sizes: one axis after another."""
    sizes, n = x.shape[2:], len(out)
    if x.dtype.category != dt.FLOATING:
        raise DTypeError(f"adaptive_avg_pool{n}d: not implemented for {x.dtype.name}; it takes floating tensors")
    if 0 in out or 0 in x.shape:
        return _of_nothing(x, out)
    if all(s % o == 0 for s, o in zip(sizes, out, strict=True)):
        kernel = tuple(s // o for s, o in zip(sizes, out, strict=True))
        return avg_pool_p(x, kernel, kernel, (0,) * n, False, True, None)
    if served(resample_p, x):
        return resample_p(x, tuple(_means(s, o) for s, o in zip(sizes, out, strict=True)))
    for i, o in enumerate(out):
        found, _, lengths = adaptive_windows(x, 2 + i, o, 0.0)
        x = found.sum(dim=-1) / lengths
    return x


def adaptive_max_pool(x: Tensor, out: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The largest of each of ``out`` windows that cover the sizes, and its index in the flattened sizes."""
    sizes, n = x.shape[2:], len(out)
    if 0 in out or 0 in x.shape:
        found = _of_nothing(x, out)
        return found, found.new_zeros(tuple(found.shape), dtype=dt.int64)
    if all(s % o == 0 for s, o in zip(sizes, out, strict=True)):
        kernel = tuple(s // o for s, o in zip(sizes, out, strict=True))
        return max_pool_p(x, kernel, kernel, (0,) * n, (1,) * n, False)
    w, place = x, x.new_zeros((), dtype=dt.int64)
    for i, o in enumerate(out):
        w, index, _ = adaptive_windows(w, 2 + i, o, lowest(x))
        ones = [1] * (2 * n)
        ones[i], ones[n + i] = index.shape
        place = place * sizes[i] + index.reshape(ones)
    w = w.flatten(2 + n)
    best = w.detach().argmax(dim=-1, keepdim=True)
    flat = place.expand(*out, *place.shape[n:]).flatten(n).reshape(1, 1, *out, w.shape[-1]).expand_as(w)
    return w.gather(-1, best).squeeze(-1), flat.gather(-1, best).squeeze(-1)
