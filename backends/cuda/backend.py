"""The CUDA backend's class: storage calls over CuPy, streams, memory, and the table of kernels.

CuPy is imported when somebody asks for a CUDA device, never before. Its allocations come from CuPy's
pool; a device guard around each kernel makes several devices work in one process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, ClassVar

import numpy as np

from flambeau.backends import layout as lay
from flambeau.backends.base import (
    Backend,
    DeviceLostError,
    DeviceProperties,
    Kernel,
    KernelTable,
    Layout,
    MemoryStats,
    OutOfMemoryError,
    Registered,
    Shape,
)
from flambeau.backends.cuda.elementwise import Generated
from flambeau.backends.generic import generic_table
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from flambeau.core.expr import Expr, ExprError

Array = Any  # cupy.ndarray
HostArray = np.ndarray[Any, Any]

_INSTALL = 'install CuPy: pip install "flambeau[cuda12]" or "flambeau[cuda13]", by the CUDA version of the driver'


class GuardedTable(KernelTable):
    """A table whose kernels run on the device of their first array, and retry once when memory runs out."""

    def __init__(self, source: str, parent: KernelTable, backend: CudaBackend):
        super().__init__(source, parent)
        self._backend = backend
        self._filled = False

    def own(self, name: str, dtype: DType) -> Registered | None:
        if not self._filled:
            self._fill()
        return super().own(name, dtype)

    def names(self) -> Iterator[str]:
        if not self._filled:
            self._fill()
        yield from super().names()

    def _fill(self) -> None:
        """Enter the shared bodies over CuPy: at the first look, since that imports it."""
        from flambeau.backends.xp import elementwise, index, linalg, nn, optim, random, reduce, scan, shape, sort

        self._filled = True
        for module in (elementwise, reduce, scan, sort, linalg, shape, index, nn, optim, random):
            module.bind(self, self._backend.xp)

    def register(self, name: str, fn: Kernel, dtypes: Any = None) -> Kernel:
        super().register(name, guarded(self._backend, fn), dtypes)
        return fn


def guarded(backend: CudaBackend, fn: Kernel) -> Kernel:
    """``fn`` on the device of its first array; out of memory frees the pool's blocks and tries once more."""

    @wraps(fn)
    def kernel(*args: Any, **params: Any) -> Any:
        first: Array = next((a for a in args if isinstance(a, backend.array)), None)
        index = params.get("index", 0) if first is None else first.device.id
        with backend.on(index):
            return backend.allocating(lambda: fn(*args, **params), index)

    return kernel


