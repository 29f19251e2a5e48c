"""Hooks on every module, and the parts of :class:`~flambeau.nn.Module` that torch names here."""

from __future__ import annotations

from flambeau.nn.hooks import (
    register_module_backward_hook,
    register_module_buffer_registration_hook,
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_full_backward_hook,
    register_module_full_backward_pre_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)  # fmt: skip
from flambeau.nn.module import Module
from flambeau.nn.saving import EXTRA as _EXTRA_STATE_KEY_SUFFIX
from flambeau.nn.saving import IncompatibleKeys as _IncompatibleKeys

__all__ = [
    "_EXTRA_STATE_KEY_SUFFIX", "Module", "_IncompatibleKeys", "_addindent", "register_module_backward_hook",
    "register_module_buffer_registration_hook", "register_module_forward_hook", "register_module_forward_pre_hook",
    "register_module_full_backward_hook", "register_module_full_backward_pre_hook",
    "register_module_module_registration_hook", "register_module_parameter_registration_hook",
]  # fmt: skip


def _addindent(s_: str, numSpaces: int) -> str:
    """The text with every line but the first moved to the right."""
    return s_.replace("\n", "\n" + " " * numSpaces)
