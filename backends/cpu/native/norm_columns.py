"""Batch normalisation of (N, C): the channels are columns, of which eight rows are added before they are widened."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final

import numpy as np

from flambeau.backends.cpu.native import folds
from flambeau.backends.cpu.native.lanes import dtype_name, lanes, tree
from flambeau.backends.cpu.native.softmax_columns import BLOCK, Block
from flambeau.backends.cpu.storage import address
from flambeau.backends.llvm.ir import Value
from flambeau.backends.llvm.jobs import Job, JobFunction, jobs
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import F64, I64, PTR

Array = np.ndarray[Any, Any]
Mask = Value | None

_ROWS: Final = 8


def _add_rows(f: JobFunction, block: Block, total: Value, *bodies: tuple[Value, Callable[..., Value]]) -> None:
    """Add ``body(place, column, mask)`` over all rows to buffers in float64."""
    whole = total & ~(_ROWS - 1)

    def some(r: Value, step: int) -> None:
        places = [(r + u) * block.down for u in range(step)]

        def take(j: Value, mask: Mask) -> None:
            for sums, body in bodies:
                block.add(tree([body(p + j, j, mask) for p in places], lambda a, b: a + b), sums, j)

        block.span.each(take)

    for r in f.range(0, whole, _ROWS):
        some(r, _ROWS)
    for r in f.range(whole, total):
        some(r, 1)


def _block(f: JobFunction, source: str, total: Value, width: Value) -> tuple[Block, Value]:
    """The block of columns of a chunk, and the bytes to the first."""
    read, first = lanes(source), f.chunk * BLOCK
    return Block(f, read, folds.least(f, width - first, BLOCK), total, width), first * read.memory.bytes


@cache
def norm(target: Target, source: str, scaled: bool, shifted: bool) -> Job:
    """(x, out, weight, bias, mean, variance, eps, rows, columns), a chunk being a block of columns."""
    f = JobFunction(Module(target), f"batch_norm_columns_{source}", [PTR] * 6 + [F64] + [I64] * 2)
    *pointers, eps, total, width = f.values
    block, skip = _block(f, source, total, width)
    x, out, weight, bias, means, variances = (p + skip for p in pointers)
    read, centre, factor = block.read, *(block.buffer(name, block.read.compute, 0.0) for name in ("centre", "factor"))
    _moments(f, block, x, centre, (means, variances))

    def scale(j: Value, mask: Mask) -> None:
        wide = F64.vector(read.count)
        spread = f.load(wide, block.buffers["squares"], j) + f.splat(eps, read.count)
        f.store(1.0 / f.apply("sqrt", spread), block.buffers["squares"], j)
        k = block.sums(block.buffers["squares"], j)
        f.store(k * read.load(f, weight, j, mask) if scaled else k, factor, j)

    block.span.each(scale)

    def write(i: Value, j: Value, mask: Mask) -> None:
        y = (read.load(f, x, i, mask) - f.load(read.vector, centre, j)) * f.load(read.vector, factor, j)
        read.store(f, y + read.load(f, bias, j, mask) if shifted else y, out, i, mask)

    block.each(write)
    f.ret()
    return jobs(f)[0]


def _moments(f: JobFunction, block: Block, x: Value, centre: Value, out: tuple[Value, Value]) -> None:
    """Write each column's mean and variance; the mean is left in ``centre``, the variance in the buffer "squares"."""
    read, wide = block.read, F64.vector(block.read.count)
    sums, squares = block.buffer("sums", F64, 0.0), block.buffer("squares", F64, 0.0)
    number = f.splat(block.count.convert("sitofp", F64), read.count)
    _add_rows(f, block, block.count, (sums, lambda i, j, mask: read.load(f, x, i, mask)))

    def middle(j: Value, mask: Mask) -> None:
        f.store(f.load(wide, sums, j) / number, sums, j)
        mean = block.sums(sums, j)
        f.store(mean, centre, j)
        read.store(f, mean, out[0], j, mask)

    def square(i: Value, j: Value, mask: Mask) -> Value:
        d = read.load(f, x, i, mask) - f.load(read.vector, centre, j)
        return d * d

    def spread(j: Value, mask: Mask) -> None:
        f.store(f.load(wide, squares, j) / number, squares, j)
        read.store(f, block.sums(squares, j), out[1], j, mask)

    block.span.each(middle)
    _add_rows(f, block, block.count, (squares, square))
    block.span.each(spread)


@cache
def sums(target: Target, source: str) -> Job:
    """(grad, x, mean, sums, products, rows, columns), a chunk being a block of columns."""
    f = JobFunction(Module(target), f"batch_norm_sums_columns_{source}", [PTR] * 5 + [I64] * 2)
    *pointers, total, width = f.values
    block, skip = _block(f, source, total, width)
    read = block.read
    g, x, mean, totals, dots = (p + skip for p in pointers)
    plain, products = block.buffer("sums", F64, 0.0), block.buffer("products", F64, 0.0)

    def product(i: Value, j: Value, mask: Mask) -> Value:
        return read.load(f, g, i, mask) * (read.load(f, x, i, mask) - read.load(f, mean, j, mask))

    _add_rows(f, block, total, (plain, lambda i, j, mask: read.load(f, g, i, mask)), (products, product))

    def end(j: Value, mask: Mask) -> None:
        read.store(f, block.sums(plain, j), totals, j, mask)
        read.store(f, block.sums(products, j), dots, j, mask)

    block.span.each(end)
    f.ret()
    return jobs(f)[0]


def _at(x: Array | None) -> int:
    return 0 if x is None else address(x)


def batch_norm(
    target: Target, x: Array, weight: Array | None, bias: Array | None, *, eps: float
) -> tuple[Array, Array, Array]:
    """The input (N, C), dense like the others, normalised per column; each column's mean and biased variance."""
    total, width = x.shape
    out, mean, var = np.empty(x.shape, x.dtype), np.empty(width, x.dtype), np.empty(width, x.dtype)
    norm(target, dtype_name(x.dtype), weight is not None, bias is not None)(
        -(-width // BLOCK), address(x), address(out), _at(weight), _at(bias), address(mean), address(var), eps,
        total, width,
    )  # fmt: skip
    return out, mean, var


def batch_norm_sums(target: Target, grad: Array, x: Array, mean: Array) -> tuple[Array, Array]:
    """Per column of (N, C): the sum of ``grad``, and of ``grad * (x - mean)``."""
    total, dot = np.empty(x.shape[1], x.dtype), np.empty(x.shape[1], x.dtype)
    job = sums(target, dtype_name(x.dtype))
    job(-(-x.shape[1] // BLOCK), *(address(v) for v in (grad, x, mean, total, dot)), *x.shape)
    return total, dot
