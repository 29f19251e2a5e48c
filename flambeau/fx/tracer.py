"""From a module or function to its graph, by running it on proxies."""

from __future__ import annotations

import builtins
import functools
import inspect
import itertools
import operator
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any, ClassVar, Final

from flambeau.core.tensor import Tensor
from flambeau.core.tree import flatten
from flambeau.fx.graph import CodeGen, Graph
from flambeau.fx.graph_module import GraphModule
from flambeau.fx.node import Argument, has_side_effect
from flambeau.fx.proxy import TracerBase, proxies, record
from flambeau.nn import Module, Parameter
from flambeau.overrides import TorchFunctionMode, _assert

__all__ = ["PH", "PHWithMeta", "Tracer", "is_fx_tracing", "symbolic_trace", "wrap"]

#: Functions that :func:`wrap` was told of: the globals in which they stand, and their name.
_wrapped: Final[list[tuple[dict[str, Any], str]]] = []
_at_work = [0]


def is_fx_tracing() -> bool:
    """Whether a program is being traced in this moment."""
    return _at_work[0] > 0


def wrap(fn_or_name: str | Callable[..., Any]) -> Any:  # Any: what it was given
    """Have a function of this module stand in graphs as one call, though it is not one of flambeau's.

    ``fx.wrap("name")`` at the top level of a module, or the decorator ``@fx.wrap``.
    """
    if not callable(fn_or_name) and not isinstance(fn_or_name, str):
        raise RuntimeError("wrap: expected the name of a function in this module, or the function")
    frame = inspect.currentframe()
    caller = None if frame is None else frame.f_back
    if caller is None or caller.f_code.co_name != "<module>":
        raise NotImplementedError("wrap must be called at the top level of a module")
    name = fn_or_name if isinstance(fn_or_name, str) else fn_or_name.__name__
    _wrapped.append((caller.f_globals, name))
    return fn_or_name


