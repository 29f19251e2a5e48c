"""Tensors in pieces over several processes; there are none without torch.distributed."""

from __future__ import annotations

__all__ = ["DTensor", "DeviceMesh"]


class DTensor:
    """A tensor of which each process has a piece; no tensor is one."""


class DeviceMesh:
    """Devices of several processes as an array; none can be made."""

    def __init__(self, *args: object, **options: object):
        raise RuntimeError("DeviceMesh: flambeau has no communication between processes yet")
