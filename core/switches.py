"""Switches that programs written for torch set and read: determinism, precision of products, warnings.

All kernels of flambeau's own give the same bits for the same arguments on the same device, whatever these say: there is
nothing that ``use_deterministic_algorithms`` would have to forbid, and products are always in full precision. The
switches are kept, and answer with what was set.
"""

from __future__ import annotations

import warnings
from typing import Final

from flambeau.core.errors import ConversionError

_MODES: Final = ("default", "warn", "error")
_PRECISIONS: Final = ("highest", "high", "medium")
_state: dict[str, int | str | bool] = {"debug": 0, "precision": "highest", "warn_always": False, "interop": 1}


# -- determinism ---------------------------------------------------------------------------------------
def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Ask for algorithms that give the same bits every time: those of flambeau do.

    >>> fb.use_deterministic_algorithms(True)
    >>> fb.are_deterministic_algorithms_enabled()
    True
    >>> fb.use_deterministic_algorithms(False)
    """
    if not isinstance(mode, bool):
        raise TypeError(f"use_deterministic_algorithms: mode must be a bool, got {mode!r} ({type(mode).__name__})")
    _state["debug"] = 0 if not mode else 1 if warn_only else 2


def are_deterministic_algorithms_enabled() -> bool:
    """Whether :func:`use_deterministic_algorithms` asked for them.

    >>> fb.are_deterministic_algorithms_enabled()
    False
    """
    return _state["debug"] != 0


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """Whether others should only warn.

    >>> fb.is_deterministic_algorithms_warn_only_enabled()
    False
    """
    return _state["debug"] == 1


def set_deterministic_debug_mode(debug_mode: int | str) -> None:
    """:func:`use_deterministic_algorithms` by a word or number: "default" (0), "warn" (1), "error" (2).

    >>> fb.set_deterministic_debug_mode("default")
    """
    if isinstance(debug_mode, str):
        if debug_mode not in _MODES:
            raise RuntimeError(f"set_deterministic_debug_mode: expected one of {', '.join(_MODES)}, got {debug_mode!r}")
        _state["debug"] = _MODES.index(debug_mode)
        return
    if not isinstance(debug_mode, int):
        raise TypeError(
            f"set_deterministic_debug_mode: debug_mode must be an int or str, got {type(debug_mode).__name__}"
        )
    if not 0 <= debug_mode < len(_MODES):
        raise RuntimeError(f"set_deterministic_debug_mode: expected 0, 1 or 2, got {debug_mode}")
    _state["debug"] = int(debug_mode)


def get_deterministic_debug_mode() -> int:
    """0, 1 or 2, as :func:`set_deterministic_debug_mode` has it.

    >>> fb.get_deterministic_debug_mode()
    0
    """
    return int(_state["debug"])


# -- precision -----------------------------------------------------------------------------------------
def set_float32_matmul_precision(precision: str) -> None:
    """How few digits float32 products may have: "highest", "high" or "medium". flambeau's always have all.

    >>> fb.set_float32_matmul_precision("highest")
    """
    if not isinstance(precision, str):
        raise TypeError(f"set_float32_matmul_precision: precision must be a str, got {type(precision).__name__}")
    if precision not in _PRECISIONS:  # which torch does not refuse either
        words = (
            f"set_float32_matmul_precision: {precision!r} is not one of {', '.join(_PRECISIONS)}; nothing is changed"
        )
        warnings.warn(words, stacklevel=2)
        return
    _state["precision"] = precision


def get_float32_matmul_precision() -> str:
    """What :func:`set_float32_matmul_precision` set.

    >>> fb.get_float32_matmul_precision()
    'highest'
    """
    return str(_state["precision"])


def set_flush_denormal(mode: bool) -> bool:
    """Ask for tiny numbers to become 0; False: flambeau keeps them on every device that does.

    >>> fb.set_flush_denormal(False)
    False
    """
    return False


# -- warnings and threads ------------------------------------------------------------------------------
def set_warn_always(b: bool) -> None:
    """Have warnings that come once come every time. flambeau's come by Python's own rules, see :mod:`warnings`.

    >>> fb.set_warn_always(False)
    """
    if not isinstance(b, bool):
        raise ConversionError(f"set_warn_always: expected a bool, got {type(b).__name__}")
    _state["warn_always"] = b


def is_warn_always_enabled() -> bool:
    """What :func:`set_warn_always` set.

    >>> fb.is_warn_always_enabled()
    False
    """
    return bool(_state["warn_always"])


def get_num_interop_threads() -> int:
    """How many ops run beside each other: one, unless :func:`set_num_interop_threads` said otherwise.

    >>> fb.get_num_interop_threads()
    1
    """
    return int(_state["interop"])


def set_num_interop_threads(count: int) -> None:
    """Kept for :func:`get_num_interop_threads`: ops run in the threads that call them.

    >>> fb.set_num_interop_threads(1)
    """
    if isinstance(count, bool) or not isinstance(count, int):
        raise TypeError(f"set_num_interop_threads: expected an int, got {type(count).__name__}")
    if count < 1:
        raise RuntimeError(f"set_num_interop_threads: expected a positive number, got {count}")
    _state["interop"] = count
