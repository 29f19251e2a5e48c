"""What was seen of a value when it was first met: how it is compared later, at length and by generated code.

A look keeps plain values, and refers weakly to everything else that can be referred to weakly; what can't is compared
by what is in it.
"""

from __future__ import annotations

import linecache
import operator
import reprlib
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from flambeau.core.capture import structure

Seen: TypeAlias = Any  # any value of the program's
Met: TypeAlias = set[tuple[int, int]]  # looks, and the values that they were compared with


@dataclass(frozen=True, slots=True)
class Where:
    """A place in the program's state, such as the global 'cfg.scale' of train.py."""

    before: str
    path: str
    after: str = ""

    def at(self, step: str) -> Where:
        return Where(self.before, self.path + step, self.after)

    def __str__(self) -> str:
        return f"{self.before}{self.path!r}{self.after}"


def described(value: Seen) -> str:
    """A value in the words of a message."""
    kind = type(value)
    if kind in structure.PLAIN or kind in (range, slice):
        return reprlib.repr(value)
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if kind.__name__ in ("function", "builtin_function_or_method"):
        return f"the function {value.__name__}"
    if kind.__name__ == "module":
        return f"the module {value.__name__}"
    if kind.__name__ in ("DType", "device") or hasattr(kind, "__members__"):
        return str(value)
    return f"{'an' if kind.__name__[:1] in 'AEIOUaeiou' else 'a'} {kind.__name__}"


def became(where: Where, old: str, value: Seen) -> str:
    """That a value is another one."""
    new = described(value)
    return f"{where} was {old} and is {new}" if old != new else f"{where} was {old} and is another one"


def reference(value: Seen) -> Callable[[], Seen]:
    """Gives the value, or None when it is gone; strong for classes, and where nothing else is possible."""
    if not isinstance(value, type):
        try:
            return weakref.ref(value)
        except TypeError:
            pass
    return lambda: value


def is_still(value: Seen, ref: Callable[[], Seen]) -> bool:
    """Whether a value is the one that was referred to; None is not one that is gone."""
    return value is ref() and (value is not None or not isinstance(ref, weakref.ref))


def same(one: Seen, other: Seen) -> bool:
    """Whether two plain values, also sizes, ranges, devices and arrays of numpy's scalars, are the same."""
    if structure.same(one, other):
        return True
    kind = one.__class__
    if kind is not other.__class__ or kind in structure.PLAIN:
        return False
    if isinstance(one, slice):
        return all(map(same, (one.start, one.stop, one.step), (other.start, other.stop, other.step)))
    return repr(one) == repr(other) if isinstance(one, (int, float, complex, str)) else bool(one == other)


def all_still(values: Iterable[Seen], refs: list[Callable[[], Seen]]) -> bool:
    """:func:`is_still` of each of as many values, most often without a line of Python for each."""
    if not all(map(operator.is_, values, map(operator.call, refs))):
        return False
    return type(None) not in map(type, values) or all(map(is_still, values, refs))


