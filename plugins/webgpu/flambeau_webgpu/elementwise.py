"""Elementwise kernels from scalar expressions, and copies with any strides and dtypes."""

from __future__ import annotations

import struct
from collections.abc import Hashable, Sequence
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Final, NamedTuple

from flambeau.backends import layout as lay
from flambeau.backends.base import Shape
from flambeau.backends.strided import StridedArray, partly_overlaps
from flambeau.core import dtype as dt
from flambeau.core.cache import Cache
from flambeau.core.dtype import DType
from flambeau.core.expr import Expr, Program, lower
from flambeau_webgpu.device import ROOM
from flambeau_webgpu.printer import native, statements
from flambeau_webgpu.wgsl import GROUP, PACKED, REGISTER, Bound, load, packed, shader, store, unpacked

if TYPE_CHECKING:
    from flambeau_webgpu.backend import WebGPUBackend

#: Elements of an invocation, where all arrays are walked in steps of 1: what fills a word or a vector.
_LANES: Final = 4
#: Elements of an invocation along the last axis, on processors: what finds them is paid once.
_RUN: Final = 32
#: Steps of a program from which on an invocation computes one element: four times the text takes long to compile.
_LONG: Final = 48


#: What stands for a program in the names of kernels: to hash all of its steps at each launch takes long.
_programs: dict[Program, int] = {}


class Plan(NamedTuple):
    """How arrays of given layouts are walked."""

    key: Hashable
    access: str
    text: partial[str]
    params: bytes
    groups: int
    kept: tuple[int, ...]  # the operands that are bound; the others are read through the result's binding


