"""Gradients: ``backward`` and ``grad``, custom functions, checks and modes."""

import importlib
from typing import Any

from flambeau.autograd import anomaly_mode, forward_ad, function, functional, grad_mode, graph, variable
from flambeau.autograd.function import NestedIOFunction
from flambeau.autograd.grad_mode import (
    enforce_grad_layout_policy,
    is_multithreading_enabled,
    is_view_replay_enabled,
    set_multithreading_enabled,
)
from flambeau.autograd.gradcheck import GradcheckError, gradcheck, gradgradcheck
from flambeau.autograd.variable import Variable
from flambeau.core.autograd.api import backward
from flambeau.core.autograd.function import Function
from flambeau.core.state import enable_grad, inference_mode, no_grad, set_grad_enabled
from flambeau.core.tape.modes import detect_anomaly, saved_tensors_hooks, set_detect_anomaly
from flambeau.core.transforms.gradients import grad

__all__ = [
    "Function", "GradcheckError", "NestedIOFunction", "Variable", "anomaly_mode", "backward", "detect_anomaly",
    "enable_grad", "enforce_grad_layout_policy", "forward_ad", "function", "functional", "grad", "grad_mode",
    "gradcheck", "gradgradcheck", "graph", "inference_mode", "is_multithreading_enabled", "is_view_replay_enabled",
    "no_grad", "saved_tensors_hooks", "set_detect_anomaly", "set_grad_enabled", "set_multithreading_enabled",
    "variable",
]  # fmt: skip


def __getattr__(name: str) -> Any:  # Any: a module
    """The profiler is imported when it is first named."""
    if name == "profiler":
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
