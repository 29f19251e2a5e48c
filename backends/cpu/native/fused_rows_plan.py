"""Which pass over a row computes what: the plan of a group with reductions, before it is written as machine code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from flambeau.backends.base import KernelTable
from flambeau.backends.cpu.native.fused_steps import Steps, served
from flambeau.backends.group import Group
from flambeau.backends.group import Step as GroupStep
from flambeau.backends.llvm import printer
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from flambeau.core.expr import ExprError, Program, Step, lower
from flambeau.core.expr.lower import wide

#: Arrays of a group, and rows that a thread keeps.
_MOST, _MOST_KEPT = 24, 8
#: Steps that are computed again rather than kept, up to so many.
_CHEAP: Final = frozenset({
    "input", "constant", "cast", "add", "sub", "mul", "neg", "abs", "square", "maximum", "minimum", "where", "lt", "le",
    "gt", "ge", "eq", "ne", "rounded", "bitwise_and", "bitwise_or", "bitwise_xor",
})  # fmt: skip
_AGAIN: Final = 6


class Read(NamedTuple):
    """What a pass reads: the row of an array, a row kept, or a single number of the row's."""

    dtype: DType
    array: int | None = None
    kept: int = 0
    one: int | None = None


class Store(NamedTuple):
    """A vector that a pass writes, by its number among the steps: to an array, or to a row kept."""

    number: int
    dtype: DType
    array: int | None
    kept: int = 0


class Folded(NamedTuple):
    """A reduction: what becomes of a vector by its number, and the value of the group that it is."""

    name: str
    number: int
    value: int
    dtype: DType


class Small(NamedTuple):
    """Steps of single numbers: what they read, make, and store, by values of the group and numbers of steps."""

    steps: tuple[Step, ...] = ()
    reads: tuple[int, ...] = ()
    makes: tuple[tuple[int, int], ...] = ()
    stores: tuple[tuple[int, int, DType], ...] = ()


class Pass(NamedTuple):
    """One pass over a row, and the single numbers that are computed before it."""

    before: Small
    steps: tuple[Step, ...]
    reads: tuple[Read, ...]
    stores: tuple[Store, ...]
    folds: tuple[Folded, ...]

    @property
    def results(self) -> int:
        return len(self.stores) + len(self.folds)

    @property
    def reads_ones(self) -> tuple[int, ...]:
        return tuple([r.one for r in self.reads if r.one is not None])


class Form(NamedTuple):
    """All that is done with a row; the same for any sizes.

    ``ones`` are single numbers that are read: the value of the group, and where they stand; ``dtypes`` those of rows.
    """

    passes: tuple[Pass, ...]
    after: Small
    read_ones: tuple[tuple[int, int, DType], ...]
    arrays: int
    kept: int
    dtypes: tuple[DType, ...]

    @property
    def ones(self) -> dict[int, tuple[int, DType]]:
        return {value: (array, dtype) for value, array, dtype in self.read_ones}


@dataclass(frozen=True)
class Plan:
    """A form, and which inputs its first arrays are; its last ones are the outputs."""

    form: Form
    reads: tuple[int, ...]


def plan(table: KernelTable, group: Group) -> Plan | None:
    """The plan of a group with reductions; None for what is not served."""
    programs = [_program(table, group, i) for i in range(len(group.steps))]
    if any(p is None for p in programs) or not _lie_in_rows(group):
        return None
    made = _Planner(group, [p for p in programs if p is not None])
    return made.plan()


def _program(table: KernelTable, group: Group, number: int) -> Program | None:
    step = group.steps[number]
    dtypes = tuple([x.dtype for x in group.operands(step)])
    if not step.axes:
        found = served(table, step, dtypes)
        if found is not None and _is_below_largest(group, step):
            program = found.program
            steps = [s._replace(op=printer.EXP_NONPOSITIVE) if s.op == "exp" else s for s in program.steps]
            return replace(program, steps=tuple(steps))
        return None if found is None else found.program
    try:
        program = lower(step.expr, dtypes, step.dtype, printer.native)
    except (ExprError, KeyError):
        return None
    return None if printer.unserved(program) else program


def _is_below_largest(group: Group, step: GroupStep) -> bool:
    """Whether a step is exp of a number less the largest of its row, as softmax has it: no denormals slow it down."""
    known = len(group.inputs)
    if step.name != "exp" or step.operands[0] < known:
        return False
    sub = group.steps[step.operands[0] - known]
    if sub.name != "sub" or sub.operands[1] < known:
        return False
    top = group.steps[sub.operands[1] - known]
    return top.name == "max" and top.axes > 0 and top.operands == sub.operands[:1]


