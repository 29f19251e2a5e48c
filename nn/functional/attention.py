"""Attention, in torch's signatures."""

from __future__ import annotations

import math
from typing import Any

from flambeau.core import dtype as dt
from flambeau.core.autocast import autocasting
from flambeau.core.errors import DTypeError, ShapeError
from flambeau.core.ops.elementwise import where
from flambeau.core.ops.matmul import linear_p
from flambeau.core.ops.nn.attention import attention_p, scores_of
from flambeau.core.ops.nn.softmax import softmax as softmax_of
from flambeau.core.ops.storage import cat_p
from flambeau.core.tensor import Tensor
from flambeau.nn.functional.attention_ways import composed
from flambeau.nn.functional.dropout import dropout


def additive(mask: Tensor, like: Tensor) -> Tensor:
    """A mask to be added to scores: -inf where a bool mask is False."""
    if mask.dtype is dt.bool_:
        return where(mask, 0.0, -math.inf).to(like.dtype)
    return mask if mask.dtype is like.dtype else mask.to(like.dtype)


@autocasting("low")
def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """softmax(query keyᵀ scale + attn_mask) value. Vaswani et al., arXiv:1706.03762.

    Shapes: query (..., L, E), key (..., S, E), value (..., S, V); the result is (..., L, V). ``attn_mask``
    broadcasts to (..., L, S): added, or True where a query may look; with ``is_causal`` no query looks at later
    keys either. ``scale`` defaults to 1 / sqrt(E).
    With ``enable_gqa`` several query heads (axis -3) share a key head. A query that may look nowhere gives 0.

    >>> fb.nn.functional.scaled_dot_product_attention(fb.ones(1, 2, 4), fb.ones(1, 3, 4), fb.ones(1, 3, 5)).shape
    flambeau.Size([1, 2, 5])
    """
    if min(query.ndim, key.ndim, value.ndim) < 2:
        raise ShapeError(
            "scaled_dot_product_attention: query, key and value must have at least 2 dimensions, "
            f"got {tuple(query.shape)}, {tuple(key.shape)} and {tuple(value.shape)}"
        )
    if not 0 <= dropout_p <= 1:
        raise RuntimeError(f"scaled_dot_product_attention: dropout_p must be between 0 and 1, got {dropout_p}")
    whole = composed() or dropout_p > 0
    shared = enable_gqa and not whole and key.shape[-3:-2] == value.shape[-3:-2] and query._key.attention is not None
    if enable_gqa and not shared:
        key, value = _repeat_heads(query, key), _repeat_heads(query, value)
    factor = 1 / math.sqrt(max(query.shape[-1], 1)) if scale is None else scale
    if attn_mask is not None:
        _check_mask(attn_mask, query, key)
    mask = None if attn_mask is None else additive(attn_mask, query)
    if whole:
        return _with_dropout(query, key, value, mask, dropout_p, is_causal, factor)
    if shared:
        return _with_shared_heads(query, key, value, mask, is_causal, factor)
    return attention_p(query, key, value, mask, is_causal, factor)[0]


def _check_mask(mask: Tensor, query: Tensor, key: Tensor) -> None:
    scores = (*query.shape[:-1], key.shape[-2])
    given = tuple(mask.shape)
    if mask.dtype is not dt.bool_ and mask.dtype.category != dt.FLOATING:
        raise DTypeError(f"scaled_dot_product_attention: attn_mask must be bool or floating, got {mask.dtype.name}")
    if any(m not in (1, s) for m, s in zip(given[::-1], scores[::-1], strict=False)):
        raise ShapeError(
            f"scaled_dot_product_attention: attn_mask of shape {given} does not broadcast to the scores (..., L, S), "
            f"here {scores}"
        )


def _share(query: Tensor, x: Tensor) -> int:
    """How many query heads share a head of ``x``."""
    heads, have = query.shape[-3], x.shape[-3]
    if have == 0 or heads % have:
        raise ShapeError(f"scaled_dot_product_attention: {heads} query heads do not divide by {have} key heads")
    return heads // have


def _repeat_heads(query: Tensor, x: Tensor) -> Tensor:
    count = _share(query, x)
    return x if count == 1 else x.repeat_interleave(count, -3)


