"""What stands for a value while a program is traced: it writes down what is done with it."""

from __future__ import annotations

import dis
import inspect
import operator
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, Protocol

from flambeau.core.methods import FUNCTIONS
from flambeau.fx.node import Node, Target
from flambeau.overrides import is_tensor_method_or_property

__all__ = ["Attribute", "Proxy", "TraceError"]


class TraceError(ValueError):
    """The program asks for a value that is not there while it is traced."""


class Recorder(Protocol):
    """What a proxy asks of the tracer that made it."""

    def create_proxy(self, kind: str, target: Target, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Proxy:
        """Write down a call, and stand for its result."""

    def iter(self, obj: Proxy) -> Iterator[Any]:
        """What iterating over the value gives."""

    def to_bool(self, obj: Proxy) -> bool:
        """Whether the value is true."""

    def keys(self, obj: Proxy) -> Any:
        """The keys of the value."""


class Proxy:
    """Stands for the result of a node. What is done with it becomes a node; what needs its value is a TraceError."""

    def __init__(self, node: Node, tracer: Recorder):
        self.node, self.tracer = node, tracer

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

    def __index__(self) -> NoReturn:
        raise TraceError(f"{self}: a traced value is no index")

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
    first = next(proxies((args, kwargs)), None)
    if first is None:
        return func(*args, **kwargs)
    name = getattr(func, "__name__", "")
    only_method = FUNCTIONS.get(name) is not func and is_tensor_method_or_property(func)
    if only_method and not hasattr(operator, name):
        return first.tracer.create_proxy("call_method", name, args, kwargs)
    return first.tracer.create_proxy("call_function", func, args, kwargs)


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
