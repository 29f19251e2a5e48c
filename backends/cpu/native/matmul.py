"""Products of matrices in machine code: float32, float64, and float16 and bfloat16 added up in float32.

Any two strides of which one is 1 are read where they lie, other operands are copied. None is returned for what is left
to numpy: other dtypes, empty operands, and products so small that the call costs more.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import prod
from typing import Any, Final

import numpy as np

from flambeau.backends.cpu import threads
from flambeau.backends.cpu.native import few, gemm
from flambeau.backends.cpu.native.after import NOTHING, After
from flambeau.backends.cpu.native.arrays import active
from flambeau.backends.cpu.native.micro import Epilogue, tile
from flambeau.backends.cpu.native.pack import NUMBERS
from flambeau.backends.cpu.storage import address
from flambeau.backends.llvm.target import Target
from flambeau.core import config
from flambeau.core import dtype as dt

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]
Operand = tuple[Shape, Shape]  # sizes and strides
#: (x, y, bias, out) to the result; values of a line may follow.
Call = Callable[..., Array]

_LINE: Final = 64  # bytes that are read at once
_NAMES: Final = {d.numpy: d.name for d in dt.FLOATS}  # of this machine's byte order


class _Workspaces:
    """Memory for packed panels: taken for a call and given back, so that calls of several threads have their own.

    A few are kept for ever, each for as many threads as it was made for; pages that nobody wrote to cost nothing.
    """

    KEPT: Final = 4

    def __init__(self) -> None:
        self._free: list[tuple[int, int, Array]] = []

    def take(self, size: int) -> tuple[int, int, Array]:
        """(its size, the address from which on it is used, memory) of so many bytes or more."""
        try:
            found = self._free.pop()
        except IndexError:
            found = (0, 0, np.empty(0, np.uint8))
        if found[0] >= size:
            return found
        memory = np.empty(size + _LINE, np.uint8)
        return size, -(-address(memory) // _LINE) * _LINE, memory

    def give(self, workspace: tuple[int, int, Array]) -> None:
        """A workspace that nobody writes to any more."""
        if len(self._free) < self.KEPT:
            self._free.append(workspace)


workspaces: Final = _Workspaces()


def product(
    x: Array, y: Array, bias: Array | None = None, *, out: Array | None = None,
    epilogue: Epilogue | None = None, target: Target | None = None,
) -> Array | None:  # fmt: skip
    """``epilogue(x @ y + bias)``: (..., n, k) times (..., k, m), batches broadcast, ``bias`` of shape (m,).

    float16 and bfloat16 are added up in float32 and rounded once, at the end. ``out``, if given, has the result's
    shape, rows that are dense, and matrices equally far apart. None, and nothing is written, where numpy must do it.
    A ``target`` that this machine can run computes all that can be.
    """
    if x.dtype != y.dtype:
        return None
    there = None if out is None else out.strides
    code = None if target else config.get("cpu_code")
    call = _call(target, code, x.dtype, x.shape, x.strides, y.shape, y.strides, there, epilogue)
    if call is None or not (x.flags.aligned and y.flags.aligned):
        return None
    if bias is not None:
        if bias.dtype != x.dtype or bias.shape != y.shape[-1:] or not bias.flags.aligned:
            return None
        bias = np.ascontiguousarray(bias)
    if out is not None and not _may_write(out, x, y, bias):
        return None
    return call(x, y, bias, out)


def followed(x: Operand, y: Operand, dtype: np.dtype[Any], after: After) -> Call | None:
    """What multiplies operands of some sizes and strides, and goes over the result by a line.

    It is called with x, y, the dense bias of shape (m,) or None, the dense result, and the values of the line. None
    where :func:`product` would not compute by tiles, of operands that are read where they lie.
    """
    target, name = active(), _NAMES.get(dtype)
    (*_, n, k), m = x[0], y[0][-1]
    batch = np.broadcast_shapes(x[0][:-2], y[0][:-2])
    if target is None or name is None or 0 in (*batch, n, k, m) or name == "float16" and not target.half:
        return None
    turned = y[1][-1] != dtype.itemsize and m > 1
    if not _pays(n, m, k, prod(batch), turned, NUMBERS[name].is_low) or m == 1:
        return None
    if any(_readable(*v, dtype.itemsize) != v[1] for v in (x, y)):
        return None
    if few.suits(n, m, k, _steps(*y, dtype.itemsize)[1] != 1):
        return None
    return _prepared(target, dtype, name, (*batch, n, m), x, y, (m, n * m), None, after)


def _may_write(out: Array, x: Array, y: Array, bias: Array | None) -> bool:
    """Whether ``out`` has the product's shape and dtype, can be written to, and no operand is in it."""
    shape = (*np.broadcast_shapes(x.shape[:-2], y.shape[:-2]), x.shape[-2], y.shape[-1])
    flags = out.flags
    return (
        out.shape == shape and out.dtype == x.dtype and flags.writeable and flags.aligned
        and not any(v is not None and np.may_share_memory(out, v) for v in (x, y, bias))
    )  # fmt: skip


