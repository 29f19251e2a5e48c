"""Rows of images in memory of a kernel's own, with room around them and the places of each phase together.

A window that moves by a stride of s reads every s-th number; where those stand together, it reads vectors. A row of
a frame is s phases of ``pitch`` numbers each: place p stands at phase p % s, number p // s.
"""

from __future__ import annotations

from flambeau.backends.cpu.native.conv_tile import below
from flambeau.backends.llvm.ir import Function, Value
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.types import F32, I64, PTR


def copy_row(module: Module, name: str, lanes: int, stride: int) -> Function:
    """``name(source, count, row, place, pitch, stride)``: numbers into a row from ``place`` on.

    ``stride`` here is 1, 2 or 0 for any, which the function is then told.
    """
    f = Function(module, name, [PTR, I64, PTR, I64, I64, I64], internal=True)
    source, count, row, place, pitch, step = f.args
    if stride == 1:
        _straight(f, source, count, row + place * 4, lanes)
    elif stride == 2:
        _halves(f, source, count, row, place, pitch, lanes)
    else:
        for phase in f.range(0, step):
            first = (phase + step - place % step) % step
            to = f.variable(PTR, row + (phase * pitch + (place + first) // step) * 4)
            for i in f.range(first, count, step):
                f.store(f.load(F32, source, i), to.now)
                to.set(to.now + 4)
    f.ret()
    return f


def _straight(f: Function, source: Value, count: Value, to: Value, lanes: int) -> None:
    vector, main = F32.vector(lanes), count & ~(lanes - 1)
    for i in f.range(0, main, lanes):
        f.store(f.load(vector, source, i), to, i)
    with f.when(main < count):
        mask = below(f, count - main, lanes)
        f.store_masked(f.load_masked(vector, source, main, mask), to, main, mask)


def _halves(f: Function, source: Value, count: Value, row: Value, place: Value, pitch: Value, lanes: int) -> None:
    """Two vectors at a time: their even numbers to one phase, the odd ones to the other."""
    vector, main = F32.vector(lanes), count & ~(2 * lanes - 1)
    to = [row + ((place + i) % 2 * pitch + (place + i) // 2) * 4 for i in range(2)]
    for i in f.range(0, main, 2 * lanes):
        a, b = f.load(vector, source, i), f.load(vector, source, i + lanes)
        for odd in range(2):
            f.store(f.shuffle(a, b, range(odd, 2 * lanes, 2)), to[odd], i // 2)
    for i in f.range(main, count):
        at = place + i
        f.store(f.load(F32, source, i), row, at % 2 * pitch + at // 2)


def gather_row(module: Module, name: str, lanes: int, stride: int) -> Function:
    """The way back of :func:`copy_row`: ``name(row, count, to, place, pitch, stride)``."""
    f = Function(module, name, [PTR, I64, PTR, I64, I64, I64], internal=True)
    row, count, to, place, pitch, step = f.args
    if stride == 1:
        _straight(f, row + place * 4, count, to, lanes)
    elif stride == 2:
        vector, main = F32.vector(lanes), count & ~(2 * lanes - 1)
        rows = [row + ((place + i) % 2 * pitch + (place + i) // 2) * 4 for i in range(2)]
        for i in f.range(0, main, 2 * lanes):
            a, b = (f.load(vector, r, i // 2) for r in rows)
            for half in range(2):
                order = [odd * lanes + half * lanes // 2 + n for n in range(lanes // 2) for odd in range(2)]
                f.store(f.shuffle(a, b, order), to, i + half * lanes)
        for i in f.range(main, count):
            at = place + i
            f.store(f.load(F32, row, at % 2 * pitch + at // 2), to, i)
    else:
        for phase in f.range(0, step):
            first = (phase + step - place % step) % step
            source = f.variable(PTR, row + (phase * pitch + (place + first) // step) * 4)
            for i in f.range(first, count, step):
                f.store(f.load(F32, source.now), to, i)
                source.set(source.now + 4)
    f.ret()
    return f
