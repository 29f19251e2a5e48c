"""Chains of elementwise kernels become one function each, where the backend makes one.

The pass goes through the nodes once, in order. Kernels that may go together wait in a group; whatever meets a waiting
group in a value or in memory, and does not join it, lets it go first. So the nodes that leave in another order than
they came have nothing to do with each other.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Final

from flambeau.backends.base import Array, Kernel
from flambeau.backends.group import Group, Input, Operand, Output, Step
from flambeau.backends.layout import broadcast_shapes
from flambeau.core import dtype as dt
from flambeau.core import registry
from flambeau.core.cache import Cache
from flambeau.core.capture import effects
from flambeau.core.capture.trace import Kind, Node, Value
from flambeau.core.device import device as Device
from flambeau.core.dtype import DType, host_scalar
from flambeau.core.expr import Expr, parse
from flambeau.core.keys import Key, expression
from flambeau.core.record import ELEMENTWISE

#: Kernels of a group, arrays that it gets, and those that it makes.
_MOST_CALLS, _MOST_ARRAYS, _MOST_RESULTS = 64, 16, 8
#: How often a group and its parts are timed: each time for about so many seconds, or so many calls at most. Where
#: work is enqueued, a single call would take as long as the wait for its end.
_ROUNDS: Final = 5
_SECONDS: Final = 1e-3
_MOST_TIMED: Final = 16


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


# -- what may go into a group ------------------------------------------------------------------------
@dataclass(eq=False, slots=True)
class _Call:
    """A node as a group sees it: ``result`` is what it gives, the memory of ``target`` where it writes there."""

    name: str
    expr: Expr
    operands: tuple[Value, ...]
    result: Value
    writes: bool
    #: a source that no group made is better copied by itself
    follows: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        return self.result.shape


def _call(node: Node) -> _Call | None:
    """What a group would do for a node; None where it can't."""
    if node.kind is Kind.WRITE:
        call = _write(node)
    elif node.kind is Kind.KERNEL:
        call = _kernel(node)
    else:
        return None
    if call is None or not _fits(call):
        return None
    key = _key(call.result)
    operands = [Operand(_key(x).dtype, x.shape) for x in call.operands]
    step = Step(call.name, call.expr, tuple(range(len(operands))), key.dtype)
    return call if key.backend.fuses(step, operands, call.shape) else None


def _write(node: Node) -> _Call | None:
    target, source = node.args
    if target.__class__ is not Value or source.__class__ is not Value or not source.is_array or node.outs:
        return None
    return _Call("cast", parse("x", ("x",)), (source,), target, True, follows=True)


def _kernel(node: Node) -> _Call | None:
    op, key, params = node.op, node.key, dict(node.params)
    if op is None or key is None or op.functional is not None or node.several:
        return None
    count = len(op.schema.operands)
    operands, rest = node.args[:count], [*node.args[count:], *([params.pop("out")] if "out" in params else [])]
    if len(operands) < count or len(rest) > 1 or any(x.__class__ is not Value or not x.is_array for x in node.args):
        return None
    result = rest[0] if rest else node.outs[0] if len(node.outs) == 1 else None
    if result.__class__ is not Value or (rest and node.outs not in ((), (result,))):
        return None
    if op.name == "cast":
        if not result.is_array or params != {"dtype": _key(result).dtype}:
            return None
        return _Call("cast", parse("x", ("x",)), operands, result, bool(rest))
    if op.family is not ELEMENTWISE or op.expr is None or params or key.level is not None:
        return None
    kinds = {"bool": dt.bool_, "index": dt.int64}
    expected = [kinds.get(op.kind_of(a), key.dtype) for a in op.schema.operands]
    if [_key(x).dtype for x in operands] != expected or not result.is_array:
        return None
    if _key(result).dtype is not op.dtype.out(0, key.dtype, {}) or registry.overlays.get((key.device.type, op.name)):
        return None
    return _Call(op.name, expression(op, key.dtype), operands, result, bool(rest))


def _key(value: Value) -> Key:
    assert value.key is not None
    return value.key


def _fits(call: _Call) -> bool:
    """Whether arrays are of one device, of shapes that give the result's, and the result's memory is its own."""
    result, shape = call.result, call.shape
    for x in (*call.operands, result):
        key = _key(x)
        if key.level is not None or key.device != _key(result).device or key.stored is not key.dtype:
            return False
        if key.dtype.is_complex:
            return False
    if any(broadcast_shapes(x.shape, shape) != shape for x in call.operands if x.shape != shape):
        return False
    if call.writes:
        return _apart(shape, result.strides)
    return _packed(shape, result.strides) and all(x.storage != result.storage for x in call.operands)


