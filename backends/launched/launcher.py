"""What a family of kernels asks of the backend that launches them."""

from __future__ import annotations

from typing import Protocol

from flambeau.backends.base import Kernel, KernelTable, Shape
from flambeau.backends.launched.device import Device
from flambeau.backends.strided import StridedArray
from flambeau.core.dtype import DType


class Launcher(Protocol):
    """A backend as its kernels see it: memory, copies and devices, whatever the driver.

    A kernel is a function ``fn(launcher, *arrays, **params)``, which its module's ``register`` enters in ``kernels``.
    """

    kernels: KernelTable

    def device(self, index: int) -> Device:
        """The device on which arrays of this ``index`` are: it builds programs and launches them."""

    def empty(self, shape: Shape, dtype: DType, index: int = 0) -> StridedArray:
        """A new contiguous array, its values undefined."""

    def dense(self, array: StridedArray) -> StridedArray:
        """The array itself if it is contiguous, else a contiguous copy."""

    def copied(self, array: StridedArray) -> StridedArray:
        """A contiguous copy."""

    def copy(self, dst: StridedArray, src: StridedArray) -> None:
        """Write ``src`` to ``dst``: one shape, any strides and dtypes, no partial overlap."""

    def copy_into(self, dst: StridedArray, src: StridedArray) -> None:
        """The same with broadcasting and any overlap."""

    def expression(self, source: str, dtypes: tuple[DType, ...], out: DType) -> Kernel:
        """The elementwise kernel ``fn(x, y, out=)`` of an expression, made once."""

    def product(self, out: StridedArray, x: StridedArray, y: StridedArray) -> bool:
        """Write ``x @ y``, of equal batches, by the device maker's library; False, and nothing done, without one."""
