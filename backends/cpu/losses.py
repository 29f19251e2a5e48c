"""Losses and norms that only machine code computes in one op; without it they are composed."""

from __future__ import annotations

from typing import Final

from flambeau.backends.base import KernelTable
from flambeau.backends.cpu.native.arrays import alone
from flambeau.core import dtype as dt

_LEAST: Final = 1 << 12
_FULL: Final = (dt.float32, dt.float64)


def bind(table: KernelTable) -> None:
    alone(table, ("cross_entropy", "cross_entropy_grad"), _FULL, "losses", _LEAST >> 3)
    alone(table, ("group_norm", "group_norm_grad"), _FULL, "norms", _LEAST)
    alone(table, ("ctc", "ctc_grad"), _FULL, "ctc", 1)
    alone(table, ("resample",), _FULL, "resample", _LEAST)
    alone(table, ("grid_sample", "grid_sample_grad"), _FULL, "grid", _LEAST >> 2)
    alone(table, ("pdist", "pdist_grad"), _FULL, "distance", _LEAST >> 3)
