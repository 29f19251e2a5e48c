"""Ops of neural networks that a backend may fuse; each has a body of simpler ops and a gradient of its own.

``flambeau.nn.functional`` gives them torch's signatures.
"""

from __future__ import annotations

from typing import Any

from flambeau.core.ops.nn import activation, conv, loss, norm, pool, recurrent, softmax, sparse, step
from flambeau.core.ops.nn.softmax import log_softmax_p
from flambeau.core.ops.nn.softmax import softmax_p
from flambeau.core.tensor import Tensor


def softmax_of(input: Tensor, dim: int, dtype: Any = None) -> Tensor:
    """exp(input) over its sum along ``dim``, computed in ``dtype`` if given; integers become floats.

    >>> fb.softmax(fb.tensor([0.0, 0.0]), 0)
    tensor([0.5000, 0.5000])
    """
    result: Tensor = softmax_p(input if dtype is None else input.to(dtype), dim)
    return result


def log_softmax_of(input: Tensor, dim: int, dtype: Any = None) -> Tensor:
    """The logarithm of softmax along ``dim``, computed in ``dtype`` if given.

    >>> fb.log_softmax(fb.tensor([0.0, 0.0]), 0)
    tensor([-0.6931, -0.6931])
    """
    result: Tensor = log_softmax_p(input if dtype is None else input.to(dtype), dim)
    return result


FUNCTIONS = {"softmax": softmax_of, "log_softmax": log_softmax_of}
METHODS = {"softmax": softmax_of, "log_softmax": log_softmax_of}

__all__ = [
    "FUNCTIONS",
    "METHODS",
    "activation",
    "conv",
    "loss",
    "norm",
    "pool",
    "recurrent",
    "softmax",
    "sparse",
    "step",
]
