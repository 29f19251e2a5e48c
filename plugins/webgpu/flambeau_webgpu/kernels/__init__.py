"""The kernels of the device, by the family of their ops: each writes its text for the dtypes and layouts that come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flambeau_webgpu.kernels import index, linalg, makers, optim, reduce, rows, sort, windows

if TYPE_CHECKING:
    from flambeau_webgpu.backend import WebGPUBackend


def bind(backend: WebGPUBackend) -> None:
    """Register all of them."""
    for family in (makers, reduce, index, sort, linalg, rows, windows, optim):
        family.bind(backend)
