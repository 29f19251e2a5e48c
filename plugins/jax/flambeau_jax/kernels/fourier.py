"""Fourier transforms along the last axis, by XLA's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp

from flambeau.core import dtype as dt
from flambeau_jax.cells import Value

if TYPE_CHECKING:
    from flambeau_jax.backend import JaxBackend


def bind(backend: JaxBackend) -> None:
    backend.function("fft_c2c", fft_c2c, dt.COMPLEXES)
    backend.function("fft_r2c", fft_r2c, (dt.float32, dt.float64))
    backend.function("fft_c2r", fft_c2r, dt.COMPLEXES)


def fft_c2c(x: Value, *, inverse: bool, norm: str) -> Value:
    return (jnp.fft.ifft if inverse else jnp.fft.fft)(x, norm=norm) if x.size else x


def fft_r2c(x: Value, *, norm: str) -> Value:
    return jnp.fft.rfft(x, norm=norm)


def fft_c2r(x: Value, *, n: int, norm: str) -> Value:
    return jnp.fft.irfft(x, n, norm=norm)
