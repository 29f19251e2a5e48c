"""Reductions of what a sparse tensor holds where a sparse mask is True: what ``flambeau.masked`` does with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flambeau.core import dtype as dt
from flambeau.core.arguments import normal_axis
from flambeau.core.creation import arange, zeros
from flambeau.core.dtype import DTypeLike
from flambeau.core.errors import ArgumentError
from flambeau.core.memory_format import sparse_coo, sparse_csr
from flambeau.core.ops.joining import cat, repeat_interleave, stack
from flambeau.core.ops.search import searchsorted, unique
from flambeau.core.sparse.compressed import in_layout
from flambeau.core.sparse.convert import as_coo, coalesce, dtype_of_sum
from flambeau.core.sparse.make import flat_places, places_of
from flambeau.core.sparse.tensor import SparseTensor, coo
from flambeau.core.tensor import Tensor


def broadcast(x: SparseTensor, shape: Sequence[int]) -> SparseTensor:
    """A sparse_coo tensor repeated along dimensions that it has not, or has with size 1."""
    n, new = x._sparse_dims, len(shape) - x.ndim
    where, held = x._where[0], x._held
    rows, count = [where.new_zeros((where.shape[1],))] * new + [*where.unbind(0)], where.shape[1]
    for axis, size in enumerate(shape[: new + n]):
        if axis < new or x.shape[axis - new] == 1 != size:
            rows = [r.repeat(size) for r in rows]
            held = held.repeat(size, *(1,) * (held.ndim - 1))
            rows[axis] = repeat_interleave(arange(size, device=where.device), count)
            count *= size
    held = held.expand((held.shape[0], *shape[new + n :]))
    return coo(stack(rows) if rows else where, held, tuple(shape))


def masked_in(x: SparseTensor, mask: SparseTensor | None) -> SparseTensor:
    """What stands where the mask is True, a zero that is not held too, as coalesced sparse_coo."""
    x = coalesce(as_coo(x))
    if mask is None:
        return x
    pattern = coalesce(broadcast(as_coo(mask), tuple(x.shape)))
    if pattern._sparse_dims != x._sparse_dims or x.ndim != x._sparse_dims:
        raise RuntimeError("masked: input and mask must be sparse in all their dimensions where there is a mask")
    sizes = tuple(x.shape)
    found = pattern._held.nonzero().squeeze(1)
    places = pattern._where[0].index_select(1, found)
    wanted, have = flat_places(places, sizes), flat_places(x._where[0], sizes)
    if not have.shape[0]:
        return coo(places, x._held.new_zeros(tuple(wanted.shape)), sizes, True)
    at = searchsorted(have, wanted).clamp(max=have.shape[0] - 1)
    held = x._held.index_select(0, at)
    return coo(places, held.where(have.index_select(0, at) == wanted, held.new_zeros(())), sizes, True)


def masked_reduce(
    name: str, input: SparseTensor, mask: Any, dim: Any, keepdim: bool, dtype: DTypeLike | None
) -> Tensor:  # Any: a sparse tensor or None; an int, several or None
    """``sum``, ``prod``, ``amax``, ``amin`` or ``mean`` of what counts, in the layout of the input.

    Where nothing counts the result holds nothing.
    """
    kind = input._kind
    if kind not in (sparse_coo, sparse_csr) or name == "mean" and kind is sparse_coo:
        raise ValueError(f"masked {name} expects strided, sparse_coo or sparse_csr tensor (got {kind!r} tensor)")
    if mask is None and name != "sum":
        raise ValueError(f"masked {name} expects explicit mask for {kind!r} tensor input")
    if mask is not None and not isinstance(mask, SparseTensor):
        mask = mask.to_sparse()
    asked = range(input.ndim) if dim is None or dim == () else (dim,) if isinstance(dim, int) else tuple(dim)
    axes = {normal_axis(d, max(input.ndim, 1)) for d in asked}  # without dimensions 0 and -1 name none
    if len(axes) != len(asked):
        raise ArgumentError(f"masked.{name}: dim {tuple(asked)} names a dimension twice")
    if kind is sparse_csr and not keepdim:
        raise RuntimeError("reduction operations on CSR tensors with keepdim=False is unsupported")
    if name in ("sum", "prod"):
        dtype = dtype_of_sum(input.dtype, dtype)
    return _reduced(name, masked_in(input, mask), axes, keepdim, dtype, kind is sparse_csr)


def _reduced(name: str, x: SparseTensor, axes: set[int], keepdim: bool, dtype: DTypeLike | None, rows: bool) -> Tensor:
    n = x._sparse_dims
    held: Any = x._held if dtype is None else x._held.to(dtype)
    inside = [a - n + 1 for a in sorted(axes) if n <= a < x.ndim]
    if inside:
        held = getattr(held, name)(inside, keepdim)
    shape = tuple(1 if a in axes else m for a, m in enumerate(x.shape) if keepdim or a not in axes)
    kept = [a for a in range(n) if a not in axes]
    if not kept and not rows:
        return _whole(name, held, keepdim, n)
    sizes = [x.shape[a] for a in kept]
    where = stack([x._where[0][a] for a in kept]) if kept else x._where[0][:0]
    groups, owner = unique(flat_places(where, sizes), return_inverse=True)
    blank = zeros(groups.shape[0], *held.shape[1:], dtype=held.dtype, device=held.device)
    index = owner.reshape((-1, *(1,) * (held.ndim - 1))).expand(held.shape)
    held = blank.scatter_reduce(0, index, held, name, include_self=False)
    places = places_of(groups, sizes)
    if keepdim:
        blank = groups.new_zeros((1, groups.shape[0]))
        places = cat([places[kept.index(a)].unsqueeze(0) if a in kept else blank for a in range(n)])
    out = coo(places, held, shape, True)
    return in_layout(out, sparse_csr) if rows else out


def _whole(name: str, held: Any, keepdim: bool, n: int) -> Tensor:
    """The reduction over all sparse dimensions: what is not zero of it."""
    if not held.shape[0] and name in ("amax", "amin"):
        limits = dt.finfo(held.dtype) if held.dtype.is_floating_point else dt.iinfo(held.dtype)
        infinite = held.dtype.is_floating_point
        most = float("inf") if infinite else limits.max
        least = -float("inf") if infinite else limits.min
        held = held.new_full(tuple(held.shape[1:]), least if name == "amax" else most)
    else:
        held = getattr(held, name)(0)
    for _ in range(n if keepdim else 0):
        held = held.unsqueeze(0)
    found: Tensor = held.to_sparse()
    return found
