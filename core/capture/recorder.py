"""The recorder: it watches a whole call of a program, kernels and the other events, and writes down nodes.

A call whose first part has already run, by a replay that came to an answer it had not met before, is watched in the
same way: up to there the program's Python gets the results that the replay left (:class:`Past`), no kernel runs a
second time, and what comes then is recorded.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Final, NamedTuple, NoReturn

import numpy as np

from flambeau.backends.base import Array, Backend, HostArray
from flambeau.core import registry
from flambeau.core.capture.cells import Cell, plain
from flambeau.core.capture.effects import is_opaque
from flambeau.core.capture.guard_files import place_of_program
from flambeau.core.capture.trace import External, Gradient, Kind, Node, Segment, Value, key_of
from flambeau.core.events import untold
from flambeau.core.keys import Key, key_for
from flambeau.core.record import Op


class CaptureError(RuntimeError):
    """A program that cannot be recorded, or one that a recording does not fit."""


class Start(NamedTuple):
    """What a tensor was when the program first touched it."""

    array: Array
    key: Key
    node: Any
    grad: Any


#: In the place of a gradient that was there when a tensor was touched, and is nowhere any more.
_GONE: Final[Any] = SimpleNamespace(_array=None)
#: How many nodes come between two looks for such gradients.
_OFTEN: Final = 16


class Past:
    """What a replay has done: the segments that it ran, and the values that it left."""

    def __init__(self, segments: Sequence[Segment], left: Mapping[Value, Any]):
        self.segments, self.left = segments, left
        self.at = self.node = 0  # the segment, and the node in it, that the program comes to next

    @property
    def over(self) -> bool:
        return self.at >= len(self.segments)

    def next(self, kind: Kind, what: str) -> Node:
        """The node that an event was when it was recorded."""
        nodes = self.segments[self.at].nodes
        if self.node >= len(nodes) or nodes[self.node].kind is not kind:
            self.differs(what)
        self.node += 1
        return nodes[self.node - 1]

    def asked(self, value: Value) -> None:
        """The program looks at a value, as it did at the end of the segment."""
        segment = self.segments[self.at]
        if self.node < len(segment.nodes) or segment.asked != value:
            self.differs("a look at a value")
        self.at, self.node = self.at + 1, 0

    def differs(self, what: str) -> NoReturn:
        segment = self.segments[self.at]
        before = segment.nodes[self.node] if self.node < len(segment.nodes) else None
        then = f"a look at a value at {segment.place}" if before is None else f"{before.name} at {before.place}"
        raise CaptureError(
            f"the program took another way than when it was recorded, and a part of it has run: {what} at "
            f"{place_of_program()}, where {then} was; what it decides by is not seen, so let it run eagerly"
        )


class Recorder:
    """Writes down one call, into ``segment`` and what follows it.

    ``known`` are the arrays that have values already: those of the arguments, and all that a past left.
    """

    def __init__(self, known: Iterable[tuple[Array, Value]], segment: Segment, past: Past | None = None):
        self.segment = segment
        self.segments: list[tuple[Any, Segment]] = [(None, segment)]  # with the answer that led to each
        self.past = past
        self.why = ""  # why the call cannot be recorded
        self.recording = True
        self.touched: dict[int, tuple[Any, Start]] = {}
        self.cells: weakref.WeakValueDictionary[int, Cell] = weakref.WeakValueDictionary()
        self._count = segment.start
        self._values: dict[int, Value] = {}
        self._held: dict[int, Any] = {}  # id -> a weak reference, or the array where there are none
        self._storages: dict[tuple[int, int], list[int]] = {}  # (backend, storage) -> [number, arrays alive]
        self.relied: list[tuple[Callable[..., Any], tuple[Any, ...], Any]] = []
        self.arguments: set[int] = set()  # ids of tensors that are given anew in each call
        self.held: Mapping[int, int] = {}  # id -> how often recordings before this one hold an object
        self._asked: set[Value] = set()
        self._sealed = False  # whether the segment has run code that may look for gradients
        self._hooked: dict[int, tuple[weakref.ref[Any], str]] = {}
        self._classes = tuple({b.array for b in registry.backends.values()})
        for array, value in known:
            self._note(array, value)

    @property
    def playing(self) -> bool:
        """Whether the program is in what a replay has done."""
        return self.past is not None and not self.past.over

    # -- arrays and numbers ----------------------------------------------------------------------
    def _backend_of(self, array: Array, key: Key | None = None) -> Backend:
        """Whose array it is: that of the key, whose class other backends may share, unless it is none of its arrays."""
        if key is not None and isinstance(array, key.array):
            return key.backend
        return next(b for b in registry.backends.values() if isinstance(array, b.array))

    def _note(self, array: Array, value: Value, key: Key | None = None) -> None:
        """``array`` is ``value`` from now on, for as long as it lives."""
        number = id(array)
        self._values[number] = value
        if number in self._held:
            return
        backend = self._backend_of(array, key or value.key)
        place = (id(backend), backend.storage_id(array))
        entry = self._storages.setdefault(place, [value.number if value.storage < 0 else value.storage, 0])
        entry[1] += 1
        value.storage = entry[0]
        try:
            self._held[number] = weakref.ref(array, lambda _: self._forget(number, place))
        except TypeError:
            self._held[number] = array

    def _forget(self, number: int, place: tuple[int, int]) -> None:
        self._values.pop(number, None)
        self._held.pop(number, None)
        entry = self._storages.get(place)
        if entry is not None:
            entry[1] -= 1
            if not entry[1]:
                del self._storages[place]

    def new(self, array: Array, key: Key, node: int = -1) -> Value:
        """A value for an array that is seen first, or once more as the result of a kernel."""
        layout = self._backend_of(array, key).layout(array)
        value = Value(self._count, node, key, tuple(layout.shape), tuple(layout.strides))
        self._count += 1
        old = self._values.get(id(array))
        if old is not None:
            value.storage = old.storage
        self._note(array, value, key)
        return value

    def known(self, array: Array) -> Value | None:
        """The value that an array is so far."""
        return self._values.get(id(array))

    def value_of(self, array: Array, key: Key) -> Value:
        """The value that an array is; one that nobody told of was there before."""
        found = self._values.get(id(array))
        if found is None:
            backend = self._backend_of(array, key)
            dtype = backend.dtype_of(array)
            own = key if backend is key.backend and dtype is key.stored else key_for(key.device, dtype)
            found = self.new(array, own)
            self._external(found, array)
        return found

    def _external(self, value: Value, array: Array, constant: tuple[Any, ...] | None = None) -> None:
        self.segment.externals.append(External(value, array, constant))
        self._held[id(array)] = array  # for good: it is there in every call

    def argument(self, value: Any, key: Key) -> Any:
        """An argument of a kernel as a node has it."""
        if type(value) is Cell:
            return value._value
        if isinstance(value, self._classes):
            return self.value_of(value, key)
        if isinstance(value, (list, tuple)):
            parts = [self.argument(v, key) for v in value]
            return type(value)._make(parts) if hasattr(value, "_make") else type(value)(parts)
        return value

    def cell(self, number: Any) -> Cell:
        """A number that the next node gives, as a cell."""
        value = Value(self._count, self._here)
        if not isinstance(number, np.ndarray):
            value.number_then = number
        self._count += 1
        made = self.cells[value.number] = Cell(number, value, self)
        return made

    def _add(self, node: Node) -> None:
        node.place = place_of_program()
        self.segment.nodes.append(node)
        if not len(self.segment.nodes) % _OFTEN:
            self._let_gradients_go()

    @property
    def _here(self) -> int:
        return len(self.segment.nodes)

    # -- kernels ---------------------------------------------------------------------------------
    def __call__(self, op: Op, key: Key, arrays: Sequence[Any], params: Mapping[str, Any], kernel: Any) -> Any:
        """A kernel's call, as a watcher sees it."""
        profile = sys.getprofile()  # what is done here is none of the program's: only the kernel may be
        if callable(profile):
            sys.setprofile(None)
        try:
            found = (
                self._again(op, key, params) if self.playing else self._first(op, key, arrays, params, kernel, profile)
            )
        finally:
            if callable(profile):
                sys.setprofile(profile)
        if op.infer is None and "out" not in params:  # the data decides of the shape
            for i, r in enumerate(found if isinstance(found, (tuple, list)) else (found,)):
                self.look(self.item(_result_key(op, i, key, params), r, _shape))
        return found

    def _first(
        self, op: Op, key: Key, arrays: Sequence[Any], params: Mapping[str, Any], kernel: Any, profile: Any
    ) -> Any:
        """Run a kernel, which ``profile`` sees if it can, and write it down."""
        args = tuple([self.argument(a, key) for a in arrays])
        given = {n: self.argument(v, key) for n, v in params.items()}
        params = {n: plain(v) for n, v in params.items()}
        numbers = plain(list(arrays))
        if callable(profile):
            sys.setprofile(profile)
            raw = kernel(*numbers, **params)
            sys.setprofile(None)
        else:
            raw = kernel(*numbers, **params)
        node = Node(Kind.KERNEL, kernel, args, given, op=op, key=key)
        node.served = getattr(key, op.name, None) is kernel
        if "out" in params:
            self._add(node)
            return raw
        node.several = isinstance(raw, (tuple, list))
        results, outs = [], []
        for i, r in enumerate(raw if node.several else (raw,)):
            own = _result_key(op, i, key, params)
            wrapped = r is not None and r.__class__ is not own.array
            results.append(own.wrap(r) if wrapped else r)
            outs.append(None if r is None else self.new(results[-1], own, self._here))
            if wrapped:
                outs[-1].wrapped = True  # type: ignore[union-attr]
        node.outs = tuple(outs)
        self._add(node)
        return type(raw)(results) if node.several else results[0]

    def _again(self, op: Op, key: Key, params: Mapping[str, Any]) -> Any:
        """What a kernel gave in the replay."""
        assert self.past is not None
        node = self.past.next(Kind.KERNEL, op.name)
        if node.op is not op or node.key is not key:
            self.past.node -= 1
            self.past.differs(op.name)
        if "out" in params:
            return params["out"]
        found = [None if v is None else self._left(v) for v in node.outs]
        return found if node.several else found[0]

    def _left(self, value: Value) -> Any:
        """What the replay left for a value; something of its form where nobody will look into it."""
        assert self.past is not None
        found = self.past.left.get(value)
        key = value.key
        if key is None:
            number = value.number_then if found is None else found
            made = self.cells[value.number] = Cell(number, value, self)
            return made
        if found is None:
            found = key.backend.empty(_room(value), key.stored, key.device.number)
            found = key.backend.as_strided(found, value.shape, value.strides, 0)
        self._note(found, value, key)
        return found

    # -- the other events ------------------------------------------------------------------------
    def host(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """A call that gives numbers: a cell, a tuple of them, or None."""
        if not self.recording:
            return fn(*plain(args))
        if self.playing:
            assert self.past is not None
            node = self.past.next(Kind.HOST, getattr(fn, "__name__", "a number"))
            cells = [self._left(v) for v in node.outs if v is not None]
            return tuple(cells) if node.several else cells[0] if cells else None
        if not self._sealed and is_opaque(Node(Kind.HOST, fn, ())):
            self._let_gradients_go()
            self._sealed = True
        result = untold(fn, *plain(args))
        if result is NotImplemented:
            return result
        several = isinstance(result, tuple)
        cells = [] if result is None else [self.cell(r) for r in (result if several else (result,))]
        given = tuple([a._value if type(a) is Cell else a for a in args])
        self._add(Node(Kind.HOST, fn, given, outs=tuple([c._value for c in cells]), several=several))
        return tuple(cells) if several else cells[0] if cells else None

    compute = host

    def write(self, key: Key, target: Array, source: Array) -> None:
        """The values of an array, into another one."""
        copy = key.backend.copy_into
        if self.playing:
            assert self.past is not None
            self.past.next(Kind.WRITE, "a write")
            return
        args = (self.value_of(target, key), self.value_of(source, key))
        copy(target, source)
        self._add(Node(Kind.WRITE, copy, args, key=key))

    def make(self, key: Key, how: Callable[[], Array]) -> Array:
        """An array in memory of its own."""
        if self.playing:
            assert self.past is not None
            return self._left(self.past.next(Kind.MAKE, "an array").out)
        array = untold(how)
        self._add(Node(Kind.MAKE, how, (), outs=(self.new(array, key, self._here),), key=key))
        return array

    def constant(self, key: Key, value: Any, how: Callable[[Any], Array]) -> Array:
        """The array that kernels get for a number."""
        if type(value) is not Cell:
            array = how(value)
            if not self.playing and id(array) not in self._values:
                self._external(self.new(array, key), array, (key, key_of(value)))
            return array
        if self.playing:
            assert self.past is not None
            return self._left(self.past.next(Kind.CONSTANT, "a number").out)
        array = how(value._number)
        self._add(Node(Kind.CONSTANT, how, (value._value,), outs=(self.new(array, key, self._here),), key=key))
        return array

    def read(self, key: Key, array: Array, how: Callable[[Array], HostArray]) -> HostArray:
        """An array's values on the host, on which the program branches."""
        cell = self.item(key, array, lambda a: np.array(how(a)))
        host: Any = cell._number
        self.look(cell)
        return host  # type: ignore[no-any-return]  # the values that the cell holds

    def item(self, key: Key, array: Array, how: Callable[[Array], Any]) -> Cell:
        """An array's one number."""
        if self.playing:
            assert self.past is not None
            found: Cell = self._left(self.past.next(Kind.READ, "a read").out)
            return found
        value = self.value_of(array, key)
        cell = self.cell(untold(how, array))
        self._add(Node(Kind.READ, how, (value,), outs=(cell._value,), key=key))
        return cell

    def run(self, key: Key, fn: Callable[..., Any], args: tuple[Any, ...], writes: bool) -> Any:
        """A function of a backend on arrays: it writes to them, or gives a number."""
        if self.playing:
            assert self.past is not None
            node = self.past.next(Kind.CALL, getattr(fn, "__name__", "a call"))
            return True if writes else self._left(node.out)
        given = tuple([self.argument(a, key) for a in args])
        result = fn(*plain(args))
        if not result and result.__class__ is not float:
            return result  # it does not serve these arrays
        cell = None if writes else self.cell(result)
        self._add(Node(Kind.CALL, fn, given, outs=() if cell is None else (cell._value,), key=key))
        return True if cell is None else cell

    def look(self, cell: Cell) -> None:
        """The program depends on a number from here on."""
        value = cell._value
        if not self.recording or value in self._asked:
            return
        self._asked.add(value)
        if self.playing:
            assert self.past is not None
            self.past.asked(value)
            return
        ended = self.segment
        self._let_gradients_go()
        self._sealed = False
        ended.asked, ended.place, ended.end = value, place_of_program(), self._count
        ended.alive = (*(v for v in self._values.values() if v.node >= 0), *(c._value for c in self.cells.values()))
        self.segment = Segment(self._count)
        self.segments.append((key_of(cell._number), self.segment))

    def touch(self, tensor: Any) -> None:
        """A tensor's array, link or gradient may be read or changed next."""
        if id(tensor) not in self.touched and tensor._key.level is None:
            start = Start(tensor._array, tensor._key, tensor._node, getattr(tensor, "_grad", None))
            self.touched[id(tensor)] = (tensor, start)

    def hook(self, node: Any) -> None:
        """A node or leaf of the graph gets a hook."""
        self._hooked[id(node)] = weakref.ref(node), place_of_program()

    def hooked(self) -> list[tuple[Any, str]]:
        """Those that got one and are still there, and where they did."""
        return [(node, place) for ref, place in self._hooked.values() if (node := ref()) is not None]

    def released(self) -> list[tuple[Any, Start]]:
        """The touched tensors that somebody else has: others are gone with the call."""
        entries = list(self.touched.values())
        return [e for e in entries if sys.getrefcount(e[0]) > 2]  # the entry has it, and the call

    def owner_of_gradient(self, array: Array) -> Any:
        """The tensor that had an array as its gradient when it was first touched; None for other arrays."""
        return next((t for t, s in self.touched.values() if s.grad is not None and s.grad._array is array), None)

    def _let_gradients_go(self) -> None:
        """Hold no gradient of before that only the recorder has: its tensor has another or none.

        The segment is told, up to where code may run that looks for it.
        """
        for number, (tensor, start) in [] if self.playing else list(self.touched.items()):
            if start.grad is None or start.grad is _GONE or tensor._grad is start.grad or number in self.arguments:
                continue
            array, key = start.grad._array, start.grad._key
            if start.grad._in_parts or key.level is not None:
                continue
            references = sys.getrefcount(start.grad) - 1 - self.held.get(id(start.grad), 0)
            if references == 1 and sys.getrefcount(array) == 3:  # the start's, and those of ``array``
                if not self._sealed:
                    layout = key.backend.layout(array)
                    gone = Gradient(tensor, key, tuple(layout.shape), tuple(layout.strides))
                    self.segment.freed.append(gone)
                self.touched[number] = (tensor, start._replace(grad=_GONE))

    def chain(self) -> None:
        """Let each segment lead to the one behind it."""
        for (_, a), (answer, b) in zip(self.segments, self.segments[1:], strict=False):
            a.children[answer] = b

    def close(self, ending: Any) -> None:  # Any: an Ending, whose class stands above
        """Let the last segment end so, and note whose gradients were there before."""
        for _, segment in self.segments:
            for e in segment.externals:
                e.grad_of = self.owner_of_gradient(e.array)
        self.segments[-1][1].ending = ending

    def rely(self, fn: Callable[..., Any], args: tuple[Any, ...], value: Any) -> None:
        """The recording holds while ``fn(*args)`` gives this value."""
        if not any(f == fn and a == args for f, a, _ in self.relied):
            self.relied.append((fn, args, value))

    def refuse(self, why: str) -> None:
        """The call cannot be recorded."""
        if not self.why:
            self.why = f"{why} at {place_of_program()}"

    def end(self) -> None:
        """Nothing is recorded any more: cells that live on are the numbers that they were."""
        self._let_gradients_go()
        self.segment.end = self._count
        self.recording = False

    def forget(self) -> None:
        """Keep no array and no tensor alive: a recorder is in circles with what tells it of their ends."""
        for held in (self._values, self._held, self._storages, self.touched, self.cells):
            held.clear()


def _result_key(op: Op, i: int, key: Key, params: Mapping[str, Any]) -> Key:
    """The key of a kernel's i-th result."""
    if op.name == "to_device":
        return key_for(params["device"], key.dtype)
    return key if op.schema.returns_list else key.sibling(op.dtype.out(i, key.dtype, params))


def _shape(array: Array) -> tuple[int, ...]:
    return tuple(array.shape)


def _room(value: Value) -> tuple[int]:
    """How many elements an array's memory must have at least."""
    if 0 in value.shape:
        return (1,)
    return (1 + sum((n - 1) * abs(s) for n, s in zip(value.shape, value.strides, strict=True)),)
