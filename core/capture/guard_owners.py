"""Looks at what has attributes: of these only those count whose names stand in code of the program's that ran."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flambeau.core.capture.guard_looks import (
    Elements,
    Items,
    Look,
    Met,
    Numbers,
    Same,
    Seen,
    Where,
    Writer,
    all_still,
    became,
    described,
    described_kind,
    first,
    is_still,
    reference,
)

#: What stands in a module's ``__dict__`` and is compared in another way, or not at all.
_OF_MODULES = frozenset(
    [
        "training",
        "_parameters",
        "_buffers",
        "_modules",
        "_non_persistent_buffers_set",
        "_hooked",
        "_is_full_backward_hook",
    ]
)


def slots(kind: type) -> list[str]:
    """The names of the slots of a class."""
    found: list[str] = []
    for base in kind.__mro__:
        own = base.__dict__.get("__slots__", ())
        found += [own] if isinstance(own, str) else own
    return [f for f in found if not f.startswith("__")]


def contents(value: Seen) -> dict[str, Seen]:
    """The attributes of an object, those of slots too."""
    found = dict(getattr(value, "__dict__", ()))
    for name in slots(type(value)):
        try:
            found[name] = object.__getattribute__(value, name)
        except AttributeError:  # not set
            continue
    return found


class Owner(Look):
    """An object: by its type and its attributes of certain names."""

    __slots__ = ("attributes", "first", "keys", "kind", "names", "size")

    def __init__(self, where: Where, value: Seen, names: set[str]):
        super().__init__(where)
        self.kind: Any = type(value)
        self.names = names  # of the attributes that count: there will be more of them
        self.attributes: dict[str, Look] = {}
        self.start(contents(value), len(getattr(value, "__dict__", ())))

    def start(self, found: Mapping[str, Seen], size: int) -> None:
        """Remember which attributes there are now; :attr:`first`, their values, is only kept while names come in."""
        self.first: Mapping[str, Seen] | None = found
        self.keys = frozenset(found)
        self.size = size

    def place(self, name: str) -> Where:
        """Where an attribute is."""
        return self.where.at(f".{name}")

    def why(self, value: Seen, met: Met) -> str | None:
        if type(value) is not self.kind:
            return became(self.where, described_kind(self.kind), value)
        if self.is_met(value, met):
            return None
        self.size = len(getattr(value, "__dict__", ()))
        return self.why_attributes(contents(value), met)

    def why_attributes(self, found: Mapping[str, Seen], met: Met) -> str | None:
        """What is different in the attributes."""
        for name, look in self.attributes.items():
            if name not in found:
                return f"{look.where} is gone"
            if why := look.why(found[name], met):
                return why
        for name in found:
            if name not in self.keys and self.counts(name):
                return f"{self.place(name)} is new: {described(found[name])}"
        return None

    def counts(self, name: str) -> bool:
        """Whether an attribute of this name is read."""
        return name in self.names

    def check(self, to: Writer, value: str) -> None:
        if id(self) in to.done:
            to.fails(f"{value} is not {to.done[id(self)]}")
            return
        v = to.done[id(self)] = to.local(value)
        to.fails(f"{v}.__class__ is not {to.name(self.kind)}")
        of_slots = slots(self.kind)
        if self.kind.__dictoffset__:
            d = to.local(f"{v}.__dict__")
            to.size(d, self)
        for name, look in self.attributes.items():
            look.check(to, f"{v}.{name}" if name in of_slots else f"{d}[{name!r}]")


class Parts(Owner):
    """A partial, a method and the like: by what it is made of."""

    __slots__ = ("names_of_parts",)

    def __init__(self, where: Where, value: Seen, parts: tuple[str, ...]):
        self.names_of_parts = parts
        super().__init__(where, value, set(parts))

    def start(self, found: Mapping[str, Seen], size: int) -> None:
        super().start({}, 0)

    def why(self, value: Seen, met: Met) -> str | None:
        if type(value) is not self.kind:
            return became(self.where, described_kind(self.kind), value)
        return first(look.why(getattr(value, name), met) for name, look in self.attributes.items())

    def check(self, to: Writer, value: str) -> None:
        v = to.local(value)
        to.fails(f"{v}.__class__ is not {to.name(self.kind)}")
        for name, look in self.attributes.items():
            look.check(to, f"{v}.{name}")


class Space(Owner):
    """The globals of a file, or the attributes of a class, as they are and not as they were copied."""

    __slots__ = ("globals",)

    def __init__(self, where: Where, found: Mapping[str, Seen], names: set[str]):
        Look.__init__(self, where)
        self.names = self.globals = names  # where code leads to the space by attributes too, the two are not the same
        self.attributes = {}
        self.start(found, len(found))

    def place(self, name: str) -> Where:
        return self.where.at(f".{name}" if self.where.path else name)

    def counts(self, name: str) -> bool:
        return name in self.globals or name in self.names

    def why(self, value: Seen, met: Met) -> str | None:
        self.size = len(value)
        return self.why_attributes(value, met)

    def check(self, to: Writer, value: str) -> None:
        d = to.local(value)
        to.size(d, self)
        for name, look in self.attributes.items():
            look.check(to, f"{d}[{name!r}]")


def own_attributes(module: Seen) -> dict[str, Seen]:
    """The attributes of a module that are no part of its structure."""
    return {k: v for k, v in module.__dict__.items() if k not in _OF_MODULES and not (k[0] == "_" and "_hook" in k)}


def hooks_of(module: Seen) -> dict[str, list[tuple[int, int]]]:
    """Which hooks a module has around its call."""
    return {
        k: [(number, id(hook)) for number, hook in v.items()] if isinstance(v, dict) else []
        for k, v in module.__dict__.items()
        if "ward_" in k and "_hooks" in k and v
    }


class ModuleLook(Owner):
    """A module of nn: itself, and when the structure of some module moved, what it has."""

    __slots__ = ("children", "hooks", "ref", "tensors", "training")

    def __init__(self, where: Where, value: Seen, names: set[str]):
        super().__init__(where, value, names)
        self.ref = reference(value)
        self.start(own_attributes(value), 0)
        self.training = value.__dict__.get("training")
        self.hooks = hooks_of(value)
        self.tensors = {
            kind: {name: Same(self.place(name), t) for name, t in value.__dict__.get(f"_{kind}s", {}).items()}
            for kind in ("parameter", "buffer")
        }
        self.children: dict[str, Look] = {}

    def why(self, value: Seen, met: Met) -> str | None:
        if not is_still(value, self.ref):
            return became(self.where, described_kind(self.kind), value)
        if self.is_met(value, met):
            return None
        if type(value) is not self.kind:
            return f"{self.where} was of the class {self.kind.__name__} and is of {type(value).__name__}"
        if value.training is not self.training:
            return f"{self.place('training')} was {self.training} and is {value.training}"
        if (hooks := hooks_of(value)) != self.hooks:
            kinds = sorted(k for k in hooks.keys() | self.hooks.keys() if hooks.get(k) != self.hooks.get(k))
            return f"{self.where} has other hooks than before ({', '.join(k.strip('_') for k in kinds)})"
        registered: dict[str, Mapping[str, Look]] = {**self.tensors, "module": self.children}
        for kind, looks in registered.items():
            if why := self._why_registered(kind, looks, value.__dict__.get(f"_{kind}s", {}), met):
                return why
        return self.why_attributes(own_attributes(value), met)

    def _why_registered(self, kind: str, looks: Mapping[str, Look], found: dict[str, Seen], met: Met) -> str | None:
        for name in found:
            if name not in looks:
                return f"{self.where} has a new {kind} {name!r}"
        for name, look in looks.items():
            if name not in found:
                return f"{self.where} has lost the {kind} {name!r}"
            if why := look.why(found[name], met):
                return why
        if list(found) != list(looks):
            return f"{self.where} has its {kind}s in another order"
        return None

    def check(self, to: Writer, value: str) -> None:
        to.fails(f"(v := {value}) is None or v is not {to.name(self.ref)}()")
        self.check_inside(to)

    def check_inside(self, to: Writer) -> None:
        """What may change with nothing assigned to the module: what is in lists and objects that it has."""
        if id(self) in to.done:
            return
        to.done[id(self)] = ""
        deep = {n: look for n, look in self.attributes.items() if _deep(look)}
        if deep:
            d = to.local(f"{to.name(self.ref)}().__dict__")
            for name, look in deep.items():
                look.check(to, f"{d}[{name!r}]")
        for child in self.children.values():
            if isinstance(child, ModuleLook):
                child.check_inside(to)


def _deep(look: Look) -> bool:
    if isinstance(look, Items):
        return look.plain is None or look.kind is not tuple
    return isinstance(look, (Elements, Numbers, Owner, OptimizerLook))


class OptimizerLook(Look):
    """An optimizer: which parameters are in which group, and those options that are no numbers."""

    __slots__ = ("groups", "kind", "options")

    def __init__(self, where: Where, value: Seen):
        super().__init__(where)
        self.kind: Any = type(value)
        self.groups: list[list[Callable[[], Seen]]] = [list(map(reference, g["params"])) for g in value.param_groups]
        self.options = [_options(g) for g in value.param_groups]

    def why(self, value: Seen, met: Met) -> str | None:
        if type(value) is not self.kind:
            return became(self.where, described_kind(self.kind), value)
        if len(value.param_groups) != len(self.groups):
            return f"{self.where} had {len(self.groups)} groups and has {len(value.param_groups)}"
        for i, (group, refs, options) in enumerate(zip(value.param_groups, self.groups, self.options, strict=True)):
            at = self.where.at(f".param_groups[{i}]")
            params = group["params"]
            if len(params) != len(refs):
                return f"{at} had {len(refs)} parameters and has {len(params)}"
            if not all_still(params, refs):
                return f"{at} has other parameters than before"
            for name, option in options.items():
                if group.get(name) is not option and group.get(name) != option:
                    return became(at.at(f"[{name!r}]"), described(option), group.get(name))
        return None

    def check(self, to: Writer, value: str) -> None:
        v = to.local(value)
        groups = to.local(f"{v}.param_groups")
        to.fails(f"{v}.__class__ is not {to.name(self.kind)} or len({groups}) != {len(self.groups)}")
        for i, (refs, options) in enumerate(zip(self.groups, self.options, strict=True)):
            g = to.local(f"{groups}[{i}]")
            p = to.local(f"{g}['params']")
            to.fails(f"len({p}) != {len(refs)} or not all_still({p}, {to.name(refs)})")
            for name, option in options.items():
                k = to.name(option)
                to.fails(f"(v := {g}[{name!r}]) is not {k} and v != {k}")


def _options(group: dict[str, Any]) -> dict[str, Any]:
    """The options of a group that are flags or names, and no numbers, which are read anew in each step."""
    return {k: v for k, v in group.items() if v is None or isinstance(v, (bool, str))}
