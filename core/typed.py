"""FloatTensor, LongTensor and the other old names of a dtype's tensors: constructors that are no classes of tensors."""

from __future__ import annotations

from functools import cache
from typing import Any, Final, overload

from flambeau.core import creation
from flambeau.core import dtype as dt
from flambeau.core.device import DeviceLike, located
from flambeau.core.dtype import DType
from flambeau.core.from_data import tensor
from flambeau.core.memory_format import Layout, strided
from flambeau.core.naming import prefix, shown
from flambeau.core.ops.convert import TYPE_NAMES
from flambeau.core.public import public
from flambeau.core.size import Size
from flambeau.core.tensor import Tensor


class TensorTypeName(type):
    """The class of FloatTensor and its like: each makes tensors of its dtype, and knows them by ``isinstance``.

    >>> fb.FloatTensor([1, 2]), fb.LongTensor(2, 3).shape
    (tensor([1., 2.]), flambeau.Size([2, 3]))
    >>> isinstance(fb.ones(1), fb.FloatTensor), isinstance(fb.ones(1), fb.LongTensor)
    (True, False)
    """

    dtype: DType
    device_type: str | None  # None: the host
    is_cuda: bool
    is_sparse: bool
    layout: Layout

    def __call__(cls, *data: Any, device: DeviceLike = None, **others: object) -> Tensor:  # Any: sizes, or data
        if others:
            raise TypeError(f"{cls.__name__}: it takes sizes, a sequence or a tensor, and device; given {list(others)}")
        where = device if device is not None else cls.device_type or "cpu"
        return legacy(cls.__name__, data, cls.dtype, where)

    def __instancecheck__(cls, value: object) -> bool:
        if not isinstance(value, Tensor) or value.dtype is not cls.dtype:
            return False
        host = value._key.backend.has("shares_host")
        return host if cls.device_type is None else value.device.type == cls.device_type


def _named(dtype: DType, device_type: str | None) -> TensorTypeName:
    name = f"{TYPE_NAMES[dtype]}Tensor"
    facts = {"dtype": dtype, "device_type": device_type, "is_cuda": device_type == "cuda", "is_sparse": False,
             "layout": strided, "__doc__": f"Tensors of {dtype.name}, by their old name."}  # fmt: skip
    home = "" if device_type is None else f".{device_type}"
    made: TensorTypeName = shown(home=home, own=f"flambeau{home}")(TensorTypeName(name, (), facts))
    return made


def legacy(name: str, data: tuple[Any, ...], dtype: DType, device: DeviceLike) -> Tensor:
    """What the old constructors give: sizes make an empty tensor, a sequence its values, a tensor a view of itself."""
    if len(data) == 1 and isinstance(data[0], Tensor):
        given = data[0]
        if given.dtype is not dtype or given.device is not located(device):
            raise TypeError(
                f"{name}: expected a tensor of {dtype.name} on {located(device)}, got {given.dtype.name} on "
                f"{given.device}; use .to() to convert it"
            )
        return given.view(tuple(given.shape))
    if len(data) == 1 and not isinstance(data[0], (Size, int)):
        if not hasattr(data[0], "__len__"):
            raise TypeError(f"{name}: data must be a sequence, got {type(data[0]).__name__}")
        return _cast(data[0], dtype, device)
    sizes = data[0] if len(data) == 1 and isinstance(data[0], Size) else data
    if not all(isinstance(n, int) and not isinstance(n, bool) for n in sizes):
        kinds = ", ".join(type(v).__name__ for v in data)
        raise TypeError(f"{name}: expected sizes, a sequence or a tensor, got {kinds}")
    return creation.empty(tuple(sizes) or (0,), dtype=dtype, device=device)


def _cast(values: Any, dtype: DType, device: DeviceLike) -> Tensor:
    """The values in a dtype: the fraction of what is to be an integer falls off."""
    found = tensor(values, device="cpu")
    return found.to(dtype).to(device) if found.dtype is not dtype else found.to(device)


#: FloatTensor, LongTensor, ... by name.
NAMES: Final = {f"{name}Tensor": _named(dtype, None) for dtype, name in TYPE_NAMES.items()}
globals().update(NAMES)


@cache
def tensor_types(device_type: str) -> dict[str, TensorTypeName]:
    """The same for another device: the module of a device type has them as its names.

    >>> tensor_types("strict")["FloatTensor"]([1, 2]).device
    device(type='strict', index=0)
    """
    return {f"{name}Tensor": _named(dtype, device_type) for dtype, name in TYPE_NAMES.items()}


@public(function=False)
def new(self: Tensor, *data: Any, device: DeviceLike = None) -> Tensor:  # Any: sizes, or data of any kind
    """``Tensor(...)`` with this tensor's dtype and device: the old way of ``new_empty`` and ``new_tensor``.

    >>> fb.tensor([1]).new([1.5, 2]), fb.ones(1).new(2, 3).shape
    (tensor([1, 2]), flambeau.Size([2, 3]))
    """
    return legacy("new", data, self.dtype, self.device if device is None else device)


def named(t: object) -> DType | None:
    """The dtype that ``"flambeau.FloatTensor"``, by either spelling, or ``FloatTensor`` stands for; None for others."""
    if isinstance(t, TensorTypeName):
        return t.dtype
    if not isinstance(t, str):
        return None
    home, _, name = t.rpartition(".")
    found = NAMES.get(name)
    return found.dtype if found is not None and home in ("flambeau", "torch") else None


@public(method=False)
def set_default_tensor_type(t: object) -> None:
    """Set the default dtype by the name of its tensors, ``FloatTensor`` or ``"flambeau.FloatTensor"``.

    >>> fb.set_default_tensor_type(fb.FloatTensor)
    >>> fb.ones(1).dtype
    flambeau.float32
    """
    chosen = named(t)
    if chosen is None:
        raise TypeError(f"set_default_tensor_type: expected the type of tensors or its name, got {t!r}")
    dt.set_default_dtype(chosen)


@overload
def type_(self: Tensor, dtype: None = None, non_blocking: bool = False) -> str: ...
@overload
def type_(self: Tensor, dtype: Any, non_blocking: bool = False) -> Tensor: ...
@public("type", function=False)
def type_(  # Any: a dtype, or the type of tensors by name
    self: Tensor, dtype: Any = None, non_blocking: bool = False
) -> str | Tensor:
    """The name of the tensor's type, as ``"flambeau.FloatTensor"``; with ``dtype`` or such a name, the tensor in it.

    >>> fb.ones(1).type(), fb.ones(1).type("torch.LongTensor"), fb.ones(1).type(fb.int8).dtype
    ('flambeau.FloatTensor', tensor([1]), flambeau.int8)
    """
    if dtype is None:
        where = "" if self._key.backend.has("shares_host") else f".{self.device.type}"
        return f"{prefix()}{where}.{TYPE_NAMES[self.dtype]}Tensor"
    chosen = named(dtype)
    if chosen is None:
        if isinstance(dtype, str) and dtype.endswith("Tensor"):
            raise ValueError(f"type: invalid type {dtype!r}; expected a name such as 'flambeau.FloatTensor'")
        chosen = dt.as_dtype(dtype)
    where_ = dtype.device_type if isinstance(dtype, TensorTypeName) else None
    return self.to(chosen) if where_ is None else self.to(where_, chosen)
