"""Between layouts, and between sparse and dense."""

from __future__ import annotations

import math
from typing import Any

from flambeau.core import dtype as dt
from flambeau.core.creation import arange, zeros
from flambeau.core.dtype import DType, DTypeLike
from flambeau.core.errors import ArgumentError, ShapeError
from flambeau.core.memory_format import Layout, sparse_coo, sparse_csc, sparse_csr, strided
from flambeau.core.ops.joining import cat, repeat_interleave
from flambeau.core.ops.search import unique
from flambeau.core.sparse.make import flat_places, places_of
from flambeau.core.sparse.tensor import NAMES, SparseTensor, answers, coo, made, unsupported, with_values
from flambeau.core.tensor import Tensor


def sparse_dims(x: SparseTensor) -> int:
    """How many dimensions the indices say."""
    return x._where[0].shape[0] if x._kind is sparse_coo else 2


def sum_at(flat: Tensor, held: Tensor, count: int) -> Tensor:
    """The sums of the values at each of ``count`` places; of bools whether one is True."""
    plain = held.to(dt.int64) if held.dtype is dt.bool_ else held
    total = zeros(count, *held.shape[1:], dtype=plain.dtype, device=held.device).index_add(0, flat, plain)
    return total != 0 if held.dtype is dt.bool_ else total


@answers("coalesce")
def coalesce(input: SparseTensor) -> SparseTensor:
    """The same tensor with its places in order, each once; itself where it is so already."""
    _need_coo("coalesce", input)
    if input._coalesced:
        return input
    sizes = tuple(input.shape[: sparse_dims(input)])
    places, inverse = unique(flat_places(input._where[0], sizes), return_inverse=True)
    held = sum_at(inverse, input._held, places.shape[0])
    return coo(places_of(places, sizes), held, tuple(input.shape), True)


def as_coo(x: SparseTensor) -> SparseTensor:
    """A tensor of any sparse layout as sparse_coo."""
    if x._kind is sparse_coo:
        return x
    start, other = x._where
    rows = repeat_interleave(arange(start.shape[0] - 1, device=start.device), start.diff().to(dt.int64))
    other = other.to(dt.int64)
    if x._kind is sparse_csr:
        return coo(cat([rows.unsqueeze(0), other.unsqueeze(0)]), x._held, tuple(x.shape), True)
    return coo(cat([other.unsqueeze(0), rows.unsqueeze(0)]), x._held, tuple(x.shape))


def compress(x: SparseTensor, kind: Layout, name: str = "to_sparse") -> SparseTensor:
    """A tensor in the layout ``sparse_csr`` or ``sparse_csc``."""
    if x._kind is kind:
        return x
    if x.ndim != 2 or sparse_dims(x) != 2:
        raise ShapeError(f"{name}: layout {kind!r} is for matrices, got shape {tuple(x.shape)}")
    shape = tuple(x.shape)
    x = as_coo(x)
    x = coalesce(x if kind is sparse_csr else coo(x._where[0].flip(0), x._held, shape[::-1]))
    lines, others = x._where[0][0], x._where[0][1]
    counts = zeros(x.shape[0] + 1, dtype=dt.int64, device=lines.device)
    counts = counts.index_add(0, lines + 1, lines.new_ones(lines.shape))
    return made((counts.cumsum(0), others), x._held, shape, kind, True)


def in_layout(x: SparseTensor, kind: Layout) -> SparseTensor:
    """A sparse tensor in another sparse layout."""
    return as_coo(x) if kind is sparse_coo else compress(x, kind)


@answers("to_dense", "_to_dense")
def to_dense(input: SparseTensor, dtype: DTypeLike | None = None, *, masked_grad: bool | None = None) -> Tensor:
    """The tensor with all its zeros."""
    x = as_coo(input)
    sizes = tuple(x.shape[: sparse_dims(x)])
    dense = sum_at(flat_places(x._where[0], sizes), x._held, math.prod(sizes)).reshape(tuple(x.shape))
    return dense if dtype is None else dense.to(dtype)


