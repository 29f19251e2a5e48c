"""Sparse tensors take other shapes in place: what is held only lets them grow, as PyTorch's do."""

from __future__ import annotations

from typing import Any

import pytest

import flambeau as fb


def _filled(**more: Any) -> fb.Tensor:
    return fb.sparse_coo_tensor([[0, 1]], [1.0, 2.0], (3,), **more)


def _empty() -> fb.Tensor:
    return fb.sparse_coo_tensor((3,))


def test_places_stay_where_the_tensor_grows() -> None:
    x = _filled()
    assert x.sparse_resize_((5,), 1, 0) is x and x.shape == (5,) and x._version == 1
    assert x.to_dense().tolist() == [1.0, 2.0, 0.0, 0.0, 0.0] and not x.is_coalesced()
    assert _filled().coalesce().sparse_resize_((5,), 1, 0).is_coalesced()


def test_rows_of_values_keep_their_memory() -> None:
    x = fb.sparse_coo_tensor([[0, 1]], fb.ones(2, 2), (3, 2)).sparse_resize_((4, 4), 1, 1)
    assert x._values().tolist() == [[1.0] * 4, [0.0] * 4]


def test_what_holds_nothing_takes_any_shape() -> None:
    x = _empty().sparse_resize_((5, 2), 2, 0)
    assert (x.shape, x.sparse_dim(), x._nnz()) == ((5, 2), 2, 0)
    assert _empty().sparse_resize_((5, 2), 1, 1)._values().shape == (0, 2)
    x = _filled().sparse_resize_and_clear_((2, 3), 1, 1)
    assert (x.shape, x.sparse_dim(), x.dense_dim(), x._nnz()) == ((2, 3), 1, 1, 0) and x.is_coalesced()


@pytest.mark.parametrize(
    ("size", "dims", "says"),
    [
        ((2,), (1, 0), r"shrinking the size of sparse dimensions \(from \[3\] to \[2\]\)"),
        ((5, 2), (1, 1), r"number of dense dimensions \(from 0 to 1\)"),
        ((5, 2), (2, 0), r"number of sparse dimensions \(from 1 to 2\)"),
        ((5, 2), (1, 0), r"len\(size\) = 2, sparse_dim = 1, dense_dim = 0"),
    ],
)
def test_shapes_that_lose_something(size: tuple[int, ...], dims: tuple[int, int], says: str) -> None:
    with pytest.raises(RuntimeError, match=says):
        _filled().sparse_resize_(size, *dims)


def test_other_tensors() -> None:
    with pytest.raises(RuntimeError, match="Strided"):
        fb.ones(2).sparse_resize_((2,), 1, 0)
    with pytest.raises(NotImplementedError):
        fb.eye(2).to_sparse_csr().sparse_resize_((2, 2), 2, 0)
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
        _filled(requires_grad=True).sparse_resize_((5,), 1, 0)


def test_the_shape_of_another() -> None:
    x = _filled()
    assert fb.resize_as_sparse_(x, fb.sparse_coo_tensor((7,))) is x and x.shape == (7,)
    csr = fb.resize_as_sparse_(fb.eye(2).to_sparse_csr() * 4, fb.eye(3).to_sparse_csr())
    assert (
        csr.shape == (3, 3) and csr.crow_indices().tolist() == [0, 1, 2, 3] and csr.values()[:2].tolist() == [4.0, 4.0]
    )
    with pytest.raises(RuntimeError, match=r"number of sparse dimensions \(from 1 to 0\)"):
        fb.resize_as_sparse_(_filled(), fb.ones(3))
    with pytest.raises(RuntimeError):
        fb.resize_as_sparse_(fb.ones(3), _filled())


def test_products_are_methods() -> None:
    x = fb.eye(2).to_sparse()
    assert x.smm(fb.ones(2, 2)).to_dense().tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert x.sspaddmm(x, fb.ones(2, 2), beta=2, alpha=3).to_dense().tolist() == [[5.0, 3.0], [3.0, 5.0]]
    with pytest.raises(RuntimeError):
        fb.ones(2, 2).smm(fb.ones(2, 2))
