"""Conversions: ``to`` in all of its call forms, dtype by name, another device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, overload

import numpy as np

from flambeau.core import creation
from flambeau.core import dtype as dt
from flambeau.core.device import DeviceLike, located
from flambeau.core.device import device as Device
from flambeau.core.dispatch import compute_dtype
from flambeau.core.dtype import DType, DTypeLike, Number, as_dtype
from flambeau.core.errors import ConversionError
from flambeau.core.keys import Key
from flambeau.core.memory_format import MemoryFormat, check_format, preserve_format
from flambeau.core.ops import storage
from flambeau.core.ops.joining import in_format
from flambeau.core.public import public
from flambeau.core.record import OPS
from flambeau.core.registry import resolve
from flambeau.core.stored import out_of_range
from flambeau.core.tensor import Tensor
from flambeau.core.transfer import without_waiting

_PYTHON_TYPES: Final = (float, int, bool, complex)


def convert(x: Tensor, where: Device | None, dtype: DType | None, copy: bool = False) -> Tensor:
    """``x`` on a device and in a dtype (None: as it is); itself when both are right already, unless ``copy``."""
    out = x
    where = where or x.device
    dtype = dtype or x.dtype
    if where is not x.device:
        # Cast first what becomes smaller, or what the other device could not hold.
        if dtype is not x.dtype and (
            dtype.itemsize <= x.dtype.itemsize or not resolve(where).offers(x.dtype, where.number)
        ):
            out = _cast(out, dtype)
        out = storage.to_device_p(out, where)
    if dtype is not out.dtype:
        out = _cast(out, dtype)
    if copy and out is x:
        out = storage.clone_p(x, "K")
    return out


def _cast(x: Tensor, dtype: DType) -> Tensor:
    if dtype is dt.int64 and x._key.index.stored is not dtype:
        _check_range(x, x._key.index)
    return storage.cast_p(x, dtype)


def _fits(source: DType, goal: DType) -> bool:
    """Whether every value of a dtype is one of the integer dtype ``goal``."""
    if source.category != dt.INTEGER:
        return source.category == dt.BOOL
    return dt.iinfo(source).max <= dt.iinfo(goal).max and dt.iinfo(source).min >= dt.iinfo(goal).min


def _check_range(x: Tensor, goal: Key) -> None:
    """DTypeError where a value is beyond what the device holds integers in; it waits for the device."""
    if _fits(x._key.stored, goal.stored) or goal.level is not None or not x.numel() or x.is_complex():
        return
    limits, host = dt.iinfo(goal.stored), x._key.peek(x._array).astype(np.float64)
    beyond = host[(host >= limits.max + 1) | (host <= limits.min - 1)]
    if beyond.size:
        raise out_of_range(beyond.flat[0].item(), goal.dtype, goal.stored, goal.device)


@overload
def to(
    self: Tensor, dtype: DTypeLike, non_blocking: bool = False, copy: bool = False, *,
    memory_format: MemoryFormat | None = None,
) -> Tensor: ...  # fmt: skip
@overload
def to(
    self: Tensor, device: DeviceLike = None, dtype: DTypeLike | None = None, non_blocking: bool = False,
    copy: bool = False, *, memory_format: MemoryFormat | None = None,
) -> Tensor: ...  # fmt: skip
@overload
def to(
    self: Tensor, other: Tensor, non_blocking: bool = False, copy: bool = False, *,
    memory_format: MemoryFormat | None = None,
) -> Tensor: ...  # fmt: skip
@public(function=False, guard="function")
def to(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:  # Any: as the forms above say
    """The tensor in another dtype, on another device, or like another tensor; itself when nothing changes.

    ``x.to(dtype)``, ``x.to(device, dtype=None)``, ``x.to(other)``, each also with ``non_blocking`` and ``copy``.
    A copy from pinned memory to a device does not wait with ``non_blocking``; the memory stays until it is done.

    >>> fb.tensor([1.7]).to(fb.int64)
    tensor([1])
    """
    where, dtype, copy = parse_to("to", args, kwargs)
    if next((a for a in args if isinstance(a, bool)), kwargs.get("non_blocking", False)):
        with without_waiting():
            found = convert(self, where, dtype, copy)
    else:
        found = convert(self, where, dtype, copy)
    return in_format("to", found, kwargs["memory_format"]) if "memory_format" in kwargs else found


def parse_to(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Device | None, DType | None, bool]:
    """(device, dtype, copy) from the arguments of a call of ``to``; TypeError says what does not fit."""
    rest, known = list(args), dict(kwargs)
    where, dtype = known.pop("device", None), known.pop("dtype", None)
    other = known.pop("other", None)
    if rest and isinstance(rest[0], Tensor):
        other = rest.pop(0)
    elif rest and _names_device(rest[0]):
        where = rest.pop(0)
        if rest and (rest[0] is None or _names_dtype(rest[0])):
            dtype = rest.pop(0)
    elif rest and _names_dtype(rest[0]):
        dtype = rest.pop(0)
    elif rest and rest[0] is None:
        rest.pop(0)
        if rest and _names_dtype(rest[0]):
            dtype = rest.pop(0)
    if other is not None:
        where, dtype = other.device, other.dtype
    names = ("non_blocking", "copy")
    flags = dict(zip(names, rest, strict=False)) | {n: known.pop(n) for n in names if n in known}
    known.pop("memory_format", None)
    if known or len(rest) > len(names) or any(not isinstance(v, bool) for v in flags.values()):
        raise TypeError(
            f"{name}: expects a dtype, a device and a dtype, or a tensor, and the flags non_blocking and copy; "
            f"got {', '.join([*map(repr, args), *(f'{k}={v!r}' for k, v in kwargs.items())])}"
        )
    return (
        None if where is None else located(where),
        None if dtype is None else as_dtype(dtype),
        flags.get("copy", False),
    )


def _names_device(value: object) -> bool:
    return isinstance(value, (Device, str))


def _names_dtype(value: object) -> bool:
    return isinstance(value, DType) or value in _PYTHON_TYPES


#: What old code calls a tensor of each dtype, before "Tensor".
TYPE_NAMES: Final[dict[DType, str]] = {
    dt.float32: "Float", dt.float64: "Double", dt.float16: "Half", dt.bfloat16: "BFloat16", dt.int64: "Long",
    dt.int32: "Int", dt.int16: "Short", dt.int8: "Char", dt.uint8: "Byte", dt.uint16: "UInt16", dt.uint32: "UInt32",
    dt.uint64: "UInt64", dt.bool_: "Bool", dt.complex64: "ComplexFloat", dt.complex128: "ComplexDouble",
}  # fmt: skip


@public(function=False)
def type_as(self: Tensor, other: Tensor) -> Tensor:
    """The tensor in the dtype of ``other``, and on its device.

    >>> fb.tensor([1]).type_as(fb.ones(1)).dtype
    flambeau.float32
    """
    key = other._key  # an array has a dtype and a device too
    return convert(self, key.device, key.dtype)


@public(function=False)
def cpu(self: Tensor, memory_format: MemoryFormat | None = None) -> Tensor:
    """The tensor in host memory; itself when it is there.

    >>> fb.ones(1, device="strict").cpu().device
    device(type='cpu')
    """
    return in_format("cpu", convert(self, Device("cpu"), None), memory_format)


def _converter(name: str, dtype: DType) -> Callable[[Tensor], Tensor]:
    def method(self: Tensor, memory_format: MemoryFormat | None = None) -> Tensor:
        if memory_format is not None:
            check_format(name, memory_format)
        found = convert(self, None, dtype)
        return found if memory_format is None else in_format(name, found, memory_format)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"The tensor as {dtype.name}; itself when it is that already."
    return method


_BY_NAME: Final = {
    "float": dt.float32, "double": dt.float64, "half": dt.float16, "bfloat16": dt.bfloat16, "int": dt.int32,
    "long": dt.int64, "short": dt.int16, "char": dt.int8, "byte": dt.uint8, "bool": dt.bool_, "cfloat": dt.complex64,
    "cdouble": dt.complex128,
}  # fmt: skip


@public(method=False)
def is_floating_point(input: Tensor) -> bool:
    """Whether the dtype is a real floating one.

    >>> fb.is_floating_point(fb.ones(1))
    True
    """
    return input.is_floating_point()


@public(method=False)
def is_complex(input: Tensor) -> bool:
    """Whether the dtype is complex.

    >>> fb.is_complex(fb.tensor([1j]))
    True
    """
    return input.is_complex()


@public(method=False)
def is_tensor(obj: object) -> bool:
    """Whether an object is a Tensor.

    >>> fb.is_tensor(fb.ones(1))
    True
    """
    return isinstance(obj, Tensor)


@public(method=False)
def is_signed(input: Tensor) -> bool:
    """Whether the dtype has negative numbers.

    >>> fb.is_signed(fb.ones(1))
    True
    """
    return input.is_signed()


@public()
def is_nonzero(input: Tensor) -> bool:
    """Whether the one element is not zero.

    >>> fb.is_nonzero(fb.tensor(2.0))
    True
    """
    if input.numel() != 1:
        raise ConversionError(f"is_nonzero: expects one element, got shape {tuple(input.shape)}")
    return bool(input)


@public()
def is_same_size(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape.

    >>> fb.is_same_size(fb.ones(2), fb.zeros(2))
    True
    """
    return bool(input._array.shape == other._array.shape)


