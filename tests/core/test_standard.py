"""The names of the Python array API standard 2024.12: there, and with its meaning where torch has not another."""

from __future__ import annotations

import numpy as np
import pytest

import flambeau as fb

CREATION = """arange asarray empty empty_like eye from_dlpack full full_like linspace meshgrid ones ones_like tril triu
zeros zeros_like"""
DTYPES = "astype broadcast_arrays broadcast_to can_cast finfo iinfo isdtype result_type"
ELEMENTWISE = """abs acos acosh add asin asinh atan atan2 atanh bitwise_and bitwise_left_shift bitwise_invert bitwise_or
bitwise_right_shift bitwise_xor ceil clip conj copysign cos cosh divide equal exp expm1 floor floor_divide greater
greater_equal hypot imag isfinite isinf isnan less less_equal log log1p log2 log10 logaddexp logical_and logical_not
logical_or logical_xor maximum minimum multiply negative nextafter not_equal positive pow real reciprocal remainder
round sign signbit sin sinh square sqrt subtract tan tanh trunc"""
OTHERS = """take take_along_axis matmul matrix_transpose tensordot vecdot concat expand_dims flip moveaxis permute_dims
repeat reshape roll squeeze stack tile unstack argmax argmin count_nonzero nonzero searchsorted where unique_all
unique_counts unique_inverse unique_values argsort sort cumulative_prod cumulative_sum max mean min prod std sum var all
any diff __array_namespace_info__ e inf nan newaxis pi bool int8 uint64 float64 complex128"""
LINALG = """cholesky cross det diagonal eigh eigvalsh inv matmul matrix_norm matrix_power matrix_rank matrix_transpose
outer pinv qr slogdet solve svd svdvals tensordot trace vecdot vector_norm"""


@pytest.mark.parametrize("name", [*CREATION.split(), *DTYPES.split(), *ELEMENTWISE.split(), *OTHERS.split()])
def test_names(name: str) -> None:
    assert hasattr(fb, name)


@pytest.mark.parametrize("name", LINALG.split())
def test_names_of_linalg(name: str) -> None:
    assert hasattr(fb.linalg, name)


def test_the_namespace_of_a_tensor() -> None:
    x = fb.ones(2)
    assert x.__array_namespace__() is fb.array_api
    assert x.__array_namespace__(api_version="2024.12") is fb.array_api
    with pytest.raises(ValueError, match="1999"):
        x.__array_namespace__(api_version="1999")
    assert x.to_device("cpu") is x


def test_info() -> None:
    info = fb.__array_namespace_info__()
    assert info.default_device() == fb.get_default_device()
    assert info.default_dtypes()["integral"] is fb.int64
    assert fb.device("cpu") in info.devices()
    assert set(info.dtypes(kind="complex floating")) == {"complex64", "complex128"}
    assert info.capabilities()["max dimensions"] == 64


def test_dtypes() -> None:
    x = fb.tensor([1.5, -2.5])
    assert fb.astype(x, fb.float32, copy=False) is x
    assert fb.astype(x, fb.float32) is not x
    assert fb.astype(x, fb.int8).tolist() == [1, -2]
    assert fb.isdtype(fb.uint8, "unsigned integer")
    assert not fb.isdtype(fb.bool, "numeric")
    assert fb.isdtype(fb.bfloat16, ("bool", "real floating"))
    assert fb.isdtype(fb.int32, fb.int32)
    with pytest.raises(ValueError, match="'word'"):
        fb.isdtype(fb.int32, "word")
    assert fb.result_type(fb.int8, fb.tensor([1], dtype=fb.int32)) is fb.int32
    assert fb.result_type(fb.int8, fb.float32, 1j) is fb.complex64
    with pytest.raises(TypeError, match="at least one"):
        fb.result_type()


def test_shapes() -> None:
    x = fb.arange(6).reshape(2, 3)
    assert fb.permute_dims(x, (1, 0)).shape == (3, 2)
    assert fb.expand_dims(x).shape == (1, 2, 3)
    assert fb.expand_dims(x, axis=-1).shape == (2, 3, 1)
    assert [r.tolist() for r in fb.unstack(x, axis=1)] == [[0, 3], [1, 4], [2, 5]]
    assert fb.matrix_transpose(x).shape == (3, 2)
    assert [a.shape for a in fb.broadcast_arrays(fb.ones(2, 1), fb.ones(3))] == [(2, 3), (2, 3)]
    assert fb.repeat(x, 2, axis=1).shape == (2, 6)
    assert fb.repeat(fb.tensor([1, 2]), fb.tensor([2, 1])).tolist() == [1, 1, 2]
    assert fb.flip(x).tolist() == [[5, 4, 3], [2, 1, 0]]
    assert fb.flip(x, axis=1).tolist() == [[2, 1, 0], [5, 4, 3]]
    assert fb.roll(x, 1, axis=1).tolist() == [[2, 0, 1], [5, 3, 4]]
    assert fb.tensordot(x, x, axes=2) == 55


def test_taking() -> None:
    x = fb.arange(6).reshape(2, 3)
    assert fb.take(x, fb.tensor([4, -1])).tolist() == [4, 5]
    assert fb.take(x, fb.tensor([-1, 0]), axis=1).tolist() == [[2, 0], [5, 3]]
    assert x.take(index=fb.tensor([1])).tolist() == [1]
    places = fb.argsort(x, axis=1, descending=True)
    assert fb.take_along_axis(x, places, axis=1).tolist() == [[2, 1, 0], [5, 4, 3]]


def test_cumulative() -> None:
    x = fb.tensor([[1, 2], [3, 4]])
    assert fb.cumulative_sum(x, axis=1, include_initial=True).tolist() == [[0, 1, 3], [0, 3, 7]]
    assert fb.cumulative_prod(x, axis=0, dtype=fb.float32).tolist() == [[1, 2], [3, 8]]
    assert fb.cumulative_prod(fb.tensor([2, 3]), include_initial=True).tolist() == [1, 2, 6]
    with pytest.raises(RuntimeError, match="2 dimensions"):
        fb.cumulative_sum(x)


@pytest.mark.parametrize("shape", [(7,), (3, 4), (0,)])
def test_sets(shape: tuple[int, ...]) -> None:
    """Beside numpy's."""
    x = np.random.default_rng(0).integers(0, 4, shape)
    wanted = np.unique_all(x)
    for found, value in zip(fb.unique_all(fb.tensor(x)), wanted, strict=True):
        np.testing.assert_array_equal(found.numpy(), value)
    assert fb.unique_values(fb.tensor(x)).tolist() == wanted.values.tolist()
    assert fb.unique_counts(fb.tensor(x)).counts.tolist() == wanted.counts.tolist()
    assert fb.unique_inverse(fb.tensor(x)).inverse_indices.tolist() == wanted.inverse_indices.tolist()
