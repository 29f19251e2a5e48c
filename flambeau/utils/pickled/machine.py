"""The interpreter: a stack, a memo, and one rule for each opcode that a file of plain data needs.

Opcodes are read by :func:`pickletools.genops`, which only splits a stream into them. Their meaning:
https://docs.python.org/3/library/pickletools.html
"""

from __future__ import annotations

import pickletools
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, BinaryIO, Final

from flambeau.core.device import device as Device
from flambeau.core.dtype import DType
from flambeau.utils.safetensors import CheckpointError
from flambeau.utils.strict_json import shortened

_MAX_COLLISIONS: Final = 200  # keys that are no strings and have one hash
_MAX_KEY: Final = 1000  # members of a tuple that is a key
_PLAIN: Final = (type(None), bool, int, float, complex, str, bytes, DType, Device)


class Wrong(Exception):
    """What is in the stream is no plain data, or no pickle; the text says what it is."""


#: What a name stands for: a plain value, or a rule that makes a value of the arguments.
Rule = Callable[..., Any]
Named = Callable[[str], Any]


class Internal:
    """What stands on the stack for the machine alone, and is no value."""

    __slots__ = ()
    name = "a name"


class Called(Internal):
    """What a name stands for that makes values: ``make(machine, *arguments)``; ``cls`` if it is a class to trust."""

    def __init__(self, name: str, make: Rule, cls: type | None = None):
        self.name, self.make, self.cls = name, make, cls


class Pending(Internal):
    """A value that is whole when its state has come: ``settle(state)`` makes it."""

    def __init__(self, name: str, settle: Callable[[Any], Any]):
        self.name, self.settle = name, settle


class _Arguments(tuple[Any, ...], Internal):
    """A tuple with names among its members: arguments, and no value."""

    __slots__ = ()


_MARK: Final = object()


