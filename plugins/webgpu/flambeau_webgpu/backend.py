"""The device ``webgpu``: arrays in pooled buffers, kernels printed as WGSL for the dtypes that come."""

from __future__ import annotations

import struct
from collections.abc import Callable, Hashable, Mapping
from typing import Final

import numpy as np
import wgpu  # type: ignore[import-untyped]

from flambeau.backends.adapter import StridedTable
from flambeau.backends.base import DeviceProperties, HostArray, Kernel, OutOfRangeError
from flambeau.backends.strided import StridedArray, StridedBackend
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType, host_scalar
from flambeau.core.expr import Expr, ExprError, parse
from flambeau_webgpu import kernels
from flambeau_webgpu.device import Device, Memory, adapters, kind_of
from flambeau_webgpu.elementwise import RAW, Elementwise
from flambeau_webgpu.wgsl import GROUP, REGISTER, Bound, shader

_WIDE: Final = (dt.int64, dt.uint64)
_COPY: Final = parse("x", ("x",))
Arrays = Mapping[str, StridedArray]


class WebGPUBackend(StridedBackend):
    """Tensors on the adapters that wgpu finds, real GPUs first."""

    device_type = "webgpu"
    yields_to = ("cuda",)  # whose kernels are written for that hardware
    kernels: StridedTable
    api_version = 1
    capabilities = frozenset({"has_fp16", "distinct_memory"})
    #: Features of WebGPU that are not used though an adapter has them.
    without: frozenset[str] = frozenset()

    def __init__(self) -> None:
        super().__init__()
        self._devices: dict[int, Device] = {}
        self._copying: dict[tuple[DType, DType], Elementwise] = {}
        self._expressions: dict[tuple[str, tuple[DType, ...], DType], Elementwise] = {}
        self.ops: list[str] = []  # that can fail late, by the number that the flag gives
        self.kernels = StridedTable("flambeau-webgpu", self)
        kernels.bind(self)

    # -- what is there -----------------------------------------------------------------------------
    def unavailable_reason(self) -> str | None:
        try:
            found = adapters()
        except Exception as error:  # whatever a driver's loader raises
            return f"wgpu cannot start: {error}"
        if not found:
            return "wgpu finds no adapter; install the GPU's Vulkan driver, or Mesa's (mesa-vulkan-drivers)"
        return None

    def device_count(self) -> int:
        return 0 if self.unavailable_reason() else len(adapters())

    def accelerators(self) -> tuple[int, ...]:
        if self.unavailable_reason():
            return ()
        return tuple(i for i, a in enumerate(adapters()) if kind_of(a) in ("DiscreteGPU", "IntegratedGPU"))

    def properties(self, index: int = 0) -> DeviceProperties:
        adapter = adapters()[index]
        info = adapter.info
        details = {"driver": info["description"], "api": info["backend_type"], "kind": kind_of(adapter)}
        return DeviceProperties(f"{info['device']} by wgpu {wgpu.__version__}", 0, details)

    def supports(self, dtype: DType, index: int = 0) -> bool:
        return dtype in REGISTER and (dtype not in _WIDE or self.has_int64(index))

    def has_int64(self, index: int) -> bool:
        """Whether the device computes with integers of 64 bits."""
        return "shader-int64" in adapters()[index].features and "shader-int64" not in self.without

    def device(self, index: int) -> Device:
        """The device of this number, opened at first use."""
        found = self._devices.get(index)
        if found is None:
            with self._writing:
                found = self._devices.get(index)
                if found is None:
                    found = Device(adapters()[index], f"{self.device_type}:{index}", self.without)
                    self._devices[index] = found
        return found

    # -- storage -----------------------------------------------------------------------------------
    def largest_array(self, index: int = 0) -> int | None:
        largest: int = self.device(index).largest
        return largest

    def allocate(self, nbytes: int, index: int) -> Memory:
        return self.device(index).allocate(nbytes)

    def read(self, memory: Memory, start: int, nbytes: int) -> memoryview:
        return memory.device.read(memory.buffer, start, nbytes)

    def write(self, memory: Memory, start: int, data: memoryview) -> None:
        memory.device.write(memory.buffer, start, data)

    def to_host(self, array: StridedArray) -> HostArray:
        if not array.size:
            self.check(array.index)
            return np.empty(array.shape, array.dtype.numpy)
        dense, size = self.dense(array), array.dtype.itemsize
        raw = self.read(dense.buffer.memory, dense.offset * size, dense.size * size)
        self.check(array.index)
        return np.frombuffer(raw, np.uint8).copy().view(array.dtype.numpy).reshape(array.shape)

    def dense(self, x: StridedArray) -> StridedArray:
        """The array itself if it is contiguous, else a contiguous copy."""
        return x if x.is_contiguous else self.copied(x)

    def copied(self, x: StridedArray, dtype: DType | None = None) -> StridedArray:
        """A contiguous copy."""
        out = self.empty(x.shape, dtype or x.dtype, x.index)
        if out.size:
            self.copy(out, x)
        return out

    def copy(self, dst: StridedArray, src: StridedArray) -> None:
        pair = (src.dtype, dst.dtype)
        found = self._copying.get(pair)
        if found is None:
            source, target = (RAW[src.dtype.itemsize],) * 2 if src.dtype is dst.dtype else pair
            if source not in REGISTER or (source in _WIDE and not self.has_int64(dst.index)):
                super().copy(dst, src)  # complex numbers
                return
            found = self._copying[pair] = Elementwise(self, "copy", _COPY, (source,), target)
        found.run(dst.viewed(*dst.layout, found.out), (src.viewed(*src.layout, found.dtypes[0]),))

    def constant(self, value: bool | int | float | complex, dtype: DType, index: int = 0) -> StridedArray:
        out = self.empty((), dtype, index)
        self.fill(out, host_scalar(value, dtype).tobytes())
        return out

    def fill(self, out: StridedArray, element: bytes) -> None:
        """Set every element of a contiguous array to these bytes, which the host need not send on their own."""
        size = len(element)
        low, high = struct.unpack("2I", element.ljust(8, b"\0"))
        kind = RAW[size]
        if size == 8:  # as pairs of words: 64-bit numbers or not
            out = out.viewed((2 * out.size,), (1,), 2 * out.offset, dt.uint32)
            body = "if (i < a.n) { $q[i] = select(a.low, a.high, i % 2u == 1u); }"
            kind = dt.uint32
        else:
            value = "bitcast<i32>(a.low)" if kind is dt.int32 else "a.low"
            body = f"if (i < a.n) {{ $q[i] = {value}; }}"
        out = out.viewed(*out.layout, kind)
        numbers = {"n": out.size, "low": low, "high": high}
        self.run(("fill", size), lambda: body, {"q": out}, {}, numbers, threads=out.size)

    # -- kernels -----------------------------------------------------------------------------------
    def elementwise(self, name: str, expr: Expr, dtypes: tuple[DType, ...], out: DType) -> Kernel | None:
        if any(d not in REGISTER for d in (*dtypes, out)):
            return None
        try:
            return Elementwise(self, name, expr, dtypes, out)
        except (ExprError, KeyError):  # an expression that has no meaning for these dtypes
            return None

    def expression(self, source: str, dtypes: tuple[DType, ...], out: DType) -> Elementwise:
        """The elementwise kernel ``fn(x, y, out=)`` of an expression, made once."""
        key = (source, dtypes, out)
        found = self._expressions.get(key)
        if found is None:
            found = Elementwise(self, source, parse(source, ("x", "y")), dtypes, out)
            self._expressions[key] = found
        return found

    def run(
        self, key: Hashable, body: Callable[[], str], outs: Arrays, ins: Arrays, numbers: Mapping[str, int | float],
        *, threads: int = 0, groups: int = 0, shared: Callable[[], str] | str = "", atomic: str = "", pairs: str = "",
        op: str = "",
    ) -> None:  # fmt: skip
        """Launch a kernel: ``body`` is what :func:`flambeau_webgpu.wgsl.shader` takes, for arrays by name.

        ``key`` with the arrays' names and dtypes names the text. ``threads`` invocations or ``groups`` workgroups run
        it. ``atomic`` are the names of outs that are bound as atomic words, ``pairs`` those of operands that are bound
        as words of 64 bits, ``op`` the one that may find a bad index.
        Operands must be contiguous as the body takes them; those in the memory of an out are copied first.
        """
        memories = [x.buffer.memory for x in outs.values()]
        inputs = {n: self.copied(x) if x.buffer.memory in memories else x for n, x in ins.items()}
        arrays = {**outs, **inputs}
        device = next(iter(outs.values())).buffer.memory.device
        packed = struct.pack(
            "".join("f" if isinstance(v, float) else "I" for v in numbers.values()) + f"{len(arrays)}I",
            *[v if isinstance(v, float) else v & 0xFFFFFFFF for v in numbers.values()],
            *[x.offset for x in arrays.values()],
        )
        kinds = [("f32" if isinstance(v, float) else "u32") for v in numbers.values()]

        def text() -> str:
            bound = [
                Bound(n, dt.uint64 if n in pairs else x.dtype, n in outs, f"a.{n}_at_", n in atomic)
                for n, x in arrays.items()
            ]
            if op:
                bound.append(Bound("bad_", dt.int32, True, "", True))
            names = [*zip(numbers, kinds, strict=True), *[(f"{n}_at_", "u32") for n in arrays]]
            return shader(bound, names, body(), shared=shared if isinstance(shared, str) else shared())

        buffers = [x.buffer.memory.buffer for x in arrays.values()]
        access = "w" * len(outs) + "r" * len(ins)
        if op:
            buffers.append(device.flag)
            access += "w"
            device.may_fail()
        whole = (key, tuple(kinds), *[(n, x.dtype) for n, x in arrays.items()])
        device.launch(whole, access, text, buffers, packed, groups or -(-threads // GROUP))

    def number_of(self, op: str) -> int:
        """The number by which the flag of late errors names an op."""
        if op not in self.ops:
            self.ops.append(op)
        return self.ops.index(op)

    # -- time --------------------------------------------------------------------------------------
    def synchronize(self, index: int = 0) -> None:
        self.device(index).synchronize()

    def mark_step(self, index: int = 0) -> None:
        self.device(index).flush()

    def check(self, index: int = 0) -> None:
        found = self._devices.get(index)
        failure = found.failure() if found is not None else None
        if failure is not None:
            _, op, axis, size, low, high, *_ = failure
            position = (high << 32) + (low & 0xFFFFFFFF)
            raise OutOfRangeError(
                f"{self.ops[op]}: index {position} is out of bounds for dimension {axis} with size {size}"
            )

    def empty_cache(self) -> None:
        for device in self._devices.values():
            device.empty_cache()

    def after_fork(self) -> None:
        """No driver survives a fork."""
        for device in self._devices.values():
            device.bury("the device belongs to the process before the fork; start workers by spawn or forkserver")
