"""Running sums, products, extremes and recurrences along an axis."""

from __future__ import annotations

from functools import partial
from math import prod

from flambeau.backends.dialect import scan as texts
from flambeau.backends.launched.launcher import Launcher
from flambeau.backends.strided import StridedArray
from flambeau.core import dtype as dt


def register(backend: Launcher) -> None:
    """Enter the scans."""
    table = backend.kernels
    for op in ("cumsum", "cumprod"):
        table.register(op, partial(_one, backend, op), dt.REALS)
    table.register("logcumsumexp", partial(_one, backend, "logcumsumexp"), dt.FLOATS)
    table.register("affine_scan", partial(_one, backend, "affine_scan"), dt.REALS)
    for op in ("cummax", "cummin"):
        table.register(op, partial(_extreme, backend, op), (dt.bool_, *dt.REALS))


def _run(backend: Launcher, op: str, ins: tuple[StridedArray, ...], outs: tuple[StridedArray, ...], axis: int) -> None:
    x, device = ins[0], backend.device(ins[0].index)
    dense = [backend.dense(a) for a in ins]
    place = axis % x.ndim if x.ndim else 0
    outer, n, inner = prod(x.shape[:place]), x.shape[place] if x.ndim else 1, prod(x.shape[place + 1 :])
    size = texts.lines(device, outer, n, inner)
    states = backend.empty((2 * size.totals,), dt.int64, x.index)
    first, last = texts.scan(device, op, x.dtype, size, (dense[0].offset, dense[-1].offset))
    if first is not None:
        device.enqueue(first, dense, (states,))
    device.enqueue(last, (*dense, states), outs)


def _one(backend: Launcher, op: str, *ins: StridedArray, axis: int) -> StridedArray:
    x = ins[-1]
    out = backend.empty(x.shape, x.dtype, x.index)
    if out.size:
        _run(backend, op, ins, (out,), axis)
    return out


def _extreme(backend: Launcher, op: str, x: StridedArray, *, axis: int) -> tuple[StridedArray, StridedArray]:
    """The extreme so far, and its latest place."""
    out, places = (backend.empty(x.shape, d, x.index) for d in (x.dtype, dt.int64))
    if out.size:
        _run(backend, op, (x,), (out, places), axis)
    return out, places
