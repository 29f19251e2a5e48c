"""Datapipes that are read one item after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from flambeau.utils.data.datapipes.datapipe import IterDataPipe, functional_datapipe

__all__ = ["Batcher", "Filter", "IterableWrapper", "Mapper"]


class IterableWrapper(IterDataPipe):
    """An iterable as a datapipe.

    >>> from flambeau.utils.data.datapipes.iter import IterableWrapper
    >>> list(IterableWrapper(range(5)).map(str).batch(2))
    [['0', '1'], ['2', '3'], ['4']]
    """

    def __init__(self, iterable: Iterable[Any], deepcopy: bool = True):
        self.iterable = iterable

    def __iter__(self) -> Iterator[Any]:
        return iter(self.iterable)

    def __len__(self) -> int:
        return len(self.iterable)  # type: ignore[arg-type]  # TypeError where it has none


@functional_datapipe("map")
class Mapper(IterDataPipe):
    """A function of each item."""

    def __init__(self, datapipe: IterDataPipe, fn: Callable[..., Any], input_col: Any = None, output_col: Any = None):
        if input_col is not None or output_col is not None:
            raise NotImplementedError("Mapper: columns are not supported; pick them in the function")
        self.datapipe, self.fn = datapipe, fn

    def __iter__(self) -> Iterator[Any]:
        return map(self.fn, self.datapipe)

    def __len__(self) -> int:
        return len(self.datapipe)


@functional_datapipe("filter")
class Filter(IterDataPipe):
    """The items of which a function is true."""

    def __init__(self, datapipe: IterDataPipe, filter_fn: Callable[..., Any]):
        self.datapipe, self.filter_fn = datapipe, filter_fn

    def __iter__(self) -> Iterator[Any]:
        return filter(self.filter_fn, self.datapipe)


@functional_datapipe("batch")
class Batcher(IterDataPipe):
    """Lists of ``batch_size`` items, the last one shorter unless ``drop_last``."""

    def __init__(self, datapipe: IterDataPipe, batch_size: int, drop_last: bool = False, wrapper_class: type = list):
        if batch_size < 1:
            raise ValueError(f"Batcher: batch_size must be at least 1, got {batch_size}")
        self.datapipe, self.batch_size, self.drop_last = datapipe, batch_size, drop_last
        self.wrapper_class = wrapper_class

    def __iter__(self) -> Iterator[Any]:
        batch = []
        for item in self.datapipe:
            batch.append(item)
            if len(batch) == self.batch_size:
                yield self.wrapper_class(batch)
                batch = []
        if batch and not self.drop_last:
            yield self.wrapper_class(batch)

    def __len__(self) -> int:
        full, rest = divmod(len(self.datapipe), self.batch_size)
        return full + bool(rest and not self.drop_last)
