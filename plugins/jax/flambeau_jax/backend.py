"""The device ``jax``: cells of immutable arrays, and for each op a compiled function of whole arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from typing import Any

import jax
import numpy as np

from flambeau.backends.base import (
    DeviceLostError,
    DeviceProperties,
    HostArray,
    Kernel,
    KernelTable,
    Layout,
    LinAlgError,
)  # fmt: skip
from flambeau.backends.generic import generic_table
from flambeau.backends.layout import LayoutError
from flambeau.backends.strided import StridedArray, StridedBackend
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType, host_scalar
from flambeau.core.expr import Expr, applies
from flambeau_jax import kernels
from flambeau_jax.cells import (
    Cell,
    Form,
    Value,
    convert,
    filled,
    is_whole,
    plan_of,
    read_any,
    read_box,
    recast,
    shaped,
    write_any,
    write_box,
)  # fmt: skip
from flambeau_jax.elementwise import body_of

#: int64 is what PyTorch indexes with, and float64 a dtype like any other: JAX has both in this mode alone.
jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]

Pure = Callable[..., Any]
_EVERY = frozenset(dt.ALL)
_LATE = 512  # checks of indices that may wait


@lru_cache(8192)
def compiled(fn: Pure, static: tuple[tuple[str, Any], ...]) -> Pure:
    """``fn`` with its params fixed, compiled by JAX for each set of shapes and dtypes that come."""
    return jax.jit(partial(fn, **dict(static)))


class JaxBackend(StridedBackend):
    """Tensors on JAX's default platform, op by op."""

    device_type = "jax"
    api_version = 1
    capabilities = frozenset({"has_fp64", "has_fp16", "distinct_memory"})

    def __init__(self) -> None:
        super().__init__()
        self.lost = False
        self._checks: list[tuple[Value, str, int, int]] = []
        self._failed: list[Exception] = []
        self.kernels = KernelTable(f"flambeau-{self.device_type}", generic_table(self))
        kernels.bind(self)

    # -- what is there -----------------------------------------------------------------------------
    def unavailable_reason(self) -> str | None:
        if not jax.config.jax_enable_x64:  # type: ignore[attr-defined]
            return "JAX's 64-bit mode was turned off; leave jax_enable_x64 on, int64 and float64 need it"
        try:
            jax.devices()
        except RuntimeError as error:
            return f"JAX has no device: {error}"
        return None

    def device_count(self) -> int:
        return 0 if self.unavailable_reason() else len(jax.local_devices())

    def properties(self, index: int = 0) -> DeviceProperties:
        device = jax.local_devices()[index]
        return DeviceProperties(f"{device.device_kind} by JAX {jax.__version__}", 0, {"platform": device.platform})

    def supports(self, dtype: DType, index: int = 0) -> bool:
        return dtype in _EVERY

    # -- values: what the lazy device does otherwise -------------------------------------------------
    def do(self, fn: Pure, *values: Value, **static: Any) -> Any:
        """The result of a function of arrays; ``static`` is what it is compiled for."""
        if self.lost:
            raise self._gone()
        return compiled(fn, tuple(static.items()))(*values)

    def force(self, value: Value) -> jax.Array:
        """The array that a value is."""
        array: jax.Array = value
        return array

    def put(self, host: HostArray, index: int) -> Value:
        """A host array, which nobody will write to, as a value on a device."""
        if self.lost:
            raise self._gone()
        return jax.device_put(host, jax.local_devices()[index])

    def operand(self, value: Any, dtype: Any, index: int) -> Value:
        """A number as an operand of :meth:`do`: the first device is where JAX puts it by itself, and quicker."""
        host = np.asarray(value, dtype)
        return host if index == 0 else self.put(host, index)

    # -- arrays ------------------------------------------------------------------------------------
    def load(self, x: StridedArray) -> Value:
        """The value of an array, in its shape and dtype."""
        cell: Cell = x.buffer.memory
        value, dtype = cell.value, x.dtype.numpy
        if value is None:
            value = self.do(filled, self.operand(0, dtype, x.index), shape=(-(-cell.nbytes // dtype.itemsize),))
        elif value.dtype != dtype:
            value = self.do(recast, value, dtype=dtype)
        place = Layout(x.shape, x.strides, x.offset)
        if is_whole(place, value.size):
            return value if value.shape == x.shape else self.do(shaped, value, shape=x.shape)
        if not x.size:
            return self.do(filled, self.operand(0, dtype, x.index), shape=x.shape)
        flat = value if len(value.shape) == 1 else self.do(shaped, value, shape=(value.size,))
        plan = plan_of(place, value.size)
        if plan is None:
            return self.do(read_any, flat, np.int64(x.offset), shape=x.shape, strides=x.strides)
        starts = [np.int64(n) for n in plan.starts]
        return self.do(read_box, flat, *starts, form=Form(x.shape, plan._replace(starts=())))

    def store(self, x: StridedArray, value: Value) -> None:
        """Let an array have a value of its shape and dtype."""
        if not x.size:
            return
        cell: Cell = x.buffer.memory
        place, size = Layout(x.shape, x.strides, x.offset), x.dtype.itemsize
        if x.size * size == cell.nbytes and is_whole(place, x.size):
            cell.value = value
            return
        with self._writing:  # read, changed and put back: two threads at two ends of a memory must not meet
            whole = x.viewed((-(-cell.nbytes // size),), (1,), 0)
            flat, plan = self.load(whole), plan_of(place, whole.size)
            if plan is None:
                cell.value = self.do(write_any, flat, value, np.int64(x.offset), strides=x.strides)
            else:
                starts = [np.int64(n) for n in plan.starts]
                cell.value = self.do(write_box, flat, value, *starts, form=Form(x.shape, plan._replace(starts=())))

    def new(self, value: Value, index: int) -> StridedArray:
        """A new array with a value."""
        made = self.empty(tuple(value.shape), dt.from_numpy(value.dtype), index)
        made.buffer.memory.value = value
        return made

    # -- kernels -----------------------------------------------------------------------------------
    def function(self, name: str, fn: Pure, dtypes: Iterable[DType] | None = None) -> None:
        """Register a pure function of whole arrays, ``fn(*values, **params)``, as the kernel of an op."""

        def kernel(*ins: StridedArray | None, **params: Any) -> Any:
            values = [None if x is None else self.load(x) for x in ins]
            index = next(x.index for x in ins if x is not None)
            result = self.do(fn, *values, **params)
            return tuple([self.new(r, index) for r in result]) if isinstance(result, tuple) else self.new(result, index)

        self.kernels.register(name, kernel, dtypes)

    def decomposition(self, name: str, fn: Pure, dtypes: Iterable[DType], why: str) -> None:
        """Register ``fn(*values, **params)`` that has results, and at the end for each matrix whether there are none.

        LinAlgError says ``why``, with the first matrix that failed: the host waits for that.
        """

        def kernel(*ins: StridedArray, **params: Any) -> Any:
            *found, failed = self.do(fn, *map(self.load, ins), **params)
            bad = np.flatnonzero(self._host(failed))
            if len(bad):
                which = "the matrix" if ins[0].ndim == 2 else f"matrix {bad[0]} of the batch"
                raise LinAlgError(f"{name}: {which} of shape {ins[0].shape} {why}")
            results = tuple([self.new(r, ins[0].index) for r in found])
            return results if len(results) > 1 else results[0]

        self.kernels.register(name, kernel, dtypes)

    def elementwise(self, name: str, expr: Expr, dtypes: tuple[DType, ...], out: DType) -> Kernel | None:
        """A kernel from the expression, over JAX's functions: compiled for the shapes that come."""
        if not applies(expr, dtypes, out):
            return None
        fn = body_of(name, expr, dtypes, out)

        def kernel(*ins: StridedArray, out: StridedArray | None = None) -> StridedArray:
            value = self.do(fn, *map(self.load, ins))
            if out is None:
                return self.new(value, ins[0].index)
            if out.shape != value.shape:
                raise LayoutError(f"{name}: out has shape {out.shape}, the result {tuple(value.shape)}")
            self.store(out, value if value.dtype == out.dtype.numpy else self.do(convert, value, dtype=out.dtype.numpy))
            return out

        return kernel

    # -- storage -----------------------------------------------------------------------------------
    def allocate(self, nbytes: int, index: int) -> Cell:
        if self.lost:
            raise self._gone()
        return Cell(nbytes, index)

    def read(self, memory: Cell, start: int, nbytes: int) -> HostArray:
        host = self._host(self.load(self._bytes(memory)))
        return host[start : start + nbytes]

    def write(self, memory: Cell, start: int, data: memoryview) -> None:
        host = np.frombuffer(data, np.uint8).copy()
        target = self._bytes(memory)
        self.store(target.viewed((len(host),), (1,), start), self.put(host, memory.index))

    def _bytes(self, memory: Cell) -> StridedArray:
        return StridedArray(_Holder(memory), 0, (memory.nbytes,), (1,), dt.uint8, memory.index)

    def from_host(self, host: HostArray, dtype: DType, index: int = 0) -> StridedArray:
        return self.new(self.put(np.array(host, dtype.numpy, copy=True, order="C"), index), index)

    def constant(self, value: bool | int | float | complex, dtype: DType, index: int = 0) -> StridedArray:
        return self.new(self.put(host_scalar(value, dtype), index), index)

    def to_host(self, array: StridedArray) -> HostArray:
        return self._host(self.load(array))

    def _host(self, value: Value) -> HostArray:
        if self.lost:
            raise self._gone()
        return np.array(self.force(value))

    def copy_into(self, dst: StridedArray, src: StridedArray) -> None:
        if not dst.size:
            return
        value = self.load(src)
        if value.dtype != dst.dtype.numpy:
            value = self.do(convert, value, dtype=dst.dtype.numpy)
        self.store(dst, value if value.shape == dst.shape else self.do(filled, value, shape=dst.shape))

    def move(self, array: StridedArray, index: int) -> StridedArray | None:
        value = self.force(self.load(array))
        return self.new(jax.device_put(value, jax.local_devices()[index]), index)

    # -- time --------------------------------------------------------------------------------------
    def synchronize(self, index: int = 0) -> None:
        if not self.lost:
            for a in jax.live_arrays():  # type: ignore[no-untyped-call]
                a.block_until_ready()

    def check_later(self, name: str, extent: Value, axis: int, size: int) -> None:
        """Raise, when the host next reads, unless the smallest and largest of some indices are in [0, ``size``)."""
        self._checks.append((extent, name, axis, size))
        if len(self._checks) > _LATE:
            self._look()

    def _look(self) -> None:
        checks, self._checks = self._checks, []
        for extent, name, axis, size in checks:
            low, high = np.asarray(self.force(extent)).tolist()
            if low < 0 or high >= size:
                bad = low if low < 0 else high
                text = f"{name}: index {bad} is out of bounds for dimension {axis} with size {size}"
                self._failed.append(IndexError(text))

    def check(self, index: int = 0) -> None:
        if self.lost:
            raise self._gone()
        if self._checks:
            self._look()
        if self._failed:
            first, self._failed = self._failed[0], []
            raise first

    def _gone(self) -> DeviceLostError:
        return DeviceLostError(f"{self.device_type}: JAX's devices belong to the process before the fork")

    def after_fork(self) -> None:
        self.lost = True


class _Holder:
    """A cell as a buffer that has ``memory``."""

    __slots__ = ("memory",)

    def __init__(self, memory: Cell):
        self.memory = memory
