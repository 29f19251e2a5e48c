"""Built-ins of a few instructions: what Python code around kernels asks of arrays and does to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from flambeau.backends.llvm import cpython
from flambeau.backends.llvm.calls import BuiltinFunction, builtins
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import F32, F64, PTR, Type
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType

#: Elements of a matrix up to which a row is added with the interpreter's lock held.
_MOST: Final = 1 << 15
_REALS: Final = ((dt.float32, F32), (dt.float64, F64))


def built(
    target: Target, address: Callable[..., Any], add_rows: Callable[..., Any]
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """``address(x)`` and ``add_rows(x, row)``, over functions that do the same."""
    for dtype, t in _REALS:  # what one does not serve goes to the one before
        module = Module(target)
        (add_rows,) = builtins({write_add_rows(module, dtype, t): add_rows})
    module = Module(target)
    (found,) = builtins({write_address(module): address})
    return found, add_rows


def write_address(module: Module) -> BuiltinFunction:
    """The address of an array's first element."""
    f = BuiltinFunction(module, "address", "(x, /)")
    f.require(f.count.eq(1))
    x = f.load(PTR, f.arguments)
    f.require(f.load(PTR, x + cpython.TYPE).eq(f.ndarray()))
    f.ret(f.call(f.api("PyLong_FromVoidPtr"), f.load(PTR, x + cpython.DATA), result=PTR))
    return f


def write_add_rows(module: Module, dtype: DType, t: Type) -> BuiltinFunction:
    """Add a row to each row of a matrix, in place; dense, apart from each other, and not large."""
    f = BuiltinFunction(module, f"add_rows_{dtype.name}", "(x, row, /)")
    f.require(f.count.eq(2))
    x, row = f.array(0, dtype, written=True), f.array(1, dtype)
    f.require(x.ndim.eq(2) & row.ndim.eq(1))
    rows, columns = x.extent(0), x.extent(1)
    size = f.size(x)
    f.require(row.extent(0).eq(columns) & (size <= _MOST))
    f.require(f.apart(x.data, size * t.bytes, row.data, columns * t.bytes))
    lanes = f.target.lanes(t)
    whole = columns - columns % lanes
    wide = t.vector(lanes)
    for i in f.range(0, rows):
        line = x.data + i * columns * t.bytes
        for j in f.range(0, whole, lanes):
            f.store(f.load(wide, line, j) + f.load(wide, row.data, j), line, j)
        for j in f.range(whole, columns):
            f.store(f.load(t, line, j) + f.load(t, row.data, j), line, j)
    f.take(x.object)
    f.ret(x.object)
    return f