class Writer:
    """The text of a function of straight-line comparisons, and the names that it uses."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.scope: dict[str, Any] = {
            "same": same, "structure": structure, "all_still": all_still, "raw": raw,
        }  # fmt: skip
        self.done: dict[int, str] = {}  # looks that stand in a local variable already
        self.sizes: list[tuple[str, Any]] = []  # names of numbers of attributes, and whose

    def name(self, value: Any) -> str:
        """A name for a value."""
        made = f"k{len(self.scope)}"
        self.scope[made] = value
        return made

    def local(self, expression: str) -> str:
        """A local variable."""
        made = f"v{len(self.lines)}"
        self.lines.append(f"{made} = {expression}")
        return made

    def fails(self, condition: str) -> None:
        """Where this holds, something changed."""
        self.lines.append(f"if {condition}: return False")

    def size(self, expression: str, owner: Any) -> None:  # Any: an Owner, whose class stands above
        """A number of attributes: it may be another one if none of the new ones is read."""
        made = self.name(owner.size)
        self.sizes.append((made, owner))
        self.fails(f"len({expression}) != {made}")

    def function(self, title: str) -> Callable[[], bool]:
        """The function: whether all is as it was. What raises is no longer there."""
        body = ["    " + line for line in self.lines]
        source = "\n".join([
            "def unchanged():", "  try:", "    if structure.count != count: return False", *body, "    return True",
            "  except Exception:", "    return False", "",
        ])  # fmt: skip
        filename = f"<flambeau surroundings of {title}>"
        self.scope["count"] = structure.count
        exec(compile(source, filename, "exec"), self.scope)
        linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
        made: Callable[[], bool] = self.scope["unchanged"]
        return made

    def take_over(self, count: int) -> None:
        """What moved, and was looked at, is no change."""
        self.scope["count"] = count
        for name, owner in self.sizes:
            self.scope[name] = owner.size


class Look:
    """What was seen of one value."""

    __slots__ = ("where",)

    def __init__(self, where: Where):
        self.where = where

    def why(self, value: Seen, met: Met) -> str | None:
        """What is different in ``value``."""
        raise NotImplementedError

    def is_met(self, value: Seen, met: Met) -> bool:
        """Whether the two were compared before; from here on they were."""
        pair = (id(self), id(value))
        found = pair in met
        met.add(pair)
        return found

    def check(self, to: Writer, value: str) -> None:
        """Write the comparison of the value that the expression ``value`` gives."""
        raise NotImplementedError


class Plain(Look):
    """A number, a string or the like: by type and bits."""

    __slots__ = ("value",)

    def __init__(self, where: Where, value: Seen):
        super().__init__(where)
        self.value = value

    def why(self, value: Seen, met: Met) -> str | None:
        return None if same(self.value, value) else became(self.where, described(self.value), value)

    def check(self, to: Writer, value: str) -> None:
        k = to.name(self.value)
        to.fails(f"(v := {value}) is not {k} and not same({k}, v)")


class Same(Look):
    """A function, a class, a module, a tensor: by identity."""

    __slots__ = ("ref", "told")

    def __init__(self, where: Where, value: Seen):
        super().__init__(where)
        self.ref, self.told = reference(value), described(value)

    def why(self, value: Seen, met: Met) -> str | None:
        return None if is_still(value, self.ref) else became(self.where, self.told, value)

    def check(self, to: Writer, value: str) -> None:
        if isinstance(self.ref, weakref.ref):
            to.fails(f"(v := {value}) is None or v is not {to.name(self.ref)}()")
        else:
            to.fails(f"{value} is not {to.name(self.ref())}")


class Numbers(Look):
    """An array of numpy's: by its values."""

    __slots__ = ("bits",)

    def __init__(self, where: Where, value: Seen):
        super().__init__(where)
        self.bits = raw(value)

    def why(self, value: Seen, met: Met) -> str | None:
        if type(value) is self.bits[0] and raw(value) == self.bits:
            return None
        return f"{self.where}, {described(value)}, has other values than before"

    def check(self, to: Writer, value: str) -> None:
        to.fails(f"raw({value}) != {to.name(self.bits)}")


def raw(array: Seen) -> tuple[Any, ...]:
    """What an array of numpy's is."""
    return type(array), array.dtype, array.shape, array.tobytes()


_EXACT = frozenset({type(None), bool, int, str, bytes})


def _exact(value: Seen) -> bool:
    """Whether == tells this value from all others of its type."""
    kind = value.__class__
    return kind in _EXACT or (kind is float and value == value and value != 0)


