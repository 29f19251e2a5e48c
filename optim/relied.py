"""What decides which way a step goes: a step that was recorded may run again as long as that is the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def structure(optimizer: Any, *hooks: Mapping[int, Any]) -> tuple[Any, ...]:  # Any: whatever has a step
    """Equal as long as a step goes the same way: the hooks, the groups, the flags, where the state is.

    ``hooks`` are those on every optimizer.
    """
    own = optimizer.__dict__
    hooks = (*hooks, own.get("_optimizer_step_pre_hooks") or {}, own.get("_optimizer_step_post_hooks") or {})
    return (
        _Itself(own.get("state")),
        [tuple(some.items()) for some in hooks],
        _flags(own.get("defaults", {})),
        [(len(group["params"]), _flags(group)) for group in own.get("param_groups", ())],
    )


def _flags(options: Mapping[str, Any]) -> list[Any]:
    """Options that are no numbers, and the types of those that are, which a step reads anew."""
    return [v if v is None or v.__class__ in (bool, str) else v.__class__ for v in options.values()]


class _Itself:
    """Equal for one object, whatever is in it."""

    __slots__ = ("value",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, value: object):
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and self.value is other.value
