"""Decompositions of the matrices in the last two dimensions: cholesky, qr, eigh, eig, svd, lu, determinants.

Their kernels are an optional group of a backend. The gradients are those of M. Giles, "An extended
collection of matrix derivative results" (2008), with the conjugates that complex matrices need, and of
S. Walter and L. Lehmann, "Algorithmic differentiation of linear algebra functions" (2018) for qr. Where
eigenvalues or singular values repeat, the gradient of the vectors does not exist and comes out infinite.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flambeau.backends.base import LinAlgError
from flambeau.backends.layout import Shape
from flambeau.core import creation
from flambeau.core.declare import op, several
from flambeau.core.errors import GradientError, ShapeError
from flambeau.core.ops import construct
from flambeau.core.ops.elementwise import cj
from flambeau.core.ops.joining import cat
from flambeau.core.ops.matmul import matmul_p
from flambeau.core.ops.shape import adjoint, unsqueeze
from flambeau.core.ops.systems import inv_p, matrices, solve_p, solve_triangular_p, square
from flambeau.core.ops.triangle import diag_embed, tril_p, triu_p
from flambeau.core.ops.views import diagonal, imag, narrow
from flambeau.core.tensor import Tensor


def rectangular(name: str, result: Callable[..., object]) -> Callable[..., object]:
    """The shape rule of an op on matrices."""

    def infer(x: Shape, **params: object) -> object:
        if len(x) < 2:
            raise ShapeError(f"{name}: input must have at least 2 dimensions, got shape {tuple(x)}")
        return result(tuple(x), **params)

    return infer


def identity_like(x: Tensor) -> Tensor:
    """The identity matrix of the size, dtype and device of ``x``."""
    return creation.eye(x._array.shape[-1], dtype=x.dtype, device=x.device)


def off_diagonal(differences: Tensor) -> Tensor:
    """Differences of eigenvalues with 1 on the diagonal, so that they can divide."""
    return differences + creation.eye(differences._array.shape[-1], dtype=differences.dtype, device=differences.device)


def left_of_inverse(a: Tensor, b: Tensor, *, upper: bool) -> Tensor:
    """``b @ a**-1`` for triangular ``a``."""
    return adjoint(solve_triangular_p(adjoint(a), adjoint(b), upper=not upper, unitriangular=False))


# -- cholesky ----------------------------------------------------------------------------------------
def _cholesky_vjp(g: Tensor, out: Tensor, upper: bool) -> Tensor:
    """As in torch, an imaginary part of the gradient of the factor's diagonal, which is real, is not taken away."""
    low, g = (adjoint(out), adjoint(g)) if upper else (out, g)
    product = matmul_p(adjoint(low), g)
    middle = (tril_p(product) + adjoint(tril_p(product, -1))) / 2
    return left_of_inverse(low, solve_triangular_p(adjoint(low), middle, upper=True, unitriangular=False), upper=False)


cholesky_p = op(
    "cholesky(x: Tensor, *, upper: bool = False) -> Tensor",
    autocast="float32|same",
    infer=square("cholesky"), dtype=matrices, batch="same", vjp=dict(x=_cholesky_vjp), public=False,
)  # fmt: skip


def cholesky(A: Tensor, *, upper: bool = False) -> Tensor:
    """The lower triangular L with L @ L.mH == A, for Hermitian positive definite A (..., n, n); its mH if ``upper``.

    LinAlgError where A is not positive definite.

    >>> fb.linalg.cholesky(fb.tensor([[4.0, 2.0], [2.0, 2.0]]))
    tensor([[2., 0.],
            [1., 1.]])
    """
    return cholesky_p(A, upper)


# -- qr ----------------------------------------------------------------------------------------------
def _qr_shape(x: Shape, *, mode: str) -> tuple[Shape, Shape]:
    m, n = x[-2:]
    k = m if mode == "complete" else min(m, n)
    return (*x[:-2], m, k), (*x[:-2], k, n)


def _qr_vjp(g: Sequence[Tensor], x: Tensor, q: Tensor, r: Tensor, mode: str) -> Tensor:
    gq, gr = g
    m, n = x._array.shape[-2:]
    if mode == "complete" and m > n:
        raise GradientError(
            "qr: with mode='complete' there is no gradient for more rows than columns; use mode='reduced'"
        )
    if m >= n:
        return _tall_qr_vjp(gq, gr, q, r)
    gu, gv = narrow(gr, -1, 0, m), narrow(gr, -1, m, n - m)
    gq = gq + matmul_p(narrow(x, -1, m, n - m), adjoint(gv))
    return cat([_tall_qr_vjp(gq, gu, q, narrow(r, -1, 0, m)), matmul_p(q, gv)], -1)


def _tall_qr_vjp(gq: Tensor, gr: Tensor, q: Tensor, r: Tensor) -> Tensor:
    m = matmul_p(r, adjoint(gr)) - matmul_p(adjoint(gq), q)
    hermitian = tril_p(m, -1) + adjoint(tril_p(m, -1)) + diag_embed(_real_part(diagonal(m, 0, -2, -1)))
    return left_of_inverse(adjoint(r), gq + matmul_p(q, hermitian), upper=False)


