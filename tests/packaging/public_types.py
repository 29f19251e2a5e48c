"""What the public functions and methods of flambeau are annotated with: ``python -m tests.packaging.public_types``."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

#: The modules that users import.
MODULES = (
    "flambeau", "flambeau.accelerator", "flambeau.autograd", "flambeau.autograd.forward_ad",
    "flambeau.autograd.functional", "flambeau.autograd.graph", "flambeau.backends.base", "flambeau.backends.strided",
    "flambeau.debug", "flambeau.func", "flambeau.library", "flambeau.linalg", "flambeau.nn", "flambeau.nn.functional",
    "flambeau.nn.init", "flambeau.nn.utils", "flambeau.nn.utils.parametrize", "flambeau.nn.utils.parametrizations",
    "flambeau.nn.utils.rnn", "flambeau.optim", "flambeau.optim.lr_scheduler", "flambeau.optim.swa_utils",
    "flambeau.plugins", "flambeau.profiler", "flambeau.special", "flambeau.utils.checkpoint", "flambeau.utils.data",
    "flambeau.utils.serialization",
)  # fmt: skip
_ANY = re.compile(r"(typing\.)?Any( \| None)?|None \| Any")
_CALLED = frozenset({"__init__", "__call__", "__getitem__", "__setitem__", "__iter__", "__enter__"})


class Place(NamedTuple):
    """A parameter or the result of a public function."""

    function: str
    name: str  #: of the parameter, or "return"
    type: str
    explained: bool  #: a comment ``# Any: why`` stands at the function


def places() -> Iterator[Place]:
    """Every parameter and result that users meet, each function once."""
    seen: set[int] = set()
    for path in MODULES:
        module = _module(path)
        for name in getattr(module, "__all__", None) or dir(module):
            value = getattr(module, name)
            if name.startswith("_") or isinstance(value, ModuleType):
                continue
            if inspect.isclass(value) and value.__module__.startswith("flambeau"):
                for owner in value.__mro__:
                    if owner.__module__.startswith("flambeau"):
                        yield from _members(owner, seen)
            elif isinstance(value, FunctionType):
                yield from _places(f"{path}.{name}", value, seen)


def _module(path: str) -> Any:
    """A module, or what a module has under this name."""
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        parent, _, name = path.rpartition(".")
        return getattr(importlib.import_module(parent), name)


def _members(owner: type, seen: set[int]) -> Iterator[Place]:
    for name, value in vars(owner).items():
        if name.startswith("_") and name not in _CALLED:
            continue
        if isinstance(value, property):
            value = value.fget
        if isinstance(value, (staticmethod, classmethod)):
            value = value.__func__
        if isinstance(value, FunctionType):
            yield from _places(f"{owner.__module__}.{owner.__name__}.{name}", value, seen)


def _places(title: str, function: FunctionType, seen: set[int]) -> Iterator[Place]:
    written: Any = inspect.unwrap(function)
    if id(written) in seen or not written.__module__.startswith("flambeau"):
        return
    seen.add(id(written))
    try:
        explained = "# Any: " in inspect.getsource(written)
    except OSError:  # made from a record: its schema is its source
        explained = True
    signature = inspect.signature(written)
    for i, p in enumerate(signature.parameters.values()):
        if i or p.name not in ("self", "cls"):
            yield Place(title, p.name, _text(p.annotation), explained)
    if written.__name__ != "__init__":
        yield Place(title, "return", _text(signature.return_annotation), explained)


def _text(annotation: Any) -> str:
    if annotation is inspect.Parameter.empty:
        return "Any"  # which is what a type checker takes it for
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))


def untyped(found: list[Place]) -> list[Place]:
    """The places whose type is Any."""
    return [p for p in found if _ANY.fullmatch(p.type)]


if __name__ == "__main__":
    everything = list(places())
    without = untyped(everything)
    for place in without:
        print(f"{place.function}({place.name}: {place.type}){'' if place.explained else '  without a reason'}")
    print(f"{len(without)} of {len(everything)} are Any: {len(without) / len(everything):.1%}")
