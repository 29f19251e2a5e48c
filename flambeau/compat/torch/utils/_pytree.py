"""How dicts are taken apart, and what a node counts as, for packages that take trees apart themselves."""

from __future__ import annotations

from typing import Any

from flambeau.utils._pytree import MappingKey, _node_of

__all__ = ["_dict_flatten", "_dict_flatten_with_keys", "_dict_unflatten", "_get_node_type"]


def _dict_flatten(d: dict[Any, Any]) -> tuple[list[Any], list[Any]]:
    return list(d.values()), list(d.keys())


def _dict_flatten_with_keys(d: dict[Any, Any]) -> tuple[list[tuple[Any, Any]], list[Any]]:
    values, keys = _dict_flatten(d)
    return [(MappingKey(key), value) for key, value in zip(keys, values, strict=True)], keys


def _dict_unflatten(values: list[Any], context: list[Any]) -> dict[Any, Any]:
    return dict(zip(context, values, strict=True))


def _get_node_type(tree: Any) -> Any:
    """The key of ``SUPPORTED_NODES`` for a tree: its class; namedtuple for classes that it made."""
    node = _node_of(tree)
    return type(tree) if node is None else node.type
