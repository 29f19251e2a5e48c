"""One step of a graph: what is called, and with what."""

from __future__ import annotations

import inspect
import operator
import sys
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from flambeau.core.methods import FUNCTIONS
from flambeau.fx.immutable_collections import immutable_dict, immutable_list

__all__ = ["ArgsKwargsPair", "Argument", "Node", "Target", "has_side_effect", "map_aggregate", "map_arg"]

Target = Callable[..., Any] | str
Argument = Any  # a Node, a number, a text, a device, ..., or a tuple, list, dict or slice of them
OPS: Final = ("placeholder", "get_attr", "call_function", "call_method", "call_module", "output", "root")
_DRAWING: Final = (
    "rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like", "normal", "poisson", "bernoulli",
    "multinomial",
)  # fmt: skip
_EFFECTS: Final[set[Any]] = {operator.setitem, *(FUNCTIONS[name] for name in _DRAWING)}


def has_side_effect(fn: Callable[..., Any]) -> Callable[..., Any]:  # Any: of any signature
    """Mark a function as one whose call is kept though nothing uses its result."""
    _EFFECTS.add(fn)
    return fn


def map_aggregate(a: Argument, fn: Callable[[Argument], Argument]) -> Argument:
    """``fn`` of every leaf of tuples, lists, dicts and slices, which stay what they are."""
    if isinstance(a, tuple):
        mapped = [map_aggregate(x, fn) for x in a]
        return type(a)(*mapped) if hasattr(a, "_fields") else tuple(mapped)
    if isinstance(a, list):
        return immutable_list([map_aggregate(x, fn) for x in a])
    if isinstance(a, dict):
        return immutable_dict({k: map_aggregate(v, fn) for k, v in a.items()})
    if isinstance(a, slice):
        return slice(map_aggregate(a.start, fn), map_aggregate(a.stop, fn), map_aggregate(a.step, fn))
    return fn(a)


def map_arg(a: Argument, fn: Callable[[Node], Argument]) -> Argument:
    """``fn`` of every node in an argument."""
    return map_aggregate(a, lambda x: fn(x) if isinstance(x, Node) else x)


