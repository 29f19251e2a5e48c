"""Reductions over any axes: the axes are put in order, then one or two launches reduce."""

from __future__ import annotations

import struct
from functools import partial
from math import prod
from typing import Final

from flambeau.backends import layout as lay
from flambeau.backends.dialect import reduce as texts
from flambeau.backends.launched import elementwise
from flambeau.backends.launched.device import Device
from flambeau.backends.launched.launcher import Launcher
from flambeau.backends.strided import StridedArray
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType

Axes = tuple[int, ...] | int | None
#: The most elements that one work-item, or group, reduces where a row can be split.
_PART: Final = {True: 1 << 15, False: 1 << 13}
_EXACT: Final = (dt.bool_, *dt.INTS)


def register(backend: Launcher) -> None:
    """Enter the reductions."""
    table = backend.kernels
    for name, dtypes in (
        ("sum", dt.REALS), ("prod", dt.REALS), ("max", (dt.bool_, *dt.REALS)), ("min", (dt.bool_, *dt.REALS)),
        ("mean", dt.FLOATS), ("any", (dt.bool_,)), ("all", (dt.bool_,)),
    ):  # fmt: skip
        table.register(name, partial(_reduce, backend, name), dtypes)
    table.register("sum", partial(_sum_complex, backend), dt.COMPLEXES)
    for name in ("argmax", "argmin"):
        table.register(name, partial(_position, backend, name), (dt.bool_, *dt.REALS))


def _normal(x: StridedArray, axis: Axes) -> tuple[int, ...]:
    return tuple(range(x.ndim)) if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)


def _reduce(backend: Launcher, op: str, x: StridedArray, *, axis: Axes = None, keepdims: bool = False) -> StridedArray:
    axes = _normal(x, axis)
    out = backend.empty(lay.reduced_shape(x.shape, axes, keepdims), x.dtype, x.index)
    n = prod(x.shape[a] for a in axes)
    if not out.size:
        return out
    if not n:
        if op in ("max", "min"):
            raise ValueError(f"{op}: no elements to choose from along axes {axes} of shape {x.shape}")
        elementwise.fill(backend, out, {"sum": 0, "any": 0, "prod": 1, "all": 1, "mean": float("nan")}[op])
        return out
    device = backend.device(x.index)
    kept, reduced = _split(backend, x, axes)
    down = len(kept[0]) > 0 and kept[1][-1] == 1 and reduced[1] != 1 and kept[0][-1] > 1
    rows = out.size
    parts = _parts(device, rows, n, down, kept[0][-1] if down else 1)
    if parts == 1:
        _run(device, op, kept, reduced, kept[2], out, x.dtype, 1, down, n)
        return out
    wide = dt.float32 if x.dtype in dt.LOW_PRECISION else x.dtype
    partial_ = backend.empty((parts * rows,), wide, x.index)
    first = "sum" if op == "mean" else op
    _run(device, first, kept, reduced, kept[2], partial_, x.dtype, parts, down, n)
    if down:
        again: _Kept = ((rows,), (1,), partial_)
        _run(device, op, again, (parts, rows), partial_, out, wide, 1, rows > 1, n)
    else:
        _run(device, op, ((rows,), (parts,), partial_), (parts, 1), partial_, out, wide, 1, False, n)
    return out


_Kept = tuple[tuple[int, ...], tuple[int, ...], StridedArray]


