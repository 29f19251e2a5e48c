"""The DataLoader: batches of a dataset, in this process or from workers, in an order that depends on neither."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from multiprocessing.context import BaseContext
from typing import Any, Generic, TypedDict, TypeVar, Unpack, cast, overload

from flambeau.core.generator import Generator, default_generator
from flambeau.core.tensor import Tensor
from flambeau.utils.data.collate import default_collate, default_convert, pinner
from flambeau.utils.data.dataset import Dataset, IterableDataset, Samples
from flambeau.utils.data.fetch import Exhausted, Recipe, tasks
from flambeau.utils.data.pool import Pool, start_context
from flambeau.utils.data.sampler import BatchSampler, RandomSampler, SequentialSampler, draw_seed
from flambeau.utils.strict_json import shortened

T = TypeVar("T")
B = TypeVar("B")
#: What samplers and workers have been made from.
_FIXED = frozenset({"batch_sampler", "batch_size", "dataset", "drop_last", "persistent_workers", "sampler"})


class _Others(TypedDict, total=False):
    """The arguments that change nothing in the type of a batch."""

    sampler: Iterable[Any] | None
    batch_sampler: Iterable[list[Any]] | None
    num_workers: int
    pin_memory: bool
    drop_last: bool
    timeout: float
    worker_init_fn: Callable[[int], None] | None
    multiprocessing_context: str | BaseContext | None
    generator: Generator | None
    prefetch_factor: int | None
    persistent_workers: bool
    pin_memory_device: str
    in_order: bool


class _DatasetKind:
    """Whether a dataset is read by index or one sample after the other."""

    Map, Iterable = 0, 1


class DataLoader(Generic[B]):
    """Iterates a dataset in batches, of type B.

    The order and the batches are the same for any number of workers. Workers are separate processes, started
    by forkserver or spawn: the dataset and the functions given here must be picklable, and the program's
    main module guarded by ``if __name__ == "__main__":``; without that guard workers are forked, where no device's
    driver is at work, and nothing needs to be picklable. Random numbers drawn in a worker (flambeau's,
    Python's and numpy's) depend on the batch and the epoch, not on which worker fetches it.

    Args:
        dataset: a Dataset, anything with ``__getitem__`` and ``__len__``, or an IterableDataset.
        batch_size: samples in a batch; None for single samples, not collated.
        shuffle: a new random order each epoch.
        sampler: the order of the indices instead of ``shuffle``.
        batch_sampler: gives lists of indices, instead of the arguments above and ``drop_last``.
        num_workers: processes that fetch batches; 0 fetches in this one.
        collate_fn: list of samples to batch; :func:`default_collate` if None.
        pin_memory: put tensors into pinned host memory, where the accelerator has that.
        drop_last: leave out a last batch that is not full.
        timeout: seconds to wait for a worker's batch before it is an error; 0 waits for ever.
        worker_init_fn: called with the worker's number when it starts, after it was seeded.
        multiprocessing_context: "forkserver", "spawn", "fork" or a context of multiprocessing.
        generator: where the epochs' seeds come from; the default generator if None.
        prefetch_factor: batches under way in each worker (2).
        persistent_workers: keep the workers from one epoch to the next.
        pin_memory_device: accepted for PyTorch's sake; memory is pinned for the accelerator.
        in_order: False gives the batches of several workers as they come.

    An error in a worker is raised here as what it was, with notes that tell the index and the traceback there.

    >>> data = fb.utils.data.TensorDataset(fb.arange(5))
    >>> [batch.tolist() for batch, in DataLoader(data, batch_size=2)]
    [[0, 1], [2, 3], [4]]
    """

    @overload
    def __init__(
        self: DataLoader[list[Tensor]], dataset: Dataset[tuple[Tensor, ...]], batch_size: int = 1,
        shuffle: bool | None = None, *, collate_fn: None = None, **others: Unpack[_Others],
    ): ...  # fmt: skip
    @overload
    def __init__(
        self: DataLoader[Tensor], dataset: Dataset[Tensor | float] | Sequence[Tensor | float], batch_size: int = 1,
        shuffle: bool | None = None, *, collate_fn: None = None, **others: Unpack[_Others],
    ): ...  # fmt: skip
    @overload
    def __init__(
        self: DataLoader[B], dataset: Dataset[T] | Samples[T], batch_size: int = 1, shuffle: bool | None = None, *,
        collate_fn: Callable[[list[T]], B], **others: Unpack[_Others],
    ): ...  # fmt: skip
    @overload
    def __init__(
        self: DataLoader[Any], dataset: Dataset[Any] | Samples[Any], batch_size: int | None = 1,
        shuffle: bool | None = None, sampler: Iterable[Any] | None = None,
        batch_sampler: Iterable[list[Any]] | None = None, num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None, pin_memory: bool = False, drop_last: bool = False,
        timeout: float = 0, worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: str | BaseContext | None = None, generator: Generator | None = None, *,
        prefetch_factor: int | None = None, persistent_workers: bool = False, pin_memory_device: str = "",
        in_order: bool = True,
    ): ...  # fmt: skip
    def __init__(
        self, dataset: Dataset[Any] | Samples[Any], batch_size: int | None = 1, shuffle: bool | None = None,
        sampler: Iterable[Any] | None = None, batch_sampler: Iterable[list[Any]] | None = None, num_workers: int = 0,
        collate_fn: Callable[[Any], B] | None = None, pin_memory: bool = False, drop_last: bool = False,
        timeout: float = 0, worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: str | BaseContext | None = None, generator: Generator | None = None, *,
        prefetch_factor: int | None = None, persistent_workers: bool = False, pin_memory_device: str = "",
        in_order: bool = True,
    ):  # fmt: skip
        iterable = isinstance(dataset, IterableDataset)
        if not iterable and not hasattr(dataset, "__getitem__"):
            raise TypeError(
                f"DataLoader: dataset must have __getitem__ and __len__, or be an IterableDataset; got "
                f"{type(dataset).__name__}"
            )
        _check_workers(num_workers, timeout, prefetch_factor, persistent_workers)
        _check_order(iterable, batch_size, shuffle, sampler, batch_sampler, drop_last)
        self.dataset: Any = dataset
        self.num_workers, self.timeout = num_workers, timeout
        self.generator, self.worker_init_fn, self.pin_memory = generator, worker_init_fn, pin_memory
        self.prefetch_factor = 2 if prefetch_factor is None and num_workers else prefetch_factor
        self.persistent_workers = persistent_workers
        self.pin_memory_device, self.in_order = pin_memory_device, in_order
        self._context = start_context(multiprocessing_context) if num_workers else None
        self.batch_size, self.drop_last = (None, False) if batch_sampler is not None else (batch_size, drop_last)
        batched = batch_size is not None or batch_sampler is not None
        if sampler is None and not iterable:
            source = cast(Sized, dataset)
            sampler = RandomSampler(source, generator=generator) if shuffle else SequentialSampler(source)
        if batch_sampler is None and batch_size is not None and sampler is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.sampler, self.batch_sampler = sampler, batch_sampler
        self.collate_fn = collate_fn or (default_collate if batched else default_convert)
        self._recipe = Recipe(dataset, self.collate_fn, self.batch_size, batched, drop_last)
        self._pool: Pool | None = None
        self._progress: _Progress | None = None
        self._resume: Mapping[str, Any] | None = None

    def __setattr__(self, name: str, value: object) -> None:
        if name in _FIXED and "_recipe" in self.__dict__:
            raise ValueError(f"DataLoader: {name} cannot be changed after the loader was made; make another")
        super().__setattr__(name, value)

    @property
    def _order(self) -> Iterable[Any] | None:
        return self.sampler if self.batch_sampler is None else self.batch_sampler

    def __iter__(self) -> Iterator[B]:
        resume, self._resume = self._resume, None
        if resume is None:
            return self._start(_Progress(self._generator_states()))
        default = default_generator.state
        try:
            self._set_generator_states(resume["generators"])
            return self._start(_Progress(resume["generators"], resume["batches"]))
        finally:
            default_generator.state = default  # the program's own to restore

    def _start(self, progress: _Progress) -> Iterator[B]:
        """An iterator over the epoch, from ``progress`` on."""
        self._progress = progress
        seed = draw_seed(self.generator)
        wanted = tasks(self._order)
        skipped = 0 if self._recipe.iterable else progress.given
        _skip(wanted, skipped)
        pool = self._workers() if self.num_workers else None
        if pool is None:
            batches: Iterator[Any] = _InThisProcess(self._recipe, wanted)
        else:
            batches = pool.epoch(enumerate(wanted, skipped), seed, self.prefetch_factor or 2, self.in_order)
        _skip(batches, progress.given - skipped)
        return _Epoch(batches, progress, pinner() if self.pin_memory else None, pool, self.persistent_workers)

    def __len__(self) -> int:
        """How many batches an epoch has; TypeError when the dataset or sampler has no length."""
        order = self._order
        if order is not None:
            return len(order)  # type: ignore[arg-type]
        count = len(self.dataset)
        if self.batch_size is None:
            return count
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)

    # -- resuming --------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """Where the last iterator stands: plain numbers, for :func:`flambeau.save`.

        A loader like this one that loads it goes on in the middle of the epoch with the next batch. It
        holds the generators as they were when the epoch began. A sampler of your own must take its random
        numbers from ``generator`` or the default one, when its iteration starts.
        """
        if self._resume is not None:
            return dict(self._resume)
        if self._progress is None or self._progress.finished:
            return {"batches": None, "generators": self._generator_states()}
        return {"batches": self._progress.given, "generators": self._progress.generators}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Make the next iteration go on where :meth:`state_dict` was taken.

        Between epochs only ``generator`` and the samplers' own generators are restored; restore the default
        one with :func:`flambeau.set_rng_state`.
        """
        batches, states = self._checked(state_dict)
        self._resume = None if batches is None else {"batches": batches, "generators": states}
        if self._resume is None:
            default = default_generator.state
            self._set_generator_states(states)
            default_generator.state = default

    def _checked(self, state: object) -> tuple[int | None, list[list[int]]]:
        """The batches given and the generators' states, of a state that can be taken over."""
        wrong = (
            "DataLoader.load_state_dict: state_dict must come from the state_dict() of a DataLoader with the same "
            "sampler and generator arguments: "
        )
        if not isinstance(state, Mapping):
            raise TypeError(f"{wrong}it must be a dict, got {type(state).__name__}")
        if set(state) != {"batches", "generators"}:
            raise ValueError(f"{wrong}it must have 'batches' and 'generators', got keys {shortened(list(state))}")
        batches, states = state["batches"], state["generators"]
        if batches is not None and (type(batches) is not int or not 0 <= batches < 1 << 63):
            raise ValueError(f"{wrong}'batches' must be None or an int, 0 or more, got {shortened(batches)}")
        if not isinstance(states, (list, tuple)) or len(states) != len(self._generators()):
            raise ValueError(
                f"{wrong}'generators' must be a list of {len(self._generators())} states, got {shortened(states)}"
            )
        for i, pair in enumerate(states):
            if not isinstance(pair, (list, tuple)) or [type(v) for v in pair] != [int, int]:
                raise ValueError(f"{wrong}'generators'[{i}] must be a seed and an offset, got {shortened(pair)}")
            if not all(0 <= v < 1 << 64 for v in pair):
                raise ValueError(f"{wrong}'generators'[{i}] must be below 2**64, got {shortened(pair)}")
        return batches, [list(pair) for pair in states]

    def _generators(self) -> list[Generator]:
        """The default generator, and others that the order may come from."""
        found = [default_generator]
        owners = (self, self.sampler, self.batch_sampler, getattr(self.batch_sampler, "sampler", None))
        for owner in owners:
            generator = getattr(owner, "generator", None)
            if isinstance(generator, Generator) and not any(generator is g for g in found):
                found.append(generator)
        return found

    def _generator_states(self) -> list[list[int]]:
        return [list(g.state) for g in self._generators()]

    def _set_generator_states(self, states: Iterable[Iterable[int]]) -> None:
        for generator, state in zip(self._generators(), states, strict=True):
            seed, offset = state
            generator.state = (seed, offset)

    def _workers(self) -> Pool:
        if self._pool is not None and not self._pool.closed:
            return self._pool
        assert self._context is not None
        pool = Pool(self.num_workers, self._recipe, self.worker_init_fn, self._context, self.timeout)
        self._pool = pool if self.persistent_workers else None
        return pool


