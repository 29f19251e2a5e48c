"""Other sizes of a sparse tensor, in place."""

from __future__ import annotations

from collections.abc import Sequence

from flambeau.core.errors import ArgumentError
from flambeau.core.memory_format import sparse_coo
from flambeau.core.sparse.tensor import NAMES, SparseTensor, answers, coo, made
from flambeau.core.tensor import Tensor


def _check_dims(name: str, size: Sequence[int], sparse_dim: int, dense_dim: int) -> tuple[int, ...]:
    if sparse_dim + dense_dim != len(size):
        raise ArgumentError(
            f"{name}: number of dimensions must be sparse_dim ({sparse_dim}) + dense_dim ({dense_dim}), but got "
            f"{len(size)}"
        )
    return tuple(int(n) for n in size)


@answers("sparse_resize_")
def sparse_resize_(input: SparseTensor, size: Sequence[int], sparse_dim: int, dense_dim: int) -> Tensor:
    """Larger sizes, and where nothing is held any; the new places are zero."""
    shape = _check_dims("sparse_resize_", size, sparse_dim, dense_dim)
    held, n = input._held, input._sparse_dims
    if not held.shape[0]:
        return sparse_resize_and_clear_(input, size, sparse_dim, dense_dim)
    for word, now, then in (("sparse", n, sparse_dim), ("dense", input.ndim - n, dense_dim)):
        if now != then:
            raise RuntimeError(
                f"sparse_resize_: changing the number of {word} dimensions (from {now} to {then}) on a non-empty "
                "sparse tensor is not supported"
            )
    for word, before, after in (("sparse", input.shape[:n], shape[:n]), ("dense", input.shape[n:], shape[n:])):
        if any(b > a for a, b in zip(after, before, strict=True)):
            raise RuntimeError(
                f"sparse_resize_: shrinking the size of {word} dimensions (from {list(before)} to {list(after)}) on a "
                "non-empty sparse tensor is not supported"
            )
    grown = held.new_zeros((held.shape[0], *shape[n:]))
    part = grown
    for axis, extent in enumerate(held.shape[1:], 1):
        part = part.narrow(axis, 0, extent)
    part.copy_(held)
    return input._become(coo(input._where[0], grown, shape, input._coalesced), "sparse_resize_")


@answers("sparse_resize_and_clear_")
def sparse_resize_and_clear_(input: SparseTensor, size: Sequence[int], sparse_dim: int, dense_dim: int) -> Tensor:
    """Other sizes; nothing is held afterwards."""
    shape = _check_dims("sparse_resize_and_clear_", size, sparse_dim, dense_dim)
    if input._kind is not sparse_coo:
        raise RuntimeError(
            f"sparse_resize_and_clear_ expected sparse coordinate tensor layout but got {NAMES[input._kind]}"
        )
    where = input._where[0].new_zeros((sparse_dim, 0))
    fresh = coo(where, input._held.detach().new_zeros((0, *shape[sparse_dim:])), shape, not sparse_dim)
    return input._become(fresh, "sparse_resize_and_clear_")


@answers("resize_as_sparse_")
def resize_as_sparse_(input: Tensor, the_template: Tensor) -> Tensor:
    """The sizes of another sparse tensor of the same layout; of a compressed one its places too."""
    if not isinstance(input, SparseTensor) or not isinstance(the_template, SparseTensor):
        raise RuntimeError("resize_as_sparse_: argument 'self' and the template must be sparse tensors")
    other = the_template
    if input._kind is not other._kind:
        raise RuntimeError(
            "resize_as_sparse_: self and src must have the same layout, but got self "
            f"({NAMES[input._kind]}) and source ({NAMES[other._kind]})"
        )
    if input._kind is not sparse_coo:
        where = [w.clone() for w in other._where]
        held = input._held.new_zeros(tuple(other._held.shape))
        return input._become(made(where, held, tuple(other.shape), other._kind, True), "resize_as_sparse_")
    if tuple(input.shape) == tuple(other.shape) and input._sparse_dims == other._sparse_dims:
        return input
    n = other._sparse_dims
    return sparse_resize_(input, tuple(other.shape), n, other.ndim - n)
