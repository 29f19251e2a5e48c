"""The part of torch's C++ module that Python packages touch."""

from __future__ import annotations

import enum
from collections.abc import Iterable

from flambeau.compat.torch._C import _functorch, _nn
from flambeau.compat.unchanged import Unchanged, no, nothing
from flambeau.core import state
from flambeau.core.device import device
from flambeau.core.dtype import DType as dtype
from flambeau.core.generator import Generator
from flambeau.core.memory_format import MemoryFormat as memory_format
from flambeau.core.overrides import DisableTorchFunction, DisableTorchFunctionSubclass
from flambeau.core.overrides import disabled_torch_function as _disabled_torch_function_impl
from flambeau.core.size import Size
from flambeau.core.tensor import Tensor
from flambeau.futures import Future
from flambeau.jit import ScriptFunction, is_tracing

_TensorMeta = type(Tensor)
_log_api_usage_once = _log_api_usage_metadata = _set_print_stack_traces_on_fatal_signal = nothing
_get_autograd_fallback_mode = _jit_set_profiling_executor = nothing
_cuda_isCurrentStreamCapturing = _has_cuda = no
_is_tracing = is_tracing


def _get_tracing_state() -> bool | None:
    """What there is while a program is traced, else None."""
    return is_tracing() or None


class DispatchKey(enum.Enum):
    """Where torch's dispatcher would look for a kernel; flambeau's asks the tensor's device."""

    Undefined = 0
    CompositeExplicitAutograd = 1
    CompositeImplicitAutograd = 2
    CPU = 3
    CUDA = 4
    XPU = 5
    MPS = 6
    Meta = 7
    PrivateUse1 = 8
    Autograd = 9
    AutogradCPU = 10
    AutogradCUDA = 11
    AutocastCPU = 12
    AutocastCUDA = 13
    AutocastXPU = 14
    Python = 15
    PythonTLSSnapshot = 16
    Functionalize = 17
    ADInplaceOrView = 18
    FuncTorchBatched = 19
    SparseCPU = 20
    SparseCUDA = 21
    SparseCsrCPU = 22
    SparseCsrCUDA = 23
    NestedTensorCPU = 24
    QuantizedCPU = 25


class ScriptObject:
    """An object of a class that a library of C++ has entered under ``torch.classes``."""


class DispatchKeySet(frozenset[DispatchKey]):
    """A set of :class:`DispatchKey`."""

    def __new__(cls, keys: DispatchKey | Iterable[DispatchKey] = ()) -> DispatchKeySet:
        return super().__new__(cls, (keys,) if isinstance(keys, DispatchKey) else keys)

    def has(self, key: DispatchKey) -> bool:
        """Whether the key is in it."""
        return key in self

    def add(self, key: DispatchKey) -> DispatchKeySet:
        """This set and the key."""
        return DispatchKeySet(self | {key})

    def remove(self, key: DispatchKey) -> DispatchKeySet:
        """This set without the key."""
        return DispatchKeySet(self - {key})


_ExcludeDispatchKeyGuard = _IncludeDispatchKeyGuard = _AutoDispatchBelowAutograd = Unchanged


def _dispatch_keys(tensor: Tensor) -> DispatchKeySet:
    kind = tensor.device.type
    place = {"cpu": DispatchKey.CPU, "cuda": DispatchKey.CUDA, "meta": DispatchKey.Meta}.get(
        kind, DispatchKey.PrivateUse1
    )
    return DispatchKeySet((place, DispatchKey.Autograd) if tensor.requires_grad else (place,))


def _are_functorch_transforms_active() -> bool:
    """Whether the code runs under vmap, grad or another transform of functions."""
    return bool(state.current().levels)


def _get_privateuse1_backend_name() -> str:
    return "privateuseone"


class CompilationUnit:
    """Functions of TorchScript; there are none."""

    def __init__(self, lang: str | None = None):
        if lang is not None:
            raise RuntimeError("torch.jit.CompilationUnit: flambeau has no TorchScript; write the functions in Python")


class PyTorchFileReader:
    """The reader of torch's files in C++; ``torch.load`` has one of its own."""

    def __init__(self, *args: object):
        raise RuntimeError("PyTorchFileReader: flambeau has none; torch.load reads torch's files")


class Graph:
    """A graph of TorchScript; there are none."""


class Value:
    """A value in a graph of TorchScript; there are none."""


class Node:
    """A node in a graph of TorchScript; there are none."""


class TensorType:
    """A type of TorchScript; there are none."""


__all__ = [
    "CompilationUnit", "DisableTorchFunction", "DisableTorchFunctionSubclass", "DispatchKey", "DispatchKeySet",
    "Future", "Generator", "Graph", "Node", "PyTorchFileReader", "ScriptFunction", "Size", "TensorType", "Value",
    "_ExcludeDispatchKeyGuard", "_TensorMeta", "_disabled_torch_function_impl", "_dispatch_keys", "_functorch",
    "_get_privateuse1_backend_name", "_get_tracing_state", "_log_api_usage_once", "_nn", "device", "dtype",
    "memory_format",
]  # fmt: skip
