"""Functions that are recorded and replayed: the first call is eager, the next two recorded, then the recording runs.

A recording is of one kind of call: of the structure of its arguments, their dtypes, devices, shapes and strides, of
numbers among them, of grad mode and autocast. Two recordings in a row must agree: that finds what a single one would
take for constant, a counter of the program's own or a state that it keeps by assignment. A replay runs when what the
program depends on beside its arguments is as it was (:mod:`flambeau.core.capture.surroundings`,
:mod:`flambeau.core.capture.holders`). Whatever cannot be recorded runs eagerly, and says so once.
"""

from __future__ import annotations

import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

from flambeau.core import dtype as dt
from flambeau.core import registry
from flambeau.core.capture import holders
from flambeau.core.capture.cells import Cell
from flambeau.core.capture.ending import Ending, Pictures, Unpicturable, agreeing, owners_of
from flambeau.core.capture.recorder import CaptureError, Past, Recorder
from flambeau.core.capture.replay import Writer
from flambeau.core.capture.surroundings import Snapshot, Surroundings
from flambeau.core.capture.trace import External, Node, Segment, Value, differences, key_of
from flambeau.core.graph import Leaf, edge_of
from flambeau.core.keys import get_default_device
from flambeau.core.locks import fork_safe
from flambeau.core.state import State, current, put
from flambeau.core.tensor import Tensor
from flambeau.core.tree import Structure, flatten, unflatten

MOST_ANSWERS = 16  # how many answers to one question are recorded
MOST_TRIES = 5  # how often a part is recorded before two recordings agree
_every: WeakSet[Captured] = WeakSet()
_kernels = [0]  # how often kernels were registered


def _count_change() -> None:
    _kernels[0] += 1


registry.on_change.append(_count_change)


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
class Graph:
    """What was recorded of one kind of call."""

    key: tuple[Any, ...]
    made_because: str
    arguments: list[Value] = field(default_factory=list)
    root: Segment | None = None
    calls: int = 0
    refused: str = ""  #: why calls of the kind run eagerly
    owners: dict[int, holders.Owner] = field(default_factory=dict)
    may_have_changed: Callable[[], bool] = lambda: False
    by_storage: dict[int, Tensor] = field(default_factory=dict)
    gradients: dict[Value, External] = field(default_factory=dict)  #: externals that each call finds anew
    snapshots: list[Snapshot] = field(default_factory=list)
    starts: list[tuple[Tensor, bool]] = field(default_factory=list)
    kernels: int = 0
    lost: int = 0  #: answers that came when there were too many already

    @property
    def ready(self) -> bool:
        return self.root is not None and self.root.verified

    def changed(self) -> str:
        """"" where what the recording depends on is as it was, else what is not."""
        if self.kernels != _kernels[0]:
            return "kernels were registered"
        for snapshot in self.snapshots:
            if why := snapshot.changed():
                return why
        if self.may_have_changed():
            for owner in self.owners.values():
                if why := owner.changed():
                    return why
        for tensor, had in self.starts:
            if (getattr(tensor, "_grad", None) is not None) is not had:
                return f"a tensor of shape {tuple(tensor.shape)} had {'a' if had else 'no'} gradient, and has {'none' if had else 'one'}"
        return ""

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
    def guards(self) -> list[str]:
        """What is looked at before each replay."""
        found = [f"{o}: its memory, its history, and where it stands" for o in self.owners.values()]
        return found + [g for s in self.snapshots for g in getattr(s, "guards", [])]


