"""Modules made without values, and convolutions' weights in another order of memory."""

from __future__ import annotations

import inspect
from typing import Any, TypeVar

from flambeau.core.blame import checking, explain_functions
from flambeau.core.keys import get_default_device
from flambeau.core.memory_format import MemoryFormat
from flambeau.nn.conv import Conv2d, Conv3d, ConvTranspose2d, ConvTranspose3d
from flambeau.nn.module import Module

M = TypeVar("M", bound=Module)


def skip_init(module_cls: type[M], *args: Any, **kwargs: Any) -> M:  # Any: those of the class
    """A module whose parameters have undefined values: nothing is drawn.

    >>> fb.nn.utils.skip_init(fb.nn.Linear, 5, 1).weight.shape
    flambeau.Size([1, 5])
    """
    if not isinstance(module_cls, type) or not issubclass(module_cls, Module):
        raise RuntimeError(f"skip_init: expected a Module class, got {module_cls!r}")
    if "device" not in inspect.signature(module_cls).parameters:
        raise RuntimeError(f"skip_init: {module_cls.__name__} must take an argument 'device'")
    device = kwargs.pop("device", None)
    return module_cls(*args, device="meta", **kwargs).to_empty(device=device or get_default_device())


def convert_conv2d_weight_memory_format(module: M, memory_format: MemoryFormat) -> M:
    """The weights of all 2-d convolutions in a module in this order of memory.

    >>> layer = fb.nn.Conv2d(2, 3, 2)
    >>> fb.nn.utils.convert_conv2d_weight_memory_format(layer, fb.contiguous_format) is layer
    True
    """
    return _converted(module, memory_format, (Conv2d, ConvTranspose2d))


def convert_conv3d_weight_memory_format(module: M, memory_format: MemoryFormat) -> M:
    """The weights of all 3-d convolutions in a module in this order of memory.

    >>> layer = fb.nn.Conv3d(2, 3, 2)
    >>> fb.nn.utils.convert_conv3d_weight_memory_format(layer, fb.contiguous_format) is layer
    True
    """
    return _converted(module, memory_format, (Conv3d, ConvTranspose3d))


def _converted(module: M, memory_format: MemoryFormat, kinds: tuple[type[Module], ...]) -> M:
    for m in module.modules():
        if isinstance(m, kinds):
            weight: Any = m._parameters["weight"]
            weight.data = weight.detach().clone(memory_format=memory_format)
    return module


explain_functions(globals(), wrap=checking)
