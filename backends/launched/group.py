"""Groups of elementwise steps (:mod:`flambeau.backends.group`) as one kernel each."""

from __future__ import annotations

import struct
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from math import prod
from operator import attrgetter
from typing import Final, TypeAlias

from flambeau.backends.base import Kernel, KernelTable, Shape
from flambeau.backends.dialect import group as texts
from flambeau.backends.dialect.elementwise import MAX_AXES
from flambeau.backends.dialect.functions import program_for
from flambeau.backends.dialect.prelude import Target
from flambeau.backends.dialect.printer import print_program
from flambeau.backends.dialect.walk import walked
from flambeau.backends.group import Group, Operand, Output, Step
from flambeau.backends.launched.device import Arrays, Device, Layout, Plan
from flambeau.backends.launched.elementwise import spread, spread_rows
from flambeau.backends.launched.launcher import Launcher
from flambeau.backends.strided import StridedArray
from flambeau.core import dtype as dt
from flambeau.core.cache import Cache
from flambeau.core.dtype import host_scalar
from flambeau.core.expr import ExprError, lower

_Make: TypeAlias = Callable[[Arrays, Arrays], tuple[StridedArray, ...]]
_placed: Final = attrgetter("index", "shape", "strides", "offset")
#: Bytes of parameters that every driver takes.
_MOST_BYTES: Final = 1024
#: What packs the value of a number as it is in a register; float32 for those of low precision.
_CODES: Final = {
    dt.bool_: "q", dt.uint8: "Q", dt.int8: "q", dt.uint16: "Q", dt.int16: "q", dt.uint32: "Q", dt.int32: "q",
    dt.uint64: "Q", dt.int64: "q", dt.float16: "f4x", dt.bfloat16: "f4x", dt.float32: "f4x", dt.float64: "d",
}  # fmt: skip


def fuses(table: KernelTable, step: Step, operands: Sequence[Operand]) -> bool:
    """Whether a step gives the bits of its kernel: it does where that is generated, from the same program."""
    dtypes = tuple([x.dtype for x in operands])
    if any(d not in _CODES for d in (*dtypes, step.dtype)):
        return False
    if step.name in ("cast", "constant"):
        return True
    own = next((d for d in dtypes if d is not dt.bool_), dt.bool_)
    if table.own(step.name, own) is not None:
        return False
    try:
        program = program_for(step.expr, dtypes, step.dtype, Target())
        print_program(program, Target(), [f"x{k}" for k in range(len(dtypes))])
    except (ExprError, KeyError):  # no meaning for these dtypes
        return False
    return True


def kernel(backend: Launcher, group: Group) -> Kernel | None:
    """The function of a group; None for what is not served."""
    if not group.steps or not group.outputs:
        return None
    if not all(fuses(backend.kernels, step, group.operands(step)) for step in group.steps):
        return None
    made = Fused(backend, group)
    return made if made.fits() else None


