"""Groups of kernels that are computed together: what is between them never stands in memory.

The steps of a group are elementwise, and reductions of rows, whose results other steps read broadcast along the row.
A group may begin with a kernel, a product or a convolution: its results go through the steps piece by piece, while
the cache holds them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

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


#: The steps that reduce.
REDUCTIONS: Final = frozenset({"sum", "mean", "max", "min"})


class Step(NamedTuple):
    """One op: its result is rounded to ``dtype`` before any other step reads it, as a kernel's would be.

    Args:
        name: of the op; "cast" and "constant" are steps too, and those of :data:`REDUCTIONS` where there are ``axes``.
        expr: what it computes, of as many operands; of a reduction, what is reduced.
        operands: numbers below the count of inputs are inputs, those from there on are steps before this one.
        dtype: of the result.
        axes: how many of the last axes of the group's shape are reduced, to 1 element each. A group's reductions are
            all over as many. Sums and means may be added up in any order, and in a wider dtype.
    """

    name: str
    expr: Expr
    operands: tuple[int, ...]
    dtype: DType
    axes: int = 0


class Output(NamedTuple):
    """A step whose result stands in memory afterwards.

    Args:
        step: its place among the steps.
        strides: of the new array in elements, which is dense; None where the result goes into an input's memory.
        into: the place of that input, which is of the group's shape and the step's dtype, and overlaps no other input.
        shape: of the new array, where axes of the step's that have one element are left out of it.
    """

    step: int
    strides: tuple[int, ...] | None
    into: int | None = None
    shape: tuple[int, ...] | None = None


class Head(NamedTuple):
    """The kernel that a group begins with, of the group's shape and the dtype of the last of the group's inputs.

    That input stands for its result: the group's function is not given it, but computes it. All steps are elementwise.

    Args:
        name: of the op.
        operands: the inputs that its tensors are, in order; None where there is no tensor.
        params: the others of its arguments, by name.
        kept: whether its result stands in memory afterwards: the first of the new arrays, of the input's strides.
    """

    name: str
    operands: tuple[int | None, ...]
    params: tuple[tuple[str, Any], ...]
    kept: bool


@dataclass(frozen=True)
class Group:
    """Steps of one shape, or of rows of it.

    A backend's function for it is called with the inputs' arrays, in order, of these shapes, dtypes and strides, and
    returns a tuple of the new arrays, in the order of the outputs. Results are those of one kernel after another, to
    the bit; a few units in the last place may lie between them where rows are reduced. The operands of a head are of
    any shape, other inputs broadcast to the group's.

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
    head: Head | None = None

    @property
    def axes(self) -> int:
        """How many of the last axes its reductions are over; 0 where it has none."""
        return max([s.axes for s in self.steps], default=0)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shape of each step: () of constants, rows of one element of reductions and of what is made of such
        alone, the group's of all others.
        """
        axes = self.axes
        rows = (*self.shape[: len(self.shape) - axes], *[1] * axes)
        single = [axes > 0 and all(n == 1 for n in x.shape[max(len(x.shape) - axes, 0) :]) for x in self.inputs]
        for s in self.steps:
            single.append(axes > 0 and (s.axes > 0 or all(single[i] for i in s.operands)))
        steps = zip(self.steps, single[len(self.inputs) :], strict=True)
        return tuple([() if not s.operands else rows if one else self.shape for s, one in steps])

    def operands(self, step: Step) -> tuple[Operand, ...]:
        """What a step reads."""
        known = [x.operand for x in self.inputs]
        known += [Operand(s.dtype, shape) for s, shape in zip(self.steps, self.shapes, strict=True)]
        return tuple([known[i] for i in step.operands])

    def __str__(self) -> str:
        """A line for each step, as in ``%3 = mul(%0, %2): float32``."""
        known = len(self.inputs)
        lines = [f"%{i}: {x.dtype.name}{list(x.shape)} by {list(x.strides)}" for i, x in enumerate(self.inputs)]
        for i, s in enumerate(self.steps, known):
            what = s.expr.source if s.name == "constant" else ", ".join(f"%{k}" for k in s.operands)
            over = f" over {s.axes} axes" if s.axes else ""
            lines.append(f"%{i} = {s.name}({what}){over}: {s.dtype.name}")
        for o in self.outputs:
            lines.append(f"%{o.step + known} to " + ("new memory" if o.into is None else f"%{o.into}"))
        title = f"group of {list(self.shape)}"
        if self.head is not None:
            given = ", ".join("None" if k is None else f"%{k}" for k in self.head.operands)
            title += f", %{known - 1} by {self.head.name}({given})" + (", kept" if self.head.kept else "")
        return "\n".join([title, *lines])
