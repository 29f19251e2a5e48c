"""The discrete Fourier transform along the last axis: three records, and the body that any backend can run.

Their ``norm`` is numpy's: "backward" scales the inverse by 1/n, "forward" the other, "ortho" both by 1/sqrt(n). The
body splits a length into factors of at most 64, which are products with small matrices (J. W. Cooley and J. W. Tukey,
Math. Comp. 19, 1965); a longer prime one becomes a convolution (L. I. Bluestein, IEEE Trans. AU-18, 1970).
"""

from __future__ import annotations

import functools
import math
from typing import Any, Final

import numpy as np

from flambeau.core import dtype as dt
from flambeau.core.declare import OpFunction, composite
from flambeau.core.from_data import as_tensor
from flambeau.core.ops.elementwise import conj_p
from flambeau.core.ops.joining import cat, flip
from flambeau.core.ops.matmul import matmul_p
from flambeau.core.ops.shape import reshape, transpose
from flambeau.core.ops.storage import cast_p, pad_p, unchanged
from flambeau.core.ops.views import narrow, real
from flambeau.core.record import DTypeRule
from flambeau.core.tensor import Tensor

Host = np.ndarray[Any, Any]

#: The norm of a transform's adjoint: the transform of the other direction with the same factor.
ADJOINT: Final = {"backward": "forward", "forward": "backward", "ortho": "ortho"}

_LONGEST: Final = 64  # of a product with a matrix
_COMPLEX: Final = DTypeRule("complex", accepts=dt.COMPLEXES)
_TO_REAL: Final = DTypeRule("complex to real", result="real", accepts=dt.COMPLEXES)
_TO_COMPLEX: Final = DTypeRule("real to complex", result=lambda d, params: d.to_complex(),
                               accepts=(dt.float32, dt.float64))  # fmt: skip


# -- numbers that the host computes ------------------------------------------------------------------
@functools.lru_cache(32)
def _roots(rows: int, columns: int, n: int) -> Host:
    """exp(-2 pi i j k / n) for j < rows and k < columns."""
    turns = np.outer(np.arange(rows), np.arange(columns)) % n
    roots: Host = np.exp(-2j * np.pi / n * turns)
    return roots


@functools.lru_cache(32)
def _chirp(n: int) -> Host:
    """exp(-pi i j**2 / n) for j < n; squares are reduced exactly."""
    return np.exp(-1j * np.pi / n * np.array([j * j % (2 * n) for j in range(n)]))


@functools.lru_cache(32)
def _chirp_filter(n: int, size: int) -> Host:
    """The transform of the conjugate chirp, wrapped around a circle of ``size``."""
    wrapped = np.zeros(size, np.complex128)
    wrapped[:n] = _chirp(n).conj()
    wrapped[size - n + 1 :] = wrapped[1:n][::-1]
    return np.fft.fft(wrapped)


def _sent(host: Host, like: Tensor, inverse: bool) -> Tensor:
    return as_tensor(host.conj() if inverse else host, dtype=like.dtype, device=like.device)


# -- the body ----------------------------------------------------------------------------------------
def _rows(x: Tensor, inverse: bool) -> Tensor:
    """The transform of each row of (rows, n), without a factor."""
    rows, n = x.shape
    if n <= _LONGEST:
        return matmul_p(x, _sent(_roots(n, n, n), x, inverse))
    first = next((f for f in range(_LONGEST, 1, -1) if n % f == 0), None)
    if first is None:
        return _by_convolution(x, inverse)
    rest = n // first
    columns = matmul_p(_sent(_roots(first, first, first), x, inverse), reshape(x, (rows, first, rest)))
    turned = columns * _sent(_roots(first, rest, n), x, inverse)
    inside = reshape(_rows(reshape(turned, (rows * first, rest)), inverse), (rows, first, rest))
    return reshape(transpose(inside, 1, 2), (rows, n))


def _by_convolution(x: Tensor, inverse: bool) -> Tensor:
    """j k = (j**2 + k**2 - (k - j)**2) / 2 makes a transform of n points a convolution of 2 n - 1."""
    n = x.shape[-1]
    size = 1 << (2 * n - 2).bit_length()
    chirp = _sent(_chirp(n), x, inverse)
    padded = pad_p(x * chirp, ((0, 0), (0, size - n)), 0)
    filter_ = _chirp_filter(n, size)
    # The filter is even, so that its conjugate's transform is the conjugate of its transform.
    product = _rows(padded, False) * _sent(filter_, x, inverse)
    return narrow(_rows(product, True), 1, 0, n) * chirp * (1 / size)