class Fused:
    """``fn(*arrays)``: a tuple of the new arrays."""

    def __init__(self, backend: Launcher, group: Group):
        self.__name__ = "group"
        self.backend, self.group = backend, group
        read = {i for step in group.steps for i in step.operands if i < len(group.inputs)}
        into = [o for o in group.outputs if o.into is not None]
        fresh = [o for o in group.outputs if o.into is None]
        #: The places among the inputs of what is written, and of what is only read.
        self.targets = [o.into for o in into if o.into is not None]
        self.sources = sorted(read.difference(self.targets))
        self.reads_all = self.sources == list(range(len(group.inputs)))
        self.results = [_layout(group, o) for o in fresh]
        places = {i: k for k, i in enumerate((*self.sources, *self.targets))}
        count = len(places) + len(fresh)
        numbers = [places.get(i, -1) for i in range(len(group.inputs))]
        numbers += range(count, count + len(group.steps))
        steps = [numbers[len(group.inputs) + o.step] for o in (*into, *fresh)]
        #: Arrays, of every step its operands, and results, by :class:`texts.Body`'s numbers.
        self.arrays = (*[group.inputs[i].dtype for i in places], *[r.dtype for r in self.results])
        self.reads = tuple(sorted([places[i] for i in read]))
        self.operands = [tuple([numbers[i] for i in step.operands]) for step in group.steps]
        self.stores = tuple([(k + len(self.sources), value) for k, value in enumerate(steps)])
        self.numbers = b"".join([_packed(s) for s in group.steps if s.name == "constant"])
        self._ready: Cache[Hashable, _Make] = Cache(limit=64)
        self._last: tuple[Hashable, _Make] = (None, lambda ins, outs: ())

    def __call__(self, *arrays: StridedArray) -> tuple[StridedArray, ...]:
        key = tuple(map(_placed, arrays))
        known, make = self._last  # no hash of all these is needed for layouts that come again
        if key != known:
            make = self._ready.get(key) or self._made(arrays)
            self._ready.remember(key, make)
            self._last = (key, make)
        if self.reads_all:
            return make(arrays, ())
        return make([arrays[i] for i in self.sources], [arrays[i] for i in self.targets])

    def fits(self) -> bool:
        """Whether a kernel walks so many axes, and takes so many parameters."""
        inputs = self.group.inputs
        shape, strides = self._walked([inputs[i].strides for i in (*self.sources, *self.targets)])
        axes = max(1, len(shape) - 1)
        numbers = 4 + axes + len(strides) * (axes + 2) + max(1, len(self.numbers) // 8)
        return len(shape) <= MAX_AXES + 1 and 8 * numbers <= _MOST_BYTES

    def _walked(self, strides: Sequence[Shape]) -> tuple[Shape, tuple[Shape, ...]]:
        shape = self.group.shape
        given = [_broadcast(self.group.inputs[i].shape, s, shape)
                 for i, s in zip((*self.sources, *self.targets), strides, strict=True)]  # fmt: skip
        return walked(shape, [*given, *[r.strides for r in self.results]])

    def _made(self, arrays: Arrays) -> _Make:
        """The function for arrays of these layouts."""
        for i, (x, wanted) in enumerate(zip(arrays, self.group.inputs, strict=True)):
            if x.shape != wanted.shape or x.dtype is not wanted.dtype:
                expected = f"of shape {wanted.shape} and {wanted.dtype}"
                raise ValueError(f"a group's input {i} must be {expected}, got {x.shape} and {x.dtype}")
        index = arrays[0].index
        if not prod(self.group.shape):
            return lambda ins, outs: tuple([self.backend.empty(r.shape, r.dtype, index) for r in self.results])
        device = self.backend.device(index)
        return device.making(self._plan(device, [arrays[i] for i in (*self.sources, *self.targets)]), self.results)

    def _plan(self, device: Device, arrays: Arrays) -> Plan:
        shape, strides = self._walked([x.strides for x in arrays])
        offsets = [*[x.offset for x in arrays], *[0] * len(self.results)]
        numbers = self.numbers or bytes(8)
        body = self._body(device.target)
        inner = [s[-1] if s else 0 for s in strides]
        if len(shape) <= 1 and all(s in (0, 1) for s in inner):
            n = prod(shape)
            pattern = "".join("v" if s == 1 else "s" for s in inner)
            text = partial(texts.flat_source, body, device.target, pattern)
            chunk, size, items = spread(device, n)
            packed = struct.pack(f"{2 + len(offsets)}q", n, chunk, *offsets) + numbers
            return Plan(device.kernel(("group", body, pattern), "flat", text), packed, size, items)
        pattern, axes = "".join(str(s) if s in (0, 1) else "n" for s in inner), len(shape) - 1
        text = partial(texts.rows_source, body, device.target, pattern, axes)
        lines, columns = prod(shape[:-1]), shape[-1]
        height, width, size, items = spread_rows(device, lines, columns)
        sides = [v for s in strides for v in (s[:-1] or (0,))]
        values = [lines, height, columns, width, *(shape[:-1] or (1,)), *sides, *inner, *offsets]
        packed = struct.pack(f"{len(values)}q", *values) + numbers
        return Plan(device.kernel(("group", body, pattern, axes), "rows", text), packed, size, items)

    def _body(self, target: Target) -> texts.Body:
        stages = []
        for step, operands, given in zip(
            self.group.steps, self.operands, map(self.group.operands, self.group.steps), strict=True
        ):
            dtypes = tuple([x.dtype for x in given])
            moved = step.name == "constant" or (step.name == "cast" and dtypes == (step.dtype,))
            program = None if moved else program_for(step.expr, dtypes, step.dtype, target)
            stages.append(texts.Stage(program, operands, step.dtype))
        return texts.Body(self.arrays, self.reads, tuple(stages), self.stores)


def _layout(group: Group, output: Output) -> Layout:
    assert output.strides is not None
    return Layout(group.shape, output.strides, group.steps[output.step].dtype)


def _broadcast(own: Shape, strides: Shape, shape: Shape) -> Shape:
    """The strides of an array that is broadcast to a shape."""
    added = len(shape) - len(own)
    return (*[0] * added, *[s if n != 1 else 0 for s, n in zip(strides, own, strict=True)])


def _packed(step: Step) -> bytes:
    """The number of a step in 8 bytes, as the kernel takes it."""
    last = lower(step.expr, (), step.dtype).steps[-1]
    if last.op != "constant":
        raise ValueError(f"a group's constant must be a number, got {step.expr.source!r}")
    held = host_scalar(last.value, step.dtype)
    return struct.pack(_CODES[step.dtype], float(held) if step.dtype.is_floating_point else int(held))
