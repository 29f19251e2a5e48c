"""Arrays for backends that have no array class of their own, and a base class that needs only flat memory.

:class:`StridedArray` is (buffer, offset, shape, strides, dtype, device number); a backend may use it with
launching of its own. :class:`StridedBackend` needs from its author ``allocate``, ``read`` and ``write`` of
flat memory, and kernels ``fn(out, *ins, **params)``: :mod:`flambeau.backends.adapter` does the rest.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

import numpy as np

from flambeau.backends import layout as lay
from flambeau.backends.base import Backend, HostArray, Layout, MemoryStats, OutOfMemoryError, Shape
from flambeau.core import config
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType, host_scalar
from flambeau.core.locks import fork_safe


class StridedArray:
    """A view of a buffer: ``offset`` and ``strides`` count elements of ``dtype``; ``index`` is the device's number.

    The buffer is whatever the backend allocates; two arrays share storage when their buffers are one object.
    """

    __slots__ = ("buffer", "dtype", "index", "offset", "shape", "strides")

    __array_ufunc__ = None

    def __init__(self, buffer: Any, offset: int, shape: Shape, strides: tuple[int, ...], dtype: DType, index: int = 0):
        # Any: memory is whatever the backend allocates
        self.buffer = buffer
        self.offset = offset
        self.shape = shape
        self.strides = strides
        self.dtype = dtype
        self.index = index

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def layout(self) -> lay.Triple:
        """The first three arguments of the functions in :mod:`flambeau.backends.layout`."""
        return self.shape, self.strides, self.offset

    @property
    def is_contiguous(self) -> bool:
        return lay.is_contiguous(self.shape, self.strides)

    def viewed(self, shape: Shape, strides: tuple[int, ...], offset: int, dtype: DType | None = None) -> StridedArray:
        """Another view of the same buffer, not checked against its bounds."""
        return StridedArray(self.buffer, offset, shape, strides, dtype or self.dtype, self.index)

    def expanded(self, shape: Shape) -> StridedArray:
        """Broadcast to ``shape`` without a copy."""
        return self if self.shape == shape else self.viewed(*lay.expand(*self.layout, shape))

    def reshaped(self, shape: Shape) -> StridedArray:
        """Another shape over elements that are contiguous."""
        return self.viewed(shape, lay.contiguous_strides(shape), self.offset)

    def permuted(self, axes: Sequence[int]) -> StridedArray:
        """The axes in another order."""
        return self.viewed(*lay.permute(*self.layout, axes))

    def turned(self, axes: Iterable[int]) -> StridedArray:
        """``axes`` last, in their order; a 0-d array counts as one row of one element."""
        if not self.shape:
            return self.reshaped((1,))
        last = tuple(axes)
        return self.permuted([*(a for a in range(self.ndim) if a not in last), *last])

    def turned_back(self, axis: int, ndim: int) -> StridedArray:
        """The last axis in its place again, of an array that had ``ndim`` axes."""
        if not ndim:
            return self.reshaped(())
        order = list(range(ndim - 1))
        order.insert(axis % ndim, ndim - 1)
        return self.permuted(order)

    def __array__(self, *args: Any, **kwargs: Any) -> HostArray:
        raise TypeError("a device array is not readable as a numpy array; copy it with the backend's to_host")

    def __repr__(self) -> str:
        return (
            f"StridedArray(shape={self.shape}, strides={self.strides}, offset={self.offset}, "
            f"dtype={self.dtype.name}, device={self.index})"
        )


def partly_overlaps(out: StridedArray, x: StridedArray) -> bool:
    """Whether a kernel that writes ``out`` in any order could destroy elements of ``x`` before it reads them.

    False when each element of ``x`` stands exactly where its counterpart in ``out`` does.
    """
    if out.buffer is not x.buffer:
        return False
    a, b = _comparable(out, x)
    return lay.may_share(a, b) if out.shape != x.shape or a[0] != b[0] else lay.partially_overlaps(a, b)


def _comparable(a: StridedArray, b: StridedArray) -> tuple[lay.Triple, lay.Triple]:
    """Two layouts in one unit: elements, or bytes where the element sizes differ."""
    if a.dtype.itemsize == b.dtype.itemsize:
        return a.layout, b.layout
    return _in_bytes(a), _in_bytes(b)


def _in_bytes(x: StridedArray) -> lay.Triple:
    size = x.dtype.itemsize
    return (*x.shape, size), (*(s * size for s in x.strides), 1), x.offset * size


class Ledger:
    """One device's account of allocated bytes, with a limit. Safe to use from threads and destructors."""

    def __init__(self, device: str, limit: int | None = None):
        self.device = device
        self._stats = MemoryStats(limit=limit)
        self._lock = fork_safe(threading.RLock())  # re-entrant: a collection inside it may free a block

    def take(self, nbytes: int) -> None:
        """Count an allocation; OutOfMemoryError, and nothing counted, when it would pass the limit."""
        with self._lock:
            stats = self._stats
            if stats.limit is not None and stats.allocated + nbytes > stats.limit:
                raise OutOfMemoryError(
                    f"{self.device}: out of memory: {nbytes} bytes asked for, {stats.allocated} of {stats.limit} "
                    "are in use; free tensors, use smaller batches, or raise the memory limit"
                )
            stats.allocated += nbytes
            stats.reserved = max(stats.reserved, stats.allocated)
            stats.peak = max(stats.peak, stats.allocated)
            stats.allocations += 1

    def give(self, nbytes: int) -> None:
        """Count a release."""
        with self._lock:
            self._stats.allocated -= nbytes
            self._stats.reserved = self._stats.allocated

    def set_limit(self, limit: int | None) -> None:
        if limit is not None and limit < 0:
            raise ValueError(f"{self.device}: the memory limit must not be negative, got {limit}")
        with self._lock:
            self._stats.limit = limit

    def reset_peak(self) -> None:
        """Count the peak anew, from what is allocated now."""
        with self._lock:
            self._stats.peak = self._stats.allocated

    def stats(self) -> MemoryStats:
        """A copy of the account."""
        with self._lock:
            return MemoryStats(**vars(self._stats))