def from_dense(x: Tensor, dims: int | None = None) -> SparseTensor:
    """What is not zero in a dense tensor, by the indices of its first ``dims`` dimensions."""
    dims = x.ndim if dims is None else dims
    if not 0 <= dims <= x.ndim or x.ndim > 0 and dims == 0:
        raise ArgumentError(f"to_sparse: sparse_dim={dims} must be 1 to {x.ndim}, the dimensions of the tensor")
    sizes, rest = tuple(x.shape[:dims]), tuple(x.shape[dims:])
    filled = x.detach() != 0
    if rest:
        filled = filled.reshape((*sizes, math.prod(rest))).any(-1)
    flat = filled.reshape((-1,)).nonzero().squeeze(1)
    return coo(places_of(flat, sizes), x.reshape((math.prod(sizes), *rest)).index_select(0, flat), tuple(x.shape), True)


def to_sparse(
    input: Tensor, sparse_dim: int | None, layout: Layout | None, blocksize: Any, dense_dim: int | None
) -> Tensor:
    """A tensor, dense or sparse, in a sparse layout."""
    kind = layout or sparse_coo
    if kind is strided:
        raise RuntimeError("to_sparse: layout must be a sparse one, got flambeau.strided; use to_dense()")
    if kind not in NAMES or blocksize is not None:
        raise unsupported(f"to_sparse to {kind!r}", input)
    if dense_dim is not None:
        sparse_dim = input.ndim - dense_dim if sparse_dim is None else sparse_dim
    if isinstance(input, SparseTensor):
        if sparse_dim is not None and sparse_dim != sparse_dims(input):
            raise ArgumentError(f"to_sparse: sparse_dim={sparse_dim}, but the tensor has {sparse_dims(input)}")
        return in_layout(input, kind)
    return in_layout(from_dense(input, sparse_dim), kind)


@answers("to_sparse")
def _to_sparse(
    input: SparseTensor, sparse_dim: int | None = None, *, layout: Layout | None = None, blocksize: Any = None,
    dense_dim: int | None = None,
) -> Tensor:  # fmt: skip
    return to_sparse(input, sparse_dim, layout, blocksize, dense_dim)


@answers("to_sparse_coo")
def _to_coo(input: SparseTensor) -> Tensor:
    return as_coo(input)


@answers("to_sparse_csr")
def _to_csr(input: SparseTensor, dense_dim: int | None = None) -> Tensor:
    return compress(input, sparse_csr, "to_sparse_csr")


@answers("to_sparse_csc")
def _to_csc(input: SparseTensor, dense_dim: int | None = None) -> Tensor:
    return compress(input, sparse_csc, "to_sparse_csc")


# -- parts -------------------------------------------------------------------------------------------
def _need_coo(name: str, x: Any) -> None:
    if x.layout is not sparse_coo:
        raise RuntimeError(
            f"{name} expected sparse coordinate tensor layout but got {NAMES.get(x.layout, 'Strided')}"
        )  # fmt: skip


@answers("indices")
def indices(input: SparseTensor) -> Tensor:
    _need_coo("indices", input)
    if not input._coalesced:
        raise RuntimeError("Cannot get indices on an uncoalesced tensor, please call .coalesce() first")
    return input._where[0]


@answers("values")
def values(input: SparseTensor) -> Tensor:
    if not input._coalesced:
        raise RuntimeError("Cannot get values on an uncoalesced tensor, please call .coalesce() first")
    return input._held


@answers("_indices")
def _indices(input: SparseTensor) -> Tensor:
    _need_coo("_indices", input)
    return input._where[0]


@answers("_values")
def _values(input: SparseTensor) -> Tensor:
    return input._held.detach()


def _part(name: str, kind: Layout, place: int) -> None:
    words = "row" if kind is sparse_csr else "column"

    @answers(name)
    def part(input: SparseTensor) -> Tensor:
        if input._kind is not kind:
            raise RuntimeError(f"{name} expected sparse {words} compressed tensor layout but got {NAMES[input._kind]}")
        return input._where[place]


