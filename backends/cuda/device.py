"""One CUDA device: its memory, its streams and its programs, and how kernels of the C dialect are launched on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from math import prod
from typing import Final

import numpy as np

from flambeau.backends.base import DeviceLostError, Shape
from flambeau.backends.cuda.build import Compiler
from flambeau.backends.cuda.memory import Block, Memory
from flambeau.backends.dialect.prelude import Target
from flambeau.backends.launched.device import Arrays, Device, HostBytes, Kernel, Plan, Raw
from flambeau.backends.strided import StridedArray
from flambeau.core.dtype import DType

TARGET: Final = Target("cuda", cpu=False, fp64=True, int64_atomics=True)
GROUP: Final = 256
#: Codes of the runtime after which a context answers nothing any more: cudaErrorEccUncorrectable, IllegalAddress,
#: LaunchTimeout, HardwareStackError, IllegalInstruction, MisalignedAddress, InvalidAddressSpace, InvalidPc,
#: LaunchFailure, DevicesUnavailable, Unknown. The driver's codes are the same numbers.
_LOST: Final = frozenset({46, 214, 700, 702, 714, 715, 716, 717, 718, 719, 999})


class CudaDevice(Device):
    """A device and everything that belongs to it. ``number`` is N of ``cuda:N``."""

    api = "CUDA"
    target = TARGET
    group = GROUP

    def __init__(self, cupy: Raw, number: int):  # the module cupy
        facts = cupy.cuda.runtime.getDeviceProperties(number)
        super().__init__(number, f"cuda:{number} ({facts['name'].decode()})")
        self.cupy = cupy
        self.units = int(facts["multiProcessorCount"])
        capability = 10 * int(facts["major"]) + int(facts["minor"])
        self.compiler = Compiler(cupy.cuda.nvrtc, capability)
        self.null = cupy.cuda.Stream.null
        self.has_streams = False  # whether somebody made a stream beside the default one
        self.pool = Memory(self)
        self._errors = (cupy.cuda.runtime.CUDARuntimeError, cupy.cuda.driver.CUDADriverError)
        self._getdevice: Callable[[], int] = cupy.cuda.runtime.getDevice

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

    @property
    def is_current(self) -> bool:
        """Whether the thread can work on the device without more ado."""
        return not self.dead and self._getdevice() == self.number

    def stream(self) -> Raw:
        """The stream on which this thread's work goes; call it inside :meth:`current`."""
        return self.cupy.cuda.get_current_stream()

    def synchronize(self) -> None:
        """Wait for all streams."""
        with self.current():
            self.cupy.cuda.runtime.deviceSynchronize()

    # -- work ----------------------------------------------------------------------------------
    def launch(self, kernel: Kernel, ins: Arrays, outs: Arrays, params: bytes, size: int, group: int) -> None:
        arguments = [a.buffer.memory.ptr for a in ins]
        arguments += [a.buffer.memory.ptr for a in outs]
        arguments.append(np.frombuffer(params, np.uint8))  # CuPy passes a host array as a struct by value
        if self.has_streams or not self.is_current:
            with self.current():
                kernel.raw((-(-size // group),), (group,), tuple(arguments))
                self.note([a.buffer for a in (*ins, *outs)])
            return
        try:  # the common case, without the cost of a context
            kernel.raw((-(-size // group),), (group,), tuple(arguments))
        except self._errors as error:
            raise self._explained(error) from error

    def note(self, blocks: Iterable[Block]) -> None:
        """Note that the current stream uses some blocks."""
        stream = self.stream()
        for block in blocks:
            block.used_on(stream)

    def computing(self, plan: Plan, shape: Shape, strides: Shape, dtype: DType) -> Callable[[Arrays], StridedArray]:
        take, nbytes, number = self.pool.take, prod(shape) * dtype.itemsize, self.number

        def compute(ins: Arrays) -> StridedArray:
            result = StridedArray(take(nbytes), 0, shape, strides, dtype, number)
            self.launch(plan.kernel, ins, (result,), plan.params, plan.size, plan.group)
            return result

        return compute

    def build(self, name: str, text: str) -> Kernel:
        with self.current():
            module = self.cupy.cuda.function.Module()
            module.load(self.compiler.binary(text))
            return Kernel(module.get_function(name))

    # -- memory --------------------------------------------------------------------------------
    def allocate(self, nbytes: int) -> Block:
        return self.pool.take(nbytes)

    def write(self, array: StridedArray, host: HostBytes, later: bool = False) -> Raw:
        """Enqueue a copy of contiguous bytes to an array's storage.

        From pageable memory the driver has read the bytes when this returns. From pinned memory it reads them later:
        this waits for it, or with ``later`` returns an event, of CuPy's class, that is over after it.
        """
        block = array.buffer
        with self.current():
            stream = self.stream()
            block.memory.copy_from_host_async(host.ctypes.data, host.nbytes, stream)
            if self.has_streams:
                block.used_on(stream)
            if later:
                return stream.record(self.cupy.cuda.Event(disable_timing=True))
            stream.synchronize()
            return None

    def read(self, array: StridedArray, host: HostBytes) -> None:
        """Copy a contiguous array's bytes to the host, after the current stream's work so far."""
        block, start = array.buffer, array.offset * array.dtype.itemsize
        with self.current():
            stream = self.stream()
            (block.memory + start).copy_to_host_async(host.ctypes.data, host.nbytes, stream)
            stream.synchronize()
            if self.has_streams:
                block.used_on(stream)

    def fetch(self, array: StridedArray, host: HostBytes) -> None:
        self.read(array, host)
        self.check()

    def receive(self, block: Block, source: CudaDevice, other: Block) -> None:
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

    def check(self) -> None:
        if not self.flagged or self._flag is None:
            return
        self.flagged = self.has_streams  # work on another stream may come to one yet
        cell = np.zeros(self._flag.size * 8, np.uint8)
        self.read(self._flag, cell)
        self.raise_late(self._flag, cell)