class _Progress:
    """How far an epoch is: the generators' states at its beginning, and how many batches it has given."""

    def __init__(self, generators: list[list[int]], given: int = 0):
        self.generators, self.given, self.finished = generators, given, False


class _Epoch(Iterator[Any]):
    """Hands out the batches of one epoch and keeps count."""

    def __init__(
        self, batches: Iterator[Any], progress: _Progress, pin: Callable[[Any], Any] | None, pool: Pool | None,
        keep_pool: bool,
    ):  # fmt: skip
        self._batches, self._progress, self._pin = batches, progress, pin
        self._pool, self._keep_pool = pool, keep_pool  # a pool that nobody holds stops

    def __next__(self) -> Any:
        try:
            batch = next(self._batches)
        except StopIteration:
            self._progress.finished = True
            if self._pool is not None and not self._keep_pool:
                self._pool.close()
            raise
        self._progress.given += 1
        return batch if self._pin is None else self._pin(batch)


class _InThisProcess(Iterator[Any]):
    """The batches, fetched when they are asked for. An error costs its batch; the next one goes on."""

    def __init__(self, recipe: Recipe, wanted: Iterator[Any]):
        self._fetch, self._wanted = recipe.fetcher(), wanted

    def __next__(self) -> Any:
        task = next(self._wanted)
        try:
            return self._fetch(task)
        except Exhausted:
            self._wanted = iter(())
            raise StopIteration from None


