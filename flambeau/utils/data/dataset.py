"""Datasets: what answers ``dataset[i]`` and ``len(dataset)``, and what can only be iterated."""

from __future__ import annotations

import bisect
import itertools
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from flambeau.core.blame import checking, explain_functions, users_level
from flambeau.core.exchange import host_device
from flambeau.core.generator import Generator
from flambeau.core.ops.random import randperm
from flambeau.core.tensor import Tensor

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Samples(Protocol[T_co]):
    """What has samples by index and knows how many: a dataset with a length, a list, a range."""

    def __getitem__(self, index: int, /) -> T_co: ...
    def __len__(self) -> int: ...


class Dataset(Generic[T_co]):
    """Samples by index. Subclasses write ``__getitem__``, and ``__len__`` for samplers that need it.

    A subclass may also write ``__getitems__(indices) -> list of samples`` to fetch a batch at once.

    >>> class Squares(fb.utils.data.Dataset):
    ...     def __len__(self):
    ...         return 3
    ...     def __getitem__(self, i):
    ...         return i * i
    >>> list(fb.utils.data.DataLoader(Squares(), batch_size=3))
    [tensor([0, 1, 4])]
    """

    def __getitem__(self, index: int) -> T_co:
        raise NotImplementedError(f"{type(self).__name__} must define __getitem__")

    def __add__(self, other: Dataset[T_co]) -> ConcatDataset[T_co]:
        return ConcatDataset([self, other])  # type: ignore[list-item]  # TypeError where a length is missing


class IterableDataset(Dataset[T_co], Iterable[T_co]):
    """Samples in sequence, such as a stream. Subclasses write ``__iter__``.

    With several workers each iterates a copy of its own: use :func:`get_worker_info` in ``__iter__`` to
    give each a part.

    >>> class Count(fb.utils.data.IterableDataset):
    ...     def __iter__(self):
    ...         return iter(range(3))
    >>> list(fb.utils.data.DataLoader(Count(), batch_size=3))
    [tensor([0, 1, 2])]
    """

    def __add__(self, other: Dataset[T_co]) -> ChainDataset[T_co]:  # type: ignore[override]
        return ChainDataset([self, other])


class TensorDataset(Dataset[tuple[Tensor, ...]]):
    """Sample i is the i-th row of each tensor; all have the same first size.

    >>> data = TensorDataset(fb.tensor([[1.0], [2.0]]), fb.tensor([0, 1]))
    >>> len(data), data[1]
    (2, (tensor([2.]), tensor(1)))
    """

    def __init__(self, *tensors: Tensor):
        sizes = [tuple(t.shape) for t in tensors]
        if not sizes or any(not s or s[0] != sizes[0][0] for s in sizes):
            raise ValueError(f"TensorDataset: tensors must have the same first size, got shapes {sizes}")
        self.tensors = tensors

    def __getitem__(self, index: int | slice | list[int] | Tensor) -> tuple[Tensor, ...]:
        return tuple(t[index] for t in self.tensors)

    def __len__(self) -> int:
        return len(self.tensors[0])


class StackDataset(Dataset[tuple[T, ...] | dict[str, T]]):
    """Sample i is the tuple (or, by keywords, the dict) of the i-th samples of several datasets.

    >>> fb.utils.data.StackDataset([1, 2], ["a", "b"])[1]
    (2, 'b')
    """

    def __init__(self, *args: Samples[T], **kwargs: Samples[T]):
        if bool(args) == bool(kwargs):
            raise ValueError("StackDataset: give datasets either as positional or as keyword arguments")
        self.datasets: tuple[Samples[T], ...] | dict[str, Samples[T]] = args or kwargs
        sizes = [len(d) for d in (args or kwargs.values())]
        if len(set(sizes)) != 1:
            raise ValueError(f"StackDataset: datasets must have the same length, got {sizes}")
        self._length = sizes[0]

    def __getitem__(self, index: int) -> tuple[T, ...] | dict[str, T]:
        if isinstance(self.datasets, dict):
            return {name: d[index] for name, d in self.datasets.items()}
        return tuple(d[index] for d in self.datasets)

    def __len__(self) -> int:
        return self._length


