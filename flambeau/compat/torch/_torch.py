"""What ``torch`` itself has beside flambeau's names: symbolic numbers, checks, switches."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from flambeau.compat.namespace import VERSION
from flambeau.compat.symbolic import Tag
from flambeau.compat.torch._C import PyTorchFileReader, ScriptFunction
from flambeau.compat.torch._classes import classes
from flambeau.compat.torch._foreach import FUNCTIONS as _FOREACH
from flambeau.compat.torch._ops import ops
from flambeau.compat.torch.jit import ScriptModule
from flambeau.compat.torch.torch_version import TorchVersion
from flambeau.compat.unchanged import no
from flambeau.core import typed
from flambeau.core.accelerator import resolved
from flambeau.core.device import device
from flambeau.core.memory_format import Layout as layout
from flambeau.core.memory_format import MemoryFormat as memory_format
from flambeau.core.storages import TypedStorage, UntypedStorage
from flambeau.core.tensor import Tensor
from flambeau.futures import Future
from flambeau.nn.functional.scaled import _scaled_mm as _scaled_mm
from flambeau.nn.functional.scaled import grouped_mm as _grouped_mm  # noqa: F401  # another name of it
from flambeau.overrides import _assert as _assert

__version__ = TorchVersion(f"{VERSION}+flambeau")
__all__ = [
    "AcceleratorError", "Future", "OutOfMemoryError", "PyTorchFileReader", "ScriptFunction", "ScriptModule", "Tag",
    "TypedStorage", "UntypedStorage", "classes", "compiled_with_cxx11_abi", "get_device_module",
    "has_lapack", "has_mkl", "has_openmp", "has_spectral", "layout", "memory_format", "ops", "typename",
]  # fmt: skip

globals().update(_FOREACH)


class OutOfMemoryError(RuntimeError):
    """What torch raises when a device has no memory left."""


class AcceleratorError(RuntimeError):
    """What torch raises when a device reports an error."""


# -- what this build has, as torch's flags say it --------------------------------------------------------------------
has_lapack = has_spectral = True  # linear algebra and Fourier transforms, by numpy and flambeau's own kernels
has_mkl = has_openmp = False
is_vulkan_available = no


def compiled_with_cxx11_abi() -> bool:
    """True, as for every torch of today."""
    return True


def get_device_module(device: device | str | None = None) -> ModuleType:  # torch's name of the argument
    """``torch.cuda``, ``torch.cpu`` or the like, for a device; RuntimeError where torch has none of that name."""
    kind = resolved(device).type
    module = getattr(sys.modules["torch"], kind, None)
    if not isinstance(module, ModuleType):
        raise RuntimeError(f"get_device_module: there is no module torch.{kind}; torch.accelerator serves every device")
    return module


# -- checks ----------------------------------------------------------------------------------------------------------
def _assert_async(condition: Tensor, message: str = "Expected Tensor with single nonzero value, but got zero") -> None:
    """RuntimeError with the message unless the one number is true; it is waited for."""
    if condition.numel() != 1:
        raise RuntimeError(f"_assert_async: expected a tensor of one number, got shape {tuple(condition.shape)}")
    if not condition:
        raise RuntimeError(message)


def _checking(error: type[Exception]) -> Callable[..., None]:
    def check(cond: bool, message: Callable[[], str] | None = None) -> None:
        if not cond:
            raise error("expected cond to be True, got False" if message is None else str(message()))

    return check


_check, _check_index, _check_value = _checking(RuntimeError), _checking(IndexError), _checking(ValueError)
_check_type, _check_not_implemented = _checking(TypeError), _checking(NotImplementedError)


def _check_is_size(i: int, message: Callable[[], str] | None = None, *, max: int | None = None) -> None:
    _check(i >= 0 and (max is None or i <= max), message)


def typename(obj: Any, /) -> str:  # Any: of any class
    """The name of a type, or of an object's, as torch writes it: "torch.FloatTensor", "torch.nn.Linear", "int"."""
    if isinstance(obj, Tensor):
        return str(obj.type()) if hasattr(obj, "type") else f"torch.{type(obj).__name__}"
    kind = obj if isinstance(obj, type) else type(obj)
    home = kind.__module__.replace("flambeau", "torch", 1)
    return kind.__qualname__ if home == "builtins" else f"{home}.{kind.__qualname__}"


# -- old names of tensors of one dtype, and storages -----------------------------------------------------------------
globals().update(typed.NAMES)

# -- a layout that tensors of flambeau do not have yet, to compare with ------------------------------------------------
jagged = layout("jagged")
