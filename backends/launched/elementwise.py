"""Elementwise kernels from scalar expressions, copies with any strides and dtypes, and fills."""

from __future__ import annotations

import struct
from collections.abc import Callable, Hashable
from functools import partial
from math import prod
from typing import Final

from flambeau.backends import layout as lay
from flambeau.backends.base import Kernel, Shape
from flambeau.backends.dialect import elementwise as texts
from flambeau.backends.dialect.functions import program_for
from flambeau.backends.dialect.prelude import Target
from flambeau.backends.dialect.printer import print_program
from flambeau.backends.dialect.walk import Layouts, walked
from flambeau.backends.launched.device import Arrays, Device, Plan
from flambeau.backends.launched.launcher import Launcher
from flambeau.backends.strided import StridedArray, partly_overlaps
from flambeau.core import dtype as dt
from flambeau.core.cache import Cache
from flambeau.core.dtype import DType, host_scalar
from flambeau.core.expr import Expr, Program, parse

#: Elements that a work-item of a processor handles at least: below, a launch costs more than the work.
_CHUNK: Final = 4096
_COPY: Final = parse("x", ("x",))
#: By size: the dtype as which elements are moved that keep their dtype.
_RAW: Final = {1: dt.uint8, 2: dt.uint16, 4: dt.uint32, 8: dt.uint64}


class Elementwise:
    """One expression for given dtypes: ``fn(*ins, out=None)``."""

    def __init__(self, backend: Launcher, name: str, expr: Expr, dtypes: tuple[DType, ...], out: DType):
        self.__name__ = name
        self.backend, self.expr, self.dtypes, self.out = backend, expr, dtypes, out
        self._plans: Cache[Hashable, Plan] = Cache(limit=4096)  # by every array's layout
        #: By the operands' layouts, for new results.
        self._ready: Cache[Hashable, Callable[[Arrays], StridedArray]] = Cache(limit=4096)

    def __call__(self, *ins: StridedArray, out: StridedArray | None = None) -> StridedArray:
        if out is None:
            if len(ins) == 2:
                x, y = ins
                key: Hashable = (x.index, x.shape, x.strides, x.offset, y.shape, y.strides, y.offset)
            else:
                key = (ins[0].index, *[(x.shape, x.strides, x.offset) for x in ins])
            compute = self._ready.get(key)
            return self.first(key, ins) if compute is None else compute(ins)
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

    def first(self, key: Hashable, ins: Arrays) -> StridedArray:
        """Compute for layouts that have not come before, and keep the plan."""
        shape = lay.broadcast_shapes(*[a.shape for a in ins])
        result = self.backend.empty(shape, self.out, ins[0].index)
        self.run(result, ins)
        plan = self._plans.get(_layouts(result, ins))
        if plan is not None:
            device = self.backend.device(result.index)
            self._ready.remember(key, device.computing(plan, shape, result.strides, self.out))
        return result

    def run(self, out: StridedArray, ins: Arrays) -> None:
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
            self._plans.remember(key, plan)
        device.launch(plan.kernel, ins, (out,), plan.params, plan.size, plan.group)

    def _plan(self, device: Device, out: StridedArray, ins: Arrays) -> Plan | None:
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

    def _rows(self, device: Device, shape: Shape, strides: Layouts, offsets: list[int]) -> Plan:
        pattern = "".join(str(s[-1]) if s[-1] in (0, 1) else "n" for s in strides)
        key = ("rows", self.__name__, self.expr, self.dtypes, self.out, pattern)
        kernel = device.kernel(key, "rows", lambda: texts.rows_source(self._program(device), device.target, pattern))
        rows, columns = prod(shape[:-1]), shape[-1]
        fill = [0] * (texts.MAX_AXES - len(shape) + 1)
        numbers = [len(shape) - 1, *shape[:-1], *fill]
        for s in strides:
            numbers += [*s[:-1], *fill]
        numbers += [s[-1] for s in strides] + offsets
        height, width, size, group = spread_rows(device, rows, columns)
        packed = struct.pack(f"{4 + len(numbers)}q", rows, height, columns, width, *numbers)
        return Plan(kernel, packed, size, group)

    def _program(self, device: Device) -> Program:
        return program_for(self.expr, self.dtypes, self.out, device.target)


def _layouts(out: StridedArray, ins: Arrays) -> Hashable:
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


def spread_rows(device: Device, rows: int, columns: int) -> tuple[int, int, int, int]:
    """How rows spread over work-items: (rows of one item, columns of one item, items, items of a group)."""
    if not device.target.cpu:
        return 1, columns, *spread(device, rows * columns)[1:]
    width = min(columns, max(_CHUNK, columns // (4 * device.units) if rows < 4 * device.units else columns))
    height = max(1, min(_CHUNK // width, -(-rows // device.units)) if width < _CHUNK else 1)
    return height, width, -(-columns // width) * -(-rows // height), 1


def generated(backend: Launcher, name: str, expr: Expr, dtypes: tuple[DType, ...], out: DType) -> Kernel:
    """The kernel of an expression; ExprError or KeyError where it has no meaning for the dtypes."""
    print_program(program_for(expr, dtypes, out, Target()), Target(), tuple(f"x{i}" for i in range(len(dtypes))))
    return Elementwise(backend, name, expr, dtypes, out)


# -- copies and fills --------------------------------------------------------------------------------
def copying(backend: Launcher, src: DType, dst: DType) -> Elementwise:
    """The kernel that copies ``src`` to ``dst``; elements that keep their dtype are moved: a nan keeps its bits."""
    if src is dst:
        src = dst = _RAW.get(src.itemsize, src)
    return Elementwise(backend, "copy", _COPY, (src,), dst)


def fill(backend: Launcher, out: StridedArray, value: complex) -> None:
    """Set every element of a contiguous array."""
    if out.size:
        fill_bytes(backend, out, host_scalar(value, out.dtype).tobytes())


def fill_bytes(backend: Launcher, out: StridedArray, element: bytes) -> None:
    """Set every element of a contiguous array to what these bytes are."""
    device = backend.device(out.index)
    size = len(element)
    kernel = device.kernel(("fill", size), "fill", lambda: texts.fill_source(device.target, size))
    chunk, items, group = spread(device, out.size)
    params = struct.pack("3q", out.size, chunk, out.offset) + element.ljust(16, b"\0")
    device.launch(kernel, (), (out,), params, items, group)


def register(backend: Launcher) -> None:
    """Enter the copies that need no generic detour."""
    backend.kernels.register("full", partial(full, backend))


def full(backend: Launcher, *, shape: Shape, value: complex, dtype: DType, index: int = 0) -> StridedArray:
    """A new array with every element ``value``."""
    out = backend.empty(tuple(shape), dtype, index)
    fill(backend, out, value)
    return out
