"""L @ D @ L.T of symmetric, L @ D @ L.mH of Hermitian matrices, by the pivots of Bunch and Kaufman.

Source: J. Bunch and L. Kaufman, "Some stable methods for calculating inertia and solving symmetric linear systems"
(1977). D has blocks of size 1 and 2; the choice of the next block looks at values, so each column is one trip to the
device. The factors and exchanges are laid out as LAPACK's ``sytrf`` and ``hetrf`` do for the lower triangle.
"""

from __future__ import annotations

import math
from typing import Final

from flambeau.core import dtype as dt
from flambeau.core.errors import DTypeError, ShapeError
from flambeau.core.from_data import tensor
from flambeau.core.ops.checked import checked_info, matrices_of
from flambeau.core.ops.elementwise import cj
from flambeau.core.ops.expand import broadcast_shapes
from flambeau.core.ops.joining import cat, stack
from flambeau.core.ops.matmul import matmul
from flambeau.core.ops.systems import matrices, square
from flambeau.core.ops.triangle import diag_embed
from flambeau.core.ops.views import diagonal
from flambeau.core.results import LDL, CheckedLDL, returned
from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor

#: Up to which ratio a diagonal element is the pivot: it makes two steps of size 1 grow as one of size 2.
_ALPHA: Final = (1 + math.sqrt(17)) / 8


def ldl_factor_ex(A: Tensor, *, hermitian: bool = False, check_errors: bool = False) -> CheckedLDL[Tensor]:
    """:func:`ldl_factor` with ``info`` (int32): 0, or the first row, from 1, at which D is 0.

    >>> fb.linalg.ldl_factor_ex(fb.zeros(2, 2)).info
    tensor(1, dtype=flambeau.int32)
    """
    square("ldl_factor")(A.shape)
    if A.dtype not in matrices.accepts:
        raise DTypeError(f"ldl_factor: A must be floating or complex, got {A.dtype.name}")
    with no_grad():
        below = A.tril()
        if hermitian and A.is_complex():  # the diagonal is real, whatever stands there
            below = A.tril(-1) + diag_embed(diagonal(A, 0, -2, -1).real).to(A.dtype)
        made = [_factor(a.clone(), hermitian and A.is_complex()) for a in matrices_of(below)]
    batch = tuple(A.shape[:-2])
    n = A.shape[-1]
    pivots = tensor([p for _, p, _ in made], dtype=dt.int32, device=A.device).reshape(*batch, n)
    info = tensor([i for _, _, i in made], dtype=dt.int32, device=A.device).reshape(batch)
    checked_info("ldl_factor", "D has a 0 on its diagonal", info, check_errors)
    factors = stack([f for f, _, _ in made]).reshape(tuple(A.shape)) if made else A.clone()
    found: CheckedLDL[Tensor] = returned("linalg_ldl_factor_ex", (factors, pivots, info))
    return found


def ldl_factor(A: Tensor, *, hermitian: bool = False) -> LDL[Tensor]:
    """The factors of symmetric (``hermitian``: Hermitian) A, of which the lower triangle is read.

    ``LD`` holds L below and D on the diagonal (of a block of 2 beside it, too), ``pivots`` (int32) the exchanges.

    >>> fb.linalg.ldl_factor(fb.tensor([[2.0, 1.0], [1.0, 3.0]])).LD
    tensor([[2.0000, 0.0000],
            [0.5000, 2.5000]])
    """
    found: LDL[Tensor] = returned("linalg_ldl_factor", ldl_factor_ex(A, hermitian=hermitian)[:2])
    return found


def _factor(a: Tensor, hermitian: bool) -> tuple[Tensor, list[int], int]:
    n, k, info = a._array.shape[-1], 0, 0
    pivots = [0] * n
    while k < n:
        place, block = _pivot(a, k)
        last = k + block - 1
        if place != last:
            _exchange(a, k, last, place, hermitian)
        if block == 1 and not complex(a[k, k].item()):
            info = info or k + 1
        else:
            _eliminate(a, k, block, hermitian)
        pivots[k:last + 1] = [place + 1] if block == 1 else [-place - 1] * 2  # fmt: skip
        k += block
    return a, pivots, info


def _pivot(a: Tensor, k: int) -> tuple[int, int]:
    """The row that comes next, and the size of its block."""
    own = _size(a[k, k]).item()
    if k + 1 == a._array.shape[-1]:
        return k, 1
    column = _size(a[k + 1 :, k])
    at = k + 1 + int(column.argmax())
    largest = column.amax().item()
    if own >= _ALPHA * largest:
        return k, 1
    beside = _size(cat([a[at, k:at], a[at + 1 :, at]])).amax().item()
    if own >= _ALPHA * largest * (largest / beside):
        return k, 1
    return (at, 1) if _size(a[at, at]).item() >= _ALPHA * beside else (at, 2)


def _size(x: Tensor) -> Tensor:
    """LAPACK's: of complex numbers the sum of both parts' sizes."""
    return x.real.abs() + x.imag.abs() if x.is_complex() else x.abs()


