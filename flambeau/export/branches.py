"""Programs that decide by the data: each way through the Python is recorded, and the ways become one graph.

At a look at a bool the program is run again with the other answer. What the two runs did before is the same; what they
did after it are the two branches of a ``cond``, each up to the end of the program.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from flambeau.export.graph import ExportError, Graph, Node, Value, map_values
from flambeau.export.joining import joined
from flambeau.export.merging import map_node
from flambeau.export.recording import Recording

MOST_WAYS: Final = 64  #: through a program, each of which is recorded


def explored(run: Callable[[Sequence[bool]], Recording]) -> Recording:
    """The recording of all ways through a program, where ``run(answers)`` records the one that answers lead to."""
    first = run(())
    return _Explorer(run, first).all() if first.tracer.looks else first


class _Explorer:
    def __init__(self, run: Callable[[Sequence[bool]], Recording], first: Recording):
        self.run, self.first, self.ways = run, first, 1
        self.recordings = [first]
        self.values: dict[str, Value] = {}
        self.names: set[str] = set()

    def _name(self, base: str) -> str:
        """A name that no value has."""
        found, n = base, 0
        while found in self.names:
            n += 1
            found = f"{base}_{n}"
        self.names.add(found)
        return found

    def all(self) -> Recording:
        """The first recording, with the others in it."""
        others: dict[tuple[bool, ...], Recording] = {}
        self._record(self.first, 0, others)
        self.written = list(dict.fromkeys(o for r in self.recordings for o in r.written))
        for value in [v for _, v in self.first.held] + [v for _, v in self.first.inputs if v is not None]:
            self.values[value.name] = value
        for recording in self.recordings:
            tracer = recording.tracer
            self.names |= tracer.names
            for name, value in tracer.constant_values.items():
                self.values.setdefault(value.name, value)
                self.first.tracer.constant_values.setdefault(name, value)
                self.first.tracer.constants.setdefault(name, tracer.constants[name])
        graph = self._tail(self.first, 0, others)
        count = len(self.written)
        self.first.tracer.nodes = graph.nodes
        self.first.written = dict(zip(self.written, graph.outputs[:count], strict=True))
        self.first.outputs = graph.outputs[count:]
        return self.first

    def _record(self, recording: Recording, at: int, others: dict[tuple[bool, ...], Recording]) -> None:
        """Record the other way at each look from ``at`` on."""
        looks = recording.tracer.looks
        for i in range(at, len(looks)):
            answers = (*(look.answer for look in looks[:i]), not looks[i].answer)
            self.ways += 1
            if self.ways > MOST_WAYS:
                raise ExportError(
                    f"the program decides by the data at {looks[i].place} in more than {MOST_WAYS} ways: a loop "
                    "depends on the data. Compute with ops (where, masked ops), or use flambeau.cond"
                )
            other = self.run(answers)
            self._same_before(recording, other, i)
            self.recordings.append(other)
            others[answers] = other
            self._record(other, i + 1, others)

    def _same_before(self, one: Recording, other: Recording, i: int) -> None:
        look = one.tracer.looks[i]
        same = len(other.tracer.looks) > i and other.tracer.looks[i].value.name == look.value.name
        nodes, its = one.tracer.nodes[: look.at], other.tracer.nodes[: look.at]
        if not same or [n.op for n in nodes] != [n.op for n in its]:
            raise ExportError(
                f"the program does not do the same twice before it decides at {look.place}; something outside of its "
                "tensors changes it"
            )

    def _tail(self, recording: Recording, i: int, others: dict[tuple[bool, ...], Recording]) -> Graph:
        """What a recording does from its look ``i - 1`` on."""
        looks = recording.tracer.looks
        start = looks[i - 1].at if i else 0
        stop = looks[i].at if i < len(looks) else len(recording.tracer.nodes)
        nodes = [self._adopted(n) for n in recording.tracer.nodes[start:stop]]
        if i == len(looks):
            graph = Graph((), nodes, self._outputs(recording))
            graph.failure = recording.failure
            return graph
        look = looks[i]
        answers = (*(x.answer for x in looks[:i]), not look.answer)
        mine, its = self._tail(recording, i + 1, others), self._tail(others[answers], i + 1, others)
        branches = (mine, its) if look.answer else (its, mine)
        node = Node("cond", (self.values[look.value.name],), {}, several=True, place=look.place, branches=branches)
        path = "".join("t" if x.answer else "f" for x in looks[:i])
        outputs = joined(node, lambda base: self._name(f"{base}_{path}" if path else base))
        return Graph((), [*nodes, node], outputs)

    def _adopted(self, node: Node) -> Node:
        map_node(node, lambda v: self.values.get(v.name, v))
        for value in node.outs:
            if value is not None:
                self.values[value.name] = value
        for branch in node.branches:
            for inner in branch.nodes:
                self._adopted(inner)
            branch.outputs = map_values(lambda v: self.values.get(v.name, v), branch.outputs)
        return node

    def _outputs(self, recording: Recording) -> list[Any]:
        if recording.failure:
            return []
        ours = {**recording.start, **recording.written}
        if recording.out_spec != self.first.out_spec:
            raise ExportError("the program returns another structure where it decides otherwise by the data")
        found: list[Any] = [*(ours[o] for o in self.written), *recording.outputs]
        outputs: list[Any] = map_values(lambda v: self.values.get(v.name, v), found)
        return outputs


__all__ = ["MOST_WAYS", "explored"]
