"""Layer normalisation; its gradient is JAX's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jax import lax

from flambeau.core import dtype as dt
from flambeau_jax.cells import Value
from flambeau_jax.kernels.reduce import wide

if TYPE_CHECKING:
    from flambeau_jax.backend import JaxBackend

Ints = tuple[int, ...]


def bind(backend: JaxBackend) -> None:
    for fn in (layer_norm, layer_norm_grad):
        backend.function(fn.__name__, fn, (dt.float32, dt.float64, *dt.LOW_PRECISION))


def _normed(x: Value, weight: Value, bias: Value, normalized_shape: Ints, eps: float) -> Value:
    axes = tuple(range(x.ndim - len(normalized_shape), x.ndim))
    centred = x - jnp.mean(x, axes, keepdims=True)
    out = centred * lax.rsqrt(jnp.mean(centred * centred, axes, keepdims=True) + eps)
    out = out if weight is None else out * weight
    return out if bias is None else out + bias


def layer_norm(x: Value, weight: Value, bias: Value, *, normalized_shape: Ints, eps: float) -> Value:
    scale, shift = (None if v is None else wide(v) for v in (weight, bias))
    return _normed(wide(x), scale, shift, normalized_shape, eps).astype(x.dtype)


def layer_norm_grad(
    grad: Value, x: Value, weight: Value, *, normalized_shape: Ints, eps: float
) -> tuple[Value, Value, Value]:
    scale = jnp.ones(normalized_shape, wide(x).dtype) if weight is None else wide(weight)

    def forward(x: Value, weight: Value, bias: Value) -> Value:
        return _normed(x, weight, bias, normalized_shape, eps)

    found = jax.vjp(forward, wide(x), scale, jnp.zeros_like(scale))[1](wide(grad))
    of_x, of_weight, of_bias = (v.astype(x.dtype) for v in found)
    return of_x, of_weight, of_bias
