"""Convolutions of any number of dimensions, by XLA's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
from jax import lax

from flambeau.core import dtype as dt
from flambeau_jax.cells import Value, aval
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


def conv(x: Value, weight: Value, bias: Value, *, stride: Ints, padding: Ints, dilation: Ints, groups: int) -> Value:
    found = _conv(wide(x), wide(weight), stride, padding, dilation, groups)
    if bias is not None:
        found = found + wide(bias).reshape(-1, *(1,) * len(stride))
    return found.astype(x.dtype)


def conv_grad_input(
    grad: Value, weight: Value, *, shape: Ints, stride: Ints, padding: Ints, dilation: Ints, groups: int
) -> Value:
    work = wide(weight)
    return _transposed(lambda x: _conv(x, work, stride, padding, dilation, groups), grad, shape)


def conv_grad_weight(
    grad: Value, x: Value, *, shape: Ints, stride: Ints, padding: Ints, dilation: Ints, groups: int
) -> Value:
    work = wide(x)
    return _transposed(lambda weight: _conv(work, weight, stride, padding, dilation, groups), grad, shape)


def _transposed(linear: Callable[[Value], Value], grad: Value, shape: Ints) -> Value:
    """The gradient of a linear function is its transpose."""
    work = wide(grad)
    (found,) = jax.linear_transpose(linear, aval(shape, work.dtype))(work)
    return found.astype(grad.dtype)
