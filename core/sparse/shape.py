"""Parts, other orders of dimensions, sums and softmax of sparse tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flambeau.core.arguments import normal_axis
from flambeau.core.creation import zeros
from flambeau.core.dtype import DTypeLike, int64
from flambeau.core.errors import ArgumentError, ShapeError
from flambeau.core.memory_format import Layout, sparse_bsc, sparse_bsr, sparse_coo, sparse_csc, sparse_csr
from flambeau.core.ops.convert import result_type
from flambeau.core.ops.joining import cat, stack
from flambeau.core.ops.search import unique
from flambeau.core.sparse.compressed import in_layout, laid_out_as
from flambeau.core.sparse.convert import as_coo, coalesce, dtype_of_sum, sparse_dims
from flambeau.core.sparse.make import flat_places
from flambeau.core.sparse.tensor import SparseTensor, answers, coo, made, unsupported, with_values
from flambeau.core.tensor import Tensor

_TURNED = {sparse_csr: sparse_csc, sparse_csc: sparse_csr, sparse_bsr: sparse_bsc, sparse_bsc: sparse_bsr}


# -- the order of dimensions -------------------------------------------------------------------------
@answers("permute")
def permute(input: SparseTensor, *dims: Any) -> Tensor:
    order = dims[0] if len(dims) == 1 and isinstance(dims[0], (tuple, list)) else dims
    axes = [normal_axis(int(d), input.ndim) for d in order]
    if sorted(axes) != list(range(input.ndim)):
        raise ShapeError(f"permute: dims {tuple(order)} must name each of the {input.ndim} dimensions once")
    x, n = as_coo(input), input._sparse_dims
    if sorted(axes[:n]) != list(range(n)):
        raise RuntimeError(f"permute: dims {tuple(order)} mix the {n} sparse dimensions with the dense ones")
    held = x._held.permute((0, *(a - n + 1 for a in axes[n:])))
    shape = tuple(input.shape[a] for a in axes)
    rows = [x._where[0][a] for a in axes[:n]]
    return coo(stack(rows) if rows else x._where[0], held, shape, axes == list(range(input.ndim)) and x._coalesced)


@answers("transpose", "swapaxes", "swapdims")
def transpose(input: SparseTensor, dim0: int, dim1: int) -> Tensor:
    a, b = normal_axis(dim0, input.ndim), normal_axis(dim1, input.ndim)
    if a == b:
        return input
    if input._kind in _TURNED:
        return _transposed(input, min(a, b), max(a, b))
    order = list(range(input.ndim))
    order[a], order[b] = b, a
    return permute(input, order)


def _transposed(x: SparseTensor, a: int, b: int) -> Tensor:
    """A compressed tensor with two dimensions exchanged: the sparse ones, by the other layout, or two of the batch."""
    n, shape = x._batch, list(x.shape)
    if x.ndim > n + 2:
        raise RuntimeError("transpose(): hybrid sparse compressed tensors with dense dimensions are not supported")
    if a < n <= b:
        raise RuntimeError(
            "transpose(): can only transpose dimensions of the same type (Batch, Sparse, Dense), got "
            f"{a}(Batch) and {b}(Sparse)"
        )
    shape[a], shape[b] = shape[b], shape[a]
    if b < n:
        return made([w.transpose(a, b) for w in x._where], x._held.transpose(a, b), tuple(shape), x._kind, True)
    held = x._held.transpose(n + 1, n + 2) if x._blocksize else x._held
    return made(x._where, held, tuple(shape), _TURNED[x._kind], True)


@answers("mT")
def matrix_transpose(input: SparseTensor) -> Tensor:
    return transpose(input, -2, -1)


@answers("t", "T")
def t(input: SparseTensor) -> Tensor:
    if input.ndim > 2:
        raise RuntimeError(f"t: expects a tensor of at most 2 dimensions, got shape {tuple(input.shape)}")
    return input if input.ndim < 2 else transpose(input, 0, 1)


@answers("unsqueeze")
def unsqueeze(input: SparseTensor, dim: int) -> Tensor:
    axis, x, n = normal_axis(dim, input.ndim + 1), as_coo(input), input._sparse_dims
    shape = (*x.shape[:axis], 1, *x.shape[axis:])
    if axis > n:
        return coo(x._where[0], x._held.unsqueeze(axis - n + 1), shape, x._coalesced)
    where = x._where[0]
    return coo(cat([where[:axis], where.new_zeros((1, where.shape[1])), where[axis:]]), x._held, shape, x._coalesced)


@answers("squeeze")
def squeeze(input: SparseTensor, dim: int | Sequence[int] | None = None) -> Tensor:
    asked = range(input.ndim) if dim is None else (dim,) if isinstance(dim, int) else dim
    axes = {a for a in (normal_axis(d, input.ndim) for d in asked) if input.shape[a] == 1}
    x, n = as_coo(input), input._sparse_dims
    kept = [a for a in range(n) if a not in axes]
    held = x._held.reshape((x._held.shape[0], *(x.shape[a] for a in range(n, x.ndim) if a not in axes)))
    shape = tuple(m for a, m in enumerate(x.shape) if a not in axes)
    return coo(_chosen(x._where[0], kept), held, shape, x._coalesced)


def _chosen(where: Tensor, rows: Sequence[int]) -> Tensor:
    return stack([where[r] for r in rows]) if rows else where[:0]


# -- parts -------------------------------------------------------------------------------------------
@answers("select")
def select(input: SparseTensor, dim: int, index: int) -> Tensor:
    axis, x, n = normal_axis(dim, input.ndim), as_coo(input), input._sparse_dims
    size = input.shape[axis]
    if not -size <= index < size:
        raise IndexError(f"select: index {index} is out of range for dim {dim} of size {size}")
    index %= size
    shape = (*x.shape[:axis], *x.shape[axis + 1 :])
    if axis < input._batch:
        where = [w.select(axis, index) for w in input._where]
        return made(where, input._held.select(axis, index), shape, input._kind, True)
    if axis >= n:
        return coo(x._where[0], x._held.select(axis - n + 1, index), shape, x._coalesced)
    found = (x._where[0][axis] == index).nonzero().squeeze(1)
    held = x._held.index_select(0, found)
    if n == 1:
        return held.sum(0)
    rows = _chosen(x._where[0], [r for r in range(n) if r != axis]).index_select(1, found)
    return coo(rows, held, shape, x._coalesced)


@answers("narrow", "narrow_copy")
def narrow(input: SparseTensor, dim: int, start: int, length: int) -> Tensor:
    axis, x, n = normal_axis(dim, input.ndim), as_coo(input), input._sparse_dims
    size = input.shape[axis]
    start = start + size if start < 0 else start
    if not 0 <= start <= start + length <= size:
        raise IndexError(f"narrow: start={start} and length={length} leave dim {dim} of size {size}")
    shape = (*x.shape[:axis], length, *x.shape[axis + 1 :])
    if axis >= n:
        held = x._held.narrow(axis - n + 1, start, length)
        return laid_out_as(coo(x._where[0], held, shape, x._coalesced), input)
    row = x._where[0][axis]
    found = ((row >= start) & (row < start + length)).nonzero().squeeze(1)
    where = _shifted(x._where[0].index_select(1, found), axis, -start)
    return laid_out_as(coo(where, x._held.index_select(0, found), shape, x._coalesced), input)


def _shifted(where: Tensor, axis: int, by: int) -> Tensor:
    """Indices with a number added to those of one dimension."""
    return stack([row + by if a == axis else row for a, row in enumerate(where.unbind(0))]) if by else where


@answers("index_select")
def index_select(input: SparseTensor, dim: int, index: Tensor) -> Tensor:
    axis, x, n = normal_axis(dim, input.ndim), as_coo(input), input._sparse_dims
    size = input.shape[axis]
    if index.numel() and not 0 <= int(index.min().item()) <= int(index.max().item()) < size:
        raise IndexError(f"index_select: index has values out of range for dim {dim} of size {size}")
    shape = (*x.shape[:axis], index.shape[0], *x.shape[axis + 1 :])
    if axis >= n:
        return coo(x._where[0], x._held.index_select(axis - n + 1, index), shape, x._coalesced)
    order = x._where[0][axis].argsort(stable=True)
    have = x._where[0][axis].index_select(0, order)
    counts = have.new_zeros((size,)).index_add(0, have, have.new_ones(have.shape))
    begins = counts.cumsum(0) - counts
    wanted = counts.index_select(0, index)
    numbers = wanted.new_ones((wanted.shape[0],)).cumsum(0) - 1
    to = numbers.repeat_interleave(wanted)
    first = (begins.index_select(0, index) - (wanted.cumsum(0) - wanted)).index_select(0, to)
    found = order.index_select(0, to.new_ones((to.shape[0],)).cumsum(0) - 1 + first)
    where = x._where[0].index_select(1, found)
    where = stack([to if a == axis else row for a, row in enumerate(where.unbind(0))])
    return coo(where, x._held.index_select(0, found), shape)


@answers("__getitem__")
def getitem(input: SparseTensor, index: Any) -> Tensor:
    found: Any = input
    axis = 0
    for i in index if isinstance(index, tuple) else (index,):
        if isinstance(i, int) and not isinstance(i, bool) or isinstance(i, Tensor) and i.ndim == 0:
            found = found.select(axis, int(i))
        elif isinstance(i, slice) and i.step in (None, 1):
            start, stop, _ = i.indices(found.shape[axis])
            found = found.narrow(axis, start, max(stop - start, 0)) if i != slice(None) else found
            axis += 1
        else:
            raise unsupported(f"indexing by {type(i).__name__}", input)
    return found  # type: ignore[no-any-return]  # a tensor


@answers("unbind")
def unbind(input: SparseTensor, dim: int = 0) -> tuple[Tensor, ...]:
    return tuple(select(input, dim, i) for i in range(input.shape[normal_axis(dim, input.ndim)]))


@answers("cat", "concat", "concatenate")
def concatenate(tensors: Sequence[Any], dim: int = 0) -> Tensor:
    if not all(isinstance(x, SparseTensor) for x in tensors):
        raise RuntimeError("cat: all tensors must be sparse, got sparse and dense ones; use to_sparse() before it")
    parts = [as_coo(x) for x in tensors]
    axis, n = normal_axis(dim, parts[0].ndim), sparse_dims(parts[0])
    others = {(sparse_dims(x), *x.shape[:axis], *x.shape[axis + 1 :]) for x in parts}
    if len(others) > 1:
        raise ShapeError(f"cat: shapes {[tuple(x.shape) for x in parts]} must agree but for dim {dim}")
    total = sum(x.shape[axis] for x in parts)
    shape = (*parts[0].shape[:axis], total, *parts[0].shape[axis + 1 :])
    if axis >= n:
        return _beside(parts, axis - n + 1, shape)
    dtype, before, where = parts[0].dtype, 0, []
    for x in parts:
        dtype = result_type(x._held, dtype)
        where.append(_shifted(x._where[0], axis, before))
        before += x.shape[axis]
    held = cat([x._held.to(dtype) for x in parts])
    return laid_out_as(coo(cat(where, 1), held, shape, axis == 0 and all(x._coalesced for x in parts)), tensors[0])


def _beside(parts: Sequence[SparseTensor], axis: int, shape: tuple[int, ...]) -> Tensor:
    """Tensors joined along a dense dimension: each has zeros where the others hold values."""
    held, before = [], 0
    for x in parts:
        size = x._held.shape[axis]
        after = shape[x._where[0].shape[0] + axis - 1] - before - size
        pads = [x._held.new_zeros((*x._held.shape[:axis], k, *x._held.shape[axis + 1 :])) for k in (before, after)]
        held.append(cat([pads[0], x._held, pads[1]], axis))
        before += size
    return coo(cat([x._where[0] for x in parts], 1), cat(held), shape)


@answers("stack")
def stacked(tensors: Sequence[Any], dim: int = 0) -> Tensor:
    return concatenate([unsqueeze(as_coo(x), dim) for x in tensors], dim)


# -- sums --------------------------------------------------------------------------------------------
@answers("sum")
def total(
    input: SparseTensor, dim: int | Sequence[int] | None = None, keepdim: bool = False, *,
    dtype: DTypeLike | None = None,
) -> Tensor:  # fmt: skip
    """The sum, of all or of some dimensions; sparse while sparse dimensions are left."""
    dtype = dtype_of_sum(input.dtype, dtype)
    if dim is None or dim == ():
        return input._held.sum(dtype=dtype)
    asked = (dim,) if isinstance(dim, int) else dim
    axes = {normal_axis(d, input.ndim) for d in asked}
    if len(axes) != len(asked):
        raise ArgumentError(f"sum: dim {tuple(asked)} names a dimension twice")
    x, n = as_coo(input), input._sparse_dims
    inside = [a - n + 1 for a in sorted(axes) if a >= n]
    held = x._held.sum(inside, dtype=dtype) if inside else x._held if dtype is None else x._held.to(dtype)
    kept = [a for a in range(n) if a not in axes]
    shape = tuple(m for a, m in enumerate(x.shape) if a not in axes)
    if keepdim and input._kind is not sparse_coo:
        rows = [row.new_zeros(row.shape) if a in axes else row for a, row in enumerate(x._where[0].unbind(0))]
        held = held.reshape((held.shape[0], *(1 if a in axes else m for a, m in enumerate(x.shape[n:], n))))
        shape = tuple(1 if a in axes else m for a, m in enumerate(x.shape))
        return laid_out_as(coalesce(coo(stack(rows), held, shape)), input)
    if not kept:
        out: Tensor = held.sum(0)
    else:
        out = coalesce(coo(_chosen(x._where[0], kept), held, shape, x._coalesced and len(kept) == n))
    if keepdim:
        for a in sorted(axes):
            out = out.unsqueeze(a)
    return out


@answers("any")
def some(input: SparseTensor) -> Tensor:
    return coalesce(as_coo(input))._held.any()


@answers("norm")
def norm(input: SparseTensor, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
    if dim is not None or keepdim or p not in ("fro", 2, None):
        raise unsupported("norm with dim, keepdim or another p than 2", input)
    return coalesce(as_coo(input))._held.norm(dtype=dtype)


@answers("count_nonzero")
def count_nonzero(input: SparseTensor) -> Tensor:
    return coalesce(as_coo(input))._held.count_nonzero()


# -- softmax -----------------------------------------------------------------------------------------
def _softmax(input: Tensor, dim: int, dtype: DTypeLike | None, log: bool, name: str) -> Tensor:
    if not isinstance(input, SparseTensor):
        raise TypeError(f"{name}: argument 'input' must be a sparse tensor, got a dense one")
    x = coalesce(as_coo(input if dtype is None else input.to(dtype)))  # type: ignore[arg-type]  # stays sparse
    axis, n = normal_axis(dim, input.ndim), sparse_dims(x)
    if axis >= n:
        by = x._held.log_softmax if log else x._held.softmax
        return laid_out_as(with_values(x, by(axis - n + 1)), input)
    others = [a for a in range(n) if a != axis]
    sizes = [x.shape[a] for a in others]
    groups, owner = unique(flat_places(_chosen(x._where[0], others), sizes), return_inverse=True)
    shape = (groups.shape[0], *x._held.shape[1:])
    index = owner.reshape((-1, *(1,) * (x._held.ndim - 1))).expand(x._held.shape)
    blank = zeros(*shape, dtype=x._held.dtype, device=x._held.device)
    most = blank.scatter_reduce(0, index, x._held.detach(), "amax", include_self=False)
    below = x._held - most.index_select(0, owner)
    powers = below.exp()
    sums = blank.index_add(0, owner, powers)
    held = below - sums.log().index_select(0, owner) if log else powers / sums.index_select(0, owner)
    return laid_out_as(with_values(x, held), input)


def softmax(input: Tensor, dim: int, *, dtype: DTypeLike | None = None) -> Tensor:
    """The softmax along ``dim`` of what a sparse tensor holds: its zeros count as minus infinity.

    >>> fb.sparse.softmax(fb.eye(2).to_sparse(), 1).to_dense()
    tensor([[1., 0.],
            [0., 1.]])
    """
    return _softmax(input, dim, dtype, False, "softmax")


def log_softmax(input: Tensor, dim: int, *, dtype: DTypeLike | None = None) -> Tensor:
    """The logarithm of :func:`softmax`, where the tensor holds something.

    >>> fb.sparse.log_softmax(fb.eye(2).to_sparse(), 1).values()
    tensor([0., 0.])
    """
    return _softmax(input, dim, dtype, True, "log_softmax")


# -- diagonals ---------------------------------------------------------------------------------------
def spdiags(diagonals: Tensor, offsets: Tensor, shape: Sequence[int], layout: Layout | None = None) -> Tensor:
    """A matrix of ``shape`` with the rows of ``diagonals`` on the diagonals that ``offsets`` (different) names.

    Column j of the matrix takes column j of ``diagonals``; offset 0 is the main diagonal, positive ones lie above.

    >>> fb.sparse.spdiags(fb.ones(1, 3), fb.tensor([1]), (3, 3)).to_dense()
    tensor([[0., 1., 0.],
            [0., 0., 1.],
            [0., 0., 0.]])
    """
    rows = diagonals.reshape((1, -1)) if diagonals.ndim == 1 else diagonals
    places = offsets.reshape((-1,)).tolist()
    if rows.ndim != 2 or rows.shape[0] != len(places):
        raise ShapeError(
            f"spdiags: diagonals of shape {tuple(diagonals.shape)} must have a row for each of {len(places)} offsets"
        )
    if len(set(places)) != len(places):
        raise ArgumentError(f"spdiags: offsets must be different, got {places}")
    if len(shape) != 2:
        raise ShapeError(f"spdiags: shape must have two numbers, got {tuple(shape)}")
    n, m = (int(k) for k in shape)
    where: list[tuple[int, int]] = []
    taken: list[int] = []
    for d, k in enumerate(places):
        columns = range(max(k, 0), max(min(m, n + k, rows.shape[1]), 0))
        where += [(j - k, j) for j in columns]
        taken += [d * rows.shape[1] + j for j in columns]
    held = rows.reshape((-1,)).index_select(0, offsets.new_tensor(taken).to(int64))
    index = offsets.new_tensor([[i for i, _ in where], [j for _, j in where]])
    found = coo(index.reshape((2, -1)).to(int64), held, (n, m), len(places) == 1)
    return in_layout(found, layout or sparse_coo)


def sparse_sum(input: Tensor, dim: int | Sequence[int] | None = None, dtype: DTypeLike | None = None) -> Tensor:
    """The sum of a sparse tensor, over ``dim`` or all; sparse while sparse dimensions are left.

    >>> fb.sparse.sum(fb.eye(2).to_sparse(), 0).to_dense()
    tensor([1., 1.])
    """
    if not isinstance(input, SparseTensor):
        return input.sum(dim, dtype=dtype) if dim is not None else input.sum(dtype=dtype)
    return total(input, dim, dtype=dtype)


__all__ = ["log_softmax", "softmax", "spdiags"]
