"""Tensors that a recorded program uses without being given them, and where it finds them.

A recording holds the arrays of parameters, buffers and optimizer states. It fits as long as each tensor that holds one
still does, and stands where it stood: in the dict of a module, in a list, in a closure, and that container where it
stood. Who holds what is asked of the garbage collector, once, when a recording is complete.
"""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from types import CellType, FunctionType
from typing import Any, Final, NamedTuple

from flambeau.core.capture.ending import Form
from flambeau.core.capture.trace import External
from flambeau.core.graph import Leaf
from flambeau.core.tensor import Tensor

#: Containers that are looked into before all objects are.
_MOST: Final = 10_000


class Place(NamedTuple):
    """Where a thing stands: in ``holder``, a dict, a list, the cell of a closure or an object, under ``key``."""

    holder: Any
    key: Any
    thing: Any

    @property
    def is_attribute(self) -> bool:
        return not isinstance(self.holder, (dict, list, CellType))

    def holds(self) -> bool:
        """Whether it still does."""
        holder, key = self.holder, self.key
        if isinstance(holder, dict):
            return holder.get(key) is self.thing
        if isinstance(holder, list):
            return key < len(holder) and holder[key] is self.thing
        found = _content(holder) if isinstance(holder, CellType) else holder.__dict__.get(key)
        return found is self.thing

    def __str__(self) -> str:
        if isinstance(self.holder, CellType):
            return "in a closure"
        if isinstance(self.holder, list):
            return f"element {self.key} of a list"
        return f"{self.key!r} of a {type(self.holder).__name__}"


class Owner:
    """A tensor of before: what it was, and where it stood."""

    __slots__ = ("array", "hooks", "key", "node", "places", "tensor")

    def __init__(self, tensor: Tensor):
        self.tensor = tensor
        self.array, self.key, self.node = tensor._array, tensor._key, tensor._node
        self.hooks = hooks_of(self.node)
        self.places: list[Place] = []

    def changed(self) -> str:
        """ "" where all is as it was, else what is not."""
        t = self.tensor
        if t._array is not self.array or t._key is not self.key:
            return f"{self} has other memory"
        if t._node is not self.node:
            return f"requires_grad, or the history, of {self} is another one"
        if self.hooks != hooks_of(self.node):
            return f"hooks on {self} were added or removed"
        return next((f"{self} was {p}, and is not any more" for p in self.places if not p.holds()), "")

    def __str__(self) -> str:
        names = [p.key for p in self.places if isinstance(p.key, str)]
        return f"tensor {names[0]!r}" if names else f"a tensor of shape {tuple(self.tensor.shape)}"


def hooks_of(node: Any) -> tuple[Any, ...]:
    """The numbers of the hooks on a leaf."""
    if node.__class__ is not Leaf:
        return ()
    return (*(node.hooks or ()), None, *(node.post_hooks or ()))


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # empty
        return None


class Found(NamedTuple):
    """Who holds the arrays of a recording."""

    owners: list[Owner]
    containers: list[Place]  #: where the dicts and lists stand that the tensors stand in
    by_storage: dict[int, Tensor]  #: for each storage one of the tensors
    hidden: str = ""  #: whose holders cannot be found

    def checker(self) -> Callable[[], bool]:
        """Whether something may have changed, by tables of what was where: this is asked before each replay."""
        owners = sorted(self.owners, key=lambda o: id(type(o.tensor)))  # attributes of one class are read faster
        places = [*(p for o in owners for p in o.places), *self.containers]
        kinds = [next((kind for kind in (dict, list, CellType) if isinstance(p.holder, kind)), None) for p in places]
        by_kind = [
            [p for p, k in zip(places, kinds, strict=True) if k is kind] for kind in (dict, list, CellType, None)
        ]
        tensors = [(o.tensor, o.array, o.node, o.key) for o in owners]
        leaves = [(o.node, o.hooks, any(o.hooks)) for o in owners if o.node.__class__ is Leaf]
        return partial(_moved, tensors, leaves, *[list(map(tuple, found)) for found in by_kind])

    def changed(self) -> str:
        """ "" where all is as it was, else what is not."""
        if why := next(filter(None, (o.changed() for o in self.owners)), ""):
            return why
        moved = next((p for p in self.containers if not p.holds()), None)
        return "" if moved is None else f"what was {moved}, and has tensors, is another one"


