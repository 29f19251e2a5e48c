"""Types and arguments of calls in graphs."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

from flambeau.core.tensor import Tensor
from flambeau.fx.node import ArgsKwargsPair

__all__ = ["ArgsKwargsPair", "check_for_mutable_operation", "create_type_hint", "type_matches"]


def create_type_hint(x: Any) -> Any:  # Any: types, or lists and tuples of them
    """Of a list or tuple of types the type of such a sequence: of the widest among them, or of anything."""
    if not isinstance(x, (list, tuple)):
        return x
    widest = [t for t in x if isinstance(t, type) and all(isinstance(o, type) and issubclass(o, t) for o in x)]
    element = widest[0] if widest else Any
    return list[element] if isinstance(x, list) else tuple[element, ...]  # type: ignore[valid-type]


def type_matches(signature_type: Any, argument_type: Any) -> bool:  # Any: annotations
    """Whether an argument of a type may be given where a signature has another.

    An int is taken for a list of ints, and a tuple of one type for a list of it.
    """
    if signature_type is argument_type:
        return True
    origin, parts = typing.get_origin(signature_type), typing.get_args(signature_type)
    if origin in (typing.Union, types.UnionType):
        return any(type_matches(part, argument_type) for part in parts)
    if origin is list:
        return _fits_list(parts[0], argument_type)
    if inspect.isclass(argument_type) and inspect.isclass(signature_type):
        return issubclass(argument_type, signature_type)
    return bool(signature_type == argument_type)


def _fits_list(element: Any, argument_type: Any) -> bool:
    if argument_type is int:
        return element is int
    if typing.get_origin(argument_type) not in (list, tuple) or not inspect.isclass(element):
        return False
    return all(p is ... or inspect.isclass(p) and issubclass(p, element) for p in typing.get_args(argument_type))


def check_for_mutable_operation(target: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """RuntimeError for a function of flambeau that writes to its argument, one whose name ends in ``_``."""
    name = getattr(target, "__name__", "")
    ours = getattr(target, "__module__", "").startswith(("flambeau", "torch"))
    if ours and name.endswith("_") and not name.endswith("__") and any(isinstance(a, Tensor) for a in args):
        raise RuntimeError(f"Tried to trace mutable operation {name}. FX only supports functional code")
