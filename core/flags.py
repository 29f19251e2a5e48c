"""What old and new programs ask of a tensor beside its shape: on which hardware it is, how it is held."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NoReturn

from flambeau.core import dispatch
from flambeau.core import dtype as dt
from flambeau.core.device import DeviceLike
from flambeau.core.dtype import DType, Number
from flambeau.core.errors import ConversionError
from flambeau.core.memory_format import MemoryFormat
from flambeau.core.public import public
from flambeau.core.sharing import segment_of
from flambeau.core.streams import Stream
from flambeau.core.tensor import Tensor

#: Device types that have a question of their own, ``x.is_cuda``: PyTorch's list.
_DEVICES: Final = ("cuda", "ipu", "maia", "mps", "mtia", "vulkan", "xla", "xpu")
#: Those that have a method, ``x.cuda()``.
_MOVING: Final = ("cuda", "mtia", "xpu")
#: Ways of holding elements that plain tensors have not: classes that hold them so answer True.
_HELD: Final = {
    "is_sparse": "as indices and values", "is_sparse_csr": "as compressed rows", "is_quantized": "as quantized numbers",
    "is_nested": "as tensors of several shapes", "is_mkldnn": "in a layout of oneDNN",
}  # fmt: skip


def _on(kind: str) -> Callable[[Tensor], bool]:
    def on(self: Tensor) -> bool:
        return self._key.device.type == kind

    on.__name__, on.__doc__ = f"is_{kind}", f"Whether the tensor is on a device of the type ``{kind}``."
    return on


def _held(name: str, how: str) -> Callable[[Tensor], bool]:
    def held(self: Tensor) -> bool:
        return False

    held.__name__, held.__doc__ = name, f"Whether the elements are held {how}."
    return held


def _mover(kind: str) -> Callable[..., Tensor]:
    def move(
        self: Tensor, device: DeviceLike = None, non_blocking: bool = False, memory_format: MemoryFormat | None = None
    ) -> Tensor:
        where = kind if device is None else f"{kind}:{device}" if isinstance(device, int) else device
        found = self.to(where, non_blocking=non_blocking)
        return found if memory_format is None else found.to(memory_format=memory_format)

    move.__name__ = move.__qualname__ = kind
    move.__doc__ = f"The tensor on a device of the type ``{kind}``, where one is there or it is an alias of another."
    return move


for _kind in _MOVING:
    public(function=False, guard="function")(_mover(_kind))
for _kind in _DEVICES:
    public(property=True, guard="function")(_on(_kind))
for _name, _how in _HELD.items():
    public(property=True, guard="function")(_held(_name, _how))


@public("name", property=True, guard="function")
def _tensor_name(self: Tensor) -> None:
    """None: tensors have no names."""


@public(property=True, guard="function")
def volatile(self: Tensor) -> bool:
    """False: what it asked for long ago is :class:`flambeau.no_grad` now."""
    return False


@public(property=True, guard="function")
def grad_dtype(self: Tensor) -> DType:
    """The dtype of the gradient: the tensor's."""
    return self._key.dtype


@public("_grad_fn", property=True, guard="function")
def _grad_fn(self: Tensor) -> Any:  # Any: a node of the graph, or None
    return self.grad_fn


@public("_cdata", property=True, guard="function")
def _cdata(self: Tensor) -> int:
    return id(self._array)


@public(function=False)
def reinforce(self: Tensor, reward: object) -> NoReturn:
    """Gone, as in PyTorch: RuntimeError says what stands in its place."""
    raise RuntimeError("reinforce: it is gone; use flambeau.distributions, and -log_prob(action) * reward as the loss")


@public(function=False)
def const_data_ptr(self: Tensor) -> int:
    """:meth:`data_ptr`, by who only reads."""
    return self.data_ptr()


@public(function=False)
def record_stream(self: Tensor, s: Stream) -> None:
    """Say that a stream uses the memory: it is not given to others before that is done.

    Backends keep memory until what was enqueued with it has run, so that nothing is left to be noted.

    >>> fb.ones(1).record_stream(fb.accelerator.current_stream())
    """
    if not isinstance(s, Stream):
        raise ConversionError(f"record_stream: argument 's' must be a stream, got {s!r} ({type(s).__name__})")


@public(function=False)
def map2_(self: Tensor, x: Tensor, y: Tensor, callable: Callable[..., Number]) -> Tensor:
    """Replace every element by ``callable(element, that of x, that of y)``, one by one in Python, in place.

    >>> fb.tensor([1.0, 2.0]).map2_(fb.ones(2), fb.ones(2), lambda a, b, c: a + b + c)
    tensor([3., 4.])
    """
    shape = tuple(self._array.shape)
    columns = [t.detach().expand(shape).reshape((self.numel(),)).tolist() for t in (self, x, y)]
    made = [callable(*values) for values in zip(*columns, strict=True)]
    return self.copy_(self.new_tensor(made).reshape(shape))


@public(function=False)
def resize(self: Tensor, *sizes: Any) -> Tensor:  # Any: sizes, or a sequence of them
    """The tensor in another shape of as many elements, sharing memory where it can: the old name of ``reshape``.

    >>> fb.ones(4).resize(2, 2).shape
    flambeau.Size([2, 2])
    """
    return self.reshape(*sizes)


@public(function=False)
def resize_as(self: Tensor, tensor: Tensor) -> Tensor:
    """:meth:`resize` to the shape of ``tensor``.

    >>> fb.ones(4).resize_as(fb.ones(2, 2)).shape
    flambeau.Size([2, 2])
    """
    return self.reshape(tuple(tensor.shape))


@public(function=False)
def module_load(self: Tensor, other: Tensor, assign: bool = False) -> Tensor:
    """What ``load_state_dict`` puts in this tensor's place under ``set_swap_module_params_on_conversion``.

    >>> fb.zeros(2).module_load(fb.ones(2))
    tensor([1., 1.])
    """
    if assign:
        return other.detach()
    return self.detach().copy_(other.detach()).detach()


@public(function=False)
def is_shared(self: Tensor) -> bool:
    """Whether other processes can see the memory: it lies in a shared segment, or on a device.

    >>> fb.ones(2, device="cpu").is_shared(), fb.ones(2, device="cpu").share_memory_().is_shared()
    (False, True)
    """
    return segment_of(self) is not None or not self._key.backend.has("shares_host")


@public("__array_wrap__", function=False)
def array_wrap(self: Tensor, array: Any, context: Any = None, return_scalar: bool = False) -> Tensor:  # Any: numpy's
    """What numpy's functions make of a tensor's values, as a tensor again."""
    if array.dtype == bool:  # as PyTorch, which had no bools once
        array = array.astype("uint8")
    made: Tensor = dispatch.from_host(array, dt.from_numpy(array.dtype), self.device)
    return made


@public("__cuda_array_interface__", property=True, guard="function")
def cuda_array_interface(self: Tensor) -> NoReturn:
    """AttributeError: memory is shared by DLPack."""
    raise AttributeError("__cuda_array_interface__: not here; share memory by __dlpack__")
