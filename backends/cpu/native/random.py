"""Random numbers in machine code: Philox4x32-10 in registers, and each sampler in the same pass.

A group is as many blocks of the stream as a register has lanes of 64 bits; words 0 and 2 of a block stand in two
registers, which the rounds multiply, words 1 and 3 in two others. :mod:`flambeau.core.random` defines the words and
what is made of them, to the bit; normal numbers are the expressions of :mod:`flambeau.backends.cpu.normal`, which numpy
computes to the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np

from flambeau.backends.cpu import normal
from flambeau.backends.cpu.storage import address
from flambeau.backends.llvm import casts, printer
from flambeau.backends.llvm.ir import Function, Value
from flambeau.backends.llvm.jobs import Job, JobFunction, jobs
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import F32, F64, I8, I32, I64, PTR, Type
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from flambeau.core.expr import Expr, lower
from flambeau.core.random import KEY_STEPS, MULTIPLIERS, ROUNDS, UNIFORM_BITS, largest_below

Array = np.ndarray[Any, Any]

#: Blocks in a chunk, a multiple of every group.
CHUNK: Final = 1 << 14
_MASK32: Final = 0xFFFFFFFF


class Words(NamedTuple):
    """The words of a group of blocks, each in a lane of 64 bits whose upper half is anything."""

    w0: Value
    w1: Value
    w2: Value
    w3: Value


#: From a group of words and the sampler's own parameters the numbers in memory's order, as they are stored.
Sampler: TypeAlias = Callable[[Function, Words, Sequence[Value]], Value]


class Kind(NamedTuple):
    """A sampler.

    Args:
        name: of its function.
        sample: writes it.
        per_block: numbers that a block gives, 4 or 2.
        params: types of its own parameters.
    """

    name: str
    sample: Sampler
    per_block: int
    params: tuple[Type, ...] = ()


# -- words -------------------------------------------------------------------------------------------
def _round_keys(f: Function, seed: Value, lanes: int) -> list[tuple[Value, Value]]:
    """The two key words of each round, in all lanes."""
    wide, found = I64.vector(lanes), []
    low, high = seed, seed >> 32
    for r in range(ROUNDS):
        words = (low + r * KEY_STEPS[0]) & _MASK32, (high + r * KEY_STEPS[1]) & _MASK32
        found.append((f.value(wide, words[0]), f.value(wide, words[1])))
    return found


def _words(counter: Value, keys: Sequence[tuple[Value, Value]]) -> Words:
    """The blocks of counters of 64 bits; the upper 64 are zero."""
    f = counter.function
    zero = f.constant(counter.type, 0)
    w0, w1, w2, w3 = counter, counter >> 32, zero, zero
    for first, second in keys:
        a, b = (w0 & _MASK32) * MULTIPLIERS[0], (w2 & _MASK32) * MULTIPLIERS[1]
        w0, w1, w2, w3 = (b >> 32) ^ (w1 ^ first), b, (a >> 32) ^ (w3 ^ second), a
    return Words(w0, w1, w2, w3)


def _as(x: Value, to: Type) -> Value:
    """The same bits in lanes of another width."""
    wanted = to.vector(x.type.bytes // to.bytes)
    return x if wanted == x.type else x.function.emit(wanted, f"bitcast {x.type} {x.text} to {wanted}")


def _joined(low: Value, high: Value) -> Value:
    """The lower halves of two lanes of 64 bits as one lane after the other, of 32 bits."""
    return _as((low & _MASK32) | (high << 32), I32)


def _zipped(a: Value, b: Value) -> Value:
    """The lanes of two vectors in turns."""
    n = a.type.lanes
    return a.function.shuffle(a, b, [i // 2 + n * (i % 2) for i in range(2 * n)])


def _in_order(f: Function, words: Words) -> Value:
    """The words as they follow each other in memory."""
    pairs = [_as(_joined(a, b), I64) for a, b in ((words.w0, words.w1), (words.w2, words.w3))]
    return _as(_zipped(*pairs), I32)


# -- samplers ----------------------------------------------------------------------------------------
def _bits(f: Function, words: Words, params: Sequence[Value]) -> Value:
    return _in_order(f, words)


def _mask(f: Function, words: Words, params: Sequence[Value]) -> Value:
    return _in_order(f, words).compare("ult", params[0].trunc(I32)).zext(I8)


def _singles(bits: Value, count: int) -> Value:
    """Numbers in [0, 1) from the upper bits of words."""
    return (bits >> (32 - count)).convert("sitofp", F32) * 2.0**-count


def _doubles(first: Value, second: Value) -> Value:
    """Numbers in [0, 1) with 53 bits: 27 of the first word above 26 of the second, both exact in a mantissa."""
    magic = 2.0**52
    bits = 0x4330000000000000
    upper = (((first >> 5) & 0x7FFFFFF) | bits).bitcast(F64) - magic
    lower = (((second >> 6) & 0x3FFFFFF) | bits).bitcast(F64) - magic
    return (upper * 2.0**26 + lower) * 2.0**-53


def _uniform(dtype: DType, limits: bool, f: Function, words: Words, params: Sequence[Value]) -> Value:
    """Numbers in [0, 1), or with ``limits`` times a width plus a start, at most a last one: rounded at each step."""
    if dtype is dt.float64:
        found = _zipped(_doubles(words.w0, words.w1), _doubles(words.w2, words.w3))
    else:
        found = _singles(_in_order(f, words), UNIFORM_BITS[dtype.name])
    if limits:
        t = found.type.scalar
        width, start, last = (p.convert("fptrunc", t) for p in params)
        found = _rounded(_rounded(found * width, dtype) + start, dtype)
        found = f.select(found > last, last, found)  # nan stays
    return casts.narrow(found, dtype)


def _rounded(x: Value, dtype: DType) -> Value:
    """As a number of ``dtype`` is, in registers."""
    return casts.widen(casts.narrow(x, dtype), dtype)


def _normal(dtype: DType, scaled: bool, f: Function, words: Words, params: Sequence[Value]) -> Value:
    """Normal numbers; ``scaled``: times a deviation plus a mean, each rounded."""
    if dtype is dt.float64:
        u, v = _doubles(words.w0, words.w1), _doubles(words.w2, words.w3)
    else:
        u, v = (_singles(_joined(a, b), 24) for a, b in ((words.w0, words.w2), (words.w1, words.w3)))
    compute = _computed(dtype)
    steps = normal.steps(compute)
    radius = _printed(f, steps.radius, compute, u)
    found = _zipped(*(radius * _printed(f, e, compute, v) for e in (steps.cosine, steps.sine)))
    if scaled:
        mean, deviation = (p.convert("fptrunc", found.type.scalar) for p in params)
        found = found * deviation + mean
    return casts.narrow(found, dtype)


def _computed(dtype: DType) -> DType:
    return dt.float64 if dtype is dt.float64 else dt.float32


def _printed(f: Function, expr: Expr, dtype: DType, x: Value) -> Value:
    return printer.print_program(f, lower(expr, (dtype,), dtype, printer.native), [x])


def _integers(dtype: DType, large: bool, f: Function, words: Words, params: Sequence[Value]) -> Value:
    """The lowest number plus the upper half of the product of a span and 64 bits; ``large``: it has more than 32."""
    low, small, wide = params

    def one(first: Value, second: Value) -> Value:
        first, second = first & _MASK32, second & _MASK32
        factor = f.value(first.type, small & _MASK32)
        middle = first * factor + ((second * factor) >> 32)
        found = middle >> 32
        if large:
            other = f.value(first.type, wide & _MASK32)
            found = first * other + found + ((second * other + (middle & _MASK32)) >> 32)
        return found + low

    found = _zipped(one(words.w0, words.w1), one(words.w2, words.w3))
    return casts.narrow(casts.cast(found, dt.int64, dtype), dtype)


# -- jobs --------------------------------------------------------------------------------------------
@cache
def kind(name: str, dtype: DType, option: bool) -> Kind:
    """A sampler by name: bits, mask, uniform, normal, integers; ``option`` is that of its function."""
    if name == "bits":
        return Kind(name, _bits, 4)
    if name == "mask":
        return Kind(name, _mask, 4, (I64,))
    text = f"{name}_{dtype.name}_{int(option)}"
    sample = {"uniform": _uniform, "normal": _normal, "integers": _integers}[name]
    params = (I64, I64, I64) if name == "integers" else (F64,) * (3 if name == "uniform" else 2) if option else ()
    return Kind(text, partial(sample, dtype, option), 2 if dtype is dt.float64 or name == "integers" else 4, params)


def write(target: Target, kind: Kind) -> JobFunction:
    """The job of a sampler: (result, seed, first block, numbers, its own parameters)."""
    f = JobFunction(Module(target), kind.name, [PTR, I64, I64, I64, *kind.params])
    out, seed, offset, count, *params = f.values
    lanes = target.lanes(I64)
    keys = _round_keys(f, seed, lanes)
    group = kind.per_block * lanes
    start = f.chunk * (CHUNK * kind.per_block)
    end = f.minimum(count, start + CHUNK * kind.per_block)
    counters = f.lanes(I64.vector(lanes))
    spare = f.buffer(group * 8)
    for i in f.range(start, end, group):
        block = offset + i // kind.per_block
        found = kind.sample(f, _words(f.value(counters.type, block) + counters, keys), params)
        size = found.type.scalar.bytes
        whole = i + group <= end
        f.store(found, f.select(whole, out + i * size, spare))
        with f.unless(whole, likely=False):
            for j in f.range(0, end - i):
                f.store(f.load(found.type.scalar, spare, j), out + i * size, j)
    f.ret()
    return f


@cache
def _job(target: Target, chosen: Kind) -> Job:
    return jobs(write(target, chosen))[0]


def draw(target: Target, chosen: Kind, out: Array, seed: int, offset: int, *params: float) -> Array:
    """Fill an array in C order, aligned and of the sampler's dtype, with the numbers from block ``offset`` on."""
    count = out.size
    chunks = -(-count // (CHUNK * chosen.per_block))
    _job(target, chosen)(chunks, address(out), _signed(seed), _signed(offset), count, *params)
    return out


def _signed(x: int) -> int:
    """The lower 64 bits as the signed number that they are."""
    return (int(x) + (1 << 63) & (1 << 64) - 1) - (1 << 63)


# -- permutations ------------------------------------------------------------------------------------
def write_order(target: Target) -> JobFunction:
    """The stable order of signed keys, whose words stand upper half first: (words, keys, counts, order, number, shift).

    Keys are put to buckets by their upper bits, as many as ``shift`` leaves of 32 and ``counts``, zeros, has room for;
    a bucket has few, so that one pass of insertions orders them all.
    """
    f = JobFunction(Module(target), "order", [PTR, PTR, PTR, PTR, I64, I64])
    words, keys, counts, order, number, shift = f.values

    def word(i: Value) -> Value:
        return f.load(I32, words, i).zext(I64)

    def bucket(i: Value) -> Value:
        return (word(i * 2) ^ (1 << 31)) >> shift  # the sign turned round

    for i in f.range(0, number):
        at = bucket(i)
        f.store(f.load(I32, counts, at) + 1, counts, at)
    total = f.variable(I32, 0)
    for h in f.range(0, f.constant(I64, 1 << 32) >> shift):
        start = total.now
        total.set(start + f.load(I32, counts, h))
        f.store(start, counts, h)
    for i in f.range(0, number):
        at = bucket(i)
        place = f.load(I32, counts, at)
        f.store(place + 1, counts, at)
        f.store((word(i * 2) << 32) | word(i * 2 + 1), keys, place.zext(I64))
        f.store(i, order, place.zext(I64))
    for i in f.range(1, number):
        _insert(f, keys, order, i)
    f.ret()
    return f


def _insert(f: Function, keys: Value, order: Value, i: Value) -> None:
    """Move a key and its number down to where they belong among those before."""
    key, own, j = f.load(I64, keys, i), f.load(I64, order, i), f.variable(I64, i)
    with f.loop() as leave:
        leave(j.now <= 0)
        before = f.load(I64, keys, j.now - 1)
        leave(before <= key)
        f.store(before, keys, j)
        f.store(f.load(I64, order, j.now - 1), order, j)
        j.set(j.now - 1)
    f.store(key, keys, j)
    f.store(own, order, j)


@cache
def _order(target: Target) -> Job:
    return jobs(write_order(target))[0]


def order(target: Target, pairs: Array) -> Array:
    """The order of random keys of two words each, (n, 2) or (2 n), n below 2**31; of others it may take long."""
    count = pairs.size // 2
    bits = min(max(count.bit_length() - 3, 0), 22)
    found, keys, counts = np.empty(count, np.int64), np.empty(count, np.int64), np.zeros(1 << bits, np.int32)
    _order(target)(1, address(pairs), address(keys), address(counts), address(found), count, 32 - bits)
    return found


# -- what backends.cpu.random calls ------------------------------------------------------------------
def words(target: Target, out: Array, seed: int, offset: int) -> Array:
    """The words of the stream."""
    return draw(target, kind("bits", dt.uint32, False), out, seed, offset)


def mask(target: Target, out: Array, seed: int, offset: int, limit: int) -> Array:
    """Which words are below ``limit``, itself below 2**32."""
    return draw(target, kind("mask", dt.bool_, False), out, seed, offset, limit)


def uniform(target: Target, out: Array, seed: int, offset: int, low: float, high: float, dtype: DType) -> Array:
    """Numbers in [low, high), with low <= high."""
    if (low, high) == (0.0, 1.0):
        return draw(target, kind("uniform", dtype, False), out, seed, offset)
    last = largest_below(high, dtype.name) if low < high else low
    limits = [high - low, low, last]
    if dtype in dt.LOW_PRECISION:  # rounded once; float32 by the job
        with np.errstate(over="ignore"):
            limits = [float(np.asarray(x).astype(dtype.numpy)) for x in limits]
    return draw(target, kind("uniform", dtype, True), out, seed, offset, *limits)


def normals(target: Target, out: Array, seed: int, offset: int, mean: float, std: float, dtype: DType) -> Array:
    """Normal numbers of this mean and standard deviation."""
    if (mean, std) == (0.0, 1.0):
        return draw(target, kind("normal", dtype, False), out, seed, offset)
    return draw(target, kind("normal", dtype, True), out, seed, offset, mean, std)


def integers(target: Target, out: Array, seed: int, offset: int, low: int, span: int, dtype: DType) -> Array:
    """Whole numbers in [low, low + span), the span below 2**64."""
    large = span > _MASK32
    numbers = _signed(low), span & _MASK32, span >> 32
    return draw(target, kind("integers", dtype, large), out, seed, offset, *numbers)
