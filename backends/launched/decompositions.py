"""Decompositions and systems of equations: which kernels, in what order, and the errors of matrices that have none.

Where an error depends on the values (no inverse, not positive definite, no convergence) the host waits for one number
of each matrix. Eigenvalues of matrices that are not Hermitian are computed on the host, by LAPACK.
"""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Any, Final

import numpy as np

from flambeau.backends import layout as lay
from flambeau.backends.base import HostArray, LinAlgError, Shape
from flambeau.backends.dialect import eigen, matrices
from flambeau.backends.launched import elementwise, linalg
from flambeau.backends.launched.launcher import Launcher
from flambeau.backends.strided import StridedArray
from flambeau.core import dtype as dt

DTYPES: Final = (dt.float32, dt.float64, dt.complex64, dt.complex128)


def register(backend: Launcher) -> None:
    """Enter the decompositions and the systems."""
    for fn in (cholesky, qr, eigh, svd, svdvals, eig, lu_factor, solve, inv, det, slogdet, solve_triangular):
        backend.kernels.register(fn.__name__, partial(fn, backend), DTYPES)


# -- arrays ------------------------------------------------------------------------------------------
def _batched(x: StridedArray) -> tuple[tuple[int, ...], int]:
    """The sizes before the matrices', and how many matrices that is."""
    return x.shape[:-2], prod(x.shape[:-2])


def _square(op: str, x: StridedArray) -> tuple[tuple[int, ...], int, int]:
    """The sizes before the matrices', how many matrices that is, and their rows; an error where they are not square."""
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise LinAlgError(f"{op}: the last two dimensions must be equal, got shape {x.shape}")
    return (*_batched(x), x.shape[-1])


def _adjoint(backend: Launcher, x: StridedArray) -> StridedArray:
    """A contiguous copy of the conjugate transposes."""
    out = backend.empty((*x.shape[:-2], x.shape[-1], x.shape[-2]), x.dtype, x.index)
    backend.copy(out, linalg.turned(x))
    if x.dtype.is_complex and out.size:
        _, imag = linalg.parts(out)
        minus = backend.empty((), imag.dtype, x.index)
        elementwise.fill(backend, minus, -1)
        backend.expression("x * y", (imag.dtype, imag.dtype), imag.dtype)(imag, minus, out=imag)
    return out


def _identity(backend: Launcher, like: StridedArray, shape: Shape) -> StridedArray:
    """Matrices with ones on the diagonal, of a dtype and on a device."""
    out = backend.empty(shape, like.dtype, like.index)
    if out.size:
        elementwise.fill(backend, out, 0)
        (n, m), batch = shape[-2:], shape[:-2]
        diagonal = out.viewed((*batch, min(n, m)), (*out.strides[:-2], m + 1), 0)
        one = backend.empty((), like.dtype, like.index)
        elementwise.fill(backend, one, 1)
        backend.copy(diagonal, one.expanded(diagonal.shape))
    return out


def _product(backend: Launcher, x: StridedArray, y: StridedArray) -> StridedArray:
    found = backend.kernels.find("matmul", x.dtype)
    assert found is not None  # every backend has products
    out: StridedArray = found(x, y)
    return out


def _numbers(backend: Launcher, x: StridedArray) -> HostArray:
    """A contiguous array's values, for which the host waits."""
    host = np.empty(x.shape, x.dtype.numpy)
    backend.device(x.index).fetch(x, host.reshape(-1).view(np.uint8))
    return host


def _raise_where(backend: Launcher, op: str, info: StridedArray, x: StridedArray, why: str) -> None:
    """LinAlgError that says which matrix of ``x`` failed, where one did."""
    failed = np.flatnonzero(_numbers(backend, info))
    if len(failed):
        which = "the matrix" if x.ndim == 2 else f"matrix {failed[0]} of the batch"
        raise LinAlgError(f"{op}: {which} of shape {x.shape} {why}")


# -- factors -----------------------------------------------------------------------------------------
def cholesky(backend: Launcher, x: StridedArray, *, upper: bool = False) -> StridedArray:
    """The lower triangular l with l lᴴ = x, or its conjugate transpose; only one triangle of ``x`` is read."""
    (batch, count, n), out = _square("cholesky", x), backend.copied(x)
    if out.size:
        device, info = backend.device(x.index), backend.empty(batch, dt.int64, x.index)
        device.enqueue(matrices.cholesky(device, x.dtype, count, n, upper, 0), (), (out, info))
        _raise_where(backend, "cholesky", info, x, "is not positive definite")
    return out


