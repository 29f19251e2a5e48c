"""From what code reads to looks at it: globals, closures, defaults, and what is in them."""

from __future__ import annotations

import enum
import functools
import gc
import os
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, TypeVar

import numpy as np

from flambeau.core.capture import guard_looks, structure
from flambeau.core.capture.guard_effects import Draws, state_of_generator
from flambeau.core.capture.guard_files import OWN, is_own, is_own_module, kind_of, names_of
from flambeau.core.capture.guard_looks import Elements, Items, Look, Numbers, Plain, Same, Seen, Where, reference
from flambeau.core.capture.guard_owners import ModuleLook, OptimizerLook, Owner, Parts, Space
from flambeau.core.device import device
from flambeau.core.dtype import DType
from flambeau.core.tensor import Tensor

L = TypeVar("L", bound=Look)

#: Modules of the standard library whose objects are looked into.
_OPEN = frozenset({"types", "argparse", "collections"})

#: What calling a module reads of it and of its class, whose names need not stand in the program.
_OF_CALLS = ("forward", "__call__")

LIMIT = 5000  #: looks of one recording

_VALUES = (*structure.PLAIN, range, device)
#: What a value of these types is made of.
_PARTS: dict[type, tuple[str, ...]] = {
    MethodType: ("__func__", "__self__"),
    functools.partial: ("func", "args", "keywords"),
    functools.partialmethod: ("func", "args", "keywords"),
    functools.cached_property: ("func",),
    property: ("fget", "fset"),
    staticmethod: ("__func__",),
    classmethod: ("__func__",),
    functools._lru_cache_wrapper: ("__wrapped__",),
}


class Root:
    """Where a look starts: an expression of ``{0}``, ``{1}``, which are ``values``."""

    __slots__ = ("expression", "look", "may_go", "values")

    def __init__(self, look: Look, expression: str, *values: Any, may_go: bool = False):
        self.look, self.expression, self.values, self.may_go = look, expression, values, may_go

    def text(self, names: list[str]) -> str:
        return self.expression.format(*names)

    def get(self) -> Seen:
        """The value now; an error where it is gone."""
        names = [f"k{i}" for i in range(len(self.values))]
        return eval(self.text(names), dict(zip(names, self.values, strict=True)))


