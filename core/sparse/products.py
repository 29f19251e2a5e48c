"""Products of matrices of which the left, the right or both are sparse."""

from __future__ import annotations

from typing import Any, Literal

from flambeau.core import dtype as dt
from flambeau.core.blame import checking, explain_functions
from flambeau.core.creation import arange, zeros
from flambeau.core.dtype import Number
from flambeau.core.errors import ArgumentError, ShapeError
from flambeau.core.memory_format import sparse_csr
from flambeau.core.ops.joining import repeat_interleave, stack
from flambeau.core.sparse.compressed import compress, laid_out_as
from flambeau.core.sparse.convert import as_coo, coalesce, sparse_dims, to_dense
from flambeau.core.sparse.elementwise import add, scaled
from flambeau.core.sparse.make import flat_places
from flambeau.core.sparse.tensor import BY_ROW, SparseTensor, answers, coo, unsupported, with_values
from flambeau.core.tensor import Tensor

Reduce = Literal["sum", "mean", "amax", "amin"]


def _check(name: str, a: Tensor, b: Tensor, right: int = 2) -> None:
    if a.ndim != 2 or b.ndim != right or a.shape[1] != b.shape[0]:
        raise ShapeError(
            f"{name}: shapes {tuple(a.shape)} and {tuple(b.shape)} cannot be multiplied: the first must be (n, k), the "
            f"second {'(k, m)' if right == 2 else '(k,)'}"
        )
    if a.dtype is not b.dtype:
        raise RuntimeError(f"{name}: expected operands of one dtype, got {a.dtype} and {b.dtype}")
    for x in (a, b):
        if isinstance(x, SparseTensor) and x._sparse_dims != 2:
            raise ShapeError(f"{name}: a sparse operand must have sparse_dim 2 and dense_dim 0")


