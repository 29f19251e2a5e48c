"""What there is to call, and valid calls of it: those of its example, and the op database's samples."""

from __future__ import annotations

import ast
import copy
import doctest
import inspect
from collections.abc import Callable, Iterator
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

import flambeau as fb
from flambeau.core import dtype as dt
from flambeau.core.methods import FUNCTIONS
from flambeau.core.record import OPS
from flambeau.plugins.conformance import opdb
from tests.fuzz.written import WRITTEN

Call = tuple[tuple[Any, ...], dict[str, Any]]

#: They change what the calls after them mean, leave the process, or call what they are given with no end.
_LEFT_OUT = frozenset({
    "set_num_threads", "set_printoptions", "set_default_device", "share_memory_", "norm_except", "repacked",
    "reverse_padded", "draw", "reserve", "__setstate__", "__getnewargs__", "dtype", "__getattr__", "__array__",
    "__init_subclass__", "__class__", "__new__", "__getattribute__", "__setattr__", "__delattr__", "__reduce__",
    "__reduce_ex__", "__dir__", "__sizeof__", "__getstate__", "__init__", "__subclasshook__", "__class_getitem__",
    "__repr__", "__str__", "__hash__", "__iter__",
})  # fmt: skip


class Target(NamedTuple):
    """A callable under its public name; ``owner`` is the class that it is a method of."""

    path: str
    fn: Callable[..., Any]
    owner: type | None = None


def _functions(path: str, module: ModuleType, names: Any) -> Iterator[Target]:
    for name in sorted(names):
        fn = getattr(module, name)
        if name not in _LEFT_OUT and callable(fn) and not (isinstance(fn, type) and issubclass(fn, BaseException)):
            yield Target(f"{path}.{name}", fn)


def _methods(path: str, cls: type) -> Iterator[Target]:
    inherited = dir(fb.nn.Module) if cls is not fb.nn.Module and issubclass(cls, fb.nn.Module) else ()
    for name in sorted(set(dir(cls)) - set(inherited)):
        fn = inspect.getattr_static(cls, name)
        special = name.startswith("__") and name.endswith("__")
        if name in _LEFT_OUT or name.startswith("_") and not special or isinstance(fn, (staticmethod, classmethod)):
            continue
        if inspect.isfunction(fn) and getattr(object, name, None) is not getattr(cls, name):
            yield Target(f"{path}.{name}", fn, cls)


@cache
def targets() -> tuple[Target, ...]:
    """Every public callable, in a fixed order."""
    nn, data = fb.nn, fb.utils.data
    own = {n for n in dir(fb) if not n.startswith("_") and not isinstance(getattr(fb, n), ModuleType)}
    spaces: list[tuple[str, ModuleType, Any]] = [
        ("fb", fb, own | set(FUNCTIONS)),
        ("linalg", fb.linalg, fb.linalg.__all__),
        ("special", fb.special, fb.special.__all__),
        ("autograd", fb.autograd, fb.autograd.__all__),
        ("functional", fb.autograd.functional, _public(fb.autograd.functional)),
        ("func", fb.func, fb.func.__all__),
        ("F", nn.functional, nn.functional.__all__),
        ("nn", nn, set(nn.__all__) - {"functional", "init", "modules", "utils"}),
        ("init", nn.init, _public(nn.init)),
        ("nn.utils", nn.utils, _public(nn.utils)),
        ("rnn", nn.utils.rnn, _public(nn.utils.rnn)),
        ("parametrize", nn.utils.parametrize, _public(nn.utils.parametrize)),
        ("parametrizations", nn.utils.parametrizations, _public(nn.utils.parametrizations)),
        ("optim", fb.optim, _public(fb.optim)),
        ("lr_scheduler", fb.optim.lr_scheduler, _public(fb.optim.lr_scheduler)),
        ("data", data, _public(data)),
        ("checkpoint", fb.utils.checkpoint, _public(fb.utils.checkpoint)),
    ]
    classes = [("Tensor", fb.Tensor), ("Generator", fb.Generator), ("Module", nn.Module),
               ("Optimizer", fb.optim.Optimizer), ("LRScheduler", fb.optim.lr_scheduler.StepLR),
               ("ModuleList", nn.ModuleList), ("ModuleDict", nn.ModuleDict), ("Sequential", nn.Sequential),
               ("ParameterDict", nn.ParameterDict), ("DataLoader", data.DataLoader), ("Size", fb.Size)]  # fmt: skip
    found = [t for space in spaces for t in _functions(*space)]
    found += [t for pair in classes for t in _methods(*pair)]
    found += [Target(f"nn.{n}()", getattr(nn, n)) for n in nn.__all__ if _is_module(getattr(nn, n))]
    return tuple(found)


def _public(module: ModuleType) -> list[str]:
    names = getattr(module, "__all__", None)
    return list(names) if names is not None else [n for n, v in vars(module).items() if not n.startswith("_") and
                                                  getattr(v, "__module__", "") == module.__name__]  # fmt: skip


def _is_module(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, fb.nn.Module)


# -- valid calls ---------------------------------------------------------------------------------------
def valid_calls(target: Target) -> list[Call]:
    """Calls that should work, of which each argument is new."""
    made = [make() for make in WRITTEN.get(target.path, ())]
    found = made or [_copied(call) for call in _example_calls(target)] + _samples(target)
    return found or [_by_signature(target)]