@public()
def apply_(self: Tensor, callable: Callable[..., Number]) -> Tensor:
    """Replace every element by what ``callable`` makes of it, one by one in Python, in place; for the host alone.

    >>> fb.tensor([1.0, 2.0]).apply_(lambda v: v + 1)
    tensor([2., 3.])
    """
    values = self.detach().reshape((self.numel(),)).tolist()
    return self.copy_(self.new_tensor([callable(v) for v in values]).reshape(tuple(self._array.shape)))


@public()
def map_(self: Tensor, tensor: Tensor, callable: Callable[..., Number]) -> Tensor:
    """Replace every element by ``callable(element, the other's)``, one by one in Python, in place."""
    others = tensor.detach().expand(tuple(self._array.shape)).reshape((self.numel(),)).tolist()
    values = self.detach().reshape((self.numel(),)).tolist()
    made = [callable(a, b) for a, b in zip(values, others, strict=True)]
    return self.copy_(self.new_tensor(made).reshape(tuple(self._array.shape)))


@public()
def get_device(input: Tensor) -> int:
    """The index of the tensor's device, -1 for the host and for one without data.

    >>> fb.get_device(fb.ones(1))
    -1
    """
    index = input.device.index
    return -1 if input.is_cpu or index is None else index


@public(method=False)
def numel(input: Tensor) -> int:
    """The number of elements.

    >>> fb.numel(fb.ones(2, 3))
    6
    """
    return input.numel()


@public(method=False)
def result_type(*operands: Tensor | Number | DTypeLike) -> DType:
    """The dtype that an arithmetic op on tensors and numbers computes in; a dtype counts as a tensor of it.

    >>> fb.result_type(fb.tensor([1], dtype=fb.int32), 1.5)
    flambeau.float32
    """
    if not operands:
        raise TypeError("result_type: expects at least one tensor, number or dtype")
    for o in operands:
        dt.check_int("result_type:", o)
    as_tensors = [
        o if isinstance(o, (Tensor, int, float, complex)) else creation.empty(1, dtype=o, device="cpu")
        for o in operands
    ]
    return compute_dtype(OPS["cat"], (as_tensors,))


for _name, _dtype in _BY_NAME.items():
    public(function=False, guard="function")(_converter(_name, _dtype))


@public(guard="function")
def clone(input: Tensor, *, memory_format: MemoryFormat | None = None) -> Tensor:
    """A copy in memory of its own, with the same strides where they are dense; differentiable.

    >>> fb.clone(fb.tensor([1.0]))
    tensor([1.])
    """
    if memory_format is None or memory_format is preserve_format:
        return storage.clone_p(input, "K")
    return in_format("clone", input, memory_format, copy=True)
