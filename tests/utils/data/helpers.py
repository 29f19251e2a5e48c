"""Datasets for the loader's tests: in a module that worker processes can import."""

import os
import random
import signal
import time

import numpy as np

import flambeau as fb
from flambeau.utils.data import Dataset, IterableDataset, default_collate, get_worker_info


class Squares(Dataset):
    """Sample i is (tensor of i squared, i)."""

    def __init__(self, length=20):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return fb.tensor([index * index]), index


class Slow(Squares):
    """The first samples take longest, so that workers would finish out of order."""

    def __init__(self, length=20, seconds=0.1):
        super().__init__(length)
        self.seconds = seconds

    def __getitem__(self, index):
        time.sleep(self.seconds if index < 2 else 0)
        return super().__getitem__(index)


class OwnError(Exception):
    def __init__(self, a, b):  # cannot be made again from its arguments by pickle
        super().__init__(f"{a} and {b}")


class Failing(Squares):
    def __init__(self, bad, kind="key"):
        super().__init__(12)
        self.bad, self.kind = bad, kind

    def __getitem__(self, index):
        if index == self.bad:
            if self.kind == "own":
                raise OwnError(1, 2)
            if self.kind == "stop":
                raise StopIteration
            if self.kind == "exit":
                os._exit(3)
            if self.kind == "sleep":
                time.sleep(60)
            if self.kind == "unpicklable":
                return lambda: None
            raise KeyError("no such scan")
        return super().__getitem__(index)


class Sized(Dataset):
    """Samples of so many bytes, and the process that made them."""

    def __init__(self, nbytes, length=60):
        self.nbytes, self.length = nbytes, length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return fb.full((self.nbytes,), index % 7, dtype=fb.uint8), os.getpid()


class SizedStream(IterableDataset):
    def __init__(self, nbytes):
        self.samples = Sized(nbytes)

    def __iter__(self):
        return map(self.samples.__getitem__, range(len(self.samples)))


class DiesWhenUnpacked:
    """Kills the process that unpickles it, before it has read what comes behind."""

    def __reduce__(self):
        return kill_myself, ()


def kill_myself():
    os.kill(os.getpid(), signal.SIGKILL)


def ignore_the_polite_signal(worker):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


class Draws(Dataset):
    """Sample i is what three generators draw, and which worker drew."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        info = get_worker_info()
        drawn = (fb.rand(1).item(), random.random(), float(np.random.random()))
        return (*drawn, -1 if info is None else info.id)


class Where(Dataset):
    """Sample i tells what the worker knows of itself."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        info = get_worker_info()
        return {
            "id": info.id,
            "count": info.num_workers,
            "seed": info.seed,
            "same": info.dataset is self,
            "pid": os.getpid(),
            "threads": fb.get_num_threads(),
            "started": os.environ.get("STARTED", ""),
        }


class Count(IterableDataset):
    """0, 1, 2, ... shared out among the workers."""

    def __init__(self, length=10, with_length=False):
        self.length = length
        if with_length:
            self.__class__ = CountWithLength

    def __iter__(self):
        info = get_worker_info()
        start, step = (0, 1) if info is None else (info.id, info.num_workers)
        return iter(range(start, self.length, step))


class CountWithLength(Count):
    def __len__(self):
        return self.length


class Kinds(Dataset):
    """Samples of every kind that must travel between processes."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return {
            "bfloat16": fb.tensor([index, 0.5], dtype=fb.bfloat16),
            "bool": fb.tensor(index % 2 == 0),
            "empty": fb.zeros(0, 2),
            "transposed": fb.arange(6).reshape(2, 3).T,
            "array": np.full((2,), index, np.int16),
            "text": f"sample {index}",
            "large": fb.full((300, 300), index),
        }


def mark_start(worker):
    os.environ["STARTED"] = f"by {worker}"


def fail_to_start(worker):
    raise OSError(f"worker {worker} has no disk")


class Rising(Dataset):
    """Sample i is (so many float32 of value i, i); lengths differ from batch to batch of two where they rise."""

    def __init__(self, numbers, rising=0, length=40):
        self.numbers, self.rising, self.length = numbers, rising, length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return fb.full((self.numbers + index // 2 * self.rising,), float(index)), index


class Keeping:
    """A collate_fn that keeps the batches, and adds to each the first numbers of all that it has kept."""

    def __init__(self):
        self.kept = []

    def __call__(self, samples):
        values, indices = default_collate(samples)
        self.kept.append(values)
        return values, indices, [float(v[0, 0]) for v in self.kept]


def without_shared_memory(worker):
    def refused(*arguments):
        raise OSError("no memory to share")

    os.memfd_create = refused
