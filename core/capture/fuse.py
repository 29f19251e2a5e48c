"""Chains of kernels become one function each, where the backend makes one: elementwise ones, rows, and a head.

The pass goes through the nodes once, in order. Kernels that may go together wait in a group; whatever meets a waiting
group in a value or in memory, and does not join it, lets it go first. So the nodes that leave in another order than
they came have nothing to do with each other.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from flambeau.backends.group import Group, Input, Output, Step
from flambeau.core.capture import effects
from flambeau.core.capture.fuse_calls import Call, Start, call_of, key_of, rows_of, start_of
from flambeau.core.capture.fuse_rows import rows_call
from flambeau.core.capture.trace import Kind, Node, Value
from flambeau.core.device import device as Device
from flambeau.core.dtype import DType, host_scalar
from flambeau.core.expr import parse

#: Kernels of a group, arrays that it gets, and those that it makes.
_MOST_CALLS, _MOST_ARRAYS, _MOST_RESULTS = 64, 16, 8
#: How many nodes behind a kernel that may begin a group the first one stands that reads its result.
_NEAR: Final = 12


@dataclass(eq=False, slots=True)
class Fused(Node):
    """A node for several: ``fn(*args)`` gives the tuple of ``outs``; ``parts`` do the same one after another."""

    group: Group | None = None
    parts: tuple[Node, ...] = ()


def fused(nodes: list[Node], kept: set[Value]) -> list[Node]:
    """The nodes of a segment with groups of elementwise kernels as one :class:`Fused` each, and their bits.

    Args:
        nodes: in the order in which they run.
        kept: what is needed after them: results, gradients, states. Any other value that only its group reads is
            never written to memory.
    """
    return _Pass(nodes, kept).run()


# -- groups that wait ------------------------------------------------------------------------------
@dataclass(eq=False, slots=True)
class _Waiting:
    """Calls that go together: by their places, what they made, the arrays they read, and the memory they write.

    ``start`` is the kernel that the group begins with, and ``place`` where it stands.
    """

    device: Device
    shape: tuple[int, ...]
    start: Start | None = None
    place: int = -1
    axes: int = 0
    calls: dict[int, Call] = field(default_factory=dict)
    made: dict[Value, None] = field(default_factory=dict)
    inputs: dict[Value, None] = field(default_factory=dict)
    targets: dict[Value, None] = field(default_factory=dict)
    dropped: set[Value] = field(default_factory=set)

    @classmethod
    def begun(cls, place: int, start: Start) -> _Waiting:
        """A group of a kernel that elementwise calls may follow."""
        result = start.result
        found = cls(key_of(result).device, result.shape, start, place)
        found.made[result] = None
        found.inputs |= dict.fromkeys(start.read)
        return found

    @property
    def places(self) -> list[int]:
        """Of all its nodes, in order."""
        return sorted([*self.calls, *([] if self.start is None else [self.place])])

    def add(self, place: int, call: Call, literals: Container[Value]) -> None:
        """Take a call in."""
        self.axes = max(self.axes, call.axes)
        if call.drops:
            self.dropped.add(call.result)
        for x in call.operands:
            if x not in self.made and x not in self.targets and x not in literals:
                self.inputs[x] = None
        if call.result not in self.made:
            (self.targets if call.writes else self.made)[call.result] = None
        self.calls[place] = call

    def meets(self, reads: Iterable[Value], writes: frozenset[int]) -> bool:
        """Whether a node must come behind these calls."""
        written = {x.storage for x in self.targets}
        if not writes.isdisjoint(written) or any(x.storage in writes for x in (*self.inputs, *self.made)):
            return True
        return any(x in self.made or (x.is_array and x.storage in written) for x in reads)

    def serves(self, call: Call, literals: Container[Value]) -> bool:
        """Whether a call may join: memory that one of them writes is read and written at the same elements only."""
        if not self._alike(call) or key_of(call.result).device != self.device:
            return False
        if any(x in self.dropped for x in call.operands):
            return False
        if self.start is not None and call.writes and call.result in self.start.read:
            return False
        outside = {x: None for x in call.operands if x not in self.made and x not in literals}
        targets = self.targets if not call.writes or call.result in self.made else {**self.targets, call.result: None}
        owners = {x.storage: x for x in targets}
        if len(owners) < len(targets) or any(
            owners.get(x.storage, x) is not x for x in (*self.inputs, *self.made, *outside)
        ):
            return False
        if not call.writes and call.result.storage in owners:
            return False
        arrays = {**self.inputs, **outside, **targets}
        return len(self.calls) < _MOST_CALLS and len(arrays) < _MOST_ARRAYS

    def _alike(self, call: Call) -> bool:
        """Whether a call is of the group's shape, or of what is left of its rows."""
        if call.axes and self.start is not None or 0 not in (self.axes, call.axes) and self.axes != call.axes:
            return False
        return call.shape == self.shape or self.axes > 0 and call.shape == rows_of(self.shape, self.axes)

    def relates(self, call: Call) -> bool:
        """Whether it reads what these calls made, or what they read."""
        if self.start is not None:
            return any(x in self.made or x in self.targets for x in call.operands)
        return any(x in self.made or x in self.targets or x in self.inputs for x in call.operands)

    def takes(self, other: _Waiting) -> bool:
        """Whether two groups that wait, and so have nothing to do with each other, may be one."""
        if self.shape != other.shape or None not in (self.start, other.start):
            return False
        if 0 not in (self.axes, other.axes) and self.axes != other.axes:
            return False
        if self.axes + other.axes and not (self.start is other.start is None):
            return False
        arrays = {**self.inputs, **other.inputs, **self.targets, **other.targets}
        calls = len(self.calls) + len(other.calls)
        return calls < _MOST_CALLS and len(arrays) < _MOST_ARRAYS

    def merge(self, other: _Waiting) -> None:
        if other.start is not None:
            self.start, self.place = other.start, other.place
        self.axes = max(self.axes, other.axes)
        self.calls |= other.calls
        self.dropped |= other.dropped
        self.made |= other.made
        self.inputs |= other.inputs
        self.targets |= other.targets


