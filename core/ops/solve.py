"""Systems of equations and inverses: solve, triangular solve, inv, pinv, lstsq, cholesky_solve, and the exponential."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from flambeau.backends.base import LinAlgError
from flambeau.core import creation
from flambeau.core import dtype as dt
from flambeau.core.autocast import autocasting
from flambeau.core.declare import composite
from flambeau.core.errors import ArgumentError, ShapeError
from flambeau.core.ops.decompose import (
    eigh_p,
    identity_like,
    lu_factor_p,
    permutation_of,
    qr_p,
    rows_in_order,
    svd_p,
    svdvals_p,
)
from flambeau.core.ops.elementwise import abs_p, where
from flambeau.core.ops.joining import cat
from flambeau.core.ops.matmul import matmul, matmul_p
from flambeau.core.ops.shape import adjoint, matrix_transpose, unsqueeze
from flambeau.core.ops.shape import adjoint as of_conjugates  # where an argument is called adjoint
from flambeau.core.ops.systems import inv_p, matrices, solve_p, solve_triangular_p, square, system
from flambeau.core.ops.triangle import tril_p, triu_p
from flambeau.core.ops.views import diagonal, narrow
from flambeau.core.public import public
from flambeau.core.record import alike
from flambeau.core.results import LU, LeastSquares, LUParts, returned
from flambeau.core.tensor import Tensor
from flambeau.core.transforms.levels import bottom

AUTO: Final = -1.0  # a tolerance that follows from the dtype and the size


# -- systems -----------------------------------------------------------------------------------------
def _is_vector(a: Tensor, b: Tensor) -> bool:
    return b.ndim == 1 or (a.ndim - 1 == b.ndim and tuple(b._array.shape) == tuple(a._array.shape[:-1]))


def solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """X with A @ X == B (X @ A == B if not ``left``) for square A; B may be vectors. LinAlgError where A is singular.

    >>> fb.linalg.solve(fb.tensor([[2.0, 0.0], [0.0, 4.0]]), fb.tensor([2.0, 2.0]))
    tensor([1.0000, 0.5000])
    """
    if _is_vector(A, B) and left:
        return solve_p(A, unsqueeze(B, -1)).squeeze(-1)
    if left:
        return solve_p(A, B)
    return matrix_transpose(solve_p(matrix_transpose(A), matrix_transpose(B)))


def solve_triangular(A: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Tensor:
    """X with A @ X == B (X @ A == B if not ``left``), where only the upper or the lower triangle of A counts.

    >>> fb.linalg.solve_triangular(fb.tensor([[2.0, 0.0], [0.0, 4.0]]), fb.tensor([[2.0], [4.0]]), upper=True)
    tensor([[1.],
            [1.]])
    """
    if left:
        return solve_triangular_p(A, B, upper, unitriangular)
    turned = solve_triangular_p(matrix_transpose(A), matrix_transpose(B), not upper, unitriangular)
    return matrix_transpose(turned)


def _cholesky_solve_vjp(
    g: Tensor, needs: Sequence[bool], b: Tensor, factor: Tensor, out: Tensor, upper: bool
) -> tuple[Tensor, Tensor | None]:
    """As in torch that of the factor is what its whole matrix would have, beside the triangle that is read, too."""
    to_b = cholesky_solve_p(g, factor, upper)
    if not needs[1]:
        return to_b, None
    product = matmul_p(to_b, adjoint(out))
    both = product + adjoint(product)
    return to_b, -matmul_p(factor, both) if upper else -matmul_p(both, factor)


def _cholesky_solve_jvp(
    tangents: Sequence[Tensor | None], primals: Sequence[Tensor], out: Tensor, upper: bool
) -> Tensor:
    """The direction of the factor counts beside the triangle, too, as its gradient does."""
    (along_b, along), factor = tangents, primals[1]
    moved = along_b
    if along is not None:
        product = matmul_p(adjoint(along), factor) if upper else matmul_p(along, adjoint(factor))
        change = matmul_p(product + adjoint(product), out)
        moved = -change if moved is None else moved - change
    assert moved is not None  # an op without tangents is not differentiated
    return cholesky_solve_p(moved, factor, upper)


@composite(
    "cholesky_solve(b: Tensor, factor: Tensor, *, upper: bool = False) -> Tensor",
    autocast="float32|same",
    infer=lambda b, factor, **p: system("cholesky_solve")(factor, b),
    check=True,
    dtype=matrices.but(check=alike("B and L")),
    public=False,
    vjp=_cholesky_solve_vjp,
    jvp=_cholesky_solve_jvp,
)
def cholesky_solve_p(b: Tensor, factor: Tensor, *, upper: bool) -> Tensor:
    """The solution of two triangular systems."""
    low = adjoint(factor) if upper else factor
    return solve_triangular_p(adjoint(low), solve_triangular_p(low, b, False, False), True, False)


@public(out=True)
def cholesky_solve(B: Tensor, L: Tensor, upper: bool = False) -> Tensor:
    """X with A @ X == B, from the Cholesky factor L of A (``upper``: from the one with A == L.mH @ L).

    >>> fb.cholesky_solve(fb.tensor([[8.0]]), fb.tensor([[2.0]]))
    tensor([[2.]])
    """
    return cholesky_solve_p(B, L, upper)


@public(out=True)
def cholesky_inverse(L: Tensor, upper: bool = False) -> Tensor:
    """The inverse of A from its Cholesky factor.

    >>> fb.cholesky_inverse(fb.tensor([[2.0]]))
    tensor([[0.2500]])
    """
    return cholesky_solve(identity_like(L), L, upper)


def lu_factor(A: Tensor, *, pivot: bool = True) -> LU[Tensor]:
    """P @ L @ U == A with partial pivoting: L below the diagonal (its own is 1) and U from it up, in one matrix.

    >>> fb.linalg.lu_factor(fb.tensor([[2.0, 0.0], [0.0, 4.0]]))[0]
    tensor([[2., 0.],
            [0., 4.]])
    """
    if not pivot:
        raise NotImplementedError("lu_factor: pivot=False is not supported; without pivots the factors may not exist")
    lu, pivots = lu_factor_p(A)
    made: LU[Tensor] = returned("linalg_lu_factor", (lu, (pivots + 1).to(dt.int32)))
    return made


def lu_parts(compact: Tensor, pivots: Tensor | None) -> LUParts[Tensor]:
    """P, L and U of what :func:`lu_factor` gives; without ``pivots`` P is of no exchanges."""
    m, n = compact._array.shape[-2:]
    k = min(m, n)
    order = creation.arange(m, device=compact.device) if pivots is None else permutation_of(pivots.to(dt.int64) - 1, m)
    p = (unsqueeze(creation.arange(m, device=compact.device), -1) == unsqueeze(order, -2)).to(compact.dtype)
    low = tril_p(narrow(compact, -1, 0, k), -1) + creation.eye(m, k, dtype=compact.dtype, device=compact.device)
    return LUParts(p, low, triu_p(narrow(compact, -2, 0, k)))


def lu(A: Tensor, *, pivot: bool = True) -> LUParts[Tensor]:
    """(P, L, U) with P @ L @ U == A.

    >>> [t.shape for t in fb.linalg.lu(fb.tensor([[2.0, 0.0], [0.0, 4.0]]))]
    [flambeau.Size([2, 2]), flambeau.Size([2, 2]), flambeau.Size([2, 2])]
    """
    made: LUParts[Tensor] = returned("linalg_lu", lu_parts(*lu_factor(A, pivot=pivot)))
    return made


@autocasting("float32|same")
def lu_solve(LU: Tensor, pivots: Tensor, B: Tensor, *, left: bool = True, adjoint: bool = False) -> Tensor:
    """X with A @ X == B from :func:`lu_factor` of A; A.mH @ X == B if ``adjoint``, X @ A == B if not ``left``.

    >>> LU, pivots = fb.linalg.lu_factor(fb.tensor([[2.0, 0.0], [0.0, 4.0]]))
    >>> fb.linalg.lu_solve(LU, pivots, fb.tensor([[2.0], [4.0]]))
    tensor([[1.],
            [1.]])
    """
    alike("LU and B")("lu_solve", (LU, B))
    if not left:  # of the conjugate transposes
        return of_conjugates(lu_solve(LU, pivots, of_conjugates(B), adjoint=not adjoint))
    order = permutation_of(pivots.to(dt.int64) - 1, LU._array.shape[-1])
    if adjoint:
        turned = of_conjugates(LU)
        inside = solve_triangular_p(turned, solve_triangular_p(turned, B, False, False), True, True)
        return rows_in_order(inside, order.argsort(-1))
    return solve_triangular_p(LU, solve_triangular_p(LU, rows_in_order(B, order), False, True), True, False)


def tensorsolve(A: Tensor, B: Tensor, dims: Sequence[int] | None = None) -> Tensor:
    """X with tensordot(A, X, X.ndim) == B: A has B's sizes first, then X's, as many elements of each.

    ``dims`` of A are moved to its end first.

    >>> fb.linalg.tensorsolve(fb.eye(4).reshape(2, 2, 4), fb.ones(2, 2))
    tensor([1., 1., 1., 1.])
    """
    if dims is not None:
        A = A.movedim(tuple(dims), tuple(range(A.ndim - len(dims), A.ndim)))
    wanted = tuple(A.shape[B.ndim :])
    if math.prod(wanted) != math.prod(A.shape[: B.ndim]) or math.prod(wanted) != B.numel():
        raise ShapeError(
            f"tensorsolve: A of shape {tuple(A.shape)} must have as many elements in its first {B.ndim} dimensions as "
            f"in the others, and B {tuple(B.shape)} as many"
        )
    return solve(A.reshape(-1, math.prod(wanted)), B.reshape(-1)).reshape(wanted)


def tensorinv(A: Tensor, ind: int = 2) -> Tensor:
    """The tensor of A's last sizes and then its first ``ind`` with tensordot(it, A, ind) the identity.

    >>> fb.linalg.tensorinv(fb.eye(4).reshape(2, 2, 4)).shape
    flambeau.Size([4, 2, 2])
    """
    if ind <= 0:
        raise ArgumentError(f"tensorinv: ind must be positive, got {ind}")
    first, last = tuple(A.shape[:ind]), tuple(A.shape[ind:])
    if math.prod(first) != math.prod(last):
        raise ShapeError(
            f"tensorinv: A of shape {tuple(A.shape)} must have as many elements in its first {ind} dimensions as in "
            "the others"
        )
    return inv_p(A.reshape(math.prod(first), -1)).reshape(last + first)


# -- the pseudo-inverse ------------------------------------------------------------------------------
def _pinv_vjp(g: Tensor, x: Tensor, out: Tensor) -> Tensor:
    """Golub and Pereyra, "The differentiation of pseudo-inverses" (1973), transposed; for a constant rank."""
    ph, gh = adjoint(out), adjoint(g)
    first = matmul_p(gh, matmul_p(out, ph))
    last = matmul_p(matmul_p(ph, out), gh)
    return (
        -matmul_p(matmul_p(ph, g), ph)
        + first
        - matmul_p(x, matmul_p(out, first))
        + last
        - matmul_p(matmul_p(last, out), x)
    )


def _pinv_jvp(tangents: Sequence[Tensor], primals: Sequence[Tensor], out: Tensor, **params: object) -> Tensor:
    """Golub and Pereyra (1973), for a constant rank."""
    (x,), th, ph = primals, adjoint(tangents[0]), adjoint(out)
    first, last = matmul_p(matmul_p(out, ph), th), matmul_p(th, matmul_p(ph, out))
    inside = matmul_p(matmul_p(out, tangents[0]), out)
    return first - matmul_p(matmul_p(first, x), out) + last - matmul_p(out, matmul_p(x, last)) - inside


def tolerances(x: Tensor, largest: Tensor, rtol: float | Tensor, atol: float | Tensor) -> Tensor:
    """The size below which a singular value counts as 0: torch's default depends on whether ``atol`` is given."""
    if not isinstance(rtol, Tensor) and rtol == AUTO:
        least = dt.finfo(x._key.stored).eps * max(x._array.shape[-2:])
        rtol = where(atol > 0, 0.0, least) if isinstance(atol, Tensor) else 0.0 if atol > 0 else least
    relative = largest * rtol
    return where(relative > atol, relative, atol)


