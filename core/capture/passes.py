"""What a recording does twice, in vain, or the same in each call, left out of its replays.

Three passes over the nodes of a segment, before kernels are fused: equal nodes become one, those whose results nobody
needs go, and what is the same in each replay is made once. None changes a bit of what a program sees, nor which tensors
share memory; none makes a large array live longer than it did.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, NamedTuple

from flambeau.core.capture import effects
from flambeau.core.capture.trace import Argument, External, Kind, Node, Value, key_of
from flambeau.core.device import device as Device
from flambeau.core.dtype import DType
from flambeau.core.record import CREATE

#: Bytes up to which a result may live longer so that an equal one isn't computed.
_SMALL: Final = 1 << 14
#: Bytes of constants that one segment holds between calls: rows of zeros, positions, seeds of gradients. What is larger
#: would show in the peak of memory, and making it anew takes little beside the kernels that read so much.
_HELD: Final = 1 << 14


class Removed(NamedTuple):
    """How many nodes of a recording its replays leave out."""

    equal: int = 0  #: equal to one before
    dead: int = 0  #: with results, or writes, that nobody reads
    once: int = 0  #: the same in each replay

    def __add__(self, other: tuple[Any, ...]) -> Removed:
        return Removed(*(a + b for a, b in zip(self, other, strict=True)))

    def __str__(self) -> str:
        return f"{self.equal} equal to another, {self.dead} without use, {self.once} made once"


NOTHING: Final = Removed()


@dataclass(eq=False)
class Optimised:
    """Nodes that are left, and arrays that were made once, for all replays."""

    nodes: list[Node]
    fixed: list[External] = field(default_factory=list)
    removed: Removed = NOTHING


def optimised(nodes: Sequence[Node], kept: Iterable[Value], externals: Sequence[External]) -> Optimised:
    """The nodes of a segment without those that a replay can do without.

    Args:
        nodes: in the order in which they run; they stay as they are, others take their places.
        kept: what is needed behind them: results, gradients, histories, values of later segments.
        externals: arrays that are the same objects in each replay; their contents may change.
    """
    program = _Program(list(nodes), frozenset(kept), effects.own(nodes))
    merged, equal = _merged(program, externals)
    live, dead = _live(merged)
    live, copies = _without_copies(live)
    rest, once = _split(live, externals)
    return Optimised(rest, _made(once, externals), Removed(equal, dead + copies, len(once)))


# -- memory --------------------------------------------------------------------------------------
@dataclass(eq=False)
class _Program:
    """Nodes, the values that are needed behind them, and the storages that are theirs alone until then."""

    nodes: list[Node]
    kept: frozenset[Value]
    own: frozenset[int]

    def __post_init__(self) -> None:
        self.written = {s for n in self.nodes for s in effects.written(n)}
        #: storages of what is needed behind the nodes
        self.shown = {x.storage for x in self.kept if x.is_array}
        #: the place of the last node that has to do with a storage
        self.last: dict[int, int] = {}
        for i, node in enumerate(self.nodes):
            self.last.update((x.storage, i) for x in (*effects.read(node), *node.made) if x.is_array)

    def is_private(self, value: Value) -> bool:
        """Whether a value's memory is made here, never written to, and of no use behind the nodes."""
        return value.storage in self.own and value.storage not in self.written and value.storage not in self.shown

    def renamed(self, nodes: Sequence[Node], names: dict[Value, Value], storages: dict[int, int]) -> _Program:
        """Of these nodes, with other names for values, and for storages that are one now."""
        for x in {x for n in nodes for x in (*effects.read(n), *n.made)} | self.kept:
            named = names.get(x, x)
            if (storage := _first(storages, named.storage)) != named.storage:
                names[x] = replace(named, storage=storage)
        kept = frozenset([replace(x, storage=_first(storages, x.storage)) for x in self.kept])
        return _Program([_with_names(n, names) for n in nodes], kept, self.own)


def _first(storages: dict[int, int], storage: int) -> int:
    while storage in storages:
        storage = storages[storage]
    return storage


