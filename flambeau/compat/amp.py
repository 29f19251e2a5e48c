"""Automatic mixed precision as on a device that lacks it: asked for, it warns once and all is full precision."""

from __future__ import annotations

import warnings
from typing import Any

from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from flambeau.cuda import amp

_warned: set[str] = set()


def _once(name: str) -> None:
    if name not in _warned:
        _warned.add(name)
        warnings.warn(
            f"{name} is enabled, but flambeau has no mixed precision yet: everything runs in the dtypes of the tensors",
            stacklevel=4,
        )


def default_dtype(device_type: str = "cpu") -> DType:
    """The dtype that autocast would compute in: float16 on cuda and mps, bfloat16 elsewhere."""
    return dt.float16 if device_type in ("cuda", "mps") else dt.bfloat16


class autocast(amp.autocast):
    """A context and decorator. Enabled, it warns once and runs in full precision; disabled, it does nothing."""

    def __init__(
        self, device_type: str, dtype: DType | None = None, enabled: bool = True, cache_enabled: bool | None = None
    ):
        if not isinstance(device_type, str):
            raise ValueError(f"autocast: device_type must be a text such as 'cpu', got {device_type!r}")
        if enabled:
            _once("autocast")
        super().__init__(False, dtype or default_dtype(device_type))
        self.device, self._cache_enabled = device_type, True if cache_enabled is None else cache_enabled


class GradScaler(amp.GradScaler):
    """A scaler of losses that is always disabled, as torch's is where it has no CUDA: it passes everything on."""

    def __init__(
        self, device: str = "cuda", init_scale: float = 2.0**16, growth_factor: float = 2.0,
        backoff_factor: float = 0.5, growth_interval: int = 2000, enabled: bool = True,
    ):  # fmt: skip
        if enabled:
            _once("GradScaler")
        super().__init__(enabled=False)
        self._device = device


def is_autocast_available(device_type: str) -> bool:
    """False, for every device."""
    return False


def is_autocast_enabled(device_type: str | None = None) -> bool:
    """False."""
    return False


def custom_fwd(
    fwd: Any = None, *, device_type: str, cast_inputs: DType | None = None
) -> Any:  # Any: the decorated function
    """Marks ``Function.forward``; without autocast nothing is cast, and the function stays as it is."""
    return fwd if fwd is not None else lambda f: f


def custom_bwd(bwd: Any = None, *, device_type: str) -> Any:  # Any: the decorated function
    """Marks ``Function.backward``; the function stays as it is."""
    return bwd if bwd is not None else lambda f: f
