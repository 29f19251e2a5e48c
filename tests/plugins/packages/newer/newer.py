"""Says that it was built for a later plugin API."""

from __future__ import annotations

from flambeau.backends.cpu.backend import CpuBackend


class NewerBackend(CpuBackend):
    device_type = "newer"
    api_version = 99


def flambeau_backends() -> NewerBackend:
    return NewerBackend()
