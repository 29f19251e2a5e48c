"""Attention and its gradients: in numpy, some heads at a time, and machine code over it."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

import numpy as np

from flambeau.backends.base import KernelTable
from flambeau.backends.cpu import threads
from flambeau.backends.cpu.chunks import LARGE, in_chunks
from flambeau.backends.cpu.native.arrays import active
from flambeau.backends.xp import Array
from flambeau.backends.xp.nn import back
from flambeau.backends.xp.reduce import wide
from flambeau.core import dtype as dt

#: Multiplications from which machine code pays.
_LEAST: Final = 1 << 16


def bind(table: KernelTable) -> None:
    table.register("attention", attention, dt.FLOATS)
    table.register("attention_grad", attention_grad, dt.FLOATS)


def attention(
    query: Array, key: Array, value: Array, mask: Array | None, *, causal: bool, scale: float
) -> tuple[Array, Array]:
    """softmax(query keyᵀ scale + mask) value, and the logarithm of the softmax's denominators."""
    found = _native("attention", query, key, value, mask, causal=causal, scale=scale)
    if found is None:
        found = _in_parts(_attention, 2, [query, key, value], mask, [], causal, scale)
    return found[0], found[1]


def attention_grad(
    grad: Array, grad_lse: Array, query: Array, key: Array, value: Array, mask: Array | None, out: Array, lse: Array,
    *, causal: bool, scale: float,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """The gradients for queries, keys and values."""
    rest = (grad, grad_lse[..., None], out, lse[..., None])
    found = _native("attention_grad", query, key, value, mask, *rest, causal=causal, scale=scale)
    if found is None:
        found = _in_parts(_attention_grad, 3, [query, key, value], mask, list(rest), causal, scale)
    return _sum_to(found[0], query), _sum_to(found[1], key), _sum_to(found[2], value)


def _native(name: str, query: Array, key: Array, *rest: Array | None, **params: Any) -> tuple[Array, ...] | None:
    """What machine code finds; None where there is none, or the operands are not for it."""
    target = active() if query.size * key.shape[-2] >= _LEAST else None
    if target is None:
        return None
    kernels = import_module("flambeau.backends.cpu.native.attention").KERNELS
    found: tuple[Array, ...] | None = kernels[name](target, query, key, *rest, **params)
    return found


# -- numpy -----------------------------------------------------------------------------------------
@threads.single_threaded_blas()
def _in_parts(
    body: Any, count: int, operands: list[Array], mask: Array | None, rest: list[Array], causal: bool, scale: float
) -> tuple[Array, ...]:  # fmt: skip
    """``body`` on operands of one batch, of which the first axis is cut where the scores are many."""
    masks = [] if mask is None else [mask if mask.ndim > 1 else mask[None]]
    lead = np.broadcast_shapes(*[x.shape[:-2] for x in (*operands, *masks, *rest)])
    given = [np.broadcast_to(x, lead + x.shape[-2:]) for x in (*operands, *masks, *rest)]
    each = operands[0].shape[-2] * operands[1].shape[-2] * int(np.prod(lead[1:]))
    if not lead or lead[0] < 2 or lead[0] * each < LARGE:
        whole: tuple[Array, ...] = body(given, mask is not None, causal, scale)
        return whole
    found: dict[int, tuple[Array, ...]] = {}

    def work(part: slice) -> None:
        found[part.start] = body([x[part] for x in given], mask is not None, causal, scale)

    in_chunks(work, lead[0], each)
    ordered = [found[start] for start in sorted(found)]
    return tuple(np.concatenate([part[i] for part in ordered]) for i in range(count))


def _scores(query: Array, key: Array, mask: Array | None, causal: bool, scale: float) -> Array:
    wide_query = wide(np, query)
    scores = (wide_query * wide_query.dtype.type(scale)) @ wide(np, key).swapaxes(-1, -2)
    if mask is not None:
        scores += mask
    if causal:
        scores[..., np.arange(key.shape[-2]) > np.arange(query.shape[-2])[:, None]] = -np.inf
    return scores


def _attention(given: list[Array], masked: bool, causal: bool, scale: float) -> tuple[Array, Array]:
    query, key, value = given[:3]
    weights = _scores(query, key, given[3] if masked else None, causal, scale)
    most = weights.max(-1, keepdims=True, initial=-np.inf)
    most[most == -np.inf] = 0
    weights -= most
    np.exp(weights, weights)
    total = weights.sum(-1, keepdims=True)
    out = weights @ wide(np, value)
    out /= np.where(total == 0, total.dtype.type(1), total)
    return back(out, query), back((np.log(total) + most)[..., 0], query)


def _attention_grad(given: list[Array], masked: bool, causal: bool, scale: float) -> tuple[Array, Array, Array]:
    query, key, value, *rest = given
    mask, grad, grad_lse, out, lse = rest if masked else (None, *rest)
    wide_query, wide_key, wide_grad = (wide(np, x) for x in (query, key, grad))
    weights = _scores(query, key, mask, causal, scale)
    weights -= np.where(lse == -np.inf, lse.dtype.type(0), lse)
    np.exp(weights, weights)
    of_scores = wide_grad @ wide(np, value).swapaxes(-1, -2)
    of_scores -= (wide_grad * out).sum(-1, keepdims=True) - grad_lse
    of_scores *= weights
    of_scores *= of_scores.dtype.type(scale)
    return (
        back(of_scores @ wide_key, query),
        back(of_scores.swapaxes(-1, -2) @ wide_query, query),
        back(weights.swapaxes(-1, -2) @ wide_grad, query),
    )


def _sum_to(x: Array, like: Array) -> Array:
    """The sum over what ``like`` was broadcast along."""
    if x.shape == like.shape:
        return x
    extra = x.ndim - like.ndim
    axes = tuple(i for i in range(x.ndim) if i < extra or like.shape[i - extra] != x.shape[i])
    return wide(np, x).sum(axes, keepdims=True).reshape(like.shape).astype(like.dtype)
