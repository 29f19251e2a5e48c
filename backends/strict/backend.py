"""The pretend accelerator: memory behind a wall, and the CPU's kernels on the other side of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, ClassVar

import numpy as np

from flambeau.backends.base import DeviceProperties, HostArray, Kernel, KernelTable, OutOfRangeError, Registered, Shape
from flambeau.backends.cpu.backend import CpuBackend
from flambeau.backends.generic import generic_table
from flambeau.backends.strict.faults import Health
from flambeau.backends.strided import StridedArray, StridedBackend
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType

DEVICES = 2

#: What the devices cannot do, and what each gap puts to the test. Everything else the CPU has a kernel for is there.
MISSING: dict[str, str] = {
    "adam_step": "a fused optimizer step: its body of other ops",
    "all": "a reduction that decomposes",
    "any": "a reduction that decomposes",
    "argmin": "argmax of what is turned round",
    "cholesky": "no decomposition: the fallback policy",
    "cumsum": "a scan without a kernel",
    "eigh": "no decomposition: the fallback policy",
    "floor_divide": "elementwise: the record's expression",
    "hypot": "elementwise: the record's expression",
    "layer_norm": "a fused kernel: its body, but the fused gradient",
    "log1p": "elementwise: the record's expression",
    "softmax": "a fused kernel: its body, but the fused gradient",
    "svd": "no decomposition: the fallback policy",
    "tanh": "elementwise: the record's expression",
    "topk": "sorting from argsort and gather",
}

#: Kernels whose answer says whether they did anything.
_LISTS = ("total_of_lists", "update_lists")
#: Views that numpy's arrays make themselves; here they would be copies.
_HOST_VIEWS = ("reshape",)

#: Kernels that get indices from a tensor: bad ones are put right for the time being, and reported late.
_INDEXED = ("gather", "scatter")


class Memory:
    """Bytes on the far side: no buffer protocol, no length, nothing to index."""

    __slots__ = ("_bytes",)

    def __init__(self, nbytes: int):
        self._bytes = np.full(nbytes, 0xFF, np.uint8)  # rubbish: nan, -1, True


class StrictBackend(StridedBackend):
    """See :mod:`flambeau.backends.strict`. There is one in a process: :func:`instance`."""

    device_type: ClassVar[str] = "strict"
    capabilities = frozenset({"has_fp16", "distinct_memory", "pretend"})

    def __init__(self) -> None:
        super().__init__()
        self.kernels = StrictTable(self)
        self._health = [Health(f"{self.device_type}:{i}") for i in range(DEVICES)]

    def device_count(self) -> int:
        return DEVICES

    def properties(self, index: int = 0) -> DeviceProperties:
        return DeviceProperties("pretend accelerator", 0, {"missing": sorted(MISSING)})

    def supports(self, dtype: DType, index: int = 0) -> bool:
        return dtype not in (dt.float64, dt.complex128)

    def stored(self, dtype: DType, index: int = 0) -> DType | None:
        return dtype if self.supports(dtype, index) else None  # float64 is refused, which another device may hold

    def health(self, index: int) -> Health:
        """What is wrong with a device."""
        return self._health[index]

    # -- storage -----------------------------------------------------------------------------------
    def empty(self, shape: Shape, dtype: DType, index: int = 0) -> StridedArray:
        if not self.supports(dtype, index):
            raise TypeError(f"strict: arrays of {dtype} do not exist on this device")
        return super().empty(shape, dtype, index)

    def allocate(self, nbytes: int, index: int) -> Memory:
        self._health[index].allocating()
        return Memory(nbytes)

    def from_host(self, host: HostArray, dtype: DType, index: int = 0) -> StridedArray:
        if not isinstance(host, np.ndarray) or host.dtype != dtype.numpy:
            raise TypeError(f"strict: from_host takes a numpy array of {dtype.name}, got {_describe(host)}")
        return super().from_host(host, dtype, index)

    def read(self, memory: Memory, start: int, nbytes: int) -> bytes:
        return memory._bytes[start : start + nbytes].tobytes()

    def write(self, memory: Memory, start: int, data: memoryview) -> None:
        memory._bytes[start : start + len(data)] = np.frombuffer(data, np.uint8)

    def copy(self, dst: StridedArray, src: StridedArray) -> None:
        self.launching("copy", (dst, src))
        values = self.inside(src)
        if src.dtype.is_complex and dst.dtype.category in (dt.INTEGER, dt.FLOATING):
            values = values.real
        with np.errstate(all="ignore"):
            self.inside(dst)[...] = values

    # -- the far side ------------------------------------------------------------------------------
    def inside(self, array: StridedArray) -> HostArray:
        """An array as the kernels on the far side see it; nobody else may."""
        memory: Memory = array.buffer.memory
        size = array.dtype.itemsize
        flat = memory._bytes[: array.buffer.nbytes // size * size].view(array.dtype.numpy)
        steps = [s * size for s in array.strides]
        return np.lib.stride_tricks.as_strided(flat[array.offset :], array.shape, steps, writeable=True)

    def launching(self, name: str, operands: Sequence[Any], index: int = 0) -> int:
        """The number of the device that holds all operands (``index`` when there is none), which must be sound.

        TypeError or ValueError when an operand is foreign.
        """
        numbers = set()
        for x in operands:
            if x.__class__ is not StridedArray or x.buffer.memory.__class__ is not Memory:
                raise TypeError(f"strict: kernel {name!r} got an operand of another backend: {_describe(x)}")
            numbers.add(x.index)
        if len(numbers) > 1:
            raise ValueError(f"strict: kernel {name!r} got operands of devices {sorted(numbers)}; move them first")
        number: int = numbers.pop() if numbers else index
        self._health[number].launching()
        return number

    # -- time --------------------------------------------------------------------------------------
    def synchronize(self, index: int = 0) -> None:
        self._health[index].check()

    def check(self, index: int = 0) -> None:
        self._health[index].check()

    def after_fork(self) -> None:
        for health in self._health:
            health.forked = True


@cache
def instance() -> StrictBackend:
    """The backend of this process."""
    return StrictBackend()


class StrictTable(KernelTable):
    """The CPU's own kernels, but for :data:`MISSING`, each made to run on the far side at first use."""

    def __init__(self, backend: StrictBackend):
        super().__init__("strict", generic_table(backend))
        self._backend = backend
        self._host = CpuBackend().kernels
        self._refused = frozenset({*MISSING, *generic_table(backend).names(), *_HOST_VIEWS, *_LISTS})
        self._made: dict[tuple[str, Kernel], Kernel] = {}

    def own(self, name: str, dtype: DType) -> Registered | None:
        found = super().own(name, dtype)
        if found is not None or name in self._refused:
            return found
        native = self._host.own(name, dtype)
        if native is None or not self._backend.supports(dtype):
            return None
        made = self._made.setdefault((name, native.fn), _on_far_side(self._backend, name, native.fn))
        return Registered(made, native.dtypes, self.source)

    def names(self) -> Iterator[str]:
        yield from (n for n in self._host.names() if n not in self._refused)
        yield from super().names()


