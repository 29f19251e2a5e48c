"""Elementwise kernels from scalar expressions, copies with any strides and dtypes, and fills."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any, Final

from flambeau.backends import layout as lay
from flambeau.backends.base import Kernel as BackendKernel
from flambeau.backends.dialect import elementwise as texts
from flambeau.backends.dialect.functions import program_for
from flambeau.backends.dialect.prelude import Target
from flambeau.backends.dialect.printer import print_program
from flambeau.backends.dialect.walk import walked
from flambeau.backends.generic import host_scalar
from flambeau.backends.opencl.device import Device, Plan
from flambeau.backends.strided import StridedArray, partly_overlaps
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from flambeau.core.expr import Expr, parse

if TYPE_CHECKING:
    from flambeau.backends.opencl.backend import OpenCLBackend

Layouts = tuple[tuple[int, ...], ...]
#: Elements that a work-item of a processor handles at least: below, a launch costs more than the work.
_CHUNK: Final = 4096
_COPY: Final = parse("x", ("x",))
#: By size: the dtype as which elements are moved that keep their dtype.
_RAW: Final = {1: dt.uint8, 2: dt.uint16, 4: dt.uint32, 8: dt.uint64}


class Elementwise:
    """One expression for given dtypes: ``fn(*ins, out=None)``."""

    def __init__(self, backend: OpenCLBackend, name: str, expr: Expr, dtypes: tuple[DType, ...], out: DType):
        self.__name__ = name
        self.backend, self.expr, self.dtypes, self.out = backend, expr, dtypes, out
        self._plans: dict[Any, Plan] = {}  # by every array's layout
        self._ready: dict[Any, tuple[Device, Plan]] = {}  # by the operands' layouts, for new results

    def __call__(self, *ins: StridedArray, out: StridedArray | None = None) -> StridedArray:
        if out is None:
            if len(ins) == 2:
                x, y = ins
                key: Any = (x.index, x.shape, x.strides, x.offset, y.shape, y.strides, y.offset)
            else:
                key = (ins[0].index, *[(x.shape, x.strides, x.offset) for x in ins])
            found = self._ready.get(key)
            if found is None:
                return self.first(key, ins)
            device, plan = found
            return StridedArray(device.compute(plan, ins), 0, plan.shape, plan.strides, self.out, device.number)
        shape = lay.broadcast_shapes(*[a.shape for a in ins])
        if out.shape != shape:
            raise lay.LayoutError(f"{self.__name__}: out has shape {out.shape}, the result {shape}")
        if out.dtype is not self.out or any(
            out.buffer is x.buffer and partly_overlaps(out, x.expanded(shape)) for x in ins
        ):
            self.backend.copy_into(out, self(*ins))
            return out
        self.run(out, ins)
        return out

    def first(self, key: Any, ins: Sequence[StridedArray]) -> StridedArray:
        """Compute for layouts that have not come before, and keep the plan."""
        shape = lay.broadcast_shapes(*[a.shape for a in ins])
        result = self.backend.empty(shape, self.out, ins[0].index)
        self.run(result, ins)
        plan = self._plans.get(_layouts(result, ins))
        if plan is not None:
            if len(self._ready) > 4096:
                self._ready.clear()
            plan.shape, plan.strides = shape, result.strides
            plan.nbytes = result.buffer.nbytes
            plan.shelf = self.backend.device(result.index).pool.shelf(plan.nbytes)
            self._ready[key] = (self.backend.device(result.index), plan)
        return result

    def run(self, out: StridedArray, ins: Sequence[StridedArray]) -> None:
        """Compute into ``out``; operands broadcast to its shape."""
        device = self.backend.device(out.index)
        key = _layouts(out, ins)
        plan = self._plans.get(key)
        if plan is None:
            if not out.size:
                return
            plan = self._plan(device, out, ins)
            if plan is None:  # more axes than a kernel walks: one at a time
                for i in range(out.shape[0]):
                    self.run(_part(out, i), [_part(x.expanded(out.shape), i) for x in ins])
                return
            if len(self._plans) > 4096:
                self._plans.clear()
            self._plans[key] = plan
        device.launch(plan.kernel, [x.buffer for x in ins], (out.buffer,), plan.params, plan.size[0], plan.group[0])

    def _plan(self, device: Device, out: StridedArray, ins: Sequence[StridedArray]) -> Plan | None:
        arrays = [*(x.expanded(out.shape) for x in ins), out]
        offsets = [a.offset for a in arrays]
        shape, strides = walked(out.shape, [a.strides for a in arrays])
        if not shape or (len(shape) == 1 and strides[-1] == (1,) and all(s in ((0,), (1,)) for s in strides)):
            pattern = "".join("v" if s == (1,) else "s" for s in strides[:-1])
            return self._flat(device, pattern, prod(shape), offsets)
        if len(shape) > texts.MAX_AXES + 1:
            return None
        return self._rows(device, shape, strides, offsets)

    def _flat(self, device: Device, pattern: str, n: int, offsets: list[int]) -> Plan:
        key = ("flat", self.__name__, self.expr, self.dtypes, self.out, pattern)
        kernel = device.kernel(key, "flat", lambda: texts.flat_source(self._program(device), device.target, pattern))
        chunk, size, group = spread(device, n)
        return Plan(kernel, struct.pack(f"{2 + len(offsets)}q", n, chunk, *offsets), size, group)

    def _rows(self, device: Device, shape: tuple[int, ...], strides: Layouts, offsets: list[int]) -> Plan:
        pattern = "".join(str(s[-1]) if s[-1] in (0, 1) else "n" for s in strides)
        key = ("rows", self.__name__, self.expr, self.dtypes, self.out, pattern)
        kernel = device.kernel(key, "rows", lambda: texts.rows_source(self._program(device), device.target, pattern))
        rows, columns = prod(shape[:-1]), shape[-1]
        fill = [0] * (texts.MAX_AXES - len(shape) + 1)
        numbers = [len(shape) - 1, *shape[:-1], *fill]
        for s in strides:
            numbers += [*s[:-1], *fill]
        numbers += [s[-1] for s in strides] + offsets
        if device.target.cpu:
            width = min(columns, max(_CHUNK, columns // (4 * device.units) if rows < 4 * device.units else columns))
            height = max(1, min(_CHUNK // width, -(-rows // device.units)) if width < _CHUNK else 1)
            size, group = -(-columns // width) * -(-rows // height), 1
        else:
            width, height = columns, 1
            _, size, group = spread(device, rows * columns)
        packed = struct.pack(f"{4 + len(numbers)}q", rows, height, columns, width, *numbers)
        return Plan(kernel, packed, size, group)

    def _program(self, device: Device) -> Any:
        return program_for(self.expr, self.dtypes, self.out, device.target)


def _layouts(out: StridedArray, ins: Sequence[StridedArray]) -> tuple[Any, ...]:
    return (out.index, out.shape, out.strides, out.offset, *[v for x in ins for v in (x.shape, x.strides, x.offset)])


def _part(x: StridedArray, i: int) -> StridedArray:
    return x.viewed(x.shape[1:], x.strides[1:], x.offset + i * x.strides[0])


def spread(device: Device, n: int) -> tuple[int, int, int]:
    """How ``n`` elements spread over work-items: (elements of one item, items, items of a group)."""
    if device.target.cpu:
        chunk = max(_CHUNK, min(-(-n // (8 * device.units)), 1 << 16))
        chunk = -(-chunk // 64) * 64
        return chunk, -(-n // chunk), 1
    group = device.group
    return 1, min(-(-n // group), device.units * 32) * group, group


def generated(backend: OpenCLBackend, name: str, expr: Expr, dtypes: tuple[DType, ...], out: DType) -> BackendKernel:
    """The kernel of an expression; ExprError or KeyError where it has no meaning for the dtypes."""
    print_program(program_for(expr, dtypes, out, Target()), Target(), tuple(f"x{i}" for i in range(len(dtypes))))
    return Elementwise(backend, name, expr, dtypes, out)


def named(backend: OpenCLBackend, source: str, dtype: DType) -> Elementwise:
    """The kernel of an expression over ``x`` and ``y`` of one dtype, made once."""
    made: dict[Any, Elementwise] = backend.__dict__.setdefault("_named", {})
    if (source, dtype) not in made:
        made[source, dtype] = Elementwise(backend, source, parse(source, ("x", "y")), (dtype, dtype), dtype)
    return made[source, dtype]


# -- copies and fills --------------------------------------------------------------------------------
def copy(backend: OpenCLBackend, dst: StridedArray, src: StridedArray) -> None:
    """Write ``src`` to ``dst``: one shape, any strides and dtypes, no partial overlap."""
    pair = (src.dtype, dst.dtype)
    if src.dtype is dst.dtype:  # moved as they are: a nan keeps its bits
        pair = (_RAW.get(src.dtype.itemsize, src.dtype),) * 2
    by_pair: dict[Any, Elementwise] = backend.__dict__.setdefault("_copies", {})
    found = by_pair.get(pair)
    if found is None:
        found = by_pair[pair] = Elementwise(backend, "copy", _COPY, pair[:1], pair[1])
    if dst.size:
        found.run(dst, (src,))


def fill(backend: OpenCLBackend, out: StridedArray, value: complex) -> None:
    """Set every element of a contiguous array."""
    if out.size:
        fill_bytes(backend, out, host_scalar(value, out.dtype).tobytes())


def fill_bytes(backend: OpenCLBackend, out: StridedArray, element: bytes) -> None:
    """Set every element of a contiguous array to what these bytes are."""
    device = backend.device(out.index)
    size = len(element)
    kernel = device.kernel(("fill", size), "fill", lambda: texts.fill_source(device.target, size))
    chunk, items, group = spread(device, out.size)
    params = struct.pack("3q", out.size, chunk, out.offset) + element.ljust(16, b"\0")
    device.launch(kernel, (), (out.buffer,), params, items, group)


def register(backend: OpenCLBackend) -> None:
    """Enter the copies that need no generic detour."""

    def full(*, shape: tuple[int, ...], value: complex, dtype: DType, index: int = 0) -> StridedArray:
        out = backend.empty(tuple(shape), dtype, index)
        fill(backend, out, value)
        return out

    backend.kernels.register("full", full)
