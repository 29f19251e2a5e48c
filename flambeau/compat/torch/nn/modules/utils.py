"""Numbers that stand for as many axes as a layer has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from typing import Any

__all__ = ["consume_prefix_in_state_dict_if_present"]


def _ntuple(n: int, name: str = "parse") -> Callable[[Any], tuple[Any, ...]]:  # Any: numbers, or what stands for them
    def parse(x: Any) -> tuple[Any, ...]:
        return tuple(x) if isinstance(x, Iterable) else (x,) * n

    parse.__name__ = name
    return parse


_single, _pair, _triple = _ntuple(1, "_single"), _ntuple(2, "_pair"), _ntuple(3, "_triple")
_quadruple = _ntuple(4, "_quadruple")


def _reverse_repeat_tuple(t: Sequence[Any], n: int) -> tuple[Any, ...]:  # Any: the items
    return tuple(x for x in reversed(t) for _ in range(n))


def _list_with_default(out_size: Sequence[int | None] | int, defaults: Sequence[int]) -> Any:  # Any: int or list
    if isinstance(out_size, int) or out_size is None:
        return out_size
    if len(defaults) <= len(out_size):
        raise ValueError(f"the input has {len(defaults)} axes, too few for an output of {len(out_size)}")
    return [d if size is None else size for size, d in zip(out_size, defaults[-len(out_size) :], strict=True)]


def consume_prefix_in_state_dict_if_present(state_dict: MutableMapping[str, Any], prefix: str) -> None:
    """Take ``prefix`` off every name of a state_dict that has it, in place, and off those of its metadata."""
    # Any: tensors and extra states
    for name in [n for n in state_dict if n.startswith(prefix)]:
        state_dict[name.removeprefix(prefix)] = state_dict.pop(name)
    metadata: Any = getattr(state_dict, "_metadata", None)
    if isinstance(metadata, Mapping) and isinstance(metadata, MutableMapping):
        for name in [n for n in metadata if n]:
            if name == prefix.rstrip("."):
                metadata[""] = metadata.pop(name)
            elif name.startswith(prefix):
                metadata[name.removeprefix(prefix)] = metadata.pop(name)
