"""Small matrices, of which ONNX has the determinant only: elimination written out column by column.

Golub and Van Loan, Matrix Computations, 4th edition, chapters 3 and 4.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from flambeau.core import dtype as dt
from flambeau.onnx.errors import Unmapped
from flambeau.onnx.table import maps
from flambeau.onnx.writer import Call

#: Larger matrices would be thousands of nodes.
_LARGEST = 32


def _side(call: Call, operand: int = 0) -> int:
    """The number of columns of a square matrix of a size that does not change."""
    shape = call.shape(operand)
    n = shape[-1] if len(shape) >= 2 else 0
    if not isinstance(n, int) or not 0 < n <= _LARGEST or shape[-2] != n:
        raise Unmapped(f"other than square matrices of at most {_LARGEST} columns")
    if call.value(operand).dtype not in (dt.float32, dt.float64):
        raise Unmapped("other than float32 and float64")
    return n


def _part(call: Call, x: str, axis: int, start: int, end: int) -> str:
    """Rows (axis -2) or columns (axis -1)."""
    return str(call.emit("Slice", x, call.ints([start]), call.ints([end]), call.ints([axis])))


def _entry(call: Call, x: str, row: int, column: int) -> str:
    return _part(call, _part(call, x, -2, row, row + 1), -1, column, column + 1)


def _turned(call: Call, x: str) -> str:
    rank = call.rank()
    return str(call.emit("Transpose", x, perm=[*range(rank - 2), rank - 1, rank - 2]))


def _rows(call: Call, n: int, first: int, last: int) -> str:
    """Which of n rows are among first to last, as a column of truth values."""
    places = np.arange(n)[:, None]
    return call.constant((places >= first) & (places < last))


@maps("cholesky")
def cholesky(call: Call, x: str) -> str:
    """One column after the other, each taken off the rest."""
    n, emit, upper = _side(call), call.emit, int(call.params["upper"])
    zero = call.writer.number(0.0, call.dtype)
    half = emit("Trilu", x, upper=upper)
    strict = emit("Trilu", x, call.constant(np.array(1 if upper else -1, np.int64)), upper=upper)
    rest, columns = emit("Add", half, _turned(call, strict)), []
    for j in range(n):
        column = emit("Div", _part(call, rest, -1, j, j + 1), emit("Sqrt", _entry(call, rest, j, j)))
        columns.append(emit("Where", _rows(call, n, j, n), column, zero))
        rest = emit("Sub", rest, emit("MatMul", columns[-1], _turned(call, columns[-1])))
    lower = emit("Concat", *columns, axis=-1)
    return _turned(call, lower) if upper else str(lower)


@maps("solve_triangular")
def solve_triangular(call: Call, a: str, b: str) -> str:
    """Substitution, forwards or backwards."""
    n, emit, upper = _side(call), call.emit, call.params["upper"]
    same = call.shape(1)[:-2] == call.shape()[:-2]
    if call.rank(1) < 2 or (call.params["unitriangular"] and not same):  # without division nothing broadcasts
        raise Unmapped("a right side of other dimensions")
    found: dict[int, str] = {}
    for j in range(n)[:: -1 if upper else 1]:
        row = _part(call, b, -2, j, j + 1)
        found[j] = row if call.params["unitriangular"] else str(emit("Div", row, _entry(call, a, j, j)))
        b = str(emit("Sub", b, emit("Mul", _part(call, a, -1, j, j + 1), found[j])))
    return str(emit("Concat", *[found[j] for j in range(n)], axis=-2))


class _Eliminated(NamedTuple):
    """A matrix after elimination; its pivots, and whether rows were swapped for each."""

    matrix: str
    pivots: list[str]
    swaps: list[str]


def _eliminated(call: Call, matrix: str, n: int) -> _Eliminated:
    """Elimination in the first n columns with the largest of each as the pivot (Gauss and Jordan)."""
    emit, places = call.emit, call.constant(np.arange(n, dtype=np.int64)[:, None])
    low, zero, one = (call.writer.number(v, call.dtype) for v in (-1.0, 0.0, 1.0))
    made = _Eliminated(matrix, [], [])
    for k in range(n):
        column = emit("Where", _rows(call, n, k, n), emit("Abs", _part(call, matrix, -1, k, k + 1)), low)
        best = emit("ArgMax", column, axis=-2, keepdims=1)
        chosen = emit("Equal", best, places)
        made.swaps.append(str(emit("Not", emit("Equal", best, call.constant(np.array(k, np.int64))))))
        row = emit("ReduceSum", emit("Where", chosen, matrix, zero), call.ints([-2]), keepdims=1)
        pivot = _part(call, row, -1, k, k + 1)
        made.pivots.append(pivot)
        scaled = emit("Div", row, emit("Where", emit("Equal", pivot, zero), one, pivot))
        moved = emit("Where", chosen, _part(call, matrix, -2, k, k + 1), matrix)
        reduced = emit("Sub", moved, emit("Mul", _part(call, moved, -1, k, k + 1), scaled))
        matrix = str(emit("Where", _rows(call, n, k, k + 1), scaled, reduced))
    return made._replace(matrix=matrix)


@maps("solve")
def solve(call: Call, a: str, b: str) -> str:
    """A system of equations."""
    n = _side(call)
    if call.rank(1) != call.rank() or call.shape(1)[:-1] != call.shape()[:-1]:
        raise Unmapped("a right side of other dimensions")
    both = str(call.emit("Concat", a, b, axis=-1))
    return _part(call, _eliminated(call, both, n).matrix, -1, n, 2**62)


@maps("inv")
def inv(call: Call, x: str) -> str:
    """The inverse."""
    n = _side(call)
    eye = np.eye(n, dtype=np.float64 if call.dtype is dt.float64 else np.float32)
    wide = call.emit("Expand", call.constant(eye), call.ints(call.shape()))
    both = str(call.emit("Concat", x, wide, axis=-1))
    return _part(call, _eliminated(call, both, n).matrix, -1, n, 2 * n)


@maps("slogdet")
def slogdet(call: Call, x: str) -> tuple[str, str]:
    """The sign and logarithm of the determinant, from the pivots."""
    made, emit = _eliminated(call, x, _side(call)), call.emit
    pivots, axes = emit("Concat", *made.pivots, axis=-1), call.ints([-2, -1])
    swapped = call.cast(str(emit("Concat", *made.swaps, axis=-1)), call.dtype)
    turns = emit("Sub", call.writer.number(1.0, call.dtype), emit("Mul", swapped, call.writer.number(2.0, call.dtype)))
    sign = emit("ReduceProd", emit("Mul", emit("Sign", pivots), turns), axes, keepdims=0)
    return str(sign), str(emit("ReduceSum", emit("Log", emit("Abs", pivots)), axes, keepdims=0))
