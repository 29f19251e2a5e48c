"""A device that works until somebody calls ``vanish.unplug()``."""

from __future__ import annotations

from typing import Any

from flambeau.backends.base import DeviceLostError
from flambeau.backends.cpu.backend import CpuBackend

plugged = True


def unplug() -> None:
    global plugged
    plugged = False


class VanishBackend(CpuBackend):
    device_type = "vanish"
    api_version = 1
    capabilities = CpuBackend.capabilities - {"shares_host"}

    def unavailable_reason(self) -> str | None:
        return None if plugged else "the device was unplugged; plug it in again"

    def empty(self, *args: Any, **kwargs: Any) -> Any:
        self.check()
        return super().empty(*args, **kwargs)

    def from_host(self, *args: Any, **kwargs: Any) -> Any:
        self.check()
        return super().from_host(*args, **kwargs)

    def to_host(self, array: Any) -> Any:
        self.check()
        return super().to_host(array)

    def check(self, index: int = 0) -> None:
        if not plugged:
            raise DeviceLostError(f"vanish:{index} stopped answering: it was unplugged")


def flambeau_backends() -> VanishBackend:
    return VanishBackend()
