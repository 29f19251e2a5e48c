"""The public forms of the decompositions, and what follows from them: norms, rank, condition, eigenvalues."""

from __future__ import annotations

import math
from collections.abc import Sequence

from flambeau.core import dtype as dt
from flambeau.core.autocast import autocasting
from flambeau.core.dtype import DTypeLike
from flambeau.core.errors import ArgumentError, ShapeError
from flambeau.core.ops import variance
from flambeau.core.ops.decompose import cholesky, eig_p, eigh_p, qr_p, slogdet_p, svd_p, svdvals_p
from flambeau.core.ops.elementwise import abs_p, cj, where
from flambeau.core.ops.shape import axis_of, matrix_transpose, reshape, unsqueeze
from flambeau.core.ops.solve import AUTO, tolerances
from flambeau.core.ops.storage import permute_p
from flambeau.core.ops.systems import inv_p
from flambeau.core.ops.views import diagonal as of_any
from flambeau.core.out import deliver, in_dtype
from flambeau.core.public import public
from flambeau.core.record import alike
from flambeau.core.results import QR, SVD, Eigen, OldSVD, SignedLog, returned
from flambeau.core.tensor import Tensor


# -- decompositions ----------------------------------------------------------------------------------
def qr(A: Tensor, mode: str = "reduced") -> QR[Tensor]:
    """Q with orthonormal columns and upper triangular R with Q @ R == A; "complete" makes Q square, "r" empty.

    For A (..., m, n) and k = min(m, n), Q is (..., m, k) and R (..., k, n).

    >>> [t.shape for t in fb.linalg.qr(fb.ones(3, 2))]
    [flambeau.Size([3, 2]), flambeau.Size([2, 2])]
    """
    if mode not in ("reduced", "complete", "r"):
        raise ArgumentError(f"qr: mode must be 'reduced', 'complete' or 'r', got {mode!r}")
    q, r = qr_p(A, "reduced" if mode == "r" else mode)
    made: QR[Tensor] = returned("linalg_qr", (q.new_empty((0,)) if mode == "r" else q, r))
    return made


def eigh(A: Tensor, UPLO: str = "L") -> Eigen[Tensor]:
    """Ascending, real eigenvalues (..., n) and eigenvectors (columns) of Hermitian A (..., n, n); one triangle is read.

    >>> fb.linalg.eigh(fb.tensor([[2.0, 0.0], [0.0, 4.0]])).eigenvalues
    tensor([2., 4.])
    """
    if UPLO.upper() not in ("L", "U"):
        raise ArgumentError(f"eigh: UPLO must be 'L' or 'U', got {UPLO!r}")
    made: Eigen[Tensor] = returned("linalg_eigh", eigh_p(A, UPLO.upper() == "U"))
    return made


def eigvalsh(A: Tensor, UPLO: str = "L") -> Tensor:
    """The eigenvalues of :func:`eigh`.

    >>> fb.linalg.eigvalsh(fb.tensor([[2.0, 0.0], [0.0, 4.0]]))
    tensor([2., 4.])
    """
    return eigh(A, UPLO).eigenvalues


def eig(A: Tensor) -> Eigen[Tensor]:
    """Complex eigenvalues (..., n) and eigenvectors (columns of norm 1) of A (..., n, n), in no particular order.

    >>> fb.linalg.eig(fb.tensor([[2.0, 0.0], [0.0, 4.0]])).eigenvalues
    tensor([2.+0.j, 4.+0.j])
    """
    made: Eigen[Tensor] = returned("linalg_eig", eig_p(A))
    return made


def eigvals(A: Tensor) -> Tensor:
    """The eigenvalues of :func:`eig`.

    >>> fb.linalg.eigvals(fb.tensor([[2.0, 0.0], [0.0, 4.0]]))
    tensor([2.+0.j, 4.+0.j])
    """
    return eig(A).eigenvalues


def svd(A: Tensor, full_matrices: bool = True) -> SVD[Tensor]:
    """U, descending S and Vh with U @ diag(S) @ Vh == A; ``full_matrices`` makes U and Vh square.

    For A (..., m, n) and k = min(m, n) they are (..., m, k), (..., k), real, and (..., k, n).

    >>> [t.shape for t in fb.linalg.svd(fb.ones(3, 2), full_matrices=False)]
    [flambeau.Size([3, 2]), flambeau.Size([2]), flambeau.Size([2, 2])]
    """
    made: SVD[Tensor] = returned("linalg_svd", svd_p(A, full_matrices))
    return made


@public(out=True)
def slogdet(A: Tensor) -> SignedLog[Tensor]:
    """The sign (of complex matrices the direction) of the determinant, and the logarithm of its size.

    >>> fb.slogdet(fb.eye(2))
    SignedLog(sign=tensor(1.), logabsdet=tensor(0.))
    """
    made: SignedLog[Tensor] = returned("linalg_slogdet", slogdet_p(A))
    return made


