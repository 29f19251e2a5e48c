"""A layer and the batch norm after it as one layer, for evaluation."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from flambeau.core.blame import checking, explain_functions
from flambeau.core.creation import ones_like, zeros_like
from flambeau.core.tensor import Tensor
from flambeau.nn.linear import Linear
from flambeau.nn.norm import _BatchNorm
from flambeau.nn.parameter import Parameter

Layer = TypeVar("Layer")

__all__ = ["fuse_conv_bn_eval", "fuse_conv_bn_weights", "fuse_linear_bn_eval", "fuse_linear_bn_weights"]


def fuse_conv_bn_eval(conv: Layer, bn: _BatchNorm, transpose: bool = False) -> Layer:
    """A convolution that computes what ``conv`` and then ``bn`` do, both of them in evaluation mode.

    >>> conv, bn = fb.nn.Conv1d(2, 3, 1).eval(), fb.nn.BatchNorm1d(3).eval()
    >>> x = fb.ones(1, 2, 4)
    >>> fb.allclose(fb.nn.utils.fuse_conv_bn_eval(conv, bn)(x), bn(conv(x)), atol=1e-6)
    True
    """
    fused: Any = copy.deepcopy(conv)
    _check_modes("fuse_conv_bn_eval", fused, bn)
    fused.weight, fused.bias = fuse_conv_bn_weights(
        fused.weight, fused.bias, _known(bn.running_mean), _known(bn.running_var), bn.eps, bn.weight, bn.bias, transpose
    )
    return fused  # type: ignore[no-any-return]


def fuse_conv_bn_weights(
    conv_w: Tensor, conv_b: Tensor | None, bn_rm: Tensor, bn_rv: Tensor, bn_eps: float, bn_w: Tensor | None,
    bn_b: Tensor | None, transpose: bool = False,
) -> tuple[Parameter, Parameter]:  # fmt: skip
    """Weight and bias of the one convolution."""
    scale, shift = _scale_and_shift(conv_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b)
    shape = [1, -1] if transpose else [-1, 1]
    weight = conv_w * scale.reshape(shape + [1] * (conv_w.ndim - 2))
    return Parameter(weight.detach().to(conv_w.dtype), conv_w.requires_grad), Parameter(
        shift.detach().to(conv_w.dtype), conv_b is not None and conv_b.requires_grad
    )


def fuse_linear_bn_eval(linear: Layer, bn: _BatchNorm) -> Layer:
    """A linear layer that computes what ``linear`` and then ``bn`` do, both of them in evaluation mode.

    >>> linear, bn = fb.nn.Linear(2, 3).eval(), fb.nn.BatchNorm1d(3).eval()
    >>> x = fb.ones(4, 2)
    >>> fb.allclose(fb.nn.utils.fuse_linear_bn_eval(linear, bn)(x), bn(linear(x)), atol=1e-6)
    True
    """
    fused: Any = copy.deepcopy(linear)
    _check_modes("fuse_linear_bn_eval", fused, bn)
    if isinstance(fused, Linear) and fused.out_features != bn.num_features and bn.num_features != 1:
        raise ValueError(
            f"fuse_linear_bn_eval: the batch norm is for {bn.num_features} features, the layer has {fused.out_features}"
        )
    fused.weight, fused.bias = fuse_linear_bn_weights(
        fused.weight, fused.bias, _known(bn.running_mean), _known(bn.running_var), bn.eps, bn.weight, bn.bias
    )
    return fused  # type: ignore[no-any-return]


def fuse_linear_bn_weights(
    linear_w: Tensor, linear_b: Tensor | None, bn_rm: Tensor, bn_rv: Tensor, bn_eps: float, bn_w: Tensor | None,
    bn_b: Tensor | None,
) -> tuple[Parameter, Parameter]:  # fmt: skip
    """Weight and bias of the one linear layer."""
    return fuse_conv_bn_weights(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b)


def _scale_and_shift(
    bias: Tensor | None, mean: Tensor, var: Tensor, eps: float, weight: Tensor | None, shift: Tensor | None
) -> tuple[Tensor, Tensor]:
    scale = (ones_like(mean) if weight is None else weight) * (var + eps).rsqrt()
    before = zeros_like(mean) if bias is None else bias
    return scale, (before - mean) * scale + (0.0 if shift is None else shift)


def _check_modes(name: str, layer: Any, bn: _BatchNorm) -> None:
    if layer.training or bn.training:
        raise ValueError(f"{name}: fusion is for evaluation only, call eval() on both first")
    if bn.running_mean is None or bn.running_var is None:
        raise ValueError(f"{name}: the batch norm has no running statistics")


def _known(t: Tensor | None) -> Tensor:
    assert t is not None
    return t


explain_functions(globals(), wrap=checking)
