"""What a recording is: nodes that call a function on values, in order, and what remains of the call at its end.

An argument of a node is a :class:`Value`, a list or tuple of arguments, or anything else, which stands for itself.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, TypeAlias

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
    CALL = "call"  # fn(*args) of a backend without a record: it writes to its arrays, or gives a number
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
    number_then: Any = None  #: what a number was when it was recorded
    wrapped: bool = False  #: whether the kernel gives a number of the array library, which becomes an array

    def __eq__(self, other: object) -> bool:  # along one way through a program numbers are given once
        return other.__class__ is Value and self.number == other.number

    def __hash__(self) -> int:
        return self.number

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
    outs: tuple[Value | None, ...] = ()
    several: bool = False  #: whether fn gives a tuple or list of results
    op: Op | None = None
    key: Key | None = None
    place: str = ""  #: "file:line" of the program's own code
    served: bool = False  #: whether fn is what the key has for the op: another one, where that is served anew

    def values(self) -> Iterator[Value]:
        """The values among the arguments, as often as they stand there."""
        return values_in(self.args)

    @property
    def made(self) -> tuple[Value, ...]:
        """What it gives, less results that are None."""
        return tuple([v for v in self.outs if v is not None])

    @property
    def out(self) -> Value:
        """The one result of a node that has one."""
        (found,) = self.made
        return found

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


@dataclass(eq=False, slots=True)
class External:
    """An array that was there before the program ran, and is no argument of it."""

    value: Value
    array: Any  # the backend's own
    constant: tuple[Any, ...] | None = None  #: what number it is, where it is the constant of a number
    grad_of: Any = None  #: the tensor whose gradient it is, where each call may find another one there


class Gradient(NamedTuple):
    """A gradient that a tensor had when the program began, and that nobody has any more."""

    tensor: Any  #: whose
    key: Key
    shape: tuple[int, ...]
    strides: tuple[int, ...]  #: in elements


@dataclass(eq=False, slots=True)
class Segment:
    """Nodes up to the next place where the program looks at a value on the host, or to its end."""

    start: int  #: how many values were numbered before it
    nodes: list[Node] = field(default_factory=list)
    externals: list[External] = field(default_factory=list)
    asked: Value | None = None  #: what the program looks at behind the last node; its answer chooses the child
    place: str = ""  #: where it does
    alive: tuple[Value, ...] = ()  #: the values that the program still had there
    end: int = 0  #: how many values were numbered behind it
    children: dict[Any, Segment] = field(default_factory=dict)
    ending: Any = None  #: what remains of the call, where the program ends; its class stands above
    recordings: int = 0  #: how often it was recorded
    verified: bool = False  #: whether two recordings in a row agreed
    run: Callable[[tuple[Any, ...], Any], Any] | None = None  #: the generated function, made at first need
    source: str = ""  #: its text
    given: list[Value] = field(default_factory=list)  #: what it takes
    wanted: list[Value] = field(default_factory=list)  #: what it leaves, where the program goes on
    freed: list[Gradient] = field(default_factory=list)  #: gone before foreign code runs, or at its end
    gone: tuple[Value, ...] = ()  #: arrays of segments before that nobody needs once it has taken what is given
    removed: tuple[int, ...] = ()  #: how many nodes the function does without, as its passes count them


def key_of(answer: Any) -> Any:
    """What tells one answer from another: type and bits of numbers, bytes of arrays."""
    kind = type(answer)
    if kind is float:
        return kind, answer.hex()
    if kind is complex:
        return kind, answer.real.hex(), answer.imag.hex()
    if kind in (bool, int, tuple):
        return kind, answer
    return answer.shape, answer.dtype.str, answer.tobytes()


def bits_equal(a: Any, b: Any) -> bool:
    """Whether two literals are the same: numbers by type and bits, containers by their parts, else by ``==``."""
    if a is b:
        return True
    kind = type(a)
    if kind is not type(b):
        return False
    if kind is list or kind is tuple:  # before each replay, most often with the same objects in them
        if len(a) != len(b):
            return False
        for v, w in zip(a, b, strict=True):  # noqa: SIM110  # all() of a generator takes twice the time
            if v is not w and not bits_equal(v, w):
                return False
        return True
    if isinstance(a, (float, complex)):
        return bool(key_of(a) == key_of(b))
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(bits_equal, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(bits_equal(v, b[k]) for k, v in a.items())
    if hasattr(a, "tobytes") and hasattr(a, "dtype"):
        return bool(key_of(a) == key_of(b))
    if isinstance(a, slice):
        return bits_equal((a.start, a.stop, a.step), (b.start, b.stop, b.step))
    try:
        return bool(a == b)
    except Exception:  # whatever an object's own comparison raises: they are not known to be equal
        return False


def same_function(f: Any, g: Any) -> bool:
    """Whether two functions do the same: one function, one method of one object, or one code over equal values."""
    if f is g or f == g:
        return True
    if isinstance(f, partial) and isinstance(g, partial):
        return same_function(f.func, g.func) and bits_equal(f.args, g.args) and bits_equal(f.keywords, g.keywords)
    if getattr(f, "__code__", None) is None or f.__code__ is not getattr(g, "__code__", None):
        return False
    cells = [[c.cell_contents for c in h.__closure__ or ()] for h in (f, g)]
    return bits_equal(cells[0], cells[1]) and bits_equal(f.__defaults__, g.__defaults__)


def differences(old: Segment, new: Segment) -> str:
    """ "" where two recordings of a segment are the same, else the first thing in which they differ."""
    for m, n in zip(old.nodes, new.nodes, strict=False):
        if why := _different(m, n):
            return f"{n.name} at {n.place}: {why}"
    if len(old.nodes) != len(new.nodes):
        longer = max(old.nodes, new.nodes, key=len)[min(len(old.nodes), len(new.nodes))]
        return f"{longer.name} at {longer.place} ran in one call, and not in the next"
    if old.asked != new.asked:
        return f"a value is looked at, at {old.place or new.place}, in one call, and not in the next"
    for a, b in zip(old.externals, new.externals, strict=False):
        same = a.array is b.array or a.constant is not None and a.constant == b.constant
        if not same and (a.grad_of is None or a.grad_of is not b.grad_of):
            user = next((n for n in new.nodes if b.value in set(n.values())), None)
            where = f"{user.name} at {user.place}: " if user else ""
            return f"{where}a tensor of shape {b.value.shape}, which is no argument, is another one in the next call"
    return "" if len(old.externals) == len(new.externals) else "other tensors are used in the next call"


def _different(m: Node, n: Node) -> str:
    if m.kind is not n.kind or m.op is not n.op or m.key is not n.key:
        return f"{m.name} ran there the call before"
    if not (m.served and n.served or same_function(m.fn, n.fn)):
        return "another function, or other values"
    if len(m.args) != len(n.args) or m.params.keys() != n.params.keys() or len(m.outs) != len(n.outs):
        return "other arguments"
    pairs = [*zip(m.args, n.args, strict=True), *((v, n.params[k]) for k, v in m.params.items())]
    for a, b in pairs:
        if not bits_equal(a, b):
            return f"{_shown(a)} became {_shown(b)} in the next call"
    if n.op is not None and n.op.infer is None:
        return ""  # the shapes of its results depend on data, and are looked at behind it
    for v, w in zip(m.outs, n.outs, strict=True):
        if v != w or v is not None and w is not None and (v.shape, v.strides, v.key) != (w.shape, w.strides, w.key):
            return f"its result was of shape {v and v.shape}, and is of {w and w.shape}"
    return ""


def _shown(argument: Argument) -> str:
    text = argument.name if argument.__class__ is Value else repr(argument)
    return text if len(text) < 60 else text[:57] + "..."
