"""Tensors from data: numbers, nested sequences, arrays of numpy and of other libraries."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from flambeau.core import dtype as dt
from flambeau.core import keys
from flambeau.core.blame import constructor, explain_functions
from flambeau.core.device import DeviceLike, located
from flambeau.core.device import device as Device
from flambeau.core.dispatch import call, from_host
from flambeau.core.dtype import DType, DTypeLike, Number
from flambeau.core.errors import NumberError
from flambeau.core.events import is_told, recorder, refuse
from flambeau.core.exchange import from_dlpack, from_numpy
from flambeau.core.memory_format import Layout, strided
from flambeau.core.public import public
from flambeau.core.record import OPS
from flambeau.core.tensor import Tensor, in_class

Host: TypeAlias = np.ndarray[Any, Any]


def resolve_device(device: DeviceLike) -> Device:
    """Where a constructor puts its tensor: the device given, or the default."""
    return keys.get_default_device() if device is None else located(device)


def finished(t: Tensor, requires_grad: bool, pin_memory: bool = False, layout: Layout | None = None) -> Tensor:
    """A new tensor as its constructor's last arguments ask; NotImplementedError for a layout that is sparse."""
    if layout is not None and layout is not strided:
        raise NotImplementedError(f"a constructor of dense values makes no tensor of layout {layout}; use to_sparse()")
    if pin_memory:
        t = t.pin_memory()
    return t.requires_grad_() if requires_grad else t


@public(method=False)
def scalar_tensor(
    value: Number, dtype: DTypeLike | None = None, device: DeviceLike = None, *, requires_grad: bool = False
) -> Tensor:
    """A 0-d tensor of a Python number, by default of the default dtype.

    >>> fb.scalar_tensor(2.5)
    tensor(2.5000)
    """
    chosen = dt.get_default_dtype() if dtype is None else dt.as_dtype(dtype)
    if not isinstance(value, (bool, int, float, complex, np.generic)):
        raise TypeError(f"scalar_tensor: value must be a number, got {value!r} ({type(value).__name__})")
    given = value.item() if isinstance(value, np.generic) else value
    low = chosen in dt.LOW_PRECISION
    return finished(number("scalar_tensor", given, chosen, resolve_device(device), overflow=low), requires_grad)


def check_fits(name: str, value: Number, dtype: DType) -> None:
    """NumberError, which calls the function ``name``, where a number does not convert to a dtype without overflow."""
    if not isinstance(value, (bool, int, float, complex, np.generic)):
        raise TypeError(f"{name}: argument 'value' must be a number or a 0-d tensor, got {type(value).__name__}")
    dt.check_int(f"{name}: value", value)
    if not dt.holds(dtype, value):
        raise NumberError(f"{name}: value {value!r} cannot be converted to {dtype.name} without overflow")


def number(name: str, value: Number, dtype: DType, device: Device, overflow: bool = False) -> Tensor:
    """A 0-d tensor of a number that must fit in ``dtype``, unless it may ``overflow``."""
    if is_told(value):  # which the op keeps as it is, where an array of the host would have the value of now
        made: Tensor = call(OPS["full"], (), {"shape": (), "value": value, "dtype": dtype, "device": device})
        return made
    check_fits(name, value, dt.float64 if overflow and not isinstance(value, complex) else dtype)
    return from_host(dt.host_scalar(value, dtype), dtype, device)


def _infer_dtype(host: Host) -> DType:
    """What torch makes of data without a dtype: Python floats become the default dtype."""
    kind = host.dtype.kind
    if kind == "f":
        return dt.get_default_dtype()
    if kind == "c":
        return dt.get_default_dtype().to_complex()
    if kind == "b":
        return dt.bool_
    return dt.int64


def _with_great_ints(host: Host, data: object, wanted: DType | None) -> Host:
    """Numpy's array of numbers some of which are ints beyond its own: floats, if there is a float or a dtype for it."""
    if host.dtype == np.float64 and not (host.size and abs(host).max() >= 2**63):
        return host
    kinds: set[type] = set()
    for value in np.array(data, object).flat:
        kinds.add(type(value))
    if not kinds <= {bool, int, float, complex}:
        return host
    if kinds <= {bool, int} and (wanted is None or wanted.category == dt.INTEGER):
        raise NumberError(f"tensor: {str(data)[:60]} does not fit in int64, which ints become")
    return np.asarray(data, object).astype(np.complex128 if complex in kinds else np.float64)


