"""A graph: a tree of segments that was recorded of one kind of call, and what it depends on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from flambeau.core import registry
from flambeau.core.capture.ending import Ending, agreeing, owners_of
from flambeau.core.capture.fuse import fused
from flambeau.core.capture.holders import Found, holders
from flambeau.core.capture.passes import Removed, optimised
from flambeau.core.capture.recorder import CaptureError, Past, Recorder
from flambeau.core.capture.replay import Writer
from flambeau.core.capture.surroundings import Snapshot, Surroundings
from flambeau.core.capture.trace import External, Gradient, Node, Segment, Value, bits_equal, differences
from flambeau.core.capture.verdicts import worthwhile
from flambeau.core.tensor import Tensor

_changes = [0]  # how often kernels were registered


def _count_change() -> None:
    _changes[0] += 1


registry.on_change.append(_count_change)


class Settled(NamedTuple):
    """How a recording fits with those before it."""

    verified: bool  #: whether two recordings of some part agree now that none had agreed of before
    differs: str  #: in what the first part differs from the recording before, or ""
    refused: str  #: why it cannot be kept, or ""


def settle(known: dict[Any, Segment], answer: Any, recorded: Sequence[tuple[Any, Segment]], most: int) -> Settled:
    """Put recorded segments into a tree, in which ``known`` has what follows an answer; the first is for ``answer``.

    A segment that agrees with the one in its place is verified, and takes over what follows that one.
    """
    verified, first = False, ""
    for i, (led, segment) in enumerate(recorded):
        led = answer if i == 0 else led
        old = known.get(led)
        if old is not None:
            why = differences(old, segment) or _endings_differ(old, segment)
            first = why if i == 0 else first
            if old.verified and why:
                return Settled(verified, first, why)
            if not why and not old.verified:
                verified = True
            segment.verified = not why
            segment.recordings = old.recordings + 1
            if not why:
                segment.children = old.children
            elif segment.recordings > most:
                return Settled(verified, first, f"two recordings in a row differ: {why}")
            if old.verified:
                known = old.children
                continue
        known[led] = segment
        known = segment.children
    return Settled(verified, first, "")


def _endings_differ(old: Segment, new: Segment) -> str:
    if (old.ending is None) is not (new.ending is None):
        return "the program ended in one call, and went on in the next"
    return "" if old.ending is None else agreeing(old.ending, new.ending)


@dataclass(eq=False)
class Graph:
    """What was recorded of one kind of call, in one state of what the program depends on."""

    made_because: str
    arguments: list[Value]  #: the arrays of the arguments
    apart: str = field(default="", kw_only=True)  #: why it is for its sizes alone, where those of others were tried
    fusion: bool = True  #: whether nodes are left out, and chains of kernels become one
    root: Segment | None = None
    launches: int = 0
    calls: int = 0  #: how many were replayed, in whole or in part
    lost: int = 0  #: answers that came when there were too many already
    found: list[Found] = field(default_factory=list)  #: where the tensors stand that it uses
    moved: list[Callable[[], bool]] = field(default_factory=list)  #: whether that changed, written out for each
    by_storage: dict[int, Tensor] = field(default_factory=dict)
    gradients: dict[Value, External] = field(default_factory=dict)  #: externals that each call finds anew
    snapshots: list[Snapshot] = field(default_factory=list)
    starts: list[tuple[Tensor, bool]] = field(default_factory=list)  #: tensors, and whether each had a gradient
    relied: list[tuple[Callable[..., Any], tuple[Any, ...], Any]] = field(default_factory=list)
    kernels: int = 0

    @classmethod
    def of(cls, tensors: Sequence[Tensor], because: str) -> Graph:
        """An empty one, for calls with such tensors among the arguments."""
        arguments = []
        for i, t in enumerate(tensors):
            layout = t._key.backend.layout(t._array)
            arguments.append(Value(i, -1, t._key, tuple(layout.shape), tuple(layout.strides)))
        return cls(because, arguments)

    # -- what is told of it ----------------------------------------------------------------------
    def path(self) -> list[Segment]:
        """The segments of the way that was recorded first."""
        found, at = [], self.root
        while at is not None:
            found.append(at)
            at = next(iter(at.children.values()), None)
        return found

    @property
    def nodes(self) -> list[Node]:
        return [n for s in self.path() for n in s.nodes]

    @property
    def source(self) -> str:
        """The Python of the replay; "" before there is one."""
        return "\n".join(s.source for s in self.path())

    @property
    def removed(self) -> Removed:
        """How many of the nodes its replays do without; none before there is one."""
        return sum((Removed(*s.removed) for s in self.path()), Removed())

    @property
    def guards(self) -> list[str]:
        """What is looked at before each replay."""
        found = [f"{o}: its memory, its history, and where it stands" for f in self.found for o in f.owners]
        return found + [str(r.look.where) for s in self.snapshots for r in s._roots]

    # -- recording -------------------------------------------------------------------------------
    def objects(self) -> list[Any]:
        """What the endings of its recordings hold."""
        return [f.own for s in self.path() if s.ending is not None for f in s.ending.forms if f.own is not None]

    def known(self, tensors: Sequence[Tensor], past: Past | None) -> list[tuple[Any, Value]]:
        """The arrays that have values before a recording begins."""
        found = [(t._array, v) for t, v in zip(tensors, self.arguments, strict=True)]
        if past is not None:
            found += [(e.array, e.value) for s in past.segments for e in s.externals if e.grad_of is None]
            found += [(a, v) for v, a in past.left.items() if v.is_array and v.number >= len(tensors)]
        return found

    def complete(
        self, recorder: Recorder, ending: Ending, surroundings: Surroundings, tensors: Sequence[Tensor]
    ) -> str:
        """Take in what a recording that is verified depends on; why that cannot be, or ""."""
        self.kernels = _changes[0]
        likely = surroundings.seen()
        self.snapshots.append(surroundings.freeze())
        self.relied += recorder.relied
        known = {id(t) for t, _ in self.starts}
        self.starts += [s for s in ending.starts if id(s[0]) not in known]
        externals = [e for _, s in recorder.segments for e in s.externals if e.grad_of is None]
        ending.let_go()
        ours = [
            recorder.touched,
            recorder.__dict__,
            recorder.relied,
            tensors,
            ending.forms,
            ending.gradients,
            ending.starts,
        ]
        ours += [
            ending.attached,
            ending.hooked,
            self.starts,
            self.relied,
            self.by_storage,
            [n.args for _, s in recorder.segments for n in s.nodes],
        ]
        found = holders(externals, ours, likely)
        if found.owners:
            self.found.append(found)
            self.moved.append(found.checker())
        self.by_storage |= found.by_storage
        for storage, tensor in self.by_storage.items():
            if tensor._box is not None:
                ending.writers[storage] = tensor._box.writer
        return found.hidden

    # -- before a replay -------------------------------------------------------------------------
    def changed(self) -> str:
        """ "" where what the recording depends on is as it was, else what is not."""
        if self.kernels != _changes[0] and (why := self._served_anew()):
            return why
        for tensor, had in self.starts:
            if (getattr(tensor, "_grad", None) is not None) is not had:
                shape = tuple(tensor.shape)
                return f"a tensor of shape {shape} " + ("has no gradient, and had one" if had else "has a gradient")
        for fn, args, value in self.relied:
            if not bits_equal(fn(*args), value):
                return f"{getattr(fn, '__qualname__', fn)} gives something else"
        for snapshot in self.snapshots:
            if told := snapshot.changed():
                return told
        for found, moved in zip(self.found, self.moved, strict=True):
            if moved() and (why := found.changed()):
                return why
        return ""

    def _served_anew(self) -> str:
        """Kernels were registered: take those that serve the ops now."""
        stack = [self.root] if self.root is not None else []
        while stack:
            segment = stack.pop()
            stack += segment.children.values()
            for node in segment.nodes:
                if node.served and node.op is not None:
                    kernel = getattr(node.key, node.op.name, None)
                    if kernel is None:
                        return f"no kernel serves {node.name} any more"
                    if kernel is not node.fn:
                        node.fn, segment.run = kernel, None
        self.kernels = _changes[0]
        return ""

    # -- replays ---------------------------------------------------------------------------------
    def freed(self, path: Sequence[Segment]) -> list[Gradient]:
        """The gradients of before that the segments of a path let go."""
        known = {id(t) for t, had in self.starts if had} - {id(e.grad_of) for e in self.gradients.values()}
        return [g for s in path for g in s.freed if id(g.tensor) in known]

    def given(self, segment: Segment, tensors: Sequence[Tensor]) -> tuple[Any, ...]:
        """What the function of a first segment takes."""
        count, known = len(tensors), self.gradients
        return tuple([
            tensors[v.number]._array if v.number < count else _gradient_of(known[v]) for v in segment.given
        ])  # fmt: skip

    def inputs(self, tensors: Sequence[Tensor]) -> dict[Value, Any]:
        """What is there before a replay, beside what stands in its functions."""
        env: dict[Value, Any] = dict(zip(self.arguments, [t._array for t in tensors], strict=True))
        assert self.root is not None
        self.add_gradients(self.root, env)
        return env

    def add_gradients(self, segment: Segment, env: dict[Value, Any]) -> None:
        """Look up the gradients of tensors of before that a segment reads."""
        known = self.gradients
        for v in segment.given:
            if v not in env and v in known:
                env[v] = _gradient_of(known[v])

    def taken(self, segment: Segment, env: dict[Value, Any]) -> tuple[Any, ...]:
        """What the function of a later segment takes; what nobody needs beside it goes with it."""
        found = tuple([env[v] for v in segment.given])
        for v in segment.gone:
            env.pop(v, None)
        return found

    def write(self, path: Sequence[Segment]) -> Callable[[tuple[Any, ...], Any], Any]:
        """Make the function of the last segment of a path."""
        segment, ending = path[-1], path[-1].ending
        fixed = [e for s in path for e in s.externals if e.grad_of is None]
        self.gradients |= {e.value: e for s in path for e in s.externals if e.grad_of is not None}
        if segment.asked is not None:
            segment.wanted = list(dict.fromkeys((segment.asked, *segment.alive)))
        owners = None if ending is None else owners_of(ending, self.arguments, self.by_storage)
        nodes = segment.nodes
        if self.fusion:
            kept = {*segment.wanted, *(ending.values() if ending is not None else ())}
            done = optimised(nodes, kept, fixed)
            fixed, segment.removed = fixed + done.fixed, done.removed
            nodes = worthwhile(fused(done.nodes, kept))
        self.launches = len(nodes)
        freed = [g.tensor for g in self.freed([segment])]
        writer = Writer(nodes, fixed, segment.wanted, ending, owners, freed)
        segment.given = writer.given
        segment.gone = tuple(
            {v for s in path[:-1] for v in s.wanted if v.is_array} - {*segment.wanted, *self.arguments}
        )
        segment.run, segment.source = writer.function()
        return segment.run


def _gradient_of(e: External) -> Any:
    """The array of the gradient that a tensor has now."""
    grad = e.grad_of._grad
    if grad is None or grad._key is not e.value.key:
        raise CaptureError(f"the gradient of a tensor of shape {tuple(e.grad_of.shape)} is not what it was")
    return grad._array
