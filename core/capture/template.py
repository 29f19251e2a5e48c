"""One function for calls of many sizes: the nodes of a recording with holes where numbers depend on the sizes.

A recording at another size is laid beside the first, entry by entry. Where both have the same kernels on the same
values, and end in the same way, they differ in *entries* only: a shape in a view, the number of draws, 1/n of a mean.
The function that is written once takes those entries as an argument, and each size has a tuple of its own.

Nothing is replayed at a size that was not recorded. The Python of a program may branch on a size, and so may that of
the ops below it: cross_entropy of few numbers is two kernels, of many another one. Nobody sees that happen, for an int
tells no one that it is read, in C least of all. So each new size is recorded once, without a search for guards and
without a function of its own, and what its entries must be is foretold from those at the sizes before (:mod:`laws`).
Where all come out as foretold, the recording counts as the second one of a kind, which shows that no state of the
program's own was taken for constant; else another one at the same size must agree.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Final, TypeAlias

from flambeau.backends.base import Array
from flambeau.core.capture.ending import Ending, owners_of
from flambeau.core.capture.entries import Entry, Hole, Walk, all_foretold, equal, may_differ, number_of
from flambeau.core.capture.following import Following, Known
from flambeau.core.capture.graph import Graph
from flambeau.core.capture.laws import Sizes
from flambeau.core.capture.recorder import Recorder
from flambeau.core.capture.replay import Writer
from flambeau.core.capture.surroundings import Surroundings
from flambeau.core.capture.trace import External, Node, Segment, Value, bits_equal
from flambeau.core.keys import Key
from flambeau.core.tensor import Tensor

Delta: TypeAlias = dict[int, Entry]  # the entries that are not those of the template, by their places

_MOST_POINTS: Final = 8  #: sizes by which laws are looked for
ANOTHER_ANSWER: Final = "a value is looked at, and is another one at another size"
_written = 0


class _SizedWriter(Writer):
    """Writes a function that takes the entries in its holes."""

    def _global(self, thing: Any, stem: str = "g") -> str:
        if thing.__class__ is Hole:
            return str(thing.name)
        return super()._global(partial(_as_array, thing.__self__) if stem == "wrap" else thing, stem)


def _as_array(key: Key, result: Any) -> Array:
    """A kernel's result: it may be a number of the array library at one size, and an array at another."""
    return result if result.__class__ is key.array else key.wrap(result)


@dataclass(frozen=True, eq=False, slots=True)
class _Function:
    """What a segment runs at all sizes."""

    run: Callable[[tuple[Any, ...], Sequence[Tensor], tuple[Any, ...]], Any]
    source: str
    given: list[Value]
    taken: list[int]  #: the places of the entries that it takes


@dataclass(eq=False, slots=True)
class _Part:
    """A segment of a template."""

    segment: Segment
    places: range  #: of all its entries
    function: _Function | None = None