class Machine:
    """Makes the object of one pickle. ``named`` knows the names, ``persistent`` what stands outside of the stream."""

    def __init__(self, named: Named, persistent: Callable[[Any], Any], encoding: str = "utf-8"):
        self.named, self.persistent, self.encoding = named, persistent, encoding
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self._hashes: dict[int, Counter[int]] = {}  # by container, of its keys that are no strings
        self._trusted: set[int] = set()  # the objects of classes that the user trusts
        self._keep: list[Any] = []  # these objects, so that no id is used twice

    def run(self, file: BinaryIO) -> Any:
        """The object, and ``file`` stands behind its last byte."""
        try:
            for op, argument, _ in pickletools.genops(file):
                if op.name == "STOP":
                    return self._finished()
                rule = _RULES.get(op.name)
                if rule is None:
                    raise Wrong(f"it has the opcode {op.name}, of which plain data has no need")
                rule(self, argument)
        except (Wrong, CheckpointError, MemoryError, OSError):
            raise
        except Exception as error:  # what genops says of a broken stream, and what a missing operand comes to
            raise Wrong(f"it is no whole pickle ({type(error).__name__}: {str(error)[:100]})") from error
        raise Wrong("it ends before its end")

    def _finished(self) -> Any:
        value = self.pop()
        if self.stack:
            raise Wrong("it leaves values behind")
        return self.value(value)

    # -- operands --------------------------------------------------------------------------------
    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise Wrong("it has a mark where a value should be")
        return value

    def popped_to_mark(self) -> list[Any]:
        place = len(self.stack) - 1
        while self.stack[place] is not _MARK:
            place -= 1
            if place < 0:
                raise Wrong("it has no mark where one should be")
        values = self.stack[place + 1 :]
        del self.stack[place:]
        return values

    @staticmethod
    def value(value: Any) -> Any:
        """A value that may stand in the result: no name of something that makes values."""
        if isinstance(value, Internal):
            raise Wrong(f"it holds {value.name} itself, which is no plain value")
        return value

    def top(self, kind: type) -> Any:
        found = self.stack[-1]
        if not isinstance(found, kind):
            raise Wrong(f"it puts members into a {type(found).__name__}")
        return found

    # -- containers ------------------------------------------------------------------------------
    def key(self, container: Any, key: Any) -> Any:
        """A key of a dict or member of a set: plain, small, and of a hash of its own."""
        if key.__class__ is str:
            return key
        budget = _MAX_KEY
        waiting = [key]
        while waiting:
            part = waiting.pop()
            budget -= 1
            if isinstance(part, tuple):
                waiting.extend(part)
            elif not isinstance(part, _PLAIN) and not (isinstance(part, frozenset) and len(part) < budget):
                raise Wrong(f"a key is a {type(part).__name__}: {repr(part)[:50]}")
            if budget < 0 or len(waiting) > _MAX_KEY:
                raise Wrong("a key is a tuple of too many members")
        if id(container) not in self._hashes:
            self._keep.append(container)
        seen = self._hashes.setdefault(id(container), Counter())
        seen[hash(key)] += 1
        if seen[hash(key)] > _MAX_COLLISIONS:
            raise Wrong("too many keys have the same hash")
        return key

    def set_items(self, target: Any, pairs: Sequence[Any]) -> None:
        if not isinstance(target, dict) or len(pairs) % 2:
            raise Wrong(f"it puts pairs into a {type(target).__name__}")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            target[self.key(target, key)] = self.value(value)

    def add_all(self, target: Any, members: Iterable[Any]) -> None:
        for member in members:
            target.add(self.key(target, member))

    # -- names and calls ---------------------------------------------------------------------------
    def push_named(self, name: str) -> None:
        found = self.named(name)
        if found is None:
            raise Wrong(f"it asks for {name}, which is not among what is read; only tensors and plain data are")
        self.stack.append(found)

    def call(self, function: Any, arguments: Any, keywords: dict[str, Any] | None = None, blank: bool = False) -> None:
        if function.__class__ is not Called:
            raise Wrong(f"it calls {repr(function)[:80]}")
        if not isinstance(arguments, tuple):
            raise Wrong(f"it calls {function.name} with a {type(arguments).__name__}")
        try:
            if blank and function.cls is not None:
                made: Any = function.cls.__new__(function.cls, *arguments, **(keywords or {}))
            else:
                made = function.make(self, *arguments, **(keywords or {}))
        except (Wrong, CheckpointError, MemoryError, OSError):
            raise
        except Exception as error:
            raise Wrong(f"{function.name} cannot be made ({type(error).__name__}: {str(error)[:100]})") from error
        if function.cls is not None:
            self._trusted.add(id(made))
            self._keep.append(made)
        self.stack.append(made)

    def build(self, state: Any) -> None:
        """Give the value on top its state, where there is a rule for that."""
        target = self.stack[-1]
        if target.__class__ is Pending:
            made = target.settle(state)
            self.memo.update({k: made for k, v in self.memo.items() if v is target})
            self.stack[-1] = made
        elif id(target) in self._trusted:
            _set_state(target, self.value(state))
        elif isinstance(target, OrderedDict) and isinstance(state, dict):
            # A state dict's metadata: its versions are what loading by it looks at.
            for name, value in state.items():
                if not isinstance(name, str) or name.startswith("__"):
                    raise Wrong(f"it sets the attribute {shortened(name)} of an OrderedDict")
                target.__dict__[name] = self.value(value)
        else:
            raise Wrong(f"it sets the state of a {type(target).__name__}")

    # -- text of Python 2 --------------------------------------------------------------------------
    def text(self, argument: str) -> Any:
        raw = argument.encode("latin-1")
        return raw if self.encoding == "bytes" else raw.decode(self.encoding)

    def put(self, place: Any) -> None:
        if self.stack[-1] is _MARK:
            raise Wrong("it remembers a mark")
        self.memo[int(place)] = self.stack[-1]

    def get(self, place: Any) -> None:
        if int(place) not in self.memo:
            raise Wrong(f"it asks for value {place}, which it has not made")
        self.stack.append(self.memo[int(place)])


def _set_state(target: Any, state: Any) -> None:
    """Give an object of a trusted class its state, as its class wants it."""
    if hasattr(target, "__setstate__"):
        target.__setstate__(state)
        return
    attributes, slots = state if isinstance(state, tuple) and len(state) == 2 else (state, None)
    if not isinstance(attributes, dict | None) or not isinstance(slots, dict | None):
        raise Wrong(f"it sets the state of a {type(target).__name__} to a {type(state).__name__}")
    for name, value in (attributes or {}).items():
        target.__dict__[str(name)] = value
    for name, value in (slots or {}).items():
        setattr(target, str(name), value)


# -- one rule for each opcode ----------------------------------------------------------------------------
def _push(m: Machine, argument: Any) -> None:
    m.stack.append(argument)


def _constant(make: Callable[[], Any]) -> Callable[[Machine, Any], None]:
    return lambda m, _: m.stack.append(make())


def _as_tuple(parts: Iterable[Any]) -> tuple[Any, ...]:
    made = tuple(parts)
    return _Arguments(made) if any(isinstance(p, Internal) for p in made) else made


