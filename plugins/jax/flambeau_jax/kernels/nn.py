"""Convolutions of any number of dimensions, by XLA's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
from flambeau.core import dtype as dt
from jax import lax

from flambeau_jax.cells import Value
from flambeau_jax.kernels.reduce import wide

if TYPE_CHECKING:
    from flambeau_jax.backend import JaxBackend

Ints = tuple[int, ...]


def bind(backend: JaxBackend) -> None:
    for fn in (conv, conv_grad_input, conv_grad_weight):
        backend.function(fn.__name__, fn, (dt.float32, dt.float64, *dt.LOW_PRECISION))


def _conv(x: Value, weight: Value, stride: Ints, padding: Ints, dilation: Ints, groups: int) -> Value:
    return lax.conv_general_dilated(
        x, weight, stride, [(p, p) for p in padding], rhs_dilation=dilation, feature_group_count=groups,
        precision="highest",
    )  # fmt: skip


def conv(
    x: Value, weight: Value, bias: Value, *, stride: Ints, padding: Ints, dilation: Ints, groups: int
) -> Value:
    found = _conv(wide(x), wide(weight), stride, padding, dilation, groups)
    if bias is not None:
        found = found + wide(bias).reshape(-1, *(1,) * len(stride))
    return found.astype(x.dtype)


def conv_grad_input(
    grad: Value, weight: Value, *, shape: Ints, stride: Ints, padding: Ints, dilation: Ints, groups: int
) -> Value:
    work = wide(weight)
    forward = lambda x: _conv(x, work, stride, padding, dilation, groups)  # noqa: E731: its transpose is the gradient
    (found,) = jax.linear_transpose(forward, jax.ShapeDtypeStruct(shape, work.dtype))(wide(grad))
    return found.astype(grad.dtype)


def conv_grad_weight(
    grad: Value, x: Value, *, shape: Ints, stride: Ints, padding: Ints, dilation: Ints, groups: int
) -> Value:
    work = wide(x)
    forward = lambda w: _conv(work, w, stride, padding, dilation, groups)  # noqa: E731: its transpose is the gradient
    (found,) = jax.linear_transpose(forward, jax.ShapeDtypeStruct(shape, work.dtype))(wide(grad))
    return found.astype(grad.dtype)

