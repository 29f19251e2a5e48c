"""Module: what stands beside the class in torch's file of it."""

from typing import TypeVar

from flambeau.core.graph import Handle as RemovableHandle
from flambeau.core.tensor import Tensor
from flambeau.nn.hooks import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_full_backward_hook,
    register_module_full_backward_pre_hook,
)  # fmt: skip
from flambeau.nn.module import Module
from flambeau.nn.parameter import Buffer, Parameter

__all__ = [
    "Buffer", "Module", "Parameter", "RemovableHandle", "Tensor", "register_module_forward_hook",
    "register_module_forward_pre_hook", "register_module_full_backward_hook", "register_module_full_backward_pre_hook",
]  # fmt: skip

T = TypeVar("T", bound=Module)
_EXTRA_STATE_KEY_SUFFIX = "_extra_state"


def _addindent(s_: str, numSpaces: int) -> str:
    return s_.replace("\n", "\n" + " " * numSpaces)