def _bytes(value: Value) -> int:
    assert value.key is not None
    return math.prod(value.shape) * value.key.stored.itemsize


def _form(value: Value) -> tuple[Any, ...]:
    """What an array is beside its elements."""
    return value.shape, value.strides, value.key, value.wrapped


def _renamed(argument: Argument, names: dict[Value, Value]) -> Argument:
    """An argument with other values in the place of some."""
    kind = argument.__class__
    if kind is Value:
        return names.get(argument, argument)
    if kind in (list, tuple):
        return kind([_renamed(a, names) for a in argument])
    if isinstance(argument, tuple) and hasattr(argument, "_make"):
        return kind._make([_renamed(a, names) for a in argument])
    return argument


def _with_names(node: Node, names: dict[Value, Value]) -> Node:
    """A node of other values."""
    if not any(x in names for x in (*effects.read(node), *node.made)):
        return node
    params = {k: _renamed(v, names) for k, v in node.params.items()}
    return replace(node, args=_renamed(node.args, names), params=params, outs=_renamed(node.outs, names))


# -- equal nodes ---------------------------------------------------------------------------------
def _merged(program: _Program, externals: Sequence[External]) -> tuple[_Program, int]:
    """A program with one node in the place of several equal ones, and how many are gone."""
    merging = _Merging(program, externals)
    left = [node for i, node in enumerate(program.nodes) if not merging.joins(i, node)]
    return program.renamed(left, merging.names(), merging.storages), len(program.nodes) - len(left)


class _Merging:
    """One way through the nodes, in order. Each class of equal values has its first one as its head."""

    def __init__(self, program: _Program, externals: Sequence[External]):
        self.kept, self.own, self.written = program.kept, program.own, program.written
        self.shown, self.last = set(program.shown), dict(program.last)
        numbers: dict[Any, Value] = {}
        self.heads: dict[Value, Value] = {}  # of values that joined one, which for numbers of before they do at once
        for e in externals:
            if e.constant is not None and e.value.storage not in self.shown:
                first = numbers.setdefault(e.constant, e.value)
                if e.value != first:
                    self.heads[e.value] = first
        self.called: dict[Value, Value] = {}  # for a head, the value of its class that is needed behind the nodes
        self.storages: dict[int, int] = {}  # of joined values, and those of their heads
        self.seen: dict[Any, Node] = {}
        self.versions: dict[int, int] = {}
        self.epoch = 0  # how often code ran that may write to whatever was there before

    def names(self) -> dict[Value, Value]:
        """What each value is called that loses its name: the head is called as the one that is needed behind."""
        joined = {x: self.called.get(head, head) for x, head in self.heads.items()}
        return {x: name for x, name in {**joined, **self.called}.items() if x != name}

    def joins(self, place: int, node: Node) -> bool:
        """Whether a node's results are those of a node before it; what it writes to is other memory from here on."""
        token = self._token_of(node)
        found = None if token is None else self.seen.get(token)
        if found is not None and self._join(place, node, found):
            return True
        if token is not None:
            self.seen[token] = node
        for storage in {_first(self.storages, s) for s in effects.written(node)}:
            self.versions[storage] = self.versions.get(storage, 0) + 1
        self.epoch += effects.is_opaque(node)
        return False

    def _join(self, place: int, node: Node, found: Node) -> bool:
        pairs = [*zip(found.made, node.made, strict=True)] if len(found.made) == len(node.made) else []
        if not pairs or any(_form(a) != _form(b) for a, b in pairs):
            return False
        if any(b in self.kept and (a in self.kept or a in self.called) for a, b in pairs):
            return False  # two tensors would have one array
        made = node.kind is Kind.CONSTANT or all(x.storage in self.own for pair in pairs for x in pair)
        if not effects.is_view(node) and not (made and all(self._may_share(place, a, b) for a, b in pairs)):
            return False
        for a, b in pairs:
            self.heads[b] = a
            if b in self.kept:
                self.called[a] = b
            one, other = (_first(self.storages, x.storage) for x in (a, b))
            if one != other:
                self.storages[other] = one
                self.shown |= {one} if other in self.shown else set()
                self.last[one] = max(self.last[one], self.last[other])
        return True

    def _may_share(self, place: int, a: Value, b: Value) -> bool:
        """Whether one array will do for two: nobody writes to it, nor gets it twice, and it is there or small."""
        one, other = (_first(self.storages, x.storage) for x in (a, b))
        if {one, other} & self.written or one in self.shown and other in self.shown:
            return False
        return self.last[one] >= place or one in self.shown or _bytes(a) <= _SMALL

    # -- what makes nodes equal --------------------------------------------------------------------
    def _token_of(self, node: Node) -> Any:
        """Equal for nodes that give equal results, None for nodes that go with no other."""
        views = effects.is_view(node)
        if not (views or effects.is_function(node) or node.kind is Kind.CONSTANT):
            return None
        parts = (node.args, *[part for name in sorted(node.params) for part in (name, node.params[name])])
        tokens = [self._token(part, not views) for part in parts]
        return None if None in tokens else (node.fn, node.op, id(node.key), *tokens)

    def _token(self, argument: Argument, contents: bool) -> Any:
        kind = argument.__class__
        if kind is Value:
            value: Value = argument
            head = self.heads.get(value, value)
            if not (contents and head.is_array):
                return Value, head.number
            storage = _first(self.storages, head.storage)
            epoch = 0 if storage in self.own else self.epoch
            return Value, head.number, self.versions.get(storage, 0), epoch
        if kind in (tuple, list):
            tokens = [self._token(a, contents) for a in argument]
            return None if None in tokens else (kind, *tokens)
        if kind is slice:
            return kind, argument.start, argument.stop, argument.step
        if argument is None or kind in (bool, int, float, complex):
            return kind, None if argument is None else key_of(argument)
        if kind is str or kind in (DType, Device):
            return kind, argument
        return None