for _name, _kind, _place in (
    ("crow_indices", sparse_csr, 0), ("col_indices", sparse_csr, 1), ("ccol_indices", sparse_csc, 0),
    ("row_indices", sparse_csc, 1),
):  # fmt: skip
    _part(_name, _kind, _place)


@answers("_coalesced_")
def _set_coalesced(input: SparseTensor, coalesced: bool) -> Tensor:
    input._coalesced = coalesced
    return input


@answers("sparse_dim", "_dimI")
def _sparse_dim(input: SparseTensor) -> int:
    return sparse_dims(input)


@answers("dense_dim", "_dimV")
def _dense_dim(input: SparseTensor) -> int:
    return input._held.ndim - 1


@answers("_nnz")
def _nnz(input: SparseTensor) -> int:
    return input._held.shape[0]


@answers("is_coalesced")
def _is_coalesced(input: SparseTensor) -> bool:
    _need_coo("is_coalesced", input)
    return input._coalesced


@answers("values_at")
def values_at(x: Tensor, mask: SparseTensor) -> Tensor:
    """The values of a tensor, dense or sparse, at the places that ``mask`` holds."""
    if tuple(x.shape) != tuple(mask.shape):
        raise ShapeError(f"sparse_mask: shapes {tuple(x.shape)} and {tuple(mask.shape)} of input and mask must agree")
    if isinstance(x, SparseTensor):
        if x._kind is mask._kind and all(a is b for a, b in zip(x._where, mask._where, strict=True)):
            return x._held
        x = to_dense(x)
    pattern = as_coo(mask)
    dims = sparse_dims(pattern)
    sizes = tuple(mask.shape[:dims])
    rows = x.reshape((math.prod(sizes), *mask.shape[dims:]))
    return rows.index_select(0, flat_places(pattern._where[0], sizes))


@answers("sparse_mask")
def sparse_mask(input: Tensor, mask: Tensor) -> Tensor:
    """A tensor at the places that the sparse tensor ``mask`` holds."""
    if not isinstance(mask, SparseTensor):
        raise TypeError(f"sparse_mask: mask must be a sparse tensor, got one of layout {mask.layout!r}")
    return with_values(mask, values_at(input, mask))


# -- the tensor again ----------------------------------------------------------------------------------
@answers("detach", "data")
def detach(input: SparseTensor) -> Tensor:
    return with_values(input, input._held.detach())


@answers("clone")
def clone(input: SparseTensor, *, memory_format: Any = None) -> Tensor:
    fresh = with_values(input, input._held.clone())
    fresh._where = tuple(w.clone() for w in input._where)
    return fresh


_MOVES = (
    "to float double half bfloat16 bool int long short char byte cpu type_as cfloat cdouble cast pin_memory to_device"
)


def _moved(name: str) -> None:
    @answers(name)
    def move(input: SparseTensor, *args: Any, **kwargs: Any) -> Tensor:
        args = tuple(a._held if isinstance(a, SparseTensor) else a for a in args)
        held = getattr(input._held, name)(*args, **kwargs)
        if held is input._held:
            return input
        fresh = with_values(input, held)
        if held.device != input.device:
            fresh._where = tuple(w.to(held.device) for w in input._where)
        return fresh


for _name in _MOVES.split():
    _moved(_name)


@answers("type")
def type_of(input: SparseTensor, dtype: Any = None, non_blocking: bool = False) -> Any:  # Any: a name, or a tensor
    if dtype is not None:
        return with_values(input, input._held.type(dtype))
    home, _, name = input._held.type().partition(".")
    return f"{home}.sparse.{name}"


def dtype_of_sum(dtype: DType, wanted: DTypeLike | None) -> DTypeLike | None:
    """The dtype in which sums are: int64 of integers and bools."""
    return wanted if wanted is not None else dt.int64 if dtype.category < dt.FLOATING else None
