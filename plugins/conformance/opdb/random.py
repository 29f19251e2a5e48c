"""Samples and references of the random ops: the words of the generator, defined in plain integers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from flambeau.core.random import random_words
from flambeau.plugins.conformance.opdb import Maker, Sample, reference, samples


@samples("random_bits")
def _words(m: Maker) -> Iterator[Sample]:
    for seed, offset, length in ((0, 0, 9), (2**64 - 1, 2**32 - 1, 7), (12345, 2**63 + 5, 4), (7, 1, 0)):
        yield Sample(seed, offset, length, "cpu")


def _reference(seed: int, offset: int, length: int, device: Any) -> Any:
    return np.array(random_words(seed, offset, length), np.uint32)


reference("random_bits", _reference)
