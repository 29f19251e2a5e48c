"""The distances of all pairs of rows of a matrix, which a backend may fuse: composed, every pair is copied."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from flambeau.core.declare import OpFunction, composite
from flambeau.core.dtype import int64
from flambeau.core.ops.elementwise import abs_p, sign_p, where
from flambeau.core.ops.nn.rules import floats, served, through_body
from flambeau.core.ops.variance import vector_norm_p
from flambeau.core.tensor import Tensor

_FUSED: Final = (1.0, 2.0, math.inf)


def _pairs(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The first row of each pair, the second, and their difference."""
    rows, columns = (x.new_tensor(v, dtype=int64) for v in np.triu_indices(x.shape[0], 1))
    return rows, columns, x.index_select(0, rows) - x.index_select(0, columns)


def _pdist(x: Tensor, *, p: float) -> Tensor:
    return vector_norm_p(_pairs(x)[2], p, (1,), False)


@composite(
    "pdist(x: Tensor, *, p: float) -> Tensor",
    autocast="same|float32",
    infer=lambda x, **params: (x[0] * (x[0] - 1) // 2,),
    dtype=floats,
    public=False,
    vjp=dict(x=lambda g, x, out, p: pdist_grad_p(g, x, out, p)),
)
def pdist_p(x: Tensor, *, p: float) -> Tensor:
    """The p-norm distances of all pairs of rows, those of the first row first, for devices with a kernel of its own."""
    return _pdist(x, p=p)


def _pdist_grad(grad: Tensor, x: Tensor, distances: Tensor, *, p: float) -> Tensor:
    rows, columns, d = _pairs(x)
    g, far = grad.unsqueeze(1), distances.unsqueeze(1)
    if p == 2:
        part = g / where(far == 0, 1.0, far) * d
    else:
        part = g * sign_p(d)
        part = part if p == 1 else where(abs_p(d) == far, part, 0.0)
    part = where(far == 0, 0.0, part)
    return x.new_zeros(tuple(x.shape)).index_add(0, rows, part).index_add(0, columns, -part)


pdist_grad_p: OpFunction[Tensor] = composite(
    "pdist_grad(grad: Tensor, x: Tensor, distances: Tensor, *, p: float) -> Tensor",
    infer=lambda grad, x, distances, **params: x,
    dtype=floats,
    public=False,
    doc="The gradient of pdist for p of 1, 2 or inf, from its result.",
    vjp=through_body(_pdist_grad, ("grad", "x", "distances"), ("p",)),
)(_pdist_grad)


def pdist(x: Tensor, p: float) -> Tensor:
    """The same: one op where the device has it."""
    if p in _FUSED and served(pdist_p, x):
        return pdist_p(x, p)
    return _pdist(x, p=p)