def _factor(n: int, inverse: bool, norm: str) -> float:
    if norm == "ortho":
        return 1 / math.sqrt(n)
    return 1 / n if (norm == "backward") == inverse else 1.0


def _c2c(x: Tensor, *, inverse: bool, norm: str) -> Tensor:
    """The transform of complex numbers."""
    n = x.shape[-1]
    if not x.numel():
        return x * 1.0
    found = reshape(_rows(reshape(x, (x.numel() // n, n)), inverse), x.shape)
    factor = _factor(n, inverse, norm)
    return found if factor == 1 else found * factor


fft_c2c_p: OpFunction[Tensor] = composite(
    "fft_c2c(x: Tensor, *, inverse: bool, norm: str) -> Tensor",
    autocast="float32|same", infer=unchanged, dtype=_COMPLEX, batch="same", linear=["x"], public=False,
    vjp=dict(x=lambda g, inverse, norm: fft_c2c_p(g, not inverse, ADJOINT[norm])),
)(_c2c)  # fmt: skip


# -- real numbers on one side ------------------------------------------------------------------------
def _weights(like: Tensor, n: int, inside: float) -> Tensor:
    """1 for the frequencies that stand for themselves, ``inside`` for those that also stand for their conjugate."""
    host = np.full(n // 2 + 1, inside)
    host[0] = 1.0
    if n % 2 == 0:
        host[-1] = 1.0
    return as_tensor(host, dtype=like.dtype.to_real(), device=like.device)


def _r2c(x: Tensor, *, norm: str) -> Tensor:
    """The transform of real numbers: frequencies 0 to n // 2."""
    n = x.shape[-1]
    return narrow(fft_c2c_p(cast_p(x, x.dtype.to_complex()), False, norm), -1, 0, n // 2 + 1)


fft_r2c_p: OpFunction[Tensor] = composite(
    "fft_r2c(x: Tensor, *, norm: str) -> Tensor",
    autocast="float32|same",
    infer=lambda x, *, norm: (*x[:-1], x[-1] // 2 + 1), dtype=_TO_COMPLEX, batch="same", linear=["x"], public=False,
    vjp=dict(x=lambda g, x_shape, norm: fft_c2r_p(g * _weights(g, x_shape[-1], 0.5), x_shape[-1], ADJOINT[norm])),
)(_r2c)  # fmt: skip


def _c2r(x: Tensor, *, n: int, norm: str) -> Tensor:
    """The ``n`` real numbers of which these are the frequencies 0 to n // 2; what makes them complex is left out."""
    behind = flip(conj_p(narrow(x, -1, 1, (n - 1) // 2)), (-1,))
    return real(fft_c2c_p(cat([x, behind], -1), True, norm))


fft_c2r_p: OpFunction[Tensor] = composite(
    "fft_c2r(x: Tensor, *, n: int, norm: str) -> Tensor",
    autocast="float32|same",
    infer=lambda x, *, n, norm: (*x[:-1], n), dtype=_TO_REAL, batch="same", linear=["x"], public=False,
    vjp=dict(x=lambda g, n, norm: (lambda half: half * _weights(half, n, 2.0))(fft_r2c_p(g, ADJOINT[norm]))),
)(_c2r)  # fmt: skip


def transform(x: Tensor, dim: int, inverse: bool, norm: str) -> Tensor:
    """A complex tensor's transform along one dimension, counted from 0."""
    if dim == x.ndim - 1:
        return fft_c2c_p(x, inverse, norm)
    return fft_c2c_p(x.movedim(dim, -1), inverse, norm).movedim(-1, dim)


def half(x: Tensor, dim: int, norm: str) -> Tensor:
    """A real tensor's transform along one dimension, of which the second half is left out."""
    if dim == x.ndim - 1:
        return fft_r2c_p(x, norm)
    return fft_r2c_p(x.movedim(dim, -1), norm).movedim(-1, dim)


def whole(x: Tensor, dim: int, n: int, norm: str) -> Tensor:
    """The ``n`` real numbers along one dimension whose transform's first half is given."""
    if dim == x.ndim - 1:
        return fft_c2r_p(x, n, norm)
    return fft_c2r_p(x.movedim(dim, -1), n, norm).movedim(-1, dim)
