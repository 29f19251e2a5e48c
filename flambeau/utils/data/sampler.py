"""Samplers: the order in which a DataLoader visits the indices of a dataset.

The random ones take one seed from their generator when an epoch starts, and a permutation from that seed,
so what the program draws meanwhile changes nothing in the order.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Generic, TypeVar

from flambeau.core import dtype as dt
from flambeau.core.exchange import host_device
from flambeau.core.from_data import as_tensor
from flambeau.core.generator import Generator, default_generator
from flambeau.core.ops.random import randint, randperm
from flambeau.core.ops.sampling import multinomial
from flambeau.core.random import random_words
from flambeau.nn.parallel import processes

T_co = TypeVar("T_co", covariant=True)

_DRAW = 1024  # how many indices a sampler with replacement draws at once


def draw_seed(generator: Generator | None) -> int:
    """A 64-bit seed from ``generator``, or from the default one."""
    source = default_generator if generator is None else generator
    low, high = random_words(*source.draw(2), 2)
    return low | high << 32


def _permutation(count: int, source: Generator) -> list[int]:
    order: list[int] = randperm(count, generator=source, device=host_device()).tolist()
    return order


class Sampler(Generic[T_co]):
    """Base class: ``__iter__`` gives indices (or lists of them), ``__len__`` how many."""

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError(f"{type(self).__name__} must define __iter__")


class SequentialSampler(Sampler[int]):
    """0, 1, 2, ... in order.

    >>> list(fb.utils.data.SequentialSampler([10, 20, 30]))
    [0, 1, 2]
    """

    def __init__(self, data_source: Sized):
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler[int]):
    """Random indices: permutations, or independent ones with ``replacement``.

    Args:
        data_source: what is indexed; only its length is used.
        replacement: draw each index from all of them.
        num_samples: how many to draw; the dataset's length if None. More than that without replacement
            takes several permutations.
        generator: where the epoch's seed comes from; the default generator if None.

    >>> sorted(RandomSampler(range(5)))
    [0, 1, 2, 3, 4]
    """

    def __init__(
        self, data_source: Sized, replacement: bool = False, num_samples: int | None = None,
        generator: Generator | None = None,
    ):  # fmt: skip
        if num_samples is not None and (type(num_samples) is not int or num_samples <= 0):
            raise ValueError(f"RandomSampler: num_samples must be a positive int, got {num_samples!r}")
        self.data_source, self.replacement, self.generator = data_source, replacement, generator
        self._num_samples = num_samples

    @property
    def num_samples(self) -> int:
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self) -> Iterator[int]:
        source = Generator().manual_seed(draw_seed(self.generator))
        draw = self._independent if self.replacement else self._permutations
        return itertools.islice(draw(source), self.num_samples)

    def _permutations(self, source: Generator) -> Iterator[int]:
        while len(self.data_source):
            yield from _permutation(len(self.data_source), source)

    def _independent(self, source: Generator) -> Iterator[int]:
        while len(self.data_source):
            yield from randint(0, len(self.data_source), (_DRAW,), generator=source, device=host_device()).tolist()

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler[int]):
    """The given indices, each once, in random order.

    >>> sorted(fb.utils.data.SubsetRandomSampler([3, 1]))
    [1, 3]
    """

    def __init__(self, indices: Sequence[int], generator: Generator | None = None):
        self.indices, self.generator = indices, generator

    def __iter__(self) -> Iterator[int]:
        source = Generator().manual_seed(draw_seed(self.generator))
        return (self.indices[i] for i in _permutation(len(self.indices), source))

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler[int]):
    """``num_samples`` indices in [0, len(weights)), each with a probability proportional to its weight.

    >>> list(fb.utils.data.WeightedRandomSampler([0.0, 1.0], 3))
    [1, 1, 1]
    """

    def __init__(
        self, weights: Sequence[float], num_samples: int, replacement: bool = True, generator: Generator | None = None
    ):
        if type(num_samples) is not int or num_samples <= 0:
            raise ValueError(f"WeightedRandomSampler: num_samples must be a positive int, got {num_samples!r}")
        self.weights = as_tensor(weights, dtype=dt.float64, device=host_device())
        if self.weights.ndim != 1:
            raise ValueError(f"WeightedRandomSampler: weights must be 1-d, got shape {tuple(self.weights.shape)}")
        self.num_samples, self.replacement, self.generator = num_samples, replacement, generator

    def __iter__(self) -> Iterator[int]:
        source = Generator().manual_seed(draw_seed(self.generator))
        return iter(multinomial(self.weights, self.num_samples, self.replacement, generator=source).tolist())

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler[list[int]]):
    """Lists of ``batch_size`` consecutive indices of another sampler; ``drop_last`` drops a shorter last one.

    >>> list(BatchSampler(SequentialSampler(range(5)), batch_size=2, drop_last=False))
    [[0, 1], [2, 3], [4]]
    """

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool):
        if type(batch_size) is not int or batch_size <= 0:
            raise ValueError(f"BatchSampler: batch_size must be a positive int, got {batch_size!r}")
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, bool(drop_last)

    def __iter__(self) -> Iterator[list[int]]:
        return self._batches(iter(self.sampler))

    def _batches(self, indices: Iterator[int]) -> Iterator[list[int]]:
        while batch := list(itertools.islice(indices, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch

    def __len__(self) -> int:
        count = len(self.sampler)  # type: ignore[arg-type]
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)


class DistributedSampler(Sampler[int]):
    """The share of one process, ``rank`` of ``num_replicas``: every num_replicas-th index of one order.

    Both are those of the process group where they are not given.
    All shares have one length: indices are repeated from the start to fill them up, or with ``drop_last``
    the tail is left out. With ``shuffle``, call :meth:`set_epoch` before each epoch, or all have one order.

    >>> [list(DistributedSampler(range(5), 2, rank, shuffle=False)) for rank in (0, 1)]
    [[0, 2, 4], [1, 3, 0]]
    """

    def __init__(
        self, dataset: Sized, num_replicas: int | None = None, rank: int | None = None, shuffle: bool = True,
        seed: int = 0, drop_last: bool = False,
    ):  # fmt: skip
        if num_replicas is None or rank is None:
            if not processes.available():
                raise ValueError(
                    "DistributedSampler: num_replicas and rank must be given: this process belongs to no group; call "
                    "flambeau.distributed.init_process_group() first"
                )
            group = processes.collectives("DistributedSampler")
            num_replicas = group.get_world_size() if num_replicas is None else num_replicas
            rank = group.get_rank() if rank is None else rank
        if not 0 <= rank < num_replicas:
            raise ValueError(f"DistributedSampler: rank must be in [0, {num_replicas}), got {rank}")
        self.dataset, self.num_replicas, self.rank = dataset, num_replicas, rank
        self.shuffle, self.seed, self.drop_last, self.epoch = shuffle, seed, drop_last, 0

    def __len__(self) -> int:
        count = len(self.dataset)
        return count // self.num_replicas if self.drop_last else math.ceil(count / self.num_replicas)

    @property
    def num_samples(self) -> int:
        return len(self)

    @property
    def total_size(self) -> int:
        return len(self) * self.num_replicas

    def __iter__(self) -> Iterator[int]:
        count = len(self.dataset)
        order: Sequence[int]
        if self.shuffle:
            source = Generator().manual_seed(self.seed + self.epoch)
            order = _permutation(count, source)
        else:
            order = range(count)
        places = range(self.rank, self.total_size, self.num_replicas)
        return (order[place % count] for place in places)

    def set_epoch(self, epoch: int) -> None:
        """Give the next iteration the order of this epoch, the same in all processes."""
        self.epoch = epoch
