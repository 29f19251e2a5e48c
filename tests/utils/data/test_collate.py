"""From samples to batches."""

from collections import namedtuple

import numpy as np
import pytest

import flambeau as fb
from flambeau.utils.data import DataLoader, Subset, TensorDataset, default_collate, default_convert

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


def one_by_one(batch):
    return default_collate(batch)


@pytest.mark.parametrize("indices", [[3, 0, 3, -1], [2], np.arange(3), (4, 1), [np.int64(2), 1]])
@pytest.mark.parametrize("part", [False, True])
def test_a_batch_of_a_tensor_dataset_is_what_its_samples_make(indices, part):
    table = fb.arange(30).reshape(5, 6).to(fb.float32)
    tensors = (table, table.T[:5], table[:, 0] > 7, table.to(fb.bfloat16), fb.zeros(5, 0), table[::2].T[:5])
    data = TensorDataset(*tensors)
    data = Subset(Subset(data, [4, 3, 2, 1, 0]), range(5)) if part else data
    here, expected = (next(iter(DataLoader(data, batch_sampler=[indices], collate_fn=fn))) for fn in (None, one_by_one))
    for a, b in zip(here, expected, strict=True):
        assert (a.dtype, a.shape, a.stride(), a.tolist()) == (b.dtype, b.shape, b.stride(), b.tolist())
    here[0].fill_(-1)  # is a copy
    assert table.min().item() == 0


def test_batches_of_a_tensor_dataset_carry_gradients():
    weight = fb.arange(6.0).reshape(3, 2).requires_grad_()
    for batch in DataLoader(TensorDataset(weight * 2), batch_sampler=[[2, 0], [2, -1]]):
        batch[0].sum().backward(retain_graph=True)
    assert weight.grad.tolist() == [[2.0, 2.0], [0.0, 0.0], [6.0, 6.0]]


class Doubled(TensorDataset):
    def __getitem__(self, index):
        return super().__getitem__(index)[0] * 2


def test_a_subclass_of_tensor_dataset_has_its_own_samples():
    assert [b.tolist() for b in DataLoader(Doubled(fb.arange(4)), 2)] == [[0, 2], [4, 6]]


@pytest.mark.parametrize("data", [TensorDataset(fb.arange(4)), Subset(TensorDataset(fb.arange(4)), [0, 1, 2, 7])])
def test_an_index_out_of_range_is_told(data):
    bad = 3 if isinstance(data, Subset) else 9
    with pytest.raises(IndexError) as caught:
        list(DataLoader(data, batch_sampler=[[0, bad]]))
    assert any(f"[{bad}]" in note or f"{bad}]" in note for note in caught.value.__notes__)


@pytest.mark.parametrize(
    ("samples", "dtype", "values"),
    [
        ([1, 2], fb.int64, [1, 2]),
        ([1, 2.5], fb.float32, [1, 2.5]),
        ([1.5, 2], fb.float64, [1.5, 2]),
        ([True, False], fb.bool, [True, False]),
        ([True, 3], fb.int64, [1, 3]),
        ([-(2**63), 2**63 - 1], fb.int64, [-(2**63), 2**63 - 1]),
        ([np.float32(1), np.float32(2)], fb.float32, [1, 2]),
        ([np.array(1, np.int16), np.array(2, np.int16)], fb.int16, [1, 2]),
        ([np.zeros(2, np.float32), np.ones(2)], fb.float64, [[0, 0], [1, 1]]),
        ([np.zeros((0, 3)), np.zeros((0, 3))], fb.float64, [[], []]),
        ([np.arange(3)[::-1], np.arange(6)[::2]], fb.int64, [[2, 1, 0], [0, 2, 4]]),
        ([fb.tensor(1), fb.tensor(2)], fb.int64, [1, 2]),
    ],
)
def test_numbers_and_arrays(samples, dtype, values):
    found = default_collate(samples)
    assert (found.dtype, found.tolist()) == (dtype, values)
    assert found.is_contiguous()
