"""One OpenCL device: its context, queues, memory and programs, and how work reaches it.

Every thread has one of a few in-order queues. A block remembers which queues used it; before another queue
touches what one wrote (or writes what some read), it waits for a marker in theirs. Setting a kernel's arguments
and enqueueing it hold one lock, since kernels are shared between threads.
"""

from __future__ import annotations

import atexit
import threading
import warnings
import weakref
from collections.abc import Iterable, Sequence
from threading import get_ident
from typing import Any, Final, NoReturn

import numpy as np

from flambeau.backends.base import DeviceLostError
from flambeau.backends.dialect.prelude import Target
from flambeau.backends.opencl.memory import Block, Pool, Shelf
from flambeau.backends.opencl.queue import Queue
from flambeau.core import config

QUEUES: Final = 4
#: What share of a device's memory is used unless somebody sets a limit.
_SHARE: Final = 0.9
#: From how many bytes on numpy asks for huge pages.
_HUGE: Final = 1 << 22
_PAGE: Final = 4096
_BIT: Final = tuple(1 << i for i in range(QUEUES))


class Kernel:
    """A compiled kernel, ready for launching; its integer parameters are one struct, the last argument."""

    __slots__ = ("cl", "last", "name", "params")

    def __init__(self, kernel: Any, name: str):
        self.cl, self.name = kernel, name
        self.last: int = kernel.num_args - 1
        self.params: bytes | None = None  # what the last argument was set to


class Plan:
    """A launch that is ready but for its buffers: of elementwise kernels, kept by the operands' layouts."""

    __slots__ = ("group", "kernel", "nbytes", "params", "shape", "shelf", "size", "strides")

    def __init__(self, kernel: Kernel, params: bytes, size: int, group: int):
        self.kernel, self.params = kernel, params
        self.size, self.group = (size,), (group,)
        self.nbytes = 0
        self.shelf: Shelf
        self.shape: tuple[int, ...] = ()
        self.strides: tuple[int, ...] = ()