class _Recording(TorchFunctionMode):
    """Sees every call of a public function, and writes down those with a proxy among the arguments."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return record(func, args, kwargs or {})


class PHWithMeta:
    """A place among concrete arguments that stays an input."""

    def __init__(self, ph_key: str | None = None):
        self.ph_key = ph_key


class _Input:
    """Marks an input among concrete arguments."""

    def __repr__(self) -> str:
        return "PH"


PH: Final = _Input()


class Tracer(TracerBase):
    """Runs a module or function on proxies. Subclasses say which modules are leaves, and how calls are written down.

    Layers of flambeau are leaves; the program may not decide by values.
    """

    proxy_buffer_attributes: ClassVar[bool] = False

    def get_fresh_qualname(self, prefix: str) -> str:
        """A name that no attribute of the module has: ``prefix`` and a number."""
        return next(name for i in itertools.count() if not hasattr(self.root, name := f"{prefix}{i}"))

    def __init__(
        self, autowrap_modules: tuple[ModuleType, ...] = (), autowrap_functions: tuple[Callable[..., Any], ...] = (),
        param_shapes_constant: bool = False,
    ):  # fmt: skip
        routines = (f for m in autowrap_modules for f in vars(m).values() if inspect.isroutine(f))
        self._autowrap = {id(f) for f in (*routines, *autowrap_functions)}
        self.submodule_paths: dict[Module, str] | None = None
        self.tensor_attrs: dict[int, str] = {}

    def is_leaf_module(self, m: Module, module_qualified_name: str) -> bool:
        """Whether a module's call is one node: that of flambeau's layers, but for Sequential and other containers."""
        from flambeau.nn import Sequential  # the default alone needs it

        home = type(m).__module__
        return home.startswith(("flambeau.nn", "torch.nn")) and not isinstance(m, Sequential)

    def path_of_module(self, mod: Module) -> str:
        """The name of a submodule in the root; NameError where it is none of them."""
        path = (self.submodule_paths or {}).get(mod)
        if path is None:
            raise NameError(f"{type(mod).__name__} is called, but is no submodule of the module that is traced")
        return path

    def call_module(self, m: Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The call of a module: a node for a leaf, its own calls for another."""
        path = self.path_of_module(m)
        if not self.is_leaf_module(m, path):
            return forward(*args, **kwargs)
        return self.create_proxy("call_module", path, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """An attribute of a module: a parameter is read by a node."""
        if isinstance(attr_val, Parameter) or self.proxy_buffer_attributes and isinstance(attr_val, Tensor):
            name = self.tensor_attrs.get(id(attr_val))
            if name is not None:
                if name not in parameter_proxy_cache:
                    parameter_proxy_cache[name] = self.create_proxy("get_attr", name, (), {})
                return parameter_proxy_cache[name]
        return attr_val

    def create_arg(self, a: Any) -> Argument:
        """What stands in a node for an argument: tensors are attributes of the root, named tuples are made by a node.

        NameError of a parameter that is none of the root's.
        """
        if isinstance(a, Tensor):
            if id(a) not in self.tensor_attrs:
                if isinstance(a, Parameter):
                    raise NameError("a parameter is read that is none of the module that is traced")
                name = self.tensor_attrs[id(a)] = self.get_fresh_qualname("_tensor_constant")
                setattr(self.root, name, a)
            return self.create_node("get_attr", self.tensor_attrs[id(a)], (), {})
        if isinstance(a, Module):
            return self.create_node("get_attr", self.path_of_module(a), (), {})
        if isinstance(a, tuple) and hasattr(a, "_fields"):
            return self.create_node("call_function", type(a), tuple(self.create_arg(x) for x in a), {})
        return super().create_arg(a)

    def create_args_for_root(
        self, root_fn: Callable[..., Any], is_module: bool, concrete_args: dict[str, Any] | None = None
    ) -> tuple[Callable[..., Any], list[Any]]:
        """The function to call, and its arguments: inputs, and values for those that are fixed."""
        lead = 1 if is_module else 0
        parameters = list(inspect.signature(root_fn).parameters.values())[lead:]
        parameters.sort(key=lambda p: p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD))  # names, then what gathers the rest
        fixed = _named(concrete_args, parameters)
        args: list[Any] = [self.root] if is_module else []
        for p in parameters:
            if p.name in fixed:
                args.append(self._fixed(p.name, fixed[p.name], itertools.count(1)))
                continue
            star = "*" if p.kind is p.VAR_POSITIONAL else "**" if p.kind is p.VAR_KEYWORD else ""
            default = () if p.default is p.empty else (p.default,)
            kind = None if p.annotation is p.empty or star else p.annotation
            args.append(self.create_proxy("placeholder", star + p.name, default, {}, type_expr=kind))
        if all(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters):
            return root_fn, args

        def call(*given: Any) -> Any:
            plain, named = list(given[:lead]), {}
            for value, p in zip(given[lead:], parameters, strict=True):
                if p.kind is p.KEYWORD_ONLY:
                    named[p.name] = value
                elif p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD):
                    plain.append(value)
            return root_fn(*plain, **named)  # a proxy cannot be spread: what stars would get is not looked at

        return call, args

    def _fixed(self, name: str, value: Any, counts: Iterator[int]) -> Any:
        """A value for an argument: an input that must have it; of containers the leaves, inputs where they are PH."""
        if isinstance(value, (tuple, list)):
            parts = [self._fixed(name, v, counts) for v in value]
            return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
        if isinstance(value, dict):
            return {k: self._fixed(name, v, counts) for k, v in value.items()}
        node = self.create_proxy("placeholder", f"{name}_{next(counts)}", (), {})
        if value is PH or isinstance(value, PHWithMeta):
            return node
        text = f"{name} has been specialized to have value {value} but got another value"
        if isinstance(value, (bool, int, float)):
            self.create_proxy("call_function", _assert, (operator.eq(node, value), text), {})
        elif value is None:
            self.create_proxy("call_function", _assert_is_none, (node, text), {})
        return value

    def trace(self, root: Module | Callable[..., Any], concrete_args: dict[str, Any] | None = None) -> Graph:
        """The graph of a module or function; arguments in ``concrete_args`` are values, no inputs."""
        if isinstance(root, Module):
            self.root, function = root, type(root).forward
            self.submodule_paths = {m: name for name, m in root.named_modules(remove_duplicate=False)}
        else:
            self.root, function, self.submodule_paths = Module(), root, {}
        self.tensor_attrs = {id(t): n for n, t in [*self.root.named_buffers(), *self.root.named_parameters()]}
        self.graph = Graph(tracer_cls=type(self))
        with ExitStack() as stack:
            stack.enter_context(self._patched(function))
            stack.enter_context(_Recording())
            call, args = self.create_args_for_root(function, isinstance(root, Module), concrete_args)
            if any(isinstance(v, (tuple, list, dict)) for v in _named(concrete_args, []).values()):
                self.graph.set_codegen(_Flattened())
            result = call(*args)
            kind = getattr(function, "__annotations__", {}).get("return")
            self.create_node("output", "output", (self.create_arg(result),), {}, type_expr=kind)
        return self.graph

    @contextmanager
    def _patched(self, function: Callable[..., Any]) -> Iterator[None]:
        """Modules' calls and attributes, and wrapped functions, seen by this tracer."""
        cache: dict[str, Any] = {}
        patched: Any = Module  # two of its methods are exchanged while the program runs
        calls, attributes = patched.__call__, patched.__getattr__

        def call(module: Module, *args: Any, **kwargs: Any) -> Any:
            def forward(*args: Any, **kwargs: Any) -> Any:
                return calls(module, *args, **kwargs)

            return self.call_module(module, forward, args, kwargs)

        def attribute(module: Module, name: str) -> Any:
            return self.getattr(name, attributes(module, name), cache)

        replaced = [(scope, name) for scope, name in _wrapped if name in scope or hasattr(builtins, name)]
        found = [*_globals(self.root), *_routines(function)]
        replaced += [(s, n) for s, n in found if id(s[n]) in self._autowrap]
        before = [(scope, name, scope.get(name, _Absent)) for scope, name in replaced]
        _at_work[0] += 1
        try:
            patched.__call__, patched.__getattr__ = call, attribute
            for scope, name in replaced:
                scope[name] = _watched(scope.get(name, getattr(builtins, name, None)))
            yield
        finally:
            patched.__call__, patched.__getattr__ = calls, attributes
            for scope, name, value in reversed(before):
                if value is _Absent:
                    scope.pop(name, None)
                else:
                    scope[name] = value
            _at_work[0] -= 1


