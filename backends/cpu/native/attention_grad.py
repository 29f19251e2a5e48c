"""The gradients of attention in machine code: the probabilities of a block are computed again from the logarithms of
their sums.

Dao et al., "FlashAttention", arXiv:2205.14135, algorithm 4. A chunk is some keys of a head, with all that look at
them; heads that share keys are one. Keys that are cut give each a part of the gradient for the queries.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import numpy as np

from flambeau.backends.cpu import threads
from flambeau.backends.cpu.native import attention_products
from flambeau.backends.cpu.native.attention_heads import (
    Groups,
    dense_rows,
    groups_of,
    heads_of,
    lies,
    lying_as,
    row_step,
    widened,
)  # fmt: skip
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
from flambeau.backends.cpu.native.matmul import workspaces
from flambeau.backends.cpu.storage import address
from flambeau.backends.llvm import maths
from flambeau.backends.llvm.ir import Function, Value
from flambeau.backends.llvm.jobs import Job, JobFunction, jobs
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import I64, PTR

Array = np.ndarray[Any, Any]

#: Numbers in a block of keys: they, their values and two blocks of scores stay in the second cache.
_BLOCK: Final = 1 << 14
#: Multiplications worth a chunk, chunks from which threads have enough of them, and keys worth a part of a head.
_WORTH: Final = 1 << 21
_CHUNKS: Final = 16
_PART: Final = 512


def attention_grad(
    target: Target, query: Array, key: Array, value: Array, mask: Array | None, grad: Array, grad_lse: Array,
    out: Array, lse: Array, *, causal: bool, scale: float,
) -> tuple[Array, Array, Array] | None:  # fmt: skip
    """The gradients for queries, keys and values, for these as they were broadcast where they were differently.

    ``lse`` and its gradient are of shape (..., L, 1).
    """
    rest = (grad, grad_lse, out, lse)
    low = widened((query, key, value, mask, *rest))
    if low is not None:
        found = attention_grad(target, *low, causal=causal, scale=scale)  # type: ignore[arg-type]
        return None if found is None else (found[0].astype(query.dtype), *(x.astype(query.dtype) for x in found[1:]))  # type: ignore[return-value]
    heads = heads_of(target, query, key, value, mask)
    if heads is None or not heads.fit(target, grad, grad_lse, out, lse):
        return None
    groups = groups_of(heads)
    query, key, value = groups.query, groups.key, groups.value
    grad, out, grad_lse, lse = dense_rows(grad), dense_rows(out), *map(np.ascontiguousarray, (grad_lse, lse))
    (parts, each_keys, each), block = _cut(groups), groups.block(_BLOCK)
    of_query = lying_as(query, query.shape) if parts == 1 else np.empty((parts, *query.shape), query.dtype)
    of_key, of_value = lying_as(key, key.shape), lying_as(value, value.shape)
    one = of_query if parts == 1 else of_query[0]
    looking, shared = groups.tables((query, groups.mask, grad, out, one), (key, value, of_key, of_value))
    memory = _memory(sizes(target, groups.name), key.shape[-1], value.shape[-1], block)[-1] * query.itemsize
    chunks = -(-groups.number // each) * parts
    most = 1 if chunks == 1 else threads.num_threads()
    workspace = workspaces.take(memory * most)
    backward(target, groups.name, mask is not None)(
        chunks, *groups.pointers(), *(address(x) for x in (grad, out, lse, grad_lse, of_query, of_key, of_value)),
        address(looking), address(shared), groups.number, groups.members, *groups.sizes, *groups.steps(),
        *(row_step(x) for x in (grad, out, one, of_key, of_value)), scale, causal, parts, each_keys, each, block,
        query.size, *(lies(x, target, groups.name) for x in (query, key, grad)), workspace[1], memory, most=most,
    )  # fmt: skip
    workspaces.give(workspace)
    return of_query if parts == 1 else of_query.sum(0), of_key, of_value


def _cut(groups: Groups) -> tuple[int, int, int]:
    """Parts of a head and the keys of one, and groups of a chunk; by the sizes alone."""
    queries, keys, width, depth = groups.sizes
    wanted = max(1, min(-(-_CHUNKS // groups.number), keys // _PART))
    part = -(-keys // (wanted * _PART)) * _PART if wanted > 1 else keys
    parts = -(-keys // part)
    work = groups.members * queries * keys * (3 * width + 2 * depth)
    return parts, part, max(1, _WORTH // work) if parts == 1 else 1


# -- code ------------------------------------------------------------------------------------------
def _memory(held: Sizes, width: Any, depth: Any, block: Any) -> list[Any]:
    """Where in a thread's memory stand packed keys and values, keys, queries, gradients, scores and gradients for
    these, and its end: of numbers or of values of code.
    """
    ends: list[Any] = [0]
    scores = (block + GAP) * QUERIES
    wide, deep = held.padded(width), held.padded(depth)
    for size in (
        held.packed(block, width), held.packed(block, depth), block * wide, wide * QUERIES, deep * QUERIES,
        scores, scores,
    ):  # fmt: skip
        ends.append(size + ends[-1])
    return ends


@cache
def backward(target: Target, name: str, masked: bool) -> Job:
    """The job of the gradients: (query, key, value, mask, grad, out, lse, its gradient, the three results, offsets of
    query, mask, grad, out, first result and lse for each head, offsets of key, value and their results for each group,
    groups, heads of one, queries, keys, numbers of a key and of a value, steps over rows of query, key, value, mask,
    grad, out and the results, scale, causal, parts of a head, keys of one, groups of a chunk, keys of a block, numbers
    of a part of the first result, whether query, key and grad are read where they lie, memory and its bytes for each
    thread). Steps and offsets are in numbers.
    """
    return jobs(define(Module(target), name, masked))[0]


def define(module: Module, name: str, masked: bool) -> JobFunction:
    """The job of :func:`backward`, written."""
    products = attention_products.define(module, name)
    zero, chances = _define_zero(module, products), _define_chances(module, products, masked)
    block = _define_block(module, products, chances)
    t = products.type
    f = JobFunction(module, "attention_grad", [PTR] * 13 + [I64] * 15 + [t] + [I64] * 9 + [PTR, I64])
    (
        q, k, v, mask, g, out, lse, of_lse, of_q, of_k, of_v, looking, shared,
        number, members, queries, keys, width, depth,
        q_row, k_row, v_row, mask_row, g_row, out_row, of_q_row, of_k_row, of_v_row,
        scale, causal, parts, per, each, most, part_step, q_lies, k_lies, g_lies, room, room_bytes,
    ) = f.values  # fmt: skip
    first, part = f.chunk // parts * each, f.chunk % parts
    from_key = part * per
    until = f.minimum(from_key + per, keys)
    mine = room + f.thread * room_bytes
    held = products.sizes
    packed_k, packed_v, own_k, own_q, own_g, *scores, _ = [
        f.at(mine, i, t) for i in _memory(held, width, depth, most)
    ]  # fmt: skip
    of_q = f.at(of_q, part * part_step, t)
    for group in f.range(first, f.minimum(first + each, number)):
        places = [f.load(I64, shared, group * 4 + i) for i in range(4)]
        k_here, v_here, of_k_here, of_v_here = [
            f.at(p, i, t) for p, i in zip((k, v, of_k, of_v), places, strict=True)
        ]  # fmt: skip
        f.call(zero, f.at(of_k_here, from_key * of_k_row, t), of_k_row, until - from_key, width)
        f.call(zero, f.at(of_v_here, from_key * of_v_row, t), of_v_row, until - from_key, depth)
        for head in f.range(group * members, (group + 1) * members):
            f.call(zero, f.at(of_q, f.load(I64, looking, head * 6 + 4), t), of_q_row, queries, width)
        for c in f.range(from_key, until, most):
            n = f.minimum(until - c, most)
            key = f.at(k_here, c * k_row, t)
            pack_keys(f, products, key, k_row, n, width, packed_k)
            pack_keys(f, products, f.at(v_here, c * v_row, t), v_row, n, depth, packed_v)
            key, key_row = _lying(f, products, key, k_row, n, width, own_k, k_lies)
            for head in f.range(group * members, (group + 1) * members):
                at = [f.load(I64, looking, head * 6 + i) for i in range(6)]
                for r in f.range(f.select(causal.ne(0), c, 0), queries, QUERIES):
                    rows = f.minimum(queries - r, QUERIES)
                    base = f.select(causal.ne(0), r - c, n)
                    query, q_step = _lying(
                        f, products, f.at(q, at[0] + r * q_row, t), q_row, rows, width, own_q, q_lies
                    )  # fmt: skip
                    there = f.at(g, at[2] + r * g_row, t)
                    grad, g_step = _lying(f, products, there, g_row, rows, depth, own_g, g_lies)
                    f.call(
                        block, rows, n, width, depth, base, most + GAP, *scores, scale,
                        query, q_step, grad, g_step, packed_k, packed_v, key, key_row,
                        f.at(mask, at[1] + r * mask_row + c, t), mask_row,
                        f.at(out, at[3] + r * out_row, t), out_row,
                        f.at(lse, at[5] + r, t), f.at(of_lse, at[5] + r, t),
                        f.at(of_q, at[4] + r * of_q_row, t), of_q_row,
                        f.at(of_k_here, c * of_k_row, t), of_k_row, f.at(of_v_here, c * of_v_row, t), of_v_row,
                    )  # fmt: skip
    f.ret()
    return f


def _lying(
    f: Function, products: Products, src: Value, row: Value, count: Value, width: Value, dst: Value, lies: Value
) -> tuple[Value, Value]:
    """Rows where they lie, or copied: their address and the step between them."""
    with f.when(lies.eq(0)):
        f.call(products.copies, src, row, count, width, dst)
    return f.select(lies.ne(0), src, dst), f.select(lies.ne(0), row, products.sizes.padded(width))


def _define_zero(module: Module, products: Products) -> Function:
    """``zero(p, row, rows, width)``."""
    f = Function(module, "zero", [PTR, I64, I64, I64], internal=True)
    p, row, rows, width = f.args
    none = f.constant(products.read.vector, 0.0)
    for r, span in each_row(f, products.read, rows, width):
        here = f.at(p, r * row, products.type)
        span.each(lambda i, mask, here=here: products.read.store(f, none, here, i, mask))  # type: ignore[misc]
    f.ret()
    return f


def _define_block(module: Module, products: Products, chances: Function) -> Function:
    """What a block of queries and one of keys add to all three gradients."""
    t = products.type
    f = Function(
        module, "block", [I64] * 6 + [PTR, PTR, t] + [PTR, I64] * 2 + [PTR, PTR] + [PTR, I64] * 3 + [PTR] * 2
        + [PTR, I64] * 3, internal=True,
    )  # fmt: skip
    (
        rows, keys, width, depth, base, ld, s, d, scale, query, q_row, grad, g_row, packed_k, packed_v, key, k_row,
        mask, mask_row, out, out_row, lse, of_lse, of_q, of_q_row, of_k, of_k_row, of_v, of_v_row,
    ) = f.args  # fmt: skip
    f.call(products.scores, rows, keys, width, query, q_row, packed_k, s, ld, base)
    f.call(products.scores, rows, keys, depth, grad, g_row, packed_v, d, ld, base)
    f.call(
        chances, rows, keys, s, d, ld, base, grad, g_row, out, out_row, depth, lse, of_lse, mask, mask_row, scale
    )  # fmt: skip
    f.call(products.weighted, rows, keys, width, d, ld, key, k_row, of_q, of_q_row, base, 1)
    f.call(products.turned, rows, keys, depth, s, ld, grad, g_row, of_v, of_v_row, base)
    f.call(products.turned, rows, keys, width, d, ld, query, q_row, of_k, of_k_row, base)
    f.ret()
    return f


def _define_chances(module: Module, products: Products, masked: bool) -> Function:
    """``chances(rows, keys, s, d, ld, base, grad, g_row, out, out_row, depth, lse, of_lse, mask, mask_row, scale)``.

    The scores at ``s`` become probabilities, and the gradients for these at ``d`` those for the products of queries
    and keys. Behind the keys that a query may look at stand zeros, as far as products read them.
    """
    t, read = products.type, products.read
    f = Function(
        module, "chances", [I64, I64, PTR, PTR, I64, I64] + [PTR, I64] * 2 + [I64, PTR, PTR, PTR, I64, t],
        internal=True,
    )  # fmt: skip
    rows, keys, s, d, ld, base, grad, g_row, out, out_row, depth, lse, of_lse, mask, mask_row, scale = f.args
    scales = f.splat(scale, read.count)
    for r, span in each_row(f, read, rows, depth):
        live = f.minimum(keys, base + r + 1)
        until = f.minimum(keys, base + r + (1 + products.shape.rows))
        p, of_p = f.at(s, r * ld, t), f.at(d, r * ld, t)
        dot = f.variable(read.vector, 0.0)
        g_here, out_here = f.at(grad, r * g_row, t), f.at(out, r * out_row, t)

        def add(i: Value, m: Value | None, g: Value = g_here, o: Value = out_here, dot: Any = dot) -> None:
            dot.set(f.muladd(read.load(f, g, i, m), read.load(f, o, i, m), dot.now))

        span.each(add)
        along = f.splat(f.reduce(dot.now, lambda a, b: a + b) - f.load(t, of_lse, r), read.count)
        top = f.load(t, lse, r)
        less = f.splat(f.select(top.eq(float("-inf")), 0.0, top), read.count)
        score = score_reader(f, read, p, f.at(mask, r * mask_row, t) if masked else None, scale, live)

        def write(
            i: Value, cut: bool, p: Value = p, of_p: Value = of_p, score: Any = score, less: Value = less,
            along: Value = along, live: Value = live,
        ) -> None:  # fmt: skip
            e = maths.exp_nonpositive(f, score(i, cut, less))
            found = e * (f.load(read.vector, of_p, i) - along) * scales
            if cut:
                found = f.select(f.below(f.select(live > i, live - i, 0), read.count), found, 0.0)
            f.store(e, p, i)
            f.store(found, of_p, i)

        whole = live & ~(read.count - 1)
        for i in f.range(0, whole, read.count):
            write(i, False)
        for i in f.range(whole, until, read.count):
            write(i, True)
    f.ret()
    return f
