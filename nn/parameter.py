"""Parameters: tensors that a Module registers when they become its attributes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, SupportsIndex, TypeGuard

from flambeau.core.box import box_of
from flambeau.core.copying import state_of, with_state
from flambeau.core.creation import empty
from flambeau.core.device import DeviceLike
from flambeau.core.dtype import DType
from flambeau.core.keys import real_key
from flambeau.core.overrides import disabled_torch_function, overrides
from flambeau.core.size import Size
from flambeau.core.tensor import Tensor, TensorType


class ParameterType(TensorType):
    """The class of :class:`Parameter`, of which tensors of other classes can be instances too."""

    def __instancecheck__(cls, value: object) -> bool:
        if super().__instancecheck__(value):
            return True
        return cls is Parameter and isinstance(value, Tensor) and getattr(value, "_is_param", False)


class Parameter(Tensor, metaclass=ParameterType):
    """A leaf tensor that belongs to a :class:`~flambeau.nn.Module`; it wants a gradient unless told otherwise.

    Shares memory with ``data``, whose history it does not take over.

    >>> fb.nn.Parameter(fb.zeros(2))
    Parameter containing:
    tensor([0., 0.], requires_grad=True)
    """

    __slots__ = ()
    _is_parameter: ClassVar[bool] = True
    __torch_function__ = staticmethod(disabled_torch_function)

    def __new__(cls, data: Tensor | None = None, requires_grad: bool = True) -> Parameter:
        if data is None:
            data = empty(0)
        if not isinstance(data, Tensor):
            raise TypeError(
                f"Parameter: data must be a Tensor, got {type(data).__name__}; make one with flambeau.tensor(...)"
            )
        if overrides(type(data)):
            own: Parameter = _own_class(data, requires_grad)
            return own
        made: Parameter = object.__new__(cls)
        made._array, made._key, made._box, made._node = data._array, real_key(data._key), box_of(data), None
        made.requires_grad_(requires_grad)
        return made

    def __init__(self, data: Tensor | None = None, requires_grad: bool = True):
        """``__new__`` has done it all."""

    @property
    def _is_param(self) -> bool:
        return True

    def _same_kind(self, t: Tensor) -> Tensor:
        return type(self)(t, self.requires_grad)

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Callable[..., Tensor], tuple[Any, ...]]:
        if not self.__dict__:
            return type(self), (self.detach(), self.requires_grad)
        return with_state, (type(self), (self.detach(), self.requires_grad), type(self), state_of(self))


def _own_class(data: Tensor, requires_grad: bool) -> Any:
    """A parameter of a class that overrides functions: it stays of that class."""
    made = data.detach().requires_grad_(requires_grad)
    if type(made) is not type(data):
        raise RuntimeError(
            f"Parameter: detach() of a {type(data).__name__} gave a {type(made).__name__}; it must keep its class"
        )
    made._is_param = True  # type: ignore[attr-defined]
    return made


class Buffer(Tensor):
    """A tensor that a Module registers as a buffer when it becomes its attribute.

    >>> module = fb.nn.Module()
    >>> module.mean = fb.nn.Buffer(fb.zeros(2))
    >>> [name for name, _ in module.named_buffers()]
    ['mean']
    """

    __slots__ = ()
    persistent: ClassVar[bool] = True
    __torch_function__ = staticmethod(disabled_torch_function)

    def __new__(cls, data: Tensor | None = None, *, persistent: bool = True) -> Buffer:
        if data is None:
            data = empty(0)
        if not isinstance(data, Tensor):
            raise TypeError(f"Buffer: data must be a Tensor, got {type(data).__name__}")
        made: Buffer = object.__new__(cls if persistent else _PassingBuffer)
        made._array, made._key, made._box, made._node = data._array, real_key(data._key), box_of(data), None
        return made

    def __init__(self, data: Tensor | None = None, *, persistent: bool = True):
        """``__new__`` has done it all."""

    def _same_kind(self, t: Tensor) -> Tensor:
        return Buffer(t, persistent=self.persistent)

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Callable[..., Tensor], tuple[Any, ...]]:
        return _buffer, (self.detach(), self.persistent)


class _PassingBuffer(Buffer):
    """A buffer that state_dict leaves out."""

    __slots__ = ()
    persistent: ClassVar[bool] = False


def _buffer(data: Tensor, persistent: bool) -> Buffer:
    return Buffer(data, persistent=persistent)


def is_lazy(param: object) -> TypeGuard[UninitializedTensorMixin]:
    """Whether a parameter or buffer still waits for its shape."""
    return isinstance(param, UninitializedTensorMixin)


class UninitializedTensorMixin(Tensor):
    """A tensor of a lazy module, whose shape is known at the first call: it has a dtype and a device so far."""

    __slots__ = ()
    __torch_function__ = staticmethod(disabled_torch_function)
    cls_to_become: ClassVar[type[Tensor]]

    def materialize(self, shape: int | Sequence[int], device: DeviceLike = None, dtype: DType | None = None) -> None:
        """Become an ordinary parameter or buffer of ``shape``, its values undefined."""
        wants = self.requires_grad
        sizes = (shape,) if isinstance(shape, int) else tuple(shape)
        self.data = empty(*sizes, device=device or self.device, dtype=dtype or self.dtype)
        self.__class__ = self.cls_to_become  # type: ignore[assignment]
        self.requires_grad_(wants)

    @property
    def shape(self) -> Size:
        """There is none yet: RuntimeError."""
        raise RuntimeError(
            "Can't access the shape of an uninitialized parameter or buffer: call the module's forward once, or load "
            "its state, and it gets one"
        )

    def __repr__(self, **ignored: object) -> str:
        return f"<{type(self).__name__}>"


class UninitializedParameter(UninitializedTensorMixin, Parameter):
    """A parameter of a lazy module: its shape is known at the first call.

    >>> fb.nn.LazyLinear(2).weight
    <UninitializedParameter>
    """

    __slots__ = ()
    cls_to_become = Parameter

    def __new__(
        cls, requires_grad: bool = True, device: DeviceLike = None, dtype: DType | None = None
    ) -> UninitializedParameter:
        made = Parameter.__new__(cls, empty(0, device=device, dtype=dtype), requires_grad)
        assert isinstance(made, UninitializedParameter)
        return made

    def __init__(self, requires_grad: bool = True, device: DeviceLike = None, dtype: DType | None = None):
        """``__new__`` has done it all."""

    def _same_kind(self, t: Tensor) -> Tensor:
        return type(self)(self.requires_grad, t.device, t.dtype)

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Callable[..., Tensor], tuple[Any, ...]]:
        return type(self), (self.requires_grad, self.device, self.dtype)


class UninitializedBuffer(UninitializedTensorMixin):
    """A buffer of a lazy module: its shape is known at the first call.

    >>> fb.nn.LazyBatchNorm1d().running_mean
    <UninitializedBuffer>
    """

    __slots__ = ()
    cls_to_become = Tensor

    def __new__(
        cls, requires_grad: bool = False, device: DeviceLike = None, dtype: DType | None = None,
        persistent: bool = True,
    ) -> UninitializedBuffer:  # fmt: skip
        data = empty(0, device=device, dtype=dtype)
        made: UninitializedBuffer = object.__new__(cls)
        made._array, made._key, made._box, made._node = data._array, real_key(data._key), box_of(data), None
        return made

    def __init__(
        self, requires_grad: bool = False, device: DeviceLike = None, dtype: DType | None = None,
        persistent: bool = True,
    ):  # fmt: skip
        """``__new__`` has done it all."""

    def _same_kind(self, t: Tensor) -> Tensor:
        return type(self)(device=t.device, dtype=t.dtype)

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Callable[..., Tensor], tuple[Any, ...]]:
        return type(self), (False, self.device, self.dtype)


def factory_kwargs(kwargs: dict[str, Any] | None) -> dict[str, Any]:
    """What of ``kwargs`` goes to functions such as ``empty``: device, dtype, memory_format; TypeError for others.

    A value under "factory_kwargs" is a dict of more of them.

    >>> fb.nn.factory_kwargs({"dtype": fb.float64})
    {'dtype': flambeau.float64}
    """
    if kwargs is not None and not isinstance(kwargs, dict):
        raise TypeError(f"factory_kwargs: argument 'kwargs' must be a dict or None, got {kwargs!r}")
    given = dict(kwargs or {})
    inner: dict[str, Any] = given.pop("factory_kwargs", {})
    both = given.keys() & inner.keys()
    if both:
        raise TypeError(f"factory_kwargs: {', '.join(sorted(both))} given twice, in factory_kwargs and beside it")
    found = inner | given
    unknown = found.keys() - {"device", "dtype", "memory_format"}
    if unknown:
        raise TypeError(f"factory_kwargs: unexpected {', '.join(sorted(map(str, unknown)))}")
    return found
