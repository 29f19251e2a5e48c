"""One OpenCL device: its context, queues, memory and programs, and how work reaches it.

Every thread has one of a few in-order queues. A block remembers which queues used it; before another queue
touches what one wrote (or writes what some read), it waits for a marker in theirs. Setting a kernel's arguments
and enqueueing it hold one lock, since kernels are shared between threads.
"""

from __future__ import annotations

import atexit
import ctypes
import warnings
import weakref
from collections.abc import Callable, Sequence
from math import prod
from threading import get_ident
from typing import Any, Final

import numpy as np

from flambeau.backends.base import Shape
from flambeau.backends.dialect.prelude import Target
from flambeau.backends.launched.device import Arrays, Device, HostBytes, Kernel, Layout, Plan, Raw
from flambeau.backends.opencl.memory import Block, Pool
from flambeau.backends.opencl.queue import Queue, wait_for, weight
from flambeau.backends.strided import StridedArray
from flambeau.core import config
from flambeau.core.dtype import DType

QUEUES: Final = 4
#: What share of a device's memory is used unless somebody sets a limit.
_SHARE: Final = 0.9
#: From how many bytes on numpy asks for huge pages.
_HUGE: Final = 1 << 22
_PAGE: Final = 4096
_BIT: Final = tuple(1 << i for i in range(QUEUES))


