"""Which module of core/ops defines each function of the flambeau namespace."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Callable, Iterator
from functools import cache
from types import ModuleType
from typing import Any

from flambeau.core import methods


def stem(module: ModuleType) -> str:
    """The module's name below core/ops: "elementwise", "nn"."""
    return module.__name__.removeprefix("flambeau.core.ops.").partition(".")[0]


def modules() -> Iterator[ModuleType]:
    """The modules of ops, those inside packages included."""
    for module in methods.modules():
        yield module
        yield from (m for m in vars(module).values() if inspect.ismodule(m) and m.__name__.startswith(module.__name__))


@cache
def homes() -> dict[str, str]:
    """For each function that flambeau has from the ops, the stem of the module that defines it."""
    made: dict[int, str] = {}
    for module in modules():
        tree = ast.parse(inspect.getsource(module))
        for statement in tree.body:
            if isinstance(statement, ast.Assign | ast.AnnAssign):
                targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
                names = [t.id for t in targets if isinstance(t, ast.Name) and hasattr(module, t.id)]
            else:
                names = [statement.name] if isinstance(statement, ast.FunctionDef) else []
            made |= {id(getattr(module, n)): stem(module) for n in names}
    inside = {n: f for n, f in methods.FUNCTIONS.items() if _home(f).startswith("flambeau.core.ops")}
    return {name: made.get(id(functional(f))) or stem(importlib.import_module(_home(f))) for name, f in inside.items()}


def _home(function: Callable[..., Any]) -> str:
    """The module in which a function is written: what it says of itself is where it is public."""
    written: str = inspect.unwrap(function).__globals__["__name__"]
    return written


def functional(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function itself; of an in-place form, and of a function of another name, that of its op."""
    record = getattr(function, "op", None)
    return function if record is None else record.function
