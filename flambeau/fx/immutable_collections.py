"""Lists and dicts that stand in the arguments of nodes, which users of the graph must not change in place."""

from __future__ import annotations

from typing import Any, NoReturn

__all__ = ["immutable_dict", "immutable_list"]


def _refusal(cls: type, *names: str) -> None:
    def refuse(self: object, *args: object, **kwargs: object) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__!r} object does not support mutation. To change the args or kwargs of a node, make a "
            "new list or dict and assign it to the node"
        )

    for name in names:
        setattr(cls, name, refuse)


class immutable_list(list[Any]):
    """A list that cannot be changed, and can be hashed.

    >>> hash(fb.fx.immutable_collections.immutable_list([1])) == hash((1,))
    True
    """

    def __hash__(self) -> int:  # type: ignore[override]  # a list has none
        return hash(tuple(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return immutable_list, (tuple(self),)


class immutable_dict(dict[Any, Any]):
    """A dict that cannot be changed, and can be hashed."""

    def __hash__(self) -> int:  # type: ignore[override]  # a dict has none
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        return immutable_dict, (tuple(self.items()),)


_refusal(
    immutable_list, "__delitem__", "__iadd__", "__imul__", "__setitem__", "append", "clear", "extend", "insert", "pop",
    "remove", "reverse", "sort",
)  # fmt: skip
_refusal(
    immutable_dict, "__delitem__", "__ior__", "__setitem__", "clear", "pop", "popitem", "setdefault", "update",
)  # fmt: skip