@lru_cache(1024)
def _call(
    target: Target | None, code: str | None, dtype: np.dtype[Any], x: Shape, x_strides: Shape,
    y: Shape, y_strides: Shape, out_strides: Shape | None, epilogue: Epilogue | None,
) -> Call | None:  # fmt: skip
    """What multiplies operands of some shapes and strides; None where numpy must.

    ``code`` is the setting ``cpu_code`` where the target is that one, since a result is kept for each.
    """
    name = _NAMES.get(dtype)
    batch = np.broadcast_shapes(x[:-2], y[:-2])
    if name is None or 0 in (*batch, *x[-2:], y[-1]):
        return None
    if target is None:
        turned = y_strides[-1] != dtype.itemsize and y[-1] > 1
        target = active() if _pays(x[-2], y[-1], x[-1], prod(batch), turned, NUMBERS[name].is_low) else None
    if target is None or (name == "float16" and not target.half):
        return None
    dense_x, dense_y = (_readable(*v, dtype.itemsize) for v in ((x, x_strides), (y, y_strides)))
    if x[-2] <= few.ROWS and _steps(x, dense_x, dtype.itemsize)[1] != 1:
        dense_x = _dense(x, dtype.itemsize)
    if dense_x != x_strides or dense_y != y_strides:
        inner = _call(target, None, dtype, x, dense_x, y, dense_y, out_strides, epilogue)
        return None if inner is None else _of_copies(inner, dense_x != x_strides, dense_y != y_strides)
    if y[-1] == 1 and x[-2] > 1:
        turned_out = None if out_strides is None else _swapped(out_strides)
        inner = _call(
            target, None, dtype, _swapped(y), _swapped(y_strides), _swapped(x), _swapped(x_strides), turned_out,
            epilogue,
        )  # fmt: skip
        return None if inner is None else _turned(inner)
    shape = (*batch, x[-2], y[-1])
    steps = (y[-1], x[-2] * y[-1]) if out_strides is None else _result_steps(shape, out_strides, dtype.itemsize)
    if steps is None:
        return None
    return _prepared(target, dtype, name, shape, (x, x_strides), (y, y_strides), steps, epilogue)


def _swapped(sizes: Shape) -> Shape:
    return (*sizes[:-2], sizes[-1], sizes[-2])


def _pays(n: int, m: int, k: int, count: int, turned: bool, low: bool) -> bool:
    """Whether products of (n, k) and (k, m) are quicker here than by numpy, as measured beside OpenBLAS.

    That one copies a ``turned`` second operand, and takes long for few rows; it is as quick for a vector in the cache,
    and quicker for a batch of small matrices.
    """
    each = n * m * k
    if low:
        return each * count >= 1 << 14
    if n == 1 or m == 1:
        return each * count >= 1 << 23
    if turned:
        return each * count >= 1 << 20 and (n > few.ROWS or m * k >= 1 << 16)
    return each >= 1 << 20 if n <= few.ROWS else each * count >= 1 << 21 and each >= 1 << 19


def _readable(shape: Shape, strides: Shape, itemsize: int) -> Shape:
    """The strides, or those of a copy where no step within the matrices is one element, or one is a part of one."""
    if 1 in _steps(shape, strides, itemsize) and not any(s % itemsize for s in strides):
        return strides
    return _dense(shape, itemsize)


def _dense(shape: Shape, itemsize: int) -> Shape:
    return tuple([itemsize * prod(shape[i + 1 :]) for i in range(len(shape))])


def _steps(shape: Shape, strides: Shape, itemsize: int) -> tuple[int, int]:
    """From row to row and from column to column, in elements; across a size of 1, where any step is right, 1."""
    down, across = strides[-2] // itemsize, strides[-1] // itemsize
    if shape[-1] == 1:
        return down, 1
    return (1, across) if shape[-2] == 1 and across != 1 else (down, across)