class _Pass:
    """One way through the nodes."""

    def __init__(self, nodes: list[Node], kept: set[Value], elementwise: bool = False):
        self.nodes, self.kept, self.elementwise = nodes, kept, elementwise
        self.calls = [call_of(node) or (None if elementwise else rows_call(node)) for node in nodes]
        self.readers: dict[Value, set[int]] = {}
        for i, node in enumerate(nodes):
            for x in effects.read(node):
                self.readers.setdefault(x, set()).add(i)
        self.literals: dict[Value, Node] = {}
        self.waiting: list[_Waiting] = []
        self.done: list[Node] = []

    def run(self) -> list[Node]:
        for place, node in enumerate(self.nodes):
            if node.kind is Kind.CONSTANT and _is_literal(node):
                self.literals[node.out] = node
            self._take(place, node)
        for group in list(self.waiting):
            self._release(group)
        read = {x for node in self.done for x in effects.read(node)} | self.kept
        unread = {id(node) for x, node in self.literals.items() if x not in read}
        return [node for node in self.done if id(node) not in unread]

    def _take(self, place: int, node: Node) -> None:
        call = self.calls[place]
        group = None if call is None else self._group(place, call)
        writes = effects.written(node) if call is None else _memory_of(call)
        for other in [g for g in self.waiting if g is not group]:
            if effects.is_opaque(node) or other.meets(effects.read(node), writes):
                self._release(other)
        if group is None and call is not None and not call.follows:
            group = _Waiting(key_of(call.result).device, call.shape, axes=call.axes)
            if group.serves(call, self.literals):
                self.waiting.append(group)
            else:
                group = None
        if group is not None and call is not None:
            group.add(place, call, self.literals)
        elif call is None and (start := self._start(place, node)) is not None:
            self.waiting.append(_Waiting.begun(place, start))
        else:
            self.done.append(node)

    def _start(self, place: int, node: Node) -> Start | None:
        """A node that a group may begin with, where an elementwise call is the first to read it, and soon.

        Where a kernel of rows reads what that one makes, these two are the better group.
        """
        if self.elementwise or len(node.outs) != 1 or node.outs[0] is None:
            return None
        first = min((i for i in self.readers.get(node.outs[0], ()) if i > place), default=place)
        call = self.calls[first] if place < first <= place + _NEAR else None
        if call is None or call.axes or call.shape != node.outs[0].shape:
            return None
        then = [self.calls[i] for i in self.readers.get(call.result, ()) if i > first]
        return None if any(x is not None and x.axes for x in then) else start_of(node)

    def _stored(self, group: _Waiting, own: set[int]) -> list[Value]:
        """What calls made that others than those at some places need."""
        return [x for x in group.made if x in self.kept or not own.issuperset(self.readers.get(x, ()))]

    def _group(self, place: int, call: Call) -> _Waiting | None:
        """The waiting group that a call joins, made one of all those that it has to do with."""
        fitting = [
            g for g in self.waiting
            if g.relates(call) and g.serves(call, self.literals)
            and len(self._stored(g, {place, *g.places})) < _MOST_RESULTS
        ]  # fmt: skip
        if call.follows:
            fitting = [g for g in fitting if call.operands[0] in g.made or call.operands[0] in g.targets]
        if not fitting:
            return None
        first = next((g for g in fitting if any(x in g.made for x in call.operands)), fitting[0])
        for other in fitting:
            if other is not first and first.takes(other):
                stored = [x for g in (first, other) for x in self._stored(g, {place, *first.places, *other.places})]
                if len(stored) >= _MOST_RESULTS:
                    continue
                trial = _Waiting(first.device, first.shape)
                trial.merge(first)
                trial.merge(other)
                if trial.serves(call, self.literals):
                    first.merge(other)
                    self.waiting.remove(other)
        return first

    def _release(self, group: _Waiting) -> None:
        """Let a group go: as one node, or as the nodes that it was made of."""
        self.waiting.remove(group)
        places = group.places
        made = self._fused(group, places) if len(places) > 1 else None
        self.done.extend(self._apart(group, places) if made is None else [made])

    def _apart(self, group: _Waiting, places: list[int]) -> list[Node]:
        """The nodes of a group that is none: its elementwise ones may still be groups."""
        nodes = [self.nodes[i] for i in places]
        if len(places) == 1 or (group.start is None and not group.axes):
            return nodes
        used = dict.fromkeys(x for i in group.calls for x in group.calls[i].operands if x in self.literals)
        literals = [self.literals[x] for x in used]  # which stand before the group already
        found = _Pass([*literals, *nodes], set(self._stored(group, set(places))), elementwise=True).run()
        return [node for node in found if node.kind is not Kind.CONSTANT]

    def _fused(self, group: _Waiting, places: list[int]) -> Fused | None:
        needed = self._stored(group, set(places))
        if not needed and not group.targets:
            return None
        known, calls = self.literals.keys(), [group.calls[i] for i in sorted(group.calls)]
        used = [x for x in dict.fromkeys(x for call in calls for x in call.operands) if x in known]
        arrays = [*{**group.inputs, **group.targets}]
        text = _text(group, calls, arrays, [self.literals[x] for x in used], needed)
        run = key_of(next(iter({**group.made, **group.targets}))).backend.compile(text)
        if run is None:
            return None
        nodes = [self.nodes[i] for i in places]
        parts = (*[self.literals[x] for x in used], *nodes)
        if text.head is not None and text.head.kept:
            needed.sort(key=lambda x: x is not group.start.result)  # type: ignore[union-attr]
        return Fused(
            Kind.KERNEL, run, tuple(arrays), outs=tuple(needed), several=True, key=nodes[-1].key, place=nodes[-1].place,
            group=text, parts=parts,
        )  # fmt: skip