def _lie_in_rows(group: Group) -> bool:
    """Whether each input is of whole rows, dense, or of one number a row, and each new array in the usual order."""
    axes, shape = group.axes, group.shape
    for x in group.inputs:
        if not _is_one(x.shape, axes) and (
            x.shape[-axes:] != shape[-axes:] or not _is_dense(x.shape[-axes:], x.strides[-axes:])
        ):
            return False
    for o, made in zip(group.outputs, [group.shapes[o.step] for o in group.outputs], strict=True):
        if o.strides is not None and not _is_dense(made if o.shape is None else o.shape, o.strides):
            return False
        if o.into is not None and group.inputs[o.into].shape != made:
            return False
    return True


def _is_one(shape: Sequence[int], axes: int) -> bool:
    """Whether an array has one number for a row, or for all of them."""
    return all(n == 1 for n in shape[max(len(shape) - axes, 0) :])


def _is_dense(shape: Sequence[int], strides: Sequence[int]) -> bool:
    step = 1
    for n, s in zip(reversed(shape), reversed(strides), strict=True):
        if n != 1 and s != step:
            return False
        step *= n
    return True


@dataclass
class _Line:
    """Steps that are being put together, with what they read."""

    steps: Steps = field(default_factory=Steps)
    numbers: dict[int, int] = field(default_factory=dict)
    reads: list[Any] = field(default_factory=list)

    def read(self, value: int, what: Any, dtype: DType) -> int:
        if value not in self.numbers:
            self.numbers[value] = self.steps.add(Step("input", wide(dtype), (), len(self.reads)))
            self.reads.append(what)
        return self.numbers[value]


