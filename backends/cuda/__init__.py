"""The CUDA backend on CuPy: shared bodies over its arrays, and elementwise kernels generated from the records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flambeau.backends.cuda.backend import CudaBackend


def flambeau_backends() -> list[CudaBackend]:
    from flambeau.backends.cuda.backend import CudaBackend

    return [CudaBackend()]


def __getattr__(name: str) -> Any:
    if name == "CudaBackend":
        from flambeau.backends.cuda.backend import CudaBackend

        return CudaBackend
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