class Captured:
    """A function that replays what it recorded of itself.

    Args:
        fn: a function of any nesting of tensors and other values, or a module.
        fullgraph: raise CaptureError for what cannot be recorded, instead of running it eagerly.
        dynamic: whether sizes that change may be parameters of one recording; None leaves it to flambeau.
        limit: how many kinds of calls are kept; the one that was used least recently goes.
        name: what messages call it.

    >>> from flambeau.core.capture.captured import Captured
    >>> double = Captured(lambda x: x + x)
    >>> [double(fb.tensor(float(i))).item() for i in range(5)]
    [0.0, 2.0, 4.0, 6.0, 8.0]
    >>> double.counts
    Counts(eager=1, recorded=2, replayed=2, resumed=0)
    """

    def __init__(
        self, fn: Callable[..., Any], *, fullgraph: bool = False, dynamic: bool | None = None, limit: int = 8,
        name: str = "",
    ):  # fmt: skip
        self.fn, self.fullgraph, self.dynamic, self.limit = fn, fullgraph, dynamic, limit
        self.name = name or getattr(fn, "__name__", type(fn).__name__)
        self.counts = Counts()
        self.reasons: list[str] = []
        self._graphs: OrderedDict[tuple[Any, ...], Graph] = OrderedDict()
        self._because = "first call"
        self._again = 0  # how often a recording did not fit any more
        self._lock = fork_safe(threading.RLock())
        _every.add(self)

    @property
    def graphs(self) -> list[Graph]:
        return list(self._graphs.values())

    def reset(self) -> None:
        """Forget all recordings; the next call is a first one."""
        self._graphs.clear()
        self.reasons.clear()
        self._because, self._again = "first call", 0
        self.counts = Counts()

    # -- calls -----------------------------------------------------------------------------------
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        state = current()
        if state.recorder is not None:  # a part of what is recorded
            return self.fn(*args, **kwargs)
        if state.layers or state.levels or state.watchers or state.saved_hooks or state.anomaly or state.modes:
            self.counts.eager += 1  # somebody looks at each op
            return self.fn(*args, **kwargs)
        leaves, structure = flatten((args, kwargs))
        key = _key(leaves, structure, state)
        graph = self._graphs.get(key)
        if graph is None:
            graph = self._new(key)
        if graph.refused:
            self.counts.eager += 1
            return self.fn(*args, **kwargs)
        graph.calls += 1
        if graph.calls == 1:
            self.counts.eager += 1
            return self.fn(*args, **kwargs)
        if graph.ready and (why := graph.changed()):
            graph = self._anew(graph, why)
            if graph.refused:
                self.counts.eager += 1
                return self.fn(*args, **kwargs)
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        if graph.ready:
            return self._replay(graph, tensors, args, kwargs)
        with self._lock:
            return self._record(graph, tensors, args, kwargs)

    def _new(self, key: tuple[Any, ...]) -> Graph:
        graph = self._graphs[key] = Graph(key, self._because)
        self._because = "another kind of call"
        while len(self._graphs) > self.limit:
            self._graphs.popitem(last=False)
        return graph

    def _anew(self, graph: Graph, why: str) -> Graph:
        """A graph in the place of one that does not fit any more."""
        made = self._graphs[graph.key] = Graph(graph.key, why, calls=graph.calls)
        self._again += 1
        if self._again > self.limit:
            self._refuse(made, f"what it depends on changes from call to call: {why}")
        return made

    def _refuse(self, graph: Graph, why: str) -> None:
        """Calls of this kind run eagerly from now on."""
        graph.refused = why
        graph.root = None
        graph.snapshots, graph.owners, graph.starts = [], {}, []
        if why not in self.reasons:
            self.reasons.append(why)
        if not self.fullgraph:
            warnings.warn(f"compile: {self.name} runs eagerly: {why}", RuntimeWarning, stacklevel=3)

    # -- recording -------------------------------------------------------------------------------
    def _record(
        self, graph: Graph, tensors: Sequence[Tensor], args: Any, kwargs: Any, past: Past | None = None,
        answer: Any = None,
    ) -> Any:  # fmt: skip
        """Run the program with a recorder: from the start, or from where a replay came to."""
        known = self._known(graph, tensors, past)
        start = past.segments[-1].end if past is not None else len(graph.arguments)
        recorder = Recorder(known, Segment(start), past)
        before = [t._node for t in tensors]
        for t in tensors:
            recorder.touch(t)
        state = current()
        surroundings = Surroundings(self.fn, args, kwargs)
        try:
            put(state.replace(watchers=(recorder,), recorder=recorder))
            with surroundings:
                result = self.fn(*args, **kwargs)
        finally:
            recorder.end()
            put(state)
        self.counts.recorded += past is None
        self.counts.resumed += past is not None
        why = recorder.why or next(iter(surroundings.effects), "") or surroundings.changed_by_run() or ""
        if not why and past is not None and len(past.segments[-1].children) >= MOST_ANSWERS:
            graph.lost += 1
            last = past.segments[-1]
            why = f"a value that is looked at, at {last.place}, is another one in each call" if graph.lost > 4 else ""
            if not why:
                return _plainly(result, recorder)
        if not why:
            why = self._keep(graph, recorder, tensors, before, result, past, answer, surroundings)
        if why:
            if self.fullgraph:
                raise CaptureError(f"compile: {self.name} cannot be recorded as one graph: {why}")
            self._refuse(graph, why)
        return _plainly(result, recorder)

    def _known(self, graph: Graph, tensors: Sequence[Tensor], past: Past | None) -> list[tuple[Any, Value]]:
        if not graph.arguments:
            for i, t in enumerate(tensors):
                layout = t._key.backend.layout(t._array)
                graph.arguments.append(Value(i, -1, t._key, tuple(layout.shape), tuple(layout.strides)))
        known = [(t._array, v) for t, v in zip(tensors, graph.arguments, strict=True)]
        if past is not None:
            known += [(e.array, e.value) for s in past.segments for e in s.externals if e.grad_of is None]
            known += [(a, v) for v, a in past.left.items() if v.is_array and v.number >= len(tensors)]
        return known

    def _keep(
        self, graph: Graph, recorder: Recorder, tensors: Sequence[Tensor], before: Any, result: Any,
        past: Past | None, answer: Any, surroundings: Surroundings,
    ) -> str:  # fmt: skip
        """Take a recording in; "" where it could be, else why it could not."""
        try:
            ending = Pictures(recorder, tensors, before).ending(result)
        except Unpicturable as error:
            return str(error)
        for _, segment in recorder.segments:
            for e in segment.externals:
                e.grad_of = next(
                    (t for t, s in recorder.touched.values() if s.grad is not None and s.grad._array is e.array), None
                )
        recorder.segments[-1][1].ending = ending
        parent = past.segments[-1] if past is not None else None
        verified = False
        for i, (led, segment) in enumerate(recorder.segments):
            led = answer if i == 0 else led
            old = graph.root if parent is None else parent.children.get(led)
            if old is not None and old.verified:
                if why := differences(old, segment):
                    return why
                parent = old
                continue
            segment.recordings = 1 if old is None else old.recordings + 1
            why = "" if old is None else differences(old, segment) or _endings_differ(old, segment)
            if __import__("os").environ.get("DBG"): print("DIFF", why)
            if old is not None and not why:
                segment.children, segment.verified, verified = old.children, True, True
            elif segment.recordings > MOST_TRIES:
                return f"two recordings in a row differ: {why}"
            if parent is None:
                graph.root = segment
            else:
                parent.children[led] = segment
            parent = segment
        if verified:
            self._complete(graph, recorder, ending, surroundings, tensors)
        return ""

    def _complete(
        self, graph: Graph, recorder: Recorder, ending: Ending, surroundings: Surroundings, tensors: Sequence[Tensor]
    ) -> None:
        """What a verified recording depends on."""
        graph.kernels = _kernels[0]
        graph.snapshots.append(surroundings.freeze())
        known = {id(t) for t, _ in graph.starts}
        graph.starts += [s for s in ending.starts if id(s[0]) not in known]
        externals = [e for _, s in recorder.segments for e in s.externals if e.grad_of is None]
        ending.let_go()
        ours = [recorder.touched, graph.starts, ending.starts, recorder.__dict__, tensors]
        found, by_storage = holders.owners(externals, ours)
        graph.owners |= {id(o.tensor): o for o in found}
        graph.may_have_changed = holders.checker(list(graph.owners.values()))
        graph.by_storage |= by_storage
        for storage, tensor in graph.by_storage.items():
            if tensor._box is not None:
                ending.writers[storage] = tensor._box.writer

    # -- replays ---------------------------------------------------------------------------------
    def _replay(self, graph: Graph, tensors: Sequence[Tensor], args: Any, kwargs: Any) -> Any:
        segment = graph.root
        assert segment is not None
        run = segment.run or _write(graph, [segment])
        if segment.asked is None:
            count, known = len(tensors), graph.gradients
            given = [tensors[v.number]._array if v.number < count else _gradient_of(known[v]) for v in segment.given]
            result = run(tuple(given), tensors)
            self.counts.replayed += 1
            return result
        env: dict[Value, Any] = dict(zip(graph.arguments, [t._array for t in tensors], strict=True))
        env |= {v: _gradient_of(e) for v, e in graph.gradients.items()}
        path = [segment]
        while segment.asked is not None:
            left = run(tuple([env[v] for v in segment.given]), tensors)
            env.update(zip(segment.wanted, left, strict=True))
            answer = key_of(env[segment.asked])
            child = segment.children.get(answer)
            if child is None or not child.verified:
                with self._lock:
                    return self._record(graph, tensors, args, kwargs, Past(path, env), answer)
            segment = child
            path.append(segment)
            run = segment.run or _write(graph, path)
        result = run(tuple([env[v] for v in segment.given]), tensors)
        self.counts.replayed += 1
        return result