class Finder:
    """What was found so far."""

    def __init__(self, effect: Callable[[str], None]):
        self.effect = effect  # is told of what can't be compared
        self.roots: list[Root] = []
        self.names: set[str] = set(_OF_CALLS)  # of attributes that code uses
        self.draws = Draws()
        self._looks: dict[int, Look] = {}
        self._alive: list[Seen] = []  # so that no id is used twice
        self._pending: dict[str, list[Owner]] = defaultdict(list)  # who has an attribute of a name nobody uses yet
        self._spaces: dict[int, Space] = {}
        self._space_names: dict[int, set[str]] = {}
        self._functions: dict[int, list[FunctionType]] = defaultdict(list)  # by their code
        self._opened: set[int] = set()  # functions whose closure was looked at
        self._codes: dict[int, CodeType] = {}
        self._inside: set[int] = set()  # code inside code that ran
        self._modules: list[ModuleLook] = []
        self._variables: set[tuple[int, bytes | str]] = set()  # of the environment
        self._module_classes: set[type] = set()
        self._library: dict[type, frozenset[str]] = {}
        self._count = 0

    # -- code that runs --------------------------------------------------------------------------
    def knows(self, code: CodeType) -> bool:
        """Whether code was entered before."""
        return id(code) in self._codes

    def enter(self, code: CodeType, space: dict[str, Any]) -> None:
        """Code of the program's own starts for the first time; ``space`` are its globals."""
        self._codes[id(code)] = code
        names = names_of(code)
        self._inside.update(map(id, names.inside))
        self._learn(names.attributes)
        file = os.path.basename(code.co_filename)
        globals_ = self._space(space, Where("the global ", "", f" of {file}"), "{0}", space)
        used = self._space_names[id(space)]
        for name in sorted(names.globals - used):  # in one order, so that one message is given
            used.add(name)
            if name in space and name not in globals_.attributes:
                globals_.attributes[name] = self.look(space[name], globals_.place(name))
        if (
            code.co_freevars not in ((), ("__class__",))
            and not self._functions[id(code)]
            and id(code) not in self._inside
        ):
            for f in gc.get_referrers(code):  # one that nothing leads to
                if isinstance(f, FunctionType):
                    self._register(f)
        for f in list(self._functions[id(code)]):
            self._open(f)

    def _learn(self, names: frozenset[str]) -> None:
        new = names - self.names
        self.names |= new
        for name in sorted(new):
            for owner in self._pending.pop(name, ()):
                self._attribute(owner, name)

    def _space(self, found: Mapping[str, Any], where: Where, expression: str, value: Any) -> Space:
        made = self._spaces.get(id(value))
        if made is None:
            used = self._space_names[id(value)] = set()
            made = self._spaces[id(value)] = Space(where, found, used)
            self._alive.append(value)
            self.roots.append(Root(made, expression, value))
        return made

    def _register(self, f: FunctionType) -> None:
        known = self._functions[id(f.__code__)]
        if not any(k is f for k in known) and kind_of(f.__code__.co_filename) >= OWN:
            known.append(f)
            if id(f.__code__) in self._codes:
                self._open(f)

    def _open(self, f: FunctionType) -> None:
        """Look at what a function that runs closes over, and at its defaults."""
        if id(f) in self._opened:
            return
        self._opened.add(id(f))
        self._alive.append(f)
        ref, after = reference(f), f" of {f.__qualname__}()"
        for i, (name, cell) in enumerate(zip(f.__code__.co_freevars, f.__closure__ or (), strict=True)):
            try:
                value = cell.cell_contents
            except ValueError:  # nothing was assigned yet
                continue
            look = self.look(value, Where("the closed-over ", name, after))
            self.roots.append(Root(look, f"{{0}}().__closure__[{i}].cell_contents", ref))
        if f.__defaults__:
            self._default(f, f.__defaults__, "__defaults__", ref)
        if f.__kwdefaults__:
            self._default(f, f.__kwdefaults__, "__kwdefaults__", ref)

    def _default(self, f: FunctionType, value: Seen, name: str, ref: Callable[[], Any]) -> None:
        look = self.look(value, Where("the default ", name, f" of {f.__qualname__}()"))
        self.roots.append(Root(look, f"{{0}}().{name}", ref))

    def start(self, value: Seen, where: Where, may_go: bool = False) -> None:
        """Look at a value that the caller has: the function itself, an argument."""
        known = id(value) in self._looks
        look = self.look(value, where)
        if not known:
            self.roots.append(Root(look, "{0}()", reference(value), may_go=may_go))

    def environment(self, variables: Seen, key: str | bytes) -> None:
        """A variable of the environment is read: it is compared, as the bytes that the system has."""
        encoded = variables.encodekey(key)
        if (id(variables._data), encoded) not in self._variables:
            self._variables.add((id(variables._data), encoded))
            look = self._counted(Plain(Where("the environment variable ", str(key)), variables._data.get(encoded)))
            self.roots.append(Root(look, "{0}.get({1})", variables._data, encoded))

    def start_argument(self, value: Seen, where: Where) -> None:
        """Look inside an argument, where that is more than a value of which the caller keeps account himself."""
        if isinstance(value, (list, tuple, dict, set, deque)):
            values = value.items() if isinstance(value, dict) else enumerate(value)
            for key, v in values:
                self.start_argument(v, where.at(f"[{key!r}]" if type(key) in structure.PLAIN else "[...]"))
        elif _is_iterator(value):
            self.effect(f"{where}, an iterator, is read")
        elif type(value) not in _VALUES and not isinstance(value, (Tensor, DType, enum.Enum, np.ndarray, np.generic)):
            self.start(value, where)

    # -- values ----------------------------------------------------------------------------------
    def look(self, value: Seen, where: Where) -> Look:
        """Look at a value, and at what is in it."""
        found = self._looks.get(id(value))
        if found is not None:
            return found
        kind = type(value)
        if kind in _VALUES:
            return self._counted(Plain(where, value))
        if kind is slice and all(type(v) in structure.PLAIN for v in (value.start, value.stop, value.step)):
            return self._counted(Plain(where, value))
        self._alive.append(value)
        return self._counted(self._look(value, kind, where))

    def _counted(self, look: Look) -> Look:
        self._count += len(look) if isinstance(look, Items) and look.plain is not None else 1
        if self._count > LIMIT:
            what = f"a {look.kind.__name__} of {len(look)} entries" if isinstance(look, Items) else "more state"
            raise TooMuch(what, look.where)
        return look

    def _look(self, value: Seen, kind: type, where: Where) -> Look:
        if isinstance(value, (Tensor, DType, enum.Enum)):
            return self._same(value, where)
        if isinstance(value, FunctionType):
            look = self._same(value, where)
            self._register(value)
            return look
        if isinstance(value, type):
            look = self._same(value, where)
            self._class(value)
            return look
        if isinstance(value, ModuleType):
            look = self._same(value, where)
            if is_own_module(value.__name__):
                before = Where("the attribute ", value.__name__)
                space = self._space(value.__dict__, before, "{0}", value.__dict__)
                self._own(space)
            return look
        if getattr(kind, "_is_module", False):
            return self._module(value, where)
        parts = next((p for k, p in _PARTS.items() if isinstance(value, k)), None)
        if parts is not None:
            made = self._keep(value, Parts(where, value, parts))
            made.attributes = {p: self.look(getattr(value, p), where.at(f".{p}")) for p in parts}
            return made
        if isinstance(value, (list, tuple, deque, dict, set, frozenset)):
            return self._container(value, kind, where)
        if isinstance(value, (np.ndarray, np.generic)):
            if value.size > LIMIT:
                raise TooMuch(f"an array of numpy's of {value.size} entries", where)
            return self._keep(value, Numbers(where, value))
        return self._object(value, kind, where)

    def _keep(self, value: Seen, look: L) -> L:
        self._looks[id(value)] = look
        return look

    def _same(self, value: Seen, where: Where) -> Look:
        return Same(where, value)

    def _container(self, value: Seen, kind: type, where: Where) -> Look:
        if isinstance(value, (set, frozenset)):
            self._count += len(value)
            return self._keep(value, Elements(where, value))
        if isinstance(value, dict):
            keys = list(value)
            made: Items = self._keep(value, guard_looks.Mapping(where, kind, keys, value.values()))
            steps = [f"[{k!r}]" if type(k) in structure.PLAIN else "[...]" for k in keys]
            values = list(value.values())
        else:
            made = self._keep(value, Items(where, kind, value))
            values = list(value)
            steps = [f"[{i}]" for i in range(len(values))]
        if made.plain is None:
            if len(values) > LIMIT:
                made.plain = values
                return made
            made.items = [self.look(v, where.at(step)) for v, step in zip(values, steps, strict=True)]
        return made

    def _object(self, value: Seen, kind: type, where: Where) -> Look:
        state = state_of_generator(value)
        if state is not None:
            self.draws.add(f"random numbers of {where}", state)
            return self._same(value, where)
        if isinstance(value, Iterator) and not is_own(kind):
            self.effect(f"{where}, an iterator, is read")
            return self._same(value, where)
        if isinstance(getattr(value, "__dict__", {}).get("param_groups"), list) and hasattr(kind, "step"):
            return self._keep(value, OptimizerLook(where, value))
        if not is_own(kind) and kind.__module__ not in _OPEN:
            return self._same(value, where)
        look: Owner = self._keep(value, Owner(where, value, self.names))
        self._class(kind)
        self._own(look)
        return look

    def _own(self, owner: Owner) -> None:
        """Look at those attributes whose names are used, now and whenever a name comes in."""
        owner.names = self.names
        for name in list(owner.first or ()):
            if name in self.names:
                self._attribute(owner, name)
            else:
                self._pending[name].append(owner)

    def _attribute(self, owner: Owner, name: str) -> None:
        if name not in owner.attributes and owner.first is not None and name in owner.first:
            owner.attributes[name] = self.look(owner.first[name], owner.place(name))

    def _class(self, kind: type) -> None:
        """Look at the attributes of a class and of those that it inherits from, where they are the program's own."""
        for base in kind.__mro__:
            if not is_own(base):
                continue
            if id(base) in self._spaces:
                continue
            for v in list(vars(base).values()):
                for f in (v, *(getattr(v, p, None) for p in _PARTS.get(type(v), ()))):
                    if isinstance(f, FunctionType):
                        self._register(f)
            if not isinstance(base, enum.EnumMeta):
                where = Where("the class attribute ", base.__name__)
                self._own(self._space(vars(base), where, "{0}.__dict__", base))

    def _module(self, value: Seen, where: Where) -> Look:
        """Look at a module of nn, and at all that are in it."""
        look = self._keep(value, ModuleLook(where, value, self.names))
        self._modules.append(look)
        kind = type(value)
        self._class(kind)
        self._class_of_module(kind)
        self._own(look)
        names = frozenset(look.first or ()) if not is_own(kind) else self._names_of_library(kind)
        for name in sorted(names):
            self._attribute(look, name)
        for kind_of_hook, hooks in value.__dict__.items():
            if "ward_" in kind_of_hook and isinstance(hooks, dict):
                for hook in list(hooks.values()):
                    self.start(hook, Where(f"a hook ({kind_of_hook.strip('_')}) of ", where.path, where.after))
        for name, child in value.__dict__.get("_modules", {}).items():
            look.children[name] = self.look(child, look.place(name))
        return look

    def _class_of_module(self, kind: type) -> None:
        """Look at what calls of a class's modules run, which a program may replace in a class of nn's too."""
        if kind not in self._module_classes:
            self._module_classes.add(kind)
            for name in _OF_CALLS:
                look = self.look(getattr(kind, name), Where("the class attribute ", f"{kind.__name__}.{name}"))
                self.roots.append(Root(look, f"{{0}}.{name}", kind))

    def _names_of_library(self, kind: type) -> frozenset[str]:
        if kind not in self._library:
            self._library[kind] = _names_of_library(kind)
        return self._library[kind]

    def names_of_attributes(self) -> set[str]:
        """The names of all attributes of modules that count."""
        return {"training", *self.names}.union(*(x.attributes for x in self._modules))

    def seen(self) -> list[Any]:
        """The objects that were looked at, but plain values."""
        return list(self._alive)

    def freeze(self) -> list[Root]:
        """What was found, less modules that the run made and that are gone; nothing is kept alive for the search."""
        for look in (*self._looks.values(), *self._spaces.values()):
            if isinstance(look, Owner):
                look.first = None
        self._alive.clear()
        self._looks.clear()
        self._pending.clear()
        self._functions.clear()
        return [r for r in self.roots if not r.may_go or r.get() is not None]


class TooMuch(Exception):
    """More is read than can be compared before each call: what, and where it is."""


def _is_iterator(value: Seen) -> bool:
    return isinstance(value, Iterator) and not is_own(type(value))


def _names_of_library(kind: type) -> frozenset[str]:
    """The names that the methods use which a module of the program's own inherits from one of nn's."""
    names: set[str] = set()
    for base in kind.__mro__:
        if not is_own(base) and base.__name__ != "Module":
            for f in vars(base).values():
                if isinstance(f, FunctionType):
                    names |= names_of(f.__code__).attributes
    return frozenset(names)