def _from_nested(data: object, wanted: DType | None) -> tuple[Host, DType]:
    """A numpy array and dtype from nested sequences of numbers, tensors and arrays."""
    seen: set[DType] = set()
    try:
        if isinstance(data, (list, tuple)) and _holds_tensors(data):
            data = _plain(data, seen)
        host = np.asarray(data)
    except RecursionError:
        raise ValueError("tensor: the lists are nested too deeply; a tensor has at most 64 dimensions") from None
    except (ValueError, OverflowError) as error:
        raise ValueError(f"tensor: {_ragged(data) or error}") from None
    if host.dtype.kind in "fO" and not isinstance(data, (float, np.ndarray)):
        host = _with_great_ints(host, data, wanted)
    if host.dtype == object or host.dtype.kind in "USOV" and host.dtype not in _NUMPY_OK:
        raise TypeError(f"tensor: cannot make a tensor of {type(data).__name__} data {str(data)[:60]!r}; "
                        "it must be numbers in nested lists of equal lengths")  # fmt: skip
    if host.size == 0 and host.dtype == np.float64 and not isinstance(data, np.ndarray):
        return host, dt.get_default_dtype()
    return host, functools.reduce(dt.promote_types, seen) if seen else _infer_dtype(host)


def _ragged(data: object) -> str:
    """Where nested sequences are no box: the first whose length differs from the first one's of its depth; or ""."""
    level: list[tuple[str, Any]] = [("data", data)]
    while level:
        lengths = [len(v) if hasattr(v, "__len__") and not isinstance(v, (str, bytes)) else None for _, v in level]
        odd = next((i for i, n in enumerate(lengths) if n != lengths[0]), None)
        if odd is not None:
            (first, _), (other, _) = level[0], level[odd]
            one, two = ("is a number" if n is None else f"has {n} element(s)" for n in (lengths[0], lengths[odd]))
            return f"{first} {one} and {other} {two}; at one depth all must be lists of one length, or numbers"
        level = [(f"{at}[{i}]", v) for at, value in level for i, v in enumerate(value)] if lengths[0] else []
    return ""


_NUMPY_OK = frozenset(d.numpy for d in dt.ALL)


def _holds_tensors(data: Sequence[Any]) -> bool:
    kinds = set(map(type, data))
    if any(issubclass(kind, Tensor) or isinstance(vars(kind).get("__class__"), property) for kind in kinds):
        return True  # the other ones stand for numbers
    nested = any(issubclass(kind, (list, tuple)) for kind in kinds)
    return nested and any(_holds_tensors(v) for v in data if isinstance(v, (list, tuple)))


def _plain(data: Any, found: set[DType]) -> Any:
    """Nested lists of numbers for nested lists of tensors and numbers, whose dtypes are added to ``found``."""
    if isinstance(data, (list, tuple)):
        return [_plain(v, found) for v in data]
    if isinstance(data, Tensor):
        found.add(data.dtype)
        return data.item() if data.numel() == 1 else data.tolist()
    if isinstance(data, (bool, int, float, complex)):
        found.add(dt.scalar_dtype(data))
    return data