def _skip(iterator: Iterator[Any], count: int) -> None:
    next(itertools.islice(iterator, count, count), None)


def _check_workers(num_workers: int, timeout: float, prefetch_factor: int | None, persistent_workers: bool) -> None:
    if type(num_workers) is not int or num_workers < 0:
        raise ValueError(f"DataLoader: num_workers must be an int, 0 or more, got {num_workers!r}")
    if timeout < 0:
        raise ValueError(f"DataLoader: timeout must be 0 or more seconds, got {timeout}")
    if prefetch_factor is not None and (num_workers == 0 or prefetch_factor < 1):
        raise ValueError(
            f"DataLoader: prefetch_factor must be 1 or more and needs num_workers > 0, got {prefetch_factor} "
            f"with num_workers={num_workers}"
        )
    if persistent_workers and num_workers == 0:
        raise ValueError("DataLoader: persistent_workers=True needs num_workers > 0")


def _check_order(
    iterable: bool, batch_size: int | None, shuffle: bool | None, sampler: Any, batch_sampler: Any, drop_last: bool
) -> None:
    if iterable and (shuffle or sampler is not None or batch_sampler is not None):
        raise ValueError(
            "DataLoader: an IterableDataset has its own order; it takes no shuffle, sampler or batch_sampler"
        )
    if sampler is not None and shuffle:
        raise ValueError("DataLoader: sampler and shuffle exclude each other")
    if batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or drop_last):
        raise ValueError("DataLoader: batch_sampler excludes batch_size, shuffle, sampler and drop_last")
    if batch_size is None and drop_last:
        raise ValueError("DataLoader: drop_last=True needs a batch_size")
    if batch_size is not None and (type(batch_size) is not int or batch_size < 1):
        raise ValueError(f"DataLoader: batch_size must be a positive int or None, got {batch_size!r}")