def _real_part(x: Tensor) -> Tensor:
    return (x + cj(x)) / 2


qr_p = several(
    "qr(x: Tensor, *, mode: str = 'reduced') -> (q: Tensor, r: Tensor)",
    autocast="float32|same",
    infer=rectangular("qr", _qr_shape), dtype=matrices, batch="same", vjp=dict(x=_qr_vjp), public=False,
)  # fmt: skip


# -- eigenvalues -------------------------------------------------------------------------------------
def _eigh_vjp(g: Sequence[Tensor], values: Tensor, vectors: Tensor) -> Tensor:
    gw, gv = g
    differences = off_diagonal(unsqueeze(values, -2) - unsqueeze(values, -1))
    mixed = _skew(matmul_p(adjoint(vectors), gv)) / 2  # of all gradients the Hermitian one
    inside = (mixed - diag_embed(diagonal(mixed, 0, -2, -1))) / differences + diag_embed(gw)
    return matmul_p(matmul_p(vectors, inside), adjoint(vectors))


eigh_p = several(
    "eigh(x: Tensor, *, upper: bool = False) -> (values: Tensor, vectors: Tensor)",
    autocast="float32|same",
    infer=square("eigh", lambda x: (x[:-1], x)), dtype=matrices.but(result=("real", "same")), batch="same",
    vjp=dict(x=_eigh_vjp), public=False,
)  # fmt: skip


def _eig_vjp(g: Sequence[Tensor], values: Tensor, vectors: Tensor) -> Tensor:
    """Eigenvectors of norm 1: what would change their length does not count."""
    gw, gv = g
    differences = cj(off_diagonal(unsqueeze(values, -2) - unsqueeze(values, -1)))
    mixed = matmul_p(adjoint(vectors), gv)
    lengths = matmul_p(adjoint(vectors), vectors) * unsqueeze(_real_part(diagonal(mixed, 0, -2, -1)), -2)
    inside = (mixed - lengths) / differences
    inside = inside - diag_embed(diagonal(inside, 0, -2, -1)) + diag_embed(gw)
    return solve_p(adjoint(vectors), matmul_p(inside, adjoint(vectors)))


eig_p = several(
    "eig(x: Tensor) -> (values: Tensor, vectors: Tensor)",
    autocast="float32|same",
    infer=square("eig", lambda x: (x[:-1], x)),
    dtype=matrices.but(result=lambda d, params: d.to_complex()), batch="same", vjp=dict(x=_eig_vjp), public=False,
)  # fmt: skip


# -- singular values ---------------------------------------------------------------------------------
def _svd_shape(x: Shape, *, full: bool) -> tuple[Shape, Shape, Shape]:
    (m, n), k = x[-2:], min(x[-2:])
    return (*x[:-2], m, m if full else k), (*x[:-2], k), (*x[:-2], n if full else k, n)


def _skew(x: Tensor) -> Tensor:
    return x - adjoint(x)


def _svd_vjp(g: Sequence[Tensor], u: Tensor, s: Tensor, vh: Tensor, full: bool) -> Tensor:
    """The vectors that full matrices have beyond the singular values have no part in it, as in torch."""
    gu, gs, gvh = g
    m, n, k = u._array.shape[-2], vh._array.shape[-1], s._array.shape[-1]
    if full:
        gu, u, gvh, vh = narrow(gu, -1, 0, k), narrow(u, -1, 0, k), narrow(gvh, -2, 0, k), narrow(vh, -2, 0, k)
    squares = s * s
    differences = off_diagonal(unsqueeze(squares, -2) - unsqueeze(squares, -1))
    left, right = _skew(matmul_p(adjoint(u), gu)), _skew(matmul_p(vh, adjoint(gvh)))
    inside = (left * unsqueeze(s, -2) + unsqueeze(s, -1) * right) / differences
    inside = inside - diag_embed(diagonal(inside, 0, -2, -1)) + diag_embed(gs)
    if u.is_complex():  # the phase that u and vh share
        inside = inside + diag_embed(diagonal(left, 0, -2, -1) / (2 * s))
    whole = matmul_p(matmul_p(u, inside), vh)
    if m > k:
        beyond = gu / unsqueeze(s, -2)
        whole = whole + matmul_p(beyond - matmul_p(u, matmul_p(adjoint(u), beyond)), vh)
    if n > k:
        beyond = gvh / unsqueeze(s, -1)
        whole = whole + matmul_p(u, beyond - matmul_p(matmul_p(beyond, adjoint(vh)), vh))
    return whole


svd_p = several(
    "svd(x: Tensor, *, full: bool = False) -> (u: Tensor, s: Tensor, vh: Tensor)",
    autocast="float32|same",
    infer=rectangular("svd", _svd_shape),
    dtype=matrices.but(result=("same", "real", "same")), batch="same", vjp=dict(x=_svd_vjp), public=False,
)  # fmt: skip


def _svdvals_vjp(g: Tensor, x: Tensor) -> Tensor:
    u, _, vh = svd_p(x, False)
    return matmul_p(u * unsqueeze(g, -2), vh)


