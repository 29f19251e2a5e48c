"""How dicts are taken apart, for packages whose own dicts are taken apart alike."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

from flambeau.utils._pytree import MappingKey

__all__ = ["_dict_flatten", "_dict_flatten_with_keys", "_dict_unflatten", "_get_node_type"]


def _get_node_type(tree: Any) -> Any:  # Any: a class, or namedtuple, which stands for all classes that it makes
    return namedtuple if isinstance(tree, tuple) and hasattr(tree, "_fields") else type(tree)


def _dict_flatten(d: dict[Any, Any]) -> tuple[list[Any], list[Any]]:
    return list(d.values()), list(d.keys())


def _dict_flatten_with_keys(d: dict[Any, Any]) -> tuple[list[tuple[Any, Any]], list[Any]]:
    values, keys = _dict_flatten(d)
    return [(MappingKey(key), value) for key, value in zip(keys, values, strict=True)], keys


def _dict_unflatten(values: list[Any], context: list[Any]) -> dict[Any, Any]:
    return dict(zip(context, values, strict=True))