def _apart(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether no two indices name one element, as far as a look at the axes tells."""
    reach = 1
    for stride, n in sorted((abs(s), n) for s, n in zip(strides, shape, strict=True) if n > 1):
        if stride < reach:
            return False
        reach = stride * n
    return True


def _packed(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether the elements lie side by side, the axes in any order."""
    reach = 1
    if 0 in shape:
        return True
    for stride, n in sorted((s, n) for s, n in zip(strides, shape, strict=True) if n > 1):
        if stride != reach:
            return False
        reach *= n
    return True


# -- groups that wait ------------------------------------------------------------------------------
@dataclass(eq=False, slots=True)
class _Waiting:
    """Calls that go together: by their places, what they made, the arrays they read, and the memory they write."""

    device: Device
    shape: tuple[int, ...]
    calls: dict[int, _Call] = field(default_factory=dict)
    made: dict[Value, None] = field(default_factory=dict)
    inputs: dict[Value, None] = field(default_factory=dict)
    targets: dict[Value, None] = field(default_factory=dict)

    def add(self, place: int, call: _Call, literals: Container[Value]) -> None:
        """Take a call in."""
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

    def serves(self, call: _Call, literals: Container[Value]) -> bool:
        """Whether a call may join: memory that one of them writes is read and written at the same elements only."""
        if call.shape != self.shape or _key(call.result).device != self.device:
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

    def relates(self, call: _Call) -> bool:
        """Whether it reads what these calls made, or what they read."""
        return any(x in self.made or x in self.targets or x in self.inputs for x in call.operands)

    def takes(self, other: _Waiting) -> bool:
        """Whether two groups that wait, and so have nothing to do with each other, may be one."""
        arrays = {**self.inputs, **other.inputs, **self.targets, **other.targets}
        calls = len(self.calls) + len(other.calls)
        return calls < _MOST_CALLS and len(arrays) < _MOST_ARRAYS

    def merge(self, other: _Waiting) -> None:
        self.calls |= other.calls
        self.made |= other.made
        self.inputs |= other.inputs
        self.targets |= other.targets


class _Pass:
    """One way through the nodes."""

    def __init__(self, nodes: list[Node], kept: set[Value]):
        self.nodes, self.kept = nodes, kept
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
        call = _call(node)
        group = None if call is None else self._group(place, call)
        writes = effects.written(node) if call is None else _memory_of(call)
        for other in [g for g in self.waiting if g is not group]:
            if effects.is_opaque(node) or other.meets(effects.read(node), writes):
                self._release(other)
        if group is None and call is not None and not call.follows:
            group = _Waiting(_key(call.result).device, call.shape)
            if group.serves(call, self.literals):
                self.waiting.append(group)
            else:
                group = None
        if group is None or call is None:
            self.done.append(node)
        else:
            group.add(place, call, self.literals)

    def _stored(self, group: _Waiting, own: set[int]) -> list[Value]:
        """What calls made that others than those at some places need."""
        return [x for x in group.made if x in self.kept or not own.issuperset(self.readers.get(x, ()))]

    def _group(self, place: int, call: _Call) -> _Waiting | None:
        """The waiting group that a call joins, made one of all those that it has to do with."""
        fitting = [
            g for g in self.waiting
            if g.relates(call) and g.serves(call, self.literals)
            and len(self._stored(g, {place, *g.calls})) < _MOST_RESULTS
        ]  # fmt: skip
        if call.follows:
            fitting = [g for g in fitting if call.operands[0] in g.made or call.operands[0] in g.targets]
        if not fitting:
            return None
        first = next((g for g in fitting if any(x in g.made for x in call.operands)), fitting[0])
        for other in fitting:
            if other is not first and first.takes(other):
                stored = [x for g in (first, other) for x in self._stored(g, {place, *first.calls, *other.calls})]
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
        places = sorted(group.calls)
        made = self._fused(group, places) if len(places) > 1 else None
        self.done.extend([self.nodes[i] for i in places] if made is None else [made])

    def _fused(self, group: _Waiting, places: list[int]) -> Fused | None:
        needed = self._stored(group, set(places))
        if not needed and not group.targets:
            return None
        known = self.literals.keys()
        used = [x for x in dict.fromkeys(x for i in places for x in group.calls[i].operands) if x in known]
        arrays = [*{**group.inputs, **group.targets}]
        text = _text(group, [group.calls[i] for i in places], arrays, [self.literals[x] for x in used], needed)
        run = _key(next(iter({**group.made, **group.targets}))).backend.compile(text)
        if run is None:
            return None
        nodes = [self.nodes[i] for i in places]
        parts = (*[self.literals[x] for x in used], *nodes)
        return Fused(
            Kind.KERNEL, run, tuple(arrays), outs=tuple(needed), several=True, key=nodes[-1].key, place=nodes[-1].place,
            group=text, parts=parts,
        )  # fmt: skip


def _memory_of(call: _Call) -> frozenset[int]:
    return frozenset([call.result.storage] if call.writes else [])


def _is_literal(node: Node) -> bool:
    """Whether a constant is the same number each time, of a dtype that expressions have numbers of."""
    return node.args[0].__class__ in (bool, int, float) and not _key(node.out).dtype.is_complex


def _text(
    group: _Waiting, calls: Sequence[_Call], arrays: Sequence[Value], literals: Sequence[Node], needed: Sequence[Value]
) -> Group:
    """What a backend is told of a group: each value by the number of what made it last."""
    inputs = tuple([Input(_key(x).dtype, x.shape, _strides(x)) for x in arrays])
    numbers = {x: i for i, x in enumerate(arrays)}
    steps: list[Step] = []
    for node in literals:
        value = node.out
        numbers[value] = len(arrays) + len(steps)
        steps.append(_constant(node.args[0], _key(value).dtype))
    for call in calls:
        operands = tuple([numbers[x] for x in call.operands])
        numbers[call.result] = len(arrays) + len(steps)
        steps.append(Step(call.name, call.expr, operands, _key(call.result).dtype))
    fresh = [Output(numbers[x] - len(arrays), x.strides) for x in needed]
    into = [Output(numbers[x] - len(arrays), None, arrays.index(x)) for x in group.targets]
    return Group(group.shape, inputs, tuple(steps), (*fresh, *into))


def _strides(value: Value) -> tuple[int, ...]:
    return tuple([s if n != 1 else 0 for s, n in zip(value.strides, value.shape, strict=True)])


def _constant(number: bool | int | float, dtype: DType) -> Step:
    """A number, rounded as the array of it would be."""
    held = host_scalar(number, dtype)
    value = float(held) if dtype.is_floating_point else held.item()
    return Step("constant", parse(repr(value), ()), (), dtype)


def worthwhile(nodes: list[Node]) -> list[Node]:
    """The nodes with those groups that took less time than their parts; the parts in the place of the others."""
    found: list[Node] = []
    for node in nodes:
        if isinstance(node, Fused) and not worth(node, [_trial(x) for x in node.args]):
            found += node.parts
        else:
            found.append(node)
    return found


def _trial(value: Value) -> Array:
    """An array of the form of a value, of ones."""
    key = _key(value)
    backend, index = key.backend, key.device.number
    steps = [(n - 1) * s for n, s in zip(value.shape, value.strides, strict=True) if n > 1]
    before = -sum(s for s in steps if s < 0)
    room = backend.empty((before + sum(s for s in steps if s > 0) + 1,), key.stored, index)
    backend.copy_into(room, key.constant(1))
    return backend.as_strided(room, value.shape, value.strides, before)


# -- whether it pays -------------------------------------------------------------------------------
def worth(node: Fused, arrays: Sequence[Array]) -> bool:
    """Whether a group took less time than its parts, on the arrays of its args; measured once for each group.

    The arrays keep their values: what is written to is copied first.
    """
    assert node.group is not None
    key = _key(node.args[0])
    asked = (node.group, key.device)
    found = _verdicts.get(asked)
    if found is None:
        found = _measure(node, key, _apart_from(node.group, key, arrays))
        _verdicts.remember(asked, found)
    return found


_verdicts: Final[Cache[tuple[Group, Device], bool]] = Cache(limit=4096)


def _apart_from(group: Group, key: Key, arrays: Sequence[Array]) -> list[Array]:
    """The arrays, those that the group writes to copied, with their strides."""
    made, backend, index = list(arrays), key.backend, key.device.number
    for i in {o.into for o in group.outputs if o.into is not None}:
        dtype, shape, strides = group.inputs[i]
        steps = [(n - 1) * s for n, s in zip(shape, strides, strict=True) if n > 1]
        before = -sum(s for s in steps if s < 0)
        room = backend.empty((before + sum(s for s in steps if s > 0) + 1,), dtype, index)
        made[i] = backend.as_strided(room, shape, strides, before)
        backend.copy_into(made[i], arrays[i])
    return made


def _measure(node: Fused, key: Key, arrays: list[Array]) -> bool:
    ways = (node.fn, _sequence(node))
    best = [float("inf"), float("inf")]
    calls = 1
    for turn in range(_ROUNDS + 1):  # the first one warms up
        for k, way in enumerate(ways):
            key.backend.synchronize(key.device.number)
            start = perf_counter()
            for _ in range(calls):
                way(*arrays)
            key.backend.synchronize(key.device.number)
            best[k] = min(best[k], (perf_counter() - start) / calls)
        if not turn:
            calls = max(1, min(_MOST_TIMED, int(_SECONDS / min(best))))
            best = [float("inf"), float("inf")]
    return best[0] < best[1]


def _sequence(node: Fused) -> Kernel:
    """The parts as one function of the node's args, written out: an interpreter would be timed with them."""
    scope: dict[str, Any] = {}

    def text(argument: Any) -> str:
        if argument.__class__ is Value:
            return str(argument.name)
        name = f"c{len(scope)}"
        scope[name] = argument
        return name

    lines = [f"def parts({', '.join(x.name for x in node.args)}):", "    pass"]
    for part in node.parts:
        if part.kind is Kind.CONSTANT:  # made once, as for a replay of the parts
            scope[part.out.name] = part.fn(*part.args)
            continue
        given = [*[text(x) for x in part.args], *[f"{k}={text(v)}" for k, v in part.params.items()]]
        result = f"{part.out.name} = " if part.outs else ""
        lines.append(f"    {result}{text(part.fn)}({', '.join(given)})")
    exec("\n".join(lines), scope)
    made: Kernel = scope["parts"]
    return made
