"""A WebGPU device: adapters, one open pass of commands, compiled pipelines, cached bind groups, pooled buffers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final

import wgpu  # type: ignore[import-untyped]

from flambeau.backends.base import DeviceLostError
from flambeau.core.cache import Cache

#: Dispatches that wait in the open pass at most: beyond, the device begins while the host goes on.
BATCH: Final = 128
#: What params may take, in bytes; those of a kernel with more numbers are printed into its text.
ROOM: Final = 128
_SLOT: Final = 256  # bytes from one dispatch's params to the next's, where they lie in a uniform buffer
_FLAG: Final = 32  # bytes of the flag of late errors
_LIMITS: Final = (
    "max-storage-buffer-binding-size", "max-buffer-size", "max-immediate-size",
    "max-storage-buffers-per-shader-stage",
)  # fmt: skip
_WANTED: Final = frozenset({"immediates", "shader-int64", "subgroup"})
_KINDS: Final = ("DiscreteGPU", "IntegratedGPU", "VirtualGPU", "Unknown", "CPU")
_APIS: Final = ("Metal", "D3D12", "Vulkan", "OpenGL")


@lru_cache(1)
def adapters() -> tuple[wgpu.GPUAdapter, ...]:
    """The adapters of the best graphics interface that has any, GPUs before drivers that run on the processor."""
    found = wgpu.gpu.enumerate_adapters_sync()
    for api in _APIS:
        chosen = [a for a in found if a.info["backend_type"] == api]
        if chosen:
            return tuple(sorted(chosen, key=lambda a: _KINDS.index(kind_of(a))))
    return ()


def kind_of(adapter: wgpu.GPUAdapter) -> str:
    """What an adapter is, one of ``DiscreteGPU``, ``IntegratedGPU``, ``VirtualGPU``, ``CPU`` and ``Unknown``."""
    kind = str(adapter.info["adapter_type"])
    return kind if kind in _KINDS else "Unknown"


class Memory:
    """A buffer from the pool, which goes back to it with the last array."""

    __slots__ = ("buffer", "device", "size")

    def __init__(self, device: Device, size: int, buffer: wgpu.GPUBuffer):
        self.device, self.size, self.buffer = device, size, buffer

    def __del__(self) -> None:
        self.device.shelves[self.size].append(self.buffer)  # what still runs runs before what comes to use it


class Device:
    """One adapter, opened. Every method may be called from any thread.

    Commands are written to one open pass, in the order of the calls, which is submitted when the host reads or
    waits, and after :data:`BATCH` dispatches. ``without`` names features that are not to be used.
    """

    def __init__(self, adapter: wgpu.GPUAdapter, label: str, without: frozenset[str] = frozenset()):
        self.adapter, self.label = adapter, label
        features = sorted((_WANTED - without) & set(adapter.features))
        limits = {name: adapter.limits[name] for name in _LIMITS if name in adapter.limits}
        if "immediates" not in features:
            limits.pop("max-immediate-size", None)
        self.device = adapter.request_device_sync(required_features=features, required_limits=limits)
        self.queue = self.device.queue
        self.int64 = "shader-int64" in features
        self.processor = kind_of(adapter) == "CPU"
        #: Whether reads of 64 bits pay: a driver on the processor takes as long for a read of any size.
        self.pairs = self.processor and self.int64
        self.immediates = "immediates" in features
        self.largest = min(self.device.limits["max-storage-buffer-binding-size"], self.device.limits["max-buffer-size"])
        self.lock = threading.RLock()
        self.lost: str | None = None
        self.shelves: dict[int, list[wgpu.GPUBuffer]] = {}
        #: Every buffer: the pool holds them, so that no collection finalizes one, and the ids in ``_groups`` stay true.
        self._owned: dict[int, wgpu.GPUBuffer] = {}
        self._staging: dict[int, wgpu.GPUBuffer] = {}
        self._layouts: dict[str, tuple[Any, Any]] = {}
        self._pipelines: dict[Hashable, wgpu.GPUComputePipeline] = {}
        self._groups: Cache[Hashable, wgpu.GPUBindGroup] = Cache(limit=16384)
        self._encoder: Any = None
        self._pass: Any = None
        self._last: Any = None
        self.waiting = 0
        self.flag = self._create(_FLAG)
        self._flagged = False
        self.queue.write_buffer(self.flag, 0, bytes(_FLAG))
        #: Invocations that run in lockstep on a processor, one after the other in the workgroup; 0 if not so.
        self.lanes = 0
        if not self.immediates:
            usage = wgpu.BufferUsage.UNIFORM | wgpu.BufferUsage.COPY_DST
            self._ring = self.device.create_buffer(size=BATCH * _SLOT, usage=usage)
            self._slots = bytearray(BATCH * _SLOT)
            self._ring_group = self._bind_ring()
        if self.processor and "subgroup" in features:
            self.launch("lanes", "w", lambda: _COUNT, [self.flag], b"", 1)
            size, crooked = self.read(self.flag, 0, 8).cast("I")
            self.lanes = 0 if crooked else size
            self.write(self.flag, 0, memoryview(bytes(_FLAG)))

    # -- errors ------------------------------------------------------------------------------------
    @contextmanager
    def guarded(self) -> Iterator[None]:
        """The lock; and a device that is lost raises as such."""
        with self.lock:
            if self.lost is not None:
                raise DeviceLostError(f"{self.label}: {self.lost}")
            try:
                yield
            except wgpu.GPUError as error:
                self._failed(error)
                raise

    def _failed(self, error: Exception) -> None:
        """DeviceLostError if that is what an error of the driver says."""
        if "lost" in str(error).lower():
            self.lost = f"the device was lost: {error}"
            raise DeviceLostError(f"{self.label}: {self.lost}") from error

    def bury(self, reason: str) -> None:
        """Every later call raises DeviceLostError."""
        self.lock = threading.RLock()
        self.lost = reason

    # -- memory ------------------------------------------------------------------------------------
    def allocate(self, nbytes: int) -> Memory:
        """Memory from the pool, or new; MemoryError when the device has none."""
        size = max(256, 1 << (nbytes - 1).bit_length()) if nbytes < 1 << 20 else -(-nbytes // (1 << 20)) << 20
        size = min(size, self.largest // 16 * 16)
        if nbytes > size:
            raise MemoryError(f"{self.label}: an array can have {self.largest} bytes, {nbytes} are asked for")
        if self.lost is None:
            try:
                return Memory(self, size, self.shelves[size].pop())  # as one step: no lock
            except LookupError:
                pass
        with self.guarded():
            self.shelves.setdefault(size, [])
            try:
                return Memory(self, size, self._create(size))
            except MemoryError:
                self.empty_cache()
                return Memory(self, size, self._create(size))

    def _create(self, size: int) -> wgpu.GPUBuffer:
        usage = wgpu.BufferUsage.STORAGE | wgpu.BufferUsage.COPY_SRC | wgpu.BufferUsage.COPY_DST
        made = self.device.create_buffer(size=size, usage=usage)
        self._owned[id(made)] = made
        return made

    def empty_cache(self) -> None:
        """Give the buffers of the pool back to the driver."""
        with self.guarded():
            self.synchronize()
            self._groups.clear()
            for shelf in self.shelves.values():
                while shelf:
                    buffer = shelf.pop()
                    del self._owned[id(buffer)]
                    buffer.destroy()

    # -- commands ----------------------------------------------------------------------------------
    def launch(
        self, key: Hashable, access: str, text: Callable[[], str], buffers: Sequence[wgpu.GPUBuffer], params: bytes,
        groups: int,
    ) -> None:  # fmt: skip
        """Dispatch a kernel: ``key`` names its ``text``, ``access`` says "w" or "r" for each of ``buffers``."""
        with self.lock:
            if self.lost is not None:
                raise DeviceLostError(f"{self.label}: {self.lost}")
            try:
                self._dispatch(key, access, text, buffers, params, groups)
            except wgpu.GPUError as error:
                self._failed(error)
                raise

    def _dispatch(
        self, key: Hashable, access: str, text: Callable[[], str], buffers: Sequence[wgpu.GPUBuffer], params: bytes,
        groups: int,
    ) -> None:  # fmt: skip
        pipeline = self._pipelines.get(key)
        if pipeline is None:
            pipeline = self._pipelines[key] = self._compile(access, text())
        where = (access, *map(id, buffers))
        group = self._groups.get(where)
        if group is None:
            group = self._bind(access, buffers)
            self._groups.remember(where, group)
        if self._pass is None:
            self._encoder = self.device.create_command_encoder()
            self._pass, self._last = self._encoder.begin_compute_pass(), None
        current = self._pass
        if pipeline is not self._last:
            current.set_pipeline(pipeline)
            self._last = pipeline
        current.set_bind_group(0, group)
        if self.immediates:
            if params:
                current.set_immediates(0, params, 0, len(params))
        else:
            start = self.waiting * _SLOT
            self._slots[start : start + len(params)] = params
            current.set_bind_group(1, self._ring_group, [start])
        current.dispatch_workgroups(min(groups, 65535), -(-groups // 65535), 1)
        self.waiting += 1
        if self.waiting >= BATCH:
            self.flush()

    def flush(self, copies: Sequence[tuple[wgpu.GPUBuffer, int, wgpu.GPUBuffer, int, int]] = ()) -> None:
        """Submit what waits, and after it copies (source, start, target, start, bytes)."""
        if self._pass is None and not copies:
            return
        if self._pass is not None:
            self._pass.end()
        elif copies:
            self._encoder = self.device.create_command_encoder()
        for source, start, target, place, nbytes in copies:
            self._encoder.copy_buffer_to_buffer(source, start, target, place, nbytes)
        if not self.immediates and self.waiting:
            self.queue.write_buffer(self._ring, 0, self._slots, 0, self.waiting * _SLOT)
        self.queue.submit([self._encoder.finish()])
        self._encoder, self._pass, self.waiting = None, None, 0

    def read(self, buffer: wgpu.GPUBuffer, start: int, nbytes: int) -> memoryview:
        """A copy of some bytes, once all that was launched is done."""
        with self.guarded():
            low, high = start // 4 * 4, -(-(start + nbytes) // 4) * 4
            size = max(256, 1 << (high - low - 1).bit_length())
            staging = self._staging.get(size)
            if staging is None:
                usage = wgpu.BufferUsage.MAP_READ | wgpu.BufferUsage.COPY_DST
                staging = self.device.create_buffer(size=size, usage=usage)
                if size <= 1 << 16:
                    self._staging[size] = staging
            self.flush([(buffer, low, staging, 0, high - low)])
            staging.map_sync(wgpu.MapMode.READ, 0, high - low)
            data = memoryview(staging.read_mapped(0, high - low)).cast("B")
            staging.unmap()
            if size > 1 << 16:
                staging.destroy()
            return data[start - low : start - low + nbytes]

    def write(self, buffer: wgpu.GPUBuffer, start: int, data: memoryview) -> None:
        """Put bytes into a buffer, behind all that was launched."""
        with self.guarded():
            end = start + len(data)
            low, high = start // 4 * 4, -(-end // 4) * 4
            if (low, high) != (start, end):
                old = bytearray(self.read(buffer, low, high - low))
                old[start - low : end - low] = data
                data = memoryview(old)
            self.flush()
            self.queue.write_buffer(buffer, low, data)

    def synchronize(self) -> None:
        """Wait until all is done."""
        with self.guarded():
            self.flush()
            self.device._poll_wait()  # the public way, on_submitted_work_done_sync, fails in wgpu 0.32

    # -- late errors -------------------------------------------------------------------------------
    def may_fail(self) -> None:
        """A kernel was launched that may find an index out of range."""
        self._flagged = True

    def failure(self) -> tuple[int, ...] | None:
        """The numbers that a kernel left with the flag: which op, axis, size and index; None if all went well."""
        with self.guarded():
            if not self._flagged:
                return None
            self._flagged = False
            found = self.read(self.flag, 0, _FLAG).cast("i")
            if not found[0]:
                return None
            self.queue.write_buffer(self.flag, 0, bytes(_FLAG))
            return tuple(found)

    # -- what is made once -------------------------------------------------------------------------
    def _layout(self, access: str) -> tuple[Any, Any]:
        """The layouts of the bind group and of the pipeline, for these kinds of buffers."""
        found = self._layouts.get(access)
        if found is None:
            kinds = {"w": "storage", "r": "read-only-storage"}
            entries = [
                {"binding": i, "visibility": wgpu.ShaderStage.COMPUTE, "buffer": {"type": kinds[c]}}
                for i, c in enumerate(access)
            ]
            group = self.device.create_bind_group_layout(entries=entries)
            if self.immediates:
                whole = self.device.create_pipeline_layout(bind_group_layouts=[group], immediate_size=ROOM)
            else:
                whole = self.device.create_pipeline_layout(bind_group_layouts=[group, self._ring_layout])
            found = self._layouts[access] = group, whole
        return found

    def _bind(self, access: str, buffers: Sequence[wgpu.GPUBuffer]) -> wgpu.GPUBindGroup:
        entries = [
            {"binding": i, "resource": {"buffer": b, "offset": 0, "size": b.size}} for i, b in enumerate(buffers)
        ]
        return self.device.create_bind_group(layout=self._layout(access)[0], entries=entries)

    def _bind_ring(self) -> wgpu.GPUBindGroup:
        buffer = {"type": "uniform", "has_dynamic_offset": True}
        entry = {"binding": 0, "visibility": wgpu.ShaderStage.COMPUTE, "buffer": buffer}
        self._ring_layout = self.device.create_bind_group_layout(entries=[entry])
        resource = {"buffer": self._ring, "offset": 0, "size": ROOM}
        return self.device.create_bind_group(layout=self._ring_layout, entries=[{"binding": 0, "resource": resource}])

    def _compile(self, access: str, text: str) -> wgpu.GPUComputePipeline:
        where = "var<immediate>" if self.immediates else "@group(1) @binding(0) var<uniform>"
        module = self.device.create_shader_module(code=text.replace("var<params>", where))
        compute = {"module": module, "entry_point": "main"}
        return self.device.create_compute_pipeline(layout=self._layout(access)[1], compute=compute)


_COUNT: Final = """@group(0) @binding(0) var<storage, read_write> q: array<u32>;
@compute @workgroup_size(64) fn main(@builtin(local_invocation_index) lid: u32, @builtin(subgroup_size) size: u32,
    @builtin(subgroup_invocation_id) lane: u32) {
  q[0] = size;
  if (lane != lid % size) { q[1] = 1u; }
}"""
