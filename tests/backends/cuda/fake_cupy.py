"""A pretend CuPy over numpy: the names of the installed one and no other, its refusals, and devices of host memory.

:func:`make` builds it, with devices of its own. What the CUDA backend asks of CuPy is here for real: kernels run
(:mod:`.emulator`), memory is freed to the stream that it came from, and with ``lazy`` set work on a stream is only
done when somebody waits for it, so that reading too early or reusing memory too early shows.
"""

from __future__ import annotations

import ctypes
import inspect
import threading
from collections import defaultdict, deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from tests.backends.cuda import emulator
from tests.backends.cuda.fake_arrays import Namespace, bind_arrays

TOTAL = 1 << 32
#: Bytes before and behind each allocation, and what stands there unless a kernel writes out of range.
_EDGE, _FENCE = 256, 0xC3


class CUDARuntimeError(RuntimeError):
    """As CuPy's: with the code as ``status``."""

    def __init__(self, status: int, text: str):
        super().__init__(text)
        self.status = status


class CUDADriverError(RuntimeError):
    def __init__(self, status: int, text: str):
        super().__init__(text)
        self.status = status


class OutOfMemoryError(MemoryError):
    """As CuPy's."""


class Fake:
    """The state of the pretend machine; ``module`` is what stands for cupy."""

    def __init__(self, devices: int = 2):
        self.devices = devices
        self.lazy = False
        self.capacity = TOTAL  # bytes that a device has
        self.launches: list[str] = []
        self.exports: list[Any] = []  # the streams that DLPack's consumers named
        self.texts: set[str] = set()
        self.compiled: set[str] = set()  # those of them that a test had compiled for a GPU
        self.overruns: list[int] = []  # sizes of allocations behind or before which somebody wrote
        self.broken: Exception | None = None  # raised by every launch
        self._local = threading.local()
        self.lock = threading.RLock()
        self._pointers = iter(range(1, 1 << 30))
        self.pools = [Pool(self, n) for n in range(devices)]
        self.null = [Stream(self, device=n, null=True) for n in range(devices)]
        self.module = Namespace(self)
        bind_arrays(self)

    # -- threads' state ------------------------------------------------------------------------
    @property
    def device(self) -> int:
        found: int = getattr(self._local, "device", 0)
        return found

    @device.setter
    def device(self, number: int) -> None:
        if not 0 <= number < self.devices:
            raise CUDARuntimeError(101, "cudaErrorInvalidDevice: invalid device ordinal")
        self._local.device = number

    def stream(self, device: int | None = None) -> Stream:
        number = self.device if device is None else device
        streams: dict[int, Stream] = self._local.__dict__.setdefault("streams", {})
        return streams.get(number, self.null[number])

    def use(self, stream: Stream) -> None:
        self._local.__dict__.setdefault("streams", {})[stream.device] = stream

    def drain(self) -> None:
        """Do what is left to do on the current stream: CuPy's own functions compute at once here."""
        self.stream().synchronize()

    def alloc(self, nbytes: int) -> MemoryPointer:
        return self.pools[self.device].malloc(nbytes)


# -- memory ------------------------------------------------------------------------------------------
class Memory:
    """An allocation, which goes back to its pool, for the stream that it was made on, when it is dropped."""

    def __init__(self, pool: Pool, raw: np.ndarray[Any, Any], nbytes: int, stream: Stream):
        self.raw, self.size, self.device_id = raw[_EDGE:-_EDGE], raw.nbytes - 2 * _EDGE, pool.number
        self.ptr = int(self.raw.ctypes.data)
        self._pool, self._stream, self._whole, self._end = pool, stream, raw, _EDGE + nbytes
        raw[:_EDGE] = raw[self._end :] = _FENCE

    def __del__(self) -> None:
        if not self._pool.fake.lazy and not ((self._whole[:_EDGE] == _FENCE).all() and self.fenced):
            self._pool.fake.overruns.append(self._end - _EDGE)
        self._pool.free[self._stream].append(self._whole)

    @property
    def fenced(self) -> bool:
        """Whether nobody wrote behind the bytes that were asked for."""
        return bool((self._whole[self._end :] == _FENCE).all())


class UnownedMemory:
    """Memory that is somebody else's."""

    def __init__(self, ptr: int, size: int, owner: Any, device_id: int = -1):
        self.ptr, self.size, self.device_id = ptr, size, device_id
        window: Any = (ctypes.c_ubyte * size).from_address(ptr)
        window.owner = owner  # whoever has the bytes keeps it
        self.raw = np.frombuffer(window, np.uint8)