class Elementwise:
    """One expression for given dtypes: ``fn(*ins, out=None)``."""

    def __init__(self, backend: WebGPUBackend, name: str, expr: Expr, dtypes: tuple[DType, ...], out: DType):
        self.__name__ = name
        self.backend, self.dtypes, self.out = backend, dtypes, out
        self.program: Program = lower(expr, dtypes, out, native)
        statements(self.program, [f"x{k}" for k in range(len(dtypes))])  # ExprError where it has no meaning
        self._number = _programs.setdefault(self.program, len(_programs))
        self._plans: Cache[Hashable, Plan] = Cache(limit=4096)

    def __call__(self, *ins: StridedArray, out: StridedArray | None = None) -> StridedArray:
        first = ins[0].shape
        shape = first if all(x.shape == first for x in ins) else lay.broadcast_shapes(*[x.shape for x in ins])
        if out is None:
            out = self.backend.empty(shape, self.out, ins[0].index)
            self.run(out, ins)
            return out
        if out.shape != shape:
            raise lay.LayoutError(f"{self.__name__}: out has shape {out.shape}, the result {shape}")
        if out.dtype is not self.out or any(
            x.buffer is out.buffer and partly_overlaps(out, x.expanded(shape)) for x in ins
        ):
            self.backend.copy_into(out, self(*ins))
            return out
        self.run(out, ins)
        return out

    def run(self, out: StridedArray, ins: Sequence[StridedArray]) -> None:
        """Compute into ``out``; operands broadcast to its shape, and lie apart or just where the result does."""
        if not out.size:
            return
        memory = out.buffer.memory
        shared = [x.buffer is out.buffer for x in ins]
        key = (out.shape, out.strides, out.offset, *[(x.shape, x.strides, x.offset) for x in ins], *shared)
        plan = self._plans.get(key)
        if plan is None:
            if any(s and x.dtype is not out.dtype for s, x in zip(shared, ins, strict=True)):
                ins = [self.backend.copied(x) if s else x for s, x in zip(shared, ins, strict=True)]
                self.run(out, ins)  # a buffer cannot be bound both to be read and to be written
                return
            plan = self._plan(out, ins, shared)
            self._plans.remember(key, plan)
        buffers = [memory.buffer, *[ins[k].buffer.memory.buffer for k in plan.kept]]
        memory.device.launch(plan.key, plan.access, plan.text, buffers, plan.params, plan.groups)

    def _plan(self, out: StridedArray, ins: Sequence[StridedArray], shared: list[bool]) -> Plan:
        arrays = [out, *[x.expanded(out.shape) for x in ins]]
        shape, strides = lay.coalesce(out.shape, *[a.strides for a in arrays])
        if not shape:
            shape, strides = (1,), tuple((0,) for _ in arrays)
        n, offsets = prod(shape), [a.offset for a in arrays]
        kept = tuple(k for k, s in enumerate(shared) if not s)
        flat = len(shape) == 1 and all(s[0] in (0, 1) for s in strides)
        numbers = [n, *offsets]
        if flat:
            pattern: tuple[int, ...] = tuple(s[0] for s in strides)
            if self._in_lanes(out, arrays, pattern):
                pairs = out.buffer.memory.device.pairs
                text = partial(self._lanes, pattern, shared, pairs)
                groups = -(-n // (_LANES * GROUP))
                params = struct.pack(f"{len(numbers)}I", *numbers)
                return Plan((self._number, "lanes", pattern, *shared), _access(kept), text, params, groups, kept)
        else:
            numbers += [*shape, *[v for s in strides for v in s]]
            pattern = (len(shape),)
            if self._rows_in_lanes(out, arrays, shape, strides) and 4 * len(numbers) <= ROOM:
                lasts, pairs = tuple(s[-1] for s in strides), out.buffer.memory.device.pairs
                text = partial(self._lanes, lasts, shared, pairs, len(shape))
                params = struct.pack(f"{len(numbers)}I", *[v & 0xFFFFFFFF for v in numbers])
                key: Hashable = (self._number, "lanes", lasts, len(shape), *shared)
                return Plan(key, _access(kept), text, params, -(-n // (_LANES * GROUP)), kept)
        baked = tuple(v & 0xFFFFFFFF for v in numbers) if 4 * len(numbers) > ROOM else None
        params = b"" if baked else struct.pack(f"{len(numbers)}I", *[v & 0xFFFFFFFF for v in numbers])
        run = 1 if flat or not out.buffer.memory.device.processor else min(_RUN, shape[-1])
        threads = n if run == 1 else n // shape[-1] * -(-shape[-1] // run)
        text = partial(self._walking, pattern, flat, shared, len(numbers), baked, run)
        key = (self._number, flat, pattern, *shared, baked, run)
        return Plan(key, _access(kept), text, params, -(-threads // GROUP), kept)

    def _in_lanes(self, out: StridedArray, arrays: Sequence[StridedArray], pattern: Shape) -> bool:
        """Whether an invocation can write four elements at once, of an array that ends where its memory does."""
        if pattern[0] != 1 or len(self.program.steps) > _LONG or out.size < _LANES:
            return False
        if out.size % _LANES and (out.offset + out.size) * out.dtype.itemsize != out.buffer.nbytes:
            return False
        if any(a.buffer is out.buffer and not step for a, step in zip(arrays, pattern, strict=True)):
            return False
        return not any(a.offset % _LANES for a, step in zip(arrays, pattern, strict=True) if step)

    def _rows_in_lanes(
        self, out: StridedArray, arrays: Sequence[StridedArray], shape: Shape, strides: Sequence[Shape]
    ) -> bool:
        """Whether each row is made of fours, which stand together in every array that moves along it."""
        if strides[0][-1] != 1 or shape[-1] % _LANES or len(self.program.steps) > _LONG:
            return False
        for a, s in zip(arrays, strides, strict=True):
            if s[-1] == 1 and (a.offset % _LANES or any(v % _LANES for v in s[:-1])):
                return False
            if s[-1] not in (0, 1) or (s[-1] == 0 and a.buffer is out.buffer):
                return False
        return True

    # -- texts -------------------------------------------------------------------------------------
    def _bound(self, shared: list[bool], starts: Sequence[str]) -> tuple[list[Bound], list[Bound]]:
        """The arrays that are bound, the result first, and what each operand is read through."""
        result = Bound("q", self.out, True, starts[0])
        reads = [
            result._replace(start=starts[k + 1]) if s else Bound(f"p{k}", self.dtypes[k], False, starts[k + 1])
            for k, s in enumerate(shared)
        ]
        return [result, *[r for r in reads if not r.written]], reads

    def _walking(
        self, pattern: Shape, flat: bool, shared: list[bool], count: int, baked: tuple[int, ...] | None, run: int
    ) -> str:
        """An element for each invocation, or a ``run`` of some along the last axis, walked by strides."""
        m = len(self.dtypes) + 1
        number = [f"{v}u" for v in baked] if baked else [f"a.v{j}" for j in range(count)]
        starts, ending = [f"o{k}" for k in range(m)], list[str]()
        lines: list[str] = []
        if flat:
            lines += [f"let o{k} = {number[1 + k]}{' + i' if pattern[k] else ''};" for k in range(m)]
        else:
            axes = pattern[0]
            size, step = number[1 + m : 1 + m + axes], [number[1 + m + axes * (k + 1) :][:axes] for k in range(m)]
            lines.append("var rest = i; " + " ".join(f"var o{k} = {number[1 + k]};" for k in range(m)))
            if run > 1:
                last = f"let last = {size[-1]}; let parts = (last + {run - 1}u) / {run}u;"
                lines.append(f"{last} let c = rest % parts * {run}u; rest = rest / parts;")
                lines += [f"o{k} += c * {step[k][-1]};" for k in range(m)]
            for d in reversed(range(axes - (run > 1))):
                moves = " ".join(f"o{k} += c * {step[k][d]};" for k in range(m))
                lines.append(f"{{ let c = rest % {size[d]}; rest = rest / {size[d]}; {moves} }}")
            if run > 1:
                lines.append(f"for (var j = c; j < min(last, c + {run}u); j++) {{")
                ending = [*[f"o{k} += {step[k][-1]};" for k in range(m)], "}"]
        arrays, reads = self._bound(shared, starts)
        lines += [f"let x{k} = {load(r._replace(start=''), r.start)};" for k, r in enumerate(reads)]
        computed, result = statements(self.program, [f"x{k}" for k in range(m - 1)])
        lines += [*computed, store(arrays[0]._replace(start=""), starts[0], result), *ending]
        names = [] if baked else [(f"v{j}", "u32") for j in range(count)]
        end = number[0] if run == 1 else f"{number[0]} / {size[-1]} * (({size[-1]} + {run - 1}u) / {run}u)"
        return shader(arrays, names, f"if (i >= {end}) {{ return; }}\n  " + "\n  ".join(lines))

    def _lanes(self, pattern: Shape, shared: list[bool], pairs: bool, axes: int = 0) -> str:
        """Four elements for each invocation, in vectors and whole words; of an array with ``axes``, along the last."""
        m = len(self.dtypes)
        arrays, reads = self._bound(shared, [""] * (m + 1))
        lines = [f"var rest = i * {_LANES}u; " + " ".join(f"var o{k} = a.v{k + 1};" for k in range(m + 1))]
        for d in reversed(range(axes)):
            moves = " ".join(f"o{k} += c * a.v{m + 2 + axes * (k + 1) + d};" for k in range(m + 1))
            lines.append(f"{{ let c = rest % a.v{m + 2 + d}; rest = rest / a.v{m + 2 + d}; {moves} }}")
        fours = [f"o{k} / {_LANES}u" + ("" if axes else " + i") for k in range(m + 1)]
        for k, read in enumerate(reads):
            if pattern[k + 1]:
                lines += _vector(read, f"x{k}", fours[k + 1], pairs and not read.written)
            else:
                lines += [f"let x{k}_0 = {load(read, f'o{k + 1}')};", *[f"let x{k}_{j} = x{k}_0;" for j in (1, 2, 3)]]
        inputs = ", ".join(f"x{k}: {REGISTER[d]}" for k, d in enumerate(self.dtypes))
        computed, result = statements(self.program, [f"x{k}" for k in range(m)])
        function = f"fn each_({inputs}) -> {REGISTER[self.out]} {{ {' '.join(computed)} return {result}; }}"
        for j in range(_LANES):
            lines.append(f"let y{j} = each_({', '.join(f'x{k}_{j}' for k in range(m))});")
        lines += _stored(self.out, fours[0])
        names = [(f"v{j}", "u32") for j in range(m + 2 + axes * (m + 2))]
        body = "\n  ".join([f"if (i * {_LANES}u >= a.v0) {{ return; }}", *lines])
        text = shader(arrays, names, body, shared=function)
        steps = {read.name: pattern[k + 1] for k, read in enumerate(reads)} | {"q": 1}
        for x in arrays:
            if steps[x.name]:
                text = text.replace(_plain(x), _wide(x, pairs and not x.written))
        return text


def _access(kept: tuple[int, ...]) -> str:
    return "w" + "r" * len(kept)


def _vector(x: Bound, name: str, index: str, pairs: bool) -> list[str]:
    """Statements that read four elements, ``name_0`` and on; ``index`` counts fours. ``pairs``: by words of 64 bits."""
    lines = [f"let {name} = {x.name}[{index}];"]
    if pairs and x.dtype.itemsize == 4:
        kind = REGISTER[x.dtype]
        return lines + [
            f"let {name}_{j} = bitcast<{kind}>(u32({name}[{j // 2}]{' >> 32u' if j % 2 else ''}));" for j in range(4)
        ]
    if x.dtype.itemsize >= 4:
        return lines + [f"let {name}_{j} = {name}[{j}];" for j in range(_LANES)]
    for j in range(_LANES):
        bit = j * x.dtype.bits
        word = name if x.dtype.itemsize == 1 else f"{name}[{bit // 32}]"
        lines.append(f"let {name}_{j} = {unpacked(x.dtype, f'({word} >> {bit % 32}u)')};")
    return lines


def _stored(dtype: DType, index: str) -> list[str]:
    """Statements that write ``y0`` to ``y3``."""
    if dtype.itemsize >= 4:
        return [f"q[{index}] = vec4<{REGISTER[dtype]}>(y0, y1, y2, y3);"]
    bits = [f"({packed(dtype, f'y{j}')} << {j * dtype.bits % 32}u)" for j in range(_LANES)]
    if dtype.itemsize == 1:
        return [f"q[{index}] = {' | '.join(bits)};"]
    return [f"q[{index}] = vec2u({bits[0]} | {bits[1]}, {bits[2]} | {bits[3]});"]


def _plain(x: Bound) -> str:
    element = ("atomic<u32>" if x.written else "u32") if x.dtype in PACKED else REGISTER[x.dtype]
    return f"{x.name}: array<{element}>"


def _wide(x: Bound, pairs: bool) -> str:
    if pairs and x.dtype.itemsize == 4:
        return f"{x.name}: array<vec2<u64>>"
    element = {1: "u32", 2: "vec2u"}.get(x.dtype.itemsize, f"vec4<{REGISTER[x.dtype]}>")
    return f"{x.name}: array<{element}>"


#: By size: the dtype as which elements are moved that keep their dtype, so that a nan keeps its bits.
RAW: Final = {1: dt.uint8, 2: dt.uint16, 4: dt.uint32, 8: dt.uint64}
