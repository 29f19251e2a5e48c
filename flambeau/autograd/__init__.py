"""Gradients: ``backward`` and ``grad``, custom functions, checks and modes."""

from flambeau.core.autograd import function
from flambeau.core.autograd import graph_hooks as graph
from flambeau.core.autograd.api import backward
from flambeau.core.autograd.function import Function
from flambeau.core.state import enable_grad, inference_mode, no_grad, set_grad_enabled
from flambeau.core.tape.modes import detect_anomaly, saved_tensors_hooks, set_detect_anomaly
from flambeau.core.transforms import forward_ad, functional
from flambeau.core.transforms.gradients import grad
from flambeau.gradcheck import GradcheckError, gradcheck, gradgradcheck

__all__ = [
    "Function", "GradcheckError", "backward", "detect_anomaly", "enable_grad", "forward_ad", "function", "functional",
    "grad", "gradcheck", "gradgradcheck", "graph", "inference_mode", "no_grad", "saved_tensors_hooks",
    "set_detect_anomaly", "set_grad_enabled",
]  # fmt: skip
