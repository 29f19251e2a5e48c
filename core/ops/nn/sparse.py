"""Rows by number (embedding) and random masks (dropout)."""

from __future__ import annotations

import math

from flambeau.core.declare import OpFunction, composite
from flambeau.core.device import device as Device
from flambeau.core.errors import ShapeError
from flambeau.core.generator import default_generator
from flambeau.core.ops.elementwise import cj, elementwise, where
from flambeau.core.ops.nn.rules import Shape
from flambeau.core.ops.random import random_bits_p, words
from flambeau.core.record import CREATE, DTypeRule, floating, same
from flambeau.core.state import current
from flambeau.core.tensor import Tensor


# -- embedding ---------------------------------------------------------------------------------------
def _embedding_infer(weight: Shape, index: Shape, **p: object) -> Shape:
    if len(weight) != 2:
        raise ShapeError(f"embedding: weight must be (rows, width), got shape {tuple(weight)}")
    return (*index, weight[1])


@composite(
    "embedding(weight: Tensor, index: Tensor, *, padding_idx: int) -> Tensor",
    infer=_embedding_infer,
    dtype=same,
    kinds={"index": "index"},
    check=True,
    upcast=False,
    public=False,
    vjp=dict(
        weight=lambda g, index, weight_shape, padding_idx: embedding_grad_p(g, index, weight_shape[0], padding_idx)
    ),
)
def embedding_p(weight: Tensor, index: Tensor, *, padding_idx: int) -> Tensor:
    """The rows of ``weight`` that ``index`` says; row ``padding_idx`` (-1: none) gets no gradient."""
    return weight.index_select(0, index.reshape(-1)).reshape(*index.shape, weight.shape[1])


def _embedding_grad(grad: Tensor, index: Tensor, *, rows: int, padding_idx: int) -> Tensor:
    """The elements of ``grad`` (..., width) added to the rows that ``index`` (...) says."""
    if padding_idx >= 0:
        grad = where((index == padding_idx).unsqueeze(-1), 0.0, grad)
    width = grad.shape[-1]
    return grad.new_zeros(rows, width).index_add(0, index.reshape(-1), grad.reshape(index.numel(), width))


embedding_grad_p: OpFunction[Tensor] = composite(
    "embedding_grad(grad: Tensor, index: Tensor, *, rows: int, padding_idx: int) -> Tensor",
    infer=lambda grad, index, *, rows, **p: (rows, grad[-1]),
    dtype=floating,
    kinds={"index": "index"},
    public=False,
    vjp=dict(grad=lambda g, index, padding_idx: _embedding_grad_back(g, index, padding_idx)),
)(_embedding_grad)


def _embedding_grad_back(g: Tensor, index: Tensor, padding_idx: int) -> Tensor:
    rows = embedding_p(g, index, padding_idx)
    return where((index == padding_idx).unsqueeze(-1), 0.0, rows) if padding_idx >= 0 else rows


def _sum_rows_infer(x: Shape, source: Shape, to: Shape, *, size: int) -> Shape:
    if len(x) != 2 or len(source) != 1 or tuple(source) != tuple(to):
        raise ShapeError(
            f"sum_rows: x must be (rows, width), and source and to vectors of one length, got shapes {tuple(x)}, "
            f"{tuple(source)} and {tuple(to)}"
        )
    return (size, x[1])


def _sum_rows(x: Tensor, source: Tensor, to: Tensor, *, size: int) -> Tensor:
    """The rows ``source`` of ``x`` (rows, width) added up in the ``size`` rows that ``to`` says: the sums of bags."""
    return x.new_zeros(size, x.shape[1]).index_add(0, to, x.index_select(0, source))


sum_rows_p: OpFunction[Tensor] = composite(
    "sum_rows(x: Tensor, source: Tensor, to: Tensor, *, size: int) -> Tensor",
    infer=_sum_rows_infer,
    dtype=floating,
    kinds={"source": "index", "to": "index"},
    check=True,
    public=False,
    vjp=dict(x=lambda g, source, to, x_shape: sum_rows_p(g, to, source, x_shape[0])),
)(_sum_rows)


# -- dropout -----------------------------------------------------------------------------------------
@composite(
    "dropout_mask(seed: Scalar, offset: Scalar, limit: Scalar, *, shape: Ints, device: Device) -> Tensor",
    CREATE,
    infer=lambda *scalars, shape, device: shape,
    dtype=DTypeRule("mask", result="bool", promotes=False),
    differentiable=False,
    public=False,
)
def dropout_mask_p(seed: int, offset: int, limit: int, *, shape: Shape, device: Device) -> Tensor:
    """Which of the random words from ``offset`` on are below ``limit``."""
    return (random_bits_p(seed, offset, math.prod(shape), device) < limit).reshape(shape)


def random_mask(like: Tensor, shape: Shape, keep: float) -> Tensor:
    """True with probability ``keep`` for each element of ``shape``, drawn from the default generator."""
    count, limit = math.prod(shape), min(round(keep * 2**32), 2**32 - 1)
    if current().levels:  # vmap has a say in what is drawn
        return (words(count, like.device) < limit).reshape(shape)
    seed, offset = default_generator.draw(count)
    return dropout_mask_p(seed, offset, limit, shape, like.device)


#: x * scale where the mask holds, 0 elsewhere.
masked_scale_p: OpFunction[Tensor] = elementwise(
    "masked_scale(x: Tensor, mask: Tensor, scale: Tensor) -> Tensor",
    "where(mask, x * scale, 0)",
    dtype=floating,
    kinds={"mask": "bool"},
    linear=["x"],
    public=False,
    inplace=False,
    vjp=dict(x=lambda g, mask, scale: masked_scale_p(g, mask, cj(scale)), scale=None),
)
