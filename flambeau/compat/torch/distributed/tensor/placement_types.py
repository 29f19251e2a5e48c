"""torch.distributed.tensor.placement_types, under flambeau's own names."""

from __future__ import annotations

from flambeau.distributed.tensor import Partial, Placement, Replicate, Shard

__all__ = ["Partial", "Placement", "Replicate", "Shard"]