def _rows_times(a: SparseTensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The row of each value of a sparse matrix, and the value times the row of ``b`` that it meets."""
    x = as_coo(a)
    rows, columns = x._where[0][0], x._where[0][1]
    return rows, x._held.unsqueeze(1) * b.index_select(0, columns)


@answers("mm", "_sparse_mm")
def mm(input: Tensor, mat2: Tensor, reduce: Reduce = "sum") -> Tensor:
    _check("mm", input, mat2)
    if not isinstance(input, SparseTensor):
        right: Any = mat2
        return mm(right.t(), input.mT).mT
    if isinstance(mat2, SparseTensor):
        return laid_out_as(_both(input, mat2), input)
    if input._blocksize and reduce == "sum":
        return _blocks_times(input, mat2)
    rows, terms = _rows_times(input, mat2)
    shape = (input.shape[0], mat2.shape[1])
    blank = zeros(*shape, dtype=terms.dtype, device=terms.device)
    if reduce == "sum":
        return blank.index_add(0, rows, terms)
    if reduce not in ("mean", "amax", "amin"):
        raise ArgumentError(f"sparse.mm: reduce must be 'sum', 'mean', 'amax' or 'amin', got {reduce!r}")
    index = rows.unsqueeze(1).expand(terms.shape)
    return blank.scatter_reduce(0, index, terms, reduce, include_self=False)


def _blocks_times(a: SparseTensor, b: Tensor) -> Tensor:
    """A matrix of blocks times a dense one: each block meets the rows of ``b`` that it stands over."""
    (start, other), (down, across), m = a._where, a._blocksize, b.shape[1]
    number = arange(start.shape[0] - 1, device=start.device)
    lines, other = repeat_interleave(number, start.diff().to(dt.int64)), other.to(dt.int64)
    rows, columns = (lines, other) if a._kind in BY_ROW else (other, lines)
    met = b.reshape((b.shape[0] // across, across, m)).index_select(0, columns)
    terms = a._held.bmm(met)
    total = zeros(a.shape[0] // down, down, m, dtype=terms.dtype, device=terms.device).index_add(0, rows, terms)
    return total.reshape((a.shape[0], m))


def _both(a: SparseTensor, b: SparseTensor) -> SparseTensor:
    """Each value of ``a`` meets the row of ``b`` that its column names: as many terms as those rows are long."""
    left, right = coalesce(as_coo(a)), compress(b, sparse_csr, name="mm")
    start, columns = right._where
    begin = start.to(dt.int64).index_select(0, left._where[0][1])
    counts = start.diff().to(dt.int64).index_select(0, left._where[0][1])
    mine = repeat_interleave(arange(counts.shape[0], device=counts.device), counts)
    first = begin - (counts.cumsum(0) - counts)
    other = arange(mine.shape[0], device=mine.device) + first.index_select(0, mine)
    held = left._held.index_select(0, mine) * right._held.index_select(0, other)
    where = stack([left._where[0][0].index_select(0, mine), columns.to(dt.int64).index_select(0, other)])
    return coalesce(coo(where, held, (a.shape[0], b.shape[1])))


@answers("mv")
def mv(input: Tensor, vec: Tensor) -> Tensor:
    _check("mv", input, vec, 1)
    if isinstance(vec, SparseTensor):
        vec = to_dense(vec)
    return mm(input, vec.unsqueeze(1)).squeeze(1)


@answers("bmm")
def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    if not isinstance(input, SparseTensor) or isinstance(mat2, SparseTensor):
        raise unsupported("bmm whose right operand is sparse", input, mat2)
    if input.ndim != 3 or mat2.ndim != 3 or input.shape[0] != mat2.shape[0] or input.shape[2] != mat2.shape[1]:
        raise ShapeError(f"bmm: shapes {tuple(input.shape)} and {tuple(mat2.shape)} do not fit (b, n, k) and (b, k, m)")
    x = as_coo(input)
    if sparse_dims(x) != 3:
        raise ShapeError("bmm: a sparse operand must have sparse_dim 3 and dense_dim 0")
    (b, n, k), m, where = input.shape, mat2.shape[2], x._where[0]
    flat = stack([where[0] * n + where[1], where[0] * k + where[2]])
    return mm(coo(flat, x._held, (b * n, b * k)), mat2.reshape((b * k, m))).reshape((b, n, m))


@answers("matmul", "__matmul__")
def matmul(input: Tensor, other: Tensor) -> Tensor:
    if other.ndim == 1 and input.ndim == 2:
        return mv(input, other)
    if input.ndim == 1 and other.ndim == 2:
        return mm(to_dense(input).unsqueeze(0) if isinstance(input, SparseTensor) else input.unsqueeze(0), other)[0]
    if input.ndim == 3:
        return bmm(input, other)
    return mm(input, other)


def _reflected_matmul(self: SparseTensor, other: Tensor) -> Tensor:
    return matmul(other, self)


SparseTensor.__rmatmul__ = _reflected_matmul  # type: ignore[method-assign, assignment]


@answers("addmm")
def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, beta: Number = 1, alpha: Number = 1) -> Tensor:
    product = mm(mat1, mat2)
    if isinstance(input, SparseTensor) and not isinstance(product, SparseTensor):
        product = product.to_sparse()
    if isinstance(product, SparseTensor) or isinstance(input, SparseTensor):
        return add(scaled(input, beta), scaled(product, alpha))
    total: Tensor = scaled(input, beta) + scaled(product, alpha)
    return total


@answers("addmv")
def addmv(input: Tensor, mat: Tensor, vec: Tensor, beta: Number = 1, alpha: Number = 1) -> Tensor:
    total: Tensor = scaled(input, beta) + scaled(mv(mat, vec), alpha)
    return total


@answers("linear")
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    turned = weight.t() if isinstance(weight, SparseTensor) else weight.mT
    out = mm(input.flatten(0, -2), turned).reshape((*input.shape[:-1], weight.shape[0])) if (
        input.ndim != 2
    ) else mm(input, turned)  # fmt: skip
    return out if bias is None else out + bias


def hspmm(mat1: Tensor, mat2: Tensor) -> Tensor:
    """A sparse matrix times a dense one, of which the rows that hold something are kept: sparse_dim 1.

    >>> fb.hspmm(fb.eye(2).to_sparse(), fb.ones(2, 3)).sparse_dim()
    1
    """
    _need_sparse("hspmm", mat1)
    _check("hspmm", mat1, mat2)
    rows, terms = _rows_times(mat1, mat2)  # type: ignore[arg-type]  # it is sparse
    return coalesce(coo(rows.unsqueeze(0), terms, (mat1.shape[0], mat2.shape[1])))


def _need_sparse(name: str, mat1: object) -> None:
    if not isinstance(mat1, SparseTensor):
        raise RuntimeError(f"{name}: argument 'mat1' must be a sparse tensor, got {type(mat1).__name__}")


@answers("smm")
def smm(input: Tensor, mat: Tensor) -> Tensor:
    """A sparse matrix times a dense one, as a sparse matrix.

    >>> fb.smm(fb.eye(2).to_sparse(), fb.ones(2, 2)).to_dense()
    tensor([[1., 1.],
            [1., 1.]])
    """
    _need_sparse("smm", input)
    _check("smm", input, mat)
    rows, terms = _rows_times(input, mat)  # type: ignore[arg-type]  # it is sparse
    return _entries(rows, terms, input.shape[0])


def _entries(rows: Tensor, terms: Tensor, count: int) -> SparseTensor:
    """Rows of numbers, each added to the row it belongs to, as sparse_coo with every number a value."""
    n, m = terms.shape
    columns = arange(m, device=rows.device).repeat(n)
    where = stack([rows.repeat_interleave(m), columns])
    return coalesce(coo(where, terms.reshape((n * m,)), (count, m)))


@answers("sspaddmm")
def sspaddmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Number = 1, alpha: Number = 1) -> Tensor:
    """``beta * input + alpha * (mat1 @ mat2)`` of sparse ``input`` and ``mat1``, as a sparse matrix.

    >>> fb.sspaddmm(fb.eye(2).to_sparse(), fb.eye(2).to_sparse(), fb.ones(2, 2)).to_dense()
    tensor([[2., 1.],
            [1., 2.]])
    """
    _need_sparse("sspaddmm", mat1)
    _need_sparse("sspaddmm", input)
    return add(scaled(input, beta), scaled(smm(mat1, mat2), alpha))


def sampled_addmm(
    input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Number = 1.0, alpha: Number = 1.0, out: Tensor | None = None
) -> Tensor:
    """``beta * input + alpha * (mat1 @ mat2)`` where the sparse matrix ``input`` holds something.

    >>> fb.sparse.sampled_addmm(fb.eye(2).to_sparse_csr(), fb.ones(2, 3), fb.ones(3, 2)).to_dense()
    tensor([[4., 0.],
            [0., 4.]])
    """
    if not isinstance(input, SparseTensor):
        raise RuntimeError("sampled_addmm: argument 'input' must be a sparse matrix, got a dense tensor")
    if mat1.ndim < 2 or mat1.ndim != mat2.ndim or mat1.shape[-1] != mat2.shape[-2]:
        raise ShapeError(
            f"sampled_addmm: shapes {tuple(mat1.shape)} and {tuple(mat2.shape)} cannot be multiplied: mat1 must be "
            "(*, n, k), mat2 (*, k, m)"
        )
    if mat1.dtype is not mat2.dtype:
        raise RuntimeError(f"sampled_addmm: expected operands of one dtype, got {mat1.dtype} and {mat2.dtype}")
    shape = (*mat1.shape[:-1], mat2.shape[-1])
    if tuple(input.shape) != shape or tuple(mat1.shape[:-2]) != tuple(mat2.shape[:-2]):
        raise ShapeError(f"sampled_addmm: input of shape {tuple(input.shape)} does not fit a product of shape {shape}")
    where = as_coo(input)._where[0]
    left = mat1.flatten(0, -2).index_select(0, flat_places(where[:-1], shape[:-1]))
    across = stack([*where[:-2].unbind(0), where[-1]]) if where.shape[0] > 2 else where[-1:]
    right = mat2.mT.flatten(0, -2).index_select(0, flat_places(across, (*shape[:-2], shape[-1])))
    products = (left * right).sum(-1).reshape(input._held.shape)
    found = with_values(input, input._held * beta + products * alpha)
    return found if out is None else out.copy_(found)


__all__ = ["hspmm", "sampled_addmm", "smm", "sspaddmm"]
explain_functions(globals(), "hspmm sampled_addmm smm sspaddmm", wrap=checking)
