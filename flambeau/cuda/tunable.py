"""Kernels chosen by measuring: switched off, as the backend chooses its kernels itself. What is set is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from flambeau.accelerator.absent import absent

__all__ = [
    "enable", "get_filename", "get_max_tuning_duration", "get_max_tuning_iterations", "get_results",
    "get_rotating_buffer_size", "get_validators", "is_enabled", "mgpu_tune_gemm_in_file", "read_file",
    "record_untuned_enable", "record_untuned_is_enabled", "set_filename", "set_max_tuning_duration",
    "set_max_tuning_iterations", "set_numerical_check_tolerances", "set_rotating_buffer_size", "tune_gemm_in_file",
    "tuning_enable", "tuning_is_enabled",
]  # fmt: skip

_WHY = "kernels are not chosen by measuring"
T = TypeVar("T")
_kept: dict[str, Any] = {}  # Any: each setting has a type of its own


def enable(val: bool = True) -> None:
    """RuntimeError where it is to be switched on."""
    if val:
        raise RuntimeError(f"flambeau.cuda.tunable.enable: {_WHY}")


def is_enabled() -> bool:
    """Whether it is on; it is not.

    >>> fb.cuda.tunable.is_enabled()
    False
    """
    return False


tuning_enable = record_untuned_enable = enable
tuning_is_enabled = record_untuned_is_enabled = is_enabled
tune_gemm_in_file = absent("flambeau.cuda.tunable.tune_gemm_in_file", _WHY)
mgpu_tune_gemm_in_file = absent("flambeau.cuda.tunable.mgpu_tune_gemm_in_file", _WHY)


def get_results() -> tuple[Any, ...]:
    """What was measured: nothing."""
    return ()


def get_validators() -> tuple[Any, ...]:
    """What results would be valid for: there are none."""
    return ()


def read_file(filename: str | None = None) -> bool:
    """Whether results were read; none are."""
    return False


def _told(name: str, first: T) -> Callable[[], T]:
    """The function that gives what ``set_NAME`` was told last; ``first`` at first."""
    _kept[name] = first

    def get() -> T:
        return cast(T, _kept[name])

    get.__name__ = get.__qualname__ = f"get_{name}"
    get.__doc__ = f"What :func:`set_{name}` was told last; {first!r} at first."
    return get


def set_filename(filename: str, insert_device_ordinal: bool = False) -> None:
    """The file that results would go to."""
    _kept["filename"] = filename


def set_max_tuning_duration(duration: int) -> None:
    """Milliseconds for measuring one kernel, were it done."""
    _kept["max_tuning_duration"] = duration


def set_max_tuning_iterations(iterations: int) -> None:
    """Runs for measuring one kernel, were it done."""
    _kept["max_tuning_iterations"] = iterations


def set_rotating_buffer_size(buffer_size: int) -> None:
    """MiB of operands to take turns with while measuring, were it done."""
    _kept["rotating_buffer_size"] = buffer_size


get_filename = _told("filename", "tunableop_results.csv")
get_max_tuning_duration = _told("max_tuning_duration", 30)
get_max_tuning_iterations = _told("max_tuning_iterations", 100)
get_rotating_buffer_size = _told("rotating_buffer_size", 0)


def set_numerical_check_tolerances(enable: bool, atol: float = 1e-5, rtol: float = 1e-5) -> None:
    """How far a kernel's results may be off, were any compared; nothing asks for it."""
