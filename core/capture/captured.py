"""Functions that are recorded and replayed: the first call is eager, the next two recorded, then the recording runs.

A recording is of one kind of call (:mod:`flambeau.core.capture.calls`). Two recordings must agree: that finds what a
single one would take for constant, a counter of the program's own or a state that it keeps by assignment. A replay runs
when what the program depends on beside its arguments is as it was (:mod:`flambeau.core.capture.graph`). Whatever cannot
be recorded runs eagerly, and says so once.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from weakref import WeakSet

from flambeau.core.capture import calls
from flambeau.core.capture.cells import Cell, let_go
from flambeau.core.capture.ending import Ending, Pictures, Unpicturable
from flambeau.core.capture.graph import Graph, settle
from flambeau.core.capture.recorder import CaptureError, Past, Recorder
from flambeau.core.capture.sizes import Families, Family, marked
from flambeau.core.capture.surroundings import Surroundings
from flambeau.core.capture.telling import storm
from flambeau.core.capture.template import Sized, Template
from flambeau.core.capture.trace import Gradient, Segment, Value, key_of
from flambeau.core.errors import warn_user
from flambeau.core.locks import fork_safe
from flambeau.core.state import State, current, put
from flambeau.core.tensor import Tensor, blank
from flambeau.core.tree import flatten, unflatten

Arguments: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]  # Any: what the function takes

MOST_ANSWERS = 16  #: how many answers to one question are recorded
OFTEN = 256  #: replays after which a size gets recordings of its own
MOST_TRIES = 6  #: how many recordings may disagree with each other
_every: WeakSet[Captured] = WeakSet()


def every() -> list[Captured]:
    """All captured functions that are alive."""
    return list(_every)


@dataclass
class Counts:
    """How calls went."""

    eager: int = 0
    recorded: int = 0
    replayed: int = 0
    resumed: int = 0


@dataclass(eq=False)
class Variants:
    """What is known of one kind of call: a graph for each state of what the program depends on."""

    key: calls.KindOfCall
    made_because: str
    calls: int = 0
    refused: str = ""  #: why calls of the kind run eagerly
    graphs: list[Graph] = field(default_factory=list)  #: that are replayed, the last used first
    pending: list[Graph] = field(default_factory=list)  #: recordings that none has agreed with yet
    made: int = 0  #: how many graphs there were
    tries: int = 0  #: how many recordings in a row agreed with none before
    family: Family | None = None  #: the kinds that differ from it in sizes alone
    apart: str = ""  #: why its recordings are for its sizes alone


class Captured:
    """A function that replays what it recorded of itself.

    Args:
        fn: a function of any nesting of tensors and other values, or a module.
        fullgraph: raise CaptureError for what cannot be recorded, instead of running it eagerly.
        limit: how many kinds of calls are kept; the one that was used least recently goes.
        name: what messages call it.
        fusion: whether chains of kernels run as one, where that takes less time. The bits are the same but where rows
            are reduced (softmax, norms, sums of the last axes): there results agree to a few units in the last place.
        dynamic: whether recordings are for all sizes: those that are marked (False), or all but those that are marked
            as static, from the second size on (None), or without recordings for one size alone besides (True).

    >>> from flambeau.core.capture.captured import Captured
    >>> double = Captured(lambda x: x + x)
    >>> [double(fb.tensor(float(i))).item() for i in range(5)]
    [0.0, 2.0, 4.0, 6.0, 8.0]
    >>> double.counts
    Counts(eager=1, recorded=2, replayed=2, resumed=0)
    """

    def __init__(
        self, fn: Callable[..., Any], *, fullgraph: bool = False, limit: int = 8, name: str = "", fusion: bool = True,
        dynamic: bool | None = None,
    ):  # fmt: skip
        self.fn, self.fullgraph, self.limit, self.fusion = fn, fullgraph, limit, fusion
        self.name = name or getattr(fn, "__name__", type(fn).__name__)
        self.counts = Counts()
        self.reasons: list[str] = []
        self._kinds: OrderedDict[calls.KindOfCall, Variants] = OrderedDict()
        self._families = Families(dynamic, limit)
        self._last: calls.KindOfCall | None = None
        self._dropped = 0
        self._lock = fork_safe(threading.RLock())
        _every.add(self)

    @property
    def graphs(self) -> list[Graph]:
        """What is replayed or was recorded once; an empty graph for a kind of call that was not recorded."""
        kinds = (*self._kinds.values(), *self._families.kinds.values())
        return [g for k in kinds for g in (k.graphs or k.pending[-1:] or [Graph(k.made_because, [])])]

    def reset(self) -> None:
        """Forget all recordings; the next call is a first one."""
        self._kinds.clear()
        self._families.clear()
        self.reasons.clear()
        self._last, self._dropped = None, 0
        self.counts = Counts()

    # -- calls -----------------------------------------------------------------------------------
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        state = current()
        if state.recorder is not None:  # a part of what is recorded
            return self.fn(*args, **kwargs)
        if not state.plain and _is_looked_at(state) or state.modes:
            return self.eagerly(args, kwargs)  # somebody looks at each op
        leaves, structure = calls.flattened(args, kwargs)
        key = calls.kind_of(leaves, structure, state)
        kind = self._kinds.get(key) or self._families.kinds.get(key) or self._new(key, leaves)
        if kind.refused:
            return self.eagerly(args, kwargs)
        kind.calls += 1
        if kind.calls == 1 and (kind.family is None or not kind.family.records_at_once()):
            return self.eagerly(args, kwargs)
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        graph = self._fitting(kind)
        if graph is not None:
            return self._replay(kind, graph, tensors, (args, kwargs))
        with self._lock:
            return self._record(kind, tensors, (args, kwargs))

    def eagerly(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call as it is without recordings."""
        self.counts.eager += 1
        return self.fn(*args, **kwargs)

    def fits(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether a call would be replayed."""
        key = calls.kind_of(*calls.flattened(args, kwargs), current())
        kind = self._kinds.get(key) or self._families.kinds.get(key)
        return kind is not None and self._fitting(kind) is not None

    def _new(self, key: calls.KindOfCall, leaves: Sequence[Any]) -> Variants:
        why = "first call" if self._last is None else calls.difference(self._last, key)
        self._last = key
        kind = Variants(key, why, family=self._families.of(key, leaves))
        if kind.family is not None and kind.family.templates:
            self._families.add(key, kind)
        else:
            self._enter(kind)
        return kind

    def _enter(self, kind: Variants) -> None:
        """Keep a kind that has recordings of its own."""
        self._families.kinds.pop(kind.key, None)
        self._kinds[kind.key] = kind
        while len(self._kinds) > self.limit:
            self._kinds.popitem(last=False)
            self._dropped += 1
            if self._dropped == MOST_ANSWERS:
                warn_user(storm(list(self._kinds.values()), self.name), RuntimeWarning)

    def _fitting(self, kind: Variants) -> Graph | None:
        """The graph that is for a call as things are."""
        for i, graph in enumerate(kind.graphs):
            if not graph.changed():
                if i:
                    kind.graphs.insert(0, kind.graphs.pop(i))
                return graph
        return None

    def _refuse(self, kind: Variants, why: str) -> None:
        """Calls of this kind run eagerly from now on."""
        if self.fullgraph:
            raise CaptureError(f"compile: {self.name} cannot be recorded as one graph: {why}")
        kind.refused = why
        kind.graphs, kind.pending = [], []
        if why not in self.reasons:
            self.reasons.append(why)
        warn_user(f"compile: {self.name} runs eagerly: {why}", RuntimeWarning)

    # -- recording -------------------------------------------------------------------------------
    def _record(
        self, kind: Variants, tensors: Sequence[Tensor], arguments: Arguments, graph: Graph | None = None,
        past: Past | None = None, answer: Any = None,
    ) -> Any:  # fmt: skip
        """Run the program with a recorder: from the start or, in a graph, from where a replay came to."""
        template = None if graph is not None or kind.apart or kind.family is None else kind.family.follow()
        made = graph or Graph.of(tensors, kind.made_because if not kind.made else kind.graphs[0].changed())
        made.fusion, made.apart = self.fusion, kind.apart
        start = len(tensors) if past is None else past.segments[-1].end
        recorder = Recorder(made.known(tensors, past), Segment(start), past)
        links = [t._node for t in tensors]
        for t in tensors:
            recorder.touch(t)
        recorder.arguments = {id(t) for t in tensors}
        recorder.held = Counter(id(o) for g in kind.pending for o in g.objects())
        shown = [] if past is None else _with_gradients(made.freed(past.segments))
        try:
            agrees = kind.pending if past is None else past.segments[-1].children.get(answer)
            result, surroundings, why = self._watched(recorder, arguments, bool(agrees), template)
            self.counts.recorded += past is None
            self.counts.resumed += past is not None
            if not why and past is not None:
                why = self._may_branch(made, past.segments[-1])
            if why is None:
                ending = Pictures(recorder, tensors, links).ending(result)
                recorder.close(ending)
                if template is not None:
                    why = self._lay_beside(kind, made, recorder, ending)
                else:
                    why = self._keep(kind, made, recorder, ending, surroundings, tensors, past, answer)
        except Unpicturable as error:
            why = str(error)
        finally:
            let_go(list(recorder.cells.values()))
            recorder.forget()
            for t, grad in shown:
                if t._grad is grad:  # the program raised before it let the gradient go
                    t._grad = None
        if why and template is not None:
            self._part(kind, why, arguments)
        elif why:
            self._refuse(kind, why)
        return _plainly(result)

    def _watched(
        self, recorder: Recorder, arguments: Arguments, follow: bool, template: Template | None
    ) -> tuple[Any, Surroundings | None, str | None]:
        """Run the program; its result, what it depends on, and why it cannot be recorded, or None.

        What it depends on is found where ``follow`` says so: the recording may agree with one before, and be replayed.
        A run beside a ``template`` depends on what that does, or cannot be recorded.
        """
        state = current()
        inside = after = state.replace(watchers=(recorder,), recorder=recorder)
        args, kwargs = arguments
        before = flatten(arguments)
        if template is not None:
            surroundings: Surroundings | None = template.following(self.fn)
        else:
            surroundings = Surroundings(self.fn, args, kwargs) if follow else None
        try:
            put(inside)
            with surroundings or nullcontext():
                result = self.fn(*args, **kwargs)
            after = current()
        finally:
            recorder.end()
            put(state if after is inside else after.replace(watchers=state.watchers, recorder=None))
        why = recorder.why or ("" if surroundings is None else surroundings.why())
        if not why and (mode := _left(inside, after)):
            why = f"the call leaves {mode} as another one"
        now = flatten(arguments)
        if not why and (now[1] != before[1] or any(a is not b for a, b in zip(now[0], before[0], strict=True))):
            why = "an argument, a list or a dict, is changed in the call"
        return result, surroundings, why or None

    def _lay_beside(self, kind: Variants, graph: Graph, recorder: Recorder, ending: Ending) -> str | None:
        """Take in a recording that has the nodes of another size; why it has not, or None."""
        assert kind.family is not None
        made = kind.family.take(kind, graph, recorder, ending)
        if isinstance(made, str):
            return made
        if made is not None:
            kind.graphs = [made, *kind.graphs[: self.limit - 1]]
            kind.made += 1
            self._kinds.pop(kind.key, None)
            self._families.add(kind.key, kind)
        return None

    def _part(self, kind: Variants, why: str, arguments: Arguments) -> None:
        """Recordings of a kind are for its sizes alone from now on."""
        kind.apart = why
        self._enter(kind)
        if marked(flatten(arguments)[0]):
            text = f"compile: a size that is marked dynamic has recordings of its own in {self.name}: {why}"
            warn_user(text, RuntimeWarning)

    def _often(self, kind: Variants, graph: Graph) -> None:
        """A size that is called often is recorded by itself: kernels are fused for shapes that are known."""
        if graph.fusion and isinstance(graph, Sized) and len(self._kinds) < self.limit:
            kind.apart, kind.graphs, kind.made = "it is called often", [], 0
            self._enter(kind)

    def _may_branch(self, graph: Graph, last: Segment) -> str | None:
        """None where one more answer is recorded, "" where this one is not, and a reason where none is any more."""
        if len(last.children) < MOST_ANSWERS:
            return None
        graph.lost += 1
        if graph.lost <= MOST_TRIES:
            return ""
        return f"a value that is looked at, at {last.place}, is another one in each call"

    def _keep(
        self, kind: Variants, graph: Graph, recorder: Recorder, ending: Ending, surroundings: Surroundings | None,
        tensors: Sequence[Tensor], past: Past | None, answer: Any,
    ) -> str | None:  # fmt: skip
        """Take a recording in; why it cannot be, or None."""
        if past is not None:
            last = past.segments[-1]
            settled = settle(last.children, answer, recorder.segments, MOST_TRIES)
            hidden = ""
            if settled.verified:
                assert surroundings is not None
                hidden = graph.complete(recorder, ending, surroundings, tensors)
            return settled.refused or hidden or None
        reasons = []
        for other in reversed(kind.pending):
            first: dict[Any, Segment] = {None: other.root} if other.root is not None else {}
            settled = settle(first, None, recorder.segments, MOST_TRIES)
            if recorder.segments[0][1].verified:
                graph.root = first[None]
                del other  # what it holds counts as held
                kind.pending.clear()
                kind.graphs.insert(0, graph)
                kind.made, kind.tries = kind.made + 1, 0
                assert surroundings is not None
                hidden = graph.complete(recorder, ending, surroundings, tensors)
                if not hidden and kind.family is not None:
                    kind.family.found(kind.key, graph, recorder, surroundings)
                return hidden or self._too_many(kind)
            reasons.append(settled.differs)
        graph.root = recorder.segments[0][1]
        recorder.chain()
        ending.loosen()
        kind.pending = [*kind.pending[-2:], graph]
        kind.tries += 1
        return f"two recordings in a row differ: {reasons[0]}" if kind.tries >= MOST_TRIES else None

    def _too_many(self, kind: Variants) -> str | None:
        """Why there are too many graphs of one kind of call, or None."""
        if len(kind.graphs) > self.limit:
            kind.graphs.pop()
            if kind.made > 2 * self.limit:
                return f"what it depends on changes from call to call: {kind.graphs[1].changed()}"
        return None

    # -- replays ---------------------------------------------------------------------------------
    def _replay(self, kind: Variants, graph: Graph, tensors: Sequence[Tensor], arguments: Arguments) -> Any:
        segment = graph.root
        assert segment is not None
        graph.calls += 1
        if graph.calls == OFTEN:
            self._often(kind, graph)
        run, asked = segment.run or graph.write([segment]), segment.asked
        if asked is None:
            result = run(graph.given(segment, tensors), tensors)
            self.counts.replayed += 1
            return result
        env: dict[Value, Any] = graph.inputs(tensors)
        path = [segment]
        while asked is not None:
            left = run(graph.taken(segment, env), tensors)
            env.update(zip(segment.wanted, left, strict=True))
            answer = key_of(env[asked])
            child = segment.children.get(answer)
            if child is None or not child.verified:
                with self._lock:
                    return self._record(kind, tensors, arguments, graph, Past(path, env), answer)
            segment, asked = child, child.asked
            path.append(segment)
            run = segment.run or graph.write(path)
            graph.add_gradients(segment, env)
        result = run(graph.taken(segment, env), tensors)
        self.counts.replayed += 1
        return result


#: What of a state a call may leave behind, and what it is called.
_MODES = {
    "grad": "grad mode", "inference": "inference mode", "autocast": "autocast", "anomaly": "anomaly mode",
    "layers": "a layer", "levels": "a transform", "saved_hooks": "hooks on saved tensors", "modes": "a mode",
}  # fmt: skip


def _is_looked_at(state: State) -> bool:
    """Whether somebody looks at each op."""
    return bool(state.layers or state.levels or state.watchers or state.saved_hooks or state.anomaly)


def _left(before: State, after: State) -> str:
    """Which mode a call left as another one than it found."""
    return next((text for n, text in _MODES.items() if getattr(before, n) != getattr(after, n)), "")


def _with_gradients(freed: Sequence[Gradient]) -> list[tuple[Tensor, Tensor]]:
    """Give tensors whose gradients a replay let go one of that form, which the program sees while it comes to there.

    It lets it go there itself, and no kernel reads it before. They take the memory of one element each.
    """
    shown = []
    for tensor, key, shape, strides in freed:
        grad = blank()
        room = key.backend.empty((1,), key.stored, key.device.number)
        grad._array = key.backend.as_strided(room, shape, tuple([0] * len(strides)), 0)
        grad._key = key
        tensor._grad = grad
        shown.append((tensor, grad))
    return shown


def _plainly(result: Any) -> Any:
    """A result with numbers in the place of cells."""
    leaves, structure = flatten(result)
    if not any(type(leaf) is Cell for leaf in leaves):
        return result
    return unflatten([leaf._number if type(leaf) is Cell else leaf for leaf in leaves], structure)


__all__ = ["CaptureError", "Captured", "Counts", "every"]
