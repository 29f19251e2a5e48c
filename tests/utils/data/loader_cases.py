"""Data loading in the torch API: datasets, samplers, collating, and arguments that are rejected."""

from __future__ import annotations

import collections
from typing import Any

import numpy as np

from tests.recorded import Case, collected

CASES: dict[str, Case] = {
    "basic": lambda T: [[a, b] for a, b in T.utils.data.DataLoader(pairs(T), batch_size=3)],
    "drop": lambda T: [
        len(T.utils.data.DataLoader(pairs(T), batch_size=3, drop_last=True)),
        listed(T.utils.data.DataLoader(list(range(10)), batch_size=3, drop_last=True)),
    ],
    "nobatch": lambda T: listed(T.utils.data.DataLoader([1, 2, 3], batch_size=None)),
    "default_convert": lambda T: T.utils.data.default_convert([np.ones(2), {"a": np.zeros(1)}, "x", 3]),
    "sampler_err3": lambda T: T.utils.data.WeightedRandomSampler([0.1], -1),
    "sampler_arg": lambda T: listed(T.utils.data.DataLoader(range(6), sampler=[4, 2, 0], batch_size=2)),
    "bsampler_arg": lambda T: listed(T.utils.data.DataLoader(range(6), batch_sampler=[[4, 2], [0]])),
    "random_split_err2": lambda T: T.utils.data.random_split(range(10), [0.7, 0.7]),
    "concat_err": lambda T: T.utils.data.ConcatDataset([range(3)])[5],
    "stackds": lambda T: [
        T.utils.data.StackDataset(a=range(3), b=range(3, 6))[1],
        T.utils.data.StackDataset(range(3), range(3, 6))[1],
        len(T.utils.data.StackDataset(range(3))),
    ],
    "collfn": lambda T: listed(T.utils.data.DataLoader(range(5), batch_size=2, collate_fn=sum)),
}
case = collected(CASES)


class Squares:
    def __init__(self, n: int):
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> int:
        return i * i


def pairs(T: Any) -> Any:
    return T.utils.data.TensorDataset(T.arange(10.0), T.arange(10) * 2)


def listed(loader: Any) -> list[Any]:
    return [x.tolist() if hasattr(x, "tolist") else x for x in loader]


@case
def collates(T: Any) -> Any:
    c = T.utils.data.default_collate
    Pt = collections.namedtuple("Pt", "x y")
    return [
        c([1, 2]),
        c([1.0, 2.0]),
        c(["a", "b"]),
        c([{"a": 1, "b": [1, 2]}, {"a": 2, "b": [3, 4]}]),
        c([(1, 2.0), (3, 4.0)]),
        c([Pt(1, 2), Pt(3, 4)]),
        type(c([Pt(1, 2), Pt(3, 4)])).__name__,
        c([np.float32(1), np.float32(2)]),
        c([np.ones(2), np.zeros(2)]),
        c([np.zeros(2, np.int16), np.ones(2, np.int16)]),
        type(c([collections.OrderedDict(x=1), collections.OrderedDict(x=2)])).__name__,
        c([T.ones(2), T.zeros(2)]),
        c([b"a", b"b"]),
        c([True, False]),
    ]


@case
def iterable(T: Any) -> Any:
    class It(T.utils.data.IterableDataset):
        def __iter__(s):
            return iter(range(5))

    return listed(T.utils.data.DataLoader(It(), batch_size=2))


@case
def iterable_len(T: Any) -> Any:
    class It(T.utils.data.IterableDataset):
        def __iter__(s):
            return iter(range(5))

        def __len__(s):
            return 5

    return len(T.utils.data.DataLoader(It(), batch_size=2))


@case
def samplers(T: Any) -> Any:
    d = T.utils.data
    g = T.Generator().manual_seed(0)
    return [
        list(d.SequentialSampler(range(3))),
        sorted(d.RandomSampler(range(5), generator=g)),
        len(list(d.RandomSampler(range(5), replacement=True, num_samples=8))),
        list(d.BatchSampler(d.SequentialSampler(range(5)), 2, False)),
        len(d.BatchSampler(d.SequentialSampler(range(5)), 2, True)),
        sorted(d.SubsetRandomSampler([3, 1])),
        len(list(d.WeightedRandomSampler([0.1, 0.9], 7))),
        list(d.DistributedSampler(range(7), num_replicas=2, rank=1, shuffle=False)),
        len(list(d.RandomSampler(range(5), num_samples=3))),
    ]


@case
def shuffle_seed(T: Any) -> Any:
    g = T.Generator().manual_seed(3)
    a = listed(T.utils.data.DataLoader(range(20), shuffle=True, generator=g))
    g.manual_seed(3)
    b = listed(T.utils.data.DataLoader(range(20), shuffle=True, generator=g))
    c = listed(T.utils.data.DataLoader(range(20), shuffle=True, generator=g))
    return [a == b, a == c, sorted(i for batch in a for i in batch) == list(range(20))]


@case
def random_split(T: Any) -> Any:
    a, b = T.utils.data.random_split(range(10), [7, 3], generator=T.Generator().manual_seed(0))
    c = T.utils.data.random_split(range(11), [0.5, 0.25, 0.25])
    return [len(a), len(b), sorted(list(a) + list(b)), [len(x) for x in c], type(a).__name__]


@case
def concat(T: Any) -> Any:
    c = T.utils.data.ConcatDataset([range(3), range(5)])
    return [len(c), c[3], c[-1], c.cumulative_sizes, len(T.utils.data.ConcatDataset([Squares(2)]))]


@case
def concat_add(T: Any) -> Any:
    class A(T.utils.data.Dataset):
        def __len__(s):
            return 2

        def __getitem__(s, i):
            return i

    return [type(A() + A()).__name__, len(A() + A())]


@case
def subset(T: Any) -> Any:
    s = T.utils.data.Subset(range(10, 20), [3, 1])
    return [s[0], len(s), list(s)]


@case
def chain(T: Any) -> Any:
    class It(T.utils.data.IterableDataset):
        def __iter__(s):
            return iter(range(2))

    return listed(T.utils.data.ChainDataset([It(), It()]))


@case
def attrs(T: Any) -> Any:
    d = T.utils.data.DataLoader(range(5), batch_size=2, num_workers=0)
    return [
        d.batch_size,
        d.num_workers,
        d.drop_last,
        d.pin_memory,
        d.timeout,
        d.prefetch_factor,
        d.persistent_workers,
        type(d.sampler).__name__,
        type(d.batch_sampler).__name__,
        len(d),
    ]


@case
def setattr_(T: Any) -> Any:
    d = T.utils.data.DataLoader(range(5), batch_size=2)
    d.batch_size = 3


@case
def getitems(T: Any) -> Any:
    class A(T.utils.data.Dataset):
        def __len__(s):
            return 4

        def __getitem__(s, i):
            raise IndexError(i)

        def __getitems__(s, ix):
            return [i * 10 for i in ix]

    return listed(T.utils.data.DataLoader(A(), batch_size=2))