@composite(
    "pinv(x: Tensor, *, rtol: float, atol: float, hermitian: bool) -> Tensor",
    autocast="float32|same",
    dtype=matrices,
    public=False,
    vjp=dict(x=_pinv_vjp),
    jvp=_pinv_jvp,
    infer=lambda x, **p: (*x[:-2], x[-1], x[-2]),
)
def pinv_p(x: Tensor, *, rtol: float, atol: float, hermitian: bool) -> Tensor:
    """From the singular values (hermitian: the eigenvalues), of which the smallest count as 0."""
    if hermitian:
        values, u = eigh_p(x, False)
        vh = adjoint(u)
    else:
        u, values, vh = svd_p(x, False)
    size = abs_p(values)
    if not size.numel():
        return x.new_zeros((*x.shape[:-2], x.shape[-1], x.shape[-2]))
    return _of_kept(values, u, vh, size > tolerances(x, size.amax(-1, keepdim=True), rtol, atol))


def _of_kept(values: Tensor, u: Tensor, vh: Tensor, keep: Tensor) -> Tensor:
    inverse = where(keep, 1 / where(keep, values, 1.0), 0.0)
    return matmul_p(adjoint(vh) * unsqueeze(inverse, -2), adjoint(u))


@composite(
    "pinv_within(x: Tensor, tolerance: Tensor, *, hermitian: bool) -> Tensor",
    autocast="float32|same",
    dtype=matrices,
    public=False,
    vjp=dict(x=_pinv_vjp, tolerance=None),
    jvp=lambda tangents, primals, out, **params: _pinv_jvp(tangents[:1], primals[:1], out),
    infer=lambda x, tolerance, **p: (*x[:-2], x[-1], x[-2]),
)
def pinv_within_p(x: Tensor, tolerance: Tensor, *, hermitian: bool) -> Tensor:
    """:data:`pinv_p` where the size up to which values count as 0 is a tensor, of the dtype of ``x``."""
    if hermitian:
        values, u = eigh_p(x, False)
        vh = adjoint(u)
    else:
        u, values, vh = svd_p(x, False)
    return _of_kept(values, u, vh, abs_p(values) > (tolerance.real if tolerance.is_complex() else tolerance))


