"""Fetching a batch of a dataset, in this process or in a worker."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from flambeau.utils.data.dataset import IterableDataset


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
        if hasattr(self.dataset, "__getitems__"):
            return self.collate(_noted(lambda: self.dataset.__getitems__(task), f"dataset.__getitems__({task})"))
        return self.collate([_sample(self.dataset, index) for index in task])

    def _fetch_next(self, samples: Iterator[Any]) -> Any:
        count = self.batch_size if self.batched and self.batch_size is not None else 1
        found = list(itertools.islice(samples, count))
        if not found or (self.drop_last and len(found) < count):
            raise Exhausted
        return self.collate(found if self.batched else found[0])


def _sample(dataset: Any, index: Any) -> Any:
    return _noted(lambda: dataset[index], f"dataset[{index!r}]")


def _noted(fetch: Callable[[], Any], what: str) -> Any:
    """What ``fetch`` returns; an error says in a note what was fetched."""
    try:
        return fetch()
    except StopIteration as error:  # would end the epoch without a word
        raise RuntimeError(f"{what} raised StopIteration") from error
    except Exception as error:
        error.add_note(f"raised by {what}")
        raise


def tasks(sampler: Iterable[Any] | None) -> Iterator[Any]:
    """What the fetchers are asked for, in order: the sampler's indices, or None without end."""
    return itertools.repeat(None) if sampler is None else iter(sampler)