def _split(backend: Launcher, x: StridedArray, axes: tuple[int, ...]) -> tuple[_Kept, tuple[int, int]]:
    """The kept axes, merged, and the reduced ones as one (length, stride); a copy where strides cannot say so."""
    inside = [a for a in range(x.ndim) if a not in axes]
    kept = lay.coalesce(tuple(x.shape[a] for a in inside), tuple(x.strides[a] for a in inside))
    order = sorted(axes, key=lambda a: -abs(x.strides[a]))
    reduced = lay.coalesce(tuple(x.shape[a] for a in order), tuple(x.strides[a] for a in order))
    if len(reduced[0]) <= 1 and len(kept[0]) <= texts.MAX_AXES:
        one = (reduced[0][0], reduced[1][0][0]) if reduced[0] else (1, 1)
        return (kept[0], kept[1][0], x), one
    turned = x.turned(axes)
    dense = backend.dense(turned)
    n = prod(x.shape[a] for a in axes)
    return ((dense.size // n,), (n,), dense), (n, 1)


def _parts(device: Device, rows: int, n: int, down: bool, inner: int) -> int:
    """Into how many parts the reduced axis is split, so that every unit has work and no sum is long."""
    most = _PART[device.target.cpu]
    if down:
        tasks = rows // inner * -(-inner // texts.STRIP) if device.target.cpu else rows // device.group + 1
        wanted = max(-(-n // 4096), min(-(-2 * device.units // tasks), -(-n // 64)))
        return max(1, min(wanted, n))
    if rows >= 4 * device.units and n <= 64 * most:
        return 1
    return max(1, min(-(-n // most), 4096))


def _run(
    device: Device, op: str, kept: _Kept, reduced: tuple[int, int], x: StridedArray, out: StridedArray,
    dtype: DType, parts: int, down: bool, divisor: int,
) -> None:  # fmt: skip
    n, step = reduced
    shape, strides = kept[0] or (1,), kept[1] or (0,)
    rows = prod(shape)
    length = -(-n // parts)
    target = device.target
    key = ("reduce", op, dtype, out.dtype, down, step == 1)
    if down:
        kernel = device.kernel(key, "reduce", lambda: texts.columns_source(op, dtype, out.dtype, target))
    else:
        kernel = device.kernel(key, "reduce", lambda: texts.rows_source(op, dtype, out.dtype, target, step == 1))
    params = packed(rows, n, parts, length, step, shape, strides, x.offset, out.offset, divisor)
    size, group = _size(device, rows, parts, down, shape[-1], length)
    device.launch(kernel, (x,), (out,), params, size, group)


def packed(
    rows: int, n: int, parts: int, length: int, step: int, shape: tuple[int, ...], strides: tuple[int, ...],
    offset: int, target: int, divisor: int = 1,
) -> bytes:  # fmt: skip
    """The kernels' Params."""
    fill = (0,) * (texts.MAX_AXES - len(shape))
    numbers = (rows, n, parts, length, step, len(shape), *shape, *fill, *strides, *fill, offset, target, divisor)
    return struct.pack(f"{len(numbers)}q", *numbers)


def _size(device: Device, rows: int, parts: int, down: bool, inner: int, length: int) -> tuple[int, int]:
    if device.target.cpu:
        if down:
            return parts * (rows // inner) * -(-inner // texts.STRIP), 1
        return max(1, min(rows * parts, max(device.units, rows * parts * length // 131072))), 1
    if down:
        return min(-(-rows * parts // device.group), device.units * 32) * device.group, device.group
    return min(rows * parts, device.units * 32) * device.group, device.group


def _sum_complex(backend: Launcher, x: StridedArray, *, axis: Axes = None, keepdims: bool = False) -> StridedArray:
    axes = _normal(x, axis)
    pairs = x.viewed(*lay.view_as_real(*x.layout), x.dtype.to_real())
    found = _reduce(backend, "sum", pairs, axis=axes, keepdims=keepdims) if axes else backend.dense(pairs)
    return found.viewed(*lay.view_as_complex(*found.layout), x.dtype)


def _position(backend: Launcher, op: str, x: StridedArray, *, axis: int, keepdims: bool = False) -> StridedArray:
    axes = _normal(x, axis) if x.ndim else ()
    if any(x.shape[a] == 0 for a in axes):
        raise ValueError(f"{op}: no elements to choose from along axes {axes} of shape {x.shape}")
    out = backend.empty(lay.reduced_shape(x.shape, axes, keepdims), dt.int64, x.index)
    if not out.size:
        return out
    device = backend.device(x.index)
    kept, (n, step) = _split(backend, x, axes)
    kernel = device.kernel(
        ("position", op, x.dtype), "reduce", lambda: texts.position_source(op, x.dtype, device.target)
    )
    shape, strides = kept[0] or (1,), kept[1] or (0,)
    rows = prod(shape)
    params = packed(rows, n, 1, n, step, shape, strides, kept[2].offset, out.offset)
    size, group = _size(device, rows, 1, False, 1, n)
    device.launch(kernel, (kept[2],), (out,), params, size, group)
    return out
