"""Running graphs node by node, and rewriting them on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from flambeau.fx.graph import Graph
from flambeau.fx.node import Argument, Node, map_arg
from flambeau.nn import Module

__all__ = ["Interpreter"]


class Interpreter:
    """Runs a graph. Subclasses override ``run_node`` or the method of a kind of node.

    >>> class Count(fb.fx.Interpreter):
    ...     calls = 0
    ...     def call_function(self, target, args, kwargs):
    ...         self.calls += 1
    ...         return super().call_function(target, args, kwargs)
    >>> count = Count(fb.fx.symbolic_trace(lambda x: (x + 1) * (x + 2)))
    >>> count.run(fb.ones(1)), count.calls
    (tensor([6.]), 3)
    """

    def __init__(self, module: Module, garbage_collect_values: bool = True, graph: Graph | None = None):
        self.module = module
        self.submodules = dict(module.named_modules())
        owned: Any = module  # a GraphModule, which stands above
        self.graph: Graph = owned.graph if graph is None else graph
        self.env: dict[Node, Any] = {}
        self.args_iter: Iterator[Any] = iter(())
        self.garbage_collect_values = garbage_collect_values
        self._last: dict[Node, list[Node]] = {}
        if garbage_collect_values:
            seen: set[Node] = set()
            for node in reversed(self.graph.nodes):
                for read in node.all_input_nodes:
                    if read not in seen:
                        seen.add(read)
                        self._last.setdefault(node, []).append(read)

    def run(
        self, *args: Any, initial_env: dict[Node, Any] | None = None, enable_io_processing: bool = True
    ) -> Any:  # Any: of the program
        """Run the graph on inputs; ``initial_env`` has results that are there already."""
        self.env = dict(initial_env or {})
        self.args_iter = iter(self.graph._codegen.process_inputs(*args) if enable_io_processing else args)
        found = self._walk()
        return self.graph._codegen.process_outputs(found) if enable_io_processing else found

    def _walk(self) -> Any:  # Any: of the program
        for node in self.graph.nodes:
            if node in self.env:
                continue
            self.env[node] = self.run_node(node)
            if node.op == "output":
                found = self.env.pop(node)
                self.env = {}
                return found
            for done in self._last.get(node, ()):
                self.env.pop(done, None)
        return None

    def boxed_run(self, args_list: list[Any]) -> Any:  # Any: of the program
        """Run the graph on a list of inputs, which is emptied, so that each input is freed when it was last used."""
        self.env = {}
        self.args_iter = (args_list.pop(0) for _ in range(len(args_list)))
        return self._walk()

    def run_node(self, n: Node) -> Any:  # Any: the node's result
        """Run one node."""
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        return getattr(self, n.op)(n.target, args, kwargs)

    def fetch_args_kwargs_from_env(self, n: Node) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The values of a node's arguments."""
        return self.map_nodes_to_values(n.args, n), self.map_nodes_to_values(n.kwargs, n)

    def map_nodes_to_values(self, args: Argument, n: Node) -> Argument:
        """The same with values in place of nodes; RuntimeError where one has not run."""

        def value(node: Node) -> Any:
            if node not in self.env:
                raise RuntimeError(f"Interpreter: {n} reads {node}, which has not run")
            return self.env[node]

        return map_arg(args, value)

    def fetch_attr(self, target: str) -> Any:  # Any: the attribute
        """An attribute of the module by its path."""
        found: Any = self.module
        for part in target.split("."):
            if not hasattr(found, part):
                raise RuntimeError(f"Interpreter: the module has no attribute {target!r}")
            found = getattr(found, part)
        return found

    def placeholder(self, target: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The next input; its default where there is none."""
        if target.startswith("*"):
            return list(self.args_iter)
        try:
            return next(self.args_iter)
        except StopIteration:
            if args:
                return args[0]
            raise RuntimeError(f"Interpreter: an input for {target} is missing") from None

    def get_attr(self, target: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A parameter or another attribute."""
        return self.fetch_attr(target)

    def call_function(self, target: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The call of a function."""
        return target(*args, **kwargs)

    def call_method(self, target: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The call of a method of the first argument."""
        return getattr(args[0], target)(*args[1:], **kwargs)

    def call_module(self, target: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The call of a submodule."""
        return self.fetch_attr(target)(*args, **kwargs)

    def output(self, target: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the graph returns."""
        return args[0]
