"""Models for cases, and the numbers that they are given."""

from __future__ import annotations

import math
from typing import Any


def numbers(T: Any, *shape: int) -> Any:
    return T.arange(float(math.prod(shape)), dtype=T.float64).reshape(shape) * 0.1 - 0.3


def filled(T: Any, module: Any) -> Any:
    """The module in float64 with parameters that are the same everywhere."""
    module = module.double()
    with T.no_grad():
        for i, (_, p) in enumerate(sorted(module.named_parameters())):
            p.copy_((T.arange(float(p.numel()), dtype=T.float64).reshape(p.shape) * 0.37 + i).sin() * 0.4)
    return module


def model(T: Any) -> Any:
    class Model(T.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = T.nn.Linear(2, 3)
            self.bn = T.nn.BatchNorm1d(3)
            self.l = T.nn.ModuleList([T.nn.Linear(3, 3), T.nn.ReLU()])
            self.register_buffer("tmp", T.ones(2), persistent=False)
            self.w = T.nn.Parameter(T.ones(1))

        def forward(self, x: Any) -> Any:
            return self.l[1](self.l[0](self.bn(self.a(x)))) * self.w

    return Model()
