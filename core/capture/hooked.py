"""Hooks and contexts of custom functions in the history of a result: pictures of what they hold.

A hook runs after the call, when somebody asks for the gradient. It is Python of the program and may hold anything.
It can be made anew where what it holds is the same object in each call, a plain value, or a tensor that is made in the
call. Functions, methods and partials are made anew over that. All else that is made in each call is refused.
"""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any, Final, Protocol

from flambeau.core.autograd.function import FunctionCtx, FunctionNode
from flambeau.core.capture.cells import Cell
from flambeau.core.capture.structure import PLAIN
from flambeau.core.device import device
from flambeau.core.dtype import DType
from flambeau.core.graph import Keeper, Leaf
from flambeau.core.size import Size
from flambeau.core.tensor import Tensor

#: What of a context is flambeau's, and not made anew.
_OWN = frozenset({"_node", "_dirty", "_fixed"})
#: Attributes of contexts that hold one of these may be lists, dicts and tuples of them too.
_VALUES = PLAIN | {DType, device, Size}


class Pictured(Protocol):
    """What is asked of the pictures of a recording."""

    def form(self, kind: str, parts: tuple[Any, ...], own: Any) -> Any: ...  # Any: a Form, whose class stands above
    def found(self, thing: Any) -> Any: ...
    def of(self, thing: Any) -> Any: ...
    def tensor(self, t: Tensor) -> Any: ...


class Itself:
    """Something that is equal to itself alone, whatever is in it."""

    __slots__ = ("value",)

    def __init__(self, value: Any):
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Itself) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def attached_to(node: Any) -> Iterator[tuple[str, Any, Any]]:
    """What hangs on a node or leaf: hooks with their places, and the names of a context's attributes, without them."""
    if node.__class__ is Leaf:
        for what in ("hooks", "post_hooks"):
            yield from ((what, None, fn) for fn in (getattr(node, what) or {}).values())
        return
    if isinstance(node, FunctionNode):
        yield from (("context", name, None) for name in list(vars(node.context)) if name not in _OWN)
    yield from (("pre_hooks", index, fn) for index, fn in node.pre_hooks or ())
    yield from (("hooks", None, fn) for fn in (node.hooks or {}).values())


def attach(node: Any, what: str, place: Any, thing: Any) -> None:
    """Hang something on a node or leaf that a replay made."""
    if what == "context":
        setattr(node.context, place, thing)
    elif what == "pre_hooks":
        node.pre_hooks = [*(node.pre_hooks or ()), (place, thing)]
    else:
        hooks = getattr(node, what) or {}
        hooks[-1 - len(hooks)] = thing  # the numbers of handles are not negative
        setattr(node, what, hooks)


def custom_node(kind: type[FunctionNode], cls: Any) -> FunctionNode:
    """A node of a custom function, with an empty context."""
    made = kind()
    made.cls, made.context, made.keep = cls, FunctionCtx(), False
    made.context._node = weakref.ref(made)
    return made


def function_of(code: CodeType, space: Itself, names: Sequence[str], defaults: Any, cells: Any) -> FunctionType:
    """A function with these globals, defaults and cells."""
    made = FunctionType(code, space.value, names[0], defaults, cells)
    made.__qualname__ = names[1]
    return made


def made_anew(cls: type, attributes: dict[str, Any]) -> Any:
    """An object with these attributes, of a class of flambeau's whose ``made_anew`` allows that."""
    made: Any = object.__new__(cls)
    made.__dict__.update(attributes)
    return made


_held: dict[str, list[Any]] = {"": []}
_ALONE: Final = sys.getrefcount(_held[""])


def _place(fn: Any) -> str:
    """Where a function stands."""
    while (inner := getattr(fn, "__func__", None) or getattr(fn, "func", None)) is not None:
        fn = inner
    code = getattr(fn, "__code__", None)
    return "of C" if code is None else f"at {os.path.basename(code.co_filename)}:{code.co_firstlineno}"


def hook(pictures: Pictured, fn: Any) -> Any:
    """The form of a hook; None for one that does nothing any more."""
    return picture(pictures, fn, f"a hook {_place(fn)}")


def attribute(pictures: Pictured, node: Any, name: str) -> Any:
    """The form of an attribute of a node's context; of a list or dict, where nobody else has that."""
    own, where = vars(node.context), f"the context of {node.cls.__name__}, {_place(node.cls.forward)},"
    kind = type(own[name])
    if kind not in (list, dict) or sys.getrefcount(own[name]) > _ALONE:
        return picture(pictures, own[name], where)
    thing = own[name]
    if kind is list:
        return pictures.form("list", tuple([picture(pictures, v, where) for v in thing]), thing)
    return pictures.form("dict", ({k: picture(pictures, v, where) for k, v in thing.items()},), thing)


def picture(pictures: Pictured, thing: Any, where: str, making: frozenset[int] = frozenset()) -> Any:
    """The form of what a hook or a context holds; ``where`` says whose it is."""
    kind = type(thing)
    if kind is Cell or kind in PLAIN:
        return pictures.of(thing)
    found = pictures.found(thing)
    if found is not None:
        return found
    if isinstance(thing, Tensor):
        return pictures.tensor(thing)
    if id(thing) in making:
        return pictures.form("fixed", (where,), thing)  # it leads to itself
    inside = partial(picture, pictures, where=where, making=making | {id(thing)})
    if kind is Keeper:
        tensor = thing.tensor()
        return None if tensor is None else pictures.form("keeper", (inside(tensor),), thing)
    if kind is FunctionType and not thing.__kwdefaults__ and not thing.__dict__:
        defaults = None if thing.__defaults__ is None else tuple(map(inside, thing.__defaults__))
        cells = None if thing.__closure__ is None else tuple(map(inside, thing.__closure__))
        names = thing.__name__, thing.__qualname__
        return pictures.form("function", (thing.__code__, Itself(thing.__globals__), names, defaults, cells), thing)
    if kind is CellType:
        content: tuple[Any, ...] = ()
        with suppress(ValueError):  # empty
            content = (inside(thing.cell_contents),)
        return pictures.form("cell", content, thing)
    if kind is MethodType:
        return pictures.form("method", (inside(thing.__func__), inside(thing.__self__)), thing)
    if kind is partial:
        keywords = {k: inside(v) for k, v in thing.keywords.items()}
        return pictures.form("partial", (inside(thing.func), tuple(map(inside, thing.args)), keywords), thing)
    if kind is tuple:
        return pictures.form("tuple", tuple(map(inside, thing)), thing)
    if kind in _VALUES:
        return pictures.form("value", (thing,), thing)
    if getattr(kind, "made_anew", False) is True:
        return pictures.form("object", (kind, {k: inside(v) for k, v in vars(thing).items()}), thing)
    return pictures.form("fixed", (where,), thing)
