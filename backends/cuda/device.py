"""One CUDA device: its memory, its streams and its programs, and how kernels of the C dialect are launched on it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np

from flambeau.backends.base import DeviceLostError
from flambeau.backends.cuda.build import Compiler
from flambeau.backends.cuda.memory import Block, Memory
from flambeau.backends.dialect.prelude import Target
from flambeau.core import config

TARGET: Final = Target("cuda", cpu=False, fp64=True, int64_atomics=True)
GROUP: Final = 256
#: Codes of the runtime after which a context answers nothing any more: cudaErrorEccUncorrectable, IllegalAddress,
#: LaunchTimeout, HardwareStackError, IllegalInstruction, MisalignedAddress, InvalidAddressSpace, InvalidPc,
#: LaunchFailure, DevicesUnavailable, Unknown. The driver's codes are the same numbers.
_LOST: Final = frozenset({46, 214, 700, 702, 714, 715, 716, 717, 718, 719, 999})


class Kernel:
    """A compiled kernel; its integer parameters are one struct, the last argument."""

    __slots__ = ("name", "raw")

    def __init__(self, raw: Any, name: str):
        self.raw, self.name = raw, name


class Device:
    """A device and everything that belongs to it. ``number`` is N of ``cuda:N``."""

    target = TARGET
    group = GROUP

    def __init__(self, cupy: Any, number: int):
        self.cupy, self.number = cupy, number
        facts = cupy.cuda.runtime.getDeviceProperties(number)
        self.name = facts["name"].decode()
        self.label = f"cuda:{number} ({self.name})"
        self.units = int(facts["multiProcessorCount"])
        self.lock = threading.RLock()
        capability = 10 * int(facts["major"]) + int(facts["minor"])
        self.compiler = Compiler(cupy.cuda.nvrtc, capability, Path(config.get("cache_dir")) / "cuda")
        self.pool = Memory(self)
        self.dead = False
        self.null = cupy.cuda.Stream.null
        self.has_streams = False  # whether somebody made a stream beside the default one
        self._errors = (cupy.cuda.runtime.CUDARuntimeError, cupy.cuda.driver.CUDADriverError)
        self._getdevice: Callable[[], int] = cupy.cuda.runtime.getDevice
        self.product: Callable[..., bool] | None = None  # of matrices, by a library
        self._programs: dict[Any, Kernel] = {}
        self._flag: Block | None = None
        self.flagged = False

    # -- which device and stream ---------------------------------------------------------------
    @contextmanager
    def current(self) -> Iterator[None]:
        """The device is the thread's current one inside; an error after which it is lost says so."""
        if self.dead:
            self.lost()
        try:
            if self._getdevice() == self.number:
                yield
            else:
                with self.cupy.cuda.Device(self.number):
                    yield
        except self._errors as error:
            raise self._explained(error) from error

    def _explained(self, error: Exception) -> Exception:
        if getattr(error, "status", None) not in _LOST:
            return error
        return DeviceLostError(
            f"{self.label} stopped answering: {error}. A kernel that went wrong takes the whole process's use of the "
            "device with it: start a new process (CUDA_LAUNCH_BLOCKING=1 shows the launch that failed)"
        )

    def lost(self) -> NoReturn:
        """Raise the error of a device that a fork cut off."""
        raise DeviceLostError(
            f"{self.label} was in use before this process was forked, and CUDA does not survive a fork; start "
            "workers with the 'spawn' or 'forkserver' method, or use the device only after the fork"
        )

    @property
    def is_current(self) -> bool:
        """Whether the thread can work on the device without more ado."""
        return not self.dead and self._getdevice() == self.number

    def stream(self) -> Any:
        """The stream on which this thread's work goes; call it inside :meth:`current`."""
        return self.cupy.cuda.get_current_stream()

    def synchronize(self) -> None:
        """Wait for all streams."""
        with self.current():
            self.cupy.cuda.runtime.deviceSynchronize()

    # -- work ----------------------------------------------------------------------------------
    def launch(
        self,
        kernel: Kernel,
        ins: Sequence[Block],
        outs: Sequence[Block],
        params: bytes,
        size: int,
        group: int | None = 1,
    ) -> None:
        """Enqueue ``kernel(ins..., outs..., params)`` on the current stream: ``size`` items in groups of ``group``."""
        width = group or self.group
        arguments = [b.memory.ptr for b in ins]
        arguments += [b.memory.ptr for b in outs]
        arguments.append(np.frombuffer(params, np.uint8))  # CuPy passes a host array as a struct by value
        if self.has_streams or not self.is_current:
            with self.current():
                kernel.raw((-(-size // width),), (width,), tuple(arguments))
                self.note((*ins, *outs))
            return
        try:  # the common case, without the cost of a context
            kernel.raw((-(-size // width),), (width,), tuple(arguments))
        except self._errors as error:
            raise self._explained(error) from error

    def note(self, blocks: Sequence[Block]) -> None:
        """Note that the current stream uses some blocks."""
        stream = self.stream()
        for block in blocks:
            block.used_on(stream)

    def compute(self, plan: Any, ins: Sequence[Any]) -> Block:
        """Launch a plan on the storages of arrays, into a new block."""
        result = self.pool.take(plan.nbytes)
        self.launch(plan.kernel, [a.buffer for a in ins], (result,), plan.params, plan.size[0], plan.group[0])
        return result

    def kernel(self, key: Any, name: str, source: Callable[[], str]) -> Kernel:
        """The kernel ``name`` of the program ``key``; ``source()`` is its text at the first use."""
        found = self._programs.get(key)
        if found is None:
            with self.lock:
                found = self._programs.get(key)
                if found is None:
                    found = self._programs[key] = self._build(name, source())
        return found

    def _build(self, name: str, text: str) -> Kernel:
        with self.current():
            module = self.cupy.cuda.function.Module()
            module.load(self.compiler.binary(text))
            return Kernel(module.get_function(name), name)

    # -- copies --------------------------------------------------------------------------------
    def write(self, block: Block, start: int, host: np.ndarray[Any, Any], later: bool = False) -> Any:
        """Enqueue a copy of a contiguous host array to byte ``start`` on.

        From pageable memory the driver has read the array when this returns. From pinned memory it reads it later:
        this waits for it, or with ``later`` returns an event that is over after it.
        """
        with self.current():
            stream = self.stream()
            (block.memory + start).copy_from_host_async(host.ctypes.data, host.nbytes, stream)
            if self.has_streams:
                block.used_on(stream)
            if later:
                return stream.record(self.cupy.cuda.Event(disable_timing=True))
            stream.synchronize()
            return None

    def read(self, block: Block, start: int, host: np.ndarray[Any, Any]) -> None:
        """Copy from byte ``start`` on into a contiguous host array, after the current stream's work so far."""
        with self.current():
            stream = self.stream()
            (block.memory + start).copy_to_host_async(host.ctypes.data, host.nbytes, stream)
            stream.synchronize()
            if self.has_streams:
                block.used_on(stream)

    def receive(self, block: Block, source: Device, other: Block) -> None:
        """Enqueue a copy of a block of another device: after the work so far on both, before what follows on both."""
        with self.current():
            here = self.stream()
            ready = here.record(self.cupy.cuda.Event(disable_timing=True))
        with source.current():
            there = source.stream()
            there.wait_event(ready)  # the new block may still be in use by what was freed
            pointers = (block.memory.ptr, self.number, other.memory.ptr, source.number)
            self.cupy.cuda.runtime.memcpyPeerAsync(*pointers, block.nbytes, there.ptr)
            done = there.record(self.cupy.cuda.Event(disable_timing=True))
        with self.current():
            here.wait_event(done)

    # -- late errors ---------------------------------------------------------------------------
    def flag(self) -> Block:
        """The cell in which a kernel leaves an index that is out of range: [any, index, size, op, dimension]."""
        self.flagged = True
        if self._flag is None:
            with self.lock:
                if self._flag is None:
                    cell = self.pool.take(40)
                    self.write(cell, 0, np.zeros(5, np.int64))
                    self._flag = cell
        return self._flag

    def check(self) -> None:
        """Raise for an index that was out of range since the last check."""
        if not self.flagged or self._flag is None:
            return
        self.flagged = self.has_streams  # work on another stream may come to one yet
        cell = np.zeros(5, np.int64)
        self.read(self._flag, 0, cell)
        if cell[0]:
            self.write(self._flag, 0, np.zeros(5, np.int64))
            op = ("gather", "scatter")[int(cell[3])]
            raise IndexError(
                f"{op}: index {int(cell[1])} is out of bounds for dimension {int(cell[4])} with size {int(cell[2])} "
                f"(found late, on {self.label})"
            )
