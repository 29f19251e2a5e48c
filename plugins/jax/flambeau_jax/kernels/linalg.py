"""Products of matrices, and the decompositions that JAX has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from flambeau.core import dtype as dt
from flambeau_jax.cells import Value
from flambeau_jax.kernels.reduce import wide

if TYPE_CHECKING:
    from flambeau_jax.backend import JaxBackend

_FLOATS = (dt.float32, dt.float64, dt.complex64, dt.complex128)


def bind(backend: JaxBackend) -> None:
    backend.function("matmul", matmul)
    for fn in (qr, eigh, svd, svdvals, solve_triangular):
        backend.function(fn.__name__, fn, _FLOATS)


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


def qr(x: Value, *, mode: str = "reduced") -> tuple[Value, Value]:
    q, r = jnp.linalg.qr(x, mode)
    return q, r


def eigh(x: Value, *, upper: bool = False) -> tuple[Value, Value]:
    values, vectors = jnp.linalg.eigh(_triangle(x, upper), symmetrize_input=False)
    return values, vectors


def svd(x: Value, *, full: bool = False) -> tuple[Value, Value, Value]:
    u, s, vh = jnp.linalg.svd(x, full_matrices=full)
    return u, s, vh


def svdvals(x: Value) -> Value:
    return jnp.linalg.svd(x, compute_uv=False)


def solve_triangular(a: Value, b: Value, *, upper: bool, unitriangular: bool = False) -> Value:
    batch = jnp.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = (jnp.broadcast_to(v, (*batch, *v.shape[-2:])) for v in (a, b))
    return jax.scipy.linalg.solve_triangular(a, b, lower=not upper, unit_diagonal=unitriangular)
