"""Mixed precision on the host, under PyTorch's older names; :mod:`flambeau.amp` has it for all devices."""

from __future__ import annotations

from flambeau import amp
from flambeau.core.dtype import DType, bfloat16

__all__ = ["GradScaler", "autocast"]


class autocast(amp.autocast):
    """``fb.autocast("cpu", ...)``.

    >>> with fb.cpu.amp.autocast():
    ...     (fb.ones(1, 1) @ fb.ones(1, 1)).dtype
    flambeau.bfloat16
    """

    def __init__(self, enabled: bool = True, dtype: DType = bfloat16, cache_enabled: bool = True):
        super().__init__("cpu", dtype, enabled, cache_enabled)


class GradScaler(amp.GradScaler):
    """``fb.amp.GradScaler("cpu", ...)``.

    >>> fb.cpu.amp.GradScaler(init_scale=8.0).get_scale()
    8.0
    """

    def __init__(
        self, init_scale: float = 2.0**16, growth_factor: float = 2.0, backoff_factor: float = 0.5,
        growth_interval: int = 2000, enabled: bool = True,
    ):  # fmt: skip
        super().__init__("cpu", init_scale, growth_factor, backoff_factor, growth_interval, enabled)
