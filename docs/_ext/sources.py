"""Where sphinx.ext.viewcode finds the source of a name.

What flambeau offers says of itself that it stands where it is public, so viewcode would look into packages that only
import it; and an op is no function in a file, but a record that a statement makes. Both are looked up here.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from functools import cache, cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ops_by_module import functional, modules

from flambeau.core import methods

if TYPE_CHECKING:
    from sphinx.application import Sphinx

Tags = dict[str, tuple[str, int, int]]
#: For each module that was asked for: the names that point into it, with the kind and the lines of the source.
_TAGS: dict[str, Tags] = {}


class Home:
    """A module's source, and the lines of what its statements define."""

    def __init__(self, module: ModuleType) -> None:
        self.source = inspect.getsource(module)

    @cached_property
    def lines(self) -> dict[str, tuple[str, int, int]]:
        """By name: of functions, classes and their methods, and of what is assigned at the top."""
        found: dict[str, tuple[str, int, int]] = {}

        def walk(body: list[ast.stmt], owner: str) -> None:
            for node in body:
                span = node.lineno, node.end_lineno or node.lineno
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                    first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
                    kind = "class" if isinstance(node, ast.ClassDef) else "def"
                    found[owner + node.name] = (kind, first, span[1])
                    if isinstance(node, ast.ClassDef):
                        walk(node.body, f"{owner}{node.name}.")
                elif isinstance(node, ast.Assign | ast.AnnAssign):
                    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                    found.update({owner + t.id: ("def", *span) for t in targets if isinstance(t, ast.Name)})
                elif isinstance(node, ast.If | ast.Try):
                    walk(node.body, owner)

        walk(ast.parse(self.source).body, "")
        return found


@cache
def home(name: str) -> Home | None:
    """The module of that name, where it has a source."""
    try:
        return Home(importlib.import_module(name))
    except (ImportError, OSError, TypeError):
        return None


@cache
def _records() -> dict[int, tuple[str, str]]:
    """For each object at the top of an op's module: the module, and the name that it has there."""
    found: dict[int, tuple[str, str]] = {}
    for module in modules():
        here = home(module.__name__)
        for name in here.lines if here else ():
            if hasattr(module, name):
                found.setdefault(id(getattr(module, name)), (module.__name__, name))
    return found


def place(value: Any) -> tuple[str, str] | None:
    """The module that defines an object, and its name there."""
    if isinstance(value, property):
        value = value.fget
    if inspect.isclass(value):
        return _class(value)
    record = getattr(value, "op", None)
    if record is not None and (value := functional(value)) and id(value) in _records():
        return _records()[id(value)]
    plain = inspect.unwrap(getattr(value, "__func__", value)) if callable(value) else None
    if not inspect.isfunction(plain):
        return None
    module, name = plain.__globals__["__name__"], plain.__code__.co_qualname.replace(".<locals>", "")
    here = home(module)
    return (module, name) if here is not None and name in here.lines else None


def _class(kind: type) -> tuple[str, str] | None:
    """Of a class: the module below the one that it names in which a statement defines it."""
    public = kind.__module__
    below = [n for n in list(sys.modules) if n == public or n.startswith(public.partition(".")[0] + ".")]
    for name in sorted(below, key=len):
        module = sys.modules[name]
        if vars(module).get(kind.__name__) is kind and (here := home(name)) and kind.__qualname__ in here.lines:
            return name, kind.__qualname__
    return None


def follow(app: Sphinx, module: str, attribute: str) -> str | None:
    """viewcode-follow-imported: the module that defines a name; its place there is kept under the public name."""
    try:
        value: Any = importlib.import_module(module)
        for part in attribute.split("."):
            value = inspect.getattr_static(value, part) if inspect.isclass(value) else getattr(value, part)
    except (AttributeError, ImportError):
        return None
    if isinstance(value, classmethod | staticmethod):
        value = value.__func__
    found = place(value) or place(methods.FUNCTIONS.get(attribute.rpartition(".")[2]))
    if found is None or (here := home(found[0])) is None:
        return None
    _TAGS.setdefault(found[0], {})[attribute] = here.lines[found[1]]
    return found[0]


def source(app: Sphinx, module: str) -> tuple[str, Tags] | None:
    """viewcode-find-source: a module's text, and the names found in it so far; more come as pages are read."""
    here = home(module)
    return None if here is None else (here.source, _TAGS.setdefault(module, {}))


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("viewcode-follow-imported", follow)
    app.connect("viewcode-find-source", source)
    return {"parallel_read_safe": False}
