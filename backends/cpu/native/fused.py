"""Groups of elementwise kernels in machine code: one line computes all steps, what is between them stays in registers.

The bits are those of the kernels one after another: the programs of the steps are the kernels' own, and a step is
taken into a group only where its kernel's result is exact, or the operands are so large that its kernel is machine
code. A result of low precision is rounded before another step reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, Final, NamedTuple

import numpy as np

from flambeau.backends.base import Kernel, KernelTable
from flambeau.backends.cpu.native import fused_heads, fused_rows, walk
from flambeau.backends.cpu.native.arrays import active
from flambeau.backends.cpu.native.elementwise import Lines, Plan, builtin_chunk, meets_itself, plans
from flambeau.backends.cpu.native.fused_steps import Steps, served
from flambeau.backends.cpu.storage import address, broadcast_strides
from flambeau.backends.group import Group, Operand
from flambeau.backends.group import Step as GroupStep
from flambeau.backends.llvm import calls, casts, cpython, printer
from flambeau.backends.llvm.compiler import load
from flambeau.backends.llvm.jobs import Job, jobs
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import Target
from flambeau.core import dtype as dt
from flambeau.core.cache import Cache
from flambeau.core.dtype import DType
from flambeau.core.expr import Step
from flambeau.core.expr.lower import wide

Array = np.ndarray[Any, Any]

#: Arrays of a group: each has a buffer on the stack of a thread.
_MOST: Final = 24


# -- one step --------------------------------------------------------------------------------------
def fuses(table: KernelTable, step: GroupStep, operands: Sequence[Operand]) -> bool:
    """Whether a step gives the bits of its kernel."""
    if active() is None:
        return False
    found = served(table, step, tuple([x.dtype for x in operands]))
    if found is None or found.least is None:
        return False
    return found.least == 0 or max([prod(x.shape) for x in operands], default=0) >= found.least


# -- all steps -------------------------------------------------------------------------------------
class Composed(NamedTuple):
    """Straight-line steps of several results, the steps that are stored, each as a dtype.

    ``reads`` are the places of the inputs that are read, ``inputs`` their dtypes.
    """

    steps: tuple[Step, ...]
    reads: tuple[int, ...]
    inputs: tuple[DType, ...]
    results: tuple[tuple[int, DType], ...]


def compose(table: KernelTable, group: Group) -> Composed | None:
    """The steps of a group one after another; None where one is not served."""
    known = len(group.inputs)
    reads = sorted({i for step in group.steps for i in step.operands if i < known})
    inputs = tuple([group.inputs[i].dtype for i in reads])
    steps = Steps()
    values = {i: steps.add(Step("input", wide(d), (), k)) for k, (i, d) in enumerate(zip(reads, inputs, strict=True))}
    for number, step in enumerate(group.steps, known):
        operands = group.operands(step)
        if not fuses(table, step, operands):
            return None
        found = served(table, step, tuple([x.dtype for x in operands]))
        assert found is not None
        value = steps.inline(found.program, [values[i] for i in step.operands])
        low = step.dtype in dt.LOW_PRECISION
        values[number] = steps.add(Step(printer.ROUNDED, dt.float32, (value,), step.dtype)) if low else value
    results = tuple([(values[o.step + known], group.steps[o.step].dtype) for o in group.outputs])
    return Composed(tuple(steps.steps), tuple(reads), inputs, results)


# -- the kernel ------------------------------------------------------------------------------------
def kernel(table: KernelTable, group: Group) -> Kernel | None:
    """The function of a group, in machine code for the target that there is now; None for what is not served."""
    target = active()
    if target is None or not group.steps or not group.outputs:
        return None
    if group.axes:
        return fused_rows.kernel(table, group)
    composed = compose(table, group)
    if composed is None or len(composed.reads) + len(composed.results) > _MOST:
        return None
    lines = _lines[composed.steps, composed.inputs, composed.results, target]
    if group.head is not None:
        return fused_heads.kernel(table, group, composed.reads, lines, Fused(group, composed, lines))
    made = Fused(group, composed, lines)
    return _quick(made, composed, lines, target) if _is_plain(group, made) else made


def _is_plain(group: Group, made: Fused) -> bool:
    """Whether a built-in serves most calls: one new array in the usual order, of operands of its shape or one element.

    Those in another order go to the built-in's fallback.
    """
    shapes = [x.shape for x in group.inputs]
    if len(made.results) != 1 or made.results[0] != made.results[0]._replace(into=None, order=None):
        return False
    if not 0 < len(shapes) <= calls.MOST or cpython.unsuited():
        return False
    return group.shape in shapes and all(s == group.shape or prod(s) == 1 for s in shapes)


def _quick(made: Fused, composed: Composed, lines: Lines, target: Target) -> Kernel:
    """The built-in of a group, over ``made``: small operands are not worth the Python of that."""
    module, (line, _, step) = Module(target), lines.places
    chunk, out = builtin_chunk(len(composed.steps)), composed.results[0][1]
    job = walk.write_in_order(module, line, step, made.sizes, chunk)
    f = calls.builtin_of_job(job, "ordered", composed.inputs, out, chunk, True)
    f.title = "group"
    (builtin,) = calls.builtins({f: lambda *arrays: made(*arrays)[0]})
    return lambda *arrays: (builtin(*arrays),)


class Fused:
    """``fn(*arrays)``: a tuple of the new arrays. Strides may be others than the group says, at the price of a plan."""

    def __init__(self, group: Group, composed: Composed, lines: Lines):
        self.shape, self.shapes = group.shape, tuple([x.shape for x in group.inputs])
        self.reads, self.lines = composed.reads, lines
        self.sizes = tuple([d.itemsize for d in (*composed.inputs, *(d for _, d in composed.results))])
        self.results = tuple([_Result(d, o.into, _order(group.shape, o.strides))
                              for o, (_, d) in zip(group.outputs, composed.results, strict=True)])  # fmt: skip
        self.empty = not prod(group.shape)
        self._plans: dict[tuple[tuple[int, ...], ...], Plan] = {}

    def __call__(self, *arrays: Array) -> tuple[Array, ...]:
        outs = [made.empty(self.shape) if made.into is None else arrays[made.into] for made in self.results]
        if not self.empty:
            if all(x.flags.aligned for x in arrays):
                self._run(arrays, outs)
            else:
                self._run_unaligned(arrays, outs)
        return tuple([x for x, made in zip(outs, self.results, strict=True) if made.into is None])

    def _run(self, arrays: Sequence[Array], outs: list[Array]) -> None:
        walked = [arrays[i] for i in self.reads] + outs
        strides = tuple([x.strides for x in walked])
        plan = self._plans.get(strides)
        if plan is None or any(x.shape != s for x, s in zip(arrays, self.shapes, strict=True)):
            plan = self._plans[strides] = self._plan(arrays, walked)
        places = [address(x) + o for x, o in zip(walked, plan.offsets, strict=True)]
        lines = self.lines
        lines.walk(plan.chunks, *lines.places, *places, *plan.strides, *plan.counts)

    def _plan(self, arrays: Sequence[Array], walked: Sequence[Array]) -> Plan:
        for i, (x, shape) in enumerate(zip(arrays, self.shapes, strict=True)):
            if x.shape != shape:
                raise ValueError(f"a group's input {i} must be of shape {shape}, got {x.shape}")
        for made in self.results:
            if made.into is not None and meets_itself(arrays[made.into]):
                raise ValueError(f"a group's input {made.into} is written to, but elements of it share memory")
        return plans[self.shape, tuple([broadcast_strides(x, self.shape) for x in walked]), self.sizes]

    def _run_unaligned(self, arrays: Sequence[Array], outs: list[Array]) -> None:
        made = [x if x.flags.aligned else np.empty(x.shape, x.dtype) for x in outs]
        self._run([x if x.flags.aligned else np.array(x) for x in arrays], made)
        for x, computed in zip(outs, made, strict=True):
            if x is not computed:
                np.copyto(x, computed)


class _Result(NamedTuple):
    """Where a result goes: to an input's memory, or to a new array whose axes lie in memory in an order."""

    dtype: DType
    into: int | None
    order: tuple[int, ...] | None

    def empty(self, shape: tuple[int, ...]) -> Array:
        """A new array."""
        if self.order is None:
            return np.empty(shape, self.dtype.numpy)
        turned = np.empty([shape[i] for i in self.order], self.dtype.numpy)
        return turned.transpose(np.argsort(self.order))


def _order(shape: tuple[int, ...], strides: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """The axes of a dense array from the longest step down; None for the usual order."""
    if strides is None or 0 in shape:
        return None
    order = tuple(sorted(range(len(shape)), key=lambda i: -strides[i] if shape[i] > 1 else 0))
    moving = [i for i in order if shape[i] > 1]
    return None if moving == sorted(moving) else order


def _compile(
    key: tuple[tuple[Step, ...], tuple[DType, ...], tuple[tuple[int, DType], ...], Target],
) -> Lines:
    steps, inputs, results, target = key
    module = Module(target)
    walk.write_lines(module, "line", steps, inputs, results)
    line = load(module, ["line"])["line"]
    sizes = tuple([casts.STORED[d].bytes for d in (*inputs, *(d for _, d in results))])
    return Lines(_walks[target, sizes, len(results)], (line, 0, walk.width(target, steps)[0]))


def _walk(key: tuple[Target, tuple[int, ...], int]) -> Job:
    (job,) = jobs(walk.write(*key))
    return job


_walks: Final = Cache(_walk)
_lines: Final = Cache(_compile, limit=1024)
