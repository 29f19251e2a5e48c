"""Attention whose scores go through a function of one's own. Dong et al., arXiv:2412.05496."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypedDict

from flambeau.core.errors import ShapeError
from flambeau.core.ops.elementwise import where
from flambeau.core.tensor import Tensor
from flambeau.nn.attention.block_mask import (
    BlockMask,
    and_masks,
    create_block_mask,
    create_mask,
    noop_mask,
    or_masks,
    places,
)  # fmt: skip

__all__ = [
    "AuxOutput", "AuxRequest", "BlockMask", "FlexKernelOptions", "and_masks", "create_block_mask", "create_mask",
    "flex_attention", "noop_mask", "or_masks",
]  # fmt: skip

#: From a score and the numbers of batch, head, query and key, another score.
ScoreMod = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


class AuxRequest(NamedTuple):
    """What :func:`flex_attention` gives besides its output."""

    lse: bool = False
    max_scores: bool = False


class AuxOutput(NamedTuple):
    """The logarithm of the sum of exponentials of each query's scores, and the greatest score, if asked for."""

    lse: Tensor | None = None
    max_scores: Tensor | None = None


class FlexKernelOptions(TypedDict, total=False):
    """Options of the kernels that torch generates; here nothing reads them."""

    num_warps: int
    num_stages: int
    BLOCK_M: int
    BLOCK_N: int
    PRESCALE_QK: bool
    ROWS_GUARANTEED_SAFE: bool
    BLOCKS_ARE_CONTIGUOUS: bool
    FORCE_USE_FLEX_ATTENTION: bool
    BACKEND: str


def flex_attention(
    query: Tensor, key: Tensor, value: Tensor, score_mod: ScoreMod | None = None, block_mask: BlockMask | None = None,
    scale: float | None = None, enable_gqa: bool = False, return_lse: bool = False,
    kernel_options: FlexKernelOptions | None = None, *, return_aux: AuxRequest | None = None,
) -> Any:  # Any: a tensor, or a pair with what was asked for  # fmt: skip
    """softmax(score_mod(query keyᵀ scale)) value, of what ``block_mask`` shows; a query that sees nothing gives 0.

    Shapes: query (B, H, L, E), key (B, H, S, E), value (B, H, S, V); the result is (B, H, L, V). ``score_mod`` gets
    all scores (B, H, L, S) at once, with numbers of batch, head, query and key that broadcast to them.

    >>> q = k = v = fb.ones(1, 1, 3, 2)
    >>> earlier = lambda score, b, h, q_idx, kv_idx: fb.where(q_idx >= kv_idx, score, -float("inf"))
    >>> fb.nn.attention.flex_attention.flex_attention(q, k, v, earlier).shape
    flambeau.Size([1, 1, 3, 2])
    """
    key, value = _fitting("key", query, key, enable_gqa), _fitting("value", query, value, enable_gqa)
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = (query * factor) @ key.transpose(-2, -1)
    batch, heads, queries, keys = scores.shape
    sizes = (batch, heads, queries, keys)
    if score_mod is not None:
        scores = score_mod(scores, *places(*sizes, scores.device)).expand(sizes)
    if block_mask is not None:
        scores = where(block_mask.visible(*sizes, scores.device), scores, -math.inf)
    lse = scores.logsumexp(-1)
    weights = where((lse == -math.inf).unsqueeze(-1), 0.0, (scores - lse.unsqueeze(-1)).exp())
    out = weights.to(value.dtype) @ value
    if return_aux is not None:
        most = scores.amax(-1) if return_aux.max_scores else None
        return out, AuxOutput(lse if return_aux.lse else None, most)
    return (out, lse) if return_lse else out


def _fitting(name: str, query: Tensor, x: Tensor, enable_gqa: bool) -> Tensor:
    """Keys or values for each batch and head of the queries."""
    if query.ndim != 4 or x.ndim != 4:
        raise ShapeError(
            f"flex_attention: query and {name} must be 4-d, (B, H, L, E), got {tuple(query.shape)} and {tuple(x.shape)}"
        )
    if x.shape[0] != query.shape[0]:
        x = x.expand(query.shape[0], *x.shape[1:])
    if x.shape[1] == query.shape[1]:
        return x
    if not enable_gqa or query.shape[1] % x.shape[1]:
        raise ShapeError(
            f"flex_attention: query has {query.shape[1]} heads, {name} {x.shape[1]}; enable_gqa=True lets heads share "
            "keys if their number divides"
        )
    return x.repeat_interleave(query.shape[1] // x.shape[1], 1)
