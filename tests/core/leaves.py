"""Leaves of the graph and what cases make of them: numbers, gradients, custom functions."""

from __future__ import annotations

import math
from typing import Any


def leaf(T: Any, *values: float) -> Any:
    return T.tensor(list(values), dtype=T.float64, requires_grad=True)


def numbers(T: Any, *shape: int) -> Any:
    return T.arange(float(math.prod(shape)), dtype=T.float64).reshape(shape) * 0.1 + 0.3


def gradient(y: Any, x: Any) -> Any:
    """The gradient of a leaf after ``y.sum().backward()``."""
    y.sum().backward()
    return x.grad


def function(T: Any, **members: Any) -> Any:
    """A custom function of these static methods."""
    made = {k: staticmethod(v) if callable(v) else v for k, v in members.items()}
    return type("F", (T.autograd.Function,), made)
