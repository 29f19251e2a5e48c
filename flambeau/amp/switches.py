"""What is set of autocast in this thread, asked and set without a block; :class:`flambeau.autocast` is the better way.

The names with cpu, gpu, xla and ipu are PyTorch's older ones for single types of devices.
"""

from __future__ import annotations

from typing import overload

from flambeau.core import autocast as state
from flambeau.core.dtype import DType

__all__ = [
    "autocast_decrement_nesting", "autocast_increment_nesting", "clear_autocast_cache", "get_autocast_cpu_dtype",
    "get_autocast_dtype", "get_autocast_gpu_dtype", "get_autocast_ipu_dtype", "get_autocast_xla_dtype",
    "is_autocast_cache_enabled", "is_autocast_cpu_enabled", "is_autocast_enabled", "is_autocast_ipu_enabled",
    "is_autocast_xla_enabled", "set_autocast_cache_enabled", "set_autocast_cpu_dtype", "set_autocast_cpu_enabled",
    "set_autocast_dtype", "set_autocast_enabled", "set_autocast_gpu_dtype", "set_autocast_ipu_dtype",
    "set_autocast_ipu_enabled", "set_autocast_xla_dtype", "set_autocast_xla_enabled",
]  # fmt: skip


# -- by type of device -----------------------------------------------------------------------------------
def is_autocast_enabled(device_type: str | None = None) -> bool:
    """Whether autocast is on for a type of device; without one, for cuda.

    >>> with fb.autocast("cpu"):
    ...     fb.is_autocast_enabled("cpu"), fb.is_autocast_enabled()
    (True, False)
    """
    name = "cuda" if device_type is None else device_type
    return state.type_of("is_autocast_enabled", name) in state.setting().types


@overload
def set_autocast_enabled(device_type: str, enabled: bool) -> None: ...
@overload
def set_autocast_enabled(device_type: bool) -> None: ...
def set_autocast_enabled(device_type: str | bool, enabled: bool | None = None) -> None:
    """Switch autocast on or off for a type of device; with a bool alone, for cuda.

    >>> fb.set_autocast_enabled("cpu", False)
    """
    if isinstance(device_type, bool):
        if enabled is not None:
            raise TypeError("set_autocast_enabled: device_type must be a text such as 'cpu', got a bool")
        set_autocast_enabled("cuda", device_type)
        return
    if not isinstance(enabled, bool):
        raise TypeError(f"set_autocast_enabled: enabled must be a bool, got {enabled!r}")
    now, where = state.setting(), state.type_of("set_autocast_enabled", device_type)
    state.set_to(now.but(types=now.types | {where} if enabled else now.types - {where}))


def get_autocast_dtype(device_type: str) -> DType:
    """The dtype to which autocast casts on a type of device: what was set, or PyTorch's for it, else bfloat16.

    >>> fb.get_autocast_dtype("cpu")
    flambeau.bfloat16
    """
    where = state.type_of("get_autocast_dtype", device_type)
    state.require_available("get_autocast_dtype", where)
    return state.setting().dtype(where)


def set_autocast_dtype(device_type: str, dtype: DType) -> None:
    """Set it.

    >>> fb.set_autocast_dtype("cpu", fb.bfloat16)
    """
    where = state.type_of("set_autocast_dtype", device_type)
    now = state.setting()
    state.set_to(now.but(dtypes={**now.dtypes, where: state.checked_dtype("set_autocast_dtype", dtype)}))


# -- casts that are kept -----------------------------------------------------------------------------------
def is_autocast_cache_enabled() -> bool:
    """Whether the casts of parameters are kept until the outermost block ends.

    >>> fb.is_autocast_cache_enabled()
    True
    """
    return state.setting().caching


def set_autocast_cache_enabled(enabled: bool) -> None:
    """Set whether they are.

    >>> fb.set_autocast_cache_enabled(True)
    """
    if not isinstance(enabled, bool):
        raise TypeError(f"set_autocast_cache_enabled: enabled must be a bool, got {enabled!r}")
    state.set_to(state.setting().but(caching=enabled))


def clear_autocast_cache() -> None:
    """Forget the casts that were kept.

    >>> fb.clear_autocast_cache()
    """
    state.setting().cache.clear()


def autocast_increment_nesting() -> int:
    """Count a block that begins; how many there are now.

    >>> fb.autocast_increment_nesting(), fb.autocast_decrement_nesting()
    (1, 0)
    """
    return _nest(1)


def autocast_decrement_nesting() -> int:
    """Count a block that ends; how many there are now. Whoever gets 0 clears the cache."""
    return _nest(-1)


def _nest(by: int) -> int:
    now = state.setting()
    state.set_to(now.but(nesting=now.nesting + by))
    return now.nesting + by


# -- the older names -----------------------------------------------------------------------------------------
def is_autocast_cpu_enabled() -> bool:
    """``is_autocast_enabled("cpu")``."""
    return is_autocast_enabled("cpu")


def set_autocast_cpu_enabled(enabled: bool) -> None:
    """``set_autocast_enabled("cpu", enabled)``."""
    set_autocast_enabled("cpu", enabled)


def get_autocast_cpu_dtype() -> DType:
    """``get_autocast_dtype("cpu")``."""
    return get_autocast_dtype("cpu")


def set_autocast_cpu_dtype(dtype: DType) -> None:
    """``set_autocast_dtype("cpu", dtype)``."""
    set_autocast_dtype("cpu", dtype)


def get_autocast_gpu_dtype() -> DType:
    """``get_autocast_dtype("cuda")``."""
    return get_autocast_dtype("cuda")


def set_autocast_gpu_dtype(dtype: DType) -> None:
    """``set_autocast_dtype("cuda", dtype)``."""
    set_autocast_dtype("cuda", dtype)


def is_autocast_xla_enabled() -> bool:
    """``is_autocast_enabled("xla")``."""
    return is_autocast_enabled("xla")


def set_autocast_xla_enabled(enabled: bool) -> None:
    """``set_autocast_enabled("xla", enabled)``."""
    set_autocast_enabled("xla", enabled)


def get_autocast_xla_dtype() -> DType:
    """``get_autocast_dtype("xla")``."""
    return get_autocast_dtype("xla")


def set_autocast_xla_dtype(dtype: DType) -> None:
    """``set_autocast_dtype("xla", dtype)``."""
    set_autocast_dtype("xla", dtype)


def is_autocast_ipu_enabled() -> bool:
    """``is_autocast_enabled("ipu")``."""
    return is_autocast_enabled("ipu")


def set_autocast_ipu_enabled(enabled: bool) -> None:
    """``set_autocast_enabled("ipu", enabled)``."""
    set_autocast_enabled("ipu", enabled)


def get_autocast_ipu_dtype() -> DType:
    """``get_autocast_dtype("ipu")``."""
    return get_autocast_dtype("ipu")


def set_autocast_ipu_dtype(dtype: DType) -> None:
    """``set_autocast_dtype("ipu", dtype)``."""
    set_autocast_dtype("ipu", dtype)
