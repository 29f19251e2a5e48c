"""The storages of tensors, and the old classes of storages of one dtype: FloatStorage and its like."""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from functools import cache
from typing import Any, ClassVar, Final

from flambeau.core import dtype as dt
from flambeau.core import events
from flambeau.core.device import DeviceLike
from flambeau.core.dtype import DType
from flambeau.core.errors import ShapeError
from flambeau.core.naming import shown
from flambeau.core.ops.convert import TYPE_NAMES
from flambeau.core.ops.inplace_views import set_tensor
from flambeau.core.public import public
from flambeau.core.storages import OLD_NAMES, TypedStorage, UntypedStorage, _known, _Storage, _whole
from flambeau.core.tensor import Tensor


def _casts() -> None:
    """``storage.float()`` and its like, which copy into another dtype."""
    names = {"ComplexFloat": "complex_float", "ComplexDouble": "complex_double"}
    float8 = {d: d.name for d in (dt.float8_e4m3fn, dt.float8_e4m3fnuz, dt.float8_e5m2, dt.float8_e5m2fnuz)}
    for dtype, name in {**TYPE_NAMES, **float8}.items():
        method = names.get(name, name.lower())

        def untyped(self: UntypedStorage, _dtype: DType = dtype) -> TypedStorage:
            return self._as(_dtype)

        def typed(self: TypedStorage, _dtype: DType = dtype) -> TypedStorage:
            return self._to(_dtype)

        for cls, fn in ((UntypedStorage, untyped), (TypedStorage, typed)):
            fn.__name__, fn.__doc__ = method, f"A storage of {dtype.name} with these elements."
            fn.__qualname__ = f"{cls.__name__}.{method}"
            setattr(cls, method, fn)


_casts()


#: Types of devices whose modules have classes of their own, as in torch.
_OWNING: Final = ("cuda",)


class _LegacyType(type):
    """The class of FloatStorage and its like, whose instances are storages by their dtype and device."""

    def __instancecheck__(cls, value: object) -> bool:
        facts = vars(cls)
        if "dtype" not in facts or not isinstance(value, TypedStorage) or value.dtype is not facts["dtype"]:
            return False
        where, own = value.device.type, facts["device_type"]
        return where not in _OWNING if own is None else bool(where == own)


class _Legacy(TypedStorage, metaclass=_LegacyType):
    """FloatStorage and its like: calling one makes a :class:`TypedStorage` of its dtype."""

    dtype: ClassVar[DType]
    device_type: ClassVar[str | None] = None

    def __new__(cls, *args: Any, device: DeviceLike = None, **kwargs: Any) -> Any:  # Any: what TypedStorage takes
        return TypedStorage(*args, dtype=cls.dtype, device=cls.device_type if device is None else device, **kwargs)


def _legacy(name: str, dtype: DType, device_type: str | None = None) -> type[TypedStorage]:
    about = {"dtype": dtype, "device_type": device_type, "__doc__": f"The old name of a storage of {dtype.name}."}
    made = type(name, (_Legacy,), about)
    found: type[TypedStorage] = shown(home=f".{device_type}" if device_type else "")(made)
    return found


#: FloatStorage, LongStorage, ... by name.
LEGACY = {f"{name}Storage": _legacy(f"{name}Storage", dtype) for dtype, name in OLD_NAMES.items()}
globals().update(LEGACY)


@cache
def storage_types(device_type: str) -> dict[str, type[TypedStorage]]:
    """The same for another device: the module of a device type has them as its names; ValueError for one without.

    >>> storage_types("cuda")["FloatStorage"].dtype
    flambeau.float32
    """
    if device_type not in _OWNING:
        raise ValueError(f"storage_types: no classes are of {device_type!r} alone; {', '.join(_OWNING)} has some")
    named = {f"{name}Storage": dtype for dtype, name in TYPE_NAMES.items() if not name.startswith("UInt")}
    return {name: _legacy(name, dtype, device_type) for name, dtype in named.items()}


