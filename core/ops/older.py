"""The older names of linear algebra at torch's top level, and those that raise there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from flambeau.core import dtype as dt
from flambeau.core.autocast import autocasting
from flambeau.core.errors import DTypeError, ShapeError
from flambeau.core.ops.checked import lu_factor_ex
from flambeau.core.ops.linalg import matrix_norm, vector_norm
from flambeau.core.ops.shape import matrix_transpose
from flambeau.core.ops.solve import lu_parts
from flambeau.core.ops.solve import lu_solve as solve_by_lu
from flambeau.core.ops.systems import solve_triangular_p
from flambeau.core.public import public
from flambeau.core.record import alike
from flambeau.core.results import LUParts, TriangularSolution, returned
from flambeau.core.tensor import Tensor


@public("lu", out=True)
@autocasting("float32|same")
def _lu(A: Tensor, pivot: bool = True, get_infos: bool = False) -> tuple[Tensor, ...]:
    """:func:`flambeau.linalg.lu_factor`; with ``get_infos`` its ``info`` too, as :func:`flambeau.linalg.lu_factor_ex`.

    >>> fb.lu(fb.tensor([[2.0, 0.0], [0.0, 4.0]]))[1]
    tensor([1, 2], dtype=flambeau.int32)
    """
    found = lu_factor_ex(A, pivot=pivot, check_errors=not get_infos)
    return tuple(found) if get_infos else (found.LU, found.pivots)


@public(method=False, out=True)
def lu_unpack(
    LU_data: Tensor, LU_pivots: Tensor, unpack_data: bool = True, unpack_pivots: bool = True
) -> LUParts[Tensor]:
    """P, L and U of what :func:`flambeau.linalg.lu_factor` gives; those that are not wanted are empty.

    >>> [t.shape for t in fb.lu_unpack(*fb.linalg.lu_factor(fb.eye(2)))]
    [flambeau.Size([2, 2]), flambeau.Size([2, 2]), flambeau.Size([2, 2])]
    """
    if unpack_pivots and LU_pivots.dtype is not dt.int32:
        raise DTypeError(f"lu_unpack: LU_pivots must be of dtype int32, got {LU_pivots.dtype.name}")
    parts = lu_parts(LU_data, LU_pivots if unpack_pivots else None)
    nothing = LU_data.new_empty((0,))
    wanted = (parts.P if unpack_pivots else nothing, *(parts[1:] if unpack_data else (nothing, nothing)))
    made: LUParts[Tensor] = returned("lu_unpack", wanted)
    return made


@public("lu_solve", out=True)
def _lu_solve(b: Tensor, LU_data: Tensor, LU_pivots: Tensor) -> Tensor:
    """:func:`flambeau.linalg.lu_solve` with the right-hand side first.

    >>> fb.lu_solve(fb.tensor([[2.0]]), *fb.linalg.lu_factor(fb.tensor([[4.0]])))
    tensor([[0.5000]])
    """
    return solve_by_lu(LU_data, LU_pivots, b)


@public(out=True)
@autocasting("float32|same")
def triangular_solve(
    b: Tensor, A: Tensor, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> TriangularSolution[Tensor]:
    """X with A @ X == b for triangular A, with ``transpose`` A.mT @ X == b; and a copy of A.

    >>> fb.triangular_solve(fb.tensor([[4.0]]), fb.tensor([[2.0]])).solution
    tensor([[2.]])
    """
    if b.ndim < 2 or A.ndim < 2:
        raise ShapeError(
            f"triangular_solve: b and A must have at least 2 dimensions, got shapes {tuple(b.shape)} and "
            f"{tuple(A.shape)}"
        )
    alike("b and A")("triangular_solve", (b, A))
    turned = matrix_transpose(A) if transpose else A
    found = solve_triangular_p(turned, b, upper=upper is not transpose, unitriangular=unitriangular)
    whole = A.expand(*found.shape[:-2], *A.shape[-2:]).clone()
    made: TriangularSolution[Tensor] = returned("triangular_solve", (found, whole))
    return made


@public(method=False, out=True)
def nuclear_norm(input: Tensor, dim: Sequence[int] = (-2, -1), keepdim: bool = False) -> Tensor:
    """The sum of the singular values of matrices; deprecated, as in torch: :func:`flambeau.linalg.matrix_norm`.

    >>> fb.nuclear_norm(fb.eye(2))
    tensor(2.)
    """
    return matrix_norm(input, "nuc", dim, keepdim)


@public(method=False, out=True)
def frobenius_norm(input: Tensor, dim: int | Sequence[int] = (), keepdim: bool = False) -> Tensor:
    """The 2-norm over ``dim``, all by default; deprecated, as in torch: :func:`flambeau.linalg.vector_norm`.

    >>> fb.frobenius_norm(fb.tensor([3.0, 4.0]))
    tensor(5.)
    """
    return vector_norm(input, 2, dim if isinstance(dim, int) or dim else None, keepdim)


# -- names that raise, as in torch -------------------------------------------------------------------
def _removed(name: str, now: str) -> NoReturn:
    raise RuntimeError(f"{name}: this function was removed from torch after version 1.9; use {now}")


@public()
def symeig(input: Tensor, eigenvectors: bool = False, upper: bool = True) -> NoReturn:
    """RuntimeError: use :func:`flambeau.linalg.eigh` or :func:`flambeau.linalg.eigvalsh`."""
    _removed("symeig", "flambeau.linalg.eigh(A, UPLO='U') or flambeau.linalg.eigvalsh")


@public()
def eig(self: Tensor, eigenvectors: bool = False) -> NoReturn:
    """RuntimeError: use :func:`flambeau.linalg.eig` or :func:`flambeau.linalg.eigvals`."""
    _removed("eig", "flambeau.linalg.eig(A) or flambeau.linalg.eigvals(A)")


@public("solve")
def _solve(input: Tensor, A: Tensor) -> NoReturn:
    """RuntimeError: use :func:`flambeau.linalg.solve`, whose arguments stand the other way round."""
    _removed("solve", "flambeau.linalg.solve(A, B), whose arguments stand the other way round")


@public("lstsq")
def _lstsq(input: Tensor, A: Tensor) -> NoReturn:
    """RuntimeError: use :func:`flambeau.linalg.lstsq`, whose arguments stand the other way round."""
    _removed("lstsq", "flambeau.linalg.lstsq(A, B), whose arguments stand the other way round")


@public(method=False)
def matrix_rank(input: Tensor, tol: float | None = None, symmetric: bool = False) -> NoReturn:
    """RuntimeError: use :func:`flambeau.linalg.matrix_rank`."""
    _removed("matrix_rank", "flambeau.linalg.matrix_rank")