class _Flattened(CodeGen):
    """Inputs are containers, whose leaves the graph takes."""

    def process_inputs(self, *args: Any) -> Any:  # Any: a graph's inputs
        """The leaves of the inputs."""
        return flatten(list(args))[0]


def _assert_is_none(value: Any, text: str) -> None:  # Any: it should be None
    if value is not None:
        raise AssertionError(text)


has_side_effect(_assert_is_none)
has_side_effect(_assert)


def _named(concrete: Any, parameters: Any) -> dict[str, Any]:  # Any: what users give; parameters of a signature
    """Concrete arguments by name; of a sequence in order."""
    if isinstance(concrete, (tuple, list)):
        return {p.name: v for p, v in zip(parameters, concrete, strict=False)} if parameters else {"": list(concrete)}
    return dict(concrete or {})


class _Absent:
    pass


def _globals(root: Module) -> Iterator[tuple[dict[str, Any], str]]:
    """The global functions that the forwards of a module's classes can see."""
    for cls in {type(m) for m in root.modules()}:
        scope = vars(sys.modules.get(cls.__module__, builtins))
        yield from ((scope, name) for name, value in list(scope.items()) if inspect.isroutine(value))


def _routines(function: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """The global functions that a function can see."""
    scope = getattr(function, "__globals__", {})
    yield from ((scope, name) for name, value in list(scope.items()) if inspect.isroutine(value))


def _watched(function: Any) -> Callable[..., Any]:
    """A function whose calls with a traced value are nodes."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        first = next(proxies((args, kwargs)), None)
        if first is None:
            return function(*args, **kwargs)
        return first.tracer.create_proxy("call_function", function, args, kwargs)

    return call


def symbolic_trace(
    root: Module | Callable[..., Any], concrete_args: dict[str, Any] | None = None
) -> GraphModule:  # Any: values of arguments
    """A module that runs the graph of another, or of a function.

    >>> traced = fb.fx.symbolic_trace(lambda x, y: (x + y).relu() * 2)
    >>> [node.name for node in traced.graph.nodes]
    ['x', 'y', 'add', 'relu', 'mul', 'output']
    >>> traced(fb.tensor([1.0]), fb.tensor([-3.0]))
    tensor([0.])
    """
    tracer = Tracer()
    graph = tracer.trace(root, concrete_args)
    name = type(root).__name__ if isinstance(root, Module) else getattr(root, "__name__", "function")
    return GraphModule(tracer.root, graph, name)