def qr(backend: Launcher, x: StridedArray, *, mode: str = "reduced") -> tuple[StridedArray, StridedArray]:
    """Orthonormal q and upper triangular r with q r = x; ``mode`` is "reduced" or "complete"."""
    (batch, count), (m, n) = _batched(x), x.shape[-2:]
    wide = m if mode == "complete" else min(m, n)
    if not x.size:
        return _identity(backend, x, (*batch, m, wide)), _identity(backend, x, (*batch, wide, n))
    device, r = backend.device(x.index), backend.copied(x)
    q = backend.empty((*batch, m, wide), x.dtype, x.index)
    tau = backend.empty((count, min(m, n)), x.dtype, x.index)
    sums = backend.empty((count, max(n, wide)), x.dtype, x.index)
    device.enqueue(matrices.qr(device, x.dtype, count, m, n, wide, 0), (), (r, tau, sums, q))
    return q, r.viewed((*batch, wide, n), r.strides, 0)


def lu_factor(backend: Launcher, x: StridedArray) -> tuple[StridedArray, StridedArray]:
    """Both factors of p l u = x in one matrix (l's diagonal is 1), and the rows (k,) that p exchanged, from 0."""
    return _lu(backend, x)[:2]


def _lu(backend: Launcher, x: StridedArray) -> tuple[StridedArray, StridedArray, StridedArray]:
    """The factors, the exchanges, and for each matrix the first row without a pivot, from 1, or 0."""
    (batch, count), (m, n) = _batched(x), x.shape[-2:]
    out = backend.copied(x)
    pivots = backend.empty((*batch, min(m, n)), dt.int64, x.index)
    info = backend.empty(batch, dt.int64, x.index)
    if out.size:
        device = backend.device(x.index)
        device.enqueue(matrices.lu(device, x.dtype, count, m, n, 0), (), (out, pivots, info))
    return out, pivots, info


# -- determinants ------------------------------------------------------------------------------------
def _determinants(backend: Launcher, x: StridedArray) -> tuple[StridedArray, StridedArray, StridedArray]:
    """Determinants, their signs, the logarithms of their sizes."""
    batch, count, n = _square("det", x)
    whole, signs = (backend.empty(batch, x.dtype, x.index) for _ in range(2))
    sizes = backend.empty(batch, x.dtype.to_real(), x.index)
    if x.size:
        lu, pivots, _ = _lu(backend, x)
        device = backend.device(x.index)
        text = matrices.determinant(device, x.dtype, count, n)
        device.enqueue(text, (lu, pivots), (whole, signs, sizes))
    elif count:  # of no rows
        for out, value in ((whole, 1), (signs, 1), (sizes, 0)):
            elementwise.fill(backend, out, value)
    return whole, signs, sizes


def det(backend: Launcher, x: StridedArray) -> StridedArray:
    """The product of the pivots, with the sign of the exchanges."""
    return _determinants(backend, x)[0]


def slogdet(backend: Launcher, x: StridedArray) -> tuple[StridedArray, StridedArray]:
    """The sign (complex: direction) of the determinant, and the logarithm of its size."""
    return _determinants(backend, x)[1:]


# -- systems -----------------------------------------------------------------------------------------
def _aligned(backend: Launcher, a: StridedArray, b: StridedArray) -> tuple[StridedArray, StridedArray, bool]:
    """Systems and a copy of their right-hand sides in equal batches; whether all share one matrix (not repeated)."""
    batch = lay.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    x = backend.copied(b.expanded((*batch, *b.shape[-2:])))
    shared = prod(a.shape[:-2]) == 1
    return (a if shared else a.expanded((*batch, *a.shape[-2:]))), x, shared


def _substitute(
    backend: Launcher, a: StridedArray, x: StridedArray, shared: bool, upper: bool, unit: bool
) -> StridedArray:
    """Solve contiguous triangular systems in place."""
    if x.size:
        device = backend.device(x.index)
        count, (n, columns) = prod(x.shape[:-2]), x.shape[-2:]
        launch = matrices.triangular(device, x.dtype, count, n, columns, a.offset, shared, upper, unit)
        device.enqueue(launch, (a,), (x,))
    return x


def solve_triangular(
    backend: Launcher, a: StridedArray, b: StridedArray, *, upper: bool, unitriangular: bool = False
) -> StridedArray:
    """x with a x = b, where only one triangle of ``a`` is read, and its diagonal counts as 1 if ``unitriangular``."""
    a, x, shared = _aligned(backend, a, b)
    return _substitute(backend, backend.dense(a), x, shared, upper, unitriangular)


def solve(backend: Launcher, a: StridedArray, b: StridedArray) -> StridedArray:
    """x with a x = b, ``b`` of shape (..., n, k)."""
    return _solved(backend, "solve", a, b, "is singular")