class ArgsKwargsPair(NamedTuple):
    """The arguments of a call."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Node:
    """A step: ``op`` says how ``target`` is to be called with ``args`` and ``kwargs``; ``users`` use its result.

    ``op`` is "placeholder" (an input), "get_attr" (a parameter), "call_function", "call_method", "call_module" or
    "output".
    """

    def __init__(
        self, graph: Any, name: str, op: str, target: Target, args: tuple[Argument, ...] = (),
        kwargs: dict[str, Argument] | None = None, return_type: Any = None,
    ):  # fmt: skip  # Any: a Graph, which is made of nodes, and an annotation
        if op not in OPS:
            raise AssertionError(f"Node: op must be one of {', '.join(OPS[:-1])}, got {op!r}")
        if callable(target) is not (op == "call_function"):
            wanted = "a function" if op == "call_function" else "a name"
            raise ValueError(f"Node: the target of {op} is {wanted}, got {target!r}")
        self.graph, self.name, self.op, self.target, self.type = graph, name, op, target, return_type
        self.users: dict[Node, None] = {}
        self.meta: dict[str, Any] = {}
        self._inputs: dict[Node, None] = {}
        self._prev = self._next = self
        self._erased = False
        self._args: tuple[Argument, ...] = ()
        self._kwargs: dict[str, Argument] = {}
        self._set(tuple(args), dict(kwargs or {}))

    # -- what it reads -------------------------------------------------------------------------------------------
    @property
    def args(self) -> tuple[Argument, ...]:
        """The positional arguments."""
        return self._args

    @args.setter
    def args(self, value: tuple[Argument, ...]) -> None:
        self._set(tuple(value), self._kwargs)

    @property
    def kwargs(self) -> dict[str, Argument]:
        """The arguments by name."""
        return self._kwargs

    @kwargs.setter
    def kwargs(self, value: dict[str, Argument]) -> None:
        self._set(self._args, dict(value))

    @property
    def stack_trace(self) -> str | None:
        """Where in the program it was called, if ``meta`` tells."""
        found: str | None = self.meta.get("stack_trace")
        return found

    @stack_trace.setter
    def stack_trace(self, trace: str | None) -> None:
        self.meta["stack_trace"] = trace

    def normalized_arguments(
        self, root: Any, arg_types: tuple[Any, ...] | None = None, kwarg_types: dict[str, Any] | None = None,
        normalize_to_only_use_kwargs: bool = False,
    ) -> ArgsKwargsPair | None:  # fmt: skip  # Any: the module of the graph, and types
        """The arguments as the target's signature has them, defaults filled in; None where it is not known.

        With ``normalize_to_only_use_kwargs`` all by name. ``arg_types`` and ``kwarg_types`` choose between signatures
        in PyTorch; here there is one.
        """
        target: Any = self.target
        if self.op == "call_module":
            target = root.get_submodule(target).forward
        elif self.op != "call_function":
            return None
        try:
            signature = inspect.signature(target)
            bound = signature.bind(*self.args, **self.kwargs)
        except (TypeError, ValueError):
            return None
        if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in signature.parameters.values()):
            return None
        bound.apply_defaults()
        given = dict(bound.arguments)
        if normalize_to_only_use_kwargs:
            return ArgsKwargsPair((), given)
        count = len(self.args)
        return ArgsKwargsPair(tuple(given.values())[:count], dict(list(given.items())[count:]))

    @property
    def all_input_nodes(self) -> list[Node]:
        """The nodes among the arguments, each once."""
        return list(self._inputs)

    def _set(self, args: tuple[Argument, ...], kwargs: dict[str, Argument]) -> None:
        for node in self._inputs:
            node.users.pop(self, None)
        inputs: dict[Node, None] = {}

        def read(node: Node) -> Node:
            inputs[node] = None
            return node

        self._inputs = inputs
        self._args, self._kwargs = map_arg(args, read), map_arg(kwargs, read)
        for node in self._inputs:
            node.users[self] = None

    def update_arg(self, idx: int, arg: Argument) -> None:
        """Another argument at a position."""
        args = list(self._args)
        args[idx] = arg
        self.args = tuple(args)

    def insert_arg(self, idx: int, arg: Argument) -> None:
        """One more argument at a position."""
        if not 0 <= idx <= len(self._args):
            raise AssertionError(f"Node.insert_arg: {self} has {len(self._args)} arguments, no position {idx}")
        self.args = (*self._args[:idx], arg, *self._args[idx:])

    def update_kwarg(self, key: str, arg: Argument) -> None:
        """Another argument by name."""
        self.kwargs = {**self._kwargs, key: arg}

    def replace_input_with(self, old_input: Node, new_input: Node) -> None:
        """Read another node wherever this one reads ``old_input``."""
        self._set(*map_arg((self._args, self._kwargs), lambda node: new_input if node is old_input else node))

    def replace_all_uses_with(
        self, replace_with: Node, delete_user_cb: Callable[[Node], bool] = lambda user: True, *,
        propagate_meta: bool = False,
    ) -> list[Node]:  # fmt: skip
        """Have all users, or those of which ``delete_user_cb`` is true, read another node; returns them.

        With ``propagate_meta`` that node, which must have no ``meta``, gets this one's.
        """
        if propagate_meta:
            if replace_with.meta:
                raise AssertionError(f"Node.replace_all_uses_with: {replace_with} has a meta of its own")
            replace_with.meta.update(self.meta)
        changed = [user for user in self.users if delete_user_cb(user)]
        for user in changed:
            user.replace_input_with(self, replace_with)
        return changed

    # -- where it stands -----------------------------------------------------------------------------------------
    @property
    def next(self) -> Node:
        """The node after it; after the last comes the graph's root."""
        return self._next

    @property
    def prev(self) -> Node:
        """The node before it."""
        return self._prev

    def _unlink(self) -> None:
        self._prev._next, self._next._prev = self._next, self._prev

    def prepend(self, x: Node) -> None:
        """Put a node of this graph, or a new one, before this one."""
        if x is self:
            return
        x._unlink()
        before = self._prev
        before._next = self._prev = x
        x._prev, x._next = before, self

    def append(self, x: Node) -> None:
        """Put a node after this one."""
        self._next.prepend(x)

    # -- questions -----------------------------------------------------------------------------------------------
    def is_impure(self, impure_random: bool = True) -> bool:
        """Whether its call is kept though nothing uses its result: that of an input, of what writes or draws numbers.

        A module is impure if it says so by an attribute ``_is_impure``. ``impure_random`` is about operators of
        PyTorch's alone: functions that draw random numbers are impure in any case.
        """
        if self.op == "call_module":
            if self.graph.owning_module is None:
                raise AssertionError(f"Node.is_impure: the graph of {self} has no module to ask")
            return bool(getattr(self.graph.owning_module.get_submodule(self.target), "_is_impure", False))
        return self.op in ("placeholder", "output") or self.op == "call_function" and self.target in _EFFECTS

    def format_node(self) -> str:
        """The node as a line of text."""
        if self.op == "output":
            return f"return {self._args[0]!r}"
        kind = "" if self.type is None else f"{kind_of(self.type)} "
        head = f"%{self.name} : {kind}[num_users={len(self.users)}] = {self.op}[target={name_of(self.target)}]"
        if self.op == "placeholder":
            return f"{head}(default={self._args[0]})" if self._args else head
        return head if self.op == "get_attr" else f"{head}(args = {shown(self._args)}, kwargs = {shown(self._kwargs)})"

    def __repr__(self) -> str:
        return self.name

    __hash__ = object.__hash__


def spelled(a: Argument, leaf: Callable[[Argument], str], key: Callable[[Argument], str] = str) -> str:
    """An argument as text: tuples, lists and dicts of what ``leaf`` writes, and ``key`` of keys."""
    if isinstance(a, tuple):
        return f"({', '.join(spelled(x, leaf, key) for x in a)}{',' if len(a) == 1 else ''})"
    if isinstance(a, list):
        return f"[{', '.join(spelled(x, leaf, key) for x in a)}]"
    if isinstance(a, dict):
        return "{" + ", ".join(f"{key(k)}: {spelled(v, leaf, key)}" for k, v in a.items()) + "}"
    return leaf(a)


def shown(a: Argument) -> str:
    """An argument in the text of a graph: nodes with a % before their names."""
    return spelled(a, lambda x: f"%{x.name}" if isinstance(x, Node) else str(x))


def name_of(target: Target) -> str:
    """How a target is written: a text as it is, a function with its module, of flambeau's the first that shows it."""
    if isinstance(target, str):
        return target
    home = (getattr(target, "__module__", "") or "").lstrip("_")
    name = getattr(target, "__qualname__" if isinstance(target, type) else "__name__", repr(target))
    if home.startswith("flambeau."):
        parts = home.split(".")
        paths = (".".join(parts[:i]) for i in range(1, len(parts) + 1))
        home = next((path for path in paths if getattr(sys.modules.get(path), name, None) is target), home)
    return f"{home}.{name}" if home else name


def kind_of(annotation: Any) -> str:  # Any: an annotation
    """How a type is written in the text of a graph."""
    return name_of(annotation).removeprefix("builtins.") if isinstance(annotation, type) else repr(annotation)
