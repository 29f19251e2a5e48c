"""Reductions, running totals, orders. Low precision is added up in float32 and rounded once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import lax

from flambeau.core import dtype as dt
from flambeau_jax.cells import Value

if TYPE_CHECKING:
    from flambeau_jax.backend import JaxBackend

Axes = tuple[int, ...] | int | None
_FLOATS = (dt.float32, dt.float64, *dt.LOW_PRECISION)


def bind(backend: JaxBackend) -> None:
    backend.function("sum", total)
    backend.function("max", largest)
    backend.function("argmax", argmax)
    backend.function("argsort", argsort)
    backend.function("min", smallest, (*dt.BOOLS, *dt.REALS))
    backend.function("cumsum", cumsum)
    backend.function("cumprod", cumprod)
    for of_axis in (softmax, log_softmax, softmax_grad, log_softmax_grad):
        backend.function(of_axis.__name__, of_axis, _FLOATS)


def wide(x: Value) -> Value:
    """The value as what it is computed with."""
    return x.astype(jnp.float32) if x.dtype in (jnp.float16, jnp.bfloat16) else x


def _axis(x: Value, axis: Any) -> Any:
    return axis if x.ndim else None


def total(x: Value, *, axis: Axes = None, keepdims: bool = False) -> Value:
    work = wide(x)
    return jnp.sum(work, _axis(x, axis), dtype=work.dtype, keepdims=keepdims).astype(x.dtype)


def largest(x: Value, *, axis: Axes = None, keepdims: bool = False) -> Value:
    return jnp.max(x, _axis(x, axis), keepdims=keepdims)


def smallest(x: Value, *, axis: Axes = None, keepdims: bool = False) -> Value:
    return jnp.min(x, _axis(x, axis), keepdims=keepdims)


def argmax(x: Value, *, axis: int, keepdims: bool = False) -> Value:
    if not x.ndim:
        return jnp.zeros((), jnp.int64)
    return jnp.argmax(x, axis, keepdims=keepdims).astype(jnp.int64)


def argsort(x: Value, *, axis: int = -1, descending: bool = False) -> Value:
    """Stable both ways; nan is the largest."""
    if not x.ndim:
        return jnp.zeros((), jnp.int64)
    return jnp.argsort(x, axis, stable=True, descending=descending).astype(jnp.int64)


def cumsum(x: Value, *, axis: int) -> Value:
    return lax.cumsum(wide(x), axis).astype(x.dtype) if x.ndim else x


def cumprod(x: Value, *, axis: int) -> Value:
    return lax.cumprod(wide(x), axis).astype(x.dtype) if x.ndim else x


def softmax(x: Value, *, axis: int) -> Value:
    return jax.nn.softmax(wide(x), axis).astype(x.dtype) if x.ndim else jnp.exp(x - x)


def log_softmax(x: Value, *, axis: int) -> Value:
    return jax.nn.log_softmax(wide(x), axis).astype(x.dtype) if x.ndim else x - x


def softmax_grad(grad: Value, result: Value, *, axis: int) -> Value:
    g, y = wide(grad), wide(result)
    return (y * (g - jnp.sum(g * y, _axis(y, axis), keepdims=True))).astype(result.dtype)


def log_softmax_grad(grad: Value, result: Value, *, axis: int) -> Value:
    g, y = wide(grad), wide(result)
    return (g - jnp.exp(y) * jnp.sum(g, _axis(y, axis), keepdims=True)).astype(result.dtype)
