"""Saved values that get out of the way: what nodes keep of some memory is taken back, and made again in backward."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any

from flambeau.core.graph import Edge, Leaf, place_of
from flambeau.core.tape.compile import Packed
from flambeau.core.tensor import Tensor, blank

#: Gives the tensor that takes the place of the one whose memory was given up.
Again = Callable[[], Tensor]


class _View:
    """How a saved value lies in a tensor's memory."""

    def __init__(self, again: Again, array: Any, key: Any, whole: bool):
        self.again, self.key, self.whole = again, key, whole
        if not whole:
            t = blank()
            t._array, t._key, t._box, t._node = array, key, None, None
            lay = t.layout_
            self.lay = tuple(lay.shape), tuple(lay.strides), lay.offset

    def open(self) -> Tensor:
        found = self.again()
        if self.whole:
            return found
        t = blank()
        t._array = self.key.backend.as_strided(found._array, *self.lay, self.key.stored)
        t._key, t._box, t._node = self.key, found._box, None
        return t


def repack(outputs: Iterable[Edge], until: Set[Any], owners: Mapping[int, tuple[Any, Again]]) -> None:
    """Take back what the nodes between ``outputs`` and ``until`` saved of some tensors' memory.

    ``owners`` has, by the id of a tensor's box, its array and a function that gives a tensor with the same values and
    layout again; backward calls it. A value that was written to since it was saved stays, and raises in backward.

    Args:
        outputs: edges of what was computed.
        until: the nodes at which to stop: those that computed the inputs.
        owners: whose memory is given up.
    """
    stack = [place_of(edge)[0] for edge in outputs if edge is not None]
    seen: set[Any] = set()
    while stack:
        node = stack.pop()
        if node.__class__ is Leaf or node in seen or node in until:
            continue
        seen.add(node)
        if node.saved.__class__ is tuple and any(_is_owned(s, owners) for s in node.saved):
            node.saved = tuple([_taken(s, owners) for s in node.saved])
        stack += [place_of(edge)[0] for edge in node.edges if edge is not None]


def _is_owned(saved: Any, owners: Mapping[int, tuple[Any, Again]]) -> bool:
    if saved.__class__ is list:
        return any(_is_owned(s, owners) for s in saved)
    return saved.__class__ is tuple and len(saved) == 5 and id(saved[2]) in owners


def _taken(saved: Any, owners: Mapping[int, tuple[Any, Again]]) -> Any:
    if not _is_owned(saved, owners):
        return saved
    if saved.__class__ is list:
        return [_taken(s, owners) for s in saved]
    array, key, box, version, edge = saved
    if box.version != version:
        return saved
    own, again = owners[id(box)]
    return Packed(_View(again, array, key, array is own), _View.open, edge)
