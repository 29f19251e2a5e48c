"""The steps from a nesting to one of its leaves, and which tuples have names for their members."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from flambeau.core.results import is_structured


@dataclass(frozen=True)
class MappingKey:
    """A step into a mapping."""

    key: Any

    def __str__(self) -> str:
        return f"[{self.key!r}]"

    def get(self, mapping: Any) -> Any:  # Any: whatever stands there
        """The member of ``mapping``."""
        return mapping[self.key]


@dataclass(frozen=True)
class SequenceKey:
    """A step into a sequence."""

    idx: int

    def __str__(self) -> str:
        return f"[{self.idx!r}]"

    def get(self, sequence: Any) -> Any:  # Any: whatever stands there
        """The member of ``sequence``."""
        return sequence[self.idx]


@dataclass(frozen=True)
class GetAttrKey:
    """A step to an attribute."""

    name: str

    def __str__(self) -> str:
        return f".{self.name}"

    def get(self, obj: Any) -> Any:  # Any: whatever stands there
        """The attribute of ``obj``."""
        return getattr(obj, self.name)


KeyEntry: TypeAlias = MappingKey | SequenceKey | GetAttrKey
KeyPath: TypeAlias = tuple[KeyEntry, ...]


def keystr(kp: KeyPath) -> str:
    """A path as one writes it.

    >>> keystr((MappingKey("a"), SequenceKey(0), GetAttrKey("x")))
    "['a'][0].x"
    """
    return "".join(map(str, kp))


def key_get(obj: Any, kp: KeyPath) -> Any:  # Any: whatever stands there
    """What stands at the end of a path.

    >>> key_get({"a": [5]}, (MappingKey("a"), SequenceKey(0)))
    5
    """
    for key in kp:
        obj = key.get(obj)
    return obj


def is_namedtuple_class(cls: type) -> bool:
    """Whether ``cls`` is a class of named tuples, those that ops return aside.

    >>> import collections
    >>> is_namedtuple_class(collections.namedtuple("P", "x")), is_namedtuple_class(tuple)
    (True, False)
    """
    return (
        isinstance(cls, type)
        and issubclass(cls, tuple)
        and isinstance(getattr(cls, "_fields", None), tuple)
        and all(type(f) is str for f in getattr(cls, "_fields", ()))
        and not is_structured(cls)
    )


def is_namedtuple_instance(obj: object) -> bool:
    """Whether ``obj`` is a named tuple.

    >>> is_namedtuple_instance((1, 2))
    False
    """
    return is_namedtuple_class(type(obj))


def is_namedtuple(obj: object | type) -> bool:
    """Whether ``obj`` is a named tuple, or a class of them.

    >>> is_namedtuple((1, 2))
    False
    """
    return is_namedtuple_class(obj if isinstance(obj, type) else type(obj))


def is_structseq_class(cls: type) -> bool:
    """Whether ``cls`` is a tuple with named members as ops and C code return: ``max(dim)``'s, ``time.struct_time``.

    >>> import time
    >>> is_structseq_class(time.struct_time), is_structseq_class(type(fb.ones(2, 2).max(0)))
    (True, True)
    """
    if not (isinstance(cls, type) and issubclass(cls, tuple)):
        return False
    names = ("n_fields", "n_sequence_fields", "n_unnamed_fields")
    return is_structured(cls) or all(isinstance(getattr(cls, n, None), int) for n in names)


def is_structseq_instance(obj: object) -> bool:
    """Whether ``obj`` is such a tuple.

    >>> is_structseq_instance(fb.ones(2, 2).max(0))
    True
    """
    return is_structseq_class(type(obj))


def is_structseq(obj: object | type) -> bool:
    """Whether ``obj`` is such a tuple, or a class of them.

    >>> is_structseq((1, 2))
    False
    """
    return is_structseq_class(obj if isinstance(obj, type) else type(obj))