class ConcatDataset(Dataset[T_co]):
    """Several datasets one after another, as one.

    >>> len(fb.utils.data.ConcatDataset([[1, 2], [3]]))
    3
    """

    def __init__(self, datasets: Iterable[Samples[T_co]]):
        self.datasets = list(datasets)
        if not self.datasets:
            raise ValueError("ConcatDataset: datasets must not be empty")
        for d in self.datasets:
            if isinstance(d, IterableDataset):
                raise TypeError("ConcatDataset: an IterableDataset has no indices; use ChainDataset")
        self.cumulative_sizes = list(itertools.accumulate(len(d) for d in self.datasets))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: int) -> T_co:
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(f"ConcatDataset: index {index} is out of range for {len(self)} samples")
        which = bisect.bisect_right(self.cumulative_sizes, place)
        return self.datasets[which][place - (self.cumulative_sizes[which - 1] if which else 0)]


class ChainDataset(IterableDataset[T_co]):
    """Several iterable datasets one after another, as one.

    >>> class Count(fb.utils.data.IterableDataset):
    ...     def __iter__(self):
    ...         return iter(range(2))
    >>> list(fb.utils.data.ChainDataset([Count(), Count()]))
    [0, 1, 0, 1]
    """

    def __init__(self, datasets: Iterable[Dataset[T_co]]):
        self.datasets = datasets

    def __iter__(self) -> Iterator[T_co]:
        for d in self.datasets:
            if not isinstance(d, IterableDataset):
                raise TypeError(f"ChainDataset: datasets must be IterableDatasets, got {type(d).__name__}")
            yield from d

    def __len__(self) -> int:
        return sum(len(d) for d in self.datasets)  # type: ignore[arg-type, misc]  # TypeError where one has none


class Subset(Dataset[T_co]):
    """The samples of ``dataset`` at ``indices``, in that order.

    >>> fb.utils.data.Subset([10, 20, 30], [2, 0])[0]
    30
    """

    def __init__(self, dataset: Samples[T_co], indices: Sequence[int]):
        self.dataset = dataset
        self.indices = indices

    def __getitem__(self, index: int | list[int]) -> T_co:
        if isinstance(index, list):  # for datasets that take lists
            return self.dataset[[self.indices[i] for i in index]]  # type: ignore[index]
        return self.dataset[self.indices[index]]

    def __getitems__(self, indices: list[int]) -> list[T_co]:
        chosen = [self.indices[i] for i in indices]
        if hasattr(self.dataset, "__getitems__"):
            found: list[T_co] = self.dataset.__getitems__(chosen)
            return found
        return [self.dataset[i] for i in chosen]

    def __len__(self) -> int:
        return len(self.indices)


def random_split(dataset: Samples[T], lengths: Sequence[float], generator: Generator | None = None) -> list[Subset[T]]:
    """Split a dataset at random into parts that do not overlap.

    Args:
        dataset: one with a length.
        lengths: the parts' lengths, which add up to the dataset's; or fractions that add up to 1, whose
            parts are rounded down and what is left over goes to the first parts, one sample each.
        generator: draws the permutation; the default generator if None.

    >>> [len(part) for part in random_split(range(11), [0.5, 0.5], fb.Generator().manual_seed(0))]
    [6, 5]
    """
    total = len(dataset)
    sizes = _split_sizes(total, lengths)
    order = randperm(total, generator=generator, device=host_device()).tolist()
    ends = itertools.accumulate(sizes)
    return [Subset(dataset, order[end - size : end]) for end, size in zip(ends, sizes, strict=True)]


def _split_sizes(total: int, lengths: Sequence[float]) -> list[int]:
    if math.isclose(sum(lengths), 1) and sum(lengths) <= 1 + 1e-9:
        if any(not 0 <= f <= 1 for f in lengths):
            raise ValueError(f"random_split: fractions must be between 0 and 1, got {list(lengths)}")
        sizes = [math.floor(total * f) for f in lengths]
        for i in range(total - sum(sizes)):
            sizes[i % len(sizes)] += 1
        for i, size in enumerate(sizes):
            if size == 0:
                warnings.warn(f"random_split: part {i} of fraction {lengths[i]} is empty", stacklevel=users_level())
        return sizes
    if sum(lengths) != total:
        raise ValueError(
            f"random_split: lengths must add up to the dataset's length {total} (or to 1, as fractions), "
            f"got {list(lengths)}, which add up to {sum(lengths)}"
        )
    return [int(n) for n in lengths]


explain_functions(globals(), wrap=checking)
