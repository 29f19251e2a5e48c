"""The entries of a recording: all that stands in it beside values, which may be others at another size."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from typing import Any, Final, TypeAlias

import numpy as np

from flambeau.core.capture.ending import Ending, Form, Saved
from flambeau.core.capture.laws import Number, Sizes, foretold
from flambeau.core.capture.trace import External, Node, Segment, Value, bits_equal, same_function
from flambeau.core.graph import Node as History
from flambeau.core.tensor import Tensor

Entry: TypeAlias = Any  # a literal of a node or of an ending, or an External

#: Forms that are compared entry by entry, and what else endings have: a recording with more is for its sizes alone.
_KINDS: Final = frozenset(
    {"argument", "base", "leaf", "link", "literal", "node", "number", "same", "slot", "tensor", "view", "written"}
)
_MORE: Final = [
    f.name for f in fields(Ending)
    if f.name not in ("structure", "forms", "results", "gradients", "written", "starts", "writers")
]  # fmt: skip
_PARAMS: Final = 3  #: the place of a node's params among the parts of its form


class Hole:
    """Stands in nodes for an entry that depends on sizes."""

    __slots__ = ("name",)

    def __init__(self, place: int):
        self.name = f"s{place}"

    def __repr__(self) -> str:
        return self.name


class Walk:
    """Goes through a recording in one order: what it is made of, its entries, and itself with holes in some of them."""

    def __init__(self, holes: Mapping[int, Hole] | None = None, wrapped: Container[int] = ()):
        self.tokens: list[Any] = []
        self.entries: list[Entry] = []
        self.wrapped: set[int] = set()  # values that a kernel gives as a number of the array library
        self._holes, self._wraps = holes or {}, wrapped

    def _entry(self, found: Entry) -> Entry:
        place = len(self.entries)
        self.entries.append(found)
        return self._holes.get(place, found)

    def _value(self, v: Value | None) -> None:
        self.tokens.append(None if v is None else (v.number, v.node, v.key, v.storage, len(v.shape)))

    def segment(self, s: Segment) -> Segment:
        """Go through a segment; a new one with the holes in it."""
        self.tokens.append((s.start, s.end, None if s.asked is None else s.asked.number))
        self.tokens.append(None if s.asked is None else sorted(v.number for v in s.alive))
        externals = [self._external(e) for e in s.externals]
        nodes = [self._node(n) for n in s.nodes]
        ending = None if s.ending is None else self._ending(s.ending)
        return Segment(s.start, nodes, externals, s.asked, s.place, s.alive, s.end, ending=ending)

    def _external(self, e: External) -> External:
        self._value(e.value)
        if e.constant is None:
            self.tokens.append((id(e.grad_of), None if e.grad_of is not None else id(e.array)))
            return e
        self.tokens.append("number")
        entry = self._entry(e)
        return External(e.value, entry if entry.__class__ is Hole else e.array, e.constant)

    def _node(self, n: Node) -> Node:
        self.tokens.append((n.kind, n.op, n.key, n.several, n.served, len(n.args), len(n.outs), *n.params))
        fn = n.fn if n.served else self._entry(n.fn)
        args = tuple([self._part(a) for a in n.args])
        params = {k: self._part(v) for k, v in n.params.items()}
        outs = tuple(map(self._made, n.outs))
        return Node(n.kind, fn, args, params, outs, n.several, n.op, n.key, n.place, n.served)

    def _made(self, v: Value | None) -> Value | None:
        self._value(v)
        if v is not None and v.wrapped:
            self.wrapped.add(v.number)
        if v is None or v.wrapped or v.number not in self._wraps:
            return v
        return Value(v.number, v.node, v.key, v.shape, v.strides, v.storage, v.number_then, True)

    def _part(self, part: Any) -> Any:
        """A part of a node or a form: what has no values in it is one entry."""
        kind = part.__class__
        if kind is Value:
            self.tokens.append(part.number)
            return part
        if kind is Form:
            self.tokens.append(("form", part.index))
            return part
        if kind is Saved:
            self.tokens.append(("saved", part.value.number, part.key, part.since))
            return Saved(part.value, part.key, part.since, self._part(part.edge))
        if kind in (tuple, list) and any(map(_has_values, part)):
            self.tokens.append((kind, len(part)))
            return kind([self._part(p) for p in part])
        return self._entry(part)

    def _ending(self, e: Ending) -> Ending:
        self.tokens += [e.structure, tuple(e.written), [f.index for f in e.results]]
        self.tokens += [(a.index, b.index) for a, b in e.gradients]
        self.tokens += [object() for name in _MORE if getattr(e, name)]  # which is equal to nothing
        return replace(e, forms=[self._form(f) for f in e.forms])

    def _form(self, f: Form) -> Form:
        own = id(f.own) if f.kind == "same" else None if f.kind in _KINDS else object()
        self.tokens.append((f.kind, f.index, len(f.parts), own))
        parts = []
        for i, p in enumerate(f.parts):
            if i == _PARAMS and f.kind in ("node", "written"):  # these are written out, one by one
                self.tokens.append(tuple(p))
                parts.append({k: self._part(v) for k, v in p.items()})
            else:
                parts.append(self._part(p))
        return Form(f.kind, tuple(parts), f.own, f.index)


def _has_values(part: Any) -> bool:
    kind = part.__class__
    return kind in (Value, Form, Saved) or kind in (tuple, list) and any(map(_has_values, part))


def equal(a: Entry, b: Entry) -> bool:
    """Whether two entries are the same: by type and bits, functions by what they do, tensors only if they are one."""
    if a is b:
        return True
    if isinstance(a, External):
        return isinstance(b, External) and a.constant == b.constant
    if isinstance(a, (Tensor, History)) or type(a) is not type(b):
        return False
    return same_function(a, b) if callable(a) and not isinstance(a, type) else bits_equal(a, b)


def may_differ(a: Entry, b: Entry) -> bool:
    """Whether an entry may become another one with the size: a number, what is made of numbers, one code over them."""
    if type(a) is not type(b):
        return {type(a), type(b)} <= {int, type(None)}  # the end of a slice, or that there is none
    if isinstance(a, External):
        return bool(a.constant[0] is b.constant[0])  # type: ignore[index]  # both are numbers, of one key
    if isinstance(a, partial):
        return same_function(a.func, b.func)
    code = getattr(a, "__code__", None)
    return code is b.__code__ if code is not None else isinstance(a, (int, float, tuple, list, dict, slice, np.ndarray))


def _numbers(entry: Any, found: list[Number], rest: list[Any]) -> None:
    """The numbers in an entry, and what else it is made of."""
    kind = type(entry)
    if isinstance(entry, External):
        number = number_of(entry)
        if number is None:
            rest.append(entry.constant)
        else:
            found.append(number)
    elif kind in (int, float):
        found.append(entry)
        rest.append(kind)
    elif isinstance(entry, (tuple, list)):
        rest.append((kind, len(entry)))
        for part in entry:
            _numbers(part, found, rest)
    elif kind is slice:
        _numbers((entry.start, entry.stop, entry.step), found, rest)
    elif kind is dict:
        _numbers((*entry, *entry.values()), found, rest)
    elif kind is partial:
        rest.append(entry.func)
        _numbers((*entry.args, entry.keywords), found, rest)
    elif getattr(entry, "__code__", None) is not None:
        rest.append(entry.__code__)
        _numbers((*(c.cell_contents for c in entry.__closure__ or ()), entry.__defaults__), found, rest)
    else:
        rest.append(entry)


def number_of(e: External) -> Number | None:
    """The number whose constant an external is; None for complex ones and bools."""
    assert e.constant is not None
    kind, bits = e.constant[1][:2]
    return float.fromhex(bits) if kind is float else bits if kind is int else None


def all_foretold(at: Sequence[Sizes], sizes: Sizes, entries: Sequence[Entry], done: dict[Any, bool]) -> bool:
    """Whether laws give all numbers in the last of some entries, and the rest of it is what it was.

    ``done`` keeps what was found for the same numbers.
    """
    columns: list[list[Number]] = []
    rests: list[list[Any]] = []
    for e in entries:
        found: list[Number] = []
        rest: list[Any] = []
        _numbers(e, found, rest)
        columns.append(found)
        rests.append(rest)
    if any(len(c) != len(columns[-1]) for c in columns) or not all(_all_equal(r, rests[-1]) for r in rests):
        return False
    for numbers in zip(*columns, strict=True):
        key = tuple(map(repr, numbers))
        if key not in done:
            done[key] = foretold(list(zip(at, numbers[:-1], strict=True)), sizes, numbers[-1])
        if not done[key]:
            return False
    return True


def _all_equal(a: Sequence[Any], b: Sequence[Any]) -> bool:
    return len(a) == len(b) and all(map(equal, a, b))
