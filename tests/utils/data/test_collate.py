"""From samples to batches."""

from collections import OrderedDict, namedtuple

import numpy as np
import pytest

import flambeau as fb
from flambeau.utils.data import default_collate, default_convert

Pair = namedtuple("Pair", "x y")


@pytest.mark.parametrize(
    ("samples", "values", "dtype"),
    [
        ([1, 2], [1, 2], fb.int64),
        ([0.1, 2.0], [0.1, 2.0], fb.float64),
        ([True, False], [True, False], fb.bool),
        ([fb.tensor([1, 2]), fb.tensor([3, 4])], [[1, 2], [3, 4]], fb.int64),
        ([np.zeros(2, np.int16), np.ones(2, np.int16)], [[0, 0], [1, 1]], fb.int16),
        ([np.float32(0.5), np.float32(1)], [0.5, 1], fb.float32),
    ],
)
def test_numbers(samples, values, dtype):
    batch = default_collate(samples)
    assert (batch.tolist(), batch.dtype) == (values, dtype)


def test_structures():
    assert default_collate(["a", "b"]) == ["a", "b"]
    pair = default_collate([Pair(1, "a"), Pair(2, "b")])
    assert (type(pair), pair.x.tolist(), pair.y) == (Pair, [1, 2], ["a", "b"])
    named = default_collate([OrderedDict(x=1, y=[1, 2]), OrderedDict(x=2, y=[3, 4])])
    assert (type(named), named["x"].tolist(), [t.tolist() for t in named["y"]]) == (
        OrderedDict,
        [1, 2],
        [[1, 3], [2, 4]],
    )
    assert [t.tolist() for t in default_collate([(1, 2.0), (3, 4.0)])] == [[1, 3], [2.0, 4.0]]


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
