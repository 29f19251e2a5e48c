"""Other shapes of sparse tensors, in place."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from flambeau.core.errors import ShapeError
from flambeau.core.memory_format import sparse_coo
from flambeau.core.ops.joining import cat
from flambeau.core.sparse.convert import sparse_dims
from flambeau.core.sparse.tensor import SparseTensor, answers, coo, unsupported, with_values
from flambeau.core.tensor import Tensor


def _check(input: Tensor, name: str, size: Sequence[int], sparse_dim: int, dense_dim: int) -> SparseTensor:
    if not isinstance(input, SparseTensor) or input._kind is not sparse_coo:
        raise unsupported(name, input)
    if len(size) != sparse_dim + dense_dim:
        raise ShapeError(
            f"{name}: 'len(size) == sparse_dim + dense_dim' is not satisfied: len(size) = {len(size)}, "
            f"sparse_dim = {sparse_dim}, dense_dim = {dense_dim}"
        )
    return input


def _check_filled(input: SparseTensor, name: str, size: Sequence[int], sparse_dim: int) -> None:
    """What holds values may only grow, in the dimensions that it has."""
    n, shape = sparse_dims(input), tuple(input.shape)
    counts = ("sparse", n, sparse_dim), ("dense", len(shape) - n, len(size) - sparse_dim)
    for kind, before, after in counts:
        if before != after:
            raise ShapeError(
                f"{name}: changing the number of {kind} dimensions (from {before} to {after}) on a non-empty sparse "
                "tensor is not supported"
            )
    for kind, old, new in (("sparse", shape[:n], size[:n]), ("dense", shape[n:], size[n:])):
        if any(b < a for a, b in zip(old, new, strict=True)):
            raise ShapeError(
                f"{name}: shrinking the size of {kind} dimensions (from {list(old)} to {list(new)}) on a non-empty "
                "sparse tensor is not supported"
            )


@answers("sparse_resize_")
def sparse_resize_(self: Tensor, size: Sequence[int], sparse_dim: int, dense_dim: int) -> Tensor:
    x = _check(self, "sparse_resize_", size, sparse_dim, dense_dim)
    count = x._held.shape[0]
    if not count:
        return sparse_resize_and_clear_(x, size, sparse_dim, dense_dim)
    _check_filled(x, "sparse_resize_", size, sparse_dim)
    held, inner = x._held, tuple(size[sparse_dim:])
    if tuple(held.shape[1:]) != inner:  # as resize_ of the values does: their memory goes on, with zeros
        more = held.new_zeros((count * prod(inner) - held.numel(),))
        held = cat([held.reshape((-1,)), more]).reshape((count, *inner))
    return x._become(coo(x._where[0], held, tuple(size), x._coalesced), "sparse_resize_")


@answers("sparse_resize_and_clear_")
def sparse_resize_and_clear_(self: Tensor, size: Sequence[int], sparse_dim: int, dense_dim: int) -> Tensor:
    x = _check(self, "sparse_resize_and_clear_", size, sparse_dim, dense_dim)
    where = x._where[0].new_zeros((sparse_dim, 0))
    held = x._held.detach().new_zeros((0, *size[sparse_dim:]))
    return x._become(coo(where, held, tuple(size), True), "sparse_resize_and_clear_")


@answers("resize_as_sparse_")
def resize_as_sparse_(input: Tensor, the_template: Tensor) -> Tensor:
    """The shape of another tensor; of the compressed layouts also its places."""
    if not isinstance(input, SparseTensor):
        raise unsupported("resize_as_sparse_", the_template)
    if input._kind is sparse_coo:
        dims = sparse_dims(the_template) if isinstance(the_template, SparseTensor) else 0
        if tuple(input.shape) == tuple(the_template.shape) and dims == sparse_dims(input):
            return input
        return sparse_resize_(input, tuple(the_template.shape), dims, the_template.ndim - dims)
    if not isinstance(the_template, SparseTensor) or the_template._kind is not input._kind:
        raise ShapeError(f"resize_as_sparse_: expected a template of layout {input._kind}")
    values = the_template._held.detach().to(input.dtype)
    kept = input._held.detach().reshape((-1,))[: values.numel()]
    rest = values.new_zeros((values.numel() - kept.numel(),))
    held = cat([kept, rest]).reshape(tuple(values.shape))
    return input._become(with_values(the_template, held), "resize_as_sparse_")