@public()
def logdet(input: Tensor) -> Tensor:
    """The logarithm of the determinant, of complex matrices a complex one; nan where a real one is negative.

    >>> fb.logdet(fb.eye(2))
    tensor(0.)
    """
    sign, size = slogdet_p(input)
    if sign.is_complex():
        return sign.log() + size
    return where(sign < 0, math.nan, size)


# -- norms -------------------------------------------------------------------------------------------
def vector_norm(
    x: Tensor, ord: float = 2, dim: int | Sequence[int] | None = None, keepdim: bool = False, *,
    dtype: DTypeLike | None = None, out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """``sum(abs(x)**ord)**(1/ord)`` over ``dim`` (None: all elements), with the limits at 0 and at both infinities.

    >>> fb.linalg.vector_norm(fb.tensor([3.0, 4.0]))
    tensor(5.)
    """
    return deliver("vector_norm", variance.vector_norm_p(in_dtype(x, dtype), float(ord), dim, keepdim), out)


def matrix_norm(
    A: Tensor, ord: float | str = "fro", dim: Sequence[int] = (-2, -1), keepdim: bool = False, *,
    dtype: DTypeLike | None = None,
) -> Tensor:  # fmt: skip
    """A norm of matrices: "fro", "nuc", inf, -inf, 1, -1 (sums of rows or columns), 2, -2 (singular values).

    >>> fb.linalg.matrix_norm(fb.tensor([[1.0, -2.0], [3.0, 4.0]]), 1)
    tensor(6.)
    """
    A = in_dtype(A, dtype)
    if len(dim) != 2:
        raise ShapeError(f"matrix_norm: dim must be two dimensions, got {tuple(dim)}")
    if A.ndim < 2:
        raise ShapeError(f"matrix_norm: A must have at least 2 dimensions, got shape {tuple(A.shape)}")
    rows, columns = axis_of("matrix_norm", A, dim[0]), axis_of("matrix_norm", A, dim[1])
    if rows == columns:
        raise ShapeError(
            f"matrix_norm: dim must be two different dimensions, got {tuple(dim)} for shape {tuple(A.shape)}"
        )
    if ord == "fro":
        return variance.vector_norm_p(A, 2.0, (rows, columns), keepdim)
    if ord in ("nuc", 2, -2):
        return _spectral(A, ord, rows, columns, keepdim)
    if ord not in (1, -1, math.inf, -math.inf):
        raise ArgumentError(f"matrix_norm: ord must be 'fro', 'nuc', inf, -inf, 1, -1, 2 or -2, got {ord!r}")
    summed, compared = (rows, columns) if ord in (1, -1) else (columns, rows)
    sums = abs_p(A).sum(summed, keepdim=True)
    if ord > 0 and not sums._array.shape[compared]:  # the largest of none is 0
        return sums.sum((rows, columns), keepdim=keepdim)
    found = sums.amax(compared, keepdim=True) if ord > 0 else sums.amin(compared, keepdim=True)
    return found if keepdim else found.squeeze((rows, columns))


def _spectral(A: Tensor, ord: float | str, rows: int, columns: int, keepdim: bool) -> Tensor:
    others = [i for i in range(A.ndim) if i not in (rows, columns)]
    values = svdvals_p(permute_p(A, (*others, rows, columns)))
    if ord == "nuc" or ord == 2 and not values._array.shape[-1]:  # the largest of none is 0
        found = values.sum(-1)
    else:
        found = values.amax(-1) if ord == 2 else values.amin(-1)
    if not keepdim:
        return found
    return reshape(found, tuple([1 if i in (rows, columns) else n for i, n in enumerate(A._array.shape)]))


def norm(
    A: Tensor, ord: float | str | None = None, dim: int | Sequence[int] | None = None, keepdim: bool = False, *,
    dtype: DTypeLike | None = None,
) -> Tensor:  # fmt: skip
    """The vector norm, or the matrix norm where ``ord`` is given and ``dim`` names two dimensions (or A is 2-d).

    >>> fb.linalg.norm(fb.tensor([3.0, 4.0]))
    tensor(5.)
    """
    dims = (dim,) if isinstance(dim, int) else dim
    if ord is None:
        return vector_norm(A, 2, dims, keepdim, dtype=dtype)
    if dims is not None and len(dims) == 1 or dims is None and A.ndim == 1:
        return vector_norm(A, float(ord), dims, keepdim, dtype=dtype)
    if dims is None and A.ndim != 2:
        raise ShapeError(f"norm: with ord={ord!r} and no dim, A must be 1-d or 2-d, got shape {tuple(A.shape)}")
    return matrix_norm(A, ord, (0, 1) if dims is None else dims, keepdim, dtype=dtype)


def cond(A: Tensor, p: float | str | None = None) -> Tensor:
    """The condition number in the norm ``p``: by singular values for None, 2 and -2, else norm(A) * norm(inv(A)).

    >>> fb.linalg.cond(fb.tensor([[2.0, 0.0], [0.0, 4.0]]))
    tensor(2.)
    """
    if p in (None, 2, -2):
        values = svdvals_p(A)
        largest, smallest = values.amax(-1), values.amin(-1)
        return smallest / largest if p == -2 else largest / smallest
    return matrix_norm(A, p) * matrix_norm(inv_p(A), p)


def matrix_rank(
    A: Tensor, tol: float | Tensor | None = None, hermitian: bool = False, *,
    atol: float | Tensor | None = None, rtol: float | Tensor | None = None,
) -> Tensor:  # fmt: skip
    """How many singular values are above max(atol, rtol * the largest); by default rtol is epsilon times the size.

    >>> fb.linalg.matrix_rank(fb.tensor([[2.0, 0.0], [0.0, 4.0]]))
    tensor(2)
    """
    plain = A.detach()
    values = abs_p(eigh_p(plain, False)[0]) if hermitian else svdvals_p(plain)
    if not values.numel():
        return values.sum(-1).to(dt.int64)
    rtol, atol = (0.0, tol) if tol is not None else (AUTO if rtol is None else rtol, 0.0 if atol is None else atol)
    rtol, atol = (unsqueeze(t, -1) if isinstance(t, Tensor) else t for t in (rtol, atol))  # one for each matrix
    return (values > tolerances(A, values.amax(-1, keepdim=True), rtol, atol)).sum(-1)


@public(method=False, out=True)
@autocasting("low")
def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """The sum of products of the conjugate of x with y along ``dim``; the other dimensions broadcast.

    >>> fb.linalg.vecdot(fb.ones(2, 3), fb.ones(2, 3))
    tensor([3., 3.])
    """
    alike("x and y")("vecdot", (x, y))
    return (cj(x) * y).sum(dim)


def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """:func:`flambeau.diagonal` of the last two dimensions by default; a view.

    >>> fb.linalg.diagonal(fb.tensor([[2.0, 0.0], [0.0, 4.0]]))
    tensor([2., 4.])
    """
    return of_any(A, offset, dim1, dim2)


@public()
@autocasting("same|float32")
def dist(input: Tensor, other: Tensor, p: float = 2) -> Tensor:
    """The p-norm of the difference.

    >>> fb.dist(fb.tensor([3.0]), fb.tensor([7.0]))
    tensor(4.)
    """
    return vector_norm(input - other, p)


# -- the older names ---------------------------------------------------------------------------------
@public("svd", out=True)
def _old_svd(input: Tensor, some: bool = True, compute_uv: bool = True) -> OldSVD[Tensor]:
    """(U, S, V) with U @ diag(S) @ V.mH == input; :func:`flambeau.linalg.svd` is the newer form.

    Without ``compute_uv`` U and V are square and all 0.

    >>> [t.shape for t in fb.svd(fb.ones(3, 2))]
    [flambeau.Size([3, 2]), flambeau.Size([2]), flambeau.Size([2, 2])]
    """
    if compute_uv:
        u, s, vh = svd_p(input, not some)
        v = matrix_transpose(vh).conj() if vh.is_complex() else matrix_transpose(vh)
    else:
        s = svdvals_p(input)
        u, v = (input.new_zeros((*input.shape[:-2], n, n)) for n in input.shape[-2:])
    made: OldSVD[Tensor] = returned("svd", (u, s, v))
    return made


@public("cholesky", out=True)
def _old_cholesky(input: Tensor, upper: bool = False) -> Tensor:
    """:func:`flambeau.linalg.cholesky`.

    >>> fb.cholesky(fb.tensor([[4.0, 2.0], [2.0, 5.0]]))
    tensor([[2., 0.],
            [1., 2.]])
    """
    return cholesky(input, upper=upper)


@public("qr", out=True)
def _old_qr(input: Tensor, some: bool = True) -> QR[Tensor]:
    """:func:`flambeau.linalg.qr`, reduced if ``some``, else complete.

    >>> [t.shape for t in fb.qr(fb.ones(3, 2))]
    [flambeau.Size([3, 2]), flambeau.Size([2, 2])]
    """
    return qr(input, "reduced" if some else "complete")


@public("norm")
def _old_norm(
    input: Tensor, p: float | str | None = "fro", dim: int | Sequence[int] | None = None, keepdim: bool = False, *,
    dtype: DTypeLike | None = None, out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The ``p``-norm of all elements or over ``dim``: "fro" is 2, "nuc" the sum of singular values of matrices.

    >>> fb.norm(fb.tensor([3.0, 4.0]))
    tensor(5.)
    """
    x = in_dtype(input, dtype)
    if p == "nuc":
        axes = (-2, -1) if dim is None else (dim,) if isinstance(dim, int) else dim
        return deliver("norm", matrix_norm(x, "nuc", axes, keepdim), out)
    if isinstance(p, str) and p != "fro":
        raise ArgumentError(f"norm: p must be a number, 'fro' or 'nuc', got {p!r}")
    order = 2.0 if p is None or p == "fro" else float(p)
    return deliver("norm", variance.vector_norm_p(x, order, dim, keepdim), out)
