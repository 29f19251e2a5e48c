"""The kernels of the device, by the family of their ops: each writes its text for the dtypes and layouts that come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flambeau_webgpu.kernels import (
    attention,
    index,
    linalg,
    makers,
    optim,
    recurrent,
    reduce,
    rows,
    scan,
    sort,
    windows,
)

if TYPE_CHECKING:
    from flambeau_webgpu.backend import WebGPUBackend


def bind(backend: WebGPUBackend) -> None:
    """Register all of them."""
    for family in (makers, reduce, index, sort, scan, linalg, rows, attention, windows, recurrent, optim):
        family.bind(backend)