# -- nodes without use -----------------------------------------------------------------------------
def _live(program: _Program) -> tuple[_Program, int]:
    """A program of the nodes that something depends on, and how many do not stand among them."""
    walk = _Backward(program)
    left = [found for node in reversed(program.nodes) if (found := walk.live(node)) is not None]
    return replace(program, nodes=left[::-1]), walk.dead


class _Backward:
    """One way through the nodes, the last one first."""

    def __init__(self, program: _Program):
        self.own = program.own
        self.wanted = set(program.kept)  # values that are needed behind the node that comes next
        self.read = set(program.shown)  # storages whose contents are
        self.over: set[Value] = set()  # arrays that get new elements, all of them, before anyone reads one
        self.dead = 0

    def live(self, node: Node) -> Node | None:
        """A node as it is needed, or None."""
        into = effects.target(node)
        if into is not None:
            needed = self._writes(into[0]) or effects.may_raise(node)
        else:
            needed = not self._is_idle(node)
        if not needed:
            self.dead += 1
            return None
        self._require(node, into)
        return self._unfilled(node)

    def _writes(self, into: Value) -> bool:
        """Whether someone sees what is written to an array."""
        return into not in self.over and (into.storage not in self.own or into.storage in self.read)

    def _is_idle(self, node: Node) -> bool:
        """Whether nobody needs what a node gives, and it does nothing else."""
        if any(x in self.wanted for x in node.made) or effects.may_raise(node):
            return False
        return node.kind in (Kind.MAKE, Kind.CONSTANT) or effects.is_view(node) or effects.is_function(node)

    def _require(self, node: Node, into: tuple[Value, tuple[Value, ...]] | None) -> None:
        """What a node needs is needed before it."""
        self.wanted.update(effects.read(node))
        reads = effects.read(node)
        if into is not None:
            self.over.add(into[0])
            reads = iter(into[1])
        elif effects.is_view(node):
            reads = iter(())
        if node.kind not in (Kind.KERNEL, Kind.MAKE, Kind.CONSTANT, Kind.WRITE) or effects.may_raise(node):
            self.over = {x for x in self.over if x.storage in self.own}  # what was there is seen, by an error's handler
        storages = {x.storage for x in reads if x.is_array}
        self.read |= storages
        self.over = {x for x in self.over if x.storage not in storages}

    def _unfilled(self, node: Node) -> Node:
        """An array whose elements get other values before anyone reads them needs none."""
        if node.op is None or node.op.family is not CREATE or not effects.is_function(node) or len(node.made) != 1:
            return node
        out, key = node.out, node.out.key
        if out not in self.over or out.wrapped or key is None:
            return node
        self.dead += 1
        empty = partial(key.backend.empty, out.shape, key.stored, key.device.number)
        return replace(node, kind=Kind.MAKE, fn=empty, args=(), params={}, op=None, served=False)