def _with_shared_heads(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool, factor: float
) -> Tensor:
    """Heads in groups, over which a kernel broadcasts keys and values: they are not copied."""
    groups = (key.shape[-3], _share(query, key))
    if mask is not None and mask.ndim > 2:
        mask = mask.unsqueeze(-3) if mask.shape[-3] == 1 else mask.unflatten(-3, groups)
    out: Tensor = attention_p(
        query.unflatten(-3, groups), key.unsqueeze(-3), value.unsqueeze(-3), mask, causal, factor
    )[0]  # fmt: skip
    return out.flatten(-4, -3)


def weights_of(scores: Tensor, masked: bool) -> Tensor:
    """softmax of the scores; 0 for a query that may look nowhere."""
    weights = softmax_of(scores, -1)
    if not masked:
        return weights
    return where((scores == -math.inf).all(-1, keepdim=True), 0.0, weights)


def _with_dropout(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, p: float, causal: bool, factor: float
) -> Tensor:
    weights = weights_of(scores_of(query, key, mask, causal, factor), mask is not None)
    return (dropout(weights, p) if p > 0 else weights) @ value


def multi_head_attention_forward(
    query: Tensor, key: Tensor, value: Tensor, embed_dim_to_check: int, num_heads: int, in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None, bias_k: Tensor | None, bias_v: Tensor | None, add_zero_attn: bool, dropout_p: float,
    out_proj_weight: Tensor, out_proj_bias: Tensor | None, training: bool = True,
    key_padding_mask: Tensor | None = None, need_weights: bool = True, attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False, q_proj_weight: Tensor | None = None, k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None, static_k: Tensor | None = None, static_v: Tensor | None = None,
    average_attn_weights: bool = True, is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """The computation of :class:`~flambeau.nn.MultiheadAttention` on (L, N, E) or (L, E): output and weights."""
    _check_shapes(query, key, value, key_padding_mask, use_separate_proj_weight)
    if query.shape[-1] != embed_dim_to_check:
        raise ShapeError(
            f"multi_head_attention: query of shape {tuple(query.shape)} must have embed_dim={embed_dim_to_check} last"
        )
    if embed_dim_to_check % num_heads:
        raise ShapeError(f"multi_head_attention: embed_dim={embed_dim_to_check} must divide by num_heads={num_heads}")
    if is_causal and attn_mask is None:
        raise RuntimeError("multi_head_attention: is_causal=True is a hint about attn_mask, which must be given too")
    batched = query.ndim == 3
    if not batched:
        query, key, value = (t.unsqueeze(1) for t in (query, key, value))
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    separate = (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else None
    q, k, v = _projected(query, key, value, separate, in_proj_weight, in_proj_bias)
    attn_mask = _per_head(attn_mask, q, k, num_heads)
    if bias_k is not None and bias_v is not None:
        k, v = _appended(k, bias_k), _appended(v, bias_v)
        attn_mask, key_padding_mask = _widened(attn_mask), _widened(key_padding_mask)
    heads = [_split_heads(t, num_heads) for t in (q, k, v)]
    heads[1] = heads[1] if static_k is None else _static(static_k, heads[1], num_heads)
    heads[2] = heads[2] if static_v is None else _static(static_v, heads[2], num_heads)
    if add_zero_attn:
        heads[1:] = [_with_zeros(t) for t in heads[1:]]
        attn_mask, key_padding_mask = _widened(attn_mask), _widened(key_padding_mask)
    mask = _combined(attn_mask, key_padding_mask, q)
    out, weights = _attend(heads, mask, dropout_p if training else 0.0, need_weights)
    out = linear_p(out.permute(2, 0, 1, 3).flatten(2), out_proj_weight, out_proj_bias)
    if weights is not None and average_attn_weights:
        weights = weights.mean(1)
    if not batched:
        out, weights = out.squeeze(1), None if weights is None else weights.squeeze(0)
    return out, weights


def _check_shapes(query: Tensor, key: Tensor, value: Tensor, padding: Tensor | None, separate: bool) -> None:
    q, k, v = tuple(query.shape), tuple(key.shape), tuple(value.shape)
    if len(q) not in (2, 3) or not len(q) == len(k) == len(v):
        raise ShapeError(
            f"multi_head_attention: query, key and value must all be (L, N, E) or (L, E), got {q}, {k}, {v}"
        )
    if k[:-1] != v[:-1] or k[1:-1] != q[1:-1] or not separate and k != v:
        raise ShapeError(f"multi_head_attention: query, key and value of shapes {q}, {k} and {v} do not go together")
    wanted = (*k[1:-1], k[0])
    if padding is not None and tuple(padding.shape) != wanted:
        raise ShapeError(f"multi_head_attention: key_padding_mask must be {wanted}, got shape {tuple(padding.shape)}")


def _projected(query: Tensor, key: Tensor, value: Tensor, separate: Any, weight: Any, bias: Any) -> list[Tensor]:
    """Queries, keys and values through their linear maps: one matmul where they are the same tensor."""
    if separate is None and query is key and key is value:
        return list(linear_p(query, weight, bias).chunk(3, -1))
    weights = weight.chunk(3) if separate is None else separate
    biases = (None, None, None) if bias is None else bias.chunk(3)
    return [linear_p(t, w, b) for t, w, b in zip((query, key, value), weights, biases, strict=True)]


def _split_heads(x: Tensor, heads: int) -> Tensor:
    """(L, N, E) as (N, heads, L, E / heads)."""
    return x.reshape(x.shape[0], x.shape[1], heads, x.shape[2] // heads).permute(1, 2, 0, 3)


def _static(x: Tensor, like: Tensor, heads: int) -> Tensor:
    return x.reshape(x.shape[0] // heads, heads, *x.shape[1:]).expand(like.shape[0], heads, *x.shape[1:])


def _appended(x: Tensor, row: Tensor) -> Tensor:
    return cat_p([x, row.expand(1, x.shape[1], x.shape[2])], 0)


def _with_zeros(x: Tensor) -> Tensor:
    """One more key (or value) of zeros."""
    return cat_p([x, x.new_zeros(*x.shape[:2], 1, x.shape[3])], 2)


def _widened(mask: Tensor | None) -> Tensor | None:
    """A mask with one more key that everybody may see."""
    if mask is None:
        return None
    return cat_p([mask, mask.new_zeros(*mask.shape[:-1], 1)], -1)


def _per_head(mask: Tensor | None, q: Tensor, k: Tensor, heads: int) -> Tensor | None:
    """An attention mask (L, S) or (N * heads, L, S) as (1, 1, L, S) or (N, heads, L, S)."""
    if mask is None:
        return None
    each, batch = (q.shape[0], k.shape[0]), q.shape[1]
    if tuple(mask.shape) not in (each, (batch * heads, *each)):
        raise ShapeError(
            f"multi_head_attention: attn_mask must be (L, S) or (N * num_heads, L, S) with L={each[0]}, S={each[1]}, "
            f"N={batch} and num_heads={heads}, got {tuple(mask.shape)}"
        )
    return mask.unsqueeze(0).unsqueeze(0) if mask.ndim == 2 else mask.reshape(batch, heads, *each)


def _combined(attn_mask: Tensor | None, padding: Tensor | None, like: Tensor) -> Tensor | None:
    """Both masks as one to be added; True means: do not look, in the masks of this function."""
    parts = [] if attn_mask is None else [_hiding(attn_mask, like)]
    if padding is not None:
        parts.append(_hiding(padding, like).unsqueeze(1).unsqueeze(1))
    return sum(parts[1:], parts[0]) if parts else None


def _hiding(mask: Tensor, like: Tensor) -> Tensor:
    return additive(~mask, like) if mask.dtype is dt.bool_ else additive(mask, like)


def _attend(heads: list[Tensor], mask: Tensor | None, p: float, need_weights: bool) -> tuple[Tensor, Tensor | None]:
    q, k, v = heads
    if not need_weights:
        return scaled_dot_product_attention(q, k, v, mask, p), None
    weights = softmax_of(scores_of(q, k, mask, False, 1 / math.sqrt(q.shape[-1])), -1)
    weights = dropout(weights, p) if p > 0 else weights
    return weights @ v, weights
