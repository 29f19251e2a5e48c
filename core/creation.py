"""Constructors: tensors from data, numbers and shapes, on the chosen device."""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from flambeau.core import dtype as dt
from flambeau.core import keys
from flambeau.core.autograd.graph import box_of
from flambeau.core.device import device as Device
from flambeau.core.dispatch import call, tensor_of
from flambeau.core.dtype import DType
from flambeau.core.errors import DTypeError, ShapeError
from flambeau.core.keys import key_for
from flambeau.core.record import OPS
from flambeau.core.state import get
from flambeau.core.tensor import Tensor


def _device(device: Any) -> Device:
    return keys.default_device() if device is None else Device(device)


def _finish(t: Any, requires_grad: bool, pin_memory: bool = False) -> Any:
    if pin_memory:
        t = t.pin_memory()
    return t.requires_grad_() if requires_grad else t


def _shape(size: Sequence[Any], name: str) -> tuple[int, ...]:
    """A shape from ``f(2, 3)`` or ``f((2, 3))``."""
    if len(size) == 1 and isinstance(size[0], (tuple, list)):
        size = size[0]
    try:
        shape = tuple(operator.index(n) for n in size)
    except TypeError:
        raise TypeError(f"{name}: the size must be ints, got {tuple(size)!r}") from None
    if any(n < 0 for n in shape):
        raise ShapeError(f"{name}: a size cannot be negative, got {shape}")
    return shape


def from_host(host: Any, dtype: DType, device: Device) -> Any:
    """A tensor with a copy of a numpy array's values."""
    key = key_for(device, dtype)
    return tensor_of(key.backend.from_host(host, dtype, device.index), key)


def scalar_tensor(value: Any, dtype: Any = None, device: Any = None, *, requires_grad: bool = False) -> Any:
    """A 0-d tensor of a Python number, by default of the default dtype.

    >>> import flambeau as fb
    >>> fb.scalar_tensor(2.5)
    tensor(2.5000)
    """
    chosen = dt.get_default_dtype() if dtype is None else dt.as_dtype(dtype)
    return _finish(from_host(np.asarray(value).astype(chosen.numpy), chosen, _device(device)), requires_grad)


def _infer_dtype(host: Any) -> DType:
    """What torch makes of data without a dtype: Python floats become the default dtype."""
    kind = host.dtype.kind
    if kind == "f":
        return dt.get_default_dtype()
    if kind == "c":
        return dt.get_default_dtype().to_complex()
    if kind == "b":
        return dt.bool_
    return dt.int64


def _from_nested(data: Any) -> tuple[Any, DType]:
    """A numpy array and dtype from nested sequences of numbers, tensors and arrays."""
    if isinstance(data, (list, tuple)) and _holds_tensors(data):
        data = _plain(data)
    try:
        host = np.asarray(data)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"tensor: {error}") from None
    if host.dtype == object and isinstance(data, int):
        raise ValueError(f"tensor: {data} does not fit in int64, nor in any other dtype of integers")
    if host.dtype == object or host.dtype.kind in "USOV" and host.dtype not in _NUMPY_OK:
        raise TypeError(f"tensor: cannot make a tensor of {type(data).__name__} data {str(data)[:60]!r}; "
                        "it must be numbers in nested lists of equal lengths")  # fmt: skip
    if host.size == 0 and host.dtype == np.float64 and not isinstance(data, np.ndarray):
        return host, dt.get_default_dtype()
    return host, _infer_dtype(host)


_NUMPY_OK = frozenset(d.numpy for d in dt.ALL)
_NUMBER: Any = numbers.Number


def _holds_tensors(data: Any) -> bool:
    return any(isinstance(v, Tensor) or (isinstance(v, (list, tuple)) and _holds_tensors(v)) for v in data[:1])


def _plain(data: Any) -> Any:
    if isinstance(data, Tensor):
        return data.tolist()
    return [_plain(v) for v in data] if isinstance(data, (list, tuple)) else data


