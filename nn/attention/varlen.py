"""Attention over sequences of different lengths that lie one after the other, without padding."""

from __future__ import annotations

import math
from typing import NamedTuple

from flambeau.core.creation import arange, full
from flambeau.core.dtype import FLOATING, float32
from flambeau.core.ops.joining import cat
from flambeau.core.tensor import Tensor

__all__ = ["AuxRequest", "varlen_attn", "varlen_attn_out"]


class AuxRequest(NamedTuple):
    """What :func:`varlen_attn` is to return beside its result: ``lse``, the logarithms of the sums of exponentials."""

    lse: bool = False


def varlen_attn(
    query: Tensor, key: Tensor, value: Tensor, cu_seq_q: Tensor, cu_seq_k: Tensor | None, max_q: int, max_k: int, *,
    return_aux: AuxRequest | None = None, scale: float | None = None, window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False, seqused_k: Tensor | None = None, block_table: Tensor | None = None,
    num_splits: int | None = None,
) -> Tensor | tuple[Tensor, Tensor]:  # fmt: skip
    """Attention in each of several sequences, packed: query (total, heads, size), key and value likewise.

    Args:
        query, key, value: as said; with ``block_table`` key and value are pages, (pages, page length, heads, size).
        cu_seq_q, cu_seq_k: where each sequence begins, and at last where all end, int (sequences + 1,).
        max_q, max_k: the longest lengths; they choose kernels in PyTorch, here nothing depends on them.
        return_aux: with ``AuxRequest(lse=True)`` the result is (output, lse), lse float32 (heads, total).
        scale: of the scores, by default 1 / sqrt(size).
        window_size: how many keys before and after its own place a query sees, -1 for all; places are counted from
            the ends of queries and keys, so that (-1, 0) is causal.
        enable_gqa: several query heads share a key head.
        seqused_k: how many keys of each sequence count, int (sequences,).
        block_table: the pages of each sequence, int (sequences, most pages).
        num_splits: accepted for PyTorch's sake.

    Returns:
        The output (total, heads, size of a value). A query that sees no key gives 0, and -inf in lse.

    >>> x, ends = fb.ones(3, 1, 2), fb.tensor([0, 1, 3])
    >>> fb.nn.attention.varlen.varlen_attn(x, x, x, ends, ends, 2, 2).shape
    flambeau.Size([3, 1, 2])
    """
    if query.ndim != 3:
        raise RuntimeError(f"varlen_attn: query must be (total, heads, size), got shape {tuple(query.shape)}")
    heads, shared = query.shape[1], key.shape[-2]
    if heads != shared and not (enable_gqa and heads % shared == 0):
        raise RuntimeError(f"varlen_attn: {heads} query heads and {shared} key heads go together by enable_gqa alone")
    ends = [int(n) for n in cu_seq_q.tolist()]
    parts, sums = [], []
    for i in range(len(ends) - 1):
        k, v = (_keys(t, i, cu_seq_k, seqused_k, block_table) for t in (key, value))
        out, lse = _attend(query[ends[i] : ends[i + 1]], k, v, scale, window_size, heads // shared)
        parts.append(out)
        sums.append(lse)
    result = cat(parts) if parts else query.new_zeros((0, heads, value.shape[-1]))
    if return_aux is None or not return_aux.lse:
        return result
    return result, cat(sums, 1) if sums else query.new_zeros((heads, 0), dtype=float32)


def varlen_attn_out(
    out: Tensor, query: Tensor, key: Tensor, value: Tensor, cu_seq_q: Tensor, cu_seq_k: Tensor | None, max_q: int,
    max_k: int, *, return_aux: AuxRequest | None = None, scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1), enable_gqa: bool = False, seqused_k: Tensor | None = None,
    block_table: Tensor | None = None, num_splits: int | None = None,
) -> Tensor | tuple[Tensor, Tensor]:  # fmt: skip
    """:func:`varlen_attn` into ``out``, which is returned.

    >>> x, ends = fb.ones(2, 1, 2), fb.tensor([0, 2])
    >>> out = fb.zeros(2, 1, 2)
    >>> fb.nn.attention.varlen.varlen_attn_out(out, x, x, x, ends, ends, 2, 2) is out
    True
    """
    found = varlen_attn(
        query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, return_aux=return_aux, scale=scale,
        window_size=window_size, enable_gqa=enable_gqa, seqused_k=seqused_k, block_table=block_table,
    )  # fmt: skip
    if isinstance(found, tuple):
        return out.copy_(found[0]), found[1]
    return out.copy_(found)


def _keys(t: Tensor, i: int, starts: Tensor | None, used: Tensor | None, table: Tensor | None) -> Tensor:
    """The keys or values of sequence ``i``, (length, heads, size)."""
    count = None if used is None else int(used[i].item())
    if table is not None:
        if count is None:
            raise RuntimeError("varlen_attn: block_table needs seqused_k, the lengths of the sequences")
        pages = table[i, : math.ceil(count / t.shape[1])]
        return t.index_select(0, pages).flatten(0, 1)[:count]
    if starts is None:
        raise RuntimeError("varlen_attn: cu_seq_k may be None with block_table alone")
    first, end = int(starts[i].item()), int(starts[i + 1].item())
    return t[first : end if count is None else first + count]


def _attend(
    q: Tensor, k: Tensor, v: Tensor, scale: float | None, window: tuple[int, int], group: int
) -> tuple[Tensor, Tensor]:
    """One sequence: the output, and the logarithms of the sums of exponentials (heads, length)."""
    q, k, v = (t.transpose(0, 1) for t in (q, k, v))
    if group > 1:
        k, v = k.repeat_interleave(group, 0), v.repeat_interleave(group, 0)
    scores = (q @ k.mT).to(float32 if q.dtype.category == FLOATING and q.dtype.itemsize < 4 else q.dtype)
    scores = scores * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    hidden = _hidden(scores, window)
    if hidden is not None:
        scores = scores.masked_fill(hidden, -math.inf)
    if not k.shape[1]:
        lse = full(tuple(q.shape[:2]), -math.inf, dtype=scores.dtype, device=q.device)
        return q.new_zeros((q.shape[1], q.shape[0], v.shape[-1])), lse.to(float32)
    lse = scores.logsumexp(-1)
    weights = (scores - lse.unsqueeze(-1)).exp()
    if hidden is not None:
        weights = weights.masked_fill(hidden, 0.0)  # a query that sees nothing, too
    return (weights.to(v.dtype) @ v).transpose(0, 1), lse.to(float32)


def _hidden(scores: Tensor, window: tuple[int, int]) -> Tensor | None:
    """Where a query does not look; None where all look everywhere."""
    before, after = window
    if before < 0 and after < 0:
        return None
    length, count = scores.shape[-2:]
    own = arange(length, device=scores.device).unsqueeze(1) + (count - length)
    places = arange(count, device=scores.device)
    hidden = places > own + (after if after >= 0 else count + length)
    return hidden | (places < own - before) if before >= 0 else hidden
