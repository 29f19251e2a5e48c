"""What stands for a value while a program is traced: it writes down what is done with it."""

from __future__ import annotations

import dis
import inspect
import operator
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, Final, NoReturn

from flambeau.core.device import device
from flambeau.core.dtype import DType
from flambeau.core.generator import Generator
from flambeau.core.memory_format import MemoryFormat
from flambeau.core.methods import FUNCTIONS
from flambeau.core.size import Size
from flambeau.fx.graph import Graph
from flambeau.fx.node import Argument, Node, Target, name_of
from flambeau.overrides import is_tensor_method_or_property

__all__ = ["Attribute", "GraphAppendingTracer", "Proxy", "TraceError", "TracerBase"]

_PLAIN: Final = (
    str, int, float, bool, complex, bytes, type(None), type(...), DType, device, MemoryFormat, Generator, Size, Enum,
)  # fmt: skip


class TraceError(ValueError):
    """The program asks for a value that is not there while it is traced."""


class Proxy:
    """Stands for the result of a node. What is done with it becomes a node; what needs its value is a TraceError."""

    def __init__(self, node: Node, tracer: TracerBase | None = None):
        self.node, self.tracer = node, tracer or GraphAppendingTracer(node.graph)

    def __getattr__(self, k: str) -> Any:  # Any: another proxy
        return Attribute(self, k)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # Any: another proxy
        return self.tracer.create_proxy("call_method", "__call__", (self, *args), kwargs)

    def __iter__(self) -> Iterator[Any]:
        frame = inspect.currentframe()
        caller = None if frame is None else frame.f_back
        if caller is not None:
            for instruction in dis.get_instructions(caller.f_code):
                if instruction.offset == caller.f_lasti and instruction.opname == "UNPACK_SEQUENCE":
                    return iter([self._item(i) for i in range(int(instruction.argval))])
        return self.tracer.iter(self)

    def _item(self, index: int) -> Proxy:
        return self.tracer.create_proxy("call_function", operator.getitem, (self, index), {})

    def __bool__(self) -> bool:
        return self.tracer.to_bool(self)

    def __len__(self) -> NoReturn:
        raise RuntimeError("len of a traced value: use fx.wrap('len'), or do not trace the module that calls it")

    def keys(self) -> Any:  # Any: what the tracer makes of it
        """The keys of a traced dict, which are not known."""
        return self.tracer.keys(self)

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """A call of a public function with a traced value."""
        return record(func, args, kwargs or {})

    def __repr__(self) -> str:
        return f"Proxy({self.node.name})"


class Attribute(Proxy):
    """An attribute of a traced value: a method, once it is called."""

    def __init__(self, root: Proxy, attr: str):
        self.root, self.attr, self.tracer = root, attr, root.tracer
        self._node: Node | None = None

    @property
    def node(self) -> Node:  # type: ignore[override]  # made when it is asked for
        if self._node is None:
            self._node = self.tracer.create_proxy("call_function", getattr, (self.root, self.attr), {}).node
        return self._node

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # Any: another proxy
        return self.tracer.create_proxy("call_method", self.attr, (self.root, *args), kwargs)