class OpenCLDevice(Device):
    """A device and everything that belongs to it. ``number`` is N of ``opencl:N``."""

    api = "OpenCL"

    def __init__(self, cl: Raw, cl_device: Raw, context: Raw, number: int):
        super().__init__(number, f"opencl:{number} ({cl_device.name.strip()})")
        self._cl = cl
        self.raw, self.context = cl_device, context
        self.on_host = cl_device.platform.name.strip() == "Portable Computing Language"
        self.queues = [Queue(cl, context, cl_device, bursts=self.on_host) for _ in range(QUEUES)]
        self.units = int(cl_device.max_compute_units)
        extensions = cl_device.extensions.split()
        is_cpu = bool(cl_device.type & cl.device_type.CPU)
        wide, atomics = "cl_khr_fp64" in extensions, "cl_khr_int64_base_atomics" in extensions
        lanes = int(cl_device.native_vector_width_float)
        self.target = Target("opencl", is_cpu, wide, atomics, lanes if lanes in (4, 8) else 16)
        self.largest_block = int(cl_device.max_mem_alloc_size)
        self.group = min(int(cl_device.max_work_group_size), 256)
        limit = config.get("memory_limit")
        self.pool = Pool(self, QUEUES, self.default_limit if limit is None else limit)
        self._threads: dict[int, int] = {}
        self._interrupted: list[Raw] = []  # copies that nobody waited for to the end
        _open.add(self)

    @property
    def default_limit(self) -> int:
        """Bytes that are used at most unless somebody sets a limit."""
        return int(self.raw.global_mem_size * _SHARE)

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

    def bury(self) -> None:
        """In a forked child: refuse all further use; what is freed touches no driver."""
        super().bury()
        self._threads.clear()
        # Nor does the end of the interpreter: to let go of a queue waits for threads that stayed with the parent.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self))

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
            marks = []
            for queue in self.queues:
                queue.open()
                marks.append(self._cl.enqueue_marker(queue.raw))
                queue.flush()
        for mark in marks:
            wait_for(self._cl, mark)

    # -- work ----------------------------------------------------------------------------------
    def launch(self, kernel: Kernel, ins: Arrays, outs: Arrays, params: bytes, size: int, group: int) -> None:
        queue = self.queue()
        bit = _BIT[queue]
        arguments: list[Any] = []
        place = 0
        with self.lock:
            for array in ins:
                block = array.buffer
                if block.users != bit:
                    self.reading(block, queue)
                arguments += (place, block.memory)
                place += 1
            for array in outs:
                block = array.buffer
                if block.users != bit:
                    self.writing(block, queue)
                block.writer = queue
                arguments += (place, block.memory)
                place += 1
            raw = kernel.raw
            raw._set_arg_multi(tuple(arguments))
            if kernel.params is not params:
                raw._set_arg_buf_multi((place, params))
                kernel.params = params
            lane = self.queues[queue]
            lane.launch(raw, (size,), (group,), weight((ins or outs)[0].buffer.nbytes + outs[0].buffer.nbytes))
        if lane.late:
            self._catch_up(lane)

    def _catch_up(self, lane: Queue) -> None:
        """Wait, without the lock, where a queue is far behind its thread."""
        with self.lock:
            mark = lane.mark()
        if mark is not None:
            lane.catch_up(mark)

    def computing(self, plan: Plan, shape: Shape, strides: Shape, dtype: DType) -> Callable[[Arrays], StridedArray]:
        """:meth:`launch` with one turn of the lock."""
        kernel, params, size, group = plan.kernel, plan.params, (plan.size,), (plan.group,)
        raw, number, nbytes = kernel.raw, self.number, prod(shape) * dtype.itemsize
        of_result, counts = raw.num_args - 2, weight(2 * nbytes)
        shelf, take, threads, queues = self.pool.shelf(nbytes), self.pool.block, self._threads, self.queues

        def compute(ins: Arrays) -> StridedArray:
            queue = threads.get(get_ident())
            if queue is None:
                queue = self._assign()
            bit = _BIT[queue]
            with self.lock:
                result = take(nbytes, shelf, queue)
                if result.users != bit:
                    self.writing(result, queue)
                arguments = [of_result, result.memory]
                place = 0
                for array in ins:
                    block = array.buffer
                    if block.users != bit:
                        self.reading(block, queue)
                    arguments += (place, block.memory)
                    place += 1
                raw._set_arg_multi(tuple(arguments))
                if kernel.params is not params:
                    raw._set_arg_buf_multi((place + 1, params))
                    kernel.params = params
                lane = queues[queue]
                lane.launch(raw, size, group, counts)
            if lane.late:
                self._catch_up(lane)
            return StridedArray(result, 0, shape, strides, dtype, number)

        return compute

    def making(self, plan: Plan, results: Sequence[Layout]) -> Callable[[Arrays, Arrays], tuple[StridedArray, ...]]:
        """:meth:`launch` with one turn of the lock, of a kernel object of its own whose parameters are set once."""
        shared, take, queues, number = plan.kernel.raw, self.pool.block, self.queues, self.number
        raw = self._cl.Kernel(shared.program, shared.function_name)
        raw._set_arg_buf_multi((raw.num_args - 1, plan.params))
        size, group, threads = (plan.size,), (plan.group,), self._threads
        shelves = [(n, self.pool.shelf(n)) for n in [prod(r.shape) * r.dtype.itemsize for r in results]]
        single = results[0] if len(results) == 1 else None

        def make(ins: Arrays, outs: Arrays) -> tuple[StridedArray, ...]:
            queue = threads.get(get_ident())
            if queue is None:
                queue = self._assign()
            bit = _BIT[queue]
            arguments: list[Any] = []
            made: list[Block] = []
            place = 0
            with self.lock:
                for array in ins:
                    block = array.buffer
                    if block.users != bit:
                        self.reading(block, queue)
                    arguments += (place, block.memory)
                    place += 1
                for array in outs:
                    block = array.buffer
                    if block.users != bit:
                        self.writing(block, queue)
                    block.writer = queue
                    arguments += (place, block.memory)
                    place += 1
                for n, shelf in shelves:
                    block = take(n, shelf, queue)
                    if block.users != bit:
                        self.writing(block, queue)
                    made.append(block)
                    arguments += (place, block.memory)
                    place += 1
                raw._set_arg_multi(tuple(arguments))
                lane = queues[queue]
                lane.launch(raw, size, group, weight(2 * block.nbytes))
            if lane.late:
                self._catch_up(lane)
            if single is not None:
                return (StridedArray(block, 0, *single, number),)
            return tuple([StridedArray(b, 0, *layout, number) for b, layout in zip(made, results, strict=True)])

        return make

    def build(self, name: str, text: str) -> Kernel:
        options = ["-cl-std=CL1.2", "-w"]
        if self.raw.single_fp_config & self._cl.device_fp_config.CORRECTLY_ROUNDED_DIVIDE_SQRT:
            options.append("-cl-fp32-correctly-rounded-divide-sqrt")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyOpenCL repeats what the compiler says of a program that it took
            program = self._cl.Program(self.context, text).build(options=options, devices=[self.raw])
        return Kernel(self._cl.Kernel(program, name))

    # -- memory --------------------------------------------------------------------------------
    def allocate(self, nbytes: int) -> Block:
        return self.pool.take(nbytes, self.queue())

    def new_buffer(self, nbytes: int) -> Raw:
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

    def write(self, array: StridedArray, host: HostBytes) -> None:
        """Copy contiguous bytes to an array's storage; they may change after."""
        block, queue = array.buffer, self.queue()
        with self.lock:
            self.writing(block, queue)
            lane = self.queues[queue]
            lane.open()
            event = self._cl.enqueue_copy(lane.raw, block.memory, host, is_blocking=False)
            lane.flush()
        self._finished([event])

    def _finished(self, events: list[Raw]) -> None:
        """Wait for copies; where that is interrupted they go on, and their memory stays until they are over."""
        if self._interrupted:
            over = self._cl.command_execution_status.COMPLETE
            self._interrupted = [e for e in self._interrupted if e.command_execution_status > over]
        try:
            for event in events:
                wait_for(self._cl, event)
        except BaseException:
            self._interrupted += events
            raise

    def read(self, *wanted: tuple[StridedArray, HostBytes]) -> None:
        """Copy contiguous arrays' bytes to the host."""
        queue = self.queue()
        with self.lock:
            lane = self.queues[queue]
            lane.open()  # first: PyOpenCL's event of a copy, when it goes, waits for the copy
            events = []
            for array, host in wanted:
                block, start = array.buffer, array.offset * array.dtype.itemsize
                self.reading(block, queue)
                event = self._cl.enqueue_copy(lane.raw, host, block.memory, src_offset=start, is_blocking=False)
                events.append(event)
            lane.flush()
        self._finished(events)

    def fetch(self, array: StridedArray, host: HostBytes) -> None:
        self._check((array, host))

    def check(self) -> None:
        self._check()

    def _check(self, *wanted: tuple[StridedArray, HostBytes]) -> None:
        """:meth:`read`, and raise for an index that was out of range since the last check: one turn for both."""
        if self.dead:
            self.lost()
        if not self.flagged or self._flag is None:
            if wanted:
                self.read(*wanted)
            return
        self.flagged = False
        cell = np.zeros(self._flag.size * 8, np.uint8)
        try:
            self.read(*wanted, (self._flag, cell))
        except BaseException:  # Ctrl-C: nobody has looked
            self.flagged = True
            raise
        self.raise_late(self._flag, cell)


def _aligned(nbytes: int) -> HostBytes:
    """Fresh memory of the host that begins at a page."""
    whole = np.empty(nbytes + _PAGE, np.uint8)
    start = -whole.ctypes.data % _PAGE
    return whole[start : start + nbytes]


_open: weakref.WeakSet[OpenCLDevice] = weakref.WeakSet()


@atexit.register
def _settle() -> None:
    """Finish what is under way: drivers do not survive the end of the interpreter with work in hand."""
    for device in list(_open):
        if not device.dead:
            device.synchronize()
