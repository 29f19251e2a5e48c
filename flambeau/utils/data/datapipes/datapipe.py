"""The bases of datapipes and the decorator that makes one a method of all."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, Self, TypeVar

from flambeau.utils.data.dataset import Dataset, IterableDataset

__all__ = ["DFIterDataPipe", "DataChunk", "IterDataPipe", "MapDataPipe", "functional_datapipe"]

C = TypeVar("C", bound=type)


class _Chained:
    """Datapipes that are methods: ``pipe.batch(2)`` is ``Batcher(pipe, 2)``."""

    functions: ClassVar[dict[str, Callable[..., Any]]] = {}

    def __getattr__(self, name: str) -> Any:  # Any: a datapipe of a class that was registered
        if name in self.functions:
            return functools.partial(self.functions[name], self)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)

    @classmethod
    def register_function(cls, function_name: str, function: Callable[..., Any]) -> None:
        """Make ``function`` a method of every datapipe of this kind."""
        cls.functions[function_name] = function

    @classmethod
    def register_datapipe_as_function(
        cls, function_name: str, cls_to_register: Callable[..., Any], enable_df_api_tracing: bool = False
    ) -> None:
        """Make a class of datapipes a method of every datapipe of this kind; ValueError for a name that is taken."""
        if function_name in cls.functions:
            raise ValueError(
                f"functional_datapipe: {function_name} is the name of {cls.functions[function_name]} already"
            )
        cls.functions[function_name] = cls_to_register


class IterDataPipe(_Chained, IterableDataset[Any]):
    """A datapipe that is read one item after the other."""

    functions: ClassVar[dict[str, Callable[..., Any]]] = {}

    def reset(self) -> Self:
        """Begin anew."""
        return self


class MapDataPipe(_Chained, Dataset[Any]):
    """A datapipe that is read by index."""

    functions: ClassVar[dict[str, Callable[..., Any]]] = {}


class DFIterDataPipe(IterDataPipe):
    """A datapipe of data frames; it is read as every other."""


class DataChunk(list[Any]):
    """Items that go together: a batch before it is collated.

    >>> DataChunk([1, 2]).as_str()
    '[1, 2]'
    """

    def __init__(self, items: Iterable[Any]):
        super().__init__(items)
        self.items = self

    def as_str(self, indent: str = "") -> str:
        """The items as text."""
        return f"{indent}[{', '.join(str(i) for i in self)}]"

    def raw_iterator(self) -> Iterator[Any]:
        """The items, one after the other."""
        return iter(self)


class functional_datapipe:
    """A decorator: the class is also the method ``name`` of every datapipe of its kind."""

    def __init__(self, name: str, enable_df_api_tracing: bool = False):
        self.name = name

    def __call__(self, cls: C) -> C:
        if not issubclass(cls, (IterDataPipe, MapDataPipe)):
            raise TypeError(f"functional_datapipe: expected an IterDataPipe or a MapDataPipe, got {cls.__name__}")
        cls.register_datapipe_as_function(self.name, cls)
        return cls
