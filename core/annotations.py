"""Whether a value is what an annotation says, and what an annotation says in words."""

from __future__ import annotations

import collections.abc as abc
import inspect
import itertools
import types
import typing
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import numpy as np

from flambeau.core.dtype import DType

_FREE = (Any, object, inspect.Parameter.empty)
_WRAPPERS = (typing.Final, typing.ClassVar, typing.Required, typing.NotRequired)


def _is_tensor(value: object) -> bool:
    return hasattr(value, "_key") and not isinstance(value, type)


def _is_number(value: object, kinds: tuple[type, ...]) -> bool:
    return isinstance(value, kinds) or _is_tensor(value) and not getattr(value, "shape", (1,))


def fits(value: Any, wanted: Any) -> bool:
    """Whether ``value`` may be given where ``wanted`` is asked for; True in doubt.

    >>> fits(3, int | None), fits("a", int | None), fits([1, "a"], list[int])
    (True, False, False)
    """
    if any(wanted is w for w in _FREE) or isinstance(wanted, (TypeVar, str)):
        return True
    if wanted is None or wanted is type(None):
        return value is None
    origin, inner = get_origin(wanted), get_args(wanted)
    if origin in (Union, types.UnionType):
        return any(fits(value, w) for w in inner)
    if origin is Annotated or origin in _WRAPPERS:
        return fits(value, inner[0])
    if origin is Literal:
        return any(value is w or type(value) is type(w) and value == w for w in inner)
    if origin is abc.Callable:
        return callable(value)
    if isinstance(origin, type):
        return _fits_generic(value, origin, inner)
    return _fits_class(value, wanted) if isinstance(wanted, type) else True


def _fits_class(value: Any, wanted: type) -> bool:
    if wanted is bool:
        return isinstance(value, (bool, np.bool_)) or isinstance(value, int) and value in (0, 1)
    if wanted is int:
        return _is_number(value, (int, np.integer))
    if wanted is float:
        return _is_number(value, (int, float, np.integer, np.floating))
    if wanted is complex:
        return _is_number(value, (int, float, complex, np.number))
    if wanted is DType:
        return isinstance(value, (DType, type, str, np.dtype))
    if wanted.__name__ == "Tensor" and hasattr(wanted, "_key"):
        return _is_tensor(value)
    if typing.is_typeddict(wanted):
        return isinstance(value, dict)
    if getattr(wanted, "_is_protocol", False) or wanted.__module__ == "typing":
        return True
    return isinstance(value, wanted)


def _fits_generic(value: Any, origin: type, inner: tuple[Any, ...]) -> bool:
    if origin is type:
        return isinstance(value, type)
    if origin is tuple:
        if not isinstance(value, (tuple, list)):
            return False
        if len(inner) == 2 and inner[1] is Ellipsis:
            return all(fits(v, inner[0]) for v in value)
        return len(inner) == len(value) and all(map(fits, value, inner))
    if issubclass(origin, abc.Mapping):
        return isinstance(value, origin)
    if origin in (list, abc.Sequence, abc.MutableSequence, abc.Collection, abc.Iterable):
        return _fits_sequence(value, origin, inner)
    if origin is np.ndarray:
        return isinstance(value, np.ndarray)
    return True if getattr(origin, "_is_protocol", False) else isinstance(value, origin)


def _fits_sequence(value: Any, origin: type, inner: tuple[Any, ...]) -> bool:
    if isinstance(value, (list, tuple)):
        if inner and getattr(inner[0], "__name__", "") == "Tensor" and isinstance(inner[0], type):
            return all(map(_is_tensor, value))  # lists of parameters are long
        return all(fits(v, inner[0]) for v in value) if inner else True
    if isinstance(value, (str, bytes)) or _is_tensor(value) and not getattr(value, "shape", ()):
        return False
    if not isinstance(value, abc.Collection):
        return origin is abc.Iterable and isinstance(value, abc.Iterable)
    return all(fits(v, inner[0]) for v in itertools.islice(value, 3)) if inner else True


#: The public names of classes that are defined under others.
_NAMES = {"Philox": "Generator", "DType": "dtype"}
_WORDS = {int: "an int", float: "a number", complex: "a number", bool: "a bool", str: "a str", type(None): "None"}


def in_words(wanted: Any, plural: bool = False) -> str:
    """An annotation for an error's text.

    >>> in_words(int | None), in_words(tuple[int, ...])
    ('an int or None', 'a tuple of ints')
    """
    origin, inner = get_origin(wanted), get_args(wanted)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(in_words(w, plural) for w in inner))
    if origin is Annotated or origin in _WRAPPERS:
        return in_words(inner[0], plural)
    if origin is Literal:
        return " or ".join(map(repr, inner))
    if origin is abc.Callable or wanted is abc.Callable:
        return "functions" if plural else "a function"
    if isinstance(origin, type):
        name = {"Sequence": "sequence", "Iterable": "iterable"}.get(origin.__name__, origin.__name__)
        parts = [w for w in inner if w is not Ellipsis and not isinstance(w, TypeVar)]
        of = f" of {' and '.join(dict.fromkeys(in_words(w, True) for w in parts))}" if parts and parts != [Any] else ""
        return f"{name}s{of}" if plural else f"{_article(name)} {name}{of}"
    words = _WORDS.get(wanted) if isinstance(wanted, type) else "None" if wanted is None else None
    if words is None:
        name = getattr(wanted, "__name__", str(wanted))
        name = _NAMES.get(name, name)
        words = "a tensor" if name == "Tensor" else f"{_article(name)} {name}"
    return words.split(" ", 1)[1] + "s" if plural and " " in words else words


def _article(name: str) -> str:
    return "an" if name[:1].lower() in "aeiou" else "a"
