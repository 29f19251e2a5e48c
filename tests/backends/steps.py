"""The steps of optimizers as their papers say them, in float64: what the kernels of every backend are held against."""

from __future__ import annotations

from typing import Any

import numpy as np

LR, DECAY, BETA1, BETA2, EPS = 0.1, 0.01, 0.9, 0.99, 1e-8
Vector = np.ndarray[Any, np.dtype[np.float64]]


class Sgd:
    """SGD with momentum, as in torch: the first step has no dampening."""

    def __init__(
        self, start: Any, momentum: float, dampening: float, nesterov: bool, decay: float, maximize: bool
    ) -> None:
        self.value: Vector = np.array(start, np.float64)
        self.gathered: Vector = np.zeros_like(self.value)
        self.momentum, self.dampening, self.nesterov = momentum, dampening, nesterov
        self.decay, self.maximize, self.count = decay, maximize, 0

    def step(self, grad: Any) -> None:
        g = np.array(grad, np.float64) * (-1 if self.maximize else 1) + self.decay * self.value
        self.gathered = self.momentum * self.gathered + (1 if self.count == 0 else 1 - self.dampening) * g
        self.value -= LR * (
            g + self.momentum * self.gathered if self.nesterov else self.gathered if self.momentum else g
        )
        self.count += 1


class Adam:
    """Kingma and Ba, arXiv:1412.6980; decoupled: Loshchilov and Hutter; amsgrad: Reddi et al."""

    def __init__(self, start: Any, decay: float, decoupled: bool, amsgrad: bool, maximize: bool) -> None:
        self.value: Vector = np.array(start, np.float64)
        self.first = self.second = self.largest = np.zeros_like(self.value)
        self.decay, self.decoupled, self.amsgrad, self.maximize, self.count = decay, decoupled, amsgrad, maximize, 0

    def step(self, grad: Any) -> None:
        self.count += 1
        g = np.array(grad, np.float64) * (-1 if self.maximize else 1)
        if self.decoupled:
            self.value *= 1 - LR * self.decay
        else:
            g = g + self.decay * self.value
        self.first = BETA1 * self.first + (1 - BETA1) * g
        self.second = BETA2 * self.second + (1 - BETA2) * g * g
        self.largest = np.maximum(self.largest, self.second)
        root = np.sqrt((self.largest if self.amsgrad else self.second) / (1 - BETA2**self.count)) + EPS
        self.value -= LR * self.first / (1 - BETA1**self.count) / root
