"""Samplers: which indices, in which order, from which seed."""

import itertools
from collections import Counter

import pytest

import flambeau as fb
from flambeau.utils.data import (
    BatchSampler,
    DistributedSampler,
    RandomSampler,
    Sampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)


def seeded(seed=0):
    return fb.Generator().manual_seed(seed)


RANDOM = {
    "permutation": lambda g: RandomSampler(range(30), generator=g),
    "replacement": lambda g: RandomSampler(range(30), replacement=True, generator=g),
    "subset": lambda g: SubsetRandomSampler(list(range(30)), generator=g),
    "weighted": lambda g: WeightedRandomSampler([1.0] * 30, 30, generator=g),
    "weighted, once each": lambda g: WeightedRandomSampler([1.0] * 30, 30, replacement=False, generator=g),
}


@pytest.mark.parametrize("make", RANDOM.values(), ids=RANDOM)
def test_seeds(make):
    sampler = make(seeded(1))
    first, second = list(sampler), list(sampler)
    assert len(first) == len(sampler) == 30
    assert first != second
    assert [list(itertools.islice(make(seeded(1)), 30))] == [first]
    assert list(make(seeded(2))) != first


@pytest.mark.parametrize("make", RANDOM.values(), ids=RANDOM)
def test_the_default_generator(make):
    fb.manual_seed(5)
    sampler = make(None)
    order = iter(sampler)
    fb.rand(3)  # draws in the middle of the epoch change nothing
    first = list(order)
    fb.manual_seed(5)
    assert list(make(None)) == first


def test_permutations():
    assert sorted(RandomSampler(range(40))) == list(range(40))
    longer = list(RandomSampler(range(4), num_samples=10))
    assert (len(longer), sorted(longer[:4]), sorted(longer[4:8])) == (10, [0, 1, 2, 3], [0, 1, 2, 3])
    assert len(list(RandomSampler(range(40), num_samples=7))) == 7
    assert list(RandomSampler([])) == []


def test_replacement():
    drawn = list(RandomSampler(range(3), replacement=True, num_samples=3000, generator=seeded()))
    assert all(abs(n - 1000) < 150 for n in Counter(drawn).values())


def test_weighted():
    drawn = list(WeightedRandomSampler([0.0, 1.0, 3.0], 4000, generator=seeded()))
    counts = Counter(drawn)
    assert counts[0] == 0
    assert abs(counts[2] - 3000) < 200
    assert sorted(WeightedRandomSampler([1.0, 0.5, 2.0], 3, replacement=False)) == [0, 1, 2]


def test_batches():
    assert list(BatchSampler(range(5), 2, False)) == [[0, 1], [2, 3], [4]]
    assert list(BatchSampler(range(5), 2, True)) == [[0, 1], [2, 3]]
    assert [len(BatchSampler(range(n), 2, drop)) for n in (4, 5) for drop in (False, True)] == [2, 2, 3, 2]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(("drop_last", "share"), [(False, 4), (True, 3)])
def test_distributed(shuffle, drop_last, share):
    samplers = [DistributedSampler(range(10), 3, r, shuffle, seed=7, drop_last=drop_last) for r in range(3)]
    shares = [list(s) for s in samplers]
    assert [len(s) for s in shares] == [len(s) for s in samplers] == [share] * 3
    assert samplers[0].total_size == 3 * share
    assert len({i for s in shares for i in s}) == (9 if drop_last else 10)
    if shuffle:
        samplers[0].set_epoch(1)
        assert list(samplers[0]) != shares[0]
        samplers[0].set_epoch(0)
        assert list(samplers[0]) == shares[0]


def test_distributed_more_replicas_than_samples():
    assert [list(DistributedSampler(range(2), 5, r, shuffle=False)) for r in range(5)] == [[0], [1], [0], [1], [0]]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: RandomSampler(range(3), num_samples=0), "RandomSampler: num_samples must be a positive int, got 0"),
        (lambda: WeightedRandomSampler([1.0], 1.5), "WeightedRandomSampler: num_samples must be a positive int"),
        (lambda: WeightedRandomSampler([[1.0]], 1), r"weights must be 1-d, got shape \(1, 1\)"),
        (lambda: BatchSampler(range(3), 0, False), "BatchSampler: batch_size must be a positive int, got 0"),
        (lambda: DistributedSampler(range(3)), "num_replicas and rank must be given"),
        (lambda: DistributedSampler(range(3), 2, 2), r"rank must be in \[0, 2\), got 2"),
    ],
)
def test_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_a_sampler_without_iter():
    with pytest.raises(NotImplementedError, match="Empty must define __iter__"):
        iter(type("Empty", (Sampler,), {})())