class Template:
    """A verified recording, from its start to its end, with what was learned of it at other sizes.

    Args:
        graph: it, whose guards hold for all sizes.
        chain: its segments, with the answers that led to them.
        sizes: those at which it was recorded.
        surroundings: what was seen around it.
    """

    def __init__(self, graph: Graph, chain: Sequence[tuple[Any, Segment]], sizes: Sizes, surroundings: Surroundings):
        self.graph, self.answers = graph, [a for a, _ in chain]
        self.known = Known.of(surroundings, graph.snapshots)
        walk, self.parts = Walk(), []
        for _, s in chain:
            start = len(walk.entries)
            walk.segment(s)
            self.parts.append(_Part(s, range(start, len(walk.entries))))
        self.tokens, self.entries = walk.tokens, tuple(walk.entries)
        self.sizes = sizes
        self.points: list[tuple[Sizes, Delta]] = [(sizes, {})]
        self.holes: dict[int, Hole] = {}
        self._wrapped = walk.wrapped
        self._kernels = graph.kernels

    def following(self, fn: Callable[..., Any]) -> Following:
        """Follows a run at another size."""
        return Following(fn, self.known)

    # -- recordings at other sizes ---------------------------------------------------------------
    def delta(self, recorder: Recorder, ending: Ending) -> Delta | str:
        """The entries in which a recording differs; a text that says why it is no recording of the same."""
        chain = recorder.segments
        base = self.parts[-1].segment.ending
        for p, q in zip(base.forms, ending.forms, strict=False):
            if p.kind == "same" and p.own is q.own:
                q.kind, q.parts = "same", ()
        walk = Walk()
        for (_, s), part in zip(chain, self.parts, strict=False):
            for e, known in zip(s.externals, part.segment.externals, strict=False):
                e.grad_of = e.grad_of if e.grad_of is not None else _gradient_of(e, known)
            walk.segment(s)
        if [a for a, _ in chain] != self.answers:
            return ANOTHER_ANSWER
        if why := self._other(walk.tokens, [n for _, s in chain for n in s.nodes]):
            return why
        if dict(_ids(ending.starts)) != dict(_ids(base.starts)):
            return "other tensors have gradients"
        if any(not self._relies(*r) for r in recorder.relied):
            return "it depends on more at another size"
        delta = {}
        for place, (a, b) in enumerate(zip(self.entries, walk.entries, strict=True)):
            if not equal(a, b):
                if not may_differ(a, b):
                    return f"{_told(a)} is {_told(b)} at another size"
                delta[place] = b
        if walk.wrapped - self._wrapped:
            self._wrapped |= walk.wrapped
            self._write_anew()
        return delta

    def _relies(self, fn: Callable[..., Any], args: tuple[Any, ...], value: Any) -> bool:
        return any(f == fn and a == args and bits_equal(v, value) for f, a, v in self.graph.relied)

    def _other(self, tokens: Sequence[Any], nodes: Sequence[Node]) -> str:
        """Why a recording is made of other things, or ""."""
        if tokens == self.tokens:
            return ""
        own = [n for p in self.parts for n in p.segment.nodes]
        for m, n in zip(own, nodes, strict=False):
            if m.name != n.name or m.kind is not n.kind:
                return f"{n.name} runs at {n.place}, where {m.name} runs at another size"
        if len(own) != len(nodes):
            longer = max(own, nodes, key=len)[min(len(own), len(nodes))]
            return f"{longer.name} at {longer.place} runs at one size, and not at another"
        for m, n in zip(own, nodes, strict=True):
            if [v.number for v in m.values()] != [v.number for v in n.values()]:
                return f"{n.name} at {n.place} takes other tensors at another size"
        return "tensors that are no arguments, the result or its history are others at another size"

    def agree(self, one: Delta, other: Delta) -> bool:
        """Whether two recordings of one size have the same entries."""
        return one.keys() == other.keys() and all(equal(e, other[place]) for place, e in one.items())

    def expects(self, sizes: Sizes, delta: Delta) -> bool:
        """Whether laws that the sizes before fix foretell every entry."""
        at = [s for s, _ in self.points]
        done: dict[Any, bool] = {}
        for place in sorted(delta.keys() | self.holes.keys()):
            own = self.entries[place]
            entries = [d.get(place, own) for _, d in self.points] + [delta.get(place, own)]
            if not all_foretold(at, sizes, entries, done):
                return False
        return True

    def learn(self, sizes: Sizes, delta: Delta) -> None:
        """Take in what the entries are at more sizes."""
        if len(self.points) < _MOST_POINTS:
            self.points.append((sizes, delta))
        more = delta.keys() - self.holes.keys()
        if more:
            self.holes |= {place: Hole(place) for place in more}
            self._write_anew()

    # -- replays ---------------------------------------------------------------------------------
    def _write_anew(self) -> None:
        for part in self.parts:
            part.function = None

    def function(self, i: int) -> _Function:
        """The function of a segment, with the kernels that serve the ops now."""
        if self._kernels != self.graph.kernels:
            self._kernels = self.graph.kernels
            self._write_anew()
        found = self.parts[i].function
        if found is None:
            found = self.parts[i].function = self._compiled(self.parts[i])
        return found

    def _compiled(self, part: _Part) -> _Function:
        global _written
        walk = Walk(self.holes, self._wrapped)
        past = [walk.segment(p.segment) for p in self.parts[: self.parts.index(part) + 1]]
        s = past[-1]
        fixed = [e for p in past for e in p.externals if e.grad_of is None]
        before = {e.array for p in past[:-1] for e in p.externals if e.array.__class__ is Hole}
        taken = [n for n, hole in sorted(self.holes.items()) if n in part.places or hole in before]
        wanted = [] if s.asked is None else list(dict.fromkeys((s.asked, *s.alive)))
        owners = None if s.ending is None else owners_of(s.ending, self.graph.arguments, self.graph.by_storage)
        writer = _SizedWriter(s.nodes, fixed, wanted, s.ending, owners)
        _, _, body = writer.source().partition("\n")
        names = "".join(f"{self.holes[place].name}, " for place in taken)
        lines = ["def replay(given, arguments, sizes):", *([f"    {names}= sizes"] if names else []), body]
        source = "\n".join(lines)
        _written += 1
        filename = f"<flambeau replay of all sizes {_written}>"
        exec(compile(source, filename, "exec"), writer.scope)
        linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
        return _Function(writer.scope["replay"], source, writer.given, taken)


