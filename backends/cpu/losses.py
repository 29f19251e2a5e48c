"""Losses and norms that only machine code computes in one op, without it composed; the plainest case of nll_loss."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np

from flambeau.backends.base import KernelTable
from flambeau.backends.cpu.native.arrays import alone
from flambeau.backends.xp import Array
from flambeau.backends.xp import index as xp_index
from flambeau.core import dtype as dt

_LEAST: Final = 1 << 12
_FULL: Final = (dt.float32, dt.float64)


def bind(table: KernelTable) -> None:
    table.register("nll_loss", nll_loss, _FULL)
    alone(table, ("cross_entropy", "cross_entropy_grad"), _FULL, "losses", _LEAST >> 4)
    alone(table, ("group_norm", "group_norm_grad"), _FULL, "norms", _LEAST)
    alone(table, ("ctc", "ctc_grad"), _FULL, "ctc", 1)
    alone(table, ("resample",), _FULL, "resample", _LEAST)
    alone(table, ("grid_sample", "grid_sample_grad"), _FULL, "grid", _LEAST >> 2)
    alone(table, ("pdist", "pdist_grad", "cdist"), _FULL, "distance", 1)


def nll_loss(
    x: Array, target: Array, weight: Array | None, *, ignore_index: int, reduction: str
) -> tuple[Array, Array]:
    """The shared body; with fewer steps where each row of a matrix counts once."""
    if weight is None and x.ndim == 2 and target.size and x.flags.c_contiguous:
        count, classes = x.shape
        inside = np.maximum.reduce(target.view(np.uint64)) < classes
        if inside and not (0 <= ignore_index < classes and (target == ignore_index).any()):
            losses = x.reshape(-1).take(target + _starts(count, classes))
            np.negative(losses, losses)
            weights = np.array(count, x.dtype)
            if reduction == "none":
                return losses, weights
            total = np.add.reduce(losses, out=...)
            return (np.divide(total, weights, total) if reduction == "mean" else total), weights
    found: tuple[Array, Array] = xp_index.nll_loss(
        np, x, target, weight, ignore_index=ignore_index, reduction=reduction
    )  # fmt: skip
    return found


@lru_cache(16)
def _starts(count: int, width: int) -> Array:
    """Where rows start."""
    return np.arange(0, count * width, width)
