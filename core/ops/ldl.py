"""L @ D @ L.T of symmetric, L @ D @ L.mH of Hermitian matrices, by the pivots of Bunch and Kaufman.

Source: J. Bunch and L. Kaufman, "Some stable methods for calculating inertia and solving symmetric linear systems"
(1977). D has blocks of size 1 and 2; the choice of the next block looks at values, so each column is one trip to the
device. The factors and exchanges are laid out as LAPACK's ``sytrf`` and ``hetrf`` do for the lower triangle.
"""

from __future__ import annotations

import math
from typing import Final

from flambeau.core import dtype as dt
from flambeau.core.creation import arange
from flambeau.core.errors import DTypeError, ShapeError
from flambeau.core.from_data import tensor
from flambeau.core.ops.checked import checked_info, matrices_of
from flambeau.core.ops.elementwise import cj, where
from flambeau.core.ops.expand import broadcast_shapes
from flambeau.core.ops.joining import cat, stack
from flambeau.core.ops.matmul import matmul
from flambeau.core.ops.systems import matrices, square
from flambeau.core.ops.triangle import diag_embed
from flambeau.core.ops.views import diagonal, narrow
from flambeau.core.results import LDL, CheckedLDL, returned
from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.core.transforms.levels import in_front

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
    made = in_front(lambda x: _factors(x, hermitian), A)
    checked_info("ldl_factor", "D has a 0 on its diagonal", made[2], check_errors)
    found: CheckedLDL[Tensor] = returned("linalg_ldl_factor_ex", made)
    return found


def _factors(A: Tensor, hermitian: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Factors, pivots and infos of a stack of matrices."""
    with no_grad():
        below = A.tril()
        if hermitian and A.is_complex():  # the diagonal is real, whatever stands there
            below = A.tril(-1) + diag_embed(diagonal(A, 0, -2, -1).real).to(A.dtype)
        made = [_factor(a.clone(), hermitian and A.is_complex()) for a in matrices_of(below)]
    batch, n = tuple(A.shape[:-2]), A.shape[-1]
    pivots = tensor([p for _, p, _ in made], dtype=dt.int32, device=A.device).reshape(*batch, n)
    info = tensor([i for _, _, i in made], dtype=dt.int32, device=A.device).reshape(batch)
    return stack([f for f, _, _ in made]).reshape(tuple(A.shape)) if made else A.clone(), pivots, info


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
    return _solve(LD.expand(*batch, n, n), pivots.expand(*batch, n), right, hermitian and LD.is_complex())


def _starts(pivots: Tensor) -> list[Tensor]:
    """For each row whether a block of size 2 begins there."""
    found: list[Tensor] = []
    for p in pivots.unbind(-1):
        found.append((p < 0) & ~found[-1] if found else p < 0)
    return found


def _swapped(b: Tensor, last: Tensor, other: Tensor, numbers: Tensor) -> Tensor:
    """Rows ``last`` and ``other`` exchanged, of each matrix its own."""
    last, other = last.unsqueeze(-1), other.unsqueeze(-1)
    order = where(numbers == last, other, where(numbers == other, last, numbers))
    return b.gather(-2, order.unsqueeze(-1).expand(tuple(b.shape)))


def _solve(a: Tensor, pivots: Tensor, b: Tensor, hermitian: bool) -> Tensor:
    """Row by row, of all matrices at once: where blocks stand is in masks, so that no value is read."""
    n, numbers = a.shape[-1], arange(a.shape[-1], device=a.device)
    begins = _starts(pivots)
    ends = [begins[0] & False, *begins[:-1]]  # the second row of a block
    others = [p.abs().to(dt.int64) - 1 for p in pivots.unbind(-1)]
    columns = []
    for k, (column, begin) in enumerate(zip(a.unbind(-1), begins, strict=True)):
        first = (numbers > k + 1) | (numbers == k + 1) & ~begin.unsqueeze(-1)
        columns.append(where(first, column, 0).unsqueeze(-1))
    steps = [(k, where(ends[k], k, k + begins[k].to(dt.int64)), where(ends[k], k, others[k])) for k in range(n)]
    for k, last, other in steps:
        b = _swapped(b, last, other, numbers)
        b = b - columns[k] * narrow(b, -2, k, 1)
    b = _diagonal_solved(a, stack(begins, -1), stack(ends, -1), b, hermitian)
    for k, last, other in reversed(steps):
        turned = columns[k].mH if hermitian else columns[k].mT
        b = where((numbers == k).unsqueeze(-1), b - matmul(turned, b), b)
        b = _swapped(b, last, other, numbers)
    return b


def _diagonal_solved(a: Tensor, begins: Tensor, ends: Tensor, b: Tensor, hermitian: bool) -> Tensor:
    """D of blocks of size 1 and 2 divided out: a row has to do with itself and the other of its block."""
    if a.shape[-1] == 1:
        return b / diagonal(a, 0, -2, -1).unsqueeze(-1)
    d, beside = diagonal(a, 0, -2, -1), diagonal(a, -1, -2, -1)
    beside = cat([beside, narrow(d, -1, 0, 1)], -1)  # the last one is in no block
    above = cj(beside) if hermitian else beside
    down, up = d.roll(1, -1), d.roll(-1, -1)
    determinant = where(begins, d * up - above * beside, 1)
    first = (up.unsqueeze(-1) * b - above.unsqueeze(-1) * b.roll(-1, -2)) / determinant.unsqueeze(-1)
    before, determinant = beside.roll(1, -1), where(ends, determinant.roll(1, -1), 1)
    second = (down.unsqueeze(-1) * b - before.unsqueeze(-1) * b.roll(1, -2)) / determinant.unsqueeze(-1)
    single = b / where(begins | ends, 1, d).unsqueeze(-1)
    return where(begins.unsqueeze(-1), first, where(ends.unsqueeze(-1), second, single))
