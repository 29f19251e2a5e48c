"""Kinds of calls: what of a call's arguments and of the modes around it a recording is for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from numpy import ndarray

from flambeau.core import dtype as dt
from flambeau.core.box import INFERENCE
from flambeau.core.capture.holders import hooks_of
from flambeau.core.capture.trace import key_of
from flambeau.core.graph import Leaf, edge_of
from flambeau.core.keys import get_default_device
from flambeau.core.state import State
from flambeau.core.tensor import Tensor
from flambeau.core.tree import Structure, flatten

KindOfCall: TypeAlias = tuple[Any, ...]  # hashable: the structure, the modes, then a tuple for each leaf

_MODES: Final = ("grad mode", "inference mode", "autocast", "the default dtype", "the default device")
_OF_TENSOR: Final = ("device and dtype", "shape", "strides", "class", "history", "memory that arguments share")


#: What is a leaf wherever it stands, of the classes that arguments most often have.
_LEAVES: Final = frozenset({Tensor, bool, int, float, str, type(None)})
_flat: dict[tuple[int, tuple[str, ...]], Structure] = {}


def flattened(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[Any], Structure]:
    """:func:`flatten` of ``(args, kwargs)``; one structure serves all calls whose arguments are no containers."""
    leaves = [*args, *kwargs.values()]
    if not _LEAVES.issuperset(map(type, leaves)):
        return flatten((args, kwargs))
    key = len(args), tuple(kwargs)
    found = _flat.get(key)
    if found is None:
        found = _flat[key] = flatten((args, kwargs))[1]
    return leaves, found


def kind_of(leaves: Sequence[Any], structure: Structure, state: State) -> KindOfCall:
    """The kind of a call with these arguments, flattened, in a state."""
    modes = (state.grad, state.inference, state.autocast, dt.get_default_dtype(), get_default_device())
    parts: list[Any] = [structure, modes]
    memory: dict[int, int] = {}
    for i, leaf in enumerate(leaves):
        if isinstance(leaf, Tensor):
            key, array = leaf._key, leaf._array
            if key.level is not None or leaf._in_parts:
                parts.append(_Same(leaf))
                continue
            first = memory.setdefault(key.backend.storage_id(array), i) if len(leaves) > 1 else i
            if array.__class__ is ndarray:
                form = array.shape, array.strides
            else:
                layout = key.backend.layout(array)
                form = tuple(layout.shape), tuple(layout.strides)
            parts.append((key, *form, type(leaf), _link(leaf), first))
        elif leaf is None or isinstance(leaf, (bool, int, float, complex, str, bytes)):
            parts.append((type(leaf), key_of(leaf) if isinstance(leaf, (float, complex)) else leaf))
        else:
            parts.append(_Same(leaf))
    return tuple(parts)


def _link(t: Tensor) -> Any:
    link = t._node
    if link is None:
        return "inference" if t._box is INFERENCE else None
    if link.__class__ is Leaf:
        return "leaf", hooks_of(link), getattr(t, "_grad", None) is not None
    return "view" if edge_of(t) is None else "history"


class _Same:
    """An argument that is no tensor and no number: it is the same object, or another one."""

    __slots__ = ("thing",)

    def __init__(self, thing: Any):
        self.thing = thing

    def __hash__(self) -> int:
        return id(self.thing)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.thing is self.thing


def difference(old: KindOfCall, new: KindOfCall) -> str:
    """In what the first of two kinds of calls differs from the second, in words."""
    if old[0] != new[0]:
        return "the arguments are nested in another way, or are others"
    for name, a, b in zip(_MODES, old[1], new[1], strict=True):
        if a != b:
            return f"{name} is {_shown(b)} and was {_shown(a)}"
    for i, (a, b) in enumerate(zip(old[2:], new[2:], strict=True)):
        if a == b:
            continue
        if a.__class__ is tuple and b.__class__ is tuple and len(a) == len(b) == len(_OF_TENSOR):
            what, v, w = next(t for t in zip(_OF_TENSOR, a, b, strict=True) if t[1] != t[2])
            if what == "strides" and a[0].array is ndarray:  # they are numpy's, in bytes
                v, w = (tuple([s // a[0].stored.itemsize for s in strides]) for strides in (v, w))
            if what in ("shape", "strides"):
                return f"argument {i} has {what} {w} and had {v}"
            return f"argument {i} has another {what}"
        if a.__class__ is tuple and b.__class__ is tuple and len(a) == len(b) == 2:
            return f"argument {i} is {_number(b)} and was {_number(a)}"
        return f"argument {i} is another object"
    return "another kind of call"


def _number(part: tuple[Any, ...]) -> str:
    kind, value = part
    return repr(float.fromhex(value[1]) if kind is float else value)


def _shown(thing: Any) -> str:
    return f"'{thing}'" if not isinstance(thing, (bool, type(None))) else str(thing)
