"""The CPU backend: numpy's arrays and kernels. Complete, and the reference for every other backend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flambeau.backends.cpu.backend import CpuBackend


def flambeau_backends() -> list[CpuBackend]:
    from flambeau.backends.cpu.backend import CpuBackend

    return [CpuBackend()]


def __getattr__(name: str) -> Any:
    if name == "CpuBackend":
        from flambeau.backends.cpu.backend import CpuBackend

        return CpuBackend
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
