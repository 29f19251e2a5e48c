"""Nested states as a flat dict by path, and Python values as JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any, Final, Protocol, runtime_checkable

from flambeau.core.tensor import Tensor
from flambeau.utils.safetensors import CheckpointError
from flambeau.utils.strict_json import shortened


@runtime_checkable
class Stateful(Protocol):
    """What gives its state, and takes it back: a module, an optimizer, a class of your own."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...


class Leaf:
    """A tensor or a value of a state, its path, and how to put another value in its place."""

    def __init__(self, path: str, value: Any, put: Callable[[Any], None]):
        self.path, self.value, self.put = path, value, put


def leaves(state: Mapping[Any, Any]) -> dict[str, Leaf]:
    """The tensors and values of nested dicts and lists by path, such as ``"model.layers.0.weight"``.

    Raises:
        ValueError: two have the same path, as ``{"a.b": 1, "a": {"b": 2}}``.
    """
    found: dict[str, Leaf] = {}
    for leaf in _walk(state, ""):
        if leaf.path in found:
            raise ValueError(f"checkpoint: two entries have the path {leaf.path!r}; rename one of the keys")
        found[leaf.path] = leaf
    return found


def _walk(value: Any, path: str) -> Iterator[Leaf]:
    members = value.items() if isinstance(value, Mapping) else enumerate(value)
    for key, member in members:
        below = f"{path}.{key}" if path else str(key)
        if isinstance(member, Mapping) and member or isinstance(member, list) and _has_tensors(member):
            yield from _walk(member, below)
        else:
            yield Leaf(below, member, _putter(value, key, below))


def _has_tensors(value: Any) -> bool:
    members = value.values() if isinstance(value, Mapping) else value
    return any(isinstance(v, Tensor) or isinstance(v, (Mapping, list, tuple)) and _has_tensors(v) for v in members)


def _putter(owner: Any, key: Any, path: str) -> Callable[[Any], None]:
    def put(value: Any) -> None:
        if not isinstance(owner, (MutableMapping, list)):
            raise CheckpointError(f"checkpoint: {path!r} stands in a {type(owner).__name__}, which cannot be changed")
        owner[key] = value

    return put


_SPECIAL: Final = "$"


def encode(value: Any, path: str) -> Any:
    """A Python value as JSON; TypeError for what is none of None, bool, int, float, str, list, tuple and dict."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {_SPECIAL: "float", "is": repr(value)}
    if isinstance(value, (list, tuple)):
        members = [encode(v, path) for v in value]
        return members if isinstance(value, list) else {_SPECIAL: "tuple", "is": members}
    if isinstance(value, Mapping):
        return {_SPECIAL: "dict", "is": [[encode(k, path), encode(v, path)] for k, v in value.items()]}
    raise TypeError(
        f"checkpoint: {path!r} is a {type(value).__name__}; tensors, numbers, strings, None, lists, tuples and dicts "
        "can be saved"
    )


def decode(value: Any) -> Any:
    """What :func:`encode` made JSON of; ValueError for anything else."""
    if isinstance(value, list):
        return [decode(v) for v in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {_SPECIAL, "is"}:
        kind, inner = value[_SPECIAL], value["is"]
        if kind == "float" and inner in ("nan", "inf", "-inf"):
            return float(inner)
        if kind == "tuple" and isinstance(inner, list):
            return tuple(decode(v) for v in inner)
        if kind == "dict" and isinstance(inner, list) and all(isinstance(p, list) and len(p) == 2 for p in inner):
            return {decode(k): decode(v) for k, v in inner}
    raise ValueError(f"a saved value is damaged: {shortened(value)}")