def _tuple_of(count: int) -> Callable[[Machine, Any], None]:
    def rule(m: Machine, _: Any) -> None:
        parts = [m.pop() for _ in range(count)]
        m.stack.append(_as_tuple(reversed(parts)))

    return rule


def _tuple(m: Machine, _: Any) -> None:
    m.stack.append(_as_tuple(m.popped_to_mark()))


def _list(m: Machine, _: Any) -> None:
    m.stack.append([m.value(v) for v in m.popped_to_mark()])


def _dict(m: Machine, _: Any) -> None:
    pairs, made = m.popped_to_mark(), dict[Any, Any]()
    m.set_items(made, pairs)
    m.stack.append(made)


def _frozenset(m: Machine, _: Any) -> None:
    members, made = m.popped_to_mark(), set[Any]()
    m.add_all(made, members)
    m.stack.append(frozenset(made))


def _append(m: Machine, _: Any) -> None:
    value = m.value(m.pop())
    m.top(list).append(value)


def _appends(m: Machine, _: Any) -> None:
    values = [m.value(v) for v in m.popped_to_mark()]
    m.top(list).extend(values)


def _setitem(m: Machine, _: Any) -> None:
    value, key = m.pop(), m.pop()
    m.set_items(m.stack[-1], (key, value))


def _setitems(m: Machine, _: Any) -> None:
    pairs = m.popped_to_mark()
    m.set_items(m.stack[-1], pairs)


def _additems(m: Machine, _: Any) -> None:
    members = m.popped_to_mark()
    m.add_all(m.top(set), members)


def _global(m: Machine, argument: str) -> None:
    m.push_named(argument.replace(" ", ".", 1))


def _stack_global(m: Machine, _: Any) -> None:
    name, module = m.pop(), m.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise Wrong("it asks for something by no name")
    m.push_named(f"{module}.{name}")


def _reduce(m: Machine, _: Any) -> None:
    arguments, function = m.pop(), m.pop()
    m.call(function, arguments)


def _newobj(m: Machine, _: Any) -> None:
    arguments, function = m.pop(), m.pop()
    m.call(function, arguments, blank=True)


def _newobj_ex(m: Machine, _: Any) -> None:
    keywords, arguments, function = m.pop(), m.pop(), m.pop()
    if not isinstance(keywords, dict) or not all(isinstance(k, str) for k in keywords):
        raise Wrong("it makes an object with no names for its arguments")
    m.call(function, arguments, keywords, blank=True)


def _build(m: Machine, _: Any) -> None:
    state = m.pop()
    m.build(state)


def _persistent(m: Machine, _: Any) -> None:
    m.stack.append(m.persistent(m.pop()))


def _memoize(m: Machine, _: Any) -> None:
    m.put(len(m.memo))


_RULES: Final[dict[str, Callable[[Machine, Any], None]]] = {
    **dict.fromkeys(("PROTO", "FRAME"), lambda m, argument: None),
    **dict.fromkeys(
        ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "UNICODE",
         "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
        _push,
    ),
    **dict.fromkeys(("STRING", "BINSTRING", "SHORT_BINSTRING"), lambda m, argument: m.stack.append(m.text(argument))),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), Machine.put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), Machine.get),
    "NONE": _constant(lambda: None),
    "NEWTRUE": _constant(lambda: True),
    "NEWFALSE": _constant(lambda: False),
    "EMPTY_LIST": _constant(list),
    "EMPTY_TUPLE": _constant(tuple),
    "EMPTY_DICT": _constant(dict),
    "EMPTY_SET": _constant(set),
    "MARK": _constant(lambda: _MARK),
    "POP": lambda m, _: (m.stack.pop(), None)[1],
    "POP_MARK": lambda m, _: (m.popped_to_mark(), None)[1],
    "DUP": lambda m, _: m.stack.append(m.stack[-1]),
    "TUPLE": _tuple, "TUPLE1": _tuple_of(1), "TUPLE2": _tuple_of(2), "TUPLE3": _tuple_of(3),
    "LIST": _list, "DICT": _dict, "FROZENSET": _frozenset, "MEMOIZE": _memoize,
    "APPEND": _append, "APPENDS": _appends, "SETITEM": _setitem, "SETITEMS": _setitems, "ADDITEMS": _additems,
    "GLOBAL": _global, "STACK_GLOBAL": _stack_global, "REDUCE": _reduce, "NEWOBJ": _newobj, "NEWOBJ_EX": _newobj_ex,
    "BUILD": _build, "BINPERSID": _persistent,
}  # fmt: skip
