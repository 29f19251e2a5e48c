"""Recurrent layers as loops that XLA compiles once, whatever their length; their gradients are JAX's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import lax

from flambeau.core import dtype as dt
from flambeau_jax.cells import Value
from flambeau_jax.kernels.reduce import wide

if TYPE_CHECKING:
    from flambeau_jax.backend import JaxBackend


def bind(backend: JaxBackend) -> None:
    found: dict[str, Callable[..., Any]] = {
        "lstm_layer": lstm, "lstm_layer_grad": lstm_grad, "gru_layer": gru, "gru_layer_grad": gru_grad,
        "rnn_layer": rnn, "rnn_layer_grad": rnn_grad,
    }  # fmt: skip
    for name, fn in found.items():
        backend.function(name, fn, (dt.float32, dt.float64))
        backend.function(name, _widened(fn), dt.LOW_PRECISION)


def _widened(fn: Callable[..., Any]) -> Callable[..., Any]:
    """In float32, rounded once."""

    def kernel(*ins: Value, **params: Any) -> Any:
        result = fn(*[None if x is None else wide(x) for x in ins], **params)
        return jax.tree.map(lambda r: r.astype(ins[0].dtype), result)

    return kernel


def _times(h: Value, weight: Value) -> Value:
    return jnp.matmul(h, weight.T, precision="highest")


def lstm(gates: Value, h0: Value, c0: Value, weight: Value) -> tuple[Value, Value]:
    """Hidden states and cells (T, N, H) of every step."""

    def step(carry: tuple[Value, Value], x: Value) -> tuple[tuple[Value, Value], tuple[Value, Value]]:
        h, c = carry
        i, f, g, o = jnp.split(x + _times(h, weight), 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), (h, c)

    out, cells = lax.scan(step, (h0, c0), gates)[1]
    return out, cells


def lstm_grad(
    of_out: Value, of_cells: Value, gates: Value, h0: Value, c0: Value, weight: Value, result: Value, states: Value
) -> tuple[Value, ...]:
    return tuple(jax.vjp(lstm, gates, h0, c0, weight)[1]((of_out, of_cells)))


def gru(gates: Value, h0: Value, weight: Value, bias: Value) -> Value:
    """Hidden states (T, N, H) of every step; the bias is of the hidden state's part."""

    def step(h: Value, x: Value) -> tuple[Value, Value]:
        own = _times(h, weight) if bias is None else _times(h, weight) + bias
        (r, z, n), (hr, hz, hn) = jnp.split(x, 3, -1), jnp.split(own, 3, -1)
        n = jnp.tanh(n + jax.nn.sigmoid(r + hr) * hn)
        h = n + jax.nn.sigmoid(z + hz) * (h - n)
        return h, h

    return lax.scan(step, h0, gates)[1]


def gru_grad(of_out: Value, gates: Value, h0: Value, weight: Value, bias: Value, result: Value) -> tuple[Value, ...]:
    bias = jnp.zeros_like(weight[:, 0]) if bias is None else bias
    return tuple(jax.vjp(gru, gates, h0, weight, bias)[1](of_out))


def rnn(gates: Value, h0: Value, weight: Value, *, nonlinearity: str) -> Value:
    """Hidden states (T, N, H) of every step: tanh or relu of the gates."""

    def step(h: Value, x: Value) -> tuple[Value, Value]:
        total = x + _times(h, weight)
        h = jnp.tanh(total) if nonlinearity == "tanh" else jnp.where(total > 0, total, total * 0)
        return h, h

    return lax.scan(step, h0, gates)[1]


def rnn_grad(of_out: Value, h0: Value, weight: Value, result: Value, *, nonlinearity: str) -> tuple[Value, ...]:
    """The gates are not among the operands: the slope is known from the result."""
    slope = 1 - result * result if nonlinearity == "tanh" else jnp.where(result > 0, 1.0, result * 0)

    def step(of_next: Value, row: tuple[Value, Value]) -> tuple[Value, Value]:
        of_here, slope_here = row
        of_gates = (of_here + of_next) * slope_here
        return jnp.matmul(of_gates, weight, precision="highest"), of_gates

    of_h0, of_gates = lax.scan(step, jnp.zeros_like(h0), (of_out, slope), reverse=True)
    before = jnp.concatenate([h0[None], result[:-1]])
    return of_gates, of_h0, jnp.einsum("tng,tnh->gh", of_gates, before, precision="highest")