svdvals_p = op(
    "svdvals(x: Tensor) -> Tensor",
    autocast="float32|same",
    infer=rectangular("svdvals", lambda x: (*x[:-2], min(x[-2:]))),
    dtype=matrices.but(result="real"), batch="same", vjp=dict(x=_svdvals_vjp), public=False,
    doc="The singular values of each matrix, from the largest down.",
)  # fmt: skip


# -- lu ----------------------------------------------------------------------------------------------
def permutation_of(pivots: Tensor, rows: int) -> Tensor:
    """The order (..., rows) in which lu takes the rows, from the exchanges (..., k) counted from 0."""
    places = creation.arange(rows, device=pivots.device).expand((*pivots.shape[:-1], rows))
    for i in range(pivots._array.shape[-1]):
        j = narrow(pivots, -1, i, 1)
        at_i, at_j = narrow(places, -1, i, 1), places.gather(-1, j)
        places = places.scatter(-1, j, at_i)
        places = cat([narrow(places, -1, 0, i), at_j, narrow(places, -1, i + 1, rows - i - 1)], -1)
    return places


def rows_in_order(x: Tensor, order: Tensor) -> Tensor:
    """The rows of each matrix in another order."""
    return x.take_along_dim(unsqueeze(order, -1), -2)


def _lu_vjp(g: Sequence[Tensor], lu: Tensor, pivots: Tensor) -> Tensor:
    """Of the square part L1 @ U1; what is beyond it, U2 to its right or L2 below, is L1**-1 @ A2 or A2 @ U1**-1."""
    m, n = lu._array.shape[-2:]
    k = min(m, n)
    square_g, square_lu = (narrow(narrow(t, -2, 0, k), -1, 0, k) for t in (g[0], lu))
    low, up = adjoint(tril_p(square_lu, -1) + identity_like(square_lu)), adjoint(triu_p(square_lu))
    below, above = matmul_p(low, tril_p(square_g, -1)), matmul_p(triu_p(square_g), up)
    beyond: tuple[Tensor, Tensor] | None = None
    if n > k:
        beyond = narrow(g[0], -1, k, n - k), narrow(lu, -1, k, n - k)
        below = below - matmul_p(beyond[0], adjoint(beyond[1]))
    elif m > k:
        beyond = narrow(g[0], -2, k, m - k), narrow(lu, -2, k, m - k)
        above = above - matmul_p(adjoint(beyond[1]), beyond[0])
    inside = left_of_inverse(up, tril_p(below, -1) + triu_p(above), upper=False)
    if beyond is not None and n > k:
        inside = cat([inside, beyond[0]], -1)
    inside = solve_triangular_p(low, inside, upper=True, unitriangular=True)
    if beyond is not None and m > k:
        inside = cat([inside, left_of_inverse(up, beyond[0], upper=False)], -2)
    return rows_in_order(inside, permutation_of(pivots, m).argsort(-1))


lu_factor_p = several(
    "lu_factor(x: Tensor) -> (lu: Tensor, pivots: Tensor)",
    infer=rectangular("lu_factor", lambda x: (x, (*x[:-2], min(x[-2:])))),
    dtype=matrices.but(result=("same", "index")), batch="same", vjp=dict(x=_lu_vjp), public=False,
)  # fmt: skip


# -- determinants ------------------------------------------------------------------------------------
def _as_matrix(x: Tensor) -> Tensor:
    return unsqueeze(unsqueeze(x, -1), -1)


def _det_vjp(g: Tensor, x: Tensor, out: Tensor) -> Tensor:
    try:
        return _as_matrix(g * cj(out)) * adjoint(inv_p(x))
    except LinAlgError:  # the cofactors exist where the inverse does not: products of all singular values but one
        u, s, vh = svd_p(x, False)
        n = s._array.shape[-1]
        parts = [
            cat([narrow(s, -1, 0, i), narrow(s, -1, i + 1, n - i - 1)], -1).prod(-1, keepdim=True) for i in range(n)
        ]
        return _as_matrix(g * cj(det_p(u) * det_p(vh))) * matmul_p(u * unsqueeze(cat(parts, -1), -2), vh)


det_p = op(
    "det(x: Tensor) -> Tensor", infer=square("det", lambda x: x[:-2]), dtype=matrices, batch="same",
    vjp=dict(x=_det_vjp), doc="The determinant of each matrix.",
    example="fb.linalg.det(fb.tensor([[2.0, 0.0], [0.0, 3.0]])) -> tensor(6.)",
)  # fmt: skip


def _slogdet_vjp(g: Sequence[Tensor], x: Tensor, sign: Tensor) -> Tensor:
    scale = g[1]
    if x.is_complex():
        scale = construct.from_parts(scale, imag(g[0] * cj(sign)))
    return _as_matrix(scale) * adjoint(inv_p(x))


slogdet_p = several(
    "slogdet(x: Tensor) -> (sign: Tensor, logabsdet: Tensor)",
    infer=square("slogdet", lambda x: (x[:-2], x[:-2])), dtype=matrices.but(result=("same", "real")), batch="same",
    vjp=dict(x=_slogdet_vjp), public=False,
)  # fmt: skip
