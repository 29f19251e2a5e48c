"""A backend with faults, for the conformance kit to find. PLANTED_FAULTS names them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from frozen_api_1 import FrozenBackend, root  # stands beside this file

from flambeau.backends.base import Limitation, MemoryStats
from flambeau.core import dtype as dt

FAULTS = os.environ.get("PLANTED_FAULTS", "").split()


class PlantedBackend(FrozenBackend):
    """The frozen backend, and what FAULTS say."""

    device_type = "planted"

    def __init__(self) -> None:
        super().__init__()
        self._leaked: list[Any] = []
        self._bytes = 0
        for fault in FAULTS:
            getattr(self, f"plant_{fault}")()

    def as_strided(self, array: Any, shape: Any, strides: Any, offset: int, dtype: dt.DType | None = None) -> Any:
        """A view of memory in Fortran order too, which the frozen backend copies: the kit found that."""
        flat = root(array).ravel(order="K").view(np.uint8)
        wanted = (dtype or self.dtype_of(array)).numpy
        if 0 in shape:
            return flat[:0].view(wanted).reshape(shape)
        return np.ndarray(shape, wanted, flat, offset * wanted.itemsize, [s * wanted.itemsize for s in strides])

    def plant_wrong_kernel(self) -> None:
        self.kernels.register("maximum", lambda x, y, out=None: np.where(x > y, x, y).astype(x.dtype), dt.FLOATS)  # nan

    def plant_layout(self) -> None:
        """A kernel that reads memory in order, whatever the strides say."""
        self.kernels.register("neg", lambda x, out=None: -x.ravel(order="K").reshape(x.shape), (dt.float32,))

    def plant_missing_kernel(self) -> None:
        self.kernels._entries.pop("floor")

    def plant_wrong_claim(self) -> None:
        """It claims int64 for a kernel that computes in float32."""

        def rounded(x: Any, y: Any, out: Any = None) -> Any:
            return (x.astype(np.float32) * y.astype(np.float32)).astype(np.int64)

        self.kernels.register("mul", rounded, (dt.int64,))

    def plant_undeclared_pass(self) -> None:
        self.limitations = (
            Limitation("sin", "declared, but it works", frozenset({dt.float32})),
            Limitation("sine", "no such op"),
        )

    def plant_writes_input(self) -> None:
        def careless(x: Any, out: Any = None) -> Any:
            result = np.cos(x)
            if x.flags.writeable and x.size:
                x[(0,) * x.ndim] = 0
            return result

        self.kernels.register("cos", careless, (dt.float32,))

    def plant_writes_beside(self) -> None:
        def careless(x: Any, out: Any = None) -> Any:
            result = np.abs(x)
            if root(x).size > x.size:
                root(x).reshape(-1)[:1] = 7
            return result

        self.kernels.register("abs", careless, (dt.float32,))

    def plant_unchecked_index(self) -> None:
        """A bad index finds something else, and nobody hears of it."""

        def clipped(x: Any, index: Any, axis: int) -> Any:
            return np.take_along_axis(_cut(x, index, axis), np.clip(index, 0, x.shape[axis] - 1), axis)

        self.kernels.register("gather", clipped, (dt.float32,))

    def plant_copied_view(self) -> None:
        self.kernels.register("diagonal", lambda x, **where: x.diagonal(*where.values()).copy())

    def plant_leak(self) -> None:
        def keep(x: Any, out: Any = None) -> Any:
            result = np.exp(x, out=out)
            self._leaked.append(result)
            self._bytes += result.nbytes
            return result

        self.kernels.register("exp", keep, (dt.float32,))

    def memory_stats(self, index: int = 0) -> MemoryStats:
        return MemoryStats(allocated=self._bytes, allocations=1)


def _cut(x: Any, index: Any, axis: int) -> Any:
    """``x`` as large as the index beside the axis."""
    return x[tuple(slice(None) if i == axis else slice(0, n) for i, n in enumerate(index.shape))]


def flambeau_backends() -> PlantedBackend:
    return PlantedBackend()