def pinv(
    A: Tensor, rcond: float | Tensor | None = None, *, atol: float | Tensor | None = None,
    rtol: float | Tensor | None = None, hermitian: bool = False,
) -> Tensor:  # fmt: skip
    """The Moore-Penrose inverse; singular values up to max(atol, rtol * the largest) count as 0.

    Tolerances may be tensors, one number for each matrix.

    >>> fb.linalg.pinv(fb.tensor([[2.0], [0.0]]))
    tensor([[0.5000, 0.0000]])
    """
    rtol = rcond if rtol is None else rtol
    if isinstance(rtol, Tensor) or isinstance(atol, Tensor):
        return _pinv_within(A, rtol, atol, hermitian)
    return pinv_p(A, rtol=AUTO if rtol is None else rtol, atol=atol or 0.0, hermitian=hermitian)


def _pinv_within(A: Tensor, rtol: float | Tensor | None, atol: float | Tensor | None, hermitian: bool) -> Tensor:
    """:func:`pinv` with tolerances that are tensors: each matrix has its own."""
    values = svdvals_p(A.detach())
    if not values.numel():
        return pinv_p(A, rtol=AUTO, atol=0.0, hermitian=hermitian)
    limits = [0.0 if t is None else unsqueeze(t, -1) if isinstance(t, Tensor) else t for t in (atol, rtol)]
    relative = AUTO if rtol is None else limits[1]
    tolerance = tolerances(A, values.amax(-1, keepdim=True), relative, limits[0])
    return pinv_within_p(A, tolerance.detach().to(A.dtype), hermitian=hermitian)


