"""torch.distributed.device_mesh, under flambeau's own names."""

from __future__ import annotations

from flambeau.distributed import DeviceMesh, init_device_mesh

__all__ = ["DeviceMesh", "init_device_mesh"]
