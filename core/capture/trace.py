"""What a recording is: nodes that call a function on values, in order, and what remains of the call at its end.

An argument of a node is a :class:`Value`, a list or tuple of arguments, or anything else, which stands for itself.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from flambeau.core.keys import Key
from flambeau.core.record import Op

Argument: TypeAlias = Any  # a Value, a list or tuple of arguments, or a literal


class Kind(enum.Enum):
    """What a node is."""

    KERNEL = "kernel"  # fn(*args, **params) is the kernel of ``op`` for ``key``
    WRITE = "write"  # args (target, source): the values of source into the memory of target
    MAKE = "make"  # an array of memory of its own, equal each time: no args
    CONSTANT = "constant"  # args (number,): the 0-d array that kernels get for a number
    HOST = "host"  # numbers, by a call of the program's own or by arithmetic on numbers
    READ = "read"  # args (array,): a number or the bytes of an array, on the host


@dataclass(eq=False, slots=True)
class Value:
    """An array or a number of the program."""

    number: int  #: its place among the values of the trace
    node: int = -1  #: the place of the node that makes it; -1: it exists before the program runs
    key: Key | None = None  #: of an array; None for a number
    shape: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()  #: in elements
    storage: int = -1  #: the number of the first value seen in the same memory; values that differ in it share none
    dense: bool = True  #: contiguous in row-major order

    @property
    def is_array(self) -> bool:
        return self.key is not None

    @property
    def name(self) -> str:
        return f"v{self.number}" if self.is_array else f"n{self.number}"


@dataclass(eq=False, slots=True)
class Node:
    """One call of a replay."""

    kind: Kind
    fn: Callable[..., Any]
    args: tuple[Argument, ...]
    params: dict[str, Any] = field(default_factory=dict)
    outs: tuple[Value, ...] = ()
    several: bool = False  #: whether fn gives a tuple or list of results
    op: Op | None = None
    key: Key | None = None
    place: str = ""  #: "file:line" of the program's own code

    def values(self) -> Iterator[Value]:
        """The values among the arguments, as often as they stand there."""
        return values_in(self.args)

    @property
    def name(self) -> str:
        return self.op.name if self.op is not None else self.kind.value


def values_in(argument: Argument) -> Iterator[Value]:
    """The values in an argument."""
    if argument.__class__ is Value:
        yield argument
    elif isinstance(argument, (list, tuple)):
        for part in argument:
            yield from values_in(part)
