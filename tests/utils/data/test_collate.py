"""From samples to batches."""

from collections import namedtuple

import numpy as np
import pytest

import flambeau as fb
from flambeau.utils.data import default_collate, default_convert

Pair = namedtuple("Pair", "x y")


@pytest.mark.parametrize(
    ("samples", "error", "words"),
    [
        ([fb.ones(2), fb.ones(3)], RuntimeError, r"sample 0 has \(2,\) and sample 1 has \(3,\)"),
        ([(1, 2), (1, 2, 3)], RuntimeError, "sample 0 has 2 and sample 1 has 3"),
        ([object()], TypeError, "found object; give the DataLoader a collate_fn"),
    ],
)
def test_refused(samples, error, words):
    with pytest.raises(error, match=f"default_collate: .*{words}"):
        default_collate(samples)


def test_convert():
    found = default_convert({"a": np.arange(2), "b": (np.float32(1), "x"), "c": [Pair(np.zeros(1), None)], "d": 3})
    assert (found["a"].tolist(), found["b"][0].item(), found["b"][1], found["d"]) == ([0, 1], 1.0, "x", 3)
    assert (type(found["b"]), type(found["c"][0])) == (tuple, Pair)
    text = np.array(["a"])
    assert default_convert(text) is text
