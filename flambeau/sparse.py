"""Sparse tensors: ``flambeau.sparse``.

A sparse tensor holds only some of its places, the rest is zero. ``sparse_coo`` keeps indices and values (made by
:func:`sparse_coo_tensor` and ``to_sparse()``), ``sparse_csr`` and ``sparse_csc`` the rows or columns of a matrix,
compressed, ``sparse_bsr`` and ``sparse_bsc`` those of blocks of it. They are tensors: ``isinstance(x, Tensor)`` holds,
and the ops that they have take them in the place of a dense tensor, on every device. What they do not have raises
NotImplementedError, which names the op and the layout.

Gradients of a sparse tensor are those of the values that it holds, and have its pattern.

>>> a = fb.sparse_coo_tensor([[0, 1], [1, 0]], [2.0, 3.0], (2, 2), requires_grad=True)
>>> (a @ fb.ones(2, 1)).sum().backward()
>>> a.grad.to_dense()
tensor([[0., 1.],
        [1., 0.]])
"""

from __future__ import annotations

from typing import Any, NoReturn

from flambeau.core.blame import checking as _checking
from flambeau.core.blame import explain_functions as _explain
from flambeau.core.dtype import Number
from flambeau.core.methods import give_homes, named
from flambeau.core.ops.solve import solve as _solve
from flambeau.core.sparse import answering as _answering  # noqa: F401  # sparse tensors answer from now on
from flambeau.core.sparse import products as _products
from flambeau.core.sparse.gradients import as_sparse_gradcheck
from flambeau.core.sparse.make import (
    check_sparse_tensor_invariants,
    sparse_bsc_tensor,
    sparse_bsr_tensor,
    sparse_compressed_tensor,
    sparse_coo_tensor,
    sparse_csc_tensor,
    sparse_csr_tensor,
)  # fmt: skip
from flambeau.core.sparse.products import hspmm, sampled_addmm, smm, sspaddmm
from flambeau.core.sparse.shape import log_softmax, softmax, spdiags
from flambeau.core.sparse.shape import sparse_sum as _sum
from flambeau.core.sparse.tensor import SparseTensor as _SparseTensor
from flambeau.core.sparse.typed import NAMES as _NAMES
from flambeau.core.tensor import Tensor

__all__ = [
    "SparseSemiStructuredTensor", "SparseSemiStructuredTensorCUSPARSELT", "SparseSemiStructuredTensorCUTLASS",
    "addmm", "as_sparse_gradcheck", "check_sparse_tensor_invariants", "hspmm", "log_softmax", "mm", "sampled_addmm",
    "smm", "softmax", "sparse_bsc_tensor", "sparse_bsr_tensor", "sparse_compressed_tensor", "sparse_coo_tensor",
    "sparse_csc_tensor", "sparse_csr_tensor", "spdiags", "spmm", "spsolve", "sspaddmm", "sum",
    "to_sparse_semi_structured",
]  # fmt: skip

globals().update(_NAMES)
sum = _sum
sum.__name__ = sum.__qualname__ = "sum"


def mm(sparse: Tensor, dense: Tensor, reduce: _products.Reduce = "sum") -> Tensor:
    """A sparse matrix (n, k) times a matrix (k, m): dense, or sparse where both are.

    ``reduce`` says what becomes of the products in a row: their sum, or "mean", "amax", "amin" of those that are held.

    >>> fb.sparse.mm(fb.eye(2).to_sparse(), fb.ones(2, 2))
    tensor([[1., 1.],
            [1., 1.]])
    """
    return _products.mm(sparse, dense, reduce) if _is_sparse(sparse, dense) else sparse.mm(dense)


def addmm(mat: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Number = 1.0, alpha: Number = 1.0) -> Tensor:
    """``beta * mat + alpha * (mat1 @ mat2)``, ``mat1`` sparse.

    >>> fb.sparse.addmm(fb.ones(2, 2), fb.eye(2).to_sparse(), fb.ones(2, 2))
    tensor([[2., 2.],
            [2., 2.]])
    """
    return mat.addmm(mat1, mat2, beta=beta, alpha=alpha)


def _is_sparse(*tensors: object) -> bool:
    return any(isinstance(t, _SparseTensor) for t in tensors)


def spsolve(input: Tensor, other: Tensor, *, left: bool = True) -> Tensor:
    """The solution X of ``input @ X = other`` for a square sparse matrix: computed with it as a dense matrix.

    >>> fb.sparse.spsolve(fb.tensor([[2.0, 0.0], [0.0, 4.0]]).to_sparse_csr(), fb.ones(2))
    tensor([0.5000, 0.2500])
    """
    return _solve(input.to_dense(), other, left=left)


def spmm(input: Tensor, mat2: Tensor) -> Tensor:
    """The product of two matrices, by its old name: :func:`flambeau.mm`.

    >>> fb.spmm(fb.eye(2).to_sparse(), fb.ones(2, 1))
    tensor([[1.],
            [1.]])
    """
    return input.mm(mat2)


_explain(globals(), "spmm spsolve", wrap=_checking)
dsmm, hsmm, saddmm = named("dsmm", spmm), named("hsmm", hspmm), named("saddmm", sspaddmm)  # other old names
give_homes(__name__, {"dsmm": dsmm, "hsmm": hsmm, "saddmm": saddmm})


class SparseSemiStructuredTensor:
    """Matrices with two zeros in each four numbers, for kernels that some GPUs have. They are not there: RuntimeError.

    PyTorch has them for CUDA alone. ``to_sparse_csr`` holds such matrices on every device.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> NoReturn:  # Any: it raises
        raise RuntimeError(
            f"{cls.__name__}: semi-structured sparsity needs kernels that no backend here has; use to_sparse_csr()"
        )

    @classmethod
    def from_dense(cls, original_tensor: Tensor) -> NoReturn:
        """RuntimeError, as the class itself."""
        cls(original_tensor)
        raise AssertionError


class SparseSemiStructuredTensorCUTLASS(SparseSemiStructuredTensor):
    """See :class:`SparseSemiStructuredTensor`."""


class SparseSemiStructuredTensorCUSPARSELT(SparseSemiStructuredTensor):
    """See :class:`SparseSemiStructuredTensor`."""


def to_sparse_semi_structured(original_tensor: Tensor, transposed: bool = False) -> NoReturn:
    """RuntimeError: see :class:`SparseSemiStructuredTensor`."""
    SparseSemiStructuredTensor(original_tensor)
    raise AssertionError
