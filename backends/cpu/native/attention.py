"""Attention in machine code: a block of scores at a time, with the running maximum and sum of each of its rows.

Dao et al., "FlashAttention", arXiv:2205.14135, and Milakov and Gimelshein, "Online normalizer calculation for
softmax", arXiv:1805.02867. A chunk is some queries of a head, or some heads.
"""

from __future__ import annotations

from functools import cache
from math import inf
from typing import Any, Final

import numpy as np

from flambeau.backends.cpu import threads
from flambeau.backends.cpu.native import attention_grad, attention_products
from flambeau.backends.cpu.native.attention_heads import Heads, heads_of, lies, lying_as, row_step, widened
from flambeau.backends.cpu.native.attention_products import (
    GAP,
    QUERIES,
    Products,
    Sizes,
    each_row,
    pack_keys,
    score_reader,
    sizes,
)  # fmt: skip
from flambeau.backends.cpu.native.lanes import Lanes
from flambeau.backends.cpu.native.matmul import workspaces
from flambeau.backends.cpu.storage import address
from flambeau.backends.llvm import maths
from flambeau.backends.llvm.ir import Function, Value
from flambeau.backends.llvm.jobs import Job, JobFunction, jobs
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import I64, PTR

Array = np.ndarray[Any, Any]

#: Keys of a block, times the numbers of each: with their scores they stay in the second cache.
_BLOCK: Final = 1 << 15
#: Queries up to which packing the keys costs more than it saves.
_FEW: Final = 4
#: Multiplications worth a chunk, and chunks from which threads have enough of them.
_WORTH: Final = 1 << 21
_CHUNKS: Final = 32