def tensor(
    data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False
) -> Any:
    """A new tensor with a copy of ``data`` (numbers, nested sequences, a numpy array, a tensor).

    Without ``dtype`` Python floats become the default dtype and ints int64; arrays keep theirs.

    >>> tensor([[1, 2], [3, 4]]).dtype
    flambeau.int64
    """
    wanted = None if dtype is None else dt.as_dtype(dtype)
    if isinstance(data, Tensor):
        where = data.device if device is None else Device(device)
        copied = data.detach().to(device=where, dtype=wanted or data.dtype, copy=True)
        return _finish(copied, requires_grad, pin_memory)
    if isinstance(data, (np.ndarray, np.generic)):
        host, found = np.asarray(data), dt.from_numpy(data.dtype)
    elif _is_array(data):
        host = _foreign(data)
        found = dt.from_numpy(host.dtype)
    else:
        host, found = _from_nested(data)
        _check_range(host, wanted or found)
    chosen = wanted or found
    return _finish(from_host(_cast_host(host, chosen), chosen, _device(device)), requires_grad, pin_memory)


def _is_array(data: Any) -> bool:
    """Whether an object is another library's array, which has a dtype of its own."""
    return not isinstance(data, (list, tuple, int, float)) and any(
        hasattr(data, name) for name in ("__dlpack__", "__array_interface__", "__array__")
    )


def _foreign(data: Any) -> Any:
    """Another library's array as numpy's, sharing memory where it can."""
    try:
        return np.asarray(data)
    except TypeError:
        if not hasattr(data, "__dlpack__"):
            raise
        return from_dlpack(data)._host()  # bfloat16, say


def _check_range(host: Any, dtype: DType) -> None:
    """Python ints must fit; a negative one may stand for an unsigned number, as in torch."""
    if dtype.category != dt.INTEGER or host.dtype.kind not in "iu" or host.dtype == dtype.numpy or not host.size:
        return
    limits = dt.iinfo(dtype)
    low, high = int(host.min()), int(host.max())
    if high > limits.max or low < min(limits.min, -limits.max - 1):
        wrong = high if high > limits.max else low
        raise DTypeError(f"tensor: {wrong} does not fit in {dtype.name}, which holds {limits.min} to {limits.max}")


def _cast_host(host: Any, dtype: DType) -> Any:
    if host.dtype == dtype.numpy:
        return host
    if host.dtype.kind == "c" and dtype.category < dt.COMPLEX:
        raise TypeError(f"tensor: complex numbers cannot be made {dtype.name}; take their real part first")
    with np.errstate(all="ignore"):
        return host.astype(dtype.numpy)


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Any:
    """``data`` as a tensor, sharing memory where dtype and device allow it.

    >>> import flambeau as fb
    >>> fb.as_tensor([1, 2])
    tensor([1, 2])
    """
    if isinstance(data, Tensor):
        return data.to(device=device or data.device, dtype=dt.as_dtype(dtype) if dtype is not None else data.dtype)
    where = _device(device)
    if _is_array(data) and not isinstance(data, (np.ndarray, np.generic)):
        data = _foreign(data)
    same = isinstance(data, np.ndarray) and (dtype is None or dt.as_dtype(dtype).numpy == data.dtype)
    if same and data.dtype.isnative:
        t = from_numpy(data)
        return t if t.device is where else t.to(where)
    return tensor(data, dtype=dtype, device=device)


def asarray(
    obj: Any, *, dtype: Any = None, device: Any = None, copy: bool | None = None, requires_grad: bool = False
) -> Any:
    """The array API's constructor: ``copy`` None shares where it can, False must share or raise.

    >>> import flambeau as fb
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
    return _finish(t, requires_grad)


def from_numpy(array: Any) -> Any:
    """A CPU tensor that shares memory with a numpy array.

    >>> import flambeau as fb
    >>> import numpy as np
    >>> fb.from_numpy(np.arange(3.0))
    tensor([0., 1., 2.], dtype=flambeau.float64)
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy: expected a numpy array, got {type(array).__name__}")
    if not array.dtype.isnative:
        raise ValueError(
            "from_numpy: the array has a foreign byte order; use array.astype(array.dtype.newbyteorder('='))"
        )
    key = key_for(host_device(), dt.from_numpy(array.dtype))
    t = tensor_of(array if array.flags.writeable else array.copy(), key)
    box_of(t)
    return t


