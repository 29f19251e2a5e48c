"""The CPU backend under another name: its arrays and kernels, registered by the marked form of the hook."""

from __future__ import annotations

from flambeau.backends.cpu.backend import CpuBackend
from flambeau.plugins import hookimpl


class BoltBackend(CpuBackend):
    device_type = "bolt"
    api_version = 1
    capabilities = CpuBackend.capabilities - {"shares_host"}


@hookimpl
def flambeau_backends() -> list[BoltBackend]:
    return [BoltBackend()]