class CudaBackend(Backend):
    """NVIDIA GPUs through CuPy."""

    device_type: ClassVar[str] = "cuda"
    capabilities = frozenset({"has_fp64", "has_fp16", "has_streams", "can_pin", "distinct_memory", "linalg", "fft"})

    def __init__(self) -> None:
        self._xp: Any = None
        self._dead = False
        self.kernels = GuardedTable("cuda", generic_table(self), self)

    # -- CuPy, at first need -------------------------------------------------------------------
    @property
    def xp(self) -> Any:
        """The cupy module."""
        if self._dead:
            raise DeviceLostError(
                "cuda: this process was forked after CUDA was used; start workers with spawn or forkserver"
            )
        if self._xp is None:
            import cupy

            self._xp = cupy
        return self._xp

    @property
    def array(self) -> type:  # type: ignore[override]
        found: type = self.xp.ndarray
        return found

    def unavailable_reason(self) -> str | None:
        if self._dead:
            return "this process was forked after CUDA was used; start workers with spawn or forkserver"
        try:
            cupy = self.xp
        except ImportError as error:
            return f"CuPy cannot be imported ({error}); {_INSTALL}"
        try:
            if cupy.is_available():
                return None
            return "CuPy finds no CUDA device; check the driver with nvidia-smi, and CUDA_VISIBLE_DEVICES"
        except Exception as error:
            return f"CUDA does not start: {error}"

    def device_count(self) -> int:
        return int(self.xp.cuda.runtime.getDeviceCount()) if self.is_available() else 0

    def properties(self, index: int = 0) -> DeviceProperties:
        facts = self.xp.cuda.runtime.getDeviceProperties(index)
        details = {
            "compute_capability": f"{facts['major']}.{facts['minor']}",
            "multiprocessors": facts["multiProcessorCount"],
            "cupy": self.xp.__version__,
        }
        return DeviceProperties(facts["name"].decode(), int(facts["totalGlobalMem"]), details)

    def on(self, index: int) -> Any:
        """A context in which device ``index`` is current."""
        return self.xp.cuda.Device(index)

    # -- memory --------------------------------------------------------------------------------
    def allocating(self, make: Callable[[], Any], index: int) -> Any:
        """Call ``make``; when memory runs out, give the pool's free blocks back and try once more."""
        try:
            return make()
        except MemoryError:
            self.empty_cache()
        try:
            return make()
        except MemoryError as error:
            stats = self.memory_stats(index)
            raise OutOfMemoryError(
                f"cuda:{index}: out of memory: {stats.allocated} bytes in use, {stats.reserved} in the pool, limit "
                f"{stats.limit}; free tensors, use smaller batches, or raise the memory limit"
            ) from error

    def _pool(self) -> Any:
        return self.xp.get_default_memory_pool()

    def memory_stats(self, index: int = 0) -> MemoryStats:
        with self.on(index):
            pool = self._pool()
            used, limit = int(pool.used_bytes()), int(pool.get_limit()) or None
            return MemoryStats(used, used, int(pool.total_bytes()), limit, int(pool.n_free_blocks()) + 1)

    def set_memory_limit(self, limit: int | None, index: int = 0) -> None:
        with self.on(index):
            self._pool().set_limit(size=limit or 0)

    def empty_cache(self) -> None:
        self._pool().free_all_blocks()

    def pinned(self, shape: Shape, dtype: DType) -> HostArray:
        """A host array in page-locked memory, from which copies to the device can be asynchronous."""
        count = int(np.prod(shape, dtype=np.int64))
        memory = self.xp.cuda.alloc_pinned_memory(max(count * dtype.itemsize, 1))
        return np.frombuffer(memory, dtype.numpy, count).reshape(shape)

    # -- storage -------------------------------------------------------------------------------
    def empty(self, shape: Shape, dtype: DType, index: int = 0) -> Array:
        with self.on(index):
            return self.allocating(lambda: self.xp.empty(shape, dtype.numpy), index)

    def from_host(self, host: HostArray, dtype: DType, index: int = 0) -> Array:
        with self.on(index):
            return self.allocating(lambda: self.xp.array(np.ascontiguousarray(host, dtype.numpy), copy=True), index)

    def to_host(self, array: Array) -> HostArray:
        with self.on(array.device.id):
            host: HostArray = self.xp.asnumpy(array)
            return host

    def copy_into(self, dst: Array, src: Array) -> None:
        with self.on(dst.device.id):
            if src.dtype.kind == "c" and dst.dtype.kind not in "cb":
                src = src.real
            if overlaps(dst, src):
                src = src.copy()
            self.xp.copyto(dst, src, casting="unsafe")

    def as_strided(
        self, array: Array, shape: Shape, strides: tuple[int, ...], offset: int, dtype: DType | None = None
    ) -> Array:
        kind = array.dtype if dtype is None else dtype.numpy
        pointer = self.xp.cuda.MemoryPointer(array.data.mem, offset * kind.itemsize)
        return self.xp.ndarray(shape, kind, pointer, tuple(s * kind.itemsize for s in strides))

    # -- what an array is ----------------------------------------------------------------------
    def layout(self, array: Array) -> Layout:
        size = array.dtype.itemsize
        offset = (array.data.ptr - array.data.mem.ptr) // size
        return Layout(array.shape, tuple(s // size for s in array.strides), offset)

    def dtype_of(self, array: Array) -> DType:
        return dt.from_numpy(array.dtype)

    def index_of(self, array: Array) -> int:
        return int(array.device.id)

    def storage_id(self, array: Array) -> int:
        return int(array.data.mem.ptr)

    def storage_nbytes(self, array: Array) -> int:
        return int(array.data.mem.size)

    # -- kernels -------------------------------------------------------------------------------
    def elementwise(self, name: str, expr: Any, dtypes: tuple[DType, ...], out: DType) -> Kernel | None:
        """A generated kernel, compiled by NVRTC at its first call."""
        assert isinstance(expr, Expr)
        try:
            return guarded(self, Generated(self, name, expr, dtypes, out))
        except (ExprError, KeyError):
            return None  # the expression has no meaning for these dtypes

    # -- time ----------------------------------------------------------------------------------
    def stream(self, index: int = 0) -> Any:
        """A new stream of device ``index``, a context manager inside which kernels are enqueued on it."""
        with self.on(index):
            return self.xp.cuda.Stream(non_blocking=True)

    def event(self, index: int = 0) -> Any:
        """A new event: ``record()`` it on a stream, let another ``wait_event`` for it."""
        with self.on(index):
            return self.xp.cuda.Event()

    def synchronize(self, index: int = 0) -> None:
        self.xp.cuda.Device(index).synchronize()

    def after_fork(self) -> None:
        self._dead = self._xp is not None


def overlaps(dst: Array, src: Array) -> bool:
    """Whether two different views of one allocation may touch a common byte."""
    if dst.data.mem is not src.data.mem or (dst.data.ptr == src.data.ptr and dst.strides == src.strides):
        return False
    return lay.may_share(_bytes(dst), _bytes(src))


def _bytes(x: Array) -> lay.Triple:
    return (*x.shape, x.dtype.itemsize), (*x.strides, 1), x.data.ptr - x.data.mem.ptr