def host_device() -> Device:
    """The device whose memory is numpy's."""
    return Device("cpu")


def full(
    size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False, out: Any = None
) -> Any:
    """A tensor of a shape with every element ``fill_value``, whose type gives the dtype.

    >>> import flambeau as fb
    >>> fb.full((2,), 7)
    tensor([7, 7])
    """
    if isinstance(fill_value, np.generic):
        fill_value = fill_value.item()
    if not isinstance(fill_value, (Tensor, _NUMBER)):
        raise TypeError(f"full: fill_value must be a number, got {type(fill_value).__name__}")
    found = fill_value.dtype if isinstance(fill_value, Tensor) else dt.scalar_dtype(fill_value)
    chosen = found if dtype is None else dt.as_dtype(dtype)
    shape = _shape((size,) if not isinstance(size, (tuple, list)) else (tuple(size),), "full")
    return _into(out, _finish(_made("full", fill_value, shape, chosen, _device(device)), requires_grad))


def _made(name: str, value: Any, shape: tuple[int, ...], dtype: DType, device: Device) -> Any:
    """A tensor from the constructor ``name``, "full" or "empty": the common case written out."""
    params = {"shape": shape, "dtype": dtype} if name == "empty" else {"shape": shape, "value": value, "dtype": dtype}
    state = get()
    if state is not None and state.plain and not isinstance(value, Tensor):
        key = key_for(device, dtype)
        kernel = getattr(key, name)
        if kernel is not None:
            return tensor_of(kernel(**params, index=device.index), key)
    return call(OPS[name], (), params | {"device": device})


def _into(out: Any, result: Any) -> Any:
    if out is None:
        return result
    from flambeau.core.autograd.inplace import write_out

    return write_out(OPS["full"], out, result)


def _filled(name: str, value: Any, size: Any, dtype: Any, device: Any, requires_grad: bool, out: Any) -> Any:
    chosen = dt.as_dtype(dtype) if dtype is not None else dt.get_default_dtype()
    found = _made("full", value, _shape(size, name), chosen, _device(device))
    return found if out is None and not requires_grad else _into(out, _finish(found, requires_grad))


def zeros(
    *sizes: Any, size: Any = None, dtype: Any = None, device: Any = None, requires_grad: bool = False, out: Any = None,
    layout: Any = None,
) -> Any:  # fmt: skip
    """A tensor of zeros: ``zeros(2, 3)`` or ``zeros((2, 3))``.

    >>> import flambeau as fb
    >>> fb.zeros(2, 3)
    tensor([[0., 0., 0.],
            [0., 0., 0.]])
    """
    return _filled("zeros", 0, sizes if size is None else (size,), dtype, device, requires_grad, out)


def ones(
    *sizes: Any, size: Any = None, dtype: Any = None, device: Any = None, requires_grad: bool = False, out: Any = None,
    layout: Any = None,
) -> Any:  # fmt: skip
    """A tensor of ones.

    >>> import flambeau as fb
    >>> fb.ones(2, 3)
    tensor([[1., 1., 1.],
            [1., 1., 1.]])
    """
    return _filled("ones", 1, sizes if size is None else (size,), dtype, device, requires_grad, out)


def empty(
    *sizes: Any, size: Any = None, dtype: Any = None, device: Any = None, requires_grad: bool = False, out: Any = None,
    layout: Any = None, pin_memory: bool = False, memory_format: Any = None,
) -> Any:  # fmt: skip
    """A tensor of undefined values.

    >>> import flambeau as fb
    >>> fb.empty(2, 3).shape
    flambeau.Size([2, 3])
    """
    chosen = dt.as_dtype(dtype) if dtype is not None else dt.get_default_dtype()
    shape = _shape(sizes if size is None else (size,), "empty")
    if out is not None:
        return _into(out, full(shape, 0, dtype=out.dtype, device=out.device))
    return _finish(_made("empty", None, shape, chosen, _device(device)), requires_grad, pin_memory)


