"""Tensors as instances of subclasses."""

from __future__ import annotations

from typing import Any, TypeVar

from flambeau.core import dispatch
from flambeau.core.creation import empty
from flambeau.core.device import DeviceLike
from flambeau.core.dtype import DTypeLike
from flambeau.core.graph import Leaf
from flambeau.core.public import public
from flambeau.core.record import OPS
from flambeau.core.tensor import Tensor, in_class

T = TypeVar("T", bound=Tensor)


@public(function=False, guard=False)
def as_subclass(self: Tensor, cls: type[T]) -> T:
    """The same memory and history as an instance of ``cls``, a subclass of Tensor, whose constructor is not called.

    >>> class Named(fb.Tensor):
    ...     pass
    >>> type(fb.ones(2).as_subclass(Named) + 1).__name__
    'Named'
    """
    if not isinstance(cls, type) or not issubclass(cls, Tensor):
        raise TypeError(f"as_subclass: argument 'cls' must be a subclass of Tensor, got {cls!r}")
    made: Any = self
    if self._node.__class__ is Leaf:  # whose gradient is its own: the result has one that leads there
        plain = in_class(self, Tensor)
        made = dispatch.call(OPS["view"], (plain,), {"shape": tuple(self._array.shape)})
    return in_class(made, cls)  # type: ignore[return-value]


def make_subclass(cls: type[T], data: Tensor, require_grad: bool = False) -> T:
    """The memory of ``data`` as an instance of ``cls``, without its history: ``Tensor._make_subclass``.

    >>> fb.Tensor._make_subclass(fb.Tensor, fb.ones(1), True)
    tensor([1.], requires_grad=True)
    """
    if not isinstance(data, Tensor):
        raise TypeError(f"_make_subclass: argument 'data' must be a tensor, got {type(data).__name__}")
    made = in_class(data, cls)
    made._node = None
    if require_grad:
        Tensor.requires_grad_(made)
    return made  # type: ignore[return-value]


def make_wrapper_subclass(
    cls: type[T], size: Any, strides: Any = None, storage_offset: int | None = None, memory_format: Any = None,
    dtype: DTypeLike | None = None, layout: Any = None, device: DeviceLike = None, pin_memory: bool = False,
    requires_grad: bool = False, dispatch_sizes_strides_policy: str | None = None, **other: Any,
) -> T:  # fmt: skip
    """An instance of ``cls`` that has a shape, a dtype and a device and no data of its own.

    For classes that keep tensors inside and answer for them in ``__torch_function__``. Its memory is on the device
    ``meta``, and what does not override sees it there.

    >>> fb.Tensor._make_wrapper_subclass(fb.Tensor, (2, 3)).shape
    flambeau.Size([2, 3])
    """
    made = empty(tuple(size), dtype=dtype, device="meta")
    if strides is not None:
        made = made.as_strided(tuple(size), tuple(strides), storage_offset or 0)
    return make_subclass(cls, made, requires_grad)


Tensor._make_subclass = staticmethod(make_subclass)  # type: ignore[attr-defined]
Tensor._make_wrapper_subclass = staticmethod(make_wrapper_subclass)  # type: ignore[attr-defined]
