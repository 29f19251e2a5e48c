"""Random words and sequences: kernels that have no operands."""

from __future__ import annotations

import struct
from functools import partial

from flambeau.backends.dialect import random as texts
from flambeau.backends.launched.elementwise import spread
from flambeau.backends.launched.launcher import Launcher
from flambeau.backends.strided import StridedArray
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType


def register(backend: Launcher) -> None:
    backend.kernels.register("random_bits", partial(random_bits, backend))
    backend.kernels.register("arange", partial(arange, backend))


def random_bits(backend: Launcher, seed: int, offset: int, *, length: int, index: int = 0) -> StridedArray:
    """``length`` words of Philox4x32-10 from the block ``offset`` on."""
    out = backend.empty((length,), dt.uint32, index)
    if length:
        device = backend.device(index)
        kernel = device.kernel(("bits",), "bits", lambda: texts.bits_source(device.target))
        count = -(-length // 4)
        chunk, items, group = spread(device, count)
        wrapped = [int(v) & (2**64 - 1) for v in (seed, offset)]
        device.launch(kernel, (), (out,), struct.pack("3q2Q", count, chunk, length, *wrapped), items, group)
    return out


def arange(
    backend: Launcher, start: complex, step: complex, *, length: int, dtype: DType, index: int = 0
) -> StridedArray:
    """``start + i * step``, computed in float64 where the device has it."""
    if dtype.category == dt.COMPLEX:
        real = arange(backend, start, step, length=length, dtype=dtype.to_real(), index=index)
        out = backend.empty((length,), dtype, index)
        backend.copy_into(out, real)
        return out
    out = backend.empty((length,), dtype, index)
    if length:
        device = backend.device(index)
        kernel = device.kernel(("arange", dtype), "arange", lambda: texts.arange_source(dtype, device.target))
        chunk, items, group = spread(device, length)
        numbers = struct.pack("4q", length, chunk, *_whole(start, step, dtype)) + _real(start, step, device.target.fp64)
        device.launch(kernel, (), (out,), numbers, items, group)
    return out


def _whole(start: complex, step: complex, dtype: DType) -> tuple[int, int]:
    """The numbers as wrapped integers; a sequence of integers from fractions rounds each end toward zero."""
    if dtype.category >= dt.FLOATING:
        return 0, 0
    a, b = (int(v.real if isinstance(v, complex) else v) for v in (start, step))
    return _wrapped(a), _wrapped(b)


def _wrapped(value: int) -> int:
    return (value + 2**63) % 2**64 - 2**63


def _real(start: complex, step: complex, fp64: bool) -> bytes:
    a, b = (float(v.real if isinstance(v, complex) else v) for v in (start, step))
    if fp64:
        return struct.pack("2d", a, b)
    return struct.pack("fI", a, 0) + struct.pack("fI", b, 0)
