"""Constructors that torch has beside the common ones: given strides, bytes of a buffer, inclusive ranges."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from mmap import mmap

import numpy as np

from flambeau.core import creation, exchange
from flambeau.core import dtype as dt
from flambeau.core.autocast import autocasting
from flambeau.core.device import DeviceLike
from flambeau.core.dtype import DTypeLike
from flambeau.core.errors import DTypeError, ShapeError, need_tensors
from flambeau.core.from_data import resolve_device
from flambeau.core.keys import precise
from flambeau.core.ops import expand, joining, shape, views
from flambeau.core.out import deliver
from flambeau.core.public import public
from flambeau.core.tensor import Tensor, blank


@public("complex", method=False)
def from_parts(real: Tensor, imag: Tensor, *, out: Tensor | None = None) -> Tensor:
    """A complex tensor from its real and imaginary parts, floating tensors of one dtype that broadcast.

    >>> fb.complex(fb.tensor([1.0]), fb.tensor([2.0]))
    tensor([1.+2.j])
    """
    need_tensors("complex", real=real, imag=imag)
    if real.dtype is not imag.dtype or not real.is_floating_point() or real.dtype is dt.bfloat16:
        raise DTypeError(
            f"complex: real and imag must be float16, float32 or float64 tensors of one dtype, got {real.dtype} "
            f"and {imag.dtype}"
        )
    wide = [t.to(dt.float32) if t.dtype in dt.LOW_PRECISION else t for t in expand.broadcast_tensors(real, imag)]
    return deliver("complex", views.view_as_complex(joining.stack(wide, -1)), out)


@public(method=False)
@autocasting("float32|same")
def polar(abs: Tensor, angle: Tensor, *, out: Tensor | None = None) -> Tensor:
    """A complex tensor from absolute values and angles in radians.

    >>> fb.polar(fb.tensor([2.0]), fb.tensor([0.0]))
    tensor([2.+0.j])
    """
    need_tensors("polar", abs=abs, angle=angle)
    if abs.dtype is not angle.dtype or abs.dtype not in (dt.float32, dt.float64):
        raise DTypeError(f"polar: abs and angle must be float32 or float64 tensors of one dtype, got {abs.dtype} "
                         f"and {angle.dtype}")  # fmt: skip
    return deliver("polar", from_parts(abs * angle.cos(), abs * angle.sin()), out)


@public(method=False)
def empty_strided(
    size: Sequence[int], stride: Sequence[int], *,
    dtype: DTypeLike | None = None, device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """A tensor of undefined values of a shape with the strides given, in elements.

    >>> fb.empty_strided((2, 3), (1, 2)).stride()
    (1, 2)
    """
    sizes, strides = shape.sizes_of("empty_strided", (tuple(size),)), tuple(operator.index(n) for n in stride)
    if len(sizes) != len(strides):
        raise ShapeError(f"empty_strided: size {sizes} and stride {strides} must have the same length")
    reach = 1 + sum((n - 1) * s for n, s in zip(sizes, strides, strict=True)) if 0 not in sizes else 0
    flat = creation.empty(reach, dtype=dtype, device=device)
    made = views.as_strided(flat, sizes, strides, 0)
    out = blank()  # not a view: nobody else has the memory
    out._array, out._key, out._box, out._node = made._array, made._key, None, None
    return out.requires_grad_() if requires_grad else out


@public(method=False)
def empty_permuted(
    size: Sequence[int], physical_layout: Sequence[int], *,
    dtype: DTypeLike | None = None, device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """A tensor of undefined values whose dimensions stand in memory in the order ``physical_layout``.

    >>> fb.empty_permuted((2, 3), (1, 0)).stride()
    (1, 2)
    """
    sizes, order = tuple(size), tuple(physical_layout)
    if sorted(order) != list(range(len(sizes))):
        raise ShapeError(f"empty_permuted: physical_layout {order} must name each dimension of size {sizes} once")
    strides, step = [0] * len(sizes), 1
    for d in reversed(order):
        strides[d] = step
        step *= max(sizes[d], 1)
    return empty_strided(sizes, strides, dtype=dtype, device=device, requires_grad=requires_grad)


@public(function=False)
def new_empty_strided(
    self: Tensor, size: Sequence[int], stride: Sequence[int],
    dtype: DTypeLike | None = None, device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """:func:`empty_strided` with this tensor's dtype and device by default."""
    chosen = self.dtype if dtype is None else dtype
    return empty_strided(size, stride, dtype=chosen, device=device or self.device, requires_grad=requires_grad)


@public(method=False)
def frombuffer(
    buffer: bytes | bytearray | memoryview | mmap, *, dtype: DTypeLike, count: int = -1, offset: int = 0,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """A 1-d tensor over the bytes of ``buffer`` (a bytearray, memoryview, mmap, ...), shared where it can be written.

    ``count`` elements from byte ``offset`` on; -1 takes all that is left.

    >>> fb.frombuffer(bytearray([1, 0, 2, 0]), dtype=fb.int16)
    tensor([1, 2], dtype=flambeau.int16)
    """
    found = exchange.from_numpy(np.frombuffer(buffer, dt.as_dtype(dtype).numpy, count, offset))
    return found.requires_grad_() if requires_grad else found


@public("range", method=False)
def _range(
    start: float = 0, end: float | None = None, step: float = 1, *, out: Tensor | None = None,
    dtype: DTypeLike | None = None, device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Numbers from ``start`` to ``end``, which takes part; torch's older form of :func:`arange`.

    >>> fb.range(1, 3)
    tensor([1., 2., 3.])
    """
    if end is None:
        start, end = 0, start
    count = int((end - start) / step) + 1
    whole = creation.arange(count, dtype=precise(resolve_device(device)), device=device) * step + start
    made = whole.to(dt.get_default_dtype() if dtype is None else dt.as_dtype(dtype))
    if out is not None:
        return deliver("range", made, out)
    return made.requires_grad_() if requires_grad else made