def _exchange(a: Tensor, k: int, i: int, j: int, hermitian: bool) -> None:
    """Swap rows and columns i < j of what is left from column k on, of which the lower triangle is stored."""
    a[j + 1 :, i], a[j + 1 :, j] = a[j + 1 :, j].clone(), a[j + 1 :, i].clone()
    row, column = a[j, i + 1 : j].clone(), a[i + 1 : j, i].clone()
    a[i + 1 : j, i], a[j, i + 1 : j] = (cj(row), cj(column)) if hermitian else (row, column)
    if hermitian:
        a[j, i] = cj(a[j, i])
    a[i, i], a[j, j] = a[j, j].clone(), a[i, i].clone()
    if i > k:
        a[i, k], a[j, k] = a[j, k].clone(), a[i, k].clone()


def _eliminate(a: Tensor, k: int, block: int, hermitian: bool) -> None:
    """Column(s) of L, and what they leave of the rest."""
    end = k + block
    d = _block(a, k, block, hermitian)
    below = a[end:, k:end].clone()
    low = matmul(below, _inverse(d))
    turned = low.mH if hermitian else low.mT
    a[end:, end:] -= matmul(below, turned).tril()
    a[end:, k:end] = low


def _block(a: Tensor, k: int, size: int, hermitian: bool) -> Tensor:
    """The block of D, of which the lower triangle is stored."""
    if size == 1:
        return a[k : k + 1, k : k + 1]
    beside = a[k + 1, k]
    return stack([stack([a[k, k], cj(beside) if hermitian else beside]), stack([beside, a[k + 1, k + 1]])])


def _inverse(d: Tensor) -> Tensor:
    """Of a block of 1 or 2."""
    if d._array.shape[-1] == 1:
        return 1 / d
    determinant = d[0, 0] * d[1, 1] - d[0, 1] * d[1, 0]
    return stack([stack([d[1, 1], -d[0, 1]]), stack([-d[1, 0], d[0, 0]])]) / determinant


def ldl_solve(LD: Tensor, pivots: Tensor, B: Tensor, *, hermitian: bool = False) -> Tensor:
    """X with A @ X == B from :func:`ldl_factor` of A.

    >>> LD, pivots = fb.linalg.ldl_factor(fb.tensor([[2.0, 1.0], [1.0, 3.0]]))
    >>> fb.linalg.ldl_solve(LD, pivots, fb.tensor([[3.0], [4.0]]))
    tensor([[1.],
            [1.]])
    """
    square("ldl_solve")(LD.shape)
    if B.ndim < 2 or B.shape[-2] != LD.shape[-1]:
        raise ShapeError(f"ldl_solve: B of shape {tuple(B.shape)} must have as many rows as LD {tuple(LD.shape)}")
    if tuple(pivots.shape) != tuple(LD.shape[:-1]):
        raise ShapeError(f"ldl_solve: pivots must have shape {tuple(LD.shape[:-1])}, got {tuple(pivots.shape)}")
    if pivots.dtype not in dt.INTS:
        raise DTypeError(f"ldl_solve: pivots must be integers, got {pivots.dtype.name}")
    if LD.dtype is not B.dtype:
        raise DTypeError(f"ldl_solve: LD and B must be of one dtype, got {LD.dtype.name} and {B.dtype.name}")
    batch = broadcast_shapes(tuple(LD.shape[:-2]), tuple(B.shape[:-2]))
    n = LD.shape[-1]
    right = B.expand(*batch, *B.shape[-2:])
    if not right.numel():
        return right.clone()
    factors, sides = matrices_of(LD.expand(*batch, n, n)), matrices_of(right)
    order = pivots.expand(*batch, n).reshape(-1, n).tolist()
    solved = [_solve(a, p, b, hermitian and LD.is_complex()) for a, p, b in zip(factors, order, sides, strict=True)]
    return stack(solved).reshape(tuple(right.shape))


def _blocks(pivots: list[int]) -> list[tuple[int, int, int]]:
    """(first row, size, row exchanged with its last one) of each block."""
    found, k = [], 0
    while k < len(pivots):
        size = 1 if pivots[k] > 0 else 2
        found.append((k, size, abs(pivots[k]) - 1))
        k += size
    return found


def _solve(a: Tensor, pivots: list[int], b: Tensor, hermitian: bool) -> Tensor:
    rows = list(b.unbind(0))
    blocks = _blocks(pivots)
    for k, size, other in blocks:
        last = k + size - 1
        rows[last], rows[other] = rows[other], rows[last]
        for i in range(k + size, len(rows)):
            for j in range(k, k + size):
                rows[i] = rows[i] - a[i, j] * rows[j]
    for k, size, _ in blocks:
        d = _inverse(_block(a, k, size, hermitian))
        rows[k : k + size] = matmul(d, stack(rows[k : k + size])).unbind(0)
    for k, size, other in reversed(blocks):
        last = k + size - 1
        for i in range(k + size, len(rows)):
            for j in range(k, k + size):
                rows[j] = rows[j] - (cj(a[i, j]) if hermitian else a[i, j]) * rows[i]
        rows[last], rows[other] = rows[other], rows[last]
    return stack(rows)