class TracerBase:
    """How nodes are made of what a program does."""

    graph: Graph

    def create_node(
        self, kind: str, target: Target, args: tuple[Argument, ...], kwargs: dict[str, Argument],
        name: str | None = None, type_expr: Any = None,
    ) -> Node:  # fmt: skip
        """Add a node to the graph."""
        return self.graph.create_node(kind, target, args, kwargs, name, type_expr)

    def proxy(self, node: Node) -> Proxy:
        """What stands for the result of a node."""
        return Proxy(node, self)

    def create_proxy(
        self, kind: str, target: Target, args: tuple[Any, ...], kwargs: dict[str, Any], name: str | None = None,
        type_expr: Any = None, proxy_factory_fn: Callable[[Node], Proxy] | None = None,
    ) -> Proxy:  # fmt: skip
        """Add a node for a call with these arguments, proxies among them, and give its proxy."""
        made_args, made_kwargs = self.create_arg(args), self.create_arg(kwargs)
        node = self.create_node(kind, target, made_args, made_kwargs, name, type_expr)
        return (proxy_factory_fn or self.proxy)(node)

    def create_arg(self, a: Any) -> Argument:
        """What stands in a node for an argument."""
        if isinstance(a, Proxy):
            return a.node
        if isinstance(a, _PLAIN):
            return a
        if isinstance(a, tuple):
            return type(a)(*map(self.create_arg, a)) if hasattr(a, "_fields") else tuple(map(self.create_arg, a))
        if isinstance(a, list):
            return [self.create_arg(x) for x in a]
        if isinstance(a, dict):
            if next(proxies(list(a)), None) is not None:
                raise RuntimeError(f"a key of a dict in a traced call is a traced value: {a}")
            return {k: self.create_arg(v) for k, v in a.items()}
        if isinstance(a, range):
            return range(*(self.create_arg(x) for x in (a.start, a.stop, a.step)))
        if isinstance(a, slice):
            return slice(self.create_arg(a.start), self.create_arg(a.stop), self.create_arg(a.step))
        if callable(a):
            return a
        raise NotImplementedError(f"argument of type {type(a).__name__} in a traced call: {a!r}")

    def to_bool(self, obj: Proxy) -> bool:
        """TraceError: which way a condition goes is not known."""
        raise TraceError(
            f"{obj}: a traced value decides a condition; move it into a function for fx.wrap, or name the argument "
            "in concrete_args"
        )

    def iter(self, obj: Proxy) -> Iterator[Any]:
        """TraceError: how many there are is not known."""
        raise TraceError(f"{obj}: a traced value is iterated over, and how many items it has is not known")

    def keys(self, obj: Proxy) -> Any:  # Any: a proxy
        """A call of ``keys``."""
        return self.create_proxy("call_method", "keys", (obj,), {})


class GraphAppendingTracer(TracerBase):
    """Adds nodes to a graph that is there."""

    def __init__(self, graph: Graph):
        self.graph = graph


def proxies(value: Any) -> Iterator[Proxy]:
    """The proxies in an argument."""
    if isinstance(value, Proxy):
        yield value
    elif isinstance(value, (tuple, list)):
        for one in value:
            yield from proxies(one)
    elif isinstance(value, dict):
        yield from proxies(list(value.values()))
    elif isinstance(value, slice):
        yield from proxies((value.start, value.stop, value.step))


def record(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The node of a call with traced values: of a method where the function is one of Tensor's."""
    tracers = list(dict.fromkeys(p.tracer for p in proxies((args, kwargs))))
    if not tracers:
        return func(*args, **kwargs)
    if len(tracers) > 1:
        raise RuntimeError(f"{name_of(func)}: the arguments stand for values of different tracers")
    name = getattr(func, "__name__", "")
    only_method = FUNCTIONS.get(name) is not func and is_tensor_method_or_property(func)
    if only_method and not hasattr(operator, name):
        return tracers[0].create_proxy("call_method", name, args, kwargs)
    return tracers[0].create_proxy("call_function", func, args, kwargs)


def _operator(name: str) -> Callable[..., Any]:
    function = getattr(operator, name)

    def forward(*args: Any) -> Any:
        return args[0].tracer.create_proxy("call_function", function, args, {})

    return forward


def _reflected(name: str) -> Callable[..., Any]:
    function = getattr(operator, name)

    def backward(self: Proxy, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", function, (other, self), {})

    return backward


_BINARY = ("add", "sub", "mul", "floordiv", "truediv", "mod", "pow", "lshift", "rshift", "and_", "or_", "xor", "matmul")
for _name in (*_BINARY, "eq", "ne", "lt", "gt", "le", "ge", "neg", "pos", "invert", "abs", "getitem"):
    setattr(Proxy, f"__{_name.rstrip('_')}__", _operator(_name))
for _name in _BINARY:
    setattr(Proxy, f"__r{_name.rstrip('_')}__", _reflected(_name))
Proxy.__hash__ = object.__hash__  # type: ignore[method-assign]
