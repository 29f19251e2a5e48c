"""What the processor can do."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["get_cpu_capability"]


def get_cpu_capability() -> str:
    """The widest instructions that kernels use, which are numpy's: "AVX512", "AVX2", or "DEFAULT" for others."""
    config: Any = np.show_config(mode="dicts")  # Any: nested dicts, of a type that numpy keeps to itself
    there = {
        name for names in config.get("SIMD Extensions", {}).items() if names[0] != "not found" for name in names[1]
    }
    if there & {"X86_V4", "AVX512_SKX"}:
        return "AVX512"
    return "AVX2" if there & {"X86_V3", "AVX2"} else "DEFAULT"
