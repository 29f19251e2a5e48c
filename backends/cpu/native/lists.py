"""Lists of arrays, such as all parameters of a model, as the work of one job: pieces of arrays, several a chunk.

Generated code reads the lists and the fields of the arrays in them, as :mod:`flambeau.backends.llvm.calls` does: to
ask hundreds of arrays in Python for class, dtype, shape and address takes longer than to update small ones.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np

from flambeau.backends.cpu.storage import address
from flambeau.backends.llvm import cpython
from flambeau.backends.llvm.compiler import load
from flambeau.backends.llvm.ir import Function, Value
from flambeau.backends.llvm.jobs import JobFunction
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import host
from flambeau.backends.llvm.types import I1, I32, I64, PTR

Array = np.ndarray[Any, Any]

#: The most elements of a piece, and how many a chunk has before it takes no more pieces.
CHUNK: Final = 1 << 16
#: Pieces for which there is room at the first try.
_ROOM: Final = 256
#: Where a list has its length and the address of its items, in bytes from its start.
_LENGTH, _ITEMS = 16, 24
_READ: Final = cpython.ALIGNED | cpython.C_CONTIGUOUS
_WRITTEN: Final = _READ | cpython.WRITEABLE
#: What :func:`pieces` is answered where an array is not served; other negative numbers are the room that it needs.
_REFUSED: Final = -1


class Pieces(NamedTuple):
    """What a job is called with.

    Args:
        chunks: how many there are.
        table: the address of a row for each piece: its addresses in the columns, and how many elements it has.
        starts: the address of each chunk's first piece, and at the end the number of all.
        kept: the memory of both.
    """

    chunks: int
    table: int
    starts: int
    kept: Array


def flags(written: Sequence[bool]) -> bytes:
    """What :func:`pieces` is told of the columns."""
    return struct.pack(f"={len(written)}q", *[_WRITTEN if w else _READ for w in written])


def pieces(columns: Sequence[list[Array]], flags: bytes, dtype: np.dtype[Any]) -> Pieces | None:
    """The pieces of lists of one length, whose n-th arrays have one shape; None where a job cannot take them.

    It takes numpy's own arrays of the dtype (of its one object) that are aligned, dense in C's order, and writeable in
    the columns of which :func:`flags` said so. The pieces depend on the shapes alone.
    """
    width, rows = len(columns), len(columns[0])
    for column in columns:
        if len(column) != rows:
            return None
    room = max(_ROOM, 2 * rows)
    while True:
        kept = np.empty(room * (width + 2) + 1, np.int64)
        table = address(kept)
        starts = table + 8 * room * (width + 1)
        native = _native_gather()
        if native is None:
            found = gather_by_hand(columns, flags, dtype, kept, room)
        else:
            lists = struct.pack(f"={width}Q", *map(id, columns))
            found = native(lists, flags, width, id(dtype), table, starts, room, dtype.itemsize)
        if found >= 0:
            return Pieces(found, table, starts, kept)
        if found == _REFUSED:
            return None
        room = -found


def each_piece(f: JobFunction, columns: int, table: Value, starts: Value) -> Iterator[tuple[list[Value], Value]]:
    """In a job, the pieces of its chunk: their addresses in the columns, and how many elements they have."""
    for piece in f.range(f.load(I64, starts, f.chunk), f.load(I64, starts, f.chunk + 1)):
        row = table + piece * (8 * (columns + 1))
        yield [f.load(PTR, row, i) for i in range(columns)], f.load(I64, row, columns)


def gather_by_hand(columns: Sequence[list[Array]], flags: bytes, dtype: np.dtype[Any], kept: Array, room: int) -> int:
    """What the generated function does, for interpreters whose objects it does not know."""
    wanted = struct.unpack(f"={len(columns)}q", flags)
    found: list[tuple[int, ...]] = []
    starts, filled = [0], 0
    for row in zip(*columns, strict=True):
        shape = row[0].shape
        for x, bits in zip(row, wanted, strict=True):
            if type(x) is not np.ndarray or x.dtype is not dtype or x.shape != shape:
                return _REFUSED
            if x.flags.num & (bits | cpython.WARN_ON_WRITE) != bits:
                return _REFUSED
        places, size = [address(x) for x in row], row[0].size
        for start in range(0, size, CHUNK):
            taken = min(size - start, CHUNK)
            found.append((*[p + start * dtype.itemsize for p in places], taken))
            filled += taken
            if filled >= CHUNK:
                starts.append(len(found))
                filled = 0
    if filled:
        starts.append(len(found))
    if len(found) > room:
        return -len(found)
    width = len(columns) + 1
    kept[: len(found) * width] = np.array(found, np.int64).reshape(-1)
    kept[room * width : room * width + len(starts)] = starts
    return len(starts) - 1


@cache
def _native_gather() -> Callable[..., int] | None:
    if cpython.unsuited() is not None or not _lists_are_known():
        return None
    module = Module(host())
    f = write_gather(module)
    words = ctypes.c_int64, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int64, ctypes.c_int64
    found = load(module, [f.symbol])[f.symbol]
    return ctypes.PYFUNCTYPE(ctypes.c_int64, ctypes.c_char_p, ctypes.c_char_p, *words)(found)


def _lists_are_known() -> bool:
    """Whether a list has its fields where this module says."""
    x: list[object] = [None, Array]
    word = ctypes.c_int64.from_address
    return word(id(x) + _LENGTH).value == 2 and word(word(id(x) + _ITEMS).value + 8).value == id(Array)


def write_gather(module: Module) -> Function:
    """``gather(lists, flags, columns, dtype, table, starts, room, itemsize)``, called with the interpreter's lock."""
    f = Function(module, "gather", [PTR, PTR, I64, PTR, PTR, PTR, I64, I64], I64)
    lists, wanted, columns, dtype, table, starts, room, itemsize = f.args
    first = f.load(PTR, lists)
    count, filled, chunks = (f.variable(I64, 0) for _ in range(3))
    f.store(count.now, starts)

    def close() -> None:
        chunks.set(chunks.now + 1)
        filled.set(0)
        with f.when(chunks.now <= room, likely=True):
            f.store(count.now, starts, chunks.now)

    for row in f.range(0, f.load(I64, first + _LENGTH)):
        model = _item(f, first, row)
        for column in f.range(0, columns):
            x = _item(f, f.load(PTR, lists, column), row)
            with f.unless(_served(f, x, dtype, f.load(I64, wanted, column)), likely=False):
                f.ret(_REFUSED)
            with f.unless(_same_shape(f, x, model), likely=False):
                f.ret(_REFUSED)
        size = _size(f, model)
        for start in f.range(0, size, CHUNK):
            taken = f.minimum(size - start, CHUNK)
            with f.when(count.now < room, likely=True):
                here = table + count.now * (columns + 1) * 8
                for column in f.range(0, columns):
                    x = _item(f, f.load(PTR, lists, column), row)
                    f.store(f.load(PTR, x + cpython.DATA) + start * itemsize, here, column)
                f.store(taken, here, columns)
            count.set(count.now + 1)
            filled.set(filled.now + taken)
            with f.when(filled.now >= CHUNK):
                close()
    with f.when(filled.now > 0):
        close()
    with f.when(count.now > room, likely=False):
        f.ret(-count.now)
    f.ret(chunks.now)
    return f


