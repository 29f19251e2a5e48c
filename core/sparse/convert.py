"""Between layouts, and between sparse and dense."""

from __future__ import annotations

import math
from typing import Any

from flambeau.core import dtype as dt
from flambeau.core.creation import arange, zeros
from flambeau.core.dtype import DType, DTypeLike
from flambeau.core.errors import ArgumentError, ShapeError
from flambeau.core.memory_format import sparse_coo, sparse_csr
from flambeau.core.ops.joining import repeat_interleave, stack
from flambeau.core.ops.search import unique
from flambeau.core.out import deliver
from flambeau.core.sparse.make import flat_places, places_of
from flambeau.core.sparse.tensor import ANSWERS, BY_ROW, NAMES, SparseTensor, answers, coo, with_values
from flambeau.core.tensor import Tensor


def sparse_dims(x: SparseTensor) -> int:
    """How many dimensions the indices say, without those that number the matrices of a batch."""
    return x._where[0].shape[0] if x._kind is sparse_coo else 2


def as_coo(x: SparseTensor) -> SparseTensor:
    """A tensor of any sparse layout as sparse_coo; its values in the order in which they are held."""
    if x._kind is sparse_coo:
        return x
    (start, other), batch, blocks = x._where, x._batch, x._blocksize
    lines, count = start.shape[-1] - 1, other.numel()
    of_each = start.diff().reshape((-1,)).to(dt.int64)
    line = repeat_interleave(arange(of_each.shape[0], device=start.device), of_each) % max(lines, 1)
    rows, columns = (line, other.reshape((-1,)).to(dt.int64))[:: 1 if x._kind in BY_ROW else -1]
    where = [rows, columns]
    if batch:
        sizes = tuple(other.shape[:batch])
        number = arange(count, device=start.device).div(max(other.shape[-1], 1), rounding_mode="floor")
        where = [*places_of(number, sizes).unbind(0), rows, columns]
    if blocks:
        where = _inside_blocks(where, blocks)
    held = x._held.reshape((where[0].shape[0], *x._held.shape[x._lead :]))
    return coo(stack(where), held, tuple(x.shape), x._kind is sparse_csr)


def _inside_blocks(where: list[Tensor], blocks: tuple[int, ...]) -> list[Tensor]:
    """The places of the elements of blocks, from those of the blocks."""
    down, across = (arange(n, device=where[0].device) for n in blocks)
    grids = {len(where) - 2: down.reshape((1, -1, 1)), len(where) - 1: across.reshape((1, 1, -1))}
    out = []
    for axis, place in enumerate(where):
        place = place.reshape((-1, 1, 1))
        if axis in grids:
            place = place * blocks[axis - len(where)] + grids[axis]
        out.append(place.expand((where[0].shape[0], *blocks)).reshape((-1,)))
    return out


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


def _part(name: str, by_row: bool, place: int) -> None:
    words = "row" if by_row else "column"

    @answers(name)
    def part(input: SparseTensor) -> Tensor:
        if input._kind is sparse_coo or (input._kind in BY_ROW) is not by_row:
            raise RuntimeError(f"{name} expected sparse {words} compressed tensor layout but got {NAMES[input._kind]}")
        return input._where[place]


for _name, _by_row, _place in (
    ("crow_indices", True, 0), ("col_indices", True, 1), ("ccol_indices", False, 0), ("row_indices", False, 1),
):  # fmt: skip
    _part(_name, _by_row, _place)


@answers("_coalesced_")
def _set_coalesced(input: SparseTensor, coalesced: bool) -> Tensor:
    input._coalesced = coalesced
    return input


@answers("sparse_dim", "_dimI")
def _sparse_dim(input: SparseTensor) -> int:
    return sparse_dims(input)


@answers("dense_dim", "_dimV")
def _dense_dim(input: SparseTensor) -> int:
    return input._held.ndim - input._lead


@answers("_nnz")
def _nnz(input: SparseTensor) -> int:
    return input._held.shape[input._batch]


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
    found = rows.index_select(0, flat_places(pattern._where[0], sizes))
    return found.reshape((*mask._held.shape[: mask._lead], *mask.shape[dims:]))


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


def _part_copy(name: str) -> None:
    @answers(f"{name}_copy")
    def copied(input: SparseTensor, *, out: Tensor | None = None) -> Tensor:
        found: Tensor = ANSWERS[name](input)
        copy = found.clone()
        return copy if out is None else deliver(f"{name}_copy", copy, out)

    copied.__name__ = copied.__qualname__ = f"{name}_copy"


for _name in ("indices", "values", "crow_indices", "col_indices", "ccol_indices", "row_indices"):
    _part_copy(_name)
