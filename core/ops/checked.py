"""Decompositions and solutions that say in ``info`` where they ended, and raise only if asked: ``..._ex``."""

from __future__ import annotations

import math

from flambeau.backends.base import LinAlgError
from flambeau.core import creation
from flambeau.core import dtype as dt
from flambeau.core.errors import ShapeError
from flambeau.core.ops.decompose import cholesky, identity_like, lu_factor_p
from flambeau.core.ops.elementwise import where
from flambeau.core.ops.joining import stack
from flambeau.core.ops.shape import unsqueeze
from flambeau.core.ops.solve import lu_factor, solve
from flambeau.core.ops.systems import inv_p
from flambeau.core.ops.views import diagonal
from flambeau.core.results import CheckedCholesky, CheckedInverse, CheckedLU, CheckedSolution, returned
from flambeau.core.tensor import Tensor
from flambeau.core.transforms.levels import bottom


def matrices_of(x: Tensor) -> list[Tensor]:
    """Each matrix of a stack."""
    return list(x.reshape(math.prod(x._array.shape[:-2]), *x._array.shape[-2:]).unbind(0))


def checked_info(name: str, what: str, info: Tensor, check_errors: bool) -> Tensor:
    """``info``; LinAlgError where it is to be looked at and says that a matrix failed."""
    if check_errors and info.numel() and (worst := int(bottom(info).amax())):
        raise LinAlgError(f"{name}: {what} (info {worst}: at row {worst}, counted from 1)")
    return info


def _nothing_failed(x: Tensor) -> Tensor:
    return creation.zeros(tuple(x._array.shape[:-2]), dtype=dt.int32, device=x.device)


def _zero_pivots(lu: Tensor) -> Tensor:
    """For each matrix the first row, from 1, at which U has a 0 on the diagonal, or 0."""
    zero = diagonal(lu, 0, -2, -1) == 0
    if not zero._array.shape[-1]:
        return _nothing_failed(lu)
    return where(zero.any(-1), zero.to(dt.int32).argmax(-1) + 1, 0).to(dt.int32)


# -- cholesky ----------------------------------------------------------------------------------------
def cholesky_ex(A: Tensor, *, upper: bool = False, check_errors: bool = False) -> CheckedCholesky[Tensor]:
    """:func:`cholesky` with ``info`` (int32): 0, or the order of the first leading part that is not positive definite.

    The factor of a matrix that failed is that of the part before, and 0 elsewhere.

    >>> fb.linalg.cholesky_ex(fb.tensor([[1.0, 2.0], [2.0, 1.0]])).info
    tensor(2, dtype=flambeau.int32)
    """
    try:
        found = cholesky(A, upper=upper), _nothing_failed(A)
    except LinAlgError:
        made = [_as_far_as_it_goes(a, upper) for a in matrices_of(A)]
        orders = [creation.full_like(_nothing_failed(a), k) for a, (_, k) in zip(matrices_of(A), made, strict=True)]
        info = stack(orders).reshape(tuple(A.shape[:-2]))
        checked_info("cholesky_ex", "a matrix is not positive definite", info, check_errors)
        found = stack([low for low, _ in made]).reshape(tuple(A.shape)), info
    result: CheckedCholesky[Tensor] = returned("linalg_cholesky_ex", found)
    return result


def _as_far_as_it_goes(a: Tensor, upper: bool) -> tuple[Tensor, int]:
    """The factor, and 0 or the order of the smallest leading part that has none, by bisection."""
    good, bad = 0, a._array.shape[-1] + 1
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            cholesky(a[:middle, :middle].detach())
            good = middle
        except LinAlgError:
            bad = middle
    low = a * 0.0
    if good:
        low = low.slice_scatter(
            low[:good].slice_scatter(cholesky(a[:good, :good], upper=upper), 1, 0, good), 0, 0, good
        )
    return low, 0 if good == a._array.shape[-1] else bad


# -- systems -----------------------------------------------------------------------------------------
def inv_ex(A: Tensor, *, check_errors: bool = False) -> CheckedInverse[Tensor]:
    """The inverse with ``info`` (int32): 0, or the first row, from 1, with a zero pivot; the inverse is then nan.

    >>> fb.linalg.inv_ex(fb.tensor([[1.0, 0.0], [0.0, 0.0]])).info
    tensor(2, dtype=flambeau.int32)
    """
    try:
        found = inv_p(A), _nothing_failed(A)
    except LinAlgError:
        info = checked_info("inv_ex", "a matrix is singular", _zero_pivots(lu_factor_p(A.detach())[0]), check_errors)
        failed = unsqueeze(unsqueeze(info != 0, -1), -1)
        found = where(failed, float("nan"), inv_p(where(failed, identity_like(A), A))), info
    result: CheckedInverse[Tensor] = returned("linalg_inv_ex", found)
    return result


def solve_ex(A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False) -> CheckedSolution[Tensor]:
    """:func:`solve` with ``info`` (int32): 0, or the first row, from 1, with a zero pivot; the solution is then nan.

    >>> fb.linalg.solve_ex(fb.tensor([[2.0]]), fb.tensor([[4.0]]))
    CheckedSolution(result=tensor([[2.]]), info=tensor(0, dtype=flambeau.int32))
    """
    try:
        found = solve(A, B, left=left), _nothing_failed(A)
    except LinAlgError:
        info = checked_info("solve_ex", "a matrix is singular", _zero_pivots(lu_factor_p(A.detach())[0]), check_errors)
        failed = unsqueeze(unsqueeze(info != 0, -1), -1)
        solved = solve(where(failed, identity_like(A), A), B, left=left)
        while failed.ndim > solved.ndim:  # the right-hand sides were vectors
            failed = failed.squeeze(-1)
        found = where(failed, float("nan"), solved), info
    result: CheckedSolution[Tensor] = returned("linalg_solve_ex", found)
    return result


def lu_factor_ex(A: Tensor, *, pivot: bool = True, check_errors: bool = False) -> CheckedLU[Tensor]:
    """:func:`lu_factor` with ``info`` (int32): 0, or the first row, from 1, at which U has a 0 on its diagonal.

    >>> fb.linalg.lu_factor_ex(fb.tensor([[0.0, 1.0], [0.0, 1.0]])).info
    tensor(1, dtype=flambeau.int32)
    """
    if A.ndim < 2:
        raise ShapeError(f"lu_factor_ex: input must have at least 2 dimensions, got shape {tuple(A.shape)}")
    lu, pivots = lu_factor(A, pivot=pivot)
    info = checked_info("lu_factor_ex", "U has a 0 on its diagonal", _zero_pivots(lu.detach()), check_errors)
    result: CheckedLU[Tensor] = returned("linalg_lu_factor_ex", (lu, pivots, info))
    return result