def tensor(
    data: object, *, dtype: DTypeLike | None = None, device: DeviceLike = None, requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """A new tensor with a copy of ``data`` (numbers, nested sequences, a numpy array, a tensor).

    Without ``dtype`` Python floats become the default dtype and ints int64; arrays keep theirs.

    >>> tensor([[1, 2], [3, 4]]).dtype
    flambeau.int64
    """
    wanted = None if dtype is None else dt.as_dtype(dtype)
    if is_told(data) and isinstance(data, (bool, int, float, complex)):
        goal = wanted or _infer_dtype(np.empty((), type(data.__class__())))
        return finished(number("tensor", data, goal, resolve_device(device)), requires_grad, pin_memory)
    if isinstance(data, Tensor):
        data = in_class(data, Tensor) if data.__class__ is not Tensor else data
        where = data.device if device is None else located(device)
        copied = data.detach().to(device=where, dtype=wanted or data.dtype, copy=True)
        return finished(copied, requires_grad, pin_memory)
    if isinstance(data, (np.ndarray, np.generic)):
        if isinstance(data, np.ndarray) and recorder() is not None:
            return _live(data, wanted, device, requires_grad, pin_memory)
        host, found = np.asarray(data), dt.from_numpy(data.dtype)
    elif _is_array(data):
        host = _foreign(data)
        found = dt.from_numpy(host.dtype)
    else:
        host, found = _from_nested(data, wanted)
        _check_range(host, wanted or found)
    chosen = wanted or found
    return finished(from_host(_cast_host(host, chosen), chosen, resolve_device(device)), requires_grad, pin_memory)


def _live(data: Host, dtype: DType | None, device: DeviceLike, requires_grad: bool, pin_memory: bool) -> Tensor:
    """A tensor of what an array of numpy holds whenever this runs, for whoever records it."""
    if not data.dtype.isnative or not data.flags.writeable:
        refuse("a numpy array that is read-only, or of foreign byte order, becomes a tensor")
        data = np.array(data, data.dtype.newbyteorder("="))
    where = resolve_device(device)
    return tensor(from_numpy(data), dtype=dtype, device=where, requires_grad=requires_grad, pin_memory=pin_memory)


def _is_array(data: object) -> bool:
    """Whether an object is another library's array, which has a dtype of its own."""
    return not isinstance(data, (list, tuple, int, float)) and any(
        hasattr(data, name) for name in ("__dlpack__", "__array_interface__", "__array__")
    )


def _foreign(data: Any) -> Host:
    """Another library's array as numpy's, sharing memory where it can."""
    try:
        return np.asarray(data)
    except TypeError:
        if not hasattr(data, "__dlpack__"):
            raise
        return from_dlpack(data)._host()  # bfloat16, say


def _check_range(host: Host, dtype: DType) -> None:
    """Python ints must fit; a negative one may stand for an unsigned number, as in torch."""
    if dtype.category != dt.INTEGER or host.dtype.kind not in "iuf" or host.dtype == dtype.numpy or not host.size:
        return
    limits = dt.iinfo(dtype)
    if dtype is dt.uint64 and host.dtype.kind == "f":
        raise NumberError("tensor: floats do not become uint64; make them int64 first")
    low, high = host.min().item(), host.max().item()
    wraps = host.dtype.kind == "i" and dtype is not dt.uint64
    if not (high <= limits.max and low >= (min(limits.min, -limits.max - 1) if wraps else limits.min)):
        wrong = low if high <= limits.max else high
        raise NumberError(f"tensor: {wrong} does not fit in {dtype.name}, which holds {limits.min} to {limits.max}")


def _cast_host(host: Host, dtype: DType) -> Host:
    if host.dtype == dtype.numpy:
        return host
    if host.dtype.kind == "c" and dt.BOOL < dtype.category < dt.COMPLEX:
        raise TypeError(f"tensor: complex numbers cannot be made {dtype.name}; take their real part first")
    return dt.cast_host(host, dtype)


def as_tensor(data: object, dtype: DTypeLike | None = None, device: DeviceLike = None) -> Tensor:
    """``data`` as a tensor, sharing memory where dtype and device allow it.

    >>> fb.as_tensor([1, 2])
    tensor([1, 2])
    """
    if isinstance(data, Tensor):
        return data.to(device=device or data.device, dtype=dt.as_dtype(dtype) if dtype is not None else data.dtype)
    where = resolve_device(device)
    if _is_array(data) and not isinstance(data, (np.ndarray, np.generic)):
        data = _foreign(data)
    same = dtype is None or isinstance(data, np.ndarray) and dt.as_dtype(dtype).numpy == data.dtype
    if isinstance(data, np.ndarray) and same and data.dtype.isnative:
        t = from_numpy(data)
        return t if t.device is where else t.to(where)
    return tensor(data, dtype=dtype, device=device)


def asarray(
    obj: object, *, dtype: DTypeLike | None = None, device: DeviceLike = None, copy: bool | None = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """The array API's constructor: ``copy`` None shares where it can, False must share or raise.

    >>> fb.asarray([1.0, 2.0])
    tensor([1., 2.])
    """
    t = as_tensor(obj, dtype, device)
    shares = (
        isinstance(obj, Tensor)
        and t._array is obj._array
        or isinstance(obj, np.ndarray)
        and np.shares_memory(t._host(), obj)
    )
    if copy and shares:
        t = t.clone()
    if copy is False and not shares:
        raise ValueError("asarray: copy=False, but this data cannot be shared; leave copy out")
    return finished(t, requires_grad)


def rebuild(data: bytes, dtype: DType, shape: tuple[int, ...], where: str, requires_grad: bool) -> Tensor:
    """A tensor from what :meth:`Tensor.__reduce_ex__` wrote."""
    host = np.frombuffer(data, dtype.numpy).reshape(shape)
    return finished(from_host(host, dtype, located(where)), requires_grad)


@public(function=False)
def new_tensor(
    self: Tensor, data: object, *, dtype: DTypeLike | None = None, device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """``tensor(...)`` with this tensor's dtype and device by default.

    >>> fb.ones(1).new_tensor([1, 2])
    tensor([1., 2.])
    """
    return tensor(data, dtype=dtype or self.dtype, device=device or self.device, requires_grad=requires_grad)


explain_functions(globals(), "tensor as_tensor asarray", wrap=constructor)