class Device:
    """A device and everything that belongs to it. ``number`` is N of ``opencl:N``."""

    def __init__(self, cl_device: Any, context: Any, number: int, cpu: bool | None = None):
        import pyopencl as cl

        self._cl: Any = cl
        self.raw, self.context, self.number = cl_device, context, number
        self.label = f"opencl:{number} ({cl_device.name.strip()})"
        self.lock = threading.RLock()
        self.on_host = cl_device.platform.name.strip() == "Portable Computing Language"
        self.queues = [Queue(context, cl_device, bursts=self.on_host) for _ in range(QUEUES)]
        self.units = int(cl_device.max_compute_units)
        extensions = cl_device.extensions.split()
        is_cpu = bool(cl_device.type & cl.device_type.CPU) if cpu is None else cpu
        self.target = Target("opencl", is_cpu, "cl_khr_fp64" in extensions, "cl_khr_int64_base_atomics" in extensions)
        self.largest_block = int(cl_device.max_mem_alloc_size)
        self.group = min(int(cl_device.max_work_group_size), 256)
        limit = config.get("memory_limit")
        self.pool = Pool(self, int(cl_device.global_mem_size * _SHARE) if limit is None else limit)
        self.dead = False
        self._threads: dict[int, int] = {}
        self._programs: dict[Any, Kernel] = {}
        self._flag: Block | None = None
        self.flagged = False
        _open.add(self)

    # -- queues --------------------------------------------------------------------------------
    def queue(self) -> int:
        """The number of this thread's queue."""
        found = self._threads.get(get_ident())
        return self._assign() if found is None else found

    def _assign(self) -> int:
        if self.dead:
            self.lost()
        with self.lock:
            return self._threads.setdefault(get_ident(), len(self._threads) % QUEUES)

    def lost(self) -> NoReturn:
        """Raise the error of a device that a fork cut off."""
        raise DeviceLostError(
            f"{self.label} was in use before this process was forked, and OpenCL does not survive a fork; start "
            "workers with the 'spawn' or 'forkserver' method, or use the device only after the fork"
        )

    def bury(self) -> None:
        """In a forked child: refuse all further use; what is freed touches no driver."""
        self.dead = True
        self.lock = self.pool._lock = threading.RLock()  # another thread may have held it at the fork
        self._threads = {}

    def reading(self, block: Block, queue: int) -> None:
        """Before ``queue`` reads a block: wait for the queue that wrote it. Called under the lock."""
        if not block.users & _BIT[queue]:
            if block.users:
                self._wait(queue, block.writer)
            block.users |= _BIT[queue]

    def writing(self, block: Block, queue: int) -> None:
        """Before ``queue`` writes a block: wait for every other queue that used it. Called under the lock."""
        others = block.users & ~_BIT[queue]
        for other in range(QUEUES):
            if others & _BIT[other]:
                self._wait(queue, other)
        block.users, block.writer = _BIT[queue], queue

    def _wait(self, queue: int, other: int) -> None:
        if queue != other:
            marker = self._cl.enqueue_marker(self.queues[other].raw)
            self.queues[other].flush()
            self._cl.enqueue_barrier(self.queues[queue].raw, wait_for=[marker])

    def synchronize(self) -> None:
        """Wait for all queues."""
        if self.dead:
            self.lost()
        with self.lock:
            for queue in self.queues:
                queue.flush()
        for queue in self.queues:
            queue.raw.finish()

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
        """Enqueue ``kernel(ins..., outs..., params)`` on this thread's queue, ``size`` items in groups of ``group``."""
        queue = self.queue()
        bit = _BIT[queue]
        arguments: list[Any] = []
        place = 0
        with self.lock:
            for block in ins:
                if block.users != bit:
                    self.reading(block, queue)
                arguments += (place, block.memory)
                place += 1
            for block in outs:
                if block.users != bit:
                    self.writing(block, queue)
                block.writer = queue
                arguments += (place, block.memory)
                place += 1
            raw = kernel.cl
            raw._set_arg_multi(tuple(arguments))
            if kernel.params is not params:
                raw._set_arg_buf_multi((place, params))
                kernel.params = params
            self.queues[queue].launch(raw, (size,), None if group is None else (group,))

    def compute(self, plan: Plan, ins: Sequence[Any]) -> Block:
        """Launch a plan on the storages of arrays, into a new block: :meth:`launch` with one turn of the lock."""
        queue = self._threads.get(get_ident())
        if queue is None:
            queue = self._assign()
        bit = _BIT[queue]
        kernel = plan.kernel
        raw = kernel.cl
        with self.lock:
            result = self.pool.block(plan.nbytes, plan.shelf, queue)
            if result.users != bit:
                self.writing(result, queue)
            arguments = [kernel.last - 1, result.memory]
            place = 0
            for array in ins:
                block = array.buffer
                if block.users != bit:
                    self.reading(block, queue)
                arguments += (place, block.memory)
                place += 1
            raw._set_arg_multi(tuple(arguments))
            if kernel.params is not plan.params:
                raw._set_arg_buf_multi((place + 1, plan.params))
                kernel.params = plan.params
            self.queues[queue].launch(raw, plan.size, plan.group)
        return result

    def kernel(self, key: Any, name: str, source: Any) -> Kernel:
        """The kernel ``name`` of the program ``key``; ``source()`` is its text at the first use."""
        found = self._programs.get(key)
        if found is None:
            if self.dead:
                self.lost()
            with self.lock:
                found = self._programs.get(key)
                if found is None:
                    found = self._programs[key] = self._build(name, source())
        return found

    def _build(self, name: str, text: str) -> Kernel:
        options = ["-cl-std=CL1.2", "-w"]
        if self.raw.single_fp_config & self._cl.device_fp_config.CORRECTLY_ROUNDED_DIVIDE_SQRT:
            options.append("-cl-fp32-correctly-rounded-divide-sqrt")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyOpenCL repeats what the compiler says of a program that it took
            program = self._cl.Program(self.context, text).build(options=options, devices=[self.raw])
        return Kernel(self._cl.Kernel(program, name), name)

    # -- memory --------------------------------------------------------------------------------
    def allocate(self, nbytes: int) -> Block:
        return self.pool.take(nbytes, self.queue())

    def new_buffer(self, nbytes: int) -> Any:
        """Memory from the driver; MemoryError when there is none.

        Where threads of the host compute, large memory is numpy's, which asks for huge pages: a sixth to a third
        faster to walk through than the driver's own.
        """
        try:
            if self.on_host and nbytes >= _HUGE:
                flags = self._cl.mem_flags.READ_WRITE | self._cl.mem_flags.USE_HOST_PTR
                return self._cl.Buffer(self.context, flags, hostbuf=_aligned(nbytes))
            return self._cl.Buffer(self.context, self._cl.mem_flags.READ_WRITE, nbytes)
        except self._cl.MemoryError as error:
            raise MemoryError(str(error)) from error

    def write(self, block: Block, start: int, host: np.ndarray[Any, Any]) -> None:
        """Copy a contiguous host array to byte ``start`` on; it may change after."""
        queue = self.queue()
        with self.lock:
            self.writing(block, queue)
            lane = self.queues[queue]
            lane.open()
            event = self._cl.enqueue_copy(lane.raw, block.memory, host, dst_offset=start, is_blocking=False)
            lane.flush()
        event.wait()

    def read(self, *pieces: tuple[Block, int, np.ndarray[Any, Any]]) -> None:
        """Copy from blocks, byte ``start`` on, into contiguous host arrays."""
        queue = self.queue()
        with self.lock:
            lane = self.queues[queue]
            lane.open()  # first: PyOpenCL's event of a copy, when it goes, waits for the copy
            events = []
            for block, start, host in pieces:
                self.reading(block, queue)
                event = self._cl.enqueue_copy(lane.raw, host, block.memory, src_offset=start, is_blocking=False)
                events.append(event)
            lane.flush()
        for event in events:
            event.wait()

    # -- late errors ---------------------------------------------------------------------------
    def flag(self) -> Block:
        """The cell in which a kernel leaves an index that is out of range: [any, index, size, op, dimension]."""
        self.flagged = True
        if self._flag is None:
            with self.lock:
                if self._flag is None:
                    cell = self.allocate(40)
                    self.write(cell, 0, np.zeros(5, np.int64))
                    self._flag = cell
        return self._flag

    def check(self, *pieces: tuple[Block, int, np.ndarray[Any, Any]]) -> None:
        """:meth:`read`, and raise for an index that was out of range since the last check."""
        if self.dead:
            self.lost()
        if not self.flagged or self._flag is None:
            if pieces:
                self.read(*pieces)
            return
        self.flagged = False
        cell = np.zeros(5, np.int64)
        self.read(*pieces, (self._flag, 0, cell))
        if cell[0]:
            self.write(self._flag, 0, np.zeros(5, np.int64))
            op = ("gather", "scatter")[int(cell[3])]
            raise IndexError(
                f"{op}: index {int(cell[1])} is out of bounds for dimension {int(cell[4])} with size {int(cell[2])} "
                f"(found late, on {self.label})"
            )


def _aligned(nbytes: int) -> np.ndarray[Any, Any]:
    """Fresh memory of the host that begins at a page."""
    whole = np.empty(nbytes + _PAGE, np.uint8)
    start = -whole.ctypes.data % _PAGE
    return whole[start : start + nbytes]


def blocks(arrays: Iterable[Any]) -> list[Block]:
    """The storages of some arrays."""
    return [a.buffer for a in arrays]


_open: weakref.WeakSet[Device] = weakref.WeakSet()


@atexit.register
def _settle() -> None:
    """Finish what is under way: drivers do not survive the end of the interpreter with work in hand."""
    for device in list(_open):
        if not device.dead:
            device.synchronize()