# -- of tensors --------------------------------------------------------------------------------------
@public(function=False, guard=False)
def untyped_storage(self: Tensor) -> Any:  # Any: an UntypedStorage, of which the stub of Tensor cannot know
    """All of the memory that the tensor is in, as bytes.

    >>> fb.arange(3)[1:].untyped_storage().nbytes()
    24
    """
    events.refuse("untyped_storage() gives the memory of a tensor, whose size and place may be changed there")
    flat = _whole(self, dt.uint8)
    place = flat.device, flat._key.backend.storage_id(flat._array)
    found = _known.get(place)
    if found is None:
        found = _known[place] = UntypedStorage._of(flat)
    found._tensors = [r for r in found._tensors if (t := r()) is not None and t is not self] + [weakref.ref(self)]
    return found


@public(aliases=("_typed_storage",), function=False, guard=False)
def storage(self: Tensor) -> Any:  # Any: a TypedStorage, as above
    """All of the memory that the tensor is in, as elements of its dtype.

    >>> fb.arange(3)[1:].storage().tolist()
    [0, 1, 2]
    """
    return TypedStorage(wrap_storage=untyped_storage(self), dtype=self.dtype)


@public(function=False, guard=False)
def storage_type(self: Tensor) -> Any:  # Any: the class, as above
    """The old class of a storage of the tensor's dtype.

    >>> fb.ones(1).storage_type().__name__
    'FloatStorage'
    """
    return LEGACY[f"{TYPE_NAMES[self.dtype]}Storage"]


@public(method=False)
def is_storage(obj: object) -> bool:
    """Whether an object is a storage.

    >>> fb.is_storage(fb.ones(1).storage())
    True
    """
    return isinstance(obj, _Storage)


@public()
def set_(
    self: Tensor, source: Any = None, storage_offset: int = 0,
    size: int | Sequence[int] | None = None, stride: int | Sequence[int] | None = None,
) -> Tensor:  # Any: a tensor, or a storage of either kind  # fmt: skip
    """Share the memory of ``source``: of a tensor with its shape and strides, of a storage those that are given.

    Without a ``source`` become empty. A tensor must have the same dtype; ShapeError for what leaves the storage.

    >>> x = fb.arange(4.0)
    >>> fb.empty(0).set_(x.storage(), 1, (2,), (2,))
    tensor([1., 3.])
    """
    if isinstance(source, _Storage):
        bytes_ = source._untyped_storage if isinstance(source, TypedStorage) else source
        whole = bytes_._flat[: len(bytes_) // self.itemsize * self.itemsize].view(self.dtype)
        source = _laid_out(whole, storage_offset, size, stride)
    elif source is not None and size is not None:
        source = _laid_out(_whole(source, source.dtype), storage_offset, size, stride)
    return set_tensor(self, source)


def _laid_out(whole: Tensor, offset: int, size: Any, stride: Any) -> Tensor:
    shape = (whole.numel() - offset,) if size is None else (size,) if isinstance(size, int) else tuple(size)
    if stride is None:
        steps = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    else:
        steps = [stride] if isinstance(stride, int) else list(stride)
    last = offset + sum((n - 1) * s for n, s in zip(shape, steps, strict=True))
    if 0 not in shape and last >= whole.numel():
        raise ShapeError(
            f"set_: shape {shape} with strides {tuple(steps)} from element {offset} on ends at element {last}, "
            f"beyond the {whole.numel()} of the storage; resize_ it first"
        )
    return whole.as_strided(shape, tuple(steps), offset)


@public(function=False)
def is_set_to(self: Tensor, tensor: Tensor) -> bool:
    """Whether two tensors are the same view of the same memory.

    >>> x = fb.ones(2)
    >>> x.is_set_to(x[:]), x.is_set_to(x.clone())
    (True, False)
    """
    if self._key.backend is not tensor._key.backend or self.dtype is not tensor.dtype:
        return False
    backend = self._key.backend
    if backend.storage_id(self._array) != backend.storage_id(tensor._array):
        return False
    a, b = self.layout_, tensor.layout_
    return (a.offset, tuple(a.shape), tuple(a.strides)) == (b.offset, tuple(b.shape), tuple(b.strides))