def _moved(
    tensors: list[Any], leaves: list[Any], dicts: list[Any], lists: list[Any], cells: list[Any], objects: list[Any]
) -> bool:
    for t, array, node, key in tensors:
        if t._array is not array or t._node is not node or t._key is not key:
            return True
    for leaf, hooks, some in leaves:
        if (leaf.hooks or leaf.post_hooks or some) and hooks_of(leaf) != hooks:
            return True
    for holder, name, thing in dicts:
        if holder.get(name) is not thing:
            return True
    for holder, place, thing in lists:
        if len(holder) <= place or holder[place] is not thing:
            return True
    for cell, _, thing in cells:
        if _content(cell) is not thing:
            return True
    return any(holder.__dict__.get(name) is not thing for holder, name, thing in objects)


def holders(externals: Sequence[External], ours: Iterable[Any], likely: Sequence[Any] = ()) -> Found:
    """Who holds the arrays of externals; ``ours`` are containers that do not count.

    ``likely`` are objects where they probably stand: modules, optimizers, containers. What stands there, and nowhere
    else as its count of references tells, is not looked for among all objects.
    """
    arrays = {id(e.array): e for e in externals if e.constant is None}
    if not arrays:
        return Found([], [], {})
    owners, by_storage = _owners(arrays)
    ours = [*ours, likely, owners, by_storage]
    skipped = {id(o) for o in ours}
    tensors = {number: o.tensor for number, o in owners.items()}
    opened, owned = _opened(likely)
    places = _all_places(tensors, skipped, opened, owned, ours)
    _assign(places, owners, arrays)
    held = {id(p.holder): p.holder for o in owners.values() for p in o.places if isinstance(p.holder, (dict, list))}
    skipped |= {id(tensors), id(places)}
    around = _all_places(held, skipped, opened, owned, [owners, places, opened, likely])
    containers = [p for p in around if p.key != "__dict__"]
    hidden = _hidden(arrays.values(), list(owners.values()), skipped)
    return Found(list(owners.values()), containers, by_storage, hidden)


def _owners(arrays: Mapping[int, External]) -> tuple[dict[int, Owner], dict[int, Tensor]]:
    """The tensors of arrays, by their ids, and one of each storage."""
    owners: dict[int, Owner] = {}
    by_storage: dict[int, Tensor] = {}
    for t in gc.get_referrers(*_classes(Tensor)):  # tensors do: there are fewer classes than arrays to look for
        if isinstance(t, Tensor) and id(getattr(t, "_array", None)) in arrays:
            owners[id(t)] = Owner(t)
            by_storage.setdefault(arrays[id(t._array)].value.storage, t)
    return owners, by_storage


def _assign(places: Sequence[Place], owners: dict[int, Owner], arrays: Mapping[int, External]) -> None:
    """Give the owners their places; a gradient is none, since each call may find another one there."""
    for place in places:
        if isinstance(place.holder, Tensor):
            owners.pop(id(place.thing), None)
            arrays[id(place.thing._array)].grad_of = place.holder
    for place in places:
        if id(place.thing) in owners:
            owners[id(place.thing)].places.append(place)


def _opened(likely: Iterable[Any]) -> tuple[list[Any], list[int]]:
    """The dicts and lists in objects, and cells; and the ids of those dicts that are the attributes of an object."""
    found: dict[int, Any] = {}
    owned: dict[int, Any] = {}
    stack = list(likely)
    while stack and len(found) < _MOST:
        thing = stack.pop()
        if isinstance(thing, (dict, list)):
            if id(thing) not in found:
                found[id(thing)] = thing
                inside = thing.values() if isinstance(thing, dict) else thing
                stack += [v for v in inside if isinstance(v, (dict, list))]
        elif isinstance(thing, FunctionType):
            found.update((id(cell), cell) for cell in thing.__closure__ or ())
        elif not isinstance(thing, (type, Tensor)):
            own = getattr(thing, "__dict__", None)
            if own.__class__ is dict and owned.setdefault(id(own), thing) is thing:
                stack.append(own)
    return list(found.values()), list(owned)


def _classes(kind: type) -> list[type]:
    """A class and all that inherit from it."""
    found, k = [kind], kind
    for of in found:
        for k in of.__subclasses__():
            if k not in found:
                found.append(k)
    return found


