"""The CPU backend: numpy's arrays and kernels. Complete, and the reference for every other backend."""

from __future__ import annotations

from flambeau.backends.base import Backend


def flambeau_backends() -> Backend:
    """The hook: the backend, imported when its device is asked for."""
    from flambeau.backends.cpu.backend import CpuBackend  # lazy for start-up: naming a plugin imports none of it

    return CpuBackend()
