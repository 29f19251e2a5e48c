"""A few singular values or eigenvalues of large matrices: svd_lowrank, pca_lowrank, lobpcg.

Sources: N. Halko, P.-G. Martinsson and J. Tropp, "Finding structure with randomness", SIAM Review 53 (2011);
A. Knyazev, "Toward the optimal preconditioned eigensolver", SIAM J. Sci. Comput. 23 (2001).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from flambeau.core import dtype as dt
from flambeau.core.errors import ArgumentError, DTypeError, ShapeError
from flambeau.core.ops.decompose import eigh_p, qr_p, svd_p
from flambeau.core.ops.elementwise import cj
from flambeau.core.ops.joining import cat, stack
from flambeau.core.ops.matmul import matmul
from flambeau.core.ops.random import randn
from flambeau.core.ops.shape import adjoint, unsqueeze
from flambeau.core.ops.solve import solve
from flambeau.core.ops.variance import vector_norm_p
from flambeau.core.public import public
from flambeau.core.state import is_grad_enabled, no_grad
from flambeau.core.tensor import Tensor

#: lobpcg without ``niter`` ends here where it does not converge.
_ROUNDS: Final = 1000


# -- singular values ---------------------------------------------------------------------------------
@public(method=False)
def svd_lowrank(
    A: Tensor, q: int | None = 6, niter: int | None = 2, M: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """(U, S, V) of about the ``q`` largest singular values of A - M, with U @ diag(S) @ V.mH near it.

    A is (..., m, n), the results (..., m, q), (..., q), (..., n, q). ``niter`` subspace iterations make it better.

    >>> fb.svd_lowrank(fb.ones(3, 2), q=1)[1]
    tensor([2.4495])
    """
    if M is not None:
        A = A - M.broadcast_to(A.shape)
    count = 6 if q is None else q
    wide = A.shape[-2] < A.shape[-1]
    tall = adjoint(A) if wide else A
    start = randn(tall.shape[-1], count, dtype=A.dtype, device=A.device)
    basis = qr_p(matmul(tall, start), "reduced")[0]
    for _ in range(2 if niter is None else niter):
        basis = qr_p(matmul(tall, qr_p(matmul(adjoint(tall), basis), "reduced")[0]), "reduced")[0]
    u, s, vh = svd_p(matmul(adjoint(basis), tall), False)
    u, v = matmul(basis, u), adjoint(vh)
    return (v, s, u) if wide else (u, s, v)


@public(method=False)
def pca_lowrank(A: Tensor, q: int | None = None, center: bool = True, niter: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`svd_lowrank` of A (..., m, n) less the means of its columns: V has the principal directions.

    ``q`` is 6 by default, or the smaller of m and n.

    >>> fb.pca_lowrank(fb.tensor([[1.0, 0.0], [3.0, 0.0]]), q=1)[1]
    tensor([1.4142])
    """
    m, n = A.shape[-2:]
    count = min(6, m, n) if q is None else q
    if not 0 <= count <= min(m, n):
        raise ValueError(f"pca_lowrank: q must be from 0 to the smaller of {m} and {n}, got {count}")
    if niter < 0:
        raise ValueError(f"pca_lowrank: niter must not be negative, got {niter}")
    if A.dtype.category < dt.FLOATING:
        raise ValueError(f"pca_lowrank: A must be floating, got {A.dtype.name}")
    return svd_lowrank(A - A.mean(-2, keepdim=True) if center else A, count, niter)