def _hidden(externals: Iterable[External], owners: Sequence[Owner], skipped: set[int]) -> str:
    """Whose holders are among the objects that ``gc.freeze`` hides from the collector; "" where all were found."""
    if not gc.get_freeze_count():
        return ""
    seen = {id(o.array) for o in owners if o.places or _in_tuple(o.tensor, skipped)}
    lost = [e.value.shape for e in externals if id(e.array) not in seen and e.grad_of is None]
    return f"gc.freeze() hides who holds a tensor of shape {tuple(lost[0])}" if lost else ""


def _in_tuple(thing: Any, skipped: set[int]) -> bool:
    """Whether a thing is in a tuple, or one in one, that stands somewhere; for guards it is as good as in its place."""
    tuples = {id(h): h for h in gc.get_referrers(thing) if isinstance(h, tuple) and id(h) not in skipped}
    skipped = skipped | tuples.keys() | {id(tuples)}
    return bool(tuples) and (bool(_places(tuples, skipped)) or any(_in_tuple(t, skipped) for t in tuples.values()))


def _all_places(
    things: dict[int, Any], skipped: set[int], likely: list[Any], owned: list[int], ours: list[Any]
) -> list[Place]:
    """Where things, by their ids, stand: in ``likely``, and for those with more references in all objects that are.

    ``owned`` are the ids of those that are the attributes of an object, which has a reference; ``ours`` are lists,
    dicts and tuples of this package with the things in them.
    """
    likely = [holder for holder in likely if id(holder) not in skipped]
    places = [p for holder in likely for p in _standing(things, holder)]
    counts = Counter([id(p.thing) for p in places] * 2)  # the holder has it, and the place
    for holder in likely:
        if isinstance(holder, dict):
            counts.update([id(k) for k in holder if id(k) in things])
    counts.update(owned)
    counts.update(_inside(things, [*ours, likely]))
    lost = {n: things[n] for n, references in _references(things).items() if references != counts[n]}
    found = [p for p in places if id(p.thing) not in lost]
    return found + _places(lost, skipped | {id(x) for x in (things, places, found, *ours)})


def _references(things: dict[int, Any]) -> dict[int, int]:
    """How many references there are to things, beside that in the dict."""
    return {number: sys.getrefcount(thing) - _OWN for number, thing in things.items()}


_OWN = 0
_OWN = _references({0: object()})[0]


def _inside(things: dict[int, Any], ours: list[Any]) -> Iterator[int]:
    """The ids of things that containers of this package have, as often as they do."""
    seen: set[int] = set()
    stack = list(ours)
    while stack:
        holder = stack.pop()
        if id(holder) not in seen:
            seen.add(id(holder))
            for inner in gc.get_referents(holder):
                if id(inner) in things:
                    yield id(inner)
                elif issubclass(type(inner), (tuple, Owner, Form)):
                    stack.append(inner)


def _places(things: dict[int, Any], skipped: set[int]) -> list[Place]:
    """Where things, by their ids, stand among all objects; the gradient of a tensor stands in it."""
    if not things:
        return []
    found: list[Place] = []
    own = list(things.values())
    for holder in gc.get_referrers(*own):
        if id(holder) in skipped or holder is own or holder is things or isinstance(holder, (Owner, Place)):
            continue
        found += _standing(things, holder)
    return found


def _standing(things: dict[int, Any], holder: Any) -> list[Place]:
    """Where things stand in a holder."""
    if isinstance(holder, Tensor):
        grad = getattr(holder, "_grad", None)
        entries: list[tuple[Any, Any]] = [("_grad", grad)] if grad is not None else []
    elif isinstance(holder, dict):
        ours = str(holder.get("__name__", "")).startswith(__package__)  # the globals of a replay, say
        entries = [] if ours else list(holder.items())
    elif type(holder) is list:
        entries = list(enumerate(holder))
    elif type(holder) is CellType:
        entries = [(None, _content(holder))]
    else:
        attributes = None if isinstance(holder, type) else getattr(holder, "__dict__", None)
        entries = list(attributes.items()) if attributes.__class__ is dict else []
    return [Place(holder, k, v) for k, v in entries if id(v) in things and v is things[id(v)]]
