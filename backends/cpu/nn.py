"""The fused kernels of neural networks on numpy: the shared bodies, a chunk at a time, over the threads."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any, Final

import numpy as np

from flambeau.backends.base import KernelTable
from flambeau.backends.cpu.chunks import LARGE, along_axis, in_chunks
from flambeau.backends.cpu.native.arrays import over
from flambeau.backends.xp import Array
from flambeau.backends.xp import nn as xp_nn
from flambeau.backends.xp.sums import add_up
from flambeau.core import dtype as dt

Ints = tuple[int, ...]

_SOFTMAX: Final = ("softmax", "log_softmax", "softmax_grad", "log_softmax_grad")
_NORMS: Final = ("layer_norm", "layer_norm_grad", "rms_norm", "rms_norm_grad", "batch_norm", "batch_norm_sums")
#: Elements from which softmax is worth loading the compiler for; the norms always are.
_LEAST: Final = 1 << 8


def bind(table: KernelTable) -> None:
    xp_nn.bodies.bind(table, np)
    for name in _SOFTMAX:
        table.register(name, partial(along_axis, getattr(xp_nn, name)), dt.FLOATS)
    for name in ("layer_norm", "rms_norm"):
        table.register(name, partial(_over_rows, getattr(xp_nn, name)), dt.FLOATS)
    for name in ("layer_norm_grad", "rms_norm_grad"):
        table.register(name, partial(_over_rows_with_sums, getattr(xp_nn, name)), dt.FLOATS)
    table.register("batch_norm", batch_norm, dt.FLOATS)
    table.register("batch_norm_sums", batch_norm_sums, dt.FLOATS)
    for name in (*_SOFTMAX, *_NORMS):
        over(table, name, dt.FLOATS, "nn", _LEAST if name in _SOFTMAX else 1)
    table.register("batch_norm_given", batch_norm_given, (dt.float32, dt.float64))
    over(table, "batch_norm_given", (dt.float32, dt.float64), "nn", 1)


def _over_rows(body: Callable[..., Array], x: Array, *rest: Array | None, normalized_shape: Ints, eps: float) -> Array:
    """A normalisation of the last axes: all others are cut into chunks."""
    if x.size < LARGE:
        return body(np, x, *rest, normalized_shape=normalized_shape, eps=eps)
    rows = x.reshape(-1, *normalized_shape)
    out = np.empty(rows.shape, x.dtype)

    def work(part: slice) -> None:
        out[part] = body(np, rows[part], *rest, normalized_shape=normalized_shape, eps=eps)

    in_chunks(work, len(rows), prod(normalized_shape))
    return out.reshape(x.shape)


def _over_rows_with_sums(
    body: Callable[..., tuple[Array, ...]],
    grad: Array,
    x: Array,
    weight: Array | None,
    *,
    normalized_shape: Ints,
    eps: float,
) -> tuple[Array, ...]:
    """The gradient of such a normalisation: the first result by chunks, the others added up over them."""
    options: dict[str, Any] = dict(normalized_shape=normalized_shape, eps=eps)
    if x.size < LARGE or x.dtype.itemsize < 4:
        return body(np, grad, x, weight, **options)
    rows, grads = (v.reshape(-1, *normalized_shape) for v in (x, grad))
    out = np.empty(rows.shape, x.dtype)
    sums: dict[int, tuple[Array, ...]] = {}

    def work(part: slice) -> None:
        out[part], *found = body(np, grads[part], rows[part], weight, **options)
        sums[part.start] = tuple(found)

    in_chunks(work, len(rows), prod(normalized_shape))
    ordered = [sums[start] for start in sorted(sums)]
    return out.reshape(x.shape), *(add_up(np, np.stack(v), (0,)) for v in zip(*ordered, strict=True))


def batch_norm(x: Array, weight: Array | None, bias: Array | None, *, eps: float) -> tuple[Array, Array, Array]:
    """The shared body on some channels at a time, which have nothing to do with each other."""
    if x.size < LARGE:
        small: tuple[Array, Array, Array] = xp_nn.batch_norm(np, x, weight, bias, eps=eps)
        return small
    out, mean, var = np.empty(x.shape, x.dtype), np.empty(x.shape[1], x.dtype), np.empty(x.shape[1], x.dtype)

    def work(part: slice) -> None:
        w, b = (None if v is None else v[part] for v in (weight, bias))
        out[:, part], mean[part], var[part] = xp_nn.batch_norm(np, x[:, part], w, b, eps=eps)

    in_chunks(work, x.shape[1], x.size // x.shape[1])
    return out, mean, var


def batch_norm_given(
    x: Array, mean: Array, var: Array, weight: Array | None, bias: Array | None, *, eps: float
) -> Array:
    """The input (N, C, ...) normalised by given values per channel."""
    scale = 1 / np.sqrt(var + x.dtype.type(eps))
    if weight is not None:
        scale *= weight
    shape = (-1, *(1,) * (x.ndim - 2))
    out = np.asarray(x - mean.reshape(shape))
    out *= scale.reshape(shape)
    if bias is not None:
        out += bias.reshape(shape)
    return out


def batch_norm_sums(grad: Array, x: Array, mean: Array) -> tuple[Array, Array]:
    """The shared body on some channels at a time."""
    if x.size < LARGE:
        small: tuple[Array, Array] = xp_nn.batch_norm_sums(np, grad, x, mean)
        return small
    total, dot = np.empty(x.shape[1], x.dtype), np.empty(x.shape[1], x.dtype)

    def work(part: slice) -> None:
        total[part], dot[part] = xp_nn.batch_norm_sums(np, grad[:, part], x[:, part], mean[part])

    in_chunks(work, x.shape[1], x.size // x.shape[1])
    return total, dot
