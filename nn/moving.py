"""Modules in other dtypes, on other devices, in other memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, Self

from flambeau.core import dtype as dt
from flambeau.core.capture import structure
from flambeau.core.creation import empty_like
from flambeau.core.device import DeviceLike, located
from flambeau.core.device import device as Device
from flambeau.core.memory_format import MemoryFormat
from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.nn.parameter import Parameter, is_lazy

#: How :meth:`Moved._apply` puts results into a module, of which PyTorch lets programs choose: new parameters
#: ("overwrite"), or the same ones and the same gradients with other contents ("swap").
CONVERSION: Final = {"overwrite": False, "swap": False}


def _converted(p: Parameter, fn: Callable[[Tensor], Tensor]) -> Parameter:
    """A parameter after ``fn``: itself, unless CONVERSION wants another one."""
    grad = p.grad
    if CONVERSION["overwrite"]:
        found = Parameter(fn(p.detach()), p.requires_grad)
        if grad is not None:
            found.grad = fn(grad.detach()).requires_grad_(grad.requires_grad)
        return found
    if CONVERSION["swap"] and grad is not None:
        p.grad = None
        grad.data = fn(grad.detach())
    p.data = fn(p.detach())
    if CONVERSION["swap"]:
        p.grad = grad
    elif grad is not None:
        p.grad = None
        p.grad = fn(grad.detach()).requires_grad_(grad.requires_grad)
    return p


class Moved:
    """The part of a module that changes where its tensors are and of which dtype, in place."""

    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]

    def children(self) -> Iterator[Any]:
        """The modules directly below, each once."""
        raise NotImplementedError

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Replace the memory of parameters and gradients, and the buffers, by what ``fn`` makes of them."""
        for child in self.children() if recurse else ():
            child._apply(fn)
        with no_grad():  # a lazy parameter is an empty tensor to this
            for name, p in self._parameters.items():
                if p is not None:
                    structure.put(self._parameters, name, _converted(p, fn))
            for name, b in self._buffers.items():
                if is_lazy(b):
                    b.data = fn(b.detach())
                elif b is not None:
                    structure.put(self._buffers, name, fn(b))
        return self

    def to(
        self, *args: DeviceLike | dt.DType | Tensor | bool, device: DeviceLike = None, dtype: dt.DType | None = None,
        non_blocking: bool = False, memory_format: MemoryFormat | None = None, **ignored: object,
    ) -> Self:  # fmt: skip
        """Move to a device, a dtype (parameters and buffers of floating point only), or those of a tensor; in place.

        ``memory_format`` is for tensors of as many axes as it takes, 4 for ``channels_last``.
        """
        where, kind = _destination(args, device, dtype)
        if kind is not None and kind.category < dt.FLOATING:
            raise TypeError(f"Module.to only accepts floating point or complex dtypes, got {kind}")

        def moved(t: Tensor) -> Tensor:
            wanted = kind if kind is not None and t.dtype.category >= dt.FLOATING else t.dtype
            if memory_format is not None and t.ndim in (4, 5):
                return t.to(where or t.device, wanted, non_blocking, memory_format=memory_format)
            return t.to(where or t.device, wanted, non_blocking)

        return self._apply(moved)

    def type(self, dst_type: dt.DType) -> Self:
        """Cast every parameter and buffer."""
        return self._apply(lambda t: t.to(dst_type))

    def _floats_to(self, wanted: dt.DType) -> Self:
        return self._apply(lambda t: t.to(wanted) if t.is_floating_point() else t)

    def float(self) -> Self:
        """Floating point parameters and buffers to float32."""
        return self._floats_to(dt.float32)

    def double(self) -> Self:
        """Floating point parameters and buffers to float64."""
        return self._floats_to(dt.float64)

    def half(self) -> Self:
        """Floating point parameters and buffers to float16."""
        return self._floats_to(dt.float16)

    def bfloat16(self) -> Self:
        """Floating point parameters and buffers to bfloat16."""
        return self._floats_to(dt.bfloat16)

    def cpu(self) -> Self:
        """Move to the host."""
        return self.to("cpu")

    def cuda(self, device: int | str | Device | None = None) -> Self:
        """Move to a device of this type."""
        return self._to_type("cuda", device)

    def xpu(self, device: int | str | Device | None = None) -> Self:
        """Move to a device of this type."""
        return self._to_type("xpu", device)

    def ipu(self, device: int | str | Device | None = None) -> Self:
        """Move to a device of this type."""
        return self._to_type("ipu", device)

    def mtia(self, device: int | str | Device | None = None) -> Self:
        """Move to a device of this type."""
        return self._to_type("mtia", device)

    def _to_type(self, kind: str, device: int | str | Device | None) -> Self:
        return self.to(Device(kind, device) if isinstance(device, int) else Device(device or kind))

    def to_empty(self, *, device: DeviceLike, recurse: bool = True) -> Self:
        """Undefined values on a device: for a module that was made on ``meta``."""
        return self._apply(lambda t: empty_like(t, device=device), recurse)

    def share_memory(self) -> Self:
        """Move parameters and buffers to memory that other processes can see; the module itself."""
        return self._apply(lambda t: t.share_memory_())

    def _replicate_for_data_parallel(self) -> Self:
        """A copy that shares everything but its dicts of parameters, buffers and children, which are copies."""
        made = self.__new__(type(self))
        made.__dict__ = self.__dict__.copy()
        for name in ("_parameters", "_buffers", "_modules"):
            made.__dict__[name] = self.__dict__[name].copy()
        return made


def _destination(
    args: tuple[object, ...], where: DeviceLike, kind: dt.DType | None
) -> tuple[Device | None, dt.DType | None]:
    """Device and dtype of the forms of ``to``: (device, dtype), (dtype), (tensor)."""
    for a in args:
        if isinstance(a, Tensor):
            where, kind = a.device, a.dtype
        elif isinstance(a, dt.DType):
            kind = a
        elif isinstance(a, (str, Device)):
            where = a
        elif a is not None and not isinstance(a, bool):
            raise TypeError(f"Module.to: expected a device, a dtype or a tensor, got {a!r}")
    return None if where is None else located(where), kind
