"""The loops around a program: a job that walks rows and columns of operands of any strides.

Vectors are read and written in order alone. What lies otherwise is copied to a small buffer first, by a loop of
single numbers, and so is what is left at the end of a row: there are no masks, and one function serves every
layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from flambeau.backends.llvm.casts import REGISTER, STORED, load, store
from flambeau.backends.llvm.ir import Function, Value
from flambeau.backends.llvm.jobs import JobFunction
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.printer import print_program
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import I64, PTR, Type
from flambeau.core.expr import Program

#: Numbers of an operand that are copied to a buffer at a time.
BLOCK: Final = 1024
#: Programs of so many steps run on one vector at a time, of at most so few on four.
_MANY, _FEW = 40, 4


def write(target: Target, program: Program, streaming: bool) -> JobFunction:
    """The job of a program: what it is called with is told by :func:`parameters`.

    With ``streaming`` results go past the caches, where all operands lie in order.
    """
    module = Module(target)
    step, lanes = _width(target, program)
    line = _line(module, "line", program, step, lanes, False)
    past = _line(module, "past", program, step, lanes, True) if streaming else None
    staged = _staged(module, program, line, step)
    return _job(module, program, _piece(module, program, past or line, staged, step, streaming))


def parameters(program: Program) -> list[Type]:
    """Of each array, the result's last, its address, then the inner strides in bytes; columns, their number in a
    chunk, rows, theirs, outer axes, and the address of their sizes followed by each array's strides."""
    arrays = len(program.inputs) + 1
    return [*[PTR] * arrays, *[I64] * arrays, I64, I64, I64, I64, I64, PTR]


def _sizes(program: Program) -> list[int]:
    """Bytes of a number of each array."""
    return [STORED[d].bytes for d in (*program.inputs, program.out)]


def _width(target: Target, program: Program) -> tuple[int, int]:
    """Numbers that the inner loop takes at a time, and lanes of a vector: of its widest numbers one register."""
    work = [s for s in program.steps if s.op not in ("input", "constant")]
    bits = max(REGISTER[s.dtype].bits for s in program.steps)
    lanes = target.register // max(bits // 8, 1)
    unroll = 4 if len(work) <= _FEW else 2 if len(work) <= _MANY else 1
    return unroll * lanes, lanes


def _line(module: Module, name: str, program: Program, step: int, lanes: int, streaming: bool) -> Function:
    """``line(inputs, result, count)``: all in order, ``count`` a multiple of ``step``."""
    f = Function(module, name, [PTR] * (len(program.inputs) + 1) + [I64], internal=True)
    *ins, out, count = f.args
    for i in f.range(0, count, step):
        found = []
        for at in range(0, step, lanes):
            here = [load(f, d, lanes, p, i + at) for d, p in zip(program.inputs, ins, strict=True)]
            found.append(print_program(f, program, here))
        for k, value in enumerate(found):
            align = lanes * STORED[program.out].bytes if streaming else 0
            store(value, program.out, out, i + k * lanes, align, streaming)
    f.ret()
    return f


def _copy(module: Module, size: int, packs: bool) -> Function:
    """``pack(buffer, from, stride, count, full)`` repeats the last number up to ``full``; ``unpack`` goes back."""
    name = f"{'pack' if packs else 'unpack'}{size}"
    if name in module.functions:
        found = module.functions[name]
        assert isinstance(found, Function)
        return found
    f = Function(module, name, [PTR, PTR, I64, I64, I64], internal=True)
    buffer, other, stride, count, full = f.args
    t = Type(f"i{8 * size}", "int", 8 * size)
    for i in f.range(0, count):
        if packs:
            f.store(f.load(t, other + i * stride), buffer, i)
        else:
            f.store(f.load(t, buffer, i), other + i * stride)
    if packs:
        last = f.load(t, buffer, count - 1)
        for i in f.range(count, full):
            f.store(last, buffer, i)
    f.ret()
    return f


