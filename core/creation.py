"""Constructors: tensors from data, numbers and shapes, on the chosen device."""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from flambeau.backends.layout import is_dense
from flambeau.core import dtype as dt
from flambeau.core.blame import explain_functions
from flambeau.core.device import DeviceLike, located
from flambeau.core.device import device as Device
from flambeau.core.dispatch import call, tensor_of
from flambeau.core.dtype import DType, DTypeLike, Number
from flambeau.core.errors import ArgumentError, DTypeError, ShapeError, UnsupportedDTypeError
from flambeau.core.from_data import check_fits, finished, resolve_device, tensor
from flambeau.core.keys import key_for, precise
from flambeau.core.memory_format import Layout, MemoryFormat, check_format, order_of, preserve_format, strided
from flambeau.core.out import check_out, deliver
from flambeau.core.public import public
from flambeau.core.record import OPS
from flambeau.core.size import Size
from flambeau.core.state import get
from flambeau.core.tensor import Tensor, TensorType


def _shape(size: Sequence[Sizes], name: str) -> tuple[int, ...]:
    """A shape from ``f(2, 3)`` or ``f((2, 3))``."""
    given: Any = size[0] if len(size) == 1 and isinstance(size[0], (tuple, list)) else size  # ints, if they are
    try:
        shape = tuple(map(operator.index, given))
    except TypeError:
        raise TypeError(f"{name}: the size must be ints, got {tuple(given)!r}") from None
    if shape and min(shape) < 0:
        raise ShapeError(f"{name}: a size cannot be negative, got {shape}")
    return shape


#: One size, or all of them.
Sizes: TypeAlias = int | Sequence[int]
Fill: TypeAlias = Number | np.generic | Tensor
_NUMBER: Any = numbers.Number  # abstract, so that isinstance takes numbers of any library


