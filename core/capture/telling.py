"""What recordings say of themselves: nodes as lines of text, what a function did, and what kept changing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from flambeau.core.capture.trace import Argument, External, Kind, Node, Segment, Value

FIRST, LAST = 12, 4  # how many nodes a shortened list begins and ends with
_CHANGED = re.compile(r"^(?P<subject>.+?) (?P<verb>has|is) (?P<new>.+?),? and (?:had|was) (?P<old>.+)$")


class Graph(Protocol):
    """What is told of a recording."""

    made_because: str
    calls: int  #: how many were replayed

    @property
    def nodes(self) -> list[Node]: ...
    @property
    def guards(self) -> list[str]: ...


class Told(Protocol):
    """What is told of a function: it is a :class:`flambeau.core.capture.captured.Captured`, or runs eagerly."""

    name: str
    reasons: list[str]
    counts: Any  # Any: of eager, recorded, replayed and resumed calls

    @property
    def graphs(self) -> Sequence[Any]: ...


class Reason(NamedTuple):
    """Why calls run eagerly; ``user_stack`` is empty: the text names the place."""

    reason: str
    user_stack: tuple[str, ...] = ()


# -- nodes -------------------------------------------------------------------------------------------
def line(node: Node) -> str:
    """A node as one line: results, call, then the dtypes, shapes and devices of the results, and the place.

    >>> from flambeau.core.capture import telling, trace
    >>> telling.line(trace.Node(trace.Kind.HOST, max, (1, 2), outs=(trace.Value(3),)))
    'n3 = max(1, 2)  # host'
    """
    given = [argument(a) for a in node.args] + [f"{n}={argument(v)}" for n, v in node.params.items()]
    called = f"{_called(node)}({', '.join(given)})"
    outs = [v for v in node.outs if v is not None]
    made = f"{', '.join(v.name for v in outs)} = {called}" if outs else called
    notes = [describe(v) for v in outs if v.is_array]
    if node.kind is not Kind.KERNEL and not (node.kind is Kind.CONSTANT and notes):
        notes.insert(0, node.kind.value)
    return f"{made}  # {'; '.join(filter(None, [', '.join(dict.fromkeys(notes)), node.place]))}"


def _called(node: Node) -> str:
    if node.kind is not Kind.HOST:
        return node.name
    fn: Any = node.fn
    while hasattr(fn, "func"):  # a partial function is told by what it calls
        fn = fn.func
    name: str = getattr(fn, "__qualname__", type(fn).__name__)
    return name.rpartition("<locals>.")[2]


def argument(value: Argument) -> str:
    """An argument of a node: a value by its name, a literal shortened."""
    if isinstance(value, Value):
        return value.name
    if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
        inner = ", ".join(map(argument, value))
        if isinstance(value, list):
            return f"[{inner}]"
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, slice):
        return ":".join("" if part is None else argument(part) for part in (value.start, value.stop, value.step))
    text = " ".join(repr(value).split())
    return text if len(text) <= 40 else f"{text[:37]}..."


def describe(value: Value) -> str:
    """The dtype, shape and device of an array.

    >>> from flambeau.core.capture import telling, trace
    >>> telling.describe(trace.Value(0, key=fb.ones(1)._key, shape=(2, 3)))
    'float32 (2, 3) cpu'
    """
    if value.key is None:
        return "a number"
    return f"{value.key.dtype.name} {tuple(value.shape)} {value.key.device}"


def listing(nodes: Sequence[Node], *, full: bool = False) -> list[str]:
    """The lines of nodes; the middle of a long list is left out, unless ``full``."""
    if full or len(nodes) <= FIRST + LAST + 1:
        return list(map(line, nodes))
    left = len(nodes) - FIRST - LAST
    return [*map(line, nodes[:FIRST]), f"... {left} more", *map(line, nodes[-LAST:])]


# -- functions ---------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Explanation:
    """What a compiled function did up to now. As text it lists all of it; long lists of nodes are shortened.

    The names of the second half are those of ``torch._dynamo.explain``: a break is a reason to run eagerly.
    """

    name: str
    eager: int  #: calls that ran eagerly
    recorded: int  #: calls that were recorded from their start
    replayed: int  #: calls that ran no Python of the function
    resumed: int  #: calls that were replayed up to an answer not met before, and recorded from there
    graphs: list[Any]  #: what was recorded, a :class:`flambeau.core.capture.captured.Graph` for each kind of call
    break_reasons: list[Reason]

    @classmethod
    def of(cls, told: Told) -> Explanation:
        """The explanation of a captured function as it is now."""
        c = told.counts
        reasons = [Reason(why) for why in told.reasons]
        return cls(told.name, c.eager, c.recorded, c.replayed, c.resumed, list(told.graphs), reasons)

    @property
    def graph_count(self) -> int:
        """How many kinds of calls are kept with a recording."""
        return sum(bool(g.nodes) for g in self.graphs)

    @property
    def graph_break_count(self) -> int:
        """How many reasons there were to run eagerly."""
        return len(self.break_reasons)

    @property
    def op_count(self) -> int:
        """How many kernels all recordings call, along the way that was recorded first."""
        return sum(n.kind is Kind.KERNEL for g in self.graphs for n in g.nodes)

    @property
    def ops_per_graph(self) -> list[list[str]]:
        """The names of the kernels of each recording, in order."""
        return [[n.name for n in g.nodes if n.kind is Kind.KERNEL] for g in self.graphs]

    @property
    def out_guards(self) -> list[str]:
        """What is looked at before a replay, of all recordings."""
        return [guard for g in self.graphs for guard in g.guards]

    def text(self, *, full: bool = False) -> str:
        """All of it; every node with ``full``."""
        lines = [
            f"{self.name}: {_times(self.eager)} eager, {self.recorded} recorded, {self.replayed} replayed, "
            f"{self.resumed} resumed"
        ]
        lines += [f"  eager because {reason.reason}" for reason in self.break_reasons]
        for number, graph in enumerate(self.graphs):
            lines += [f"  {row}" for row in _graph(number, graph, full)]
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text()


def _times(count: int, what: str = "call") -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _graph(number: int, graph: Graph, full: bool) -> list[str]:
    nodes = graph.nodes
    rows = [f"graph {number}: {graph.made_because}; {_times(graph.calls, 'replay')}"]
    if not nodes:
        return [f"{rows[0]}, nothing recorded"]
    counts = Counter(n.kind for n in nodes)
    rows[0] += "; " + ", ".join(f"{counts[kind]} {_KINDS[kind](counts[kind])}" for kind in Kind if counts[kind])
    if any(removed := getattr(graph, "removed", ())):
        rows.append(f"  left out of replays: {removed}")
    arguments: list[Value] = getattr(graph, "arguments", [])
    if why := _of_sizes(graph):
        rows.append(f"  {why}")
    rows += _shortened([f"  {v.name}: argument, {describe(v)}" for v in arguments], "arguments", full)
    rows += _shortened([f"  {external(e)}" for s in _path(graph) for e in s.externals], "from elsewhere", full)
    rows += _shortened([f"  guard: {guard}" for guard in graph.guards], "guards", full)
    return rows + [f"  {row}" for row in listing(nodes, full=full)]


def _of_sizes(graph: Any) -> str:
    """For which sizes a recording is, where that is to be told."""
    template = getattr(graph, "template", None)
    if template is not None:
        count = len(template.holes)
        others = "1 other entry" if count == 1 else f"{count} other entries"
        return f"sizes: the function of the graph for {template.sizes}, with {others}"
    apart = getattr(graph, "apart", "")
    return f"sizes: these alone, since {apart}" if apart else ""


def _path(graph: Any) -> list[Segment]:
    """The segments of a recording, where it is in segments."""
    found: list[Segment] = graph.path() if hasattr(graph, "path") else []
    return found


def external(found: External) -> str:
    """An array that a recording takes from elsewhere than the arguments, as one line."""
    if found.constant is not None:
        return f"{found.value.name}: the number {found.array}"
    of = "the gradient of a tensor" if found.grad_of is not None else "a tensor that is no argument"
    return f"{found.value.name}: {of}, {describe(found.value)}"


def _shortened(rows: list[str], what: str, full: bool) -> list[str]:
    return rows if full or len(rows) <= FIRST else [*rows[:FIRST], f"  ... {len(rows) - FIRST} {what} more"]


def _plural(word: str) -> Callable[[int], str]:
    return lambda count: word if count == 1 else f"{word}s"


_KINDS = {
    Kind.KERNEL: _plural("kernel"), Kind.WRITE: _plural("write"), Kind.MAKE: _plural("array"),
    Kind.CONSTANT: _plural("constant"), Kind.HOST: _plural("host call"), Kind.READ: _plural("host read"),
    Kind.CALL: _plural("list call"),
}  # fmt: skip


# -- storms ------------------------------------------------------------------------------------------
class Made(Protocol):
    """What was recorded for one kind of call."""

    made_because: str


def storm(graphs: Sequence[Made], name: str = "the function") -> str:
    """A warning's text: a function is recorded again and again, since something of its calls keeps changing.

    It names what changed most often, and its last values; ``graphs`` are in the order in which they were made.

    >>> from types import SimpleNamespace
    >>> from flambeau.core.capture.telling import storm
    >>> made = [f"argument 1 is {i} and was {i - 1}" for i in range(4, 7)]
    >>> storm([SimpleNamespace(made_because=why) for why in ["first call", *made]], "step")
    'compile: step was recorded for 4 kinds of calls, and goes on: argument 1 was another number in most calls: 3, 4, 5, 6; pass it as a tensor'
    """  # noqa: E501
    changes = [m for g in graphs if (m := _CHANGED.match(g.made_because)) is not None]
    head = f"compile: {name} was recorded for {len(graphs)} kinds of calls, and goes on: "
    if not changes:
        reasons = list(dict.fromkeys(g.made_because for g in graphs[1:]))
        return head + ("; ".join(reasons[-3:]) or "each call is of another kind")
    (subject, what), _ = Counter((m["subject"], _what(m["new"])) for m in changes).most_common(1)[0]
    of_it = [m for m in changes if (m["subject"], _what(m["new"])) == (subject, what)]
    values = list(dict.fromkeys([of_it[0]["old"], *(m["new"] for m in of_it)]))
    values = [v.removeprefix(what).strip() for v in values]
    shown = ", ".join(values[-5:]) if len(values) <= 5 else f"..., {', '.join(values[-5:])}"
    had = "had" if of_it[0]["verb"] == "has" else "was"
    kind = f"another {what}"
    return f"{head}{subject} {had} {kind} in most calls: {shown}; {_ADVICE.get(what, _ELSE)}"


def _what(new: str) -> str:
    """What kind of thing changed, by how its new value is told: "shape (3, 4)" is a shape, "5" a number."""
    if re.match(r"^[-+]?[\d.]+(e[-+]?\d+)?j?$", new) or new in ("inf", "-inf", "nan"):
        return "number"
    if new[:1] in "'\"":
        return "text"
    if new in ("True", "False"):
        return "bool"
    word = re.match(r"^[a-z_]+\b", new)
    return word[0] if word is not None and word[0] != new else "value"


_ELSE = "what changes in each call cannot be recorded once"
_ADVICE = {
    "number": "pass it as a tensor",
    "shape": "pad to a few sizes",
    "strides": "make it contiguous before the call",
}