@public()
def pinverse(input: Tensor, rcond: float = 1e-15) -> Tensor:
    """The Moore-Penrose inverse; singular values up to ``rcond`` times the largest count as 0.

    >>> fb.pinverse(fb.tensor([[2.0], [0.0]]))
    tensor([[0.5000, 0.0000]])
    """
    return pinv(input, rtol=rcond)


def _check_rank(A: Tensor) -> None:
    if A.numel():
        factor = qr_p(A if A._array.shape[-2] >= A._array.shape[-1] else adjoint(A), "reduced")[1]
        if bool((bottom(diagonal(factor, 0, -2, -1)) == 0).any()):
            raise LinAlgError("lstsq: a matrix of A has not full rank, which driver 'gels' needs; 'gelsy' does not")


@autocasting("float32|same")
def lstsq(A: Tensor, B: Tensor, rcond: float | None = None, *, driver: str | None = None) -> LeastSquares[Tensor]:
    """The X of least norm that minimises the norm of A @ X - B, by the singular values of A.

    The gradient is that of a constant rank. ``driver`` does not change the method, only what else is returned, as in
    torch: "gels" the residuals, "gelsy" (the default) the rank, "gelsd" and "gelss" both and the singular values; the
    rest is empty, and so are residuals of as many columns as rows, or where the rank is known not to be full. "gels"
    takes the rank to be full: LinAlgError where a triangular factor of A has a 0 on its diagonal.

    >>> fb.linalg.lstsq(fb.tensor([[2.0, 0.0], [0.0, 4.0]]), fb.tensor([[2.0], [4.0]])).solution
    tensor([[1.],
            [1.]])
    """
    if A.ndim < 2 or B.ndim < 1:
        raise ShapeError(
            f"lstsq: A must be matrices and B vectors or matrices, got shapes {tuple(A.shape)} and {tuple(B.shape)}"
        )
    vector = A.ndim - 1 == B.ndim and tuple(B._array.shape) == tuple(A._array.shape[:-1])
    right = unsqueeze(B, -1) if vector else B
    m, n = A._array.shape[-2:]
    if right._array.shape[-2] != m:
        raise ShapeError(f"lstsq: B of shape {tuple(B.shape)} must have as many rows as A of shape {tuple(A.shape)}")
    rtol = dt.finfo(A._key.stored).eps * max(m, n) if rcond is None else rcond
    found = matmul(pinv(A, rtol=rtol), right)
    if driver not in (None, "gels", "gelsy", "gelsd", "gelss"):
        raise ArgumentError(f"lstsq: driver must be 'gels', 'gelsy', 'gelsd' or 'gelss', got {driver!r}")
    if driver == "gels":
        _check_rank(A.detach())
    values = svdvals_p(A.detach())
    rank = (values > values.amax(-1, keepdim=True) * rtol).sum(-1) if values.numel() else values.sum(-1).to(dt.int64)
    residuals = values.new_zeros((0,))
    if m > n and (driver == "gels" or driver in ("gelsd", "gelss") and bool((bottom(rank) == n).all())):
        residuals = (abs_p(matmul(A, found) - right) ** 2).sum(-2)
    rank = rank.new_zeros((0,)) if driver == "gels" else rank
    values = values if driver in ("gelsd", "gelss") else values.new_zeros((0,))
    made: LeastSquares[Tensor] = returned(
        "linalg_lstsq", (found.squeeze(-1) if vector else found, residuals, rank, values)
    )
    return made


