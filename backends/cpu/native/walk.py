"""The loops around an elementwise program: a job that walks rows and columns of operands of any strides.

Vectors are read and written in order alone, by the program's own loop, a *line*. What lies otherwise is copied to a
small buffer first, by a loop of single numbers, and so is what is left at the end of a row: there are no masks, one
line serves every layout, and the walk, which is told the line's address, serves all programs of operands of a size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from flambeau.backends.llvm.casts import REGISTER, STORED, load, store
from flambeau.backends.llvm.ir import Function, Value
from flambeau.backends.llvm.jobs import JobFunction
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.printer import print_steps
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import I64, PTR, Type
from flambeau.core.dtype import DType
from flambeau.core.expr import Program, Step

#: Numbers of an operand that are copied to a buffer at a time; a line's step divides it.
BLOCK: Final = 1024
#: Numbers in a row from which the first ones are done apart, so that the others are written by whole lines of the
#: cache.
_LONG: Final = 2048
#: Columns below which several rows are copied to a buffer together; many times that fit in one.
SHORT: Final = 48
#: Programs of so many steps run on one vector at a time, of at most so few on four.
_MANY, _FEW = 40, 4


def width(target: Target, steps: Sequence[Step]) -> tuple[int, int]:
    """Numbers that a line takes at a time, and lanes of a vector: of its widest numbers one register."""
    work = [s for s in steps if s.op not in ("input", "constant")]
    bits = max(REGISTER[s.dtype].bits for s in steps)
    lanes = target.register // max(bits // 8, 1)
    unroll = 4 if len(work) <= _FEW else 2 if len(work) <= _MANY else 1
    return unroll * lanes, lanes


def write_line(module: Module, name: str, program: Program, streaming: bool = False) -> Function:
    """``line(inputs, result, count)``: all in order, ``count`` a multiple of the step.

    With ``streaming`` the result, which begins where a line of the cache does, goes past the caches.
    """
    results = [(len(program.steps) - 1, program.out)]
    return write_lines(module, name, program.steps, program.inputs, results, streaming)


def write_lines(
    module: Module,
    name: str,
    steps: Sequence[Step],
    inputs: Sequence[DType],
    results: Sequence[tuple[int, DType]],
    streaming: bool = False,
) -> Function:
    """The same with several results, each the value of a step, stored as a dtype."""
    step, lanes = width(module.target, steps)
    f = Function(module, name, [PTR] * (len(inputs) + len(results)) + [I64])
    ins, outs, count = f.args[: len(inputs)], f.args[len(inputs) : -1], f.args[-1]
    for i in f.range(0, count, step):
        found = []
        for at in range(0, step, lanes):
            here = [load(f, d, lanes, p, i + at) for d, p in zip(inputs, ins, strict=True)]
            values = print_steps(f, steps, here, lanes)
            found.append([values[number] for number, _ in results])
        for k, stored in enumerate(found):
            for value, out, (_, dtype) in zip(stored, outs, results, strict=True):
                align = lanes * STORED[dtype].bytes if streaming else 0
                store(value, dtype, out, i + k * lanes, align, streaming)
    if streaming:
        f.fence()
    f.ret()
    return f


def parameters(arrays: int) -> list[Type]:
    """The address of a line, of one past the caches or 0, and the step of both; then of each array, the result's
    last, its address, and the strides of columns in bytes; columns, their number in a chunk, rows, theirs, outer
    axes, and the address of their sizes followed by each array's strides."""
    return [PTR, PTR, I64, *[PTR] * arrays, *[I64] * (arrays + 5), PTR]


def write(target: Target, sizes: Sequence[int], results: int = 1) -> JobFunction:
    """The walk of arrays whose numbers have so many bytes, those of the results last."""
    module = Module(target)
    staged, short = _staged(module, sizes, results), _short_rows(module, sizes, results)
    return _job(module, sizes, _piece(module, sizes, staged), short)


