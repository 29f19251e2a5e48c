"""Which ranks share the shards of a module, and which hold copies of the same shard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import flambeau.distributed as dist


@dataclass(frozen=True)
class Ranks:
    """``parts`` ranks of ``shard_group`` hold the shards, of which this is number ``rank``; ``copies`` hold each."""

    parts: int
    rank: int
    shard_group: Any = None
    copies: int = 1
    copy_group: Any = None
    mesh: Any = None

    @property
    def size(self) -> int:
        """Over how many ranks gradients are averaged."""
        return self.parts * self.copies


def ranks_of(mesh: Any, what: str = "fully_shard") -> Ranks:
    """All ranks; those of a mesh of one dimension; of two, shards along the second and copies along the first."""
    if mesh is None:
        if not dist.is_initialized():
            raise RuntimeError(f"{what}: call flambeau.distributed.init_process_group first, or give a mesh")
        return Ranks(dist.get_world_size(), dist.get_rank())
    if mesh.ndim == 1:
        return Ranks(mesh.size(), mesh.get_local_rank(), mesh.get_group(), mesh=mesh)
    if mesh.ndim == 2:
        shards, copies = mesh.get_group(1), mesh.get_group(0)
        return Ranks(mesh.size(1), mesh.get_local_rank(1), shards, mesh.size(0), copies, mesh)
    raise ValueError(f"{what}: the mesh must have 1 or 2 dimensions, got {mesh.ndim}")
