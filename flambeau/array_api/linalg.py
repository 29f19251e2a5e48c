"""The standard's extension of linear algebra."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from flambeau import linalg
from flambeau.array_api import reductions
from flambeau.core.dtype import DType
from flambeau.core.errors import ShapeError
from flambeau.core.ops import elementwise, expand, reduce, standard
from flambeau.core.results import QR, SVD, Eigen, SignedLog
from flambeau.core.tensor import Tensor
from flambeau.linalg import det, inv, matrix_transpose, svdvals

__all__ = [
    "cholesky", "cross", "det", "diagonal", "eigh", "eigvalsh", "inv", "matmul", "matrix_norm", "matrix_power",
    "matrix_rank", "matrix_transpose", "outer", "pinv", "qr", "slogdet", "solve", "svd", "svdvals", "tensordot",
    "trace", "vecdot", "vector_norm",
]  # fmt: skip


def cholesky(x: Tensor, /, *, upper: bool = False) -> Tensor:
    """The triangular factor of positive definite matrices."""
    return linalg.cholesky(x, upper=upper)


def matmul(x1: Tensor, x2: Tensor, /) -> Tensor:
    """The matrix product; a vector counts as one row or column. Arrays promote to their common dtype."""
    return linalg.matmul(*standard.promoted(x1, x2))


def outer(x1: Tensor, x2: Tensor, /) -> Tensor:
    """The product of every element of one vector with every element of another."""
    return linalg.outer(*standard.promoted(x1, x2))


def cross(x1: Tensor, x2: Tensor, /, *, axis: int = -1) -> Tensor:
    """The cross product of vectors of three elements along ``axis``."""
    for i, x in enumerate((x1, x2), 1):
        if x.shape[axis] != 3:
            raise ShapeError(f"cross: axis {axis} of x{i} must have size 3, got shape {tuple(x.shape)}")
    return linalg.cross(*expand.broadcast_tensors(*standard.promoted(x1, x2)), dim=axis)


def diagonal(x: Tensor, /, *, offset: int = 0) -> Tensor:
    """A diagonal of each matrix; a view."""
    return linalg.diagonal(x, offset=offset)


def eigh(x: Tensor, /) -> Eigen[Tensor]:
    """The eigenvalues and eigenvectors of symmetric or Hermitian matrices."""
    return linalg.eigh(x)


def eigvalsh(x: Tensor, /) -> Tensor:
    """The eigenvalues of symmetric or Hermitian matrices, in ascending order."""
    return linalg.eigvalsh(x)


def matrix_norm(x: Tensor, /, *, keepdims: bool = False, ord: float | str | None = "fro") -> Tensor:
    """A norm of each matrix; None is Frobenius's."""
    return linalg.matrix_norm(x, "fro" if ord is None else ord, keepdim=keepdims)


def matrix_power(x: Tensor, n: int, /) -> Tensor:
    """Each square matrix to the ``n``-th power."""
    return linalg.matrix_power(x, n)


def matrix_rank(x: Tensor, /, *, rtol: float | Tensor | None = None) -> Tensor:
    """How many singular values are above ``rtol`` times the greatest one."""
    return linalg.matrix_rank(x, rtol=rtol)


def pinv(x: Tensor, /, *, rtol: float | Tensor | None = None) -> Tensor:
    """The pseudo-inverse; singular values up to ``rtol`` times the greatest count as zero."""
    if not isinstance(rtol, Tensor):
        return linalg.pinv(x, rtol=rtol)
    u, sizes, vh = linalg.svd(x, False)
    if not sizes.shape[-1]:
        return vh.mH @ u.mH
    keep = sizes > rtol.unsqueeze(-1) * sizes.amax(-1, keepdim=True)
    inverse = elementwise.where(keep, 1 / elementwise.where(keep, sizes, 1.0), 0.0)
    return (vh.mH * inverse.unsqueeze(-2)) @ u.mH


def qr(x: Tensor, /, *, mode: Literal["reduced", "complete"] = "reduced") -> QR[Tensor]:
    """An orthogonal and an upper triangular factor."""
    return linalg.qr(x, mode)


def slogdet(x: Tensor, /) -> SignedLog[Tensor]:
    """The sign and the logarithm of the size of the determinant."""
    return linalg.slogdet(x)


def solve(x1: Tensor, x2: Tensor, /) -> Tensor:
    """``x`` with ``x1 @ x == x2``, which is one vector if it has one dimension, else matrices.

    >>> fb.array_api.linalg.solve(fb.tensor([[2.0]]), fb.tensor([[4.0, 6.0]]))
    tensor([[2., 3.]])
    """
    x1, x2 = standard.promoted(x1, x2)
    if x2.ndim == 1:
        return linalg.solve(x1, x2.unsqueeze(-1)).squeeze(-1)
    size = [max(a, b) if 0 not in (a, b) else 0 for a, b in zip(_batch(x1, x2), _batch(x2, x1), strict=True)]
    return linalg.solve(x1.expand(*size, *x1.shape[-2:]), x2.expand(*size, *x2.shape[-2:]))


def _batch(x: Tensor, other: Tensor) -> tuple[int, ...]:
    return (1,) * (other.ndim - x.ndim) + tuple(x.shape[:-2])


def svd(x: Tensor, /, *, full_matrices: bool = True) -> SVD[Tensor]:
    """The singular value decomposition ``U @ diag(S) @ Vh``."""
    return linalg.svd(x, full_matrices)


def tensordot(x1: Tensor, x2: Tensor, /, *, axes: int | tuple[Sequence[int], Sequence[int]] = 2) -> Tensor:
    """The sum of products over pairs of axes: so many at the end of ``x1`` and the start of ``x2``, or those named."""
    a, b = standard.promoted(x1, x2)
    return linalg.tensordot(a, b, axes)


def trace(x: Tensor, /, *, offset: int = 0, dtype: DType | None = None) -> Tensor:
    """The sum of a diagonal of each matrix.

    >>> fb.array_api.linalg.trace(fb.tensor([[1, 2], [3, 4]]))
    tensor(5)
    """
    return reductions.sum(linalg.diagonal(x, offset=offset), axis=-1, dtype=dtype)


def vecdot(x1: Tensor, x2: Tensor, /, *, axis: int = -1) -> Tensor:
    """The sum of ``conj(x1) * x2`` along ``axis``, counted from the end."""
    if axis >= 0:
        raise ShapeError(f"vecdot: axis counts from the end, so it must be negative; got {axis}")
    if x1.shape[axis] != x2.shape[axis]:
        raise ShapeError(f"vecdot: axis {axis} has size {x1.shape[axis]} in x1 and {x2.shape[axis]} in x2")
    x1, x2 = standard.promoted(x1, x2)
    return reduce._sum(x1.conj() * x2, axis, dtype=x1.dtype)


def vector_norm(
    x: Tensor, /, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False, ord: float = 2
) -> Tensor:
    """A norm of the vectors along ``axis``; None: of the flattened array."""
    x, along, keepdims = reductions.over(x, axis, keepdims)
    return linalg.vector_norm(x, ord, along, keepdims)