class Block:
    """Allocated memory of a :class:`StridedBackend`: the author's ``memory`` object, counted while it lives."""

    __slots__ = ("_ledger", "memory", "nbytes")

    def __init__(self, memory: Any, nbytes: int, ledger: Ledger):  # Any: what allocate gave
        self.memory, self.nbytes, self._ledger = memory, nbytes, ledger

    def __del__(self) -> None:
        self._ledger.give(self.nbytes)


class StridedBackend(Backend):
    """A backend over flat memory. Its author gives ``device_type``, ``kernels`` and the three calls below.

    Everything else comes from here: views, copies with strides, casts and broadcasting (through the host,
    unless it overrides :meth:`copy`), memory statistics and limits. Its ``kernels`` are a
    :class:`flambeau.backends.adapter.StridedTable`.
    """

    array = StridedArray

    def __init__(self) -> None:
        self._ledgers: dict[int, Ledger] = {}
        self._held: dict[tuple[DType, int], DType] = {}
        self._writing = fork_safe(threading.RLock())

    # -- what the author writes --------------------------------------------------------------------
    def allocate(self, nbytes: int, index: int) -> Any:  # Any: memory is whatever the backend has
        """``nbytes`` (at least 1) of memory on device ``index``; MemoryError or OutOfMemoryError when there is none."""
        raise NotImplementedError(f"{self.device_type}: allocate")

    def read(self, memory: Any, start: int, nbytes: int) -> Any:  # Any: memory, and what has the buffer protocol
        """A copy of ``nbytes`` from byte ``start`` on: bytes, or anything with the buffer protocol."""
        raise NotImplementedError(f"{self.device_type}: read")

    def write(self, memory: Any, start: int, data: memoryview) -> None:  # Any: what allocate gave
        """Put the bytes of ``data`` from byte ``start`` on."""
        raise NotImplementedError(f"{self.device_type}: write")

    # -- memory ------------------------------------------------------------------------------------
    def ledger(self, index: int) -> Ledger:
        """The account of one device."""
        found = self._ledgers.get(index)
        if found is None:
            found = self._ledgers.setdefault(index, Ledger(f"{self.device_type}:{index}", self.first_limit()))
        return found

    def first_limit(self) -> int | None:
        """The memory limit of a device for which nobody has set one: the user's setting."""
        limit: int | None = config.get("memory_limit")
        return limit

    def memory_stats(self, index: int = 0) -> MemoryStats:
        return self.ledger(index).stats()

    def set_memory_limit(self, limit: int | None, index: int = 0) -> None:
        self.ledger(index).set_limit(limit)

    def reset_peak(self, index: int = 0) -> None:
        self.ledger(index).reset_peak()

    def empty(self, shape: Shape, dtype: DType, index: int = 0) -> StridedArray:
        nbytes = prod(shape) * dtype.itemsize
        return StridedArray(self._block(nbytes, index), 0, shape, lay.contiguous_strides(shape), dtype, index)

    def result(self, shape: Shape, dtype: DType, index: int) -> StridedArray:
        """A new array for a result of ``dtype``, in the dtype that holds it on the device."""
        held = self._held.get((dtype, index))
        if held is None:
            held = self._held[dtype, index] = self.stored(dtype, index) or dtype
        return self.empty(shape, held, index)

    def _block(self, nbytes: int, index: int) -> Block:
        ledger, most = self.ledger(index), self.largest_array(index)
        if most is not None and nbytes > most:
            raise OutOfMemoryError(
                f"{ledger.device}: an array can have {most} bytes at most, {nbytes} are asked for; split it, along the "
                "batch for example"
            )
        ledger.take(nbytes)
        try:
            memory = self.allocate(max(nbytes, 1), index)
        except BaseException as error:
            ledger.give(nbytes)
            if isinstance(error, MemoryError):
                text = f"{ledger.device}: out of memory: {nbytes} bytes could not be allocated"
                raise OutOfMemoryError(text) from error
            raise
        return Block(memory, nbytes, ledger)

    # -- copies ------------------------------------------------------------------------------------
    def from_host(self, host: HostArray, dtype: DType, index: int = 0) -> StridedArray:
        array = self.empty(host.shape, dtype, index)
        if host.size:
            self.write(array.buffer.memory, 0, _bytes_of(host))
        return array

    def constant(self, value: bool | int | float | complex, dtype: DType, index: int = 0) -> StridedArray:
        return self.from_host(host_scalar(value, dtype), dtype, index)

    def to_host(self, array: StridedArray) -> HostArray:
        self.synchronize(array.index)
        self.check(array.index)
        values, low = self._span(array)
        return np.copy(_on_host(values, array, low), order="C")

    def copy_into(self, dst: StridedArray, src: StridedArray) -> None:
        source = src.expanded(dst.shape)
        if not dst.size:
            return
        if partly_overlaps(dst, source):
            detour = self.empty(source.shape, source.dtype, source.index)
            self.copy(detour, source)
            source = detour
        self.copy(dst, source)

    def copy(self, dst: StridedArray, src: StridedArray) -> None:
        """Write ``src`` to ``dst``: one shape, any strides and dtypes, no partial overlap. Here: through the host."""
        values, low = self._span(src)
        source = _on_host(values, src, low)
        if source.dtype.kind == "c" and dst.dtype.category in (dt.INTEGER, dt.FLOATING):
            source = source.real  # numpy would warn of the lost part
        if dst.is_contiguous:
            with np.errstate(all="ignore"):
                host = np.ascontiguousarray(source, dst.dtype.numpy)
            self.write(dst.buffer.memory, dst.offset * dst.dtype.itemsize, _bytes_of(host))
            return
        with self._writing:  # the elements between dst's are read and written back
            values, low = self._span(dst)
            with np.errstate(all="ignore"):
                _on_host(values, dst, low)[...] = source
            self.write(dst.buffer.memory, low * dst.dtype.itemsize, values.view(np.uint8).data)

    def _span(self, array: StridedArray) -> tuple[HostArray, int]:
        """The elements of the storage from the array's lowest to its highest, writable, and the lowest's place."""
        dtype, size = array.dtype.numpy, array.dtype.itemsize
        span = lay.reach(*array.layout)
        if span is None:
            return np.empty(0, dtype), 0
        low, high = span
        raw = bytearray(self.read(array.buffer.memory, low * size, (high - low + 1) * size))
        return np.frombuffer(raw, np.uint8).view(dtype), low

    # -- what an array is --------------------------------------------------------------------------
    def as_strided(
        self, array: StridedArray, shape: Shape, strides: tuple[int, ...], offset: int, dtype: DType | None = None
    ) -> StridedArray:
        return StridedArray(array.buffer, offset, shape, strides, dtype or array.dtype, array.index)  # the op checks

    def layout(self, array: StridedArray) -> Layout:
        return Layout(array.shape, array.strides, array.offset)

    def dtype_of(self, array: StridedArray) -> DType:
        return array.dtype

    def index_of(self, array: StridedArray) -> int:
        return array.index

    def storage_id(self, array: StridedArray) -> int:
        return id(array.buffer)

    def storage_nbytes(self, array: StridedArray) -> int:
        nbytes: int = array.buffer.nbytes
        return nbytes


def _bytes_of(host: HostArray) -> memoryview:
    """The bytes of a host array in row-major order, copied only where its strides need it."""
    return np.ascontiguousarray(host).reshape(-1).view(np.uint8).data


def _on_host(values: HostArray, array: StridedArray, low: int) -> HostArray:
    """The array's view of the storage elements that ``_span`` read, of which the first is element ``low``."""
    size = array.dtype.itemsize
    if not values.size:
        return np.empty(array.shape, values.dtype)
    return np.lib.stride_tricks.as_strided(
        values[array.offset - low :], array.shape, [s * size for s in array.strides], writeable=True
    )
