"""Samples and references of the random ops: the words of the generator, defined in plain integers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from flambeau.core import dtype as dt
from flambeau.core.device import device
from flambeau.core.random import (
    UNIFORM_BITS,
    normal_pair,
    permutation,
    random_words,
    uniform,
    uniform_double,
    uniform_int,
)
from flambeau.plugins.conformance.opdb import Maker, Sample, reference, samples


@samples("random_bits")
def _words(m: Maker) -> Iterator[Sample]:
    for seed, offset, length in ((0, 0, 9), (2**64 - 1, 2**32 - 1, 7), (12345, 2**63 + 5, 4), (7, 1, 0)):
        yield Sample(seed, offset, length, "cpu")


def _reference(seed: int, offset: int, length: int, device: Any) -> Any:
    return np.array(random_words(seed, offset, length), np.uint32)


reference("random_bits", _reference)


@samples("uniform_numbers")
def _uniform(m: Maker) -> Iterator[Sample]:
    yield Sample(7, 3, 0.0, 1.0, (2, 3), dt.float32, device("cpu"))
    yield Sample(2**64 - 1, 2**32 - 1, -0.5, 2.0, (5,), dt.float64, device("cpu"))


def _uniform_reference(seed: int, offset: int, low: float, high: float, shape: Any, dtype: Any, device: Any) -> Any:
    n = math.prod(shape)
    words = random_words(seed, offset, 2 * n if dtype.name == "float64" else n)
    if dtype.name == "float64":
        found = [uniform_double(*words[2 * i : 2 * i + 2]) for i in range(n)]
    else:
        found = [uniform(word, UNIFORM_BITS[dtype.name]) for word in words]
    return np.array(found).reshape(shape) * (high - low) + low


reference("uniform_numbers", _uniform_reference)


@samples("normal_numbers")
def _normal(m: Maker) -> Iterator[Sample]:
    yield Sample(7, 3, 0.0, 1.0, (3, 3), dt.float32, device("cpu"))
    yield Sample(2**64 - 1, 2**32 - 1, -0.5, 2.0, (6,), dt.float64, device("cpu"))


def _normal_reference(seed: int, offset: int, mean: float, std: float, shape: Any, dtype: Any, device: Any) -> Any:
    n = math.prod(shape)
    pairs = _uniform_reference(seed, offset, 0.0, 1.0, (-(-n // 2), 2), dtype, device).tolist()
    return np.array([normal_pair(*p) for p in pairs]).reshape(-1)[:n].reshape(shape) * std + mean


reference("normal_numbers", _normal_reference, tolerance=20)


@samples("integer_numbers")
def _integers(m: Maker) -> Iterator[Sample]:
    yield Sample(7, 3, -5, 100, (2, 3), dt.int64, device("cpu"))
    yield Sample(2**64 - 1, 2**32 - 1, 0, 2**31, (5,), dt.int32, device("cpu"))


def _integers_reference(seed: int, offset: int, low: int, high: int, shape: Any, dtype: Any, device: Any) -> Any:
    n = math.prod(shape)
    words = random_words(seed, offset, 2 * n)
    found = [low + uniform_int(words[2 * i], words[2 * i + 1], high - low) for i in range(n)]
    return np.array(found, dtype.numpy).reshape(shape)


reference("integer_numbers", _integers_reference)


@samples("permutation")
def _permutation(m: Maker) -> Iterator[Sample]:
    for seed, offset, length in ((0, 0, 9), (2**64 - 1, 2**32 - 1, 7), (7, 1, 0)):
        yield Sample(seed, offset, length, "cpu")


def _permutation_reference(seed: int, offset: int, length: int, device: Any) -> Any:
    return np.array(permutation(seed, offset, length), np.int64)


reference("permutation", _permutation_reference)
