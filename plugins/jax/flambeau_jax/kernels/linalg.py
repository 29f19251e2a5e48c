"""Products of matrices, decompositions, systems of equations: XLA's, which are LAPACK's on processors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jax import lax

from flambeau.core import dtype as dt
from flambeau_jax.cells import Value
from flambeau_jax.kernels.reduce import wide

if TYPE_CHECKING:
    from flambeau_jax.backend import JaxBackend

_FLOATS = (dt.float32, dt.float64, dt.complex64, dt.complex128)


def bind(backend: JaxBackend) -> None:
    backend.function("matmul", matmul)
    for fn in (qr, lu_factor, det, slogdet, solve_triangular):
        backend.function(fn.__name__, fn, _FLOATS)
    backend.decomposition("cholesky", cholesky, _FLOATS, "is not positive definite")
    backend.decomposition("solve", solve, _FLOATS, "is singular")
    backend.decomposition("inv", inv, _FLOATS, "is singular and has no inverse")
    for values in (eigh, svd, svdvals, eig):
        backend.decomposition(values.__name__, values, _FLOATS, "did not converge")


def matmul(x: Value, y: Value) -> Value:
    if x.dtype.kind == "b":
        return jnp.matmul(x.astype(jnp.int32), y.astype(jnp.int32)) > 0
    if x.dtype.kind in "iu":
        return jnp.matmul(x, y, preferred_element_type=x.dtype)
    return jnp.matmul(wide(x), wide(y), precision="highest").astype(x.dtype)


def _adjoint(x: Value) -> Value:
    return jnp.conj(jnp.swapaxes(x, -1, -2))


def _triangle(x: Value, upper: bool) -> Value:
    """The Hermitian matrix of which one triangle is read."""
    kept = jnp.triu(x, 1) if upper else jnp.tril(x, -1)
    diagonal = jnp.real(jnp.diagonal(x, axis1=-2, axis2=-1)).astype(x.dtype)
    return kept + _adjoint(kept) + diagonal[..., None] * jnp.eye(x.shape[-1], dtype=x.dtype)


def _undefined(x: Value, axes: int = 1) -> Value:
    """Whether a result has a nan, for each matrix: what XLA gives where LAPACK fails."""
    return jnp.isnan(x).any(tuple(range(-axes, 0)))


# -- factors -----------------------------------------------------------------------------------------
def cholesky(x: Value, *, upper: bool = False) -> tuple[Value, Value]:
    low = jnp.tril(lax.linalg.cholesky(_adjoint(x) if upper else x, symmetrize_input=False))
    return _adjoint(low) if upper else low, _undefined(low, 2)


def qr(x: Value, *, mode: str = "reduced") -> tuple[Value, Value]:
    q, r = jnp.linalg.qr(x, mode)
    return q, r


def lu_factor(x: Value) -> tuple[Value, Value]:
    lu, pivots, _ = lax.linalg.lu(x)
    return lu, pivots.astype(jnp.int64)


def det(x: Value) -> Value:
    return jnp.linalg.det(x) if x.shape[-1] else jnp.ones(x.shape[:-2], x.dtype)


def slogdet(x: Value) -> tuple[Value, Value]:
    sign, log = jnp.linalg.slogdet(x)
    return sign, log


# -- eigenvalues and singular values -----------------------------------------------------------------
def eigh(x: Value, *, upper: bool = False) -> tuple[Value, Value, Value]:
    values, vectors = jnp.linalg.eigh(_triangle(x, upper), symmetrize_input=False)
    return values, vectors, _undefined(values)


def eig(x: Value) -> tuple[Value, Value, Value]:
    values, vectors = jnp.linalg.eig(x)
    return values, vectors, _undefined(values)


def svd(x: Value, *, full: bool = False) -> tuple[Value, Value, Value, Value]:
    u, s, vh = jnp.linalg.svd(x, full_matrices=full)
    return u, s, vh, _undefined(s)


def svdvals(x: Value) -> tuple[Value, Value]:
    s = jnp.linalg.svd(x, compute_uv=False)
    return s, _undefined(s)


# -- systems -----------------------------------------------------------------------------------------
def solve(a: Value, b: Value) -> tuple[Value, Value]:
    batch = jnp.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    lu, _, order = lax.linalg.lu(a)
    singular = (jnp.diagonal(lu, axis1=-2, axis2=-1) == 0).any(-1)
    lu, order = jnp.broadcast_to(lu, (*batch, *lu.shape[-2:])), jnp.broadcast_to(order, (*batch, order.shape[-1]))
    x = jnp.take_along_axis(jnp.broadcast_to(b, (*batch, *b.shape[-2:])), order[..., None], -2)
    x = lax.linalg.triangular_solve(lu, x, left_side=True, lower=True, unit_diagonal=True)
    return lax.linalg.triangular_solve(lu, x, left_side=True, lower=False), singular


def inv(x: Value) -> tuple[Value, Value]:
    return solve(x, jnp.eye(x.shape[-1], dtype=x.dtype))


def solve_triangular(a: Value, b: Value, *, upper: bool, unitriangular: bool = False) -> Value:
    batch = jnp.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = (jnp.broadcast_to(v, (*batch, *v.shape[-2:])) for v in (a, b))
    return jax.scipy.linalg.solve_triangular(a, b, lower=not upper, unit_diagonal=unitriangular)
