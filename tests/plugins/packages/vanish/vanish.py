"""A device that works until somebody calls ``vanish.unplug()``; its memory and kernels are acme's."""

from __future__ import annotations

from acme import AcmeBackend

from flambeau.backends.base import DeviceLostError

plugged = True


def unplug() -> None:
    global plugged
    plugged = False


class VanishBackend(AcmeBackend):
    device_type = "vanish"
    api_version = 1

    def device_count(self) -> int:
        return 1 if plugged else 0

    def unavailable_reason(self) -> str | None:
        return None if plugged else "the device was unplugged; plug it in again"

    def allocate(self, nbytes: int, index: int) -> bytearray:
        self.check(index)
        return super().allocate(nbytes, index)

    def check(self, index: int = 0) -> None:
        if not plugged:
            raise DeviceLostError(f"vanish:{index} stopped answering: it was unplugged")


def flambeau_backends() -> VanishBackend:
    return VanishBackend()
