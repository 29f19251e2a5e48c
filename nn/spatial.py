"""The base of layers that come for one, two and three axes of space."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from flambeau.core.tensor import Tensor
from flambeau.nn.functional.family import filled
from flambeau.nn.module import Module


class Spatial(Module):
    """A layer that calls one function: ``class MaxPool2d(_MaxPool, dims=2, function=F.max_pool2d)``.

    What stands in the docstring of a family's base goes, with its sizes filled in, below that of each member.
    """

    dims: ClassVar[int]
    function: ClassVar[Callable[..., Tensor]]
    _more: ClassVar[str] = ""

    def __init_subclass__(cls, dims: int = 0, function: Callable[..., Any] | None = None) -> None:
        super().__init_subclass__()
        if function is not None:
            cls.function = staticmethod(function)
        if dims:
            cls.dims, cls.__doc__ = dims, f"{cls.__doc__}\n\n    {filled(cls._more, dims, cls.__name__)}".rstrip()
        elif "{s:" in (cls.__doc__ or ""):  # a base
            cls._more, cls.__doc__ = cls.__doc__ or "", None
