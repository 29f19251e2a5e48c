"""torch.distributed.tensor: how tensors lie over ranks. Each rank's piece is a plain tensor here."""

from __future__ import annotations

from flambeau.distributed import DeviceMesh
from flambeau.distributed.tensor import Partial, Placement, Replicate, Shard

__all__ = ["DTensor", "DeviceMesh", "Partial", "Placement", "Replicate", "Shard"]


class DTensor:
    """A tensor of which each process has a piece; no tensor is one."""
