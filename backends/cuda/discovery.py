"""Whether CUDA can be used here, why not, and what would help; without importing CuPy where that cannot succeed."""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from typing import Final

from flambeau.backends.launched.device import Raw

_INSTALL: Final = 'pip install "flambeau[cuda12]" or "flambeau[cuda13]", by the CUDA version that nvidia-smi shows'
_LIBRARIES: Final = ("nvrtc", "cublas", "cusolver")
#: The compute capability for which the kernels are compiled in CI; older devices are not tried.
_OLDEST: Final = (7, 0)


def driver_missing() -> str | None:
    """Why NVIDIA's driver cannot be loaded; None when it can."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        ctypes.CDLL(name)
    except OSError as error:
        return str(error)
    return None


def load() -> tuple[Raw, str | None]:
    """(the cupy module, None), or (None or the module, the reason why no device can be used)."""
    if importlib.util.find_spec("cupy") is None:
        return None, f"CuPy is not installed; {_INSTALL}"
    missing = driver_missing()
    if missing is not None:
        return None, (
            f"there is no NVIDIA driver ({missing}); install it, or in a container pass the GPUs in "
            "(docker run --gpus all, with the NVIDIA container toolkit)"
        )
    try:
        import cupy  # an optional package, and slow to import
    except Exception as error:
        return None, f"CuPy cannot be imported ({error}); keep one of its packages only, {_INSTALL}"
    return cupy, unusable(cupy)


def unusable(cupy: Raw) -> str | None:
    """Why CuPy finds no device."""
    runtime = cupy.cuda.runtime
    try:
        count = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        return f"CUDA does not start: {error}. {_advice(runtime, str(error))}"
    if count == 0:
        return "CUDA finds no device; check nvidia-smi, and that CUDA_VISIBLE_DEVICES hides none"
    return None


def _advice(runtime: Raw, said: str) -> str:
    if "InsufficientDriver" in said:
        driver, own = (_version(v) for v in (runtime.driverGetVersion(), runtime.runtimeGetVersion()))
        return f"The driver serves CUDA {driver} and CuPy was built for {own}: update the driver, or {_INSTALL}"
    if "NoDevice" in said:
        return "Check nvidia-smi, and that CUDA_VISIBLE_DEVICES hides none"
    return "Check nvidia-smi"


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def notes(cupy: Raw) -> list[str]:
    """What works only partly: libraries that do not load, devices that are too old."""
    found = []
    for name in _LIBRARIES:
        try:
            __import__(f"cupy_backends.cuda.libs.{name}")
        except Exception as error:
            found.append(
                f'{name} does not load ({error}); pip install "cupy-cuda12x[ctk]" (or 13x) brings CUDA\'s libraries'
            )
    for number in range(cupy.cuda.runtime.getDeviceCount()):
        facts = cupy.cuda.runtime.getDeviceProperties(number)
        capability = (facts["major"], facts["minor"])
        if capability < _OLDEST:
            found.append(
                f"cuda:{number} ({facts['name'].decode()}) has compute capability {capability[0]}.{capability[1]}; "
                f"kernels are tested from {_OLDEST[0]}.{_OLDEST[1]} on"
            )
    return found
