"""Normalisation of groups of channels. Wu and He, arXiv:1803.08494.

A group of one example lies together in memory; its channels, planes of it, have a weight and a bias each.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import prod
from typing import Any, Final

import numpy as np

from flambeau.backends.cpu.native import folds, rows
from flambeau.backends.cpu.native.lanes import Lanes, dtype_name, lanes
from flambeau.backends.cpu.native.nn import at, dense, fit
from flambeau.backends.cpu.native.rows import Row
from flambeau.backends.cpu.storage import address
from flambeau.backends.llvm.ir import Value
from flambeau.backends.llvm.jobs import Job, JobFunction, jobs
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import F64, I64, PTR

Array = np.ndarray[Any, Any]
Mask = Value | None


# -- groups ----------------------------------------------------------------------------------------
class _Group:
    """One group of one example: ``channels`` planes of ``count`` numbers, the first of them channel ``first``."""

    def __init__(self, f: JobFunction, read: Lanes, sizes: tuple[Value, Value, Value]):
        self.f, self.read = f, read
        self.channels, self.count, groups = sizes
        self.groups, self.size = groups, self.channels * self.count
        self.whole, self.plane = Row(f, read, self.size), Row(f, read, self.count)

    def first(self, r: Value) -> Value:
        """The number of the first channel of group ``r`` of all examples."""
        return r % self.groups * self.channels

    def one(self, p: Value, c: Value) -> Value:
        """A number of a channel, in every lane."""
        return self.f.splat(self.read.load_one(self.f, p, c), self.read.count)

    def here(self, c: Value) -> Value:
        """The bytes from the first plane to one."""
        return c * self.count * self.read.memory.bytes


_SIZES: Final = [F64] + [I64] * 5


@cache
def grouped(target: Target, source: str, scaled: bool, shifted: bool) -> Job:
    """(x, out, weight, bias, eps, groups of all examples, of them in a chunk, channels, count, groups)."""
    f = JobFunction(Module(target), f"group_norm_{source}", [PTR] * 4 + _SIZES)
    x0, out0, weight, bias, eps, total, per, *sizes = f.values
    read, start = lanes(source), f.chunk * per
    group = _Group(f, read, (sizes[0], sizes[1], sizes[2]))
    for r in f.range(start, folds.least(f, start + per, total)):
        here = r * group.size * read.memory.bytes
        x, out, first = x0 + here, out0 + here, group.first(r)
        mean, rstd = rows.moments(f, group.whole, x, eps, True)
        for c in f.range(0, group.channels):
            k = rstd * group.one(weight, first + c) if scaled else rstd
            b = group.one(bias, first + c) if shifted else None
            _apply(group, x + group.here(c), out + group.here(c), (mean, k, b))
    f.ret()
    return jobs(f)[0]


def _apply(group: _Group, x: Value, out: Value, with_: tuple[Value, Value, Value | None]) -> None:
    f, read, (mean, k, b) = group.f, group.read, with_

    def write(i: Value, mask: Mask) -> None:
        y = (read.load(f, x, i, mask) - mean) * k
        read.store(f, y if b is None else y + b, out, i, mask)

    group.plane.span.each(write)


@cache
def grouped_grad(target: Target, source: str, scaled: bool) -> Job:
    """(grad, x, weight, out, of weight, of bias, eps, groups of all, of them in a chunk, channels, count, groups).

    The gradients of weight and bias, in float64, have a row for each example.
    """
    f = JobFunction(Module(target), f"group_norm_grad_{source}", [PTR] * 6 + _SIZES)
    g0, x0, weight, out0, of_weight, of_bias, eps, total, per, *sizes = f.values
    read, start = lanes(source), f.chunk * per
    group = _Group(f, read, (sizes[0], sizes[1], sizes[2]))
    for r in f.range(start, folds.least(f, start + per, total)):
        here = r * group.size * read.memory.bytes
        g, x, out, first = g0 + here, x0 + here, out0 + here, group.first(r)
        mean, rstd = rows.moments(f, group.whole, x, eps, True)
        along, inner = f.variable(F64, 0.0), f.variable(F64, 0.0)
        for c in f.range(0, group.channels):
            dot, plain = _plane_sums(group, g + group.here(c), x + group.here(c), mean, rstd)
            channel = r * group.channels + c
            f.store(dot, of_weight, channel)
            f.store(plain, of_bias, channel)
            w = folds.wider(f, read.load_one(f, weight, first + c)) if scaled else f.constant(F64, 1.0)
            along.set(along.now + dot * w)
            inner.set(inner.now + plain * w)
        a, b = (group.whole.splat(v.now / group.whole.count) for v in (along, inner))
        for c in f.range(0, group.channels):
            factor = group.one(weight, first + c) if scaled else None
            _plane_grad(group, tuple(p + group.here(c) for p in (g, x, out)), (mean, rstd, factor, a, b))
    f.ret()
    return jobs(f)[0]


def _plane_sums(group: _Group, g: Value, x: Value, mean: Value, rstd: Value) -> list[Value]:
    """The sum of a plane's gradient times the normalised input, and of the gradient."""
    f, read = group.f, group.read

    def product(i: Value, mask: Mask) -> Value:
        return read.load(f, g, i, mask) * ((read.load(f, x, i, mask) - mean) * rstd)

    return group.plane.total(product, lambda i, mask: read.load(f, g, i, mask))


