"""The backend over devices that launch: arrays, copies and the table of kernels; drivers derive theirs from it."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Sequence
from math import prod
from typing import Final, Generic, TypeVar

import numpy as np

from flambeau.backends import layout as lay
from flambeau.backends.base import HostArray, Kernel, KernelTable, Shape
from flambeau.backends.generic import generic_table
from flambeau.backends.group import Group, Operand, Step
from flambeau.backends.launched import (
    conv,
    decompositions,
    elementwise,
    index,
    linalg,
    nn,
    norm,
    optim,
    parts,
    pool,
    random,
    recurrent,
    reduce,
    scan,
)
from flambeau.backends.launched import group as groups
from flambeau.backends.launched.device import Device
from flambeau.backends.strided import StridedArray, StridedBackend
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from flambeau.core.expr import Expr, ExprError, parse
from flambeau.core.locks import fork_safe

D = TypeVar("D", bound=Device)

WIDE: Final = (dt.float64, dt.complex128)
_FAMILIES: Final = (
    elementwise, reduce, linalg, decompositions, index, scan, nn, random, conv, pool, norm, optim, recurrent, parts,
)  # fmt: skip


class LaunchedBackend(StridedBackend, Generic[D]):
    """Kernels are generated, and built at first use, on devices that are opened at first use.

    A driver's backend says which devices there are (:meth:`open`) and moves bytes between host and device. As a
    :class:`~flambeau.backends.launched.launcher.Launcher` it is what the families of kernels see.
    """

    def __init__(self) -> None:
        super().__init__()
        self._devices: dict[int, D] = {}
        self._lock = fork_safe(threading.RLock())
        self._expressions: dict[tuple[str, tuple[DType, ...], DType], elementwise.Elementwise] = {}
        self._copying: dict[tuple[DType, DType], elementwise.Elementwise] = {}
        self.kernels = KernelTable(self.device_type, generic_table(self))
        for family in _FAMILIES:
            family.register(self)

    @abstractmethod
    def open(self, index: int) -> D:
        """The device ``index``, ready for work; BackendUnavailableError where there is none. Called under a lock."""

    def device(self, index: int) -> D:
        """The device of this number, opened at first use."""
        found = self._devices.get(index)
        if found is None:
            with self._lock:
                found = self._devices.get(index)
                if found is None:
                    found = self._devices[index] = self.open(index)
        return found

    # -- storage -------------------------------------------------------------------------------
    def empty(self, shape: Shape, dtype: DType, index: int = 0) -> StridedArray:
        device = self._devices.get(index) or self.device(index)
        if not device.target.fp64 and dtype in WIDE:
            raise TypeError(f"{device.label} has no float64; use float32, or another device for {dtype}")
        block = device.allocate(prod(shape) * dtype.itemsize)
        return StridedArray(block, 0, shape, lay.contiguous_strides(shape), dtype, index)

    def to_host(self, array: StridedArray) -> HostArray:
        device, dense = self.device(array.index), self.dense(array)
        host = np.empty(array.shape, array.dtype.numpy)
        if host.size:
            device.fetch(dense, host.reshape(-1).view(np.uint8))
        else:
            device.check()
        return host

    def dense(self, array: StridedArray) -> StridedArray:
        """The array itself if it is contiguous, else a contiguous copy."""
        return array if array.is_contiguous else self.copied(array)

    def copied(self, array: StridedArray) -> StridedArray:
        """A contiguous copy."""
        out = self.empty(array.shape, array.dtype, array.index)
        self.copy(out, array)
        return out

    def copy(self, dst: StridedArray, src: StridedArray) -> None:
        pair = (src.dtype, dst.dtype)
        found = self._copying.get(pair)
        if found is None:
            found = self._copying[pair] = elementwise.copying(self, *pair)
        if dst.size:
            found.run(dst, (src,))

    def constant(self, value: bool | int | float | complex, dtype: DType, index: int = 0) -> StridedArray:
        array = self.empty((), dtype, index)
        elementwise.fill(self, array, value)
        return array

    # -- kernels -------------------------------------------------------------------------------
    def elementwise(self, name: str, expr: Expr, dtypes: tuple[DType, ...], out: DType) -> Kernel | None:
        try:
            return elementwise.generated(self, name, expr, dtypes, out)
        except (ExprError, KeyError):  # an expression that has no meaning for these dtypes
            return None

    def fuses(self, step: Step, operands: Sequence[Operand], shape: Shape) -> bool:
        return groups.fuses(self.kernels, step, operands)

    def compile(self, group: Group) -> Kernel | None:
        return groups.kernel(self, group)

    def expression(self, source: str, dtypes: tuple[DType, ...], out: DType) -> Kernel:
        """The elementwise kernel ``fn(x, y, out=)`` of an expression, made once."""
        key = (source, dtypes, out)
        found = self._expressions.get(key)
        if found is None:
            expr = parse(source, ("x", "y"))
            found = self._expressions[key] = elementwise.Elementwise(self, source, expr, dtypes, out)
        return found

    def product(self, out: StridedArray, x: StridedArray, y: StridedArray) -> bool:
        """Whether a library of the device's maker wrote ``x @ y``, of equal batches, to ``out``."""
        return False

    # -- time ----------------------------------------------------------------------------------
    def synchronize(self, index: int = 0) -> None:
        self.device(index).synchronize()

    def check(self, index: int = 0) -> None:
        found = self._devices.get(index)
        if found is not None:
            found.check()

    def after_fork(self) -> None:
        """No driver survives a fork, and some hang in the child, whatever it does: refuse at once."""
        for device in self._devices.values():
            device.bury()
