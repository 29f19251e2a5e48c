"""The profiler of the driver of mps devices: it is not used, so that everything that would need it raises."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flambeau.compat.unchanged import lacking, no

__all__ = ["is_capturing_metal", "is_metal_capture_enabled", "metal_capture", "profile", "start", "stop"]

_WHY = "the driver's own profiler is not used; flambeau.profiler sees every device"
start: Callable[..., None] = lacking("mps.profiler.start", _WHY)
stop: Callable[..., None] = lacking("mps.profiler.stop", _WHY)
_capture: Callable[..., None] = lacking("mps.profiler.metal_capture", _WHY)
is_capturing_metal = is_metal_capture_enabled = no


@contextmanager
def profile(mode: str = "interval", wait_until_completed: bool = False) -> Iterator[None]:
    """A block between :func:`start` and :func:`stop`."""
    start(mode, wait_until_completed)
    try:
        yield
    finally:
        stop()


@contextmanager
def metal_capture(fname: str) -> Iterator[None]:
    """A block whose work the driver writes to a file."""
    _capture(fname)
    yield