def _gradient_of(e: External, known: External) -> Any:
    """The tensor whose gradient an external is, as it was found for the recording before."""
    owner = known.grad_of
    grad = None if owner is None else owner._grad
    return owner if grad is not None and grad._array is e.array else None


def _ids(starts: Iterable[tuple[Tensor, bool]]) -> list[tuple[int, bool]]:
    return [(id(t), had) for t, had in starts]


def _told(entry: Entry) -> str:
    text = repr(number_of(entry) if isinstance(entry, External) else entry)
    return text if len(text) < 60 else text[:57] + "..."


class Sized(Graph):
    """A recording at other sizes than those of its template, whose function and guards it has."""

    template: Template

    @classmethod
    def made(cls, template: Template, graph: Graph, chain: Sequence[tuple[Any, Segment]], delta: Delta) -> Sized:
        """The one that ``graph``, of a recording that agrees with a template, becomes."""
        made = cls(graph.made_because, graph.arguments, graph.fusion)
        made.template, made.kernels = template, template.graph.kernels
        made.launches = sum(len(p.segment.nodes) for p in template.parts)
        segments = [s for _, s in chain]
        for i, (part, s) in enumerate(zip(template.parts, segments, strict=True)):
            own = {v.number: v for v in s.alive}
            s.verified, s.recordings = True, 1
            s.alive = tuple([own[v.number] for v in part.segment.alive])  # in the order that the function has
            made.gradients |= {e.value: e for e in s.externals if e.grad_of is not None}
            _lend(template, i, s, delta)
        if len(segments) == 1:  # nothing goes on from it: what it has in common with the template is kept once
            only, base = segments[0], template.parts[0].segment
            only.nodes, only.externals, only.ending = base.nodes, base.externals, base.ending
        else:
            segments[-1].ending.let_go()
            for (_, a), (answer, b) in pairwise(chain):
                a.children[answer] = b
        made.root = segments[0]
        made.by_storage = dict(template.graph.by_storage)
        return made

    @property
    def guards(self) -> list[str]:
        """Those of the template."""
        return self.template.graph.guards

    def changed(self) -> str:
        """As for any recording; the guards are those of the template."""
        return self.template.graph.changed() or super().changed()

    def _served_anew(self) -> str:
        """Kernels were registered: the function of the template takes them."""
        if self.root is not None and self.root.asked is None:
            self.kernels = self.template.graph.kernels
            return ""
        return super()._served_anew()


def _lend(template: Template, i: int, segment: Segment, delta: Delta) -> None:
    """Let a segment run the function of a template, with the entries of its own sizes."""
    function = template.function(i)
    segment.given, segment.source = function.given, function.source
    segment.wanted = [] if segment.asked is None else list(dict.fromkeys((segment.asked, *segment.alive)))
    held: tuple[_Function | None, tuple[Any, ...]] = (None, ())  # one tuple: another thread may run it meanwhile

    def run(given: tuple[Any, ...], arguments: Sequence[Tensor]) -> Any:
        nonlocal held
        function = template.function(i)
        mine, taken = held
        if mine is not function:
            entries = [delta.get(place, template.entries[place]) for place in function.taken]
            taken = tuple([e.array if e.__class__ is External else e for e in entries])
            held = function, taken
        return function.run(given, arguments, taken)

    segment.run = run
