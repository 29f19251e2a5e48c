"""Attention and its gradients: a backend that fuses them never stores the matrix of all scores."""

from __future__ import annotations

import math
from collections.abc import Sequence

from flambeau.core.creation import arange
from flambeau.core.declare import OpFunction, composite
from flambeau.core.errors import ShapeError
from flambeau.core.ops.elementwise import exp_p, log_p, where
from flambeau.core.ops.expand import broadcast_shapes
from flambeau.core.ops.nn.rules import Shape, one_float, through_body
from flambeau.core.tensor import Tensor


def _attention_infer(query: Shape, key: Shape, value: Shape, mask: Shape | None, **p: object) -> tuple[Shape, Shape]:
    fits = min(len(query), len(key), len(value)) >= 2 and query[-1] == key[-1] and key[-2] == value[-2]
    if not fits:
        raise ShapeError(
            "scaled_dot_product_attention: query (..., L, E), key (..., S, E) and value (..., S, V) must agree, "
            f"got query {tuple(query)}, key {tuple(key)}, value {tuple(value)}"
        )
    leads = [query[:-2], key[:-2], value[:-2], *([] if mask is None else [mask[:-2]])]
    lead = tuple(query[:-2]) if leads.count(leads[0]) == len(leads) else tuple(broadcast_shapes(*leads))
    return (*lead, query[-2], value[-1]), (*lead, query[-2])


def scores_of(query: Tensor, key: Tensor, mask: Tensor | None, causal: bool, scale: float) -> Tensor:
    """Scaled products of queries and keys, -inf where a query may not look."""
    scores = (query * scale) @ key.transpose(-2, -1)
    if mask is not None:
        scores = scores + mask
    return where(_later(scores), -math.inf, scores) if causal else scores


def _later(scores: Tensor) -> Tensor:
    """Which keys stand behind their query: (L, S)."""
    rows, columns = scores.shape[-2:]
    return arange(columns, device=scores.device) > arange(rows, device=scores.device).unsqueeze(-1)


# -- gradients ---------------------------------------------------------------------------------------
def _of_scores(
    grad: Tensor, grad_lse: Tensor, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None,
    out: Tensor, lse: Tensor, causal: bool, scale: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The probabilities, computed again from ``lse``, and the gradient for the scores."""
    finite = where(lse == -math.inf, 0.0, lse).unsqueeze(-1)
    weights = exp_p(scores_of(query, key, mask, causal, scale) - finite)
    along = ((grad * out).sum(dim=-1) - grad_lse).unsqueeze(-1)
    return weights, weights * (grad @ value.transpose(-2, -1) - along)


def _attention_grad(
    grad: Tensor, grad_lse: Tensor, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None,
    result: Tensor, lse: Tensor, *, causal: bool, scale: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    weights, of_scores = _of_scores(grad, grad_lse, query, key, value, mask, result, lse, causal, scale)
    return (
        _sum_to(of_scores @ key * scale, query),
        _sum_to(of_scores.transpose(-2, -1) @ (query * scale), key),
        _sum_to(weights.transpose(-2, -1) @ grad, value),
    )


def _sum_to(x: Tensor, like: Tensor) -> Tensor:
    """The sum over what ``like`` was broadcast along."""
    return x if x.shape == like.shape else x.sum_to_size(like.shape)


attention_grad_p: OpFunction[tuple[Tensor, ...]] = composite(
    "attention_grad(grad: Tensor, grad_lse: Tensor, query: Tensor, key: Tensor, value: Tensor, mask: Tensor?,"
    " result: Tensor, lse: Tensor, *, causal: bool, scale: float)"
    " -> (of_query: Tensor, of_key: Tensor, of_value: Tensor)",
    infer=lambda grad, grad_lse, query, key, value, *rest, **p: (query, key, value),
    dtype=one_float,
    public=False,
    doc="The gradients of attention for queries, keys and values, from its results and theirs.",
    vjp=through_body(
        _attention_grad,
        ("grad", "grad_lse", "query", "key", "value", "mask", "result", "lse"),
        ("causal", "scale"),
    ),
)(_attention_grad)


def _attention_vjp(
    g: Sequence[Tensor], needs: Sequence[bool], query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None,
    out: Tensor, lse: Tensor, causal: bool, scale: float,
) -> tuple[Tensor | None, ...]:  # fmt: skip
    """The probabilities are computed again from ``lse``, so that no L by S matrix is kept.

    Source: Dao et al., "FlashAttention", arXiv:2205.14135, appendix B.
    """
    found: tuple[Tensor | None, ...] = (None, None, None)
    if any(needs[:3]):
        found = attention_grad_p(g[0], g[1], query, key, value, mask, out, lse, causal, scale)
    of_mask = _of_scores(g[0], g[1], query, key, value, mask, out, lse, causal, scale)[1] if needs[3] else None
    return (*found, of_mask)


# -- the op ------------------------------------------------------------------------------------------
@composite(
    "attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor?, *, causal: bool, scale: float)"
    " -> (out: Tensor, lse: Tensor)",
    autocast="low",
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
    scores = scores_of(query, key, mask, causal, scale)
    if 0 in scores.shape:  # nothing to look at, or nobody who looks
        total = scores.sum(dim=-1)
        return scores @ value, total.log()
    most = scores.amax(dim=-1, keepdim=True)
    most = where(most == -math.inf, 0.0, most)
    weights = exp_p(scores - most)
    total = weights.sum(dim=-1, keepdim=True)
    out = weights @ value / where(total == 0, 1.0, total)
    return out, (log_p(total) + most).squeeze(-1)