class Pool:
    """Free lists by stream, as CuPy's; sizes are rounded up to 512 bytes."""

    def __init__(self, fake: Fake, number: int):
        self.fake, self.number = fake, number
        self.free: dict[Stream, list[np.ndarray[Any, Any]]] = defaultdict(list)
        self.total, self.limit = 0, 0

    def malloc(self, nbytes: int) -> MemoryPointer:
        size = -(-nbytes // 512) * 512
        stream = self.fake.stream(self.number)
        with self.fake.lock:
            free = self.free[stream]
            found = next((i for i, raw in enumerate(free) if raw.nbytes == size + 2 * _EDGE), None)
            if found is not None:
                return MemoryPointer(Memory(self, free.pop(found), nbytes, stream), 0)
        if self.total + size > min(self.fake.capacity, self.limit or self.fake.capacity):
            raise OutOfMemoryError(f"Out of memory allocating {size:,} bytes")
        self.total += size
        raw = np.full(size + 2 * _EDGE, 0xA5, np.uint8)  # nobody may count on zeros
        return MemoryPointer(Memory(self, raw, nbytes, stream), 0)

    def free_all_blocks(self) -> None:
        for free in self.free.values():
            self.total -= sum(raw.nbytes - 2 * _EDGE for raw in free)
            free.clear()


class MemoryPointer:
    def __init__(self, mem: Any, offset: int):
        self.mem, self.ptr = mem, mem.ptr + offset
        self.device_id = mem.device_id

    def __add__(self, offset: int) -> MemoryPointer:
        return MemoryPointer(self.mem, self.ptr - self.mem.ptr + int(offset))

    def copy_from_host_async(self, host: int, size: int, stream: Stream) -> None:
        pinned = stream.fake.module.cuda.pinned_at(host)
        source = host if pinned else ctypes.create_string_buffer(ctypes.string_at(host, size), size)
        stream.do(lambda: ctypes.memmove(self.ptr, source, size))

    def copy_to_host_async(self, host: int, size: int, stream: Stream) -> None:
        stream.do(lambda: ctypes.memmove(host, self.ptr, size))


# -- streams -----------------------------------------------------------------------------------------
class Stream:
    def __init__(self, fake: Fake, device: int, null: bool = False, priority: int | None = None):
        self.fake, self.device, self.priority = fake, device, priority
        self.ptr = 0 if null else next(fake._pointers)
        self._todo: deque[Callable[[], Any]] = deque()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (Stream, _Null)) and (self.ptr, self.device) == (other.ptr, other.device)

    def __hash__(self) -> int:
        return hash((self.ptr, self.device))

    def do(self, work: Callable[[], Any]) -> None:
        with self.fake.lock:
            self._todo.append(work)
            if not self.fake.lazy:
                self.synchronize()

    def synchronize(self) -> None:
        with self.fake.lock:
            while self._todo:
                self._todo.popleft()()

    @property
    def done(self) -> bool:
        return not self._todo

    def record(self, event: Event | None = None) -> Event:
        event = Event(self.fake, self.fake.device) if event is None else event
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        self.do(event.synchronize)

    def use(self) -> Stream:
        self.fake.use(self)
        return self


class _Null:
    """``Stream.null``: the default stream of whichever device is current when it is used."""

    def __init__(self, fake: Fake):
        self._fake = fake

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fake.null[self._fake.device], name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (Stream, _Null)) and other.ptr == 0

    def __hash__(self) -> int:
        return 0


class Event:
    def __init__(self, fake: Fake, device: int, disable_timing: bool = False):
        self.fake, self.device, self.timed = fake, device, not disable_timing
        self.done = True
        self._stream: Stream | None = None

    def record(self, stream: Stream | None = None) -> None:
        stream = self.fake.null[self.fake.device] if stream is None else stream
        if stream.device != self.device:
            raise CUDARuntimeError(400, "cudaErrorInvalidResourceHandle: invalid resource handle")
        self.done, self._stream = False, stream
        stream.do(self._reach)

    def _reach(self) -> None:
        self.done = True

    def synchronize(self) -> None:
        with self.fake.lock:
            while not self.done:
                assert self._stream is not None
                self._stream._todo.popleft()()


# -- kernels -----------------------------------------------------------------------------------------
class NVRTCError(RuntimeError):
    """As CuPy's."""


def nvrtc() -> Any:
    """``cupy.cuda.nvrtc``, whose machine code is the text."""
    programs: dict[int, str] = {}

    def create(text: str, name: str, headers: tuple[str, ...], include_names: tuple[str, ...]) -> int:
        programs[len(programs) + 1] = text
        return len(programs)

    def compile_(program: int, options: tuple[str, ...]) -> None:
        if not isinstance(options, tuple) or "-arch=sm_90" not in options:
            raise NVRTCError("NVRTC_ERROR_INVALID_OPTION (5)")

    return SimpleNamespace(
        NVRTCError=NVRTCError, getVersion=lambda: (0, 0), getSupportedArchs=lambda: (80, 90), createProgram=create,
        compileProgram=compile_, getCUBIN=lambda program: programs[program].encode(),
        getPTX=lambda program: programs[program].encode(), getProgramLog=lambda program: "",
        destroyProgram=lambda program: None,
    )  # fmt: skip