def _staged(module: Module, program: Program, line: Function, step: int) -> Function:
    """``staged(inputs, result, strides, count)``: any strides, block by block, the rest at the end too."""
    sizes = _sizes(program)
    arity = len(sizes) - 1
    f = Function(module, "staged", [PTR] * (arity + 1) + [I64] * (arity + 2), internal=True)
    pointers, strides, count = f.args[: arity + 1], f.args[arity + 1 : -1], f.args[-1]
    buffers = [f.buffer(BLOCK * size) for size in sizes]
    longest = _least(f, (count + step - 1) & -step, BLOCK)
    for k in range(arity):
        with f.when(strides[k].eq(0)):
            _fill(f, buffers[k], pointers[k], sizes[k], longest, step)
    place = f.variable(I64, 0)
    with f.loop() as leave:
        start = place.now
        leave(start >= count)
        rest = _least(f, count - start, BLOCK)
        n = f.select(rest < step, rest, rest & -step)
        full = (n + step - 1) & -step
        here = []
        for k, (p, stride, size) in enumerate(zip(pointers, strides, sizes, strict=True)):
            chosen = f.variable(PTR, buffers[k])
            direct = n.eq(full) & stride.eq(size)
            with f.when(direct):
                chosen.set(p + start * size)
            if k < arity:
                with f.unless(direct | stride.eq(0)):
                    f.call(_copy(module, size, True), buffers[k], p + start * stride, stride, n, full)
            here.append(chosen.now)
        f.call(line, *here, full)
        with f.unless(n.eq(full) & strides[-1].eq(sizes[-1])):
            to = pointers[-1] + start * strides[-1]
            f.call(_copy(module, sizes[-1], False), buffers[-1], to, strides[-1], n, full)
        place.set(start + n)
    f.ret()
    return f


def _least(f: Function, a: Value, b: Value | int) -> Value:
    other = f.value(I64, b)
    return f.select(a < other, a, other)


def _fill(f: Function, buffer: Value, pointer: Value, size: int, count: Value, step: int) -> None:
    """One number all over a buffer."""
    t = Type(f"i{8 * size}", "int", 8 * size)
    value = f.splat(f.load(t, pointer), step)
    for i in f.range(0, count, step):
        f.store(value, buffer, i)


def _piece(
    module: Module, program: Program, line: Function, staged: Function, step: int, streaming: bool
) -> Function:
    """``piece(inputs, result, strides, count)``: at once what lies in order, the rest :func:`_staged`."""
    sizes = _sizes(program)
    f = Function(module, "piece", [v.type for v in staged.args], internal=True)
    arrays = len(sizes)
    pointers, strides, count = f.args[:arrays], f.args[arrays:-1], f.args[-1]

    def onward(by: Value) -> list[Value]:
        return [p + by * s for p, s in zip(pointers, strides, strict=True)]

    done = f.variable(I64, 0)
    with f.when(_all([s.eq(size) for s, size in zip(strides, sizes, strict=True)])):
        if streaming:  # whole lines of the cache
            head = _least(f, (-pointers[-1].address() & 63) // sizes[-1], count)
            f.call(staged, *pointers, *strides, head)
            done.set(head)
        whole = (count - done.now) & -step
        f.call(line, *onward(done.now), whole)
        if streaming:
            f.fence()
        done.set(done.now + whole)
    with f.when(done.now < count):
        f.call(staged, *onward(done.now), *strides, count - done.now)
    f.ret()
    return f


def _all(conditions: Sequence[Value]) -> Value:
    found = conditions[0]
    for other in conditions[1:]:
        found = found & other
    return found


def _job(module: Module, program: Program, piece: Function) -> JobFunction:
    """Chunk by chunk: some rows of some columns, the rows' places by their number."""
    arrays = len(program.inputs) + 1
    f = JobFunction(module, "elementwise", parameters(program))
    pointers, strides = f.values[:arrays], f.values[arrays : 2 * arrays]
    columns, width, rows, height, axes, table = f.values[2 * arrays :]
    across = (columns + width - 1) // width
    top, left = f.chunk // across * height, f.chunk % across * width
    count = _least(f, columns - left, width)
    for row in f.range(top, _least(f, top + height, rows)):
        places = [f.variable(PTR, p + left * s) for p, s in zip(pointers, strides, strict=True)]
        rest = f.variable(I64, row)
        for axis in f.range(0, axes):
            size = f.load(I64, table, axis)
            number = rest.now % size
            rest.set(rest.now // size)
            for k, place in enumerate(places):
                place.set(place.now + number * f.load(I64, table, axes * (k + 1) + axis))
        f.call(piece, *[p.now for p in places], *strides, count)
    f.ret()
    return f