class Items(Look):
    """A list, a tuple or a deque: by its type and its elements."""

    __slots__ = ("items", "kind", "plain")

    def __init__(self, where: Where, kind: type, values: Iterable[Seen]):
        super().__init__(where)
        values = list(values)
        self.kind = kind
        self.plain = values if all(map(_exact, values)) else None  # compared as one
        self.items: list[Look] = []  # filled by who made it, where it is not plain

    def __len__(self) -> int:
        return len(self.items if self.plain is None else self.plain)

    def why(self, value: Seen, met: Met) -> str | None:
        if type(value) is not self.kind:
            return became(self.where, described_kind(self.kind), value)
        return self.why_items(value, list(value), met)

    def why_items(self, value: Seen, values: list[Seen], met: Met) -> str | None:
        if self.is_met(value, met):
            return None
        if len(values) != len(self):
            return f"{self.where} had {len(self)} elements and has {len(values)}"
        if self.plain is not None:
            for i, (old, new) in enumerate(zip(self.plain, values, strict=True)):
                if not same(old, new):
                    return became(self.where.at(f"[{i}]"), described(old), new)
            return None
        return first(look.why(v, met) for look, v in zip(self.items, values, strict=True))

    def check(self, to: Writer, value: str) -> None:
        if id(self) in to.done:
            to.fails(f"{value} is not {to.done[id(self)]}")
            return
        v = to.done[id(self)] = to.local(value)
        to.fails(f"{v}.__class__ is not {to.name(self.kind)} or len({v}) != {len(self)}")
        self.check_items(to, v)

    def check_items(self, to: Writer, v: str) -> None:
        """The elements of the sequence ``v``, whose length is right."""
        if self.plain is not None:
            if self.plain:
                kinds = to.name([x.__class__ for x in self.plain])
                to.fails(f"[*{v}] != {to.name(self.plain)} or [x.__class__ for x in {v}] != {kinds}")
        elif all(type(look) is Same for look in self.items):
            refs = [look.ref for look in self.items if isinstance(look, Same)]
            to.fails(f"not all_still({v}, {to.name(refs)})")
        else:
            for i, look in enumerate(self.items):
                look.check(to, f"{v}[{i}]")


class Mapping(Items):
    """A dict: by its type, its keys in their order and its values."""

    __slots__ = ("keys",)

    def __init__(self, where: Where, kind: type, keys: list[Seen], values: Iterable[Seen]):
        super().__init__(where, kind, values)
        self.keys = keys

    def why(self, value: Seen, met: Met) -> str | None:
        if type(value) is not self.kind:
            return became(self.where, described_kind(self.kind), value)
        for key in self.keys:
            if key not in value:
                return f"{self.where} has lost the key {described(key)}"
        known = dict.fromkeys(self.keys)
        for key in value:
            if key not in known:
                return f"{self.where} has the new key {described(key)}"
        if list(value) != self.keys:
            return f"{self.where} has its keys in another order"
        if self.plain is not None:
            for key, old in zip(self.keys, self.plain, strict=True):
                if not same(old, value[key]):
                    return became(self.where.at(f"[{described(key)}]"), described(old), value[key])
            return None
        return self.why_items(value, list(value.values()), met)

    def check(self, to: Writer, value: str) -> None:
        if id(self) in to.done:
            to.fails(f"{value} is not {to.done[id(self)]}")
            return
        v = to.done[id(self)] = to.local(value)
        to.fails(f"{v}.__class__ is not {to.name(self.kind)} or [*{v}] != {to.name(self.keys)}")
        if len(self):
            self.check_items(to, to.local(f"[*{v}.values()]"))


class Elements(Look):
    """A set: by its type and its elements, those that are not plain by identity."""

    __slots__ = ("kind", "others", "plain")

    def __init__(self, where: Where, value: Seen):
        super().__init__(where)
        self.kind = type(value)
        self.plain = {x for x in value if _exact(x)}
        self.others = [reference(x) for x in value if not _exact(x)]

    def why(self, value: Seen, met: Met) -> str | None:
        if type(value) is not self.kind:
            return became(self.where, described_kind(self.kind), value)
        n = len(self.plain) + len(self.others)
        if len(value) != n:
            return f"{self.where} had {n} elements and has {len(value)}"
        if self.plain <= value and all(ref() in value for ref in self.others):
            return None
        return f"{self.where} has other elements than before"

    def check(self, to: Writer, value: str) -> None:
        v, n = to.local(value), len(self.plain) + len(self.others)
        to.fails(f"{v}.__class__ is not {to.name(self.kind)} or len({v}) != {n} or not {to.name(self.plain)} <= {v}")
        if self.others:
            to.fails(f"not all(x() in {v} for x in {to.name(self.others)})")


def described_kind(kind: type) -> str:
    return f"{'an' if kind.__name__[:1] in 'AEIOUaeiou' else 'a'} {kind.__name__}"


def first(found: Iterable[str | None]) -> str | None:
    """The first that is something."""
    return next((f for f in found if f is not None), None)
