"""Fourier transforms along the last axis, over an array namespace's own."""

from __future__ import annotations

from typing import Final

from flambeau.backends.xp import Array, Bodies, Namespace
from flambeau.core import dtype as dt

bodies = Bodies()
_REAL: Final = (dt.float32, dt.float64)

#: The kernels and their dtypes.
SERVED: Final = {"fft_c2c": dt.COMPLEXES, "fft_r2c": _REAL, "fft_c2r": dt.COMPLEXES}


@bodies.kernel("fft_c2c", SERVED["fft_c2c"])
def fft_c2c(xp: Namespace, x: Array, *, inverse: bool, norm: str) -> Array:
    """Complex numbers to complex ones."""
    return (xp.fft.ifft if inverse else xp.fft.fft)(x, norm=norm) if x.size else x.copy()


@bodies.kernel("fft_r2c", SERVED["fft_r2c"])
def fft_r2c(xp: Namespace, x: Array, *, norm: str) -> Array:
    """Real numbers to the first half of their frequencies."""
    return xp.fft.rfft(x, norm=norm)


@bodies.kernel("fft_c2r", SERVED["fft_c2r"])
def fft_c2r(xp: Namespace, x: Array, *, n: int, norm: str) -> Array:
    """The first half of the frequencies to n real numbers."""
    return xp.fft.irfft(x, n, norm=norm)