def _gradient_of(e: External) -> Any:
    """The array of the gradient that a tensor has now."""
    grad = e.grad_of._grad
    if grad is None or grad._key is not e.value.key:
        raise CaptureError(f"the gradient of a tensor of shape {tuple(e.grad_of.shape)} is not what it was")
    return grad._array


def _write(graph: Graph, path: Sequence[Segment]) -> Callable[[tuple[Any, ...], Any], Any]:
    """Make the function of the last segment of a path."""
    segment, ending = path[-1], path[-1].ending
    fixed = [e for s in path for e in s.externals if e.grad_of is None]
    graph.gradients |= {e.value: e for s in path for e in s.externals if e.grad_of is not None}
    if segment.asked is not None:
        segment.wanted = list(dict.fromkeys((segment.asked, *segment.alive)))
    owners = None if ending is None else owners_of(ending, graph.arguments, graph.by_storage)
    writer = Writer(segment.nodes, fixed, segment.wanted, ending, owners)
    segment.given = writer.given
    segment.run, segment.source = writer.function()
    return segment.run


def _endings_differ(old: Segment, new: Segment) -> str:
    if (old.ending is None) is not (new.ending is None):
        return "the program ended in one call, and went on in the next"
    return "" if old.ending is None else agreeing(old.ending, new.ending)