def _memory_of(call: Call) -> frozenset[int]:
    return frozenset([call.result.storage] if call.writes else [])


def _is_literal(node: Node) -> bool:
    """Whether a constant is the same number each time, of a dtype that expressions have numbers of."""
    return node.args[0].__class__ in (bool, int, float) and not key_of(node.out).dtype.is_complex


def _text(
    group: _Waiting, calls: Sequence[Call], arrays: Sequence[Value], literals: Sequence[Node], needed: Sequence[Value]
) -> Group:
    """What a backend is told of a group: each value by the number of what made it last."""
    result = [] if group.start is None else [group.start.result]
    inputs = tuple([Input(key_of(x).dtype, x.shape, _strides(x)) for x in (*arrays, *result)])
    numbers = {x: i for i, x in enumerate((*arrays, *result))}
    head = None if group.start is None else group.start.head(numbers, result[0] in needed)
    steps: list[Step] = []
    for node in literals:
        value = node.out
        numbers[value] = len(inputs) + len(steps)
        steps.append(_constant(node.args[0], key_of(value).dtype))
    for call in calls:
        first = len(inputs) + len(steps)
        for part in call.parts:
            operands = tuple([numbers[x] if x.__class__ is Value else first + x for x in part.operands])  # type: ignore[operator]
            steps.append(Step(part.name, part.expr, operands, part.dtype, part.axes))
        numbers[call.result] = len(inputs) + len(steps) - 1
    fresh = [
        Output(numbers[x] - len(inputs), x.strides, shape=x.shape if x in group.dropped else None)
        for x in needed if x not in result
    ]  # fmt: skip
    into = [Output(numbers[x] - len(inputs), None, arrays.index(x)) for x in group.targets]
    return Group(group.shape, inputs, tuple(steps), (*fresh, *into), head)


def _strides(value: Value) -> tuple[int, ...]:
    return tuple([s if n != 1 else 0 for s, n in zip(value.strides, value.shape, strict=True)])


def _constant(number: bool | int | float, dtype: DType) -> Step:
    """A number, rounded as the array of it would be."""
    held = host_scalar(number, dtype)
    value = float(held) if dtype.is_floating_point else held.item()
    return Step("constant", parse(repr(value), ()), (), dtype)


def refused(node: Fused) -> list[Node]:
    """The parts of a group that is not worth it; of one with a head or rows in groups of elementwise nodes again."""
    if node.group is None or (node.group.head is None and not node.group.axes):
        return list(node.parts)
    return _Pass(list(node.parts), set(node.made), elementwise=True).run()
