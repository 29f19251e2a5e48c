"""The Tensor: a backend's array, its dispatch key, its autograd link and its box.

Methods that are ops come from the records (:mod:`flambeau.core.methods` puts them here); what stands
in this file is what a tensor is: its attributes, conversions to Python and numpy, and its place in
the graph.
"""

from __future__ import annotations

import numbers
import operator
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, overload

import numpy as np

from flambeau.backends.base import Layout as StorageLayout
from flambeau.backends.layout import is_contiguous
from flambeau.core import dtype as dt
from flambeau.core import events, keys
from flambeau.core.arguments import normal_axis
from flambeau.core.box import Box, box_of, require_tracked
from flambeau.core.device import device
from flambeau.core.dtype import DType
from flambeau.core.errors import ConversionError, GradientError, not_a_tensor
from flambeau.core.graph import ITSELF, Handle, Keeper, Leaf, Node, View, add_hook, edge_of, hook_into, place_of
from flambeau.core.graph import shown as shown_node
from flambeau.core.keys import real_key
from flambeau.core.memory_format import (
    Layout,
    MemoryFormat,
    channels_last,
    channels_last_3d,
    check_format,
    contiguous_format,
    is_in_order,
    order_of,
    strided,
    suggested,
)  # fmt: skip
from flambeau.core.naming import shown
from flambeau.core.public import public
from flambeau.core.size import Size, size_of
from flambeau.core.state import current, get
from flambeau.core.tensor_methods import TensorMethods


class TensorType(type):
    """The class of Tensor and its subclasses: calling Tensor makes a whole tensor, where core needs a blank one."""

    #: ``Tensor(...)`` for users; it stands above, in :mod:`flambeau.core.creation`.
    construct: Callable[..., Tensor]
    #: The order in which a class's methods are looked up; it stands above, in :mod:`flambeau.core.overrides`.
    order: Callable[[type, list[type]], list[type]] | None = None

    def __call__(cls, *args: Any, **kw: Any) -> Any:  # Any: whatever the class's constructor takes, and its instance
        if cls is Tensor:
            return TensorType.construct(*args, **kw)
        if any("__new__" in vars(c) for c in cls.__mro__[:-1]):
            return super().__call__(*args, **kw)
        own = new_of(cls, *args, **kw)
        own.__init__(*args, **kw) if cls.__init__ is not object.__init__ else None  # type: ignore[misc]
        return own

    def mro(cls) -> list[type]:
        found = super().mro()
        return found if TensorType.order is None else TensorType.order(cls, found)


def new_of(cls: type, *args: Any, **kw: Any) -> Tensor:  # Any: what ``Tensor(...)`` takes
    """``Tensor(...)``, as a tensor of a subclass."""
    return in_class(TensorType.construct(*args, **kw), cls)


def in_class(t: Tensor, cls: type) -> Tensor:
    """Another object for what ``t`` is: its memory, its history, its class aside."""
    own: Tensor = object.__new__(cls)
    own._array, own._key, own._box, own._node = t._array, real_key(t._key), box_of(t), t._node
    return own


_NOT_NUMPYS = frozenset({dt.bfloat16, *dt.HELD})  # whose scalars are no numbers of Python


class _New:
    """``Tensor.__new__`` as subclasses call it, and as :data:`blank` must not find it: seen from the class alone."""

    def __get__(self, cls: Any, owner: type) -> Callable[..., Any]:
        if cls is None:
            return type.__new__
        return next((vars(c)["__new__"].__func__ for c in cls.__mro__[:-1] if "__new__" in vars(c)), new_of)

    def __set__(self, cls: Any, value: object) -> None:
        raise AttributeError("the __new__ of a class of tensors is stated in its body")


