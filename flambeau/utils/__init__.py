"""Helpers beside the framework itself: data loading, files of tensors, checkpointing, and what PyTorch keeps here."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flambeau.utils import benchmark as benchmark
    from flambeau.utils import checkpoint as checkpoint
    from flambeau.utils import data as data
    from flambeau.utils import serialization as serialization
    from flambeau.utils.model_summary import summary as summary

_MODULES = frozenset(
    {
        "_python_dispatch",
        "_pytree",
        "benchmark",
        "bottleneck",
        "checkpoint",
        "collect_env",
        "cpp_extension",
        "data",
        "deterministic",
        "dlpack",
        "flop_counter",
        "hooks",
        "mobile_optimizer",
        "model_zoo",
        "module_tracker",
        "serialization",
        "tensorboard",
    }
)
_ELSEWHERE = {"summary": "flambeau.utils.model_summary"} | dict.fromkeys(
    (
        "ThroughputBenchmark",
        "cmake_prefix_path",
        "generate_methods_for_privateuse1_backend",
        "get_cpp_backtrace",
        "rename_privateuse1_backend",
        "set_module",
        "swap_tensors",
    ),
    "flambeau.utils.small",
)


def __getattr__(name: str) -> Any:  # Any: a module, or a function
    """Modules are imported when they are first named."""
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _ELSEWHERE:
        return getattr(importlib.import_module(_ELSEWHERE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, *_ELSEWHERE})
