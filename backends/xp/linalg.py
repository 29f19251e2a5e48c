"""Products of matrices and the decompositions, of the last two axes of batches."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, Final

from flambeau.backends.base import LinAlgError
from flambeau.backends.xp import Array, Bodies, Namespace
from flambeau.core import dtype as dt

bodies = Bodies()

_DTYPES: Final = (dt.float32, dt.float64, dt.complex64, dt.complex128)
#: Rows of a triangular system that are solved at once.
_BLOCK: Final = 32


@bodies.kernel("matmul")
def matmul(xp: Namespace, x: Array, y: Array) -> Array:
    return xp.matmul(x, y)


def _transposed(x: Array) -> Array:
    return x.swapaxes(-1, -2)


def _square(op: str, x: Array) -> None:
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise LinAlgError(f"{op}: the last two dimensions must be equal, got shape {tuple(x.shape)}")


def _explained(xp: Namespace, op: str, x: Array, why: str, compute: Callable[[Array], Any]) -> Any:
    """``compute(x)``; where it fails, LinAlgError says which matrix of the batch did."""
    try:
        return compute(x)
    except xp.linalg.LinAlgError:
        pass
    flat = x.reshape(-1, *x.shape[-2:])
    for i in range(len(flat)):
        try:
            compute(flat[i])
        except xp.linalg.LinAlgError:
            which = "the matrix" if x.ndim == 2 else f"matrix {i} of the batch"
            raise LinAlgError(f"{op}: {which} of shape {tuple(x.shape)} {why}") from None
    raise LinAlgError(f"{op}: input of shape {tuple(x.shape)} {why}")


def _without_nan(xp: Namespace, low: Array) -> Array:
    """A factor; LinAlgError where it has nan, which not every library's routine looks for."""
    if xp.isnan(xp.diagonal(low, 0, -2, -1)).any():
        raise xp.linalg.LinAlgError
    return low


# -- factorisations --------------------------------------------------------------------------------
@bodies.kernel("cholesky", _DTYPES)
def cholesky(xp: Namespace, x: Array, *, upper: bool = False) -> Array:
    """The lower triangular l with l lᴴ = x, or its conjugate transpose; only one triangle of ``x`` is read."""
    _square("cholesky", x)
    source = xp.conj(_transposed(x)) if upper else x
    why = "has no factor: the input is not positive-definite"  # packages look for these last words
    low = _explained(xp, "cholesky", source, why, lambda m: _without_nan(xp, xp.linalg.cholesky(m)))
    return xp.conj(_transposed(low)) if upper else low


@bodies.kernel("qr", _DTYPES)
def qr(xp: Namespace, x: Array, *, mode: str = "reduced") -> tuple[Array, Array]:
    """Orthonormal q and upper triangular r with q r = x; ``mode`` is "reduced" or "complete"."""
    q, r = xp.linalg.qr(x, mode)
    return q, r


@bodies.kernel("eigh", _DTYPES)
def eigh(xp: Namespace, x: Array, *, upper: bool = False) -> tuple[Array, Array]:
    """Ascending eigenvalues and eigenvectors (columns) of Hermitian matrices, of which one triangle is read."""
    _square("eigh", x)
    w, v = _explained(xp, "eigh", x, "failed to converge", lambda m: tuple(xp.linalg.eigh(m, "U" if upper else "L")))
    return w, v


@bodies.kernel("svd", _DTYPES)
def svd(xp: Namespace, x: Array, *, full: bool = False) -> tuple[Array, Array, Array]:
    """u, descending s and vᴴ with (u * s) vᴴ = x; ``full`` makes u and vᴴ square."""
    u, s, vh = _explained(xp, "svd", x, "failed to converge", lambda m: tuple(xp.linalg.svd(m, full)))
    return u, s, vh


@bodies.kernel("svdvals", _DTYPES)
def svdvals(xp: Namespace, x: Array) -> Array:
    """The singular values, descending."""
    return _explained(xp, "svdvals", x, "failed to converge", lambda m: xp.linalg.svd(m, compute_uv=False))


@bodies.kernel("eig", _DTYPES)
def eig(xp: Namespace, x: Array) -> tuple[Array, Array]:
    """Complex eigenvalues and eigenvectors (columns)."""
    _square("eig", x)
    w, v = _explained(xp, "eig", x, "failed to converge", lambda m: tuple(xp.linalg.eig(m)))
    wanted = dt.from_numpy(x.dtype).to_complex().numpy
    return w.astype(wanted, copy=False), v.astype(wanted, copy=False)