def _plane_grad(
    group: _Group, pointers: tuple[Value, ...], values: tuple[Value, Value, Value | None, Value, Value]
) -> None:
    f, read, (g, x, out), (mean, rstd, w, a, b) = group.f, group.read, pointers, values

    def write(i: Value, mask: Mask) -> None:
        grad = read.load(f, g, i, mask)
        standard = (read.load(f, x, i, mask) - mean) * rstd
        read.store(f, ((grad if w is None else grad * w) - standard * a - b) * rstd, out, i, mask)

    group.plane.span.each(write)


def _sizes(target: Target, x: Array, *others: Array | None, groups: int) -> tuple[int, ...] | None:
    """Sizes of a job for groups, without the first; None for what is not served."""
    if not fit(target, x, *others) or x.ndim < 2 or groups < 1 or x.shape[1] % groups:
        return None
    channels, count = x.shape[1] // groups, prod(x.shape[2:])
    return max(1, rows.CHUNK // (channels * count)), channels, count, groups


def group_norm(
    target: Target, x: Array, weight: Array | None, bias: Array | None, *, groups: int, eps: float
) -> Array | None:
    """The input (N, C, ...) normalised over each group of channels of each example."""
    sizes = _sizes(target, x, weight, bias, groups=groups)
    if sizes is None or any(v is not None and v.shape != x.shape[1:2] for v in (weight, bias)):
        return None
    x, w, b = dense(x), *(None if v is None else dense(v) for v in (weight, bias))
    out, total = np.empty(x.shape, x.dtype), x.shape[0] * groups
    job = grouped(target, dtype_name(x.dtype), w is not None, b is not None)
    job(-(-total // sizes[0]), address(x), address(out), at(w), at(b), eps, total, *sizes)
    return out


def group_norm_grad(
    target: Target, grad: Array, x: Array, weight: Array | None, *, groups: int, eps: float
) -> tuple[Array, Array, Array] | None:
    """The gradients for the input, the weight and the bias."""
    sizes = _sizes(target, x, grad, weight, groups=groups)
    if sizes is None or grad.shape != x.shape or weight is not None and weight.shape != x.shape[1:2]:
        return None
    g, x, w = dense(grad), dense(x), None if weight is None else dense(weight)
    out, total, sums = np.empty(x.shape, x.dtype), x.shape[0] * groups, np.empty((2, *x.shape[:2]))
    job = grouped_grad(target, dtype_name(x.dtype), w is not None)
    job(
        -(-total // sizes[0]), address(g), address(x), at(w), address(out), address(sums), address(sums[1]), eps,
        total, *sizes,
    )  # fmt: skip
    of_weight, of_bias = sums.sum(1).astype(x.dtype)
    return out, of_weight, of_bias


KERNELS: Final[dict[str, Callable[..., Any]]] = {"group_norm": group_norm, "group_norm_grad": group_norm_grad}
