"""Fetching a batch of a dataset, in this process or in a worker."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from flambeau.core.tensor import Tensor
from flambeau.utils.data.collate import collated, default_collate, rows
from flambeau.utils.data.dataset import IterableDataset, Subset, TensorDataset


class Exhausted(Exception):
    """The iterable dataset has no more batches."""


class Recipe(NamedTuple):
    """How batches of a dataset are made; travels to the workers."""

    dataset: Any
    collate: Callable[[Any], Any]
    batch_size: int | None  # of an iterable dataset
    batched: bool
    drop_last: bool

    @property
    def iterable(self) -> bool:
        return isinstance(self.dataset, IterableDataset)

    def fetcher(self) -> Callable[[Any], Any]:
        """``fetch(task)``: the batch of a task, which is what the sampler gave (None for an iterable)."""
        if not self.iterable:
            return self._fetch_indices
        samples = iter(self.dataset)
        return lambda task: self._fetch_next(samples)

    def _fetch_indices(self, task: Any) -> Any:
        if not self.batched:
            return self.collate(_sample(self.dataset, task))
        found = _at_once(self.dataset, task) if self.collate is default_collate else None
        if found is not None:
            return found
        if hasattr(self.dataset, "__getitems__"):
            return self.collate(_noted(lambda: self.dataset.__getitems__(task), f"dataset.__getitems__({task})"))
        samples = _samples(self.dataset, task)
        return collated(samples) if self.collate is default_collate else self.collate(samples)

    def _fetch_next(self, samples: Iterator[Any]) -> Any:
        count = self.batch_size if self.batched and self.batch_size is not None else 1
        found = list(itertools.islice(samples, count))
        if not found or (self.drop_last and len(found) < count):
            raise Exhausted
        return self.collate(found if self.batched else found[0])


def _at_once(dataset: Any, indices: Any) -> list[Tensor] | None:
    """A collated batch of a TensorDataset, or of a part of one, by one op a tensor; None of any other."""
    while type(dataset) is Subset:
        try:
            indices = [dataset.indices[i] for i in indices]
        except Exception:  # the samples one by one say which index it was
            return None
        dataset = dataset.dataset
    kind = type(dataset)
    if getattr(kind, "__getitem__", None) is not TensorDataset.__getitem__ or hasattr(dataset, "__getitems__"):
        return None
    return rows(dataset.tensors, indices) if isinstance(indices, list) else None


def _samples(dataset: Any, indices: Iterable[Any]) -> list[Any]:
    found: list[Any] = []
    wanted = list(indices)
    try:
        for index in wanted:
            found.append(dataset[index])
    except Exception as error:
        _explain(error, f"dataset[{wanted[len(found)]!r}]")
        raise
    return found


def _sample(dataset: Any, index: Any) -> Any:
    return _noted(lambda: dataset[index], f"dataset[{index!r}]")


def _noted(fetch: Callable[[], Any], what: str) -> Any:
    """What ``fetch`` returns; an error says in a note what was fetched."""
    try:
        return fetch()
    except Exception as error:
        _explain(error, what)
        raise


def _explain(error: Exception, what: str) -> None:
    if isinstance(error, StopIteration):  # would end the epoch without a word
        raise RuntimeError(f"{what} raised StopIteration") from error
    error.add_note(f"raised by {what}")


def tasks(sampler: Iterable[Any] | None) -> Iterator[Any]:
    """What the fetchers are asked for, in order: the sampler's indices, or None without end."""
    return itertools.repeat(None) if sampler is None else iter(sampler)