# -- the exponential ---------------------------------------------------------------------------------
def _exponential_vjp(g: Tensor, x: Tensor) -> Tensor:
    """The upper right block of the exponential of [[A.mH, g], [0, A.mH]] (Mathias 1996).

    It is linear in g, which stands there with a size of 1: one of 1e14 would cost the exponential its precision.
    """
    n, xh = x._array.shape[-1], adjoint(x)
    size = abs_p(g.detach()).amax((-2, -1), keepdim=True) if g.numel() else abs_p(g)
    size = where(size > 0, size, 1.0)
    whole = cat([cat([xh, g / size], -1), cat([creation.zeros_like(xh), xh], -1)], -2)
    return narrow(narrow(matrix_exp_p(whole), -2, 0, n), -1, n, n) * size


#: The coefficients of the Padé approximant of degree 13, and the norm up to which it is exact in float64.
_PADE: Final = (
    64764752532480000.0, 32382376266240000.0, 7771770303897600.0, 1187353796428800.0, 129060195264000.0,
    10559470521600.0, 670442572800.0, 33522128640.0, 1323241920.0, 40840800.0, 960960.0, 16380.0, 182.0, 1.0,
)  # fmt: skip
_PADE_NORM: Final = 5.37
_DOUBLINGS: Final = 32


@composite(
    "matrix_exp(x: Tensor) -> Tensor",
    infer=square("matrix_exp"),
    check=True,
    dtype=matrices,
    vjp=dict(x=_exponential_vjp),
)
def matrix_exp_p(x: Tensor) -> Tensor:
    """The exponential of each matrix, by scaling and squaring (N. Higham, SIAM J. Matrix Anal. Appl. 26, 2005).

    >>> fb.matrix_exp(fb.zeros(2, 2))
    tensor([[1., 0.],
            [0., 1.]])
    """
    norm = abs_p(x).sum(-2).amax(-1) if x.numel() else abs_p(x).sum((-2, -1))
    halvings = (norm / _PADE_NORM).log2().ceil().clamp(0, _DOUBLINGS)
    halvings = where(halvings == halvings, halvings, 0.0)
    scale = unsqueeze(unsqueeze((-halvings).exp2(), -1), -1)
    result = _pade(x * scale)
    rounds = _DOUBLINGS if x._key.level is not None else int(halvings.amax()) if halvings.numel() else 0
    for i in range(rounds):
        result = where(unsqueeze(unsqueeze(halvings > i, -1), -1), matmul_p(result, result), result)
    return result


def _pade(a: Tensor) -> Tensor:
    one, c = identity_like(a), _PADE
    a2 = matmul_p(a, a)
    a4 = matmul_p(a2, a2)
    a6 = matmul_p(a4, a2)
    odd = matmul_p(a6, c[13] * a6 + c[11] * a4 + c[9] * a2) + c[7] * a6 + c[5] * a4 + c[3] * a2 + c[1] * one
    even = matmul_p(a6, c[12] * a6 + c[10] * a4 + c[8] * a2) + c[6] * a6 + c[4] * a4 + c[2] * a2 + c[0] * one
    odd = matmul_p(a, odd)
    return solve_p(even - odd, even + odd)
