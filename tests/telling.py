"""A recorder that checks what it is told.

No kernel, write or read may get an array that it never heard of, or one whose values have changed since by nothing that
it heard of.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from flambeau.core import events
from flambeau.core.keys import key_for
from flambeau.core.record import OPS
from flambeau.core.state import current, put
from flambeau.core.tensor import Tensor
from flambeau.core.tree import flatten


class Cell:
    """A number that was told: its arithmetic gives such numbers, and who looks at its value is written down."""

    def __init__(self, number: Any, looks: list[str]):
        self._number, self._looks = number, looks

    @property
    def __class__(self) -> type:  # type: ignore[override]
        return type(self._number)

    def _look(self, how: str) -> Any:
        self._looks.append(how)
        return self._number

    def __bool__(self) -> bool:
        return bool(self._number)  # one of two ways to go

    def __float__(self) -> float:
        return float(self._look("float"))

    def __int__(self) -> int:
        return int(self._look("int"))

    def __index__(self) -> int:
        return operator.index(self._look("index"))

    def __hash__(self) -> int:
        return hash(self._look("hash"))

    def __repr__(self) -> str:
        return repr(self._look("repr"))


def _arithmetic(fn: Callable[..., Any], reflected: bool) -> Callable[..., Any]:
    def run(self: Cell, *others: Any) -> Any:
        if not all(isinstance(o, (bool, int, float, complex)) for o in others):
            return NotImplemented
        values = [plain(v) for v in ((*others, self) if reflected else (self, *others))]
        return Cell(fn(*values), self._looks)

    return run


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow"):
    setattr(Cell, f"__{_name}__", _arithmetic(getattr(operator, f"__{_name}__"), False))
    setattr(Cell, f"__r{_name}__", _arithmetic(getattr(operator, f"__{_name}__"), True))
for _name in ("neg", "abs", "lt", "le", "gt", "ge", "eq", "ne"):
    setattr(Cell, f"__{_name}__", _arithmetic(getattr(operator, f"__{_name}__"), False))


def plain(value: Any) -> Any:
    """Cells as the numbers that they are, in lists too."""
    if type(value) is Cell:
        return value._number
    if type(value) in (list, tuple):
        return type(value)(map(plain, value))
    return value


class Checker:
    """Knows every array that it hears of by its id, and its values; ``problems`` are what it did not hear of."""

    def __init__(self, there: Iterable[Tensor] = (), foreign: bool = False):
        self.foreign = foreign
        self.known: dict[int, tuple[Any, Any]] = {}  # the array, its backend
        self.values: dict[int, bytes] = {}
        self.problems: list[str] = []
        self.refused: list[str] = []
        self.looks: list[str] = []  # at numbers that were told
        self.events: list[str] = []  # "add", "write", "read", "host", ...
        self.scalars: list[tuple[str, Any]] = []  # what kernels got as plain numbers
        for t in there:
            self.know(t._array, t._key)

    def know(self, array: Any, key: Any) -> Any:
        backend = key.backend
        self.known[id(array)] = array, backend
        self.values[id(array)] = self._bytes(id(array))
        return array

    def _bytes(self, number: int) -> bytes:
        array, backend = self.known[number]
        return b"" if backend.has("no_data") else backend.to_host(array).tobytes()

    def changed(self) -> None:
        """Something was written to, and what else shares its memory has changed with it."""
        self.values = {number: self._bytes(number) for number in self.known}

    def end(self) -> None:
        """The last look at all arrays."""
        for number, before in self.values.items():
            if self._bytes(number) != before:
                self.problems.append(f"the end: an array of shape {self.known[number][0].shape} has changed")

    def _arrays(self, values: Iterable[Any], key: Any) -> Iterator[Any]:
        for v in values:
            if isinstance(v, (list, tuple)):
                yield from self._arrays(v, key)
            elif isinstance(v, key.array):
                yield v

    def _check(self, what: str, key: Any, *values: Any) -> None:
        self.events.append(what)
        for array in self._arrays(values, key):
            if id(array) not in self.known and self.foreign:
                self.know(array, key)
            elif id(array) not in self.known:
                self.problems.append(f"{what}: nobody told of an array of shape {tuple(array.shape)}")
                self.know(array, key)
            elif self._bytes(id(array)) != self.values[id(array)]:
                self.problems.append(f"{what}: nobody told what has changed an array of shape {tuple(array.shape)}")

    def __call__(self, op: Any, key: Any, arrays: Sequence[Any], params: Mapping[str, Any], kernel: Any) -> Any:
        self._check(op.name, key, *arrays, *params.values())
        for v in flatten([list(arrays), dict(params)])[0]:
            if type(v) in (float, int):
                self.scalars.append((op.name, v))
        raw = kernel(*plain(list(arrays)), **{n: plain(v) for n, v in params.items()})
        if "out" in params or op.dtype.name == "step":
            self.changed()
        if "out" in params:
            return raw
        several = isinstance(raw, (tuple, list))
        found = []
        for i, r in enumerate(raw if several else (raw,)):
            if op is OPS["to_device"]:
                own = key_for(params["device"], key.dtype)
            else:
                own = key if op.schema.returns_list else key.sibling(op.dtype.out(i, key.dtype, params))
            found.append(r if r is None else self.know(r if r.__class__ is own.array else own.wrap(r), own))
        return type(raw)(found) if several else found[0]

    def host(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        self.events.append("host")
        given = events.untold(fn, *plain(args))
        self.changed()
        for v in given if isinstance(given, tuple) else (given,):
            assert v is None or type(v) in (bool, int, float), f"{fn} gave {given!r}"
        if isinstance(given, tuple):
            return tuple([Cell(v, self.looks) for v in given])
        return given if given is None else Cell(given, self.looks)

    def write(self, key: Any, target: Any, source: Any) -> None:
        self._check("write", key, target, source)
        key.backend.copy_into(target, source)
        self.changed()

    def read(self, key: Any, array: Any, read: Callable[[Any], Any]) -> Any:
        self._check("read", key, array)
        return events.untold(read, array)

    def item(self, key: Any, array: Any, read: Callable[[Any], Any]) -> Any:
        self._check("item", key, array)
        return Cell(events.untold(read, array), self.looks)

    def make(self, key: Any, make: Callable[[], Any]) -> Any:
        self.events.append("make")
        made, again = events.untold(make), events.untold(make)
        if key.backend.storage_id(made) == key.backend.storage_id(again):
            self.problems.append(f"make: {make} gives the same memory twice")
        return self.know(made, key)

    def constant(self, key: Any, value: Any, make: Callable[[Any], Any]) -> Any:
        self.events.append("constant")
        if type(value) is not Cell:
            self.scalars.append(("constant", value))
        return self.know(make(plain(value)), key)

    def run(self, key: Any, fn: Callable[..., Any], args: tuple[Any, ...], writes: bool) -> Any:
        self._check("run", key, *args)
        result = events.untold(fn, *plain(args))
        if writes:
            self.changed()
        return Cell(result, self.looks) if type(result) in (int, float) else result

    def touch(self, tensor: Any) -> None:
        """There is nothing to check: no array is read or written."""

    def refuse(self, why: str) -> None:
        self.refused.append(why)


@contextmanager
def told(*there: Tensor, refusing: bool = False, foreign: bool = False) -> Iterator[Checker]:
    """A block of which a checker hears, which knows the arrays of the tensors ``there``; it must have heard of all.

    With ``foreign`` arrays of numpy's become tensors in it, each of which is read whenever the block runs again.
    """
    checker = Checker(there, foreign)
    before = current()
    put(before.replace(recorder=checker, watchers=(checker, *before.watchers)))
    try:
        yield checker
    finally:
        put(before)
    checker.end()
    assert not checker.problems, checker.problems
    assert refusing or not checker.refused, checker.refused