def attention(
    target: Target, query: Array, key: Array, value: Array, mask: Array | None, *, causal: bool, scale: float
) -> tuple[Array, Array] | None:
    """softmax(query keyᵀ scale + mask) value, and the logarithm of the softmax's denominators."""
    low = widened((query, key, value, mask))
    if low is not None:
        found = attention(target, *low, causal=causal, scale=scale)  # type: ignore[arg-type]
        return None if found is None else (found[0].astype(query.dtype), found[1].astype(query.dtype))
    heads = heads_of(target, query, key, value, mask)
    if heads is None:
        return None
    query, key, value = heads.query, heads.key, heads.value
    out = lying_as(query, (*query.shape[:-1], value.shape[-1]))
    lse = np.empty(query.shape[:-1], query.dtype)
    places = heads.places(query, key, value, heads.mask, out)
    (parts, rows, each), block = _cut(heads), heads.block(_BLOCK)
    memory = _memory(sizes(target, heads.name), key.shape[-1], value.shape[-1], block, rows)[-1] * query.itemsize
    chunks = -(-heads.count // each) * parts
    most = 1 if chunks == 1 else threads.num_threads()
    workspace = workspaces.take(memory * most)
    forward(target, heads.name, mask is not None)(
        chunks, *heads.pointers(), address(out), address(lse), address(places), heads.count, *heads.sizes,
        *heads.steps(), row_step(out), scale, causal, parts, rows, each, block, lies(value, target, heads.name),
        query.shape[-2] <= _FEW,
        workspace[1], memory, most=most,
    )  # fmt: skip
    workspaces.give(workspace)
    return out, lse


def _cut(heads: Heads) -> tuple[int, int, int]:
    """Parts of a head and the queries of one, and heads of a chunk; by the sizes alone."""
    queries, keys, width, depth = heads.sizes
    wanted = max(1, min(-(-_CHUNKS // heads.count), queries // (4 * QUERIES)))
    rows = -(-queries // (wanted * QUERIES)) * QUERIES
    parts = -(-queries // rows)
    return parts, rows, max(1, _WORTH // (queries * keys * (width + depth))) if parts == 1 else 1


# -- code ------------------------------------------------------------------------------------------
def _memory(sizes: Sizes, width: Any, depth: Any, block: Any, rows: Any) -> list[Any]:
    """Where in a thread's memory stand keys, values, scores and sums, and its end: of numbers or of values of code."""
    keys = sizes.packed(block, width)
    values = keys + block * sizes.padded(depth)
    scores = values + (block + GAP) * QUERIES
    return [0, keys, values, scores, scores + rows + GAP]


@cache
def forward(target: Target, name: str, masked: bool) -> Job:
    """The job of attention: (query, key, value, mask, out, lse, offsets of these five but lse for each head, heads,
    queries, keys, numbers of a key and of a value, steps over rows of query, key, value, mask and out, scale, causal,
    parts of a head, queries of one, heads of a chunk, keys of a block, whether values are read where they lie, whether
    queries are few, memory and its bytes for each thread). Steps and offsets are in numbers.
    """
    return jobs(define(Module(target), name, masked))[0]


def define(module: Module, name: str, masked: bool) -> JobFunction:
    """The job of :func:`forward`, written."""
    products = attention_products.define(module, name)
    softmax, finish = _define_softmax(module, products, masked), _define_finish(module, products)
    t = products.type
    f = JobFunction(module, "attention", [PTR] * 7 + [I64] * 10 + [t] + [I64] * 7 + [PTR, I64])
    (
        q, k, v, mask, out, lse, table, count, queries, keys, width, depth, q_row, k_row, v_row, mask_row, out_row,
        scale, causal, parts, per, each, block, direct, few, room, room_bytes,
    ) = f.values  # fmt: skip
    first, from_row = f.chunk // parts * each, f.chunk % parts * per
    height = f.minimum(queries - from_row, per)
    mine = room + f.thread * room_bytes
    held = products.sizes
    panels, copied, scores, sums, _ = [f.at(mine, i, t) for i in _memory(held, width, depth, block, per)]
    ld = block + GAP
    seen = f.select(causal.ne(0), f.minimum(from_row + height, keys), keys)
    padded = held.padded(depth)
    for head in f.range(first, f.minimum(first + each, count)):
        places = [f.load(I64, table, head * 5 + i) for i in range(5)]
        steps = (q_row, None, None, mask_row, out_row)
        here = [
            f.at(p, place if step is None else place + from_row * step, t)
            for p, place, step in zip((q, k, v, mask, out), places, steps, strict=True)
        ]
        tops = f.at(lse, head * queries + from_row, t)
        for c in f.range(0, seen, block):
            n = f.minimum(keys - c, block)
            key, values = f.at(here[1], c * k_row, t), f.at(here[2], c * v_row, t)
            with f.when(few.eq(0)):
                pack_keys(f, products, key, k_row, n, width, panels)
            with f.when((direct | few).eq(0)):
                f.call(products.copies, values, v_row, n, depth, copied)
            values, step = f.select((direct | few).ne(0), values, copied), f.select((direct | few).ne(0), v_row, padded)
            before = f.select(causal.ne(0) & (c > from_row), c - from_row, f.constant(I64, 0))
            for r in f.range(before, height, QUERIES):
                rows = f.minimum(height - r, QUERIES)
                base = f.select(causal.ne(0), from_row + r - c, n)
                until = f.select(causal.ne(0), f.minimum(from_row + r + rows, keys), keys)
                to, top, total = f.at(here[4], r * out_row, t), f.at(tops, r, t), f.at(sums, r, t)
                query = f.at(here[0], r * q_row, t)
                with f.when(few.eq(0)):
                    f.call(products.scores, rows, n, width, query, q_row, panels, scores, ld, base)
                with f.when(few.ne(0)):
                    f.call(products.dots, rows, n, width, query, q_row, key, k_row, scores, ld)
                f.call(
                    softmax, rows, n, scores, ld, base, c, top, total, to, out_row, depth,
                    f.at(here[3], r * mask_row + c, t), mask_row, scale,
                )  # fmt: skip
                with f.when(few.eq(0)):
                    f.call(products.weighted, rows, n, depth, scores, ld, values, step, to, out_row, base, c)
                with f.when(few.ne(0)):
                    f.call(
                        products.sums, rows, f.minimum(n, base + rows), depth, scores, ld, values, step, to, out_row, c
                    )
                with f.when(c + block >= until):
                    f.call(finish, rows, top, total, to, out_row, depth)
    f.ret()
    return f


def _define_softmax(module: Module, products: Products, masked: bool) -> Function:
    """``softmax(rows, keys, scores, ld, base, before, tops, sums, out, out_row, depth, mask, mask_row, scale)``.

    Scores become exponentials, less the largest score so far; what was summed for less is scaled. ``before`` is how
    many keys were seen. Behind the keys that a query may look at stand zeros, as far as products read them.
    """
    t, read = products.type, products.read
    f = Function(module, "softmax", [I64, I64, PTR, I64, I64, I64, PTR, PTR, PTR, I64, I64, PTR, I64, t], internal=True)
    rows, keys, scores, ld, base, before, tops, sums, out, out_row, depth, mask, mask_row, scale = f.args
    step = 2 * read.count
    for r, span in each_row(f, read, rows, depth):
        live = f.minimum(keys, base + r + 1)
        until = f.minimum(keys, base + r + (1 + products.shape.rows))
        whole = live & ~(step - 1)
        p = f.at(scores, r * ld, t)
        score = score_reader(f, read, p, f.at(mask, r * mask_row, t) if masked else None, scale, live)
        largest = [f.variable(read.vector, -inf) for _ in range(2)]
        for i in f.range(0, whole, step):
            for u, acc in enumerate(largest):
                acc.set(f.maximum(score(i + u * read.count, False), acc))
        for i in f.range(whole, live, read.count):
            largest[0].set(f.maximum(score(i, True), largest[0]))
        top = f.reduce(f.maximum(largest[0].now, largest[1]), f.maximum)
        old = f.variable(t, -inf)
        with f.when(before > 0):
            old.set(f.load(t, tops, r))
        new = f.maximum(old.now, top)
        f.store(new, tops, r)
        shift = f.select(new.eq(-inf), 0.0, new)
        less = f.splat(shift, read.count)
        accs = [f.variable(read.vector, 0.0) for _ in range(2)]

        def power(i: Value, cut: bool, acc: Any, score: Any = score, less: Value = less, p: Value = p) -> None:
            e = maths.exp_nonpositive(f, score(i, cut, less))
            f.store(e, p, i)
            acc.set(acc.now + e)

        for i in f.range(0, whole, step):
            for u, acc in enumerate(accs):
                power(i + u * read.count, False, acc)
        for i in f.range(whole, until, read.count):
            power(i, True, accs[0])
        total = f.variable(t, f.reduce(accs[0].now + accs[1].now, lambda a, b: a + b))
        with f.when(before > 0):
            k = maths.exp_nonpositive(f, old.now - shift)
            total.set(f.muladd(f.load(t, sums, r), k, total.now))
            with f.when(k.ne(1.0)):
                _scale_row(f, read, span, f.at(out, r * out_row, t), k)
        f.store(total.now, sums, r)
    f.ret()
    return f


def _scale_row(f: Function, read: Lanes, span: Any, row: Value, factor: Value) -> None:
    k = f.splat(factor, read.count)
    span.each(lambda i, m: read.store(f, read.load(f, row, i, m) * k, row, i, m))


def _define_finish(module: Module, products: Products) -> Function:
    """``finish(rows, tops, sums, out, out_row, depth)``: rows over their sums, and the logarithms of these in tops."""
    t, read = products.type, products.read
    f = Function(module, "finish", [I64, PTR, PTR, PTR, I64, I64], internal=True)
    rows, tops, sums, out, out_row, depth = f.args
    for i in f.range(0, rows, read.count):
        inside = f.below(rows - i, read.count)
        total = read.load(f, sums, i, inside, 1.0)
        read.store(f, maths.log(f, total) + read.load(f, tops, i, inside), tops, i, inside)
        read.store(f, 1.0 / f.select(total.eq(0.0), 1.0, total), sums, i, inside)
    for r, span in each_row(f, read, rows, depth):
        _scale_row(f, read, span, f.at(out, r * out_row, t), f.load(t, sums, r))
    f.ret()
    return f


KERNELS: Final = {"attention": attention, "attention_grad": attention_grad.attention_grad}
