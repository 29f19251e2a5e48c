"""Mixed precision on the devices of type cuda, under PyTorch's older names; :mod:`flambeau.amp` has it for all."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from flambeau import amp
from flambeau.core.dtype import DType, float16
from flambeau.cuda._here import here as _here

__all__ = ["GradScaler", "amp_definitely_not_available", "autocast", "custom_bwd", "custom_fwd"]


def amp_definitely_not_available() -> bool:
    """Whether there is no device of type cuda.

    >>> fb.cuda.amp.amp_definitely_not_available() is not fb.cuda.is_available()
    True
    """
    return not _here.is_available()


class autocast(amp.autocast):
    """``fb.autocast("cuda", ...)``.

    >>> with fb.cuda.amp.autocast(enabled=False):
    ...     fb.ones(1).dtype
    flambeau.float32
    """

    def __init__(self, enabled: bool = True, dtype: DType = float16, cache_enabled: bool = True):
        super().__init__("cuda", dtype, enabled, cache_enabled)


class GradScaler(amp.GradScaler):
    """``fb.amp.GradScaler("cuda", ...)``.

    >>> scaler = fb.cuda.amp.GradScaler(enabled=False)
    >>> scaler.scale(fb.ones(1)), scaler.is_enabled(), scaler.get_scale()
    (tensor([1.]), False, 1.0)
    """

    def __init__(
        self, init_scale: float = 65536.0, growth_factor: float = 2.0, backoff_factor: float = 0.5,
        growth_interval: int = 2000, enabled: bool = True,
    ):  # fmt: skip
        super().__init__("cuda", init_scale, growth_factor, backoff_factor, growth_interval, enabled)


def custom_fwd(
    fwd: Callable[..., Any] | None = None, *, cast_inputs: DType | None = None
) -> Any:  # Any: the function, or a decorator
    """``fb.amp.custom_fwd(device_type="cuda")``."""
    return functools.partial(amp.custom_fwd, device_type="cuda")(fwd, cast_inputs=cast_inputs)


def custom_bwd(bwd: Callable[..., Any]) -> Any:  # Any: the function
    """``fb.amp.custom_bwd(device_type="cuda")``."""
    return amp.custom_bwd(bwd, device_type="cuda")