def _without_copies(program: _Program) -> tuple[_Program, int]:
    """A program without copies of arrays that nobody uses any more: the array is the copy."""
    made = {x for n in program.nodes if effects.is_function(n) for x in n.made}
    names: dict[Value, Value] = {}
    storages: dict[int, int] = {}
    left = []
    for i, node in enumerate(program.nodes):
        if node.op is not None and node.op.name == "clone" and effects.is_function(node):
            (source,) = effects.read(node)
            copy = node.out
            ends = source in made and program.is_private(source) and program.last[source.storage] == i
            if ends and _form(copy) == _form(source) and copy.storage in program.own - program.written:
                names[source], storages[copy.storage] = copy, source.storage
                continue
        left.append(node)
    for source, copy in [*names.items()][::-1]:  # the copy of a copy has the last one's name
        names[source] = names.get(copy, copy)
    return program.renamed(left, names, storages), len(program.nodes) - len(left)


# -- the same in each replay -------------------------------------------------------------------------
def _split(program: _Program, externals: Sequence[External]) -> tuple[list[Node], list[Node]]:
    """The nodes for each replay, and those that run once: views of what stays where it is, and small constants.

    A view of a parameter sees what is written to it later. What is computed must depend on numbers alone.
    """
    room = _HELD
    there = {e.value for e in externals}
    constant = {e.value for e in externals if e.constant is not None}
    rest: list[Node] = []
    once: list[Node] = []
    for node in program.nodes:
        given = set(effects.read(node))
        size = sum(map(_bytes, node.made)) if all(x.is_array for x in node.made) else room + 1
        if effects.is_view(node) and given <= there and node.out not in program.kept:
            size = 0
        elif not _is_constant(node, program) or not given <= constant or size > room:
            rest.append(node)
            continue
        room -= size
        once.append(node)
        there |= {*node.made}
        if given <= constant:
            constant |= {*node.made}
    return rest, once


def _is_constant(node: Node, program: _Program) -> bool:
    """Whether a node gives the same arrays each time, for the same arguments, and nobody else gets them."""
    if effects.may_raise(node) or not node.made or not (node.kind is Kind.MAKE or effects.is_function(node)):
        return False
    return all(program.is_private(x) for x in node.made)


def _made(nodes: Sequence[Node], externals: Sequence[External]) -> list[External]:
    """What nodes give that run now, as arrays that stay."""
    known = {e.value: e.array for e in externals}
    found: list[External] = []
    devices = set()
    for node in nodes:
        result = node.fn(*_filled(node.args, known), **{k: _filled(v, known) for k, v in node.params.items()})
        for value, array in zip(node.outs, result if node.several else (result,), strict=True):
            if value is None:
                continue
            key = value.key
            assert key is not None
            known[value] = key.wrap(array) if value.wrapped else array
            found.append(External(value, known[value]))
            devices.add((key.backend, key.device.number))
    for backend, index in devices:
        backend.synchronize(index)  # replays may run on other streams
    return found


def _filled(argument: Argument, known: dict[Value, Any]) -> Argument:
    """An argument with arrays in the place of values."""
    kind = argument.__class__
    if kind is Value:
        return known[argument]
    if isinstance(argument, (list, tuple)):
        parts = [_filled(a, known) for a in argument]
        return argument._make(parts) if hasattr(argument, "_make") else kind(parts)
    return argument
