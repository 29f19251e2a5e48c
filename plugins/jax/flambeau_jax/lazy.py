"""The device ``jaxlazy``: ops are noted, and run as one compiled program when a value is read or a step ends."""

from __future__ import annotations

import threading
from typing import Any

import jax

from flambeau_jax.backend import JaxBackend, Pure
from flambeau_jax.cells import Cell, Value
from flambeau_jax.graph import Graph, Node


class LazyCell(Cell):
    """A cell that tells the graph what it holds; when it goes, what it held need not be computed."""

    __slots__ = ("_value", "graph")

    def __init__(self, nbytes: int, index: int, graph: Graph):
        self.graph = graph
        self._value: Value = None
        super().__init__(nbytes, index)

    @property
    def value(self) -> Value:  # a slot of the base, with its writes seen
        found = self._value
        return found.value if isinstance(found, Node) and found.value is not None else found

    @value.setter
    def value(self, new: Value) -> None:
        old, self._value = self._value, new
        self.graph.hold(old, new)

    def __del__(self) -> None:
        self.graph.hold(self._value, None)


class LazyBackend(JaxBackend):
    """Tensors on JAX's default platform, a program at a time."""

    device_type = "jaxlazy"
    capabilities = JaxBackend.capabilities | {"lazy"}

    def __init__(self) -> None:
        self.graph = Graph()
        super().__init__()

    def device_count(self) -> int:
        return min(1, super().device_count())

    def do(self, fn: Pure, *values: Value, **static: Any) -> Any:
        if self.lost:
            raise self._gone()
        if self.graph.made > self.graph.LIMIT:
            self.graph.flush()
        return self.graph.node(fn, values, tuple(static.items()))

    def force(self, value: Value) -> jax.Array:
        if isinstance(value, Node) and value.value is None:
            self.graph.flush(value)
        array: jax.Array = value.value if isinstance(value, Node) else value
        return array

    def allocate(self, nbytes: int, index: int) -> LazyCell:
        super().allocate(nbytes, index)
        return LazyCell(nbytes, index, self.graph)

    def check_later(self, name: str, extent: Value, axis: int, size: int) -> None:
        self.graph.hold(None, extent)  # computed with all else, not by a program of its own
        super().check_later(name, extent, axis, size)

    def mark_step(self, index: int = 0) -> None:
        self.graph.flush()

    def after_fork(self) -> None:
        super().after_fork()
        self.graph.lock = threading.RLock()  # a thread that the child has not may hold the other; cells still go

    def synchronize(self, index: int = 0) -> None:
        if not self.lost:
            self.graph.flush()
        super().synchronize(index)


def flambeau_backends() -> LazyBackend:
    """The hook: called when somebody first asks for the device ``jaxlazy``."""
    return LazyBackend()
