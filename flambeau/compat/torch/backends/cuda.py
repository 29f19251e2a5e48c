"""Switches of torch's CUDA libraries, kept; and which kernels serve attention: flambeau's own, in plain products."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import SimpleNamespace

from flambeau.compat.flags import switched
from flambeau.compat.unchanged import no
from flambeau.core import registry

__all__ = [
    "cudnn_sdp_enabled", "enable_cudnn_sdp", "enable_flash_sdp", "enable_math_sdp", "enable_mem_efficient_sdp",
    "flash_sdp_enabled", "is_built", "is_flash_attention_available", "math_sdp_enabled", "matmul",
    "mem_efficient_sdp_enabled", "preferred_linalg_library", "sdp_kernel",
]  # fmt: skip

matmul = SimpleNamespace(
    allow_tf32=False, allow_fp16_reduced_precision_reduction=True, allow_bf16_reduced_precision_reduction=True,
    allow_fp16_accumulation=False, fp32_precision="none",
)  # fmt: skip
_flash = _efficient = _cudnn = _math = True
is_flash_attention_available = no


def is_built() -> bool:
    """Whether the cuda backend is one of this installation's."""
    return "cuda" in registry.known_types()


def flash_sdp_enabled() -> bool:
    """What :func:`enable_flash_sdp` was told last; True at first."""
    return _flash


def mem_efficient_sdp_enabled() -> bool:
    """What :func:`enable_mem_efficient_sdp` was told last; True at first."""
    return _efficient


def math_sdp_enabled() -> bool:
    """What :func:`enable_math_sdp` was told last; True at first."""
    return _math


def cudnn_sdp_enabled() -> bool:
    """What :func:`enable_cudnn_sdp` was told last; True at first."""
    return _cudnn


def enable_flash_sdp(enabled: bool) -> None:
    """Kept for :func:`flash_sdp_enabled`."""
    global _flash
    _flash = enabled


def enable_mem_efficient_sdp(enabled: bool) -> None:
    """Kept for :func:`mem_efficient_sdp_enabled`."""
    global _efficient
    _efficient = enabled


def enable_math_sdp(enabled: bool) -> None:
    """Kept for :func:`math_sdp_enabled`."""
    global _math
    _math = enabled


def enable_cudnn_sdp(enabled: bool) -> None:
    """Kept for :func:`cudnn_sdp_enabled`."""
    global _cudnn
    _cudnn = enabled


def sdp_kernel(
    enable_flash: bool = True, enable_math: bool = True, enable_mem_efficient: bool = True, enable_cudnn: bool = True
) -> AbstractContextManager[None]:
    """Other answers of the functions above inside a ``with`` block."""
    return switched(
        __name__, _flash=enable_flash, _math=enable_math, _efficient=enable_mem_efficient, _cudnn=enable_cudnn
    )


def preferred_linalg_library(backend: str | None = None) -> str:
    """ "default": which library a backend uses is its own affair."""
    return "default"