def _item(f: Function, list: Value, index: Value) -> Value:
    return f.load(PTR, f.load(PTR, list + _ITEMS), index)


def _served(f: Function, x: Value, dtype: Value, flags: Value) -> Value:
    """Whether an object is an array of a dtype that has the flags; its fields are read only if it is an array."""
    found = f.variable(I1, f.load(PTR, x + cpython.TYPE).eq(f.outside("numpy_ndarray", id(np.ndarray))))
    with f.when(found.now, likely=True):
        has = f.load(I32, x + cpython.FLAGS).zext(I64)
        found.set(f.load(PTR, x + cpython.DESCRIPTOR).eq(dtype) & (has & (flags | cpython.WARN_ON_WRITE)).eq(flags))
    return found.now


def _same_shape(f: Function, a: Value, b: Value) -> Value:
    axes = f.load(I32, a + cpython.NDIM)
    same = f.variable(I1, axes.eq(f.load(I32, b + cpython.NDIM)))
    with f.when(same.now, likely=True):
        ours, theirs = f.load(PTR, a + cpython.SHAPE), f.load(PTR, b + cpython.SHAPE)
        for axis in f.range(0, axes.zext(I64)):
            same.set(same.now & f.load(I64, ours, axis).eq(f.load(I64, theirs, axis)))
    return same.now


def _size(f: Function, x: Value) -> Value:
    found, shape = f.variable(I64, 1), f.load(PTR, x + cpython.SHAPE)
    for axis in f.range(0, f.load(I32, x + cpython.NDIM).zext(I64)):
        found.set(found.now * f.load(I64, shape, axis))
    return found.now
