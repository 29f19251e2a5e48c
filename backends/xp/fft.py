"""Fourier transforms, without a factor of their own: ``scale`` is the whole of it."""

from __future__ import annotations

from typing import Any

from flambeau.backends.base import KernelTable
from flambeau.backends.xp import Array, Bodies
from flambeau.core import dtype as dt

bodies = Bodies()
Ints = tuple[int, ...]


def bind(table: KernelTable, xp: Any) -> None:
    bodies.bind(table, xp)


def _scaled(x: Array, scale: float) -> Array:
    if scale != 1:
        x *= x.real.dtype.type(scale)
    return x


@bodies.kernel("fft_c2c", dt.COMPLEXES)
def fft_c2c(xp: Any, x: Array, *, axes: Ints, inverse: bool, scale: float = 1.0) -> Array:
    """The transform over ``axes``, with the exponent's sign turned if ``inverse``."""
    found = xp.fft.ifftn(x, axes=axes, norm="forward") if inverse else xp.fft.fftn(x, axes=axes)
    return _scaled(found, scale)


@bodies.kernel("fft_r2c", (dt.float32, dt.float64))
def fft_r2c(xp: Any, x: Array, *, axes: Ints, scale: float = 1.0) -> Array:
    """The transform of real numbers over ``axes``: the first half, n // 2 + 1, of the last of them."""
    return _scaled(xp.fft.rfftn(x, axes=axes), scale)


@bodies.kernel("fft_c2r", dt.COMPLEXES)
def fft_c2r(xp: Any, x: Array, *, axes: Ints, size: int, scale: float = 1.0) -> Array:
    """The inverse transform over ``axes`` to real numbers, ``size`` of them along the last, from its first half."""
    sizes = [*(x.shape[a] for a in axes[:-1]), size]
    return _scaled(xp.fft.irfftn(x, sizes, axes=axes, norm="forward"), scale)