def write_in_order(module: Module, line: int, step: int, sizes: Sequence[int], chunk: int) -> JobFunction:
    """The job of a built-in (:func:`~flambeau.backends.llvm.calls.builtin_of_job`) over the line at an address.

    Its text is the same for all lines of a step, and compiled once.
    """
    arrays = len(sizes)
    piece = _piece(module, sizes, _staged(module, sizes))
    f = JobFunction(module, "in_order", [*[PTR] * (arrays - 1), *[I64] * (arrays - 1), PTR, I64])
    result, count = f.values[-2:]
    pointers, steps = [*f.values[: arrays - 1], result], [*f.values[arrays - 1 : -2], f.constant(I64, 1)]
    strides = [s * size for s, size in zip(steps, sizes, strict=True)]
    start = f.chunk * chunk
    places = [p + start * s for p, s in zip(pointers, strides, strict=True)]
    least = _least(f, count - start, chunk)
    f.call(piece, f.outside("line", line), f.constant(PTR, 0), f.constant(I64, step), *places, *strides, least)
    f.ret()
    return f


def _copy(module: Module, size: int, packs: bool) -> Function:
    """``pack(buffer, from, stride, count)`` of numbers of so many bytes; ``unpack`` goes back."""
    name = f"{'pack' if packs else 'unpack'}{size}"
    if name in module.functions:
        found = module.functions[name]
        assert isinstance(found, Function)
        return found
    f = Function(module, name, [PTR, PTR, I64, I64], internal=True)
    buffer, other, stride, count = f.args
    t = _bits(size)
    for i in f.range(0, count):
        if packs:
            f.store(f.load(t, other + i * stride), buffer, i)
        else:
            f.store(f.load(t, buffer, i), other + i * stride)
    f.ret()
    return f


def _bits(size: int) -> Type:
    return Type(f"i{8 * size}", "int", 8 * size)


def _pad(f: Function, buffer: Value, size: int, count: Value, full: Value) -> None:
    """Repeat the last of ``count`` numbers up to ``full``: what is computed of them is thrown away."""
    last = f.load(_bits(size), buffer, count - 1)
    for i in f.range(count, full):
        f.store(last, buffer, i)


def _short_rows(module: Module, sizes: Sequence[int], results: int) -> Function:
    """``short(line, step, arrays, strides of columns, of rows, columns, rows)``: rows that fit a buffer together."""
    arrays, arity = len(sizes), len(sizes) - results
    f = Function(module, "short", [PTR, I64, *[PTR] * arrays, *[I64] * (2 * arrays + 2)], internal=True)
    (line, step), (columns, rows) = f.args[:2], f.args[-2:]
    pointers, strides, rows_apart = (f.args[2 + k * arrays : 2 + (k + 1) * arrays] for k in range(3))
    buffers = [f.buffer(BLOCK * size) for size in sizes]
    count = columns * rows
    full = _whole(count, step)
    for k in range(arrays):
        if k == arity:
            f.call(line, *buffers, full)
        copy = _copy(module, sizes[k], k < arity)
        for row in f.range(0, rows):
            f.call(copy, buffers[k] + row * columns * sizes[k], pointers[k] + row * rows_apart[k], strides[k], columns)
        if k < arity:
            _pad(f, buffers[k], sizes[k], count, full)
    f.ret()
    return f


def _whole(count: Value, step: Value) -> Value:
    """A count up to the next multiple of a power of two."""
    return (count + step - 1) & -step


def _staged(module: Module, sizes: Sequence[int], results: int = 1) -> Function:
    """``staged(line, step, arrays, strides, count)``: any strides, block by block, the rest at the end too."""
    arrays, arity = len(sizes), len(sizes) - results
    f = Function(module, "staged", [PTR, I64, *[PTR] * arrays, *[I64] * (arrays + 1)], internal=True)
    line, step, pointers, strides, count = *f.args[:2], f.args[2 : arrays + 2], f.args[arrays + 2 : -1], f.args[-1]
    buffers = [f.buffer(BLOCK * size) for size in sizes]
    for k in range(arity):
        with f.when(strides[k].eq(0)):
            _fill(f, buffers[k], pointers[k], sizes[k], _least(f, _whole(count, step), BLOCK))
    place = f.variable(I64, 0)
    with f.loop() as leave:
        start = place.now
        leave(start >= count)
        rest = _least(f, count - start, BLOCK)
        n = f.select(rest < step, rest, rest & -step)
        full = _whole(n, step)
        here = []
        for k, (p, stride, size) in enumerate(zip(pointers, strides, sizes, strict=True)):
            chosen = f.variable(PTR, buffers[k])
            direct = n.eq(full) & stride.eq(size)
            with f.when(direct):
                chosen.set(p + start * size)
            if k < arity:
                with f.unless(direct | stride.eq(0)):
                    f.call(_copy(module, size, True), buffers[k], p + start * stride, stride, n)
                    _pad(f, buffers[k], size, n, full)
            here.append(chosen.now)
        f.call(line, *here, full)
        for k in range(arity, arrays):
            with f.unless(n.eq(full) & strides[k].eq(sizes[k])):
                to = pointers[k] + start * strides[k]
                f.call(_copy(module, sizes[k], False), buffers[k], to, strides[k], n)
        place.set(start + n)
    f.ret()
    return f


