"""Groups of elementwise kernels, computed together: what is between them never stands in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from flambeau.core.dtype import DType
from flambeau.core.expr import Expr


class Operand(NamedTuple):
    """What a step reads: an array that broadcasts to the group's shape, or what an earlier step gave.

    Args:
        dtype: of the numbers.
        shape: the array's own; the group's where an earlier step gave it.
    """

    dtype: DType
    shape: tuple[int, ...]


class Input(NamedTuple):
    """An array that a group gets: strides count elements, and are 0 along axes of one element."""

    dtype: DType
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def operand(self) -> Operand:
        return Operand(self.dtype, self.shape)


class Step(NamedTuple):
    """One op: its result is rounded to ``dtype`` before any other step reads it, as a kernel's would be.

    Args:
        name: of the op; "cast" and "constant" are steps too.
        expr: what it computes, of as many operands.
        operands: numbers below the count of inputs are inputs, those from there on are steps before this one.
        dtype: of the result.
    """

    name: str
    expr: Expr
    operands: tuple[int, ...]
    dtype: DType


class Output(NamedTuple):
    """A step whose result stands in memory afterwards.

    Args:
        step: its place among the steps.
        strides: of the new array in elements, which is dense; None where the result goes into an input's memory.
        into: the place of that input, which is of the group's shape and the step's dtype, and overlaps no other input.
    """

    step: int
    strides: tuple[int, ...] | None
    into: int | None = None


@dataclass(frozen=True)
class Group:
    """Elementwise steps of one shape.

    A backend's function for it is called with the inputs' arrays, in order, of these shapes, dtypes and strides, and
    returns a tuple of the new arrays, in the order of the outputs. Results are those of one kernel after another, to
    the bit.

    >>> from flambeau.backends.group import Input, Output, Step
    >>> from flambeau.core.expr import parse
    >>> x = Input(fb.float32, (3,), (1,))
    >>> first = Step("neg", parse("-x", ("x",)), (0,), fb.float32)
    >>> second = Step("mul", parse("x * y", ("x", "y")), (0, 1), fb.float32)
    >>> print(Group((3,), (x,), (first, second), (Output(1, (1,)),)))
    group of [3]
    %0: float32[3] by [1]
    %1 = neg(%0): float32
    %2 = mul(%0, %1): float32
    %2 to new memory
    """

    shape: tuple[int, ...]
    inputs: tuple[Input, ...]
    steps: tuple[Step, ...]
    outputs: tuple[Output, ...]

    def operands(self, step: Step) -> tuple[Operand, ...]:
        """What a step reads."""
        made = [Operand(s.dtype, self.shape if s.operands else ()) for s in self.steps]
        known = [x.operand for x in self.inputs] + made
        return tuple([known[i] for i in step.operands])

    def __str__(self) -> str:
        """A line for each step, as in ``%3 = mul(%0, %2): float32``."""
        known = len(self.inputs)
        lines = [f"%{i}: {x.dtype.name}{list(x.shape)} by {list(x.strides)}" for i, x in enumerate(self.inputs)]
        for i, s in enumerate(self.steps, known):
            what = s.expr.source if s.name == "constant" else ", ".join(f"%{k}" for k in s.operands)
            lines.append(f"%{i} = {s.name}({what}): {s.dtype.name}")
        for o in self.outputs:
            lines.append(f"%{o.step + known} to " + ("new memory" if o.into is None else f"%{o.into}"))
        return "\n".join([f"group of {list(self.shape)}", *lines])
