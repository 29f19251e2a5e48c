"""The CUDA backend on CuPy: shared bodies over its arrays, and elementwise kernels generated from the records."""

from __future__ import annotations

from flambeau.backends.base import Backend


def flambeau_backends() -> Backend:
    """The hook: the backend, whether or not a device is usable."""
    from flambeau.backends.cuda.backend import CudaBackend  # lazy for start-up: naming a plugin imports none of it

    return CudaBackend()