def _result_steps(shape: Shape, strides: Shape, itemsize: int) -> tuple[int, int] | None:
    """From row to row and from matrix to matrix of a result, in elements; None where it is not so regular."""
    n, m = shape[-2:]
    if any(s % itemsize for s in strides) or (m > 1 and strides[-1] != itemsize):
        return None
    row = strides[-2] // itemsize if n > 1 else m
    axes = [(size, stride // itemsize) for size, stride in zip(shape[:-2], strides, strict=False) if size > 1]
    step = axes[-1][1] if axes else n * row
    wanted = step
    for size, found in reversed(axes):
        if found != wanted:
            return None
        wanted *= size
    return (row, step) if row >= m and step >= (n - 1) * row + m else None


def _of_copies(inner: Call, x_too: bool, y_too: bool) -> Call:
    """A product of which operands are made dense first."""

    def call(x: Array, y: Array, bias: Array | None, out: Array | None) -> Array:
        return inner(np.ascontiguousarray(x) if x_too else x, np.ascontiguousarray(y) if y_too else y, bias, out)

    return call


def _turned(inner: Call) -> Call:
    """A product with one column, as that of a row with the transposed matrix."""

    def call(x: Array, y: Array, bias: Array | None, out: Array | None) -> Array:
        if bias is not None:
            bias = np.repeat(bias, x.shape[-2])
        found = inner(y.swapaxes(-1, -2), x.swapaxes(-1, -2), bias, None if out is None else out.swapaxes(-1, -2))
        return found.swapaxes(-1, -2) if out is None else out

    return call


def _prepared(
    target: Target, dtype: np.dtype[Any], name: str, shape: Shape, x: Operand, y: Operand, steps: tuple[int, int],
    epilogue: Epilogue | None, after: After = NOTHING.after,
) -> Call:  # fmt: skip
    """What multiplies operands that can be read where they lie."""
    (*batch, n, m), k, count = shape, x[0][-1], prod(shape[:-2])
    (a_row, a_term), (b_term, b_column) = (_steps(*v, dtype.itemsize) for v in (x, y))
    numbers = NUMBERS[name]
    places = offsets(tuple(batch), dtype.itemsize, x, y) if count > 1 else None
    dense_columns = b_column != 1
    by_rows = few.suits(n, m, k, dense_columns)
    if by_rows:
        cut = few.plan(n, m, k, count, dense_columns)
        job, room, chunks = few.products(target, name, dense_columns, epilogue), 0, cut.chunks
        b_steps: tuple[int, ...] = (b_column if dense_columns else b_term,)
        rest: tuple[int, ...] = (cut.columns, cut.batch)
    else:
        plan = gemm.plan(tile(target, numbers), numbers.is_low, n, m, k, count, a_term != 1, b_column == 1)
        job, room, chunks = gemm.products(target, name, epilogue, after), gemm.workspace_bytes(numbers), plan.chunks
        b_steps = (b_term, b_column)
        rest = (plan.rows, plan.columns, plan.terms, plan.batch, plan.direct)

    def call(x: Array, y: Array, bias: Array | None, out: Array | None, *line: int) -> Array:
        if out is None:
            out = np.empty(shape, dtype)
        values = (
            n, m, k, address(x), a_row, a_term, address(y), *b_steps, address(out), steps[0],
            0 if bias is None else address(bias), 0 if places is None else address(places), count, steps[1], *rest,
        )  # fmt: skip
        if by_rows:
            job(chunks, *values)
        else:
            most = 1 if chunks == 1 else threads.num_threads()
            workspace = workspaces.take(room * most)
            job(chunks, *values, workspace[1], room, *line, most=most)
            workspaces.give(workspace)
        return out

    return call


def offsets(batch: Shape, itemsize: int, *operands: Operand) -> Array:
    """Where each product of a batch reads its operands, in elements: (batch, operands)."""
    found = np.zeros((*batch, len(operands)), np.int64)
    for i, (shape, strides) in enumerate(operands):
        outer = shape[:-2]
        for axis, (size, step) in enumerate(zip(outer, strides, strict=False), len(batch) - len(outer)):
            if size > 1:
                found[..., i] += (np.arange(size) * (step // itemsize)).reshape(-1, *[1] * (len(batch) - axis - 1))
    return found.reshape(-1, len(operands))