def full_at(like: Any, shape: Sequence[int], value: Any, dtype: DType | None = None) -> Any:
    """A full tensor at the device, level and (by default) dtype of ``like``, with memory of its own to write to."""
    chosen = dtype or like.dtype
    level = like._key.level
    if level is not None:
        return level.full(like, tuple(shape), value, chosen)
    return _made("full", value, tuple(shape), chosen, like.device)


def full_like(
    input: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
    layout: Any = None, memory_format: Any = None,
) -> Any:  # fmt: skip
    """A full tensor of the shape, dtype and device of ``input``.

    >>> import flambeau as fb
    >>> fb.full_like(fb.ones(2), 7)
    tensor([7., 7.])
    """
    chosen = input.dtype if dtype is None else dt.as_dtype(dtype)
    if device is None or Device(device) is input.device:
        return _finish(full_at(input, input._array.shape, fill_value, chosen), requires_grad)
    return full(tuple(input.shape), fill_value, dtype=chosen, device=device, requires_grad=requires_grad)


def zeros_like(input: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
    layout: Any = None, memory_format: Any = None,
) -> Any:  # fmt: skip
    """Zeros of the shape, dtype and device of ``input``.

    >>> import flambeau as fb
    >>> fb.zeros_like(fb.ones(2))
    tensor([0., 0.])
    """
    return full_like(input, 0, dtype=dtype, device=device, requires_grad=requires_grad)


def ones_like(input: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
    layout: Any = None, memory_format: Any = None,
) -> Any:  # fmt: skip
    """Ones of the shape, dtype and device of ``input``.

    >>> import flambeau as fb
    >>> fb.ones_like(fb.zeros(2))
    tensor([1., 1.])
    """
    return full_like(input, 1, dtype=dtype, device=device, requires_grad=requires_grad)


def empty_like(input: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
    layout: Any = None, memory_format: Any = None,
) -> Any:  # fmt: skip
    """Undefined values of the shape, dtype and device of ``input``.

    >>> import flambeau as fb
    >>> fb.empty_like(fb.ones(2, 3)).shape
    flambeau.Size([2, 3])
    """
    chosen = input.dtype if dtype is None else dt.as_dtype(dtype)
    if input._key.level is not None and device is None:  # to be written to, perhaps by a value for each of a batch
        return _finish(full_at(input, input._array.shape, 0, chosen), requires_grad)
    return empty(tuple(input.shape), dtype=chosen, device=device or input.device, requires_grad=requires_grad)


def zeros_at(like: Any, shape: Sequence[int]) -> Any:
    """Zeros of another shape at the dtype, device and level of ``like``, to be written to in place."""
    return full_at(like, shape, 0)


