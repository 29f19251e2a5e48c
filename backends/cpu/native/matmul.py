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
from flambeau.backends.cpu.native.arrays import active
from flambeau.backends.cpu.native.micro import Epilogue, tile
from flambeau.backends.cpu.native.pack import NUMBERS
from flambeau.backends.cpu.storage import address
from flambeau.backends.llvm.target import Target
from flambeau.core import dtype as dt

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]

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


_workspaces: Final = _Workspaces()


def product(
    x: Array, y: Array, bias: Array | None = None, *, epilogue: Epilogue | None = None, target: Target | None = None
) -> Array | None:
    """``epilogue(x @ y + bias)``: (..., n, k) times (..., k, m), batches broadcast, ``bias`` of shape (m,).

    float16 and bfloat16 are added up in float32 and rounded once, at the end. None where numpy must do it.
    ``target`` is a processor that this one can stand for.
    """
    if x.dtype != y.dtype:
        return None
    call = _call(target, x.dtype, x.shape, x.strides, y.shape, y.strides, epilogue)
    if call is None or not (x.flags.aligned and y.flags.aligned):
        return None
    if bias is not None:
        if bias.dtype != x.dtype or bias.shape != y.shape[-1:] or not bias.flags.aligned:
            return None
        bias = np.ascontiguousarray(bias)
    return call(x, y, bias)


@lru_cache(1024)
def _call(
    target: Target | None, dtype: np.dtype[Any], x: Shape, x_strides: Shape, y: Shape, y_strides: Shape,
    epilogue: Epilogue | None,
) -> Callable[[Array, Array, Array | None], Array] | None:  # fmt: skip
    """What multiplies operands of some shapes and strides; None where numpy must."""
    target = target or active()
    if target is None:
        return None
    name = _NAMES.get(dtype)
    batch = np.broadcast_shapes(x[:-2], y[:-2])
    if name is None or (name == "float16" and not target.half) or 0 in (*batch, *x[-2:], y[-1]):
        return None
    if not _is_readable(x, x_strides, dtype.itemsize):
        return _copied(0, target, epilogue)
    if not _is_readable(y, y_strides, dtype.itemsize):
        return _copied(1, target, epilogue)
    if y[-1] == 1 and x[-2] > 1:
        return _column(x_strides, y_strides, target, epilogue)
    return _prepared(target, dtype, name, batch, (x, x_strides), (y, y_strides), epilogue)


def _is_readable(shape: Shape, strides: Shape, itemsize: int) -> bool:
    """Whether a step within the matrices is one element, and all are whole numbers of them."""
    return 1 in _steps(shape, strides, itemsize) and not any([s % itemsize for s in strides])


def _steps(shape: Shape, strides: Shape, itemsize: int) -> tuple[int, int]:
    """From row to row and from column to column, in elements; across a size of 1, where any step is right, 1."""
    down, across = strides[-2] // itemsize, strides[-1] // itemsize
    if shape[-1] == 1:
        return down, 1
    return (1, across) if shape[-2] == 1 and across != 1 else (down, across)


def _copied(which: int, target: Target, epilogue: Epilogue | None) -> Callable[[Array, Array, Array | None], Array]:
    """A product of which an operand is made dense first."""

    def call(x: Array, y: Array, bias: Array | None) -> Array:
        operands = [x, y]
        operands[which] = np.ascontiguousarray(operands[which])
        found = product(*operands, bias, epilogue=epilogue, target=target)
        assert found is not None
        return found

    return call


def _column(
    x_strides: Shape, y_strides: Shape, target: Target, epilogue: Epilogue | None
) -> Callable[[Array, Array, Array | None], Array]:
    """A product with one column, as that of a row with the transposed matrix."""

    def call(x: Array, y: Array, bias: Array | None) -> Array:
        if bias is not None:
            bias = np.repeat(bias, x.shape[-2])
        found = product(y.swapaxes(-1, -2), x.swapaxes(-1, -2), bias, epilogue=epilogue, target=target)
        assert found is not None
        return found.reshape(*found.shape[:-2], x.shape[-2], 1)

    return call


def _prepared(
    target: Target, dtype: np.dtype[Any], name: str, batch: Shape,
    x: tuple[Shape, Shape], y: tuple[Shape, Shape], epilogue: Epilogue | None,
) -> Callable[[Array, Array, Array | None], Array]:  # fmt: skip
    n, k, m, count = x[0][-2], x[0][-1], y[0][-1], prod(batch)
    (a_row, a_term), (b_term, b_column) = (_steps(*v, dtype.itemsize) for v in (x, y))
    numbers, shape = NUMBERS[name], (*batch, n, m)
    offsets = _offsets(batch, dtype.itemsize, x, y) if count > 1 else None
    base = 0 if offsets is None else address(offsets)
    if n <= few.ROWS and (b_term == 1 or b_column == 1) and (a_term == 1 or b_column == 1):
        dense_columns = b_column != 1
        cut = few.plan(n, m, k, count, dense_columns)
        job = few.products(target, name, dense_columns, epilogue)
        ldb = b_column if dense_columns else b_term

        def call(x: Array, y: Array, bias: Array | None) -> Array:
            out = np.empty(shape, dtype)
            job(
                cut.chunks, n, m, k, address(x), a_row, a_term, address(y), ldb, address(out), m,
                0 if bias is None else address(bias), base, count, n * m, cut.columns, cut.batch,
            )  # fmt: skip
            return out

        return call
    plan = gemm.plan(tile(target, numbers).width, numbers.is_low, n, m, k, count, a_term != 1, b_column == 1)
    whole, room = gemm.products(target, name, epilogue), gemm.workspace_bytes(numbers)

    def call_gemm(x: Array, y: Array, bias: Array | None) -> Array:
        out = np.empty(shape, dtype)
        workspace = _workspaces.take(room if plan.chunks == 1 else room * threads.num_threads())
        whole(
            plan.chunks, n, m, k, address(x), a_row, a_term, address(y), b_term, b_column, address(out), m,
            0 if bias is None else address(bias), base, count, n * m,
            plan.rows, plan.columns, plan.terms, plan.batch, plan.direct, workspace[1], room,
        )  # fmt: skip
        _workspaces.give(workspace)
        return out

    call_gemm.offsets = offsets  # type: ignore[attr-defined]
    return call_gemm


def _offsets(batch: Shape, itemsize: int, *operands: tuple[Shape, Shape]) -> Array:
    """Where each product of a batch reads its operands, in elements: (batch, operands)."""
    found = np.zeros((*batch, len(operands)), np.int64)
    for i, (shape, strides) in enumerate(operands):
        outer = shape[:-2]
        for axis, (size, step) in enumerate(zip(outer, strides, strict=False), len(batch) - len(outer)):
            if size > 1:
                found[..., i] += (np.arange(size) * (step // itemsize)).reshape(-1, *[1] * (len(batch) - axis - 1))
    return found.reshape(-1, len(operands))