@bodies.kernel("lu_factor", _DTYPES)
def lu_factor(xp: Namespace, x: Array) -> tuple[Array, Array]:
    """Both factors of p l u = x in one matrix (l's diagonal is 1), and the rows (n,) that p exchanged, from 0.

    At step i row i was exchanged with row ``pivots[i]``, the one of the largest element (partial pivoting; Golub
    and Van Loan, "Matrix Computations", 3.4). All matrices of a batch go through each step together.
    """
    lu = x.reshape(prod(x.shape[:-2]), *x.shape[-2:]).copy("C")
    rows, columns = lu.shape[-2:]
    batch = xp.arange(len(lu))
    pivots = xp.empty((len(lu), min(rows, columns)), "i8")
    for i in range(min(rows, columns)):
        pivot = i + xp.argmax(_size(lu[:, i:, i]), axis=1)
        pivots[:, i] = pivot
        upper, lower = lu[batch, pivot], lu[:, i].copy()
        lu[batch, pivot], lu[:, i] = lower, upper
        divisor = lu[:, i, i, None]
        below = lu[:, i + 1 :, i]
        below /= xp.where(divisor == 0, xp.ones_like(divisor), divisor)  # a zero column stays zero
        lu[:, i + 1 :, i + 1 :] -= below[:, :, None] * lu[:, i, None, i + 1 :]
    return lu.reshape(x.shape), pivots.reshape(*x.shape[:-2], pivots.shape[-1])


def _size(x: Array) -> Array:
    """The size that LAPACK compares pivots by: of complex numbers the sum of the sizes of both parts."""
    return abs(x.real) + abs(x.imag) if x.dtype.kind == "c" else abs(x)


# -- systems ---------------------------------------------------------------------------------------
@bodies.kernel("solve", _DTYPES)
def solve(xp: Namespace, a: Array, b: Array) -> Array:
    """x with a x = b, ``b`` of shape (..., n, k)."""
    _square("solve", a)
    batch = xp.broadcast_shapes(a.shape[:-2], b.shape[:-2])  # CuPy wants equal ones
    a, b = (xp.broadcast_to(v, (*batch, *v.shape[-2:])) for v in (a, b))
    try:
        return xp.linalg.solve(a, b)
    except xp.linalg.LinAlgError:
        raise LinAlgError(f"solve: {_first_singular(xp, a)} of shape {tuple(a.shape)} is singular") from None


@bodies.kernel("inv", _DTYPES)
def inv(xp: Namespace, x: Array) -> Array:
    _square("inv", x)
    return _explained(xp, "inv", x, "is singular and has no inverse", xp.linalg.inv)


def _first_singular(xp: Namespace, a: Array) -> str:
    """Which matrix of a batch is exactly singular, in words."""
    sign, _ = xp.linalg.slogdet(a)
    singular = xp.argwhere(xp.asarray(sign == 0).reshape(-1))
    return f"matrix {int(singular[0, 0])} of the batch" if a.ndim > 2 and len(singular) else "the matrix"


@bodies.kernel("det", _DTYPES)
def det(xp: Namespace, x: Array) -> Array:
    _square("det", x)
    return xp.linalg.det(x)


@bodies.kernel("slogdet", _DTYPES)
def slogdet(xp: Namespace, x: Array) -> tuple[Array, Array]:
    """The sign (complex: direction) of the determinant, and the logarithm of its size."""
    _square("slogdet", x)
    sign, log = xp.linalg.slogdet(x)
    return sign, log


@bodies.kernel("solve_triangular", _DTYPES)
def solve_triangular(xp: Namespace, a: Array, b: Array, *, upper: bool, unitriangular: bool = False) -> Array:
    """x with a x = b, where only one triangle of ``a`` is read, and its diagonal counts as 1 if ``unitriangular``.

    By blocks: a small system, then a product with what stands beside it (Golub and Van Loan, 3.1.4).
    """
    _square("solve_triangular", a)
    n = a.shape[-1]
    shape = (*xp.broadcast_shapes(a.shape[:-2], b.shape[:-2]), n, b.shape[-1])
    x = xp.broadcast_to(b, shape).copy("C")
    keep = xp.triu if upper else xp.tril
    starts = range(0, n, _BLOCK)
    for start in reversed(starts) if upper else starts:
        here, rest = slice(start, start + _BLOCK), slice(0, start) if upper else slice(start + _BLOCK, n)
        block = keep(a[..., here, here])
        if unitriangular:
            block = keep(block, 1 if upper else -1) + xp.eye(block.shape[-1], dtype=a.dtype)
        x[..., here, :] = _solved(xp, block, x[..., here, :], upper)
        x[..., rest, :] -= xp.matmul(a[..., rest, here], x[..., here, :])
    return x


def _solved(xp: Namespace, block: Array, b: Array, upper: bool) -> Array:
    """A small triangular system by substitution; a zero on the diagonal gives inf or nan, as in LAPACK."""
    x = xp.broadcast_to(b, (*xp.broadcast_shapes(block.shape[:-2], b.shape[:-2]), *b.shape[-2:])).copy("C")
    n = block.shape[-1]
    for i in reversed(range(n)) if upper else range(n):
        known = slice(i + 1, n) if upper else slice(0, i)
        x[..., i, :] -= xp.matmul(block[..., i, None, known], x[..., known, :])[..., 0, :]
        x[..., i, :] /= block[..., i, i, None]
    return x