def _least(f: Function, a: Value, b: Value | int) -> Value:
    other = f.value(I64, b)
    return f.select(a < other, a, other)


def _fill(f: Function, buffer: Value, pointer: Value, size: int, count: Value) -> None:
    """One number all over the beginning of a buffer."""
    value = f.splat(f.load(_bits(size), pointer), 64)
    for i in f.range(0, count, 64):
        f.store(value, buffer, i)


def piece(module: Module, sizes: Sequence[int], results: int) -> Function:
    """``piece(line, past, step, arrays, strides, count)`` of a row: a line of any strides, and what is left of it."""
    return _piece(module, sizes, _staged(module, sizes, results))


def _piece(module: Module, sizes: Sequence[int], staged: Function) -> Function:
    """``piece(line, past, step, arrays, strides, count)``: at once what lies in order, the rest :func:`_staged`."""
    arrays = len(sizes)
    f = Function(module, "piece", [PTR, PTR, I64, *[PTR] * arrays, *[I64] * (arrays + 1)], internal=True)
    line, past, step, count = *f.args[:3], f.args[-1]
    pointers, strides = f.args[3 : 3 + arrays], f.args[3 + arrays : -1]

    def onward(by: Value) -> list[Value]:
        return [p + by * s for p, s in zip(pointers, strides, strict=True)]

    done = f.variable(I64, 0)
    long = count > _LONG
    with f.when(long & strides[-1].eq(sizes[-1])):  # vectors that lie across two lines of the cache cost twice
        head = (-pointers[-1].address() & 63) // sizes[-1]
        f.call(staged, line, step, *pointers, *strides, head)
        done.set(head)
    with f.when(_all([s.eq(size) for s, size in zip(strides, sizes, strict=True)])):
        whole = (count - done.now) & -step
        chosen = f.select(long & past.address().ne(0), past, line)
        f.call(chosen, *onward(done.now), whole)
        done.set(done.now + whole)
    with f.when(done.now < count):
        f.call(staged, line, step, *onward(done.now), *strides, count - done.now)
    f.ret()
    return f


def _all(conditions: Sequence[Value]) -> Value:
    found = conditions[0]
    for other in conditions[1:]:
        found = found & other
    return found


def _job(module: Module, sizes: Sequence[int], piece: Function, short: Function) -> JobFunction:
    """Chunk by chunk: some rows of some columns, the rows' places by their number."""
    arrays = len(sizes)
    f = JobFunction(module, "walk", parameters(arrays))
    line, past, step = f.values[:3]
    pointers, strides = f.values[3 : 3 + arrays], f.values[3 + arrays : 3 + 2 * arrays]
    columns, width, rows, height, axes, table = f.values[3 + 2 * arrays :]
    across = (columns + width - 1) // width
    top, left = f.chunk // across * height, f.chunk % across * width
    count, bottom = _least(f, columns - left, width), _least(f, top + height, rows)
    line_by_line = (columns >= SHORT) | axes.eq(0)
    row = f.variable(I64, top)
    with f.loop() as leave:
        leave(row.now >= bottom)
        places = [f.variable(PTR, p + left * s) for p, s in zip(pointers, strides, strict=True)]
        rest = f.variable(I64, row)
        for axis in f.range(0, axes):
            size = f.load(I64, table, axis)
            number = rest.now % size
            rest.set(rest.now // size)
            for k, place in enumerate(places):
                place.set(place.now + number * f.load(I64, table, axes * (k + 1) + axis))
        here = [p.now for p in places]
        with f.when(line_by_line):
            f.call(piece, line, past, step, *here, *strides, count)
            row.set(row.now + 1)
        with f.unless(line_by_line):  # so many rows along the first axis as a buffer has room for
            size = f.load(I64, table)
            several = _least(f, _least(f, size - row.now % size, bottom - row.now), f.constant(I64, BLOCK) // columns)
            apart = [f.load(I64, table, axes * (k + 1)) for k in range(arrays)]
            f.call(short, line, step, *here, *strides, *apart, columns, several)
            row.set(row.now + several)
    f.ret()
    return f
