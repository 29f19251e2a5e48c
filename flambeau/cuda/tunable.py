"""Kernels chosen by measuring: switched off, as the backend chooses its kernels itself. What is set is kept."""

from __future__ import annotations

from typing import Any

from flambeau.accelerator.of_type import absent

__all__ = [
    "enable", "get_filename", "get_max_tuning_duration", "get_max_tuning_iterations", "get_results",
    "get_rotating_buffer_size", "get_validators", "is_enabled", "mgpu_tune_gemm_in_file", "read_file",
    "record_untuned_enable", "record_untuned_is_enabled", "set_filename", "set_max_tuning_duration",
    "set_max_tuning_iterations", "set_numerical_check_tolerances", "set_rotating_buffer_size", "tune_gemm_in_file",
    "tuning_enable", "tuning_is_enabled",
]  # fmt: skip

_WHY = "kernels are not chosen by measuring"
_kept: dict[str, Any] = {"filename": "tunableop_results.csv", "duration": 30, "iterations": 100, "buffer": 0}


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


def set_filename(filename: str, insert_device_ordinal: bool = False) -> None:
    """The file that results would go to."""
    _kept["filename"] = filename


def get_filename() -> str:
    """What :func:`set_filename` was told last."""
    return str(_kept["filename"])


def set_max_tuning_duration(duration: int) -> None:
    """Milliseconds for measuring one kernel, were it done."""
    _kept["duration"] = duration


def get_max_tuning_duration() -> int:
    """What :func:`set_max_tuning_duration` was told last; 30 at first."""
    return int(_kept["duration"])


def set_max_tuning_iterations(iterations: int) -> None:
    """Runs for measuring one kernel, were it done."""
    _kept["iterations"] = iterations


def get_max_tuning_iterations() -> int:
    """What :func:`set_max_tuning_iterations` was told last; 100 at first."""
    return int(_kept["iterations"])


def set_rotating_buffer_size(buffer_size: int) -> None:
    """MiB of operands to take turns with while measuring, were it done."""
    _kept["buffer"] = buffer_size


def get_rotating_buffer_size() -> int:
    """What :func:`set_rotating_buffer_size` was told last; 0 at first."""
    return int(_kept["buffer"])


def set_numerical_check_tolerances(enable: bool, atol: float = 1e-5, rtol: float = 1e-5) -> None:
    """How far a kernel's results may be off, were any compared."""
    _kept["tolerances"] = (enable, atol, rtol)