def full(
    size: Sizes, fill_value: Fill, *, dtype: DTypeLike | None = None, device: DeviceLike = None,
    requires_grad: bool = False, out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """A tensor of a shape with every element ``fill_value``, whose type gives the dtype.

    >>> fb.full((2,), 7)
    tensor([7, 7])
    """
    if isinstance(fill_value, np.generic):
        fill_value = fill_value.item()
    if not isinstance(fill_value, (Tensor, _NUMBER)):
        raise TypeError(f"full: fill_value must be a number, got {type(fill_value).__name__}")
    check_out("full", dtype, out)
    fill_value = _fill("full", fill_value, None if dtype is None else dt.as_dtype(dtype))
    chosen = _dtype_of(fill_value) if dtype is None else dt.as_dtype(dtype)
    shape = _shape((size,) if not isinstance(size, (tuple, list)) else (tuple(size),), "full")
    return deliver(
        "full", finished(_made("full", fill_value, shape, chosen, resolve_device(device)), requires_grad), out
    )


def _dtype_of(value: Any) -> DType:  # Any: a number of any library, or a tensor
    return value.dtype if isinstance(value, Tensor) else dt.scalar_dtype(value)


def _fill(name: str, value: Any, dtype: DType | None) -> Any:  # a number, or a tensor that a transform maps over
    """The number that a constructor fills with: one that fits in its dtype."""
    if isinstance(value, Tensor) and value._key.level is None:
        value = value.item()
    if not isinstance(value, Tensor) and isinstance(value, _NUMBER):
        by_itself = dt.int64 if isinstance(value, int) else dt.scalar_dtype(value)
        check_fits(name, value, by_itself if dtype is None else dtype)
    return value


def _made(name: str, value: Any, shape: tuple[int, ...], dtype: DType, device: Device) -> Tensor:
    """A tensor from the constructor ``name``, "full" or "empty": the common case written out."""
    params = {"shape": shape, "dtype": dtype} if name == "empty" else {"shape": shape, "value": value, "dtype": dtype}
    state = get()
    if state is not None and state.plain and not isinstance(value, Tensor):
        key = key_for(device, dtype)
        kernel = getattr(key, name)
        if kernel is not None:
            return tensor_of(kernel(**params, index=device.number), key)
    made: Tensor = call(OPS[name], (), params | {"device": device})
    return made


def _filled(
    name: str, value: Number, size: Sequence[Sizes], dtype: DTypeLike | None, device: DeviceLike,
    requires_grad: bool, out: Tensor | None,
) -> Tensor:  # fmt: skip
    chosen = dt.as_dtype(dtype) if dtype is not None else dt.get_default_dtype()
    found = _made("full", value, _shape(size, name), chosen, resolve_device(device))
    check_out(name, dtype, out)
    return found if out is None and not requires_grad else deliver(name, finished(found, requires_grad), out)


def zeros(
    *sizes: Sizes, size: Sizes | None = None, dtype: DTypeLike | None = None, device: DeviceLike = None,
    requires_grad: bool = False, out: Tensor | None = None, layout: Layout | None = None,
) -> Tensor:  # fmt: skip
    """A tensor of zeros: ``zeros(2, 3)`` or ``zeros((2, 3))``.

    >>> fb.zeros(2, 3)
    tensor([[0., 0., 0.],
            [0., 0., 0.]])
    """
    if layout is not None and layout is not strided:
        found = _filled("zeros", 0, sizes if size is None else (size,), dtype, device, False, out)
        held: Tensor = found.to_sparse(layout=layout)
        return held.requires_grad_(requires_grad)
    return _filled("zeros", 0, sizes if size is None else (size,), dtype, device, requires_grad, out)


def ones(
    *sizes: Sizes, size: Sizes | None = None, dtype: DTypeLike | None = None, device: DeviceLike = None,
    requires_grad: bool = False, out: Tensor | None = None, layout: Layout | None = None,
) -> Tensor:  # fmt: skip
    """A tensor of ones.

    >>> fb.ones(2, 3)
    tensor([[1., 1., 1.],
            [1., 1., 1.]])
    """
    return _filled("ones", 1, sizes if size is None else (size,), dtype, device, requires_grad, out)


def empty(
    *sizes: Sizes, size: Sizes | None = None, dtype: DTypeLike | None = None, device: DeviceLike = None,
    requires_grad: bool = False, out: Tensor | None = None, layout: Layout | None = None, pin_memory: bool = False,
    memory_format: MemoryFormat | None = None,
) -> Tensor:  # fmt: skip
    """A tensor of undefined values.

    >>> fb.empty(2, 3).shape
    flambeau.Size([2, 3])
    """
    chosen = dt.as_dtype(dtype) if dtype is not None else dt.get_default_dtype()
    shape = _shape(sizes if size is None else (size,), "empty")
    if out is not None:
        check_out("empty", dtype, out)
        return deliver("empty", full(shape, 0, dtype=out.dtype, device=out.device), out)
    if layout is not None and layout is not strided:
        return zeros(*shape, dtype=chosen, device=device, requires_grad=requires_grad, layout=layout)
    if memory_format is not None:
        check_format("empty", memory_format)
        order = order_of("empty", memory_format, len(shape))
        return finished(
            _ordered("empty", None, shape, chosen, resolve_device(device), order), requires_grad, pin_memory
        )
    return finished(_made("empty", None, shape, chosen, resolve_device(device)), requires_grad, pin_memory)


def _ordered(
    name: str, value: Any, shape: tuple[int, ...], dtype: DType, device: Device, order: Sequence[int] | None
) -> Tensor:
    """A new tensor whose axes stand in memory in an order, the slowest first."""
    if order is None or list(order) == list(range(len(shape))):
        return _made(name, value, shape, dtype, device)
    made = _made(name, value, tuple(shape[i] for i in order), dtype, device)
    found: Tensor = call(OPS["permute"], (made,), {"axes": tuple(order.index(i) for i in range(len(order)))})
    found._node = None  # nobody else has the memory
    return found


def _order_like(name: str, input: Tensor, memory_format: MemoryFormat | None) -> Sequence[int] | None:
    """In which order the axes of a tensor like ``input`` stand in memory: in its own where it has no gaps."""
    if memory_format is not None and memory_format is not preserve_format:
        check_format(name, memory_format)
        return order_of(name, memory_format, input.ndim)
    if input._key.level is not None or input.is_contiguous():
        return None
    lay = input.layout_
    return input.dim_order() if is_dense(lay.shape, lay.strides) else None


def full_at(like: Tensor, shape: Sequence[int], value: Fill, dtype: DType | None = None) -> Tensor:
    """A full tensor at the device, level and (by default) dtype of ``like``, with memory of its own to write to."""
    chosen = dtype or like.dtype
    level = like._key.level
    if level is not None:
        made: Tensor = level.full(like, tuple(shape), value, chosen)
        return made
    return _made("full", value, tuple(shape), chosen, like.device)


def full_like(
    input: Tensor, fill_value: Fill, *, dtype: DTypeLike | None = None, device: DeviceLike = None,
    requires_grad: bool = False, layout: Layout | None = None, memory_format: MemoryFormat | None = None,
) -> Tensor:  # fmt: skip
    """A full tensor of the shape, dtype and device of ``input``.

    >>> fb.full_like(fb.ones(2), 7)
    tensor([7., 7.])
    """
    return _like(input, fill_value, dtype, device, requires_grad, memory_format)


def _like(
    input: Tensor, fill_value: Fill, dtype: DTypeLike | None, device: DeviceLike, requires_grad: bool,
    memory_format: MemoryFormat | None,
) -> Tensor:  # fmt: skip
    chosen = input.dtype if dtype is None else dt.as_dtype(dtype)
    fill_value = _fill("full_like", fill_value, chosen)
    order = _order_like("full_like", input, memory_format)
    if order is not None:
        where = input.device if device is None else located(device)
        return finished(_ordered("full", fill_value, tuple(input._array.shape), chosen, where, order), requires_grad)
    if device is None or located(device) is input.device:
        return finished(full_at(input, input._array.shape, fill_value, chosen), requires_grad)
    return full(tuple(input.shape), fill_value, dtype=chosen, device=device, requires_grad=requires_grad)


def zeros_like(
    input: Tensor, *, dtype: DTypeLike | None = None, device: DeviceLike = None, requires_grad: bool = False,
    layout: Layout | None = None, memory_format: MemoryFormat | None = None,
) -> Tensor:  # fmt: skip
    """Zeros of the shape, dtype and device of ``input``.

    >>> fb.zeros_like(fb.ones(2))
    tensor([0., 0.])
    """
    return _like(input, 0, dtype, device, requires_grad, memory_format)


def ones_like(
    input: Tensor, *, dtype: DTypeLike | None = None, device: DeviceLike = None, requires_grad: bool = False,
    layout: Layout | None = None, memory_format: MemoryFormat | None = None,
) -> Tensor:  # fmt: skip
    """Ones of the shape, dtype and device of ``input``.

    >>> fb.ones_like(fb.zeros(2))
    tensor([1., 1.])
    """
    return _like(input, 1, dtype, device, requires_grad, memory_format)


def empty_like(
    input: Tensor, *, dtype: DTypeLike | None = None, device: DeviceLike = None, requires_grad: bool = False,
    layout: Layout | None = None, memory_format: MemoryFormat | None = None,
) -> Tensor:  # fmt: skip
    """Undefined values of the shape, dtype and device of ``input``.

    >>> fb.empty_like(fb.ones(2, 3)).shape
    flambeau.Size([2, 3])
    """
    chosen = input.dtype if dtype is None else dt.as_dtype(dtype)
    if input._key.level is not None and device is None:  # to be written to, perhaps by a value for each of a batch
        return finished(full_at(input, input._array.shape, 0, chosen), requires_grad)
    order = _order_like("empty_like", input, memory_format)
    if order is not None:
        where = input.device if device is None else located(device)
        return finished(_ordered("empty", None, tuple(input._array.shape), chosen, where, order), requires_grad)
    return empty(tuple(input.shape), dtype=chosen, device=device or input.device, requires_grad=requires_grad)


def zeros_at(like: Tensor, shape: Sequence[int]) -> Tensor:
    """Zeros of another shape at the dtype, device and level of ``like``, to be written to in place."""
    return full_at(like, shape, 0)


def arange(
    start: float | Tensor = 0, end: float | Tensor | None = None, step: float | Tensor = 1, *,
    out: Tensor | None = None, dtype: DTypeLike | None = None, device: DeviceLike = None,
    requires_grad: bool = False, layout: Layout | None = None,
) -> Tensor:  # fmt: skip
    """Numbers from ``start`` (0 when only one is given) up to but not including ``end``.

    >>> fb.arange(3)
    tensor([0, 1, 2])
    >>> fb.arange(0, 1, 0.25)
    tensor([0.0000, 0.2500, 0.5000, 0.7500])
    """
    if end is None:
        start, end = 0, start
    start, end, step = (v.item() if isinstance(v, Tensor) else v for v in (start, end, step))
    if step == 0:
        raise ArgumentError("arange: step must be nonzero")
    if not all(math.isfinite(v) for v in (start, end, step)):
        raise ArgumentError(f"arange: start, end and step must be finite, got {start}, {end}, {step}")
    if (end - start) * step < 0:
        raise ArgumentError(
            f"arange: upper bound {end} and lower bound {start} are inconsistent with the sign of step {step}"
        )
    if dtype is not None:
        chosen = dt.as_dtype(dtype)
        if chosen is dt.int64 and all(math.isfinite(v) for v in (start, end, step)):
            start, end, step = int(start), int(end), int(step) or step
    else:
        chosen = dt.int64 if all(isinstance(v, int) for v in (start, end, step)) else dt.get_default_dtype()
    if chosen is dt.int64:  # as in torch, only then the number of elements, too, is that of the whole parts
        start, end, step = int(start), int(end), int(step)
        if step == 0:
            raise ArgumentError("arange: step must be nonzero in the dtype of the result, int64")
    length = (
        -((start - end) // step)
        if all(isinstance(v, int) for v in (start, end, step))
        else math.ceil((end - start) / step)
    )
    if chosen.category == dt.INTEGER:
        start, step = int(start), int(step)
    where, count = resolve_device(device), max(int(length), 0)
    key, state = key_for(where, chosen), get()
    if state is not None and state.plain and key.arange is not None:
        found = tensor_of(key.arange(start, step, length=count, dtype=chosen, index=where.number), key)
    else:
        found = call(OPS["arange"], (start, step), {"length": count, "dtype": chosen, "device": where})
    check_out("arange", dtype, out)
    return deliver("arange", finished(found, requires_grad), out)


def linspace(
    start: Number | Tensor, end: Number | Tensor, steps: int, *, out: Tensor | None = None,
    dtype: DTypeLike | None = None, device: DeviceLike = None, requires_grad: bool = False,
    layout: Layout | None = None,
) -> Tensor:  # fmt: skip
    """``steps`` numbers evenly from ``start`` to ``end``, both included.

    >>> fb.linspace(0, 1, 5)
    tensor([0.0000, 0.2500, 0.5000, 0.7500, 1.0000])
    """
    chosen, start, end = _ends("linspace", start, end, steps, dtype)
    compute = chosen if chosen.category >= dt.FLOATING else precise(resolve_device(device))
    place = arange(steps, device=device)
    i = place.to(compute)
    step = (end - start) / max(steps - 1, 1)
    # From both ends, so that the last element is exactly `end`.
    low, high = i * step + start, (i - (steps - 1)) * step + end
    found = low.where(place < (steps + 1) // 2, high).to(chosen) if steps > 1 else (i + start).to(chosen)
    check_out("linspace", dtype, out)
    return deliver("linspace", finished(found, requires_grad), out)


def _ends(
    name: str, start: Number | Tensor, end: Number | Tensor, steps: int, dtype: DTypeLike | None
) -> tuple[DType, Any, Any]:  # Any: numbers, complex ones too
    """(The dtype of the result, its ends, tensors where a transform maps over them): those of integers are whole."""
    try:
        count = operator.index(steps)
    except TypeError:
        raise TypeError(f"{name}: steps must be an int, got {steps!r} ({type(steps).__name__})") from None
    if count < 0:
        raise ArgumentError(f"{name}: number of steps must be non-negative, got {steps}")
    first: Any
    last: Any  # Any: whole numbers are made of floats, and of complex ones by an error
    first, last = (v.item() if isinstance(v, Tensor) and v._key.level is None else v for v in (start, end))
    chosen = dt.as_dtype(dtype) if dtype is not None else dt.get_default_dtype()
    if dtype is None and any(type(v).__name__ == "complex" for v in (first, last)):
        chosen = chosen.to_complex()
    if any(isinstance(v, Tensor) for v in (first, last)):  # which stand for a batch
        first, last = (v.detach().to(chosen) if isinstance(v, Tensor) else v for v in (first, last))
        return chosen, first, last
    if chosen.category < dt.COMPLEX and any(isinstance(v, complex) for v in (first, last)):
        raise DTypeError(f"{name}: {first} to {last} are complex numbers, which {chosen.name} does not hold")
    if chosen.category != dt.INTEGER:
        return chosen, first, last
    for v in (first, last):
        check_fits(name, v, chosen)
    return chosen, int(first), int(last)


def logspace(
    start: Number | Tensor, end: Number | Tensor, steps: int, base: float = 10.0, *, out: Tensor | None = None,
    dtype: DTypeLike | None = None, device: DeviceLike = None, requires_grad: bool = False,
    layout: Layout | None = None,
) -> Tensor:  # fmt: skip
    """``base`` to the powers of :func:`linspace`.

    >>> fb.logspace(0, 2, 3)
    tensor([  1.,  10., 100.])
    """
    chosen, start, end = _ends("logspace", start, end, steps, dtype)
    wide = precise(resolve_device(device))
    complex_ = any(isinstance(v, complex) for v in (start, end, base))
    exponents = linspace(start, end, steps, dtype=wide.to_complex() if complex_ else wide, device=device)
    check_out("logspace", dtype, out)
    return deliver("logspace", finished((base**exponents).to(chosen), requires_grad), out)


def eye(
    n: int, m: int | None = None, *, out: Tensor | None = None, dtype: DTypeLike | None = None,
    device: DeviceLike = None, requires_grad: bool = False, layout: Layout | None = None,
) -> Tensor:  # fmt: skip
    """Ones on the diagonal, zeros elsewhere; shape (n, m or n).

    >>> fb.eye(2)
    tensor([[1., 0.],
            [0., 1.]])
    """
    m = n if m is None else m
    if n < 0 or m < 0:
        raise ArgumentError(f"eye: n and m must not be negative, got {n} and {m}")
    chosen = dt.as_dtype(dtype) if dtype is not None else dt.get_default_dtype()
    found = (arange(n, device=device).unsqueeze(1) == arange(m, device=device)).to(chosen)
    check_out("eye", dtype, out)
    return deliver("eye", finished(found, requires_grad), out)


def tril_indices(
    row: int, col: int, offset: int = 0, *, dtype: DTypeLike = dt.int64, device: DeviceLike = None
) -> Tensor:
    """Indices (2, n) of the lower triangle of a (row, col) matrix.

    >>> fb.tril_indices(2, 2)
    tensor([[0, 1, 1],
            [0, 0, 1]])
    """
    return _where("tril_indices", dtype, arange(col, device=device) <= arange(row, device=device).unsqueeze(1) + offset)


def triu_indices(
    row: int, col: int, offset: int = 0, *, dtype: DTypeLike = dt.int64, device: DeviceLike = None
) -> Tensor:
    """Indices (2, n) of the upper triangle of a (row, col) matrix.

    >>> fb.triu_indices(2, 2)
    tensor([[0, 0, 1],
            [0, 1, 1]])
    """
    return _where("triu_indices", dtype, arange(col, device=device) >= arange(row, device=device).unsqueeze(1) + offset)


def _where(name: str, dtype: DTypeLike, mask: Tensor) -> Tensor:
    chosen = dt.as_dtype(dtype)
    if chosen not in (dt.int32, dt.int64):
        raise UnsupportedDTypeError(f"{name}: not implemented for {chosen.name}; it takes int32, int64")
    return mask.nonzero().T.contiguous().to(chosen)


def new_like(method: str) -> Callable[..., Tensor]:
    """The ``new_zeros`` family: the dtype and device of ``self`` are the defaults."""
    value = 1 if method == "new_ones" else 0

    def new(
        self: Tensor, *sizes: Sizes, size: Sizes | None = None, dtype: DTypeLike | None = None,
        device: DeviceLike = None, requires_grad: bool = False, layout: Layout | None = None,
        pin_memory: bool = False,
    ) -> Tensor:  # fmt: skip
        shape = _shape(sizes if size is None else (size,), method)
        return new_full(
            self, shape, value, dtype=dtype, device=device, requires_grad=requires_grad, pin_memory=pin_memory
        )

    new.__name__, new.__doc__ = method, f"``{method[4:]}(...)`` with this tensor's dtype and device by default."
    return new


@public(function=False)
def new_full(
    self: Tensor, size: Sizes, fill_value: Fill, *, dtype: DTypeLike | None = None, device: DeviceLike = None,
    requires_grad: bool = False, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """``full(...)`` with this tensor's dtype and device by default.

    >>> fb.ones(1).new_full((2,), 3)
    tensor([3., 3.])
    """
    chosen = self.dtype if dtype is None else dt.as_dtype(dtype)
    fill_value = _fill("new_full", fill_value, chosen)
    if device is None or located(device) is self.device:
        made = full_at(self, _shape((size,), "new_full"), fill_value, chosen)
    else:
        made = full(size, fill_value, dtype=chosen, device=device)
    return finished(made, requires_grad, pin_memory)


for _name in ("new_zeros", "new_ones", "new_empty"):
    public(function=False)(new_like(_name))


def _construct(*data: Any, device: DeviceLike = None) -> Tensor:  # Any: sizes, or data of any kind
    """What ``Tensor(...)`` gives."""
    if len(data) == 1 and isinstance(data[0], Tensor):
        same: Tensor = OPS["view"].function(data[0], tuple(data[0].shape))  # it shares memory and history
        return same
    if len(data) == 1 and not isinstance(data[0], Size) and isinstance(data[0], (list, tuple, np.ndarray)):
        return tensor(data[0], dtype=dt.get_default_dtype(), device=device)
    if all(isinstance(n, Size) or isinstance(n, int) and not isinstance(n, bool) for n in data):
        return empty(*data or (0,), device=device)
    kinds = ", ".join(type(v).__name__ for v in data)
    raise TypeError(f"Tensor: expected sizes, a sequence or a tensor, got {kinds}; flambeau.tensor takes numbers")


_construct.__name__ = _construct.__qualname__ = "Tensor"  # what errors of Python name
TensorType.construct = staticmethod(_construct)
explain_functions(
    globals(),
    "full zeros ones empty full_like zeros_like ones_like empty_like arange linspace logspace eye tril_indices "
    "triu_indices",
)
