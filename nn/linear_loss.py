"""A linear layer and the cross entropy of its scores in one, which need not hold all the scores at once."""

from __future__ import annotations

import math

from flambeau.core.device import DeviceLike
from flambeau.core.dtype import DType
from flambeau.core.tensor import Tensor
from flambeau.nn import functional as F
from flambeau.nn.functional.linear_loss import LinearCrossEntropyOptions as LinearCrossEntropyOptions
from flambeau.nn.linear import Linear
from flambeau.nn.module import Module


class LinearCrossEntropyLoss(Module):
    """The cross entropy of ``linear(input)``: (N, in_features) and classes (N, *out_features), or probabilities.

    >>> loss = fb.nn.LinearCrossEntropyLoss(5, 10)
    >>> loss(fb.ones(2, 5), fb.tensor([1, 9])).shape
    flambeau.Size([])
    """

    weight: Tensor | None

    def __init__(
        self, in_features: int, num_classes: int, *, out_features: tuple[int, ...] = (), bias: bool = False,
        device: DeviceLike = None, dtype: DType | None = None, reduction: str = "mean", weight: Tensor | None = None,
        ignore_index: int | None = None, label_smoothing: float = 0.0,
        options: LinearCrossEntropyOptions | None = None,
    ):  # fmt: skip
        super().__init__()
        self.in_features, self.num_classes, self.out_features = in_features, num_classes, tuple(out_features)
        self.linear = Linear(in_features, num_classes * math.prod(self.out_features), bias, device, dtype)
        self.reduction, self.ignore_index, self.label_smoothing = reduction, ignore_index, label_smoothing
        self.register_buffer("weight", weight)
        self.options = options

    def reset_parameters(self) -> None:
        """New random values."""
        self.linear.reset_parameters()

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """How far the scores are from ``target``."""
        lead = (self.num_classes, *self.out_features)
        bias = self.linear.bias
        return F.linear_cross_entropy(
            input, self.linear.weight.reshape(*lead, self.in_features), target,
            linear_bias=None if bias is None else bias.reshape(lead), weight=self.weight, reduction=self.reduction,
            ignore_index=self.ignore_index, label_smoothing=self.label_smoothing, options=self.options,
        )  # fmt: skip

    def extra_repr(self) -> str:
        given = dict(
            in_features=self.in_features, num_classes=self.num_classes, out_features=self.out_features,
            bias=self.linear.bias is not None, reduction=self.reduction, ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing, options=self.options,
        )  # fmt: skip
        return ", ".join(f"{name}={value}" for name, value in given.items())