def arange(
    start: Any = 0, end: Any = None, step: Any = 1, *, out: Any = None, dtype: Any = None, device: Any = None,
    requires_grad: bool = False, layout: Any = None,
) -> Any:  # fmt: skip
    """Numbers from ``start`` (0 when only one is given) up to but not including ``end``.

    >>> import flambeau as fb
    >>> fb.arange(3)
    tensor([0, 1, 2])
    >>> fb.arange(0, 1, 0.25)
    tensor([0.0000, 0.2500, 0.5000, 0.7500])
    """
    if end is None:
        start, end = 0, start
    start, end, step = (v.item() if isinstance(v, Tensor) else v for v in (start, end, step))
    if step == 0:
        raise ValueError("arange: step must be nonzero")
    if (end - start) * step < 0:
        raise ValueError(
            f"arange: upper bound {end} and lower bound {start} are inconsistent with the sign of step {step}"
        )
    if dtype is not None:
        chosen = dt.as_dtype(dtype)
    else:
        chosen = dt.int64 if all(isinstance(v, int) for v in (start, end, step)) else dt.get_default_dtype()
    if not all(math.isfinite(v) for v in (start, end, step)):
        raise ValueError(f"arange: start, end and step must be finite, got {start}, {end}, {step}")
    length = (
        -((start - end) // step)
        if all(isinstance(v, int) for v in (start, end, step))
        else math.ceil((end - start) / step)
    )
    where, count = _device(device), int(length)
    key, state = key_for(where, chosen), get()
    if state is not None and state.plain and key.arange is not None:
        found = tensor_of(key.arange(start, step, length=count, dtype=chosen, index=where.index), key)
    else:
        found = call(OPS["arange"], (start, step), {"length": count, "dtype": chosen, "device": where})
    return _into(out, _finish(found, requires_grad))


def linspace(
    start: Any, end: Any, steps: int, *, out: Any = None, dtype: Any = None, device: Any = None,
    requires_grad: bool = False, layout: Any = None,
) -> Any:  # fmt: skip
    """``steps`` numbers evenly from ``start`` to ``end``, both included.

    >>> import flambeau as fb
    >>> fb.linspace(0, 1, 5)
    tensor([0.0000, 0.2500, 0.5000, 0.7500, 1.0000])
    """
    if steps < 0:
        raise ValueError(f"linspace: number of steps must be non-negative, got {steps}")
    chosen = dt.as_dtype(dtype) if dtype is not None else dt.get_default_dtype()
    start, end = (v.item() if isinstance(v, Tensor) else v for v in (start, end))
    if dtype is None and any(type(v).__name__ == "complex" for v in (start, end)):
        chosen = chosen.to_complex()
    compute = chosen if chosen.category >= dt.FLOATING else dt.float64
    place = arange(steps, device=device)
    i = place.to(compute)
    step = (end - start) / max(steps - 1, 1)
    # From both ends, so that the last element is exactly `end`.
    low, high = i * step + start, (i - (steps - 1)) * step + end
    found = low.where(place < (steps + 1) // 2, high).to(chosen) if steps > 1 else (i + start).to(chosen)
    return _into(out, _finish(found, requires_grad))


def logspace(
    start: Any,
    end: Any,
    steps: int,
    base: float = 10.0,
    *,
    out: Any = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    layout: Any = None,
) -> Any:
    """``base`` to the powers of :func:`linspace`.

    >>> import flambeau as fb
    >>> fb.logspace(0, 2, 3)
    tensor([  1.,  10., 100.])
    """
    chosen = dt.as_dtype(dtype) if dtype is not None else dt.get_default_dtype()
    exponents = linspace(start, end, steps, dtype=dt.float64, device=device)
    return _into(out, _finish((base**exponents).to(chosen), requires_grad))


def eye(
    n: int, m: int | None = None, *, out: Any = None, dtype: Any = None, device: Any = None,
    requires_grad: bool = False, layout: Any = None,
) -> Any:  # fmt: skip
    """Ones on the diagonal, zeros elsewhere; shape (n, m or n).

    >>> import flambeau as fb
    >>> fb.eye(2)
    tensor([[1., 0.],
            [0., 1.]])
    """
    m = n if m is None else m
    if n < 0 or m < 0:
        raise ValueError(f"eye: n and m must not be negative, got {n} and {m}")
    chosen = dt.as_dtype(dtype) if dtype is not None else dt.get_default_dtype()
    found = (arange(n, device=device).unsqueeze(1) == arange(m, device=device)).to(chosen)
    return _into(out, _finish(found, requires_grad))


def tril_indices(row: int, col: int, offset: int = 0, *, dtype: Any = dt.int64, device: Any = None) -> Any:
    """Indices (2, n) of the lower triangle of a (row, col) matrix.

    >>> import flambeau as fb
    >>> fb.tril_indices(2, 2)
    tensor([[0, 1, 1],
            [0, 0, 1]])
    """
    r, c = arange(row, device=device).unsqueeze(1), arange(col, device=device)
    return (c <= r + offset).nonzero().T.contiguous().to(dt.as_dtype(dtype))


def triu_indices(row: int, col: int, offset: int = 0, *, dtype: Any = dt.int64, device: Any = None) -> Any:
    """Indices (2, n) of the upper triangle of a (row, col) matrix.

    >>> import flambeau as fb
    >>> fb.triu_indices(2, 2)
    tensor([[0, 0, 1],
            [0, 1, 1]])
    """
    r, c = arange(row, device=device).unsqueeze(1), arange(col, device=device)
    return (c >= r + offset).nonzero().T.contiguous().to(dt.as_dtype(dtype))


def complex(real: Any, imag: Any, *, out: Any = None) -> Any:
    """A complex tensor from its real and imaginary parts, floating tensors of one dtype that broadcast.

    >>> import flambeau as fb
    >>> fb.complex(fb.tensor([1.0]), fb.tensor([2.0]))
    tensor([1.+2.j])
    """
    from flambeau.core.ops.arrange import stack
    from flambeau.core.ops.shape import broadcast_tensors

    if real.dtype is not imag.dtype or not real.is_floating_point():
        raise DTypeError(
            f"complex: real and imag must be floating tensors of one dtype, got {real.dtype} and {imag.dtype}"
        )
    wide = [t.to(dt.float32) if t.dtype in dt.LOW_PRECISION else t for t in broadcast_tensors(real, imag)]
    return _into(out, stack(wide, -1).view_as_complex())


def polar(abs: Any, angle: Any, *, out: Any = None) -> Any:
    """A complex tensor from absolute values and angles in radians.

    >>> import flambeau as fb
    >>> fb.polar(fb.tensor([2.0]), fb.tensor([0.0]))
    tensor([2.+0.j])
    """
    return complex(abs * angle.cos(), abs * angle.sin(), out=out)


def from_dlpack(ext_tensor: Any, *, device: Any = None, copy: bool | None = None) -> Any:
    """A tensor over another library's memory by the DLPack protocol: :func:`flambeau.core.exchange.from_dlpack`.

    >>> import flambeau as fb
    >>> import numpy as np
    >>> fb.from_dlpack(np.ones(2, np.float32))
    tensor([1., 1.])
    """
    from flambeau.core.exchange import from_dlpack as take

    return take(ext_tensor, device=device, copy=copy)


def rebuild(data: bytes, dtype: DType, shape: tuple[int, ...], where: str, requires_grad: bool) -> Any:
    """A tensor from what :meth:`Tensor.__reduce_ex__` wrote."""
    host = np.frombuffer(data, dtype.numpy).reshape(shape)
    return _finish(from_host(host, dtype, Device(where)), requires_grad)


def new_like(method: str) -> Any:
    """The ``new_zeros`` family: the dtype and device of ``self`` are the defaults."""
    value = 1 if method == "new_ones" else 0

    def new(
        self: Any, *sizes: Any, size: Any = None, dtype: Any = None, device: Any = None, requires_grad: bool = False,
        layout: Any = None, pin_memory: bool = False,
    ) -> Any:  # fmt: skip
        shape = _shape(sizes if size is None else (size,), method)
        return new_full(self, shape, value, dtype=dtype, device=device, requires_grad=requires_grad)

    new.__name__, new.__doc__ = method, f"``{method[4:]}(...)`` with this tensor's dtype and device by default."
    return new


def new_full(
    self: Any, size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Any:
    """``full(...)`` with this tensor's dtype and device by default.

    >>> import flambeau as fb
    >>> fb.ones(1).new_full((2,), 3)
    tensor([3., 3.])
    """
    chosen = self.dtype if dtype is None else dt.as_dtype(dtype)
    if device is None or Device(device) is self.device:
        return _finish(full_at(self, _shape((size,), "new_full"), fill_value, chosen), requires_grad)
    return full(size, fill_value, dtype=chosen, device=device, requires_grad=requires_grad)


def new_tensor(self: Any, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
    """``tensor(...)`` with this tensor's dtype and device by default.

    >>> import flambeau as fb
    >>> fb.ones(1).new_tensor([1, 2])
    tensor([1., 2.])
    """
    return tensor(data, dtype=dtype or self.dtype, device=device or self.device, requires_grad=requires_grad)
