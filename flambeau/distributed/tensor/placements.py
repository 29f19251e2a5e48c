"""How a tensor lies over the ranks of a group."""

from __future__ import annotations

from dataclasses import dataclass


class Placement:
    """The base of the ways in which a tensor can lie over ranks."""

    def is_shard(self, dim: int | None = None) -> bool:
        """Whether each rank has a part, along ``dim`` if it is given."""
        return isinstance(self, Shard) and dim in (None, self.dim)

    def is_replicate(self) -> bool:
        """Whether each rank has all of it."""
        return isinstance(self, Replicate)

    def is_partial(self, reduce_op: str | None = None) -> bool:
        """Whether the tensor is what all ranks' tensors come to, reduced by ``reduce_op`` if it is given."""
        return isinstance(self, Partial) and reduce_op in (None, self.reduce_op)


@dataclass(frozen=True)
class Shard(Placement):
    """Each rank has one of equal parts along a dimension, in the order of the ranks."""

    dim: int


@dataclass(frozen=True)
class Replicate(Placement):
    """Each rank has all of it."""


@dataclass(frozen=True)
class Partial(Placement):
    """Each rank has a summand."""

    reduce_op: str = "sum"
