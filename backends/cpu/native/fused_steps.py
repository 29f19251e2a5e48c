"""Steps of groups as programs: what the kernel of a step computes, and programs that are written one after another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from flambeau.backends.base import KernelTable
from flambeau.backends.cpu import elementwise as numpy_kernels
from flambeau.backends.cpu import generated, small
from flambeau.backends.cpu.native.deferred import CAST
from flambeau.backends.cpu.native.elementwise import cast_program
from flambeau.backends.group import Step as GroupStep
from flambeau.backends.llvm import casts, printer
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from flambeau.core.expr import ExprError, Program, Step, lower, parse
from flambeau.core.expr.arrays import numpy_has

#: Kernels of numpy's functions whose results are the same wherever they are computed.
_EXACT: Final = frozenset({
    "add", "sub", "mul", "div", "neg", "abs", "sqrt", "square", "floor", "ceil", "trunc", "round_half_even", "positive",
    "maximum", "minimum", "fmax", "fmin", "reciprocal", "rsqrt", "copysign", "relu", "sign", "where", "signbit", "lt",
    "le", "gt", "ge", "eq", "ne", "isnan", "isinf", "isfinite", "bitwise_and", "bitwise_or", "bitwise_xor",
    "bitwise_not", "logical_and", "logical_or", "logical_xor", "logical_not",
})  # fmt: skip
#: Those that may give either zero of two; numpy gives another one of low precision.
_OF_ZEROS: Final = frozenset({"maximum", "minimum", "fmax", "fmin", "relu"})


class Served(NamedTuple):
    """The program of a step, and elements of an operand from which its kernel has the same bits; None at no size."""

    program: Program
    least: int | None


def served(table: KernelTable, step: GroupStep, dtypes: tuple[DType, ...]) -> Served | None:
    if any(d not in casts.REGISTER for d in (*dtypes, step.dtype)):
        return None
    try:
        found = _of_step(table, step, dtypes)
    except (ExprError, KeyError):  # no meaning for these dtypes, or a function that only numpy has
        return None
    return None if printer.unserved(found.program) else found


def _of_step(table: KernelTable, step: GroupStep, dtypes: tuple[DType, ...]) -> Served:
    name, expr, result = step.name, step.expr, step.dtype
    if name == "constant":
        return Served(lower(expr, (), result), 0)
    if name == "cast":
        program = cast_program(dtypes[0], result)
        return Served(program, 0 if generated.has_exact_steps(program) else CAST)
    dtype = next((d for d in dtypes if d is not dt.bool_), dt.bool_)
    if table.own(name, dtype) is not None:
        builtin = small.SOURCES.get(dtype, {}).get(name)
        names = expr.operands if builtin is None else ("x", "y", "z")[: len(dtypes)]
        source = parse(builtin or numpy_kernels.source(name, names), names)
        program = lower(source, dtypes, result, printer.native)
        signed = name in _OF_ZEROS and dtype in dt.LOW_PRECISION
        if name in _EXACT and not signed and generated.has_exact_steps(program):
            return Served(program, 0)
        large = numpy_kernels.has_native(name, dtype)
        return Served(program, numpy_kernels.native_from(name, dtype) if large else None)
    code = generated.in_machine_code(name, expr, len(dtypes))
    program = lower(code, dtypes, result, printer.native)
    usual = lower(expr, dtypes, result, numpy_has)
    exact = generated.has_exact_steps(program) and generated.has_exact_steps(usual)
    return Served(program, 0 if exact else generated.native_from(name, expr, dtypes, result))


class Steps:
    """Steps that are written one after another, equal ones once."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._numbers: dict[Any, int] = {}

    def add(self, step: Step) -> int:
        key = (*step[:3], type(step.value), repr(step.value))  # repr keeps 0.0 from -0.0, and nan equal to itself
        if key not in self._numbers:
            self._numbers[key] = len(self.steps)
            self.steps.append(step)
        return self._numbers[key]

    def inline(self, program: Program, operands: Sequence[int]) -> int:
        """The steps of a program on values; the number of its result."""
        numbers: list[int] = []
        for step in program.steps:
            args = tuple([numbers[a] for a in step.args])
            numbers.append(operands[step.value] if step.op == "input" else self.add(step._replace(args=args)))
        return numbers[-1]