def _copied(call: Call) -> Call:
    try:
        return copy.deepcopy(call)
    except Exception:  # a computed tensor, a generator
        return call


@cache
def _example_calls(target: Target) -> list[Call]:
    """The arguments of the calls in the docstring's example."""
    scope: dict[str, Any] = {"fb": fb, **vars(fb.nn), **vars(fb.utils.data), "np": np, **vars(fb.optim)}
    scope["Tensor"] = fb.Tensor
    home = inspect.unwrap(target.fn)
    scope |= getattr(home, "__globals__", None) or vars(inspect.getmodule(home) or fb)
    found: list[Call] = []
    for example in doctest.DocTestParser().get_examples(_text(target)):
        try:
            tree = ast.parse(example.source)
            for node in ast.walk(tree):
                if isinstance(node, ast.Call):
                    found += _call_of(target, node, scope)
            exec(compile(tree, "<example>", "exec"), scope)
        except Exception:
            continue
    return found


def _text(target: Target) -> str:
    """The docstring; an in-place form has that of the function."""
    text = target.fn.__doc__ or ""
    plain = getattr(fb.Tensor, target.path.rpartition(".")[2].removesuffix("_"), None)
    return text if ">>>" in text or target.owner not in (None, fb.Tensor) else getattr(plain, "__doc__", "") or ""


def _call_of(target: Target, node: ast.Call, scope: dict[str, Any]) -> list[Call]:
    def value(tree: ast.expr) -> Any:
        return eval(compile(ast.Expression(tree), "<example>", "eval"), scope)

    try:
        short = target.path.rpartition(".")[2]
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if short.endswith("()"):
            made = value(node.func)
            if type(made) is not target.fn:
                return []
            return [((made, *map(value, node.args)), {k.arg: value(k.value) for k in node.keywords if k.arg})]
        if name.strip("_") not in {n.strip("_") for n in (short, getattr(target.fn, "__name__", short))}:
            return []
        args = [value(a) for a in node.args]
        if isinstance(node.func, ast.Attribute):
            home = value(node.func.value)
            if isinstance(home, target.owner or fb.Tensor):
                args = [home, *args]
        return [(tuple(args), {k.arg: value(k.value) for k in node.keywords if k.arg})]
    except Exception:
        return []


def _samples(target: Target) -> list[Call]:
    """The op database's samples of the op of this name."""
    record = OPS.get(getattr(getattr(target.fn, "op", None), "name", target.path.rpartition(".")[2].strip("_")))
    opdb.load()
    if record is None or record.samples is None or target.owner not in (None, fb.Tensor):
        return []
    try:
        rows = list(record.samples(opdb.Maker(dt.float32)))[:6]
    except Exception:
        return []
    return [(tuple(map(_tensors, r.args)), {k: _tensors(v) for k, v in r.kwargs.items()}) for r in rows]


def _tensors(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return fb.from_numpy(value.copy())
    if isinstance(value, (list, tuple)):
        return type(value)(map(_tensors, value))
    return value


def _by_signature(target: Target) -> Call:
    """Arguments by name and annotation; the call need not work."""
    args = [_instance(target.owner)] if target.owner is not None else []
    if target.path.endswith("()"):
        args = [_instance(target.fn)]
    try:
        parameters = list(inspect.signature(target.fn).parameters.values())[len(args) :]
    except (TypeError, ValueError):
        return tuple(args), {}
    for p in parameters:
        if p.default is not p.empty or p.kind not in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD):
            break
        args.append(_by_annotation(str(p.annotation)))
    return tuple(args), {}


def _by_annotation(text: str) -> Any:
    rows = [("Tensor", lambda: fb.ones(2, 3)), ("Module", lambda: fb.nn.Linear(3, 2)), ("int", lambda: 1),
            ("float", lambda: 0.5), ("str", lambda: "mean"), ("bool", lambda: False)]  # fmt: skip
    return next((make() for name, make in rows if name in text), 1)


def _instance(cls: Any) -> Any:
    special: dict[str, Callable[[], Any]] = {
        "Tensor": lambda: fb.ones(2, 3),
        "Module": lambda: fb.nn.Linear(3, 2),
        "Optimizer": lambda: fb.optim.SGD([fb.ones(2, requires_grad=True)], lr=0.1),
        "StepLR": lambda: fb.optim.lr_scheduler.StepLR(fb.optim.SGD([fb.ones(2, requires_grad=True)], lr=0.1), 2),
        "Sequential": lambda: fb.nn.Sequential(fb.nn.Linear(3, 2), fb.nn.ReLU()),
        "ModuleList": lambda: fb.nn.ModuleList([fb.nn.Linear(3, 2)]),
        "ModuleDict": lambda: fb.nn.ModuleDict({"a": fb.nn.Linear(3, 2)}),
        "ParameterDict": lambda: fb.nn.ParameterDict({"a": fb.nn.Parameter(fb.ones(2))}),
        "DataLoader": lambda: fb.utils.data.DataLoader([1, 2, 3]),
        "Size": lambda: fb.Size([2, 3]),
    }
    try:
        return special.get(cls.__name__, cls)()
    except Exception:
        return fb.ones(2, 3)
