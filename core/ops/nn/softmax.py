"""Softmax and its logarithm, shifted by the maximum, so that no exponential overflows."""

from __future__ import annotations

from flambeau.core.declare import OpFunction, composite
from flambeau.core.dtype import DTypeLike
from flambeau.core.ops.elementwise import exp_p, log_p
from flambeau.core.ops.nn.rules import floats
from flambeau.core.ops.storage import unchanged
from flambeau.core.out import in_dtype
from flambeau.core.public import public
from flambeau.core.tensor import Tensor


def _total(x: Tensor, axis: int) -> Tensor:
    return x.sum(dim=axis, keepdim=True)


def _shifted(x: Tensor, axis: int) -> Tensor:
    return x - x.amax(dim=axis, keepdim=True) if 0 not in x.shape else x


@composite(
    "softmax(x: Tensor, *, axis: Axis) -> Tensor",
    autocast="same|float32",
    infer=unchanged,
    dtype=floats,
    public=False,
    vjp=dict(x=lambda g, out, axis: softmax_grad_p(g, out, axis)),
)
def softmax_p(x: Tensor, *, axis: int) -> Tensor:
    """exp(x) over its sum along ``axis``."""
    e = exp_p(_shifted(x, axis))
    return e / _total(e, axis)


def _softmax_grad_result(g: Tensor, grad: Tensor, result: Tensor, axis: int) -> Tensor:
    return g * (grad - _total(grad * result, axis)) - grad * _total(g * result, axis)


def _softmax_grad(grad: Tensor, result: Tensor, *, axis: int) -> Tensor:
    """The gradient of softmax from its ``result``."""
    weighted = grad * result
    return weighted - result * _total(weighted, axis)


softmax_grad_p: OpFunction[Tensor] = composite(
    "softmax_grad(grad: Tensor, result: Tensor, *, axis: Axis) -> Tensor",
    infer=lambda grad, result, **p: result,
    dtype=floats,
    public=False,
    vjp=dict(grad=lambda g, result, axis: softmax_grad_p(g, result, axis), result=_softmax_grad_result),
)(_softmax_grad)


@composite(
    "log_softmax(x: Tensor, *, axis: Axis) -> Tensor",
    autocast="same|float32",
    infer=unchanged,
    dtype=floats,
    public=False,
    vjp=dict(x=lambda g, out, axis: log_softmax_grad_p(g, out, axis)),
)
def log_softmax_p(x: Tensor, *, axis: int) -> Tensor:
    """The logarithm of softmax along ``axis``."""
    shifted = _shifted(x, axis)
    return shifted - log_p(_total(exp_p(shifted), axis))


def _log_softmax_grad(grad: Tensor, result: Tensor, *, axis: int) -> Tensor:
    """The gradient of log_softmax from its ``result``."""
    return grad - exp_p(result) * _total(grad, axis)


log_softmax_grad_p: OpFunction[Tensor] = composite(
    "log_softmax_grad(grad: Tensor, result: Tensor, *, axis: Axis) -> Tensor",
    infer=lambda grad, result, **p: result,
    dtype=floats,
    public=False,
    vjp=dict(
        grad=lambda g, result, axis: g - _total(g * exp_p(result), axis),
        result=lambda g, grad, result, axis: -g * exp_p(result) * _total(grad, axis),
    ),
)(_log_softmax_grad)


# -- public functions --------------------------------------------------------------------------------
@public(out=True)
def softmax(input: Tensor, dim: int, dtype: DTypeLike | None = None) -> Tensor:
    """exp(input) over its sum along ``dim``, computed in ``dtype`` if given, which integers need.

    >>> fb.softmax(fb.tensor([0.0, 0.0]), 0)
    tensor([0.5000, 0.5000])
    """
    if dtype is None:
        return softmax_p(input, dim)
    return in_dtype(softmax_p(input.to(dtype), dim), dtype)  # autocast may have computed in another


@public(out=True)
def log_softmax(input: Tensor, dim: int, dtype: DTypeLike | None = None) -> Tensor:
    """The logarithm of softmax along ``dim``, computed in ``dtype`` if given.

    >>> fb.log_softmax(fb.tensor([0.0, 0.0]), 0)
    tensor([-0.6931, -0.6931])
    """
    if dtype is None:
        return log_softmax_p(input, dim)
    return in_dtype(log_softmax_p(input.to(dtype), dim), dtype)  # autocast may have computed in another
