"""Mixed precision on the devices of type cuda, as in a build without it: it can be asked for, and stays off."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

from flambeau.core.blame import users_level
from flambeau.core.dtype import DType, float16
from flambeau.cuda._here import here as _here

__all__ = ["GradScaler", "amp_definitely_not_available", "autocast", "custom_bwd", "custom_fwd"]

F = TypeVar("F", bound=Callable[..., Any])


def amp_definitely_not_available() -> bool:
    """Whether there is no device of type cuda.

    >>> fb.cuda.amp.amp_definitely_not_available() is not fb.cuda.is_available()
    True
    """
    return not _here.is_available()


def _enabled(name: str, enabled: bool) -> bool:
    """Whether it is to work: never; without a device it warns, with one it says that there is no mixed precision."""
    if not enabled:
        return False
    if _here.is_available():
        raise RuntimeError(f"{name}: this build has no mixed precision; use enabled=False, or convert with .to(dtype)")
    warnings.warn(f"{name}: there is no device of type cuda. Disabling.", stacklevel=users_level())
    return False


class autocast:
    """A block, or function, whose ops would choose their precision; it changes nothing.

    >>> with fb.cuda.amp.autocast(enabled=False):
    ...     fb.ones(1).dtype
    flambeau.float32
    """

    def __init__(self, enabled: bool = True, dtype: DType = float16, cache_enabled: bool = True):
        self._enabled, self.fast_dtype = _enabled("autocast", enabled), dtype

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def __call__(self, func: F) -> F:
        @functools.wraps(func)
        def same(*args: Any, **kwargs: Any) -> Any:
            return func(*args, **kwargs)

        return same  # type: ignore[return-value]  # of func's signature


class GradScaler:
    """Scales losses, so that small gradients do not vanish in float16; switched off, it passes everything on.

    >>> scaler = fb.cuda.amp.GradScaler(enabled=False)
    >>> scaler.scale(fb.ones(1)), scaler.is_enabled(), scaler.get_scale()
    (tensor([1.]), False, 1.0)
    """

    def __init__(
        self, init_scale: float = 65536.0, growth_factor: float = 2.0, backoff_factor: float = 0.5,
        growth_interval: int = 2000, enabled: bool = True,
    ):  # fmt: skip
        self._enabled = _enabled("GradScaler", enabled)

    def is_enabled(self) -> bool:
        """Whether it scales."""
        return self._enabled

    def scale(self, outputs: Any) -> Any:  # Any: a tensor, or a nesting of them
        """The losses, scaled."""
        return outputs

    def unscale_(self, optimizer: Any) -> None:  # Any: an optimizer
        """Divide the gradients by the scale."""

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:  # Any: what its step takes and gives
        """The optimizer's step."""
        return optimizer.step(*args, **kwargs)

    def update(self, new_scale: float | None = None) -> None:
        """Choose the next scale."""

    def get_scale(self) -> float:
        """The scale."""
        return 1.0

    def state_dict(self) -> dict[str, Any]:
        """Its state; empty when it is off."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take a state over."""


def custom_fwd(fwd: F | None = None, *, cast_inputs: DType | None = None) -> Any:  # Any: the function, or a decorator
    """A decorator for the forward of a Function; outside of autocast it is the function."""
    if fwd is None:
        return functools.partial(custom_fwd, cast_inputs=cast_inputs)
    return fwd


def custom_bwd(bwd: F) -> F:
    """A decorator for the backward of a Function; outside of autocast it is the function."""
    return bwd
