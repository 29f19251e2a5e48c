"""Tensors of which each rank holds a piece: cut along one dimension into equal parts, the last ones shorter.

A piece is an ordinary tensor of its own shape, so that optimizers and kernels treat it as any other; what it is a
piece of stands in its ``piece``. PyTorch shows such tensors as DTensors whose shape is that of the whole; here the
shape is what this rank holds, and the whole's is ``full_shape``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import flambeau.distributed as dist
from flambeau.core.creation import empty, zeros
from flambeau.core.overrides import disabled_torch_function
from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.nn.parameter import Parameter


class Region(NamedTuple):
    """A box within a tensor: where it begins, and its shape."""

    offsets: tuple[int, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Piece:
    """Part ``rank`` of ``parts`` of a tensor of shape ``shape``, cut along ``dim``; ``group`` has the other parts.

    >>> Piece((5, 2), 0, 3, 2).region
    Region(offsets=(4, 0), shape=(1, 2))
    """

    shape: tuple[int, ...]
    dim: int
    parts: int
    rank: int
    group: Any = None  # a process group; None is all ranks
    mesh: Any = None  # the DeviceMesh it was asked for with
    run: tuple[int, int] | None = None  # where this part begins and ends, where parts are not equal

    @property
    def chunk(self) -> int:
        """The length of each part but the last ones."""
        return -(-self.shape[self.dim] // self.parts)

    def bounds(self, rank: int) -> tuple[int, int]:
        """Where the part of a rank begins and ends along ``dim``."""
        if self.run is not None:
            if rank != self.rank:
                raise ValueError(f"where the part of rank {rank} is, only that rank knows")
            return self.run
        size = self.shape[self.dim]
        return min(rank * self.chunk, size), min((rank + 1) * self.chunk, size)

    @property
    def region(self) -> Region:
        """Where this part stands in the whole."""
        start, end = self.bounds(self.rank)
        shape, offsets = list(self.shape), [0] * len(self.shape)
        shape[self.dim], offsets[self.dim] = end - start, start
        return Region(tuple(offsets), tuple(shape))

    def of(self, whole: Tensor) -> Tensor:
        """This part of a whole tensor: a view."""
        start, end = self.bounds(self.rank)
        return whole.narrow(self.dim, start, end - start)

    def gather(self, local: Tensor) -> Tensor:
        """The whole on every rank of the group; all of them must call it. Local shape as :attr:`region` says."""
        if self.run is not None:
            raise RuntimeError("the parts of this tensor are not equal: it cannot be gathered from this rank's alone")
        if self.parts == 1:
            return local.detach().clone()
        with no_grad():
            first = local.detach().movedim(self.dim, 0).contiguous()
            rest = tuple(first.shape[1:])
            sent = zeros((self.chunk, *rest), dtype=local.dtype, device=local.device)
            sent[: first.shape[0]].copy_(first)
            out = empty((self.parts * self.chunk, *rest), dtype=local.dtype, device=local.device)
            dist.all_gather_into_tensor(out, sent, group=self.group)
            return out[: self.shape[self.dim]].movedim(0, self.dim).contiguous()


class Sharded(Tensor):
    """What tensors and parameters that are pieces have in common."""

    __slots__ = ()
    __torch_function__ = staticmethod(disabled_torch_function)
    piece: Piece

    @property
    def full_shape(self) -> tuple[int, ...]:
        """The shape of the whole."""
        return self.piece.shape

    @property
    def device_mesh(self) -> Any:
        """The mesh over which it is cut, where one was given."""
        return self.piece.mesh

    @property
    def sharded_dim(self) -> int:
        """Along which dimension it is cut."""
        return self.piece.dim

    def to_local(self) -> Tensor:
        """What this rank holds, as a plain tensor that shares its memory."""
        return Tensor.detach(self)

    def full_tensor(self) -> Tensor:
        """The whole; every rank of the group must call it."""
        return self.piece.gather(self)

    def detach(self) -> ShardedTensor:
        """The same piece without history."""
        return sharded(Tensor.detach(self), self.piece)


class ShardedTensor(Sharded):
    """A piece of a tensor."""

    __slots__ = ()

    def _same_kind(self, t: Tensor) -> Tensor:
        return sharded(t, self.piece)


class ShardedParameter(Sharded, Parameter):
    """A piece of a parameter: a leaf, which an optimizer changes like any parameter."""

    __slots__ = ()

    def _same_kind(self, t: Tensor) -> Tensor:
        return sharded_parameter(t, self.piece, self.requires_grad)


def sharded(local: Tensor, piece: Piece) -> ShardedTensor:
    """``local``, which this rank holds of a tensor, with what it is a piece of."""
    made: ShardedTensor = object.__new__(ShardedTensor)
    made._array, made._key, made._box, made._node = local._array, local._key, local._box, local._node
    made.piece = piece
    return made


def sharded_parameter(local: Tensor, piece: Piece, requires_grad: bool) -> ShardedParameter:
    """A parameter of what this rank holds."""
    made = Parameter.__new__(ShardedParameter, local, requires_grad)
    assert isinstance(made, ShardedParameter)
    made.piece = piece
    return made


def piece_of(t: object) -> Piece | None:
    """What a tensor is a piece of; None for a whole one."""
    return t.piece if isinstance(t, Sharded) else None


def whole_region(shape: Sequence[int]) -> Region:
    """All of a tensor of this shape."""
    return Region((0,) * len(shape), tuple(shape))