class Function:
    def __init__(self, fake: Fake, code: str, name: str):
        self.fake, self.code, self.name = fake, code, name

    def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...]) -> None:
        if self.fake.broken is not None:
            raise self.fake.broken
        if not all(type(n) is int for n in (*grid, *block)) or not 0 < block[0] <= 1024 or not 0 < grid[0] < 1 << 31:
            raise CUDADriverError(1, f"CUDA_ERROR_INVALID_VALUE: grid {grid}, block {block}")
        held = [a.copy() if isinstance(a, np.ndarray) else a for a in args]
        if sum(8 if isinstance(a, int) else a.nbytes for a in held) > 4096:
            raise CUDADriverError(1, "CUDA_ERROR_INVALID_VALUE: more than 4096 bytes of parameters")
        self.fake.launches.append(self.name)
        backwards = len(self.fake.launches) % 2 == 0
        self.fake.stream().do(lambda: emulator.run(self.code, self.name, grid[0], block[0], held, backwards))


class Module:
    """``cupy.cuda.function.Module`` of one machine."""

    fake: Fake

    def __init__(self) -> None:
        self.code = ""

    def load(self, cubin: bytes) -> None:
        self.code = cubin.decode()

    def get_function(self, name: str) -> Function:
        if f"{name}(" not in self.code:
            raise CUDADriverError(500, "CUDA_ERROR_NOT_FOUND: named symbol not found")
        self.fake.texts.add(self.code)
        return Function(self.fake, self.code, name)


# -- cupy.cuda ---------------------------------------------------------------------------------------
def runtime(fake: Fake) -> Any:
    """``cupy.cuda.runtime``."""

    def properties(number: int) -> dict[str, Any]:
        if not 0 <= number < fake.devices:
            raise CUDARuntimeError(101, "cudaErrorInvalidDevice: invalid device ordinal")
        return {"name": b"Pretend GPU", "totalGlobalMem": TOTAL, "multiProcessorCount": 2, "major": 9, "minor": 0}

    def peer(target: int, to: int, source: int, origin: int, size: int, stream: int) -> None:
        # the stream is of the current device, which is the source
        here = fake.stream()
        if here.ptr != stream or here.device != origin:
            raise CUDARuntimeError(400, "cudaErrorInvalidResourceHandle: invalid resource handle")
        here.do(lambda: ctypes.memmove(target, source, size))

    def everything() -> None:
        for stream in [*fake.null, fake.stream()]:
            if stream.device == fake.device:
                stream.synchronize()

    return SimpleNamespace(
        CUDARuntimeError=CUDARuntimeError, getDevice=lambda: fake.device, getDeviceCount=lambda: fake.devices,
        getDeviceProperties=properties, memGetInfo=lambda: (TOTAL - fake.pools[fake.device].total, TOTAL),
        deviceSynchronize=everything, memcpyPeerAsync=peer, driverGetVersion=lambda: 12080,
        runtimeGetVersion=lambda: 12080,
    )  # fmt: skip


def cuda(fake: Fake) -> Any:
    """``cupy.cuda``."""
    pinned: dict[int, int] = {}

    class Device:
        def __init__(self, device: int):
            self.id, self._before = device, 0

        def __enter__(self) -> Device:
            self._before, fake.device = fake.device, self.id
            return self

        def __exit__(self, *error: object) -> None:
            fake.device = self._before

    def alloc_pinned(size: int) -> Any:
        memory = (ctypes.c_ubyte * size)()
        pinned[ctypes.addressof(memory)] = size
        return memory

    class NewStream(Stream):
        null = _Null(fake)

        def __init__(self, null: bool = False, non_blocking: bool = False, ptds: bool = False, priority: Any = None):
            super().__init__(fake, fake.device, priority=priority)

    return SimpleNamespace(
        nvrtc=nvrtc(), function=SimpleNamespace(Module=type("Module", (Module,), {"fake": fake})),
        Device=Device, runtime=runtime(fake), driver=SimpleNamespace(CUDADriverError=CUDADriverError),
        Stream=NewStream,
        Event=lambda block=False, disable_timing=False, interprocess=False: Event(fake, fake.device, disable_timing),
        get_elapsed_time=lambda start, end: 1.5, get_current_stream=lambda device_id=-1: fake.stream(),
        alloc=fake.alloc, MemoryPointer=MemoryPointer, UnownedMemory=UnownedMemory, alloc_pinned_memory=alloc_pinned,
        PinnedMemoryPointer=ctypes.Array, pinned_at=lambda at: any(s <= at < s + n for s, n in pinned.items()),
    )  # fmt: skip


def memory_pool(fake: Fake) -> Any:
    """``cupy.get_default_memory_pool()``."""

    def set_limit(size: int | None = None, fraction: float | None = None) -> None:
        fake.pools[fake.device].limit = size or 0

    def free() -> None:
        fake.pools[fake.device].free_all_blocks()

    return SimpleNamespace(
        total_bytes=lambda: fake.pools[fake.device].total, set_limit=set_limit,
        get_limit=lambda: fake.pools[fake.device].limit, free_all_blocks=free,
    )  # fmt: skip


def signature_of(fn: Any) -> inspect.Signature | None:
    """The real function's signature, where Python knows it."""
    try:
        return inspect.signature(fn)
    except (TypeError, ValueError):
        return None