# -- eigenvalues -------------------------------------------------------------------------------------
@public(method=False)
def lobpcg(
    A: Tensor, k: int | None = None, B: Tensor | None = None, X: Tensor | None = None, n: int | None = None,
    iK: Tensor | None = None, niter: int | None = None, tol: float | None = None, largest: bool | None = None,
    method: str | None = None, tracker: Callable[..., None] | None = None,
    ortho_iparams: dict[str, int] | None = None, ortho_fparams: dict[str, float] | None = None,
    ortho_bparams: dict[str, bool] | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The ``k`` largest (or smallest) eigenvalues (..., k) and vectors (..., m, k) of A x = e B x, A and B symmetric.

    Starts from ``X``, or from ``n`` random vectors; ``iK`` preconditions, near the inverse of A. Ends after ``niter``
    rounds (1000), or when residuals are below ``tol`` (the root of the dtype's epsilon). Both values of ``method`` mean
    the same, and the ``ortho`` parameters change nothing: each round orthonormalises by eigenvectors, dropping what
    depends on others (A. Stathopoulos and K. Wu, SIAM J. Sci. Comput. 23, 2002). Simple eigenvalues have gradients.

    >>> fb.lobpcg(fb.diag(fb.tensor([1.0, 2.0, 5.0])), 1)[0].round()
    tensor([5.])
    """
    if A.dtype.category < dt.FLOATING:
        raise DTypeError(f"lobpcg: A must be floating or complex, got {A.dtype.name}")
    if A.ndim < 2 or A.shape[-1] != A.shape[-2]:
        raise ShapeError(f"lobpcg: A must be square matrices, got shape {tuple(A.shape)}")
    if method not in (None, "basic", "ortho"):
        raise ArgumentError(f"lobpcg: method must be 'basic' or 'ortho', got {method!r}")
    m = A.shape[-1]
    count = (1 if X is None else X.shape[-1]) if k is None else k
    started = (count if n is None else n) if X is None else X.shape[-1]
    if m < 3 * started:
        raise ValueError(f"lobpcg: A has {m} rows, and must have at least 3 for each of the {started} vectors")
    if count > started:
        raise ValueError(f"lobpcg: k={count} must not be more than the {started} vectors that it starts from")
    first = randn(*A.shape[:-2], m, started, dtype=A.dtype, device=A.device) if X is None else X
    limit = _ROUNDS if niter is None or niter < 0 else niter
    least = dt.finfo(A._key.stored).eps ** 0.5 if tol is None else tol
    sign = -1.0 if largest is None or largest else 1.0  # the smallest of sign * A are wanted
    with no_grad():
        flat = [_flat(t, A) for t in (A, B, first, iK)]
        found = [_search(a, b, x, p, count, sign, limit, least) for a, b, x, p in zip(*flat, strict=True)]
    batch = tuple(A.shape[:-2])
    values = stack([e for e, _ in found]).reshape(*batch, count)
    vectors = stack([x for _, x in found]).reshape(*batch, m, count)
    if is_grad_enabled() and (A.requires_grad or B is not None and B.requires_grad):
        return _with_gradient(A, B, values, vectors)
    return values, vectors


def _flat(t: Tensor | None, like: Tensor) -> list[Tensor | None]:
    """One matrix for each of the stack that ``like`` is."""
    batch = tuple(like.shape[:-2])
    if t is None:
        count = 1
        for size in batch:
            count *= size
        return [None] * count
    return list(t.detach().expand(*batch, *t.shape[-2:]).reshape(-1, *t.shape[-2:]).unbind(0))


def _times(b: Tensor | None, x: Tensor) -> Tensor:
    return x if b is None else matmul(b, x)


def _orthonormal(s: Tensor, b: Tensor | None) -> Tensor:
    """A basis of the span of columns, orthonormal in b; twice, since the first is as exact as the columns allow."""
    for _ in range(2):
        gram = matmul(adjoint(s), _times(b, s))
        scale = gram.diagonal(0, -2, -1).abs().clamp(min=dt.finfo(s._key.stored).tiny).rsqrt()
        sizes, turn = eigh_p(gram * unsqueeze(scale, -1) * scale, False)
        kept = sizes > sizes.amax() * dt.finfo(s._key.stored).eps * s.shape[-2]
        s = matmul(s * scale, turn[:, kept] / sizes[kept].sqrt())
    return s


def _search(
    a: Tensor, b: Tensor | None, x: Tensor, precondition: Tensor | None, count: int, sign: float, limit: int, tol: float
) -> tuple[Tensor, Tensor]:
    def projected(basis: Tensor) -> tuple[Tensor, Tensor]:
        values, vectors = eigh_p(matmul(adjoint(basis), matmul(a, basis)) * sign, False)
        return values, vectors

    width = x.shape[-1]
    basis = _orthonormal(x, b)
    values, turn = projected(basis)
    x, steps = matmul(basis, turn[:, :width]), x[:, :0]
    sizes = vector_norm_p(a, 2.0, None, False), 1.0 if b is None else vector_norm_p(b, 2.0, None, False)
    for _ in range(limit):
        e = values[: x.shape[-1]] * sign
        residual = matmul(a, x) - _times(b, x) * e
        lengths = vector_norm_p(residual, 2.0, 0, False) / (
            vector_norm_p(x, 2.0, 0, False) * (sizes[0] + e.abs() * sizes[1])
        )
        if bool((lengths[:count] < tol).all()):
            break
        basis = _orthonormal(cat([x, _times(precondition, residual), steps], -1), b)
        values, turn = projected(basis)
        best = matmul(basis, turn[:, :width])
        steps = best - matmul(x, matmul(adjoint(_times(b, x)), best))
        x = best
    return values[:count] * sign, x[:, :count]


def _with_gradient(A: Tensor, B: Tensor | None, values: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """What was found, with the gradient of one Newton step from there for (A - e B) x = 0 and x.mH B x = 1."""
    b = B if B is not None else None
    bx = _times(b, vectors)
    zero = matmul(A, vectors) - bx * unsqueeze(values, -2)
    length = ((cj(vectors) * bx).sum(-2) - 1) / 2
    steps_x, steps_e = [], []
    for i in range(values.shape[-1]):
        at = slice(i, i + 1)
        shifted = A - (values[..., i, None, None] * (b if b is not None else _eye(A)))
        side = bx[..., at]
        jacobian = cat([cat([shifted, -side], -1), cat([adjoint(side), side[..., :1, :] * 0], -1)], -2).detach()
        step = solve(jacobian, cat([zero[..., at], unsqueeze(unsqueeze(length[..., i], -1), -1)], -2))
        steps_x.append(step[..., :-1, :])
        steps_e.append(step[..., -1, :])
    x, e = cat(steps_x, -1), cat(steps_e, -1)
    e = e.real if e.is_complex() else e
    return values - (e - e.detach()), vectors - (x - x.detach())


def _eye(A: Tensor) -> Tensor:
    return A.new_zeros(tuple(A.shape)) + A.new_ones((A.shape[-1],)).diag()