def inv(backend: Launcher, x: StridedArray) -> StridedArray:
    """The inverse of each matrix."""
    return _solved(backend, "inv", x, _identity(backend, x, x.shape), "is singular and has no inverse")


def _solved(backend: Launcher, op: str, a: StridedArray, b: StridedArray, why: str) -> StridedArray:
    given, _ = a, _square(op, a)
    a, x, shared = _aligned(backend, a, b)
    if not a.size or not x.size:
        return x
    lu, pivots, info = _lu(backend, a)
    _raise_where(backend, op, info, given, why)
    device, count, (n, columns) = backend.device(x.index), prod(x.shape[:-2]), x.shape[-2:]
    device.enqueue(matrices.exchange(device, x.dtype, count, n, columns, shared), (pivots,), (x,))
    _substitute(backend, lu, x, shared, upper=False, unit=True)
    return _substitute(backend, lu, x, shared, upper=True, unit=False)


# -- eigenvalues and singular values -----------------------------------------------------------------
def eigh(backend: Launcher, x: StridedArray, *, upper: bool = False) -> tuple[StridedArray, StridedArray]:
    """Ascending eigenvalues and eigenvectors (columns) of Hermitian matrices, of which one triangle is read."""
    (batch, count, n), real = _square("eigh", x), x.dtype.to_real()
    values, vectors = backend.empty(x.shape[:-1], real, x.index), backend.empty(x.shape, x.dtype, x.index)
    if x.size:
        device, info = backend.device(x.index), backend.empty(batch, dt.int64, x.index)
        work = backend.empty((count, 2 * n), x.dtype, x.index)
        numbers = backend.empty((count, 4 * n + 4), real, x.index)
        outs = (backend.copied(x), work, numbers, values, vectors, info)
        device.enqueue(eigen.eigh(device, x.dtype, count, n, upper, 0), (), outs)
        _raise_where(backend, "eigh", info, x, "did not converge")
    return values, vectors


def svd(backend: Launcher, x: StridedArray, *, full: bool = False) -> tuple[StridedArray, StridedArray, StridedArray]:
    """u, descending s and vᴴ with (u * s) vᴴ = x; ``full`` makes u and vᴴ square."""
    return _svd(backend, "svd", x, full)


def svdvals(backend: Launcher, x: StridedArray) -> StridedArray:
    """The singular values, descending."""
    return _svd(backend, "svdvals", x, False)[1]


def _svd(backend: Launcher, op: str, x: StridedArray, full: bool) -> tuple[StridedArray, StridedArray, StridedArray]:
    batch, (m, n) = x.shape[:-2], x.shape[-2:]
    if m < n:
        u, s, vh = _svd(backend, op, _adjoint(backend, x), full)
        return _adjoint(backend, vh), s, _adjoint(backend, u)
    s = backend.empty((*batch, n), x.dtype.to_real(), x.index)
    q, r = qr(backend, x, mode="complete" if full else "reduced")
    if not x.size:
        return q, s, _identity(backend, x, (*batch, n, n))
    square = backend.copied(r.viewed((*batch, n, n), r.strides, r.offset))
    u, vh, work = (backend.empty((*batch, n, n), x.dtype, x.index) for _ in range(3))
    device, info = backend.device(x.index), backend.empty(batch, dt.int64, x.index)
    outs = (square, work, backend.empty((*batch, n), s.dtype, x.index), u, s, vh, info)
    device.enqueue(eigen.svd(device, x.dtype, prod(batch), n, 0), (), outs)
    _raise_where(backend, op, info, x, "did not converge")
    first = q.viewed((*batch, m, n), q.strides, 0)
    turned = _product(backend, first, u)
    if first.shape == q.shape:
        return turned, s, vh
    backend.copy(first, turned)
    return q, s, vh


def eig(backend: Launcher, x: StridedArray) -> tuple[StridedArray, StridedArray]:
    """Complex eigenvalues and eigenvectors (columns), found on the host: two copies, for which it waits."""
    _square("eig", x)
    made = x.dtype.to_complex()
    host = _numbers(backend, backend.dense(x)) if x.size else np.empty(x.shape, x.dtype.numpy)
    try:
        found: Any = np.linalg.eig(host)
    except np.linalg.LinAlgError:
        raise LinAlgError(f"eig: input of shape {x.shape} did not converge") from None
    values, vectors = (backend.empty(v.shape, made, x.index) for v in found)
    for out, v in zip((values, vectors), found, strict=True):
        if out.size:
            backend.device(x.index).write(out, np.ascontiguousarray(v, made.numpy).reshape(-1).view(np.uint8))
    return values, vectors
