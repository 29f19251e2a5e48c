"""The methods about sparse tensors that every tensor has. Their work is done by modules imported at first need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flambeau.core.dtype import DTypeLike, Number
from flambeau.core.memory_format import Layout, sparse_bsc, sparse_bsr, sparse_csc, sparse_csr
from flambeau.core.public import public
from flambeau.core.tensor import Tensor


def _convert(
    input: Tensor, sparse_dim: int | None = None, layout: Layout | None = None, blocksize: Any = None,
    dense_dim: int | None = None,
) -> Tensor:  # fmt: skip
    from flambeau.core.sparse.answering import to_sparse  # the class makes functions slower: at first need

    return to_sparse(input, sparse_dim, layout, blocksize, dense_dim)


@public(function=False)
def to_sparse(
    self: Tensor, sparse_dim: int | None = None, *, layout: Layout | None = None,
    blocksize: Sequence[int] | None = None, dense_dim: int | None = None,
) -> Tensor:  # fmt: skip
    """What is not zero, as a sparse tensor: in ``layout``, or by the indices of the first ``sparse_dim`` dimensions.

    >>> fb.tensor([[0.0, 2.0], [0.0, 0.0]]).to_sparse().indices()
    tensor([[0],
            [1]])
    """
    return _convert(self, sparse_dim, layout, blocksize, dense_dim)


@public(function=False)
def to_sparse_coo(self: Tensor) -> Tensor:
    """What is not zero, as indices and values.

    >>> fb.eye(2).to_sparse_coo().layout
    flambeau.sparse_coo
    """
    return _convert(self)


@public(function=False)
def to_sparse_csr(self: Tensor, dense_dim: int | None = None) -> Tensor:
    """What is not zero in a matrix, by compressed rows.

    >>> fb.eye(2).to_sparse_csr().crow_indices()
    tensor([0, 1, 2])
    """
    return _convert(self, layout=sparse_csr, dense_dim=dense_dim)


@public(function=False)
def to_sparse_csc(self: Tensor, dense_dim: int | None = None) -> Tensor:
    """What is not zero in a matrix, by compressed columns.

    >>> fb.eye(2).to_sparse_csc().ccol_indices()
    tensor([0, 1, 2])
    """
    return _convert(self, layout=sparse_csc, dense_dim=dense_dim)


@public(function=False)
def to_sparse_bsr(self: Tensor, blocksize: Sequence[int], dense_dim: int | None = None) -> Tensor:
    """The blocks of a matrix that hold something else than zeros, by compressed rows of blocks.

    ``blocksize`` (rows, columns) must divide the sizes of the matrix.

    >>> fb.eye(4).to_sparse_bsr((2, 2)).col_indices()
    tensor([0, 1])
    """
    return _convert(self, layout=sparse_bsr, blocksize=blocksize, dense_dim=dense_dim)


@public(function=False)
def to_sparse_bsc(self: Tensor, blocksize: Sequence[int], dense_dim: int | None = None) -> Tensor:
    """The blocks of a matrix that hold something else than zeros, by compressed columns of blocks.

    >>> fb.eye(4).to_sparse_bsc((2, 2)).row_indices()
    tensor([0, 1])
    """
    return _convert(self, layout=sparse_bsc, blocksize=blocksize, dense_dim=dense_dim)


@public(function=False)
def to_dense(self: Tensor, dtype: DTypeLike | None = None, *, masked_grad: bool | None = None) -> Tensor:
    """A sparse tensor with all its zeros; a dense one as it is.

    >>> fb.eye(1).to_sparse().to_dense()
    tensor([[1.]])
    """
    found: Tensor = self if dtype is None else self.to(dtype)
    return found


@public(function=False)
def sparse_mask(self: Tensor, mask: Tensor) -> Tensor:
    """The tensor at the places that the sparse tensor ``mask`` holds.

    >>> fb.ones(2, 2).sparse_mask(fb.eye(2).to_sparse()).values()
    tensor([1., 1.])
    """
    from flambeau.core.sparse.answering import sparse_mask as masked  # at first need, as above

    return masked(self, mask)


@public(function=False)
def smm(self: Tensor, mat: Tensor) -> Tensor:
    """A sparse matrix times a dense one, as a sparse matrix.

    >>> fb.eye(1).to_sparse().smm(fb.ones(1, 1)).to_dense()
    tensor([[1.]])
    """
    from flambeau.core.sparse.products import smm as product  # at first need, as above

    return product(self, mat)


@public(function=False)
def sspaddmm(self: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Number = 1, alpha: Number = 1) -> Tensor:
    """``beta * self + alpha * (mat1 @ mat2)`` of two sparse matrices and a dense one, as a sparse matrix.

    >>> fb.eye(1).to_sparse().sspaddmm(fb.eye(1).to_sparse(), fb.ones(1, 1), beta=2).to_dense()
    tensor([[3.]])
    """
    from flambeau.core.sparse.products import sspaddmm as product  # at first need, as above

    return product(self, mat1, mat2, beta=beta, alpha=alpha)


@public(function=True)
def resize_as_sparse_(self: Tensor, the_template: Tensor) -> Tensor:
    """Give a sparse tensor, in place, the shape of another one; of the compressed layouts its places as well.

    >>> fb.sparse_coo_tensor((2,)).resize_as_sparse_(fb.sparse_coo_tensor((3,))).shape
    flambeau.Size([3])
    """
    raise RuntimeError("resize_as_sparse_ expected a sparse tensor layout but got Strided; use to_sparse() before it")


@public(function=False)
def sparse_dim(self: Tensor) -> int:
    """How many dimensions indices say: none of a dense tensor.

    >>> fb.ones(2).sparse_dim(), fb.ones(2).to_sparse().sparse_dim()
    (0, 1)
    """
    return 0


@public(function=False)
def dense_dim(self: Tensor) -> int:
    """How many dimensions the values have: all of a dense tensor.

    >>> fb.ones(2).dense_dim(), fb.ones(2).to_sparse().dense_dim()
    (1, 0)
    """
    return self.ndim


#: name -> the layout that has it, as errors say, and what it is.
_PARTS = {
    "indices": ("sparse coordinate", "The indices (sparse_dim, nnz) of a coalesced sparse tensor."),
    "_indices": ("sparse coordinate", ""),
    "values": ("sparse", "The values of a sparse tensor, which where it is sparse_coo must be coalesced."),
    "_values": ("sparse", ""),
    "_nnz": ("sparse", ""),
    "crow_indices": (
        "sparse row compressed",
        "Where each row of a sparse_csr or sparse_bsr tensor begins.",
    ),
    "col_indices": ("sparse row compressed", "The column of each value of a sparse_csr or sparse_bsr tensor."),
    "ccol_indices": (
        "sparse column compressed",
        "Where each column of a sparse_csc or sparse_bsc tensor begins.",
    ),
    "row_indices": ("sparse column compressed", "The row of each value of a sparse_csc or sparse_bsc tensor."),
    "coalesce": ("sparse coordinate", "The sparse tensor with its places in order, and equal ones added up."),
    "is_coalesced": ("sparse coordinate", "Whether the places of a sparse tensor are in order, each once."),
    "sparse_resize_": ("sparse coordinate", "Another shape and other numbers of dimensions, of a sparse tensor."),
    "sparse_resize_and_clear_": ("sparse coordinate", "Another shape of a sparse tensor, which then holds nothing."),
}


def _part(name: str, kind: str, doc: str) -> Callable[..., Any]:
    def part(self: Tensor, *args: Any, **kwargs: Any) -> Any:  # Any: of dense tensors nothing comes back
        raise RuntimeError(f"{name} expected {kind} tensor layout but got Strided; use to_sparse() before it")

    part.__name__, part.__doc__ = name, doc or f"``{name.lstrip('_')}`` whether or not the tensor is coalesced."
    return part


for _name, (_kind, _doc) in _PARTS.items():
    public(_name, function=False, guard="function")(_part(_name, _kind, _doc))


# -- parts as copies -----------------------------------------------------------------------------------
def _part_copy(name: str) -> Callable[..., Any]:
    def copy(input: Tensor) -> Tensor:
        found: Tensor = getattr(input, name)()
        return found.clone()

    copy.__name__, copy.__qualname__ = f"{name}_copy", f"{name}_copy"
    copy.__doc__ = f"""A copy of what :meth:`flambeau.Tensor.{name}` gives.

    >>> fb.{name}_copy({_EXAMPLES[name]})
    """
    return copy


_EXAMPLES = {
    "indices": "fb.eye(2).to_sparse())\n    tensor([[0, 1],\n            [0, 1]]",
    "values": "fb.eye(2).to_sparse())\n    tensor([1., 1.]",
    "crow_indices": "fb.eye(2).to_sparse_csr())\n    tensor([0, 1, 2]",
    "col_indices": "fb.eye(2).to_sparse_csr())\n    tensor([0, 1]",
    "ccol_indices": "fb.eye(2).to_sparse_csc())\n    tensor([0, 1, 2]",
    "row_indices": "fb.eye(2).to_sparse_csc())\n    tensor([0, 1]",
}
for _name in _EXAMPLES:
    public(f"{_name}_copy", method=False, out=True)(_part_copy(_name))