def _on_far_side(backend: StrictBackend, name: str, fn: Kernel) -> Kernel:
    """The CPU's kernel for strict arrays: operands in, results into new device memory."""

    def kernel(*ins: Any, out: StridedArray | None = None, **params: Any) -> Any:
        arrays = [x for x in (*_flat(ins), out) if x is not None and not isinstance(x, (bool, int, float, complex))]
        number = backend.launching(name, arrays, params.get("index", 0))
        if "index" in params and not arrays:
            params["index"] = 0
        inputs = [_inside(backend, x) for x in ins]
        if name in _INDEXED:
            inputs[1] = _checked(backend.health(number), name, inputs[0], inputs[1], params["axis"])
        with np.errstate(all="ignore"):
            results = fn(*inputs, **params)
        if out is not None:
            backend.copy_into(out, _keep(backend, name, results, number))
            return out
        if isinstance(results, (tuple, list)):
            return type(results)(_keep(backend, name, r, number) for r in results)
        return _keep(backend, name, results, number)

    return kernel


def _flat(operands: Sequence[Any]) -> Iterator[Any]:
    """Operands with lists opened and absent ones left out."""
    for x in operands:
        if isinstance(x, (list, tuple)):
            yield from _flat(x)
        elif x is not None:
            yield x


def _inside(backend: StrictBackend, x: Any) -> Any:
    if isinstance(x, (list, tuple)):
        return [_inside(backend, v) for v in x]
    return backend.inside(x) if isinstance(x, StridedArray) else x


def _keep(backend: StrictBackend, name: str, result: Any, number: int) -> Any:
    if result is None:  # a step that wrote to its operands
        return None
    host = np.asarray(result)
    dtype = dt.from_numpy(host.dtype)
    if not backend.supports(dtype):
        raise TypeError(f"strict: kernel {name!r} made {dtype.name}, which this device does not have")
    return backend.from_host(host, dtype, number)


def _checked(health: Health, name: str, x: HostArray, index: HostArray, axis: int) -> HostArray:
    """Indices that stay inside, the first bad one reported late."""
    size = x.shape[axis] if x.ndim else 1
    bad = index[(index < 0) | (index >= size)]
    if not bad.size or not size:
        return index
    text = f"{name}: index {int(bad[0])} is out of bounds for dimension {axis} with size {size}"
    health.fail_later(OutOfRangeError(text))
    return np.clip(index, 0, size - 1)


def _describe(x: Any) -> str:
    dtype = getattr(x, "dtype", None)
    return f"{type(x).__module__}.{type(x).__name__}" + (f" of {dtype}" if dtype is not None else "")
