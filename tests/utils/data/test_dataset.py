"""Datasets and how they are split."""

import pytest

import flambeau as fb
from flambeau.utils.data import (
    ChainDataset,
    ConcatDataset,
    Dataset,
    IterableDataset,
    StackDataset,
    Subset,
    TensorDataset,
    digits,
    random_split,
)


class Numbers(IterableDataset):
    def __init__(self, *values):
        self.values = values

    def __iter__(self):
        return iter(self.values)

    def __len__(self):
        return len(self.values)


def test_tensor_dataset():
    data = TensorDataset(fb.arange(6).reshape(3, 2), fb.tensor([0, 1, 2]))
    assert len(data) == 3
    x, y = data[2]
    assert (x.tolist(), y.item()) == ([4, 5], 2)
    assert data[:2][0].tolist() == [[0, 1], [2, 3]]


@pytest.mark.parametrize("tensors", [(), (fb.ones(2), fb.ones(3)), (fb.ones(()),)], ids=["none", "unequal", "0-d"])
def test_tensor_dataset_of_unequal_sizes(tensors):
    with pytest.raises(ValueError, match=r"TensorDataset: tensors must have the same first size, got shapes \["):
        TensorDataset(*tensors)


def test_concat():
    data = ConcatDataset([range(3), [], range(10, 12)])
    assert len(data) == 5
    assert [data[i] for i in range(5)] == [0, 1, 2, 10, 11]
    assert (data[-1], data[-5]) == (11, 0)
    for index in (5, -6):
        with pytest.raises(IndexError, match=f"ConcatDataset: index {index} is out of range for 5 samples"):
            data[index]


def test_concat_refuses():
    with pytest.raises(ValueError, match="ConcatDataset: datasets must not be empty"):
        ConcatDataset([])
    with pytest.raises(TypeError, match="use ChainDataset"):
        ConcatDataset([Numbers(1)])


def test_adding():
    a, b = TensorDataset(fb.arange(2)), TensorDataset(fb.arange(3))
    assert isinstance(a + b, ConcatDataset)
    assert len(a + b) == 5
    chain = Numbers(1, 2) + Numbers(3)
    assert isinstance(chain, ChainDataset)
    assert (list(chain), len(chain)) == ([1, 2, 3], 3)


def test_chain_refuses():
    with pytest.raises(TypeError, match="ChainDataset: argument 'datasets' must be an iterable of Datasets"):
        list(ChainDataset([[1]]))


def test_stack():
    assert StackDataset(range(3), "abc")[1] == (1, "b")
    named = StackDataset(x=range(3), y="abc")
    assert (named[2], len(named)) == ({"x": 2, "y": "c"}, 3)
    with pytest.raises(ValueError, match=r"datasets must have the same length, got \[3, 2\]"):
        StackDataset(range(3), "ab")
    with pytest.raises(ValueError, match="either as positional or as keyword"):
        StackDataset()


class Batches(Dataset):
    """Fetches a batch at once."""

    def __getitem__(self, index):
        return index

    def __getitems__(self, indices):
        return [100 + i for i in indices]


def test_subset():
    data = Subset(range(10, 20), [3, 1, 4])
    assert (len(data), data[0], [data[i] for i in range(3)]) == (3, 13, [13, 11, 14])
    assert data.__getitems__([2, 0]) == [14, 13]
    assert Subset(Batches(), [5, 6, 7]).__getitems__([2, 0]) == [107, 105]
    assert Subset(fb.arange(10), [3, 1, 4])[[0, 2]].tolist() == [3, 4]


def test_a_dataset_without_getitem():
    with pytest.raises(NotImplementedError, match="Empty must define __getitem__"):
        type("Empty", (Dataset,), {})()[0]


@pytest.mark.parametrize(
    ("total", "lengths", "sizes"),
    [(10, [7, 3], [7, 3]), (10, [0.7, 0.3], [7, 3]), (11, [0.5, 0.25, 0.25], [6, 3, 2]), (10, [1 / 3] * 3, [4, 3, 3]),
     (5, [5], [5]), (7, [0.1] * 10, [1] * 7 + [0] * 3)],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:random_split. part . of fraction:UserWarning")
def test_random_split(total, lengths, sizes):
    parts = random_split(range(total), lengths, fb.Generator().manual_seed(1))
    assert [len(p) for p in parts] == sizes
    assert sorted(sample for p in parts for sample in p) == list(range(total))
    again = random_split(range(total), lengths, fb.Generator().manual_seed(1))
    assert [p.indices for p in parts] == [p.indices for p in again]


def test_random_split_draws_from_the_default_generator():
    fb.manual_seed(4)
    first = random_split(range(50), [0.5, 0.5])[0].indices
    assert random_split(range(50), [0.5, 0.5])[0].indices != first
    fb.manual_seed(4)
    assert random_split(range(50), [0.5, 0.5])[0].indices == first


def test_random_split_refuses():
    with pytest.raises(ValueError, match=r"add up to the dataset's length 10 .*got \[7, 2\], which add up to 9"):
        random_split(range(10), [7, 2])
    with pytest.raises(ValueError, match="fractions must be between 0 and 1"):
        random_split(range(10), [1.5, -0.5])
    with pytest.warns(UserWarning, match="part 1 of fraction 0.1 is empty"):
        random_split(range(1), [0.9, 0.1])


def test_digits():
    data = digits()
    images, labels = data.tensors
    assert (tuple(images.shape), images.dtype, labels.dtype) == ((1797, 1, 8, 8), fb.float32, fb.int64)
    assert (images.min().item(), images.max().item()) == (0, 1)
    assert labels.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert (images[0, 0] * 16).tolist()[0] == [0, 0, 5, 13, 9, 1, 0, 0]