def _plainly(result: Any, recorder: Recorder) -> Any:
    """A result with numbers in the place of cells."""
    leaves, structure = flatten(result)
    if not any(type(leaf) is Cell for leaf in leaves):
        return result
    return unflatten([leaf._number if type(leaf) is Cell else leaf for leaf in leaves], structure)


# -- kinds of calls ------------------------------------------------------------------------------
def _key(leaves: Sequence[Any], structure: Structure, state: State) -> tuple[Any, ...]:
    parts: list[Any] = [structure, state.grad, state.inference, state.casts, dt.get_default_dtype(), get_default_device()]
    arrays: dict[int, int] = {}
    for i, leaf in enumerate(leaves):
        if isinstance(leaf, Tensor):
            array = leaf._array
            layout = leaf._key.backend.layout(array)
            first = arrays.setdefault(leaf._key.backend.storage_id(array), i)
            parts += (leaf._key, tuple(layout.shape), tuple(layout.strides), type(leaf), _link(leaf), first)
        elif leaf is None or isinstance(leaf, (bool, int, str, bytes)):
            parts += (type(leaf), leaf)
        elif isinstance(leaf, (float, complex)):
            parts.append(key_of(leaf))
        else:
            parts.append(_Same(leaf))
    return tuple(parts)


def _link(t: Tensor) -> Any:
    link = t._node
    if link is None:
        return None
    if link.__class__ is Leaf:
        return "leaf", holders._hooks(link), getattr(t, "_grad", None) is not None
    return "view" if edge_of(t) is None else "history"


class _Same:
    """An argument that is no tensor and no number: the same object."""

    __slots__ = ("thing",)

    def __init__(self, thing: Any):
        self.thing = thing

    def __hash__(self) -> int:
        return id(self.thing)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.thing is self.thing