class _Planner:
    """Values are numbered as in the group: inputs, then steps."""

    def __init__(self, group: Group, programs: list[Program]):
        self.group, self.programs, self.known = group, programs, len(group.inputs)
        self.dtypes = [x.dtype for x in group.inputs] + [s.dtype for s in group.steps]
        shapes = [x.shape for x in group.inputs] + list(group.shapes)
        self.ones = [_is_one(s, group.axes) for s in shapes]
        self.level = self._levels()
        self.reads = sorted({i for s in group.steps for i in s.operands if i < self.known})
        self.arrays = {i: k for k, i in enumerate(self.reads)}
        self.outputs = [(o.step + self.known, len(self.reads) + k, o.into) for k, o in enumerate(group.outputs)]
        self.last = max([self.level[v] for v, _, _ in self.outputs if not self.ones[v]], default=-1)
        self.last = max([self.last, *(self.level[self._operand(v)] for v in self._folds())])
        #: Where the rows of a value stand after its own pass,
        self.stored = {v: k for v, k, into in self.outputs if into is None and not self.ones[v]}
        #: or as which row they are kept.
        self.kept: dict[int, int] = {}

    def _levels(self) -> list[int]:
        """The first pass in which a value is known; of a reduction, the one behind that which reads its operands."""
        found = [0] * self.known
        for step in self.group.steps:
            level = max([found[i] for i in step.operands], default=0)
            found.append(level + (1 if step.axes else 0))
        return found

    def _folds(self) -> list[int]:
        return [i for i, s in enumerate(self.group.steps, self.known) if s.axes]

    def _operand(self, fold: int) -> int:
        """The operand of a reduction that is known last."""
        return max(self.group.steps[fold - self.known].operands, key=lambda i: self.level[i])

    def plan(self) -> Plan | None:
        before = -1
        while before < len(self.kept):  # what is kept may itself need what must be kept
            before = len(self.kept)
            for number in range(self.last + 1):
                self._line(number)
        count = len(self.reads) + len(self.outputs)
        if len(self.kept) > _MOST_KEPT or count > _MOST:
            return None
        passes = tuple([self._pass(number) for number in range(self.last + 1)])
        after = self._small(range(self.last + 1, max(self.level) + 1))
        ones = tuple([(i, self.arrays[i], self.dtypes[i]) for i in self.reads if self.ones[i]])
        along = tuple([d for d, one in zip(self.dtypes, self.ones, strict=True) if not one])
        form = Form(passes, after, ones, count, len(self.kept), along)
        return Plan(form, tuple(self.reads))

    # -- single numbers --------------------------------------------------------------------------
    def _small(self, levels: range) -> Small:
        """The single numbers of some levels that are no reductions, and those that are stored."""
        line = _Line()
        mine = [
            i for i, s in enumerate(self.group.steps, self.known)
            if self.ones[i] and not s.axes and s.operands and self.level[i] in levels
        ]  # fmt: skip
        for value in mine:
            self._put(line, value, lambda v: line.read(v, v, self.dtypes[v]) if v not in mine else line.numbers[v])
        stores = [
            (array, self._single(line, value, mine), self.dtypes[value])
            for value, array, _ in self.outputs if self.ones[value] and self.level[value] in levels
        ]  # fmt: skip
        makes = tuple([(value, line.numbers[value]) for value in mine])
        return Small(tuple(line.steps.steps), tuple(line.reads), makes, tuple(stores))

    def _single(self, line: _Line, value: int, mine: list[int]) -> int:
        return line.numbers[value] if value in mine else line.read(value, value, self.dtypes[value])

    def _put(self, line: _Line, value: int, operand: Any) -> int:
        """The steps of a value that is computed here, of operands by their numbers."""
        step, program = self.group.steps[value - self.known], self.programs[value - self.known]
        numbers = [self._constant(line, i) if self._is_constant(i) else operand(i) for i in step.operands]
        found = line.steps.inline(program, numbers)
        if step.dtype in dt.LOW_PRECISION and not step.axes:
            found = line.steps.add(Step(printer.ROUNDED, dt.float32, (found,), step.dtype))
        if not step.axes:
            line.numbers[value] = found
        return found

    def _is_constant(self, value: int) -> bool:
        return value >= self.known and not self.group.steps[value - self.known].operands

    def _constant(self, line: _Line, value: int) -> int:
        if value not in line.numbers:
            self._put(line, value, None)
        return line.numbers[value]

    # -- passes ----------------------------------------------------------------------------------
    def _pass(self, number: int) -> Pass:
        line, folds, stores = self._line(number)
        before = self._small(range(number, number + 1))
        return Pass(before, tuple(line.steps.steps), tuple(line.reads), stores, folds)

    def _line(self, number: int) -> tuple[_Line, tuple[Folded, ...], tuple[Store, ...]]:
        """The steps of a pass; what it finds to be kept is entered."""
        line = _Line()
        folds = []
        for value in self._folds():
            if self.level[value] == number + 1:
                found = self._put(line, value, lambda i: self._value(line, i, number))
                step = self.group.steps[value - self.known]
                folds.append(Folded(step.name, found, value, step.dtype))
        stores = []
        for value, array, into in self.outputs:
            when = self.last if into is not None else self.level[value]
            if not self.ones[value] and when == number:
                stores.append(Store(self._value(line, value, number), self.dtypes[value], array))
        for value, row in list(self.kept.items()):
            if self.level[value] == number:
                stores.append(Store(self._value(line, value, number), self.dtypes[value], None, row))
        return line, tuple(folds), tuple(stores)

    def _value(self, line: _Line, value: int, number: int) -> int:
        """The number of a value's step in a pass: computed, or read."""
        if value in line.numbers:
            return line.numbers[value]
        if self._is_constant(value):
            return self._constant(line, value)
        dtype = self.dtypes[value]
        if self.ones[value]:
            return line.read(value, Read(dtype, one=value), dtype)
        if value < self.known:
            return line.read(value, Read(dtype, self.arrays[value]), dtype)
        if self.level[value] < number:
            if value in self.stored:
                return line.read(value, Read(dtype, self.stored[value]), dtype)
            if value not in self.kept and self._cost(value, number) > _AGAIN:
                self.kept[value] = len(self.kept)
            if value in self.kept:
                return line.read(value, Read(dtype, None, self.kept[value]), dtype)
        return self._put(line, value, lambda i: self._value(line, i, number))

    def _cost(self, value: int, number: int) -> int:
        """How many steps it takes to compute a value again; very many where one of them takes long."""
        if self.ones[value] or value < self.known or (self.level[value] < number and value in self.stored):
            return 0
        steps = self.programs[value - self.known].steps
        own = sum(s.op not in ("input", "constant") for s in steps)
        if any(s.op not in _CHEAP for s in steps):
            return 1 << 16
        return own + sum(self._cost(i, number) for i in self.group.steps[value - self.known].operands)
