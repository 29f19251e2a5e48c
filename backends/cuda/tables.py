"""The table of CUDA's kernels: those of the C dialect, launched by the code that launches them on OpenCL, and above
them what CUDA's libraries do better."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flambeau.backends.cuda import library
from flambeau.backends.opencl.backend import FAMILIES

if TYPE_CHECKING:
    from flambeau.backends.cuda.backend import CudaBackend


def register(backend: CudaBackend) -> None:
    """Enter every kernel; what stands later replaces what stands before."""
    launcher: Any = backend  # has what the launching code asks of OpenCL's backend
    for family in FAMILIES:
        family.register(launcher)
    library.register(backend)
