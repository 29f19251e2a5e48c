"""Modes: whether gradients are recorded, and how the engine works."""

from __future__ import annotations

from flambeau.core.autograd.policy import (
    enforce_grad_layout_policy,
    is_multithreading_enabled,
    is_view_replay_enabled,
    set_multithreading_enabled,
)
from flambeau.core.state import enable_grad, inference_mode, no_grad, set_grad_enabled

__all__ = [
    "enable_grad", "enforce_grad_layout_policy", "inference_mode", "is_multithreading_enabled",
    "is_view_replay_enabled", "no_grad", "set_grad_enabled", "set_multithreading_enabled",
]  # fmt: skip
