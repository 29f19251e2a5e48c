"""One device of a backend that launches: its programs, each built once, and the cell for errors that come late."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from math import prod
from typing import Any, ClassVar, Final, NamedTuple, NoReturn

import numpy as np

from flambeau.backends.base import DeviceLostError, OutOfRangeError, Shape
from flambeau.backends.dialect.launch import Launch
from flambeau.backends.dialect.prelude import Target
from flambeau.backends.strided import StridedArray
from flambeau.core import dtype as dt
from flambeau.core.cache import Cache
from flambeau.core.dtype import DType
from flambeau.core.locks import fork_safe

Arrays = Sequence[StridedArray]
#: An object, a module too, of a driver's package: neither PyOpenCL nor CuPy has types.
Raw = Any
HostBytes = np.ndarray[Any, np.dtype[np.uint8]]
#: The int64 numbers that a kernel leaves of an index that is out of range: [any, index, size, op, dimension].
_LATE = 5


class Kernel:
    """A compiled kernel; its integer parameters are one struct, the last argument."""

    __slots__ = ("params", "raw")

    def __init__(self, raw: Raw):
        self.raw = raw
        self.params: bytes | None = None  # what the last argument was set to, where a kernel keeps its arguments


def patiently(done: Callable[[], bool]) -> None:
    """Wait until ``done()``, in the main thread so that Ctrl-C comes through; other threads get none and return."""
    if threading.current_thread() is not threading.main_thread():
        return
    for _ in range(_GLANCES):
        if done():
            return
    pause = _PAUSE
    while not done():
        time.sleep(pause)
        pause = min(pause * 1.2, _LONGEST)


def forked(label: str, api: str) -> str:
    """Why a device cannot be used in a forked child."""
    return (
        f"{label} was in use before this process was forked, and {api} does not survive a fork; start workers with "
        "the 'spawn' or 'forkserver' method, or use the device only after the fork"
    )


#: How often a wait looks before it sleeps, and for how many seconds it does at first and at most.
_GLANCES: Final = 20
_PAUSE: Final = 2e-5
_LONGEST: Final = 5e-3


class Plan(NamedTuple):
    """A launch that is ready but for its arrays: ``size`` items in groups of ``group``."""

    kernel: Kernel
    params: bytes
    size: int
    group: int


class Layout(NamedTuple):
    """A new array of memory of its own."""

    shape: Shape
    strides: Shape
    dtype: DType


class Device(ABC):
    """What every device has; :class:`Launch` and :class:`Plan` reach a driver by :meth:`launch`. ``number`` is its
    place among those of the backend, ``label`` its name in messages."""

    api: ClassVar[str]  # the driver's, for messages
    target: Target
    units: int  # that compute at the same time
    group: int  # items of a group, unless a kernel wants it otherwise

    def __init__(self, number: int, label: str):
        self.number, self.label = number, label
        self.lock = fork_safe(threading.RLock())
        self.dead = False
        self._programs: dict[Hashable, Kernel] = {}
        #: Of products that are one launch, by the operands' layouts: a plan, or the function of a new result.
        self.products: Cache[Hashable, Any] = Cache(limit=4096)
        self._flag: StridedArray | None = None
        self.flagged = False

    # -- what a driver gives -------------------------------------------------------------------
    @abstractmethod
    def allocate(self, nbytes: int) -> object:
        """The buffer of a new array; OutOfMemoryError when there is no room."""

    @abstractmethod
    def write(self, array: StridedArray, host: HostBytes) -> object:
        """Fill an array from its storage's first byte on."""

    @abstractmethod
    def launch(self, kernel: Kernel, ins: Arrays, outs: Arrays, params: bytes, size: int, group: int) -> None:
        """Enqueue ``kernel(ins..., outs..., params)`` for this thread: ``size`` items in groups of ``group``."""

    @abstractmethod
    def computing(self, plan: Plan, shape: Shape, strides: Shape, dtype: DType) -> Callable[[Arrays], StridedArray]:
        """A function that launches ``plan`` on operands, into a new array of this layout: the quickest way there is."""

    def making(self, plan: Plan, results: Sequence[Layout]) -> Callable[[Arrays, Arrays], tuple[StridedArray, ...]]:
        """The same for several new arrays: the function gets the arrays that are read, and those that are written."""

        def make(ins: Arrays, outs: Arrays) -> tuple[StridedArray, ...]:
            made = [
                StridedArray(self.allocate(prod(r.shape) * r.dtype.itemsize), 0, *r, self.number) for r in results
            ]  # fmt: skip
            self.launch(plan.kernel, ins, (*outs, *made), plan.params, plan.size, plan.group)
            return tuple(made)

        return make

    @abstractmethod
    def synchronize(self) -> None:
        """Wait for everything enqueued."""

    @abstractmethod
    def check(self) -> None:
        """Raise what went wrong late."""

    @abstractmethod
    def fetch(self, array: StridedArray, host: HostBytes) -> None:
        """Copy a contiguous array's bytes to the host, and :meth:`check`."""

    @abstractmethod
    def build(self, name: str, text: str) -> Kernel:
        """Compile a program and take the kernel ``name`` of it."""

    # -- programs ------------------------------------------------------------------------------
    def kernel(self, key: Hashable, name: str, text: Callable[[], str]) -> Kernel:
        """The kernel ``name`` of the program ``key``; ``text()`` is its source at the first use."""
        found = self._programs.get(key)
        if found is None:
            if self.dead:
                self.lost()
            with self.lock:
                found = self._programs.get(key)
                if found is None:
                    found = self._programs[key] = self.build(name, text())
        return found

    def enqueue(self, launch: Launch, ins: Arrays, outs: Arrays) -> None:
        """Build a launch's kernel at its first use, and run it on arrays."""
        kernel = self.kernel(launch.key, launch.name, launch.text)
        self.launch(kernel, ins, outs, launch.params, launch.size, launch.group)

    # -- forks ---------------------------------------------------------------------------------
    def lost(self) -> NoReturn:
        """Raise the error of a device that a fork cut off."""
        raise DeviceLostError(forked(self.label, self.api))

    def bury(self) -> None:
        """In a forked child: refuse all further use."""
        self.dead = True

    # -- late errors ---------------------------------------------------------------------------
    def flag(self) -> StridedArray:
        """The cell in which a kernel leaves an index that is out of range."""
        self.flagged = True
        if self._flag is None:
            with self.lock:
                if self._flag is None:
                    cell = StridedArray(self.allocate(8 * _LATE), 0, (_LATE,), (1,), dt.int64, self.number)
                    self.write(cell, np.zeros(8 * _LATE, np.uint8))
                    self._flag = cell
        return self._flag

    def raise_late(self, cell: StridedArray, raw: HostBytes) -> None:
        """OutOfRangeError, and the cell cleared, where the bytes of it tell of a bad index."""
        left = [int(v) for v in raw.view(np.int64)]
        if left[0]:
            self.write(cell, np.zeros_like(raw))
            op = ("gather", "scatter")[left[3]]
            raise OutOfRangeError(
                f"{op}: index {left[1]} is out of bounds for dimension {left[4]} with size {left[2]} "
                f"(found late, on {self.label})"
            )
