"""Values that are not computed yet, and the programs that compute all that is still wanted at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import jax

from flambeau.core.cache import Cache
from flambeau_jax.cells import aval as aval_of

Pure = Callable[..., Any]
Static = tuple[tuple[str, Any], ...]


class Node:
    """A value to come: a function, its operands (arrays and nodes), and the shape and dtype of the result.

    ``holders`` counts the cells that hold it: only what a cell holds must be kept once it is computed.
    """

    __slots__ = ("args", "aval", "fn", "holders", "static", "value")

    def __init__(self, fn: Pure, args: tuple[Any, ...], static: Static, aval: Any):
        self.fn, self.args, self.static, self.aval = fn, args, static, aval
        self.value: Any = None
        self.holders = 0

    @property
    def shape(self) -> tuple[int, ...]:
        shape: tuple[int, ...] = self.aval.shape
        return shape

    @property
    def dtype(self) -> Any:
        return self.aval.dtype

    @property
    def size(self) -> int:
        size: int = self.aval.size
        return size


def pick(values: tuple[Any, ...], *, i: int) -> Any:
    """One of several results."""
    return values[i]


class Graph:
    """The pending work of one device. ``flush`` compiles it into one program and runs it."""

    #: Nodes that may wait before they are run without being asked for.
    LIMIT: Final = 8192

    def __init__(self) -> None:
        self.lock = threading.RLock()  # re-entrant: a collection inside may free a cell
        self.held: dict[int, Node] = {}
        self.made = 0  # nodes since the last flush
        self.runs = 0  # of programs
        self._avals: Cache[Any, Any] = Cache(limit=16384)
        self._programs: Cache[Any, Pure] = Cache(limit=256)

    def node(self, fn: Pure, args: tuple[Any, ...], static: Static) -> Any:
        """The result of a function to come; of a function with several results, a tuple of them."""
        key = (fn, static, tuple([None if a is None else (a.shape, a.dtype) for a in args]))
        aval = self._avals.get(key)
        if aval is None:
            given = [None if a is None else aval_of(a.shape, a.dtype) for a in args]
            aval = jax.eval_shape(partial(fn, **dict(static)), *given)
            self._avals.remember(key, aval)
        made = Node(fn, args, static, aval)
        self.made += 1
        if not isinstance(aval, tuple):
            return made
        return tuple([Node(pick, (made,), (("i", i),), a) for i, a in enumerate(aval)])

    def hold(self, old: Any, new: Any) -> None:
        """A cell has another value."""
        with self.lock:
            if isinstance(new, Node) and new.value is None:
                new.holders += 1
                self.held[id(new)] = new
            if isinstance(old, Node) and old.holders:
                old.holders -= 1
                if not old.holders:
                    self.held.pop(id(old), None)

    def flush(self, wanted: Node | None = None) -> None:
        """Compute everything that a cell holds, and ``wanted``: one program, compiled when its form is new."""
        with self.lock:
            roots = list(self.held.values()) + ([] if wanted is None or wanted.holders else [wanted])
            roots = [n for n in roots if n.value is None]
            self.made = 0
            if not roots:
                return
            nodes, leaves, steps = _ordered(roots)
            kept = tuple([i for i, n in enumerate(nodes) if n.holders or n is wanted])
            key = (steps, kept, tuple([(a.shape, a.dtype) for a in leaves]))
            program = self._programs.get(key)
            if program is None:
                program = jax.jit(_program(steps, kept))
                self._programs.remember(key, program)
            self.runs += 1
            for i, value in zip(kept, program(leaves), strict=True):
                nodes[i].value, nodes[i].args = value, ()
            self.held.clear()


def _ordered(roots: list[Node]) -> tuple[list[Node], list[Any], tuple[Any, ...]]:
    """The nodes below the roots, operands first; the arrays that they start from; and the form of it all."""
    nodes: list[Node] = []
    leaves: list[Any] = []
    number: dict[int, int] = {}  # of nodes from 0 up, of leaves from -1 down
    stack: list[tuple[Any, bool]] = [(root, False) for root in reversed(roots)]
    while stack:
        item, ready = stack.pop()
        if id(item) in number:
            continue
        found = item.value if isinstance(item, Node) else item
        if found is not None:  # an array
            if id(found) not in number:
                leaves.append(found)
                number[id(found)] = -len(leaves)
            number[id(item)] = number[id(found)]
        elif ready:
            number[id(item)] = len(nodes)
            nodes.append(item)
        else:
            stack.append((item, True))
            stack.extend((a, False) for a in reversed(item.args) if a is not None)
    steps = tuple([(n.fn, n.static, tuple([None if a is None else number[id(a)] for a in n.args])) for n in nodes])
    return nodes, leaves, steps


def _program(steps: tuple[Any, ...], kept: tuple[int, ...]) -> Pure:
    def run(leaves: list[Any]) -> list[Any]:
        values: list[Any] = []
        for fn, static, args in steps:
            operands = [None if i is None else values[i] if i >= 0 else leaves[-1 - i] for i in args]
            values.append(fn(*operands, **dict(static)))
        return [values[i] for i in kept]

    return run
