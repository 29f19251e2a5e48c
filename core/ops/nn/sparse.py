"""Rows by number (embedding), random masks (dropout) and attention."""

from __future__ import annotations

import math
from collections.abc import Sequence

from flambeau.core.creation import arange
from flambeau.core.declare import OpFunction, composite
from flambeau.core.errors import ShapeError
from flambeau.core.ops.elementwise import cj, elementwise, exp_p, log_p, where
from flambeau.core.ops.nn.rules import Shape, one_float
from flambeau.core.ops.random import words_below
from flambeau.core.record import floating, same
from flambeau.core.tensor import Tensor


# -- embedding ---------------------------------------------------------------------------------------
def _embedding_infer(weight: Shape, index: Shape, **p: object) -> Shape:
    if len(weight) != 2:
        raise ShapeError(f"embedding: weight must be (rows, width), got shape {tuple(weight)}")
    return (*index, weight[1])


@composite(
    "embedding(weight: Tensor, index: Tensor, *, padding_idx: int) -> Tensor",
    infer=_embedding_infer,
    dtype=same,
    kinds={"index": "index"},
    check=True,
    upcast=False,
    public=False,
    vjp=dict(
        weight=lambda g, index, weight_shape, padding_idx: embedding_grad_p(g, index, weight_shape[0], padding_idx)
    ),
)
def embedding_p(weight: Tensor, index: Tensor, *, padding_idx: int) -> Tensor:
    """The rows of ``weight`` that ``index`` says; row ``padding_idx`` (-1: none) gets no gradient."""
    return weight.index_select(0, index.reshape(-1)).reshape(*index.shape, weight.shape[1])


def _embedding_grad(grad: Tensor, index: Tensor, *, rows: int, padding_idx: int) -> Tensor:
    """The elements of ``grad`` (..., width) added to the rows that ``index`` (...) says."""
    if padding_idx >= 0:
        grad = where((index == padding_idx).unsqueeze(-1), 0.0, grad)
    width = grad.shape[-1]
    return grad.new_zeros(rows, width).index_add(0, index.reshape(-1), grad.reshape(index.numel(), width))


embedding_grad_p: OpFunction[Tensor] = composite(
    "embedding_grad(grad: Tensor, index: Tensor, *, rows: int, padding_idx: int) -> Tensor",
    infer=lambda grad, index, *, rows, **p: (rows, grad[-1]),
    dtype=floating,
    kinds={"index": "index"},
    public=False,
    vjp=dict(grad=lambda g, index, padding_idx: _embedding_grad_back(g, index, padding_idx)),
)(_embedding_grad)


def _embedding_grad_back(g: Tensor, index: Tensor, padding_idx: int) -> Tensor:
    rows = embedding_p(g, index, padding_idx)
    return where((index == padding_idx).unsqueeze(-1), 0.0, rows) if padding_idx >= 0 else rows


# -- dropout -----------------------------------------------------------------------------------------
def random_mask(like: Tensor, shape: Shape, keep: float) -> Tensor:
    """True with probability ``keep`` for each element of ``shape``, drawn from the default generator."""
    return words_below(min(round(keep * 2**32), 2**32 - 1), shape, like.device)


#: x * scale where the mask holds, 0 elsewhere.
masked_scale_p: OpFunction[Tensor] = elementwise(
    "masked_scale(x: Tensor, mask: Tensor, scale: Tensor) -> Tensor",
    "where(mask, x * scale, 0)",
    dtype=floating,
    kinds={"mask": "bool"},
    linear=["x"],
    public=False,
    inplace=False,
    vjp=dict(x=lambda g, mask, scale: masked_scale_p(g, mask, cj(scale)), scale=None),
)


# -- attention ---------------------------------------------------------------------------------------
def _attention_infer(query: Shape, key: Shape, value: Shape, mask: Shape | None, **p: object) -> tuple[Shape, Shape]:
    fits = min(len(query), len(key), len(value)) >= 2 and query[-1] == key[-1] and key[-2] == value[-2]
    if not fits:
        raise ShapeError(
            "scaled_dot_product_attention: query (..., L, E), key (..., S, E) and value (..., S, V) must agree, "
            f"got query {tuple(query)}, key {tuple(key)}, value {tuple(value)}"
        )
    lead = tuple(query[:-2])
    return (*lead, query[-2], value[-1]), (*lead, query[-2])


def _scores(query: Tensor, key: Tensor, mask: Tensor | None, causal: bool, scale: float) -> Tensor:
    """Scaled products of queries and keys, -inf where a query may not look."""
    scores = (query * scale) @ key.transpose(-2, -1)
    if mask is not None:
        scores = scores + mask
    return where(later(scores), -math.inf, scores) if causal else scores


def later(scores: Tensor) -> Tensor:
    """Which keys stand behind their query: (L, S)."""
    rows, columns = scores.shape[-2:]
    return arange(columns, device=scores.device) > arange(rows, device=scores.device).unsqueeze(-1)


def _attention_vjp(
    g: Sequence[Tensor], needs: Sequence[bool], query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None,
    out: Tensor, lse: Tensor, causal: bool, scale: float,
) -> tuple[Tensor | None, ...]:  # fmt: skip
    """The probabilities are computed again from ``lse``, so that no L by S matrix is kept.

    Source: Dao et al., "FlashAttention", arXiv:2205.14135, appendix B.
    """
    finite = where(lse == -math.inf, 0.0, lse).unsqueeze(-1)
    weights = exp_p(_scores(query, key, mask, causal, scale) - finite)
    of_weights = g[0] @ value.transpose(-2, -1)
    along = ((g[0] * out).sum(dim=-1) - g[1]).unsqueeze(-1)
    of_scores = weights * (of_weights - along)
    return (
        of_scores @ key * scale if needs[0] else None,
        of_scores.transpose(-2, -1) @ (query * scale) if needs[1] else None,
        weights.transpose(-2, -1) @ g[0] if needs[2] else None,
        of_scores if needs[3] else None,
    )


@composite(
    "attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor?, *, causal: bool, scale: float)"
    " -> (out: Tensor, lse: Tensor)",
    infer=_attention_infer,
    dtype=one_float,
    check=True,
    public=False,
    vjp=_attention_vjp,
)
def attention_p(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, causal: bool, scale: float
) -> tuple[Tensor, Tensor]:
    """softmax(query keyᵀ scale + mask) value, and the logarithm of the softmax's denominators.

    A query that may look at nothing gives 0. Shapes: query (..., L, E), key (..., S, E), value (..., S, V),
    mask broadcast to (..., L, S) and added.
    """
    scores = _scores(query, key, mask, causal, scale)
    if 0 in scores.shape:  # nothing to look at, or nobody who looks
        total = scores.sum(dim=-1)
        return scores @ value, total.log()
    most = scores.amax(dim=-1, keepdim=True)
    most = where(most == -math.inf, 0.0, most)
    weights = exp_p(scores - most)
    total = weights.sum(dim=-1, keepdim=True)
    out = weights @ value / where(total == 0, 1.0, total)
    return out, (log_p(total) + most).squeeze(-1)