@shown()
class Tensor(TensorMethods["Tensor"], metaclass=TensorType):
    """A multi-dimensional array on a device that can record how it was computed.

    Make one with :func:`flambeau.tensor`, :func:`flambeau.zeros` and their relatives. Calling the class is PyTorch's
    old way: sizes give undefined values, a sequence gives its numbers, in the default dtype.

    >>> x = fb.tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([2., 4.])
    >>> fb.Tensor([1, 2]), fb.Tensor(2, 3).shape
    (tensor([1., 2.]), flambeau.Size([2, 3]))
    """

    __slots__ = ("__dict__", "__weakref__", "_array", "_box", "_grad", "_key", "_node")
    __array_priority__ = 1000  # what numpy meets on its right it hands to us
    __hash__ = object.__hash__
    _is_parameter: ClassVar[bool] = False
    _in_parts: ClassVar[bool] = False  # whether it is held as several tensors, as sparse ones are, not as an array

    _array: Any  # the backend's own, or a level's payload
    _key: keys.Key
    _node: Any  # None, Leaf, Node, Slot or View: told apart by `__class__ is`, which checkers do not follow
    _box: Box | None
    _grad: Tensor | None

    # -- what it is ------------------------------------------------------------------------------
    @property
    def shape(self) -> Size:
        """The sizes along each dimension."""
        return size_of(self._array.shape)

    @overload
    def size(self, dim: None = None) -> Size: ...
    @overload
    def size(self, dim: int) -> int: ...
    def size(self, dim: int | None = None) -> Size | int:
        """The shape, or one of its sizes.

        >>> fb.ones(2, 3).size(1)
        3
        """
        if dim is None:
            return size_of(self._array.shape)
        shape = self._array.shape
        try:
            found: object = shape[dim]
        except (IndexError, TypeError):
            found = None
        if isinstance(found, int):
            return found
        if isinstance(dim, int):
            raise IndexError(f"size: dim={dim} is out of range for a tensor with {len(shape)} dimension(s)")
        raise TypeError(f"size: argument 'dim' must be an int, got {dim!r} ({type(dim).__name__})")

    @property
    def dtype(self) -> DType:
        """The type of the elements."""
        return self._key.dtype

    @property
    def device(self) -> device:
        """Where the tensor lives."""
        return self._key.device

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self._array.shape)

    def dim(self) -> int:
        """The number of axes.

        >>> fb.ones(2, 3).dim()
        2
        """
        return len(self._array.shape)

    ndimension = dim

    def numel(self) -> int:
        """The number of elements."""
        return size_of(self._array.shape).numel()

    nelement = numel

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self._key.dtype.itemsize

    def element_size(self) -> int:
        """Bytes of one element.

        >>> fb.ones(2).element_size()
        4
        """
        return self._key.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements, those that share memory counted each."""
        return self.numel() * self._key.dtype.itemsize

    @property
    def is_cpu(self) -> bool:
        """Whether the device's memory is the host's."""
        return self._key.backend.has("shares_host")

    @property
    def layout_(self) -> StorageLayout:
        """Shape, strides and offset in elements of this view of the storage."""
        if self._key.level is not None:
            raise ConversionError("a tensor inside a transform has no memory layout of its own")
        return self._key.backend.layout(self._array)

    @overload
    def stride(self, dim: None = None) -> tuple[int, ...]: ...
    @overload
    def stride(self, dim: int) -> int: ...
    def stride(self, dim: int | None = None) -> tuple[int, ...] | int:
        """The steps between neighbours along each dimension, in elements.

        >>> fb.ones(2, 3).stride()
        (3, 1)
        """
        strides = tuple(self.layout_.strides)
        return strides if dim is None else strides[normal_axis(dim, len(strides))]

    def storage_offset(self) -> int:
        """The place of the first element in its memory, in elements.

        >>> fb.arange(3)[1:].storage_offset()
        1
        """
        return self.layout_.offset

    def is_contiguous(self, memory_format: MemoryFormat | None = None) -> bool:
        """Whether the elements stand in row-major order without gaps.

        >>> fb.ones(2, 3).T.is_contiguous()
        False
        """
        if memory_format is not None:
            check_format("is_contiguous", memory_format)
            if memory_format in (channels_last, channels_last_3d):
                order, lay = order_of("", memory_format, 4 + (memory_format is channels_last_3d)), self.layout_
                return order is not None and len(lay.shape) == len(order) and is_in_order(lay.shape, lay.strides, order)
        if self._key.level is not None:
            return True
        flags = getattr(self._array, "flags", None)
        if flags is not None:
            contiguous: bool = flags.c_contiguous
            return contiguous
        layout = self.layout_
        return is_contiguous(layout.shape, layout.strides)

    def dim_order(self, *, ambiguity_check: bool | list[MemoryFormat] = False) -> tuple[int, ...]:
        """The dimensions as they follow each other in memory, the slowest first.

        With ``ambiguity_check`` RuntimeError where sizes of 1 or equal strides leave it open.

        >>> fb.ones(2, 3, 4, 5).to(memory_format=fb.channels_last).dim_order()
        (0, 2, 3, 1)
        """
        lay = self.layout_
        order = tuple(sorted(range(len(lay.shape)), key=lambda i: -lay.strides[i]))
        if ambiguity_check:
            seen = [lay.strides[i] for i in order]
            if len(set(seen)) != len(seen) or any(lay.shape[i] == 1 for i in order):
                raise RuntimeError(f"dim_order: shape {tuple(lay.shape)} with strides {tuple(lay.strides)} has several")
        return order

    def _memory_format(self) -> MemoryFormat:
        """The format that results follow."""
        flags = getattr(self._array, "flags", None)
        if (
            len(self._array.shape) not in (4, 5)
            or flags is not None
            and flags.c_contiguous
            and 1 not in self._array.shape
        ):
            return contiguous_format
        if self._key.level is not None:
            return contiguous_format
        lay = self.layout_
        return suggested(lay.shape, lay.strides)

    @property
    def layout(self) -> Layout:
        """``flambeau.strided``, or the layout of a sparse tensor."""
        return strided

    @property
    def is_meta(self) -> bool:
        """Whether the tensor has a shape and no data."""
        return self._key.backend.has("no_data")

    def data_ptr(self) -> int:
        """The address of the first element; of memory that is not the host's, a number equal for aliases alone."""
        events.refuse("data_ptr() gives an address, and what is done with it is not seen")
        if self._key.level is None and self._key.backend.has("shares_host"):
            address: int = self._array.__array_interface__["data"][0]
            return address
        return self._key.backend.storage_id(self._array) + self.storage_offset() * self._key.stored.itemsize

    def is_floating_point(self) -> bool:
        """Whether the elements are real floating-point numbers."""
        return self._key.dtype.category == dt.FLOATING

    def is_complex(self) -> bool:
        """Whether the elements are complex numbers."""
        return self._key.dtype.category == dt.COMPLEX

    def is_signed(self) -> bool:
        """Whether the dtype has negative numbers."""
        return self._key.dtype.is_signed

    # -- autograd --------------------------------------------------------------------------------
    @property
    def requires_grad(self) -> bool:
        """Whether backward reaches this tensor."""
        link = self._node
        return link is not None and (link.__class__ is not View or link.resolve() is not None)

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Ask for (or give up) the gradient of a leaf; in place.

        >>> fb.ones(1).requires_grad_().requires_grad
        True
        """
        if requires_grad.__class__ is not bool:
            raise TypeError(f"requires_grad_: argument 'requires_grad' must be a bool, got {requires_grad!r}")
        events.touch(self)
        if requires_grad:
            require_tracked(self, "requires_grad_(): a gradient for", current().inference)
            if self._key.dtype.category < dt.FLOATING:
                raise GradientError(
                    f"only Tensors of floating point and complex dtype can require gradients, got {self.dtype}"
                )
            if edge_of(self) is None:
                self._node = Leaf(self)
        elif self._node.__class__ is Leaf or edge_of(self) is None:
            if self._node.__class__ is Leaf:
                self._node = None
        else:
            raise GradientError(
                "you can only change requires_grad flags of leaf variables; use detach() on a computed tensor"
            )
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether no op that autograd recorded made this tensor."""
        edge = edge_of(self)
        return edge is None or edge.__class__ is Leaf

    @property
    def grad_fn(self) -> Node | None:
        """The node that computes this tensor's gradient, None for leaves."""
        node = place_of(edge_of(self))[0]
        return shown_node(node) if isinstance(node, Node) else None

    @property
    def output_nr(self) -> int:
        """Which output of its op this tensor is."""
        return place_of(edge_of(self))[1]

    @property
    def grad(self) -> Tensor | None:
        """The gradient that backward accumulated here, or None."""
        state = get()
        if state is not None and state.recorder is not None:  # asked here, since optimizers ask for each parameter
            state.recorder.touch(self)
        try:
            return self._grad
        except AttributeError:
            return None

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            if not isinstance(value, Tensor):
                raise TypeError(f"grad must be a Tensor or None, got {type(value).__name__}")
            if value._array.shape != self._array.shape:
                raise GradientError(
                    f"assigned grad has shape {tuple(value.shape)}, but the tensor has {tuple(self.shape)}"
                )
            if value._key.dtype is not self._key.dtype:
                raise GradientError(f"assigned grad is {value.dtype}, but the tensor {self.dtype}; cast it with .to()")
            if value._key.device is not self._key.device:
                raise GradientError(f"assigned grad is on {value.device}, but the tensor on {self.device}")
            box_of(value)
        events.touch(self)
        self._grad = value

    @public(method=False)
    def detach(self) -> Tensor:
        """The same memory without history: of every transform around, and in forward mode without its tangent.

        >>> (fb.ones(1, requires_grad=True) * 2).detach().requires_grad
        False
        """
        t = blank()
        t._array, t._key, t._box, t._node = self._array, self._key, box_of(self), None
        if self._key.level is not None:
            t._array = self._key.level.detached(self._array)
        return t

    @public(method=False, function=True)
    def detach_(self) -> Tensor:
        """Forget the history, in place."""
        if not isinstance(self, Tensor):  # as a function it may get anything
            raise not_a_tensor("detach_", "input", self, "a tensor")
        if self._node.__class__ is View:
            raise GradientError("detach_: can't detach views in-place; use detach()")
        events.touch(self)
        self._node = None
        return self

    @property
    def data(self) -> Tensor:
        """The same memory without history, whose writes autograd does not see."""
        t = blank()
        t._array, t._key, t._box, t._node = self._array, self._key, None, None
        return t

    @data.setter
    def data(self, value: Tensor) -> None:
        if not isinstance(value, Tensor):
            raise TypeError(f"data must be a Tensor, got {type(value).__name__}")
        events.touch(self)
        leaf = self._node.__class__ is Leaf
        self._array, self._key, self._box = value._array, value._key, None
        if leaf:
            hooks, post = self._node.hooks, self._node.post_hooks
            self._node = Leaf(self)
            self._node.hooks, self._node.post_hooks = hooks, post

    @property
    def _version(self) -> int:
        return 0 if self._box is None else self._box.version

    def _is_view(self) -> bool:
        return self._node.__class__ is View and self._node.grad_mode != ITSELF

    @property
    def _base(self) -> Tensor | None:
        return self._node.base if self._is_view() else None

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> Handle:
        """Call ``hook(grad)`` when this tensor's gradient is complete; what it returns replaces it.

        >>> x = fb.ones(1, requires_grad=True)
        >>> handle = x.register_hook(lambda g: g * 10)
        >>> (x * 2).sum().backward()
        >>> x.grad
        tensor([20.])
        """
        edge = edge_of(self)
        if edge is None:
            raise GradientError("register_hook: cannot register a hook on a tensor that doesn't require gradient")
        return add_hook(edge, hook)

    def register_post_accumulate_grad_hook(self, hook: Callable[[Tensor], None]) -> Handle:
        """Call ``hook(tensor)`` after a gradient was added to this leaf.

        >>> x = fb.ones(1, requires_grad=True)
        >>> handle = x.register_post_accumulate_grad_hook(lambda t: print(t.grad))
        >>> x.sum().backward()
        tensor([1.])
        """
        if self._node.__class__ is not Leaf:
            raise GradientError("register_post_accumulate_grad_hook: only leaf tensors that require grad accumulate")
        if self._node.post_hooks is None:
            self._node.post_hooks = {}
        return hook_into(self._node, self._node.post_hooks, hook)

    def retain_grad(self) -> None:
        """Keep the gradient of a computed tensor in its ``grad`` too.

        >>> x = fb.ones(1, requires_grad=True)
        >>> y = x * 2
        >>> y.retain_grad()
        >>> y.sum().backward()
        >>> y.grad
        tensor([1.])
        """
        edge = edge_of(self)
        if edge is None:
            raise GradientError("retain_grad: can't retain_grad on a tensor that has requires_grad=False")
        if edge.__class__ is Leaf:
            return
        if not self.retains_grad:
            add_hook(edge, Keeper(self))

    @property
    def retains_grad(self) -> bool:
        """Whether :meth:`retain_grad` keeps the gradient of this computed tensor."""
        node = self.grad_fn
        return node is not None and any(f.__class__ is Keeper and f.tensor() is self for _, f in node.pre_hooks or ())

    # -- to Python and numpy ---------------------------------------------------------------------
    def _host(self) -> np.ndarray[Any, Any]:
        """The values as a numpy array (shared on the CPU); late errors of the device are raised here."""
        return self._readable().to_host(self._array)

    def _readable(self) -> keys.Key:
        """Its key, by which values are read; ConversionError inside transforms."""
        key = self._key
        if key.level is not None:
            raise ConversionError(
                f"a tensor inside {key.level.kind} has no single value to read: it stands for a whole batch or a "
                "tangent; compute with ops (where, masked ops) instead of .item(), bool() or numpy()"
            )
        return key

    def _shared(self, name: str) -> np.ndarray[Any, Any]:
        """The memory itself, on the host."""
        events.refuse(f"{name} shares the memory of a tensor, and what is done with it there is not seen")
        return self._readable().peek(self._array)

    def _number(self, array: Any) -> Any:  # Any: an array of the backend; a number of Python
        value = self._key.peek(array).reshape(())
        return float(value) if self._key.dtype in _NOT_NUMPYS else value.item()

    def item(self) -> Any:  # Any: which kind of number it is depends on the dtype
        """The one element as a Python number.

        >>> fb.tensor([2.5]).item()
        2.5
        """
        if self.numel() != 1:
            raise ConversionError(
                f"a Tensor with {self.numel()} elements (shape {tuple(self.shape)}) cannot be converted to Scalar"
            )
        key, state = self._readable(), get()
        if state is None or state.recorder is None:
            return self._number(self._array)
        return events.item(key, self._array, self._number)

    def tolist(self) -> Any:  # Any: how deep it nests depends on the shape
        """Nested lists of Python numbers.

        >>> fb.tensor([[1, 2]]).tolist()
        [[1, 2]]
        """
        host = self._host()
        return host.astype("float64").tolist() if self._key.dtype in _NOT_NUMPYS else host.tolist()

    def numpy(self, *, force: bool = False) -> np.ndarray[Any, Any]:
        """The values as a numpy array, sharing memory on the CPU; ``force`` detaches and copies to the host first.

        >>> fb.tensor([1, 2]).numpy()
        array([1, 2])
        """
        if force:
            on_host = self.detach().cpu()
            return on_host._shared("numpy()") if on_host._array is self._array else on_host._host()
        if self.requires_grad:
            raise ConversionError("can't call numpy() on a Tensor that requires grad; use tensor.detach().numpy()")
        if not self._key.backend.has("shares_host"):
            raise ConversionError(
                f"can't convert a {self.device} tensor to numpy; use tensor.cpu() to copy it to host memory first"
            )
        box_of(self)
        return self._shared("numpy()")

    def __array__(self, dtype: np.dtype[Any] | None = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        converts = dtype is not None and self._key.dtype.numpy != dtype
        if converts and copy is False:
            raise ValueError(f"__array__: copy=False, but {self.dtype} elements become {dtype} only in a copy")
        if (converts or copy) and events.recorder() is not None and not self.requires_grad:
            host = self._host()  # only read
        else:
            host = self.numpy()
        return host.astype(dtype) if converts else host.copy() if copy else host

    def __bool__(self) -> bool:
        if self.numel() != 1:
            raise ConversionError(
                f"Boolean value of Tensor with {self.numel()} values is ambiguous; use any() or all()"
            )
        return bool(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __index__(self) -> int:
        if self._key.dtype.category > dt.INTEGER or self.numel() != 1:
            raise ConversionError("only integer tensors of a single element can be converted to an index")
        return operator.index(self.item())

    def __len__(self) -> int:
        if not self._array.shape:
            raise TypeError("len() of a 0-d tensor")
        length: int = self._array.shape[0]
        return length

    def __iter__(self) -> Iterator[Tensor]:
        if not self._array.shape:
            raise TypeError("iteration over a 0-d tensor")
        return iter(self.unbind(0))

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, (Tensor, numbers.Number)):
            raise ConversionError(f"in: a tensor contains tensors and numbers, got {type(value).__name__}")
        found: object = self == value
        return isinstance(found, Tensor) and bool(found.any())

    def __reversed__(self) -> Tensor:
        return self.flip(0) if self._array.shape else self

    def __format__(self, spec: str) -> str:
        if not isinstance(spec, str):
            raise TypeError(f"format: a format must be a str, got {spec!r} ({type(spec).__name__})")
        if not self._array.shape and self._key.level is None and not self._key.backend.has("no_data"):
            return format(self.item(), spec)
        if spec:
            raise TypeError(f"unsupported format string {spec!r} for a tensor of shape {tuple(self.shape)}")
        return repr(self)

    def _same_kind(self, t: Tensor) -> Tensor:
        """``t`` as a tensor of this class with this requires_grad."""
        own = t if type(self) is Tensor else in_class(t, type(self))
        return Tensor.requires_grad_(own, self.requires_grad)

    def __copy__(self) -> Tensor:
        made = self._same_kind(self.detach())
        if self.__dict__:
            made.__dict__.update(self.__dict__)
        return made


TensorType.__new__ = _New()  # type: ignore[method-assign, assignment]

#: A tensor whose fields its maker sets, as quick as the call of a class that has no constructor.
blank: Callable[[], Tensor] = type.__call__.__get__(Tensor)
