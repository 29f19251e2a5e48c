"""Windows that taper the ends of a signal: the formulas, and the functions that torch keeps at its top.

Symmetric windows are for filters, periodic ones, whose last point would be that of a symmetric window one longer, for
spectra. F. J. Harris, Proc. IEEE 66 (1978) has the formulas and their names.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Final

from flambeau.core import creation
from flambeau.core import dtype as dt
from flambeau.core.device import DeviceLike
from flambeau.core.dtype import DType, DTypeLike
from flambeau.core.errors import ArgumentError, DTypeError
from flambeau.core.memory_format import Layout
from flambeau.core.ops.elementwise import abs_p, cos_p, exp_p, i0_p, sin_p, sqrt_p
from flambeau.core.public import public
from flambeau.core.tensor import Tensor

#: Makes the points of a window from ``start`` in equal steps.
Points = Callable[[float, float], Tensor]
Formula = Callable[[Points, int], Tensor]


def window(
    length: int, periodic: bool, formula: Formula, dtype: DType, device: DeviceLike, requires_grad: bool
) -> Tensor:
    """``length`` points of ``formula``, which gets its points, and how many a symmetric window would have."""
    if length < 2:
        return creation.ones(length, dtype=dtype, device=device, requires_grad=requires_grad)
    wide = dt.float32 if dtype in dt.LOW_PRECISION else dtype

    def points(start: float, step: float) -> Tensor:
        return creation.linspace(start, start + (length - 1) * step, length, dtype=wide, device=device)

    made = formula(points, length + 1 if periodic else length).to(dtype)
    return made.requires_grad_() if requires_grad else made


# -- formulas ----------------------------------------------------------------------------------------
def cosines(weights: Sequence[float]) -> Formula:
    """The sum of ``weights[k] * cos(k t)`` with alternating signs, for t from 0 to 2 pi."""

    def formula(points: Points, size: int) -> Tensor:
        turn = points(0.0, 2 * math.pi / (size - 1))
        total = turn * 0.0 + weights[0]
        for k, w in enumerate(weights[1:], 1):
            total = total + ((-1) ** k * w) * cos_p(turn * k)
        return total

    return formula


def triangle(points: Points, size: int) -> Tensor:
    """From 0 up to 1 and down to 0."""
    return 1 - abs_p(points(-1.0, 2 / (size - 1)))


def half_turn(points: Points, size: int) -> Tensor:
    """Half a period of a sine, its zeros left out."""
    return sin_p(points(0.5 * math.pi / size, math.pi / size))


def bell(std: float) -> Formula:
    """The density of a normal distribution, 1 in the middle."""

    def formula(points: Points, size: int) -> Tensor:
        scale = 1 / (std * math.sqrt(2))
        at = points(-(size - 1) / 2 * scale, scale)
        return exp_p(-at * at)

    return formula


def decay(center: float | None, tau: float) -> Formula:
    """exp(-abs(distance from the center) / tau)."""

    def formula(points: Points, size: int) -> Tensor:
        middle = (size - 1) / 2 if center is None else center
        return exp_p(-abs_p(points(-middle / tau, 1 / tau)))

    return formula


def bessel(beta: float) -> Formula:
    """Kaiser's: i0(beta * sqrt(1 - t**2)) / i0(beta), for t from -1 to 1."""

    def formula(points: Points, size: int) -> Tensor:
        at = points(-1.0, 2 / (size - 1))
        inside = (1 - at * at).clamp(min=0)
        whole = i0_p(at * 0.0 + float(beta))
        return i0_p(beta * sqrt_p(inside)) / whole

    return formula


BLACKMAN: Final = (0.42, 0.5, 0.08)
NUTTALL: Final = (0.3635819, 0.4891775, 0.1365995, 0.0106411)


# -- torch's older functions -------------------------------------------------------------------------
def _older(
    name: str, length: int, periodic: bool, formula: Formula, dtype: DTypeLike | None, device: DeviceLike,
    requires_grad: bool,
) -> Tensor:  # fmt: skip
    kind = dt.get_default_dtype() if dtype is None else dt.as_dtype(dtype)
    length = operator.index(length)
    if kind.category != dt.FLOATING:
        raise DTypeError(f"{name}: expects a floating-point dtype, got {kind}")
    if length < 0:
        raise ArgumentError(f"{name}: requires a non-negative window_length, got {length}")
    return window(length, periodic, formula, kind, device, requires_grad)


@public(method=False)
def bartlett_window(
    window_length: int, periodic: bool = True, *, dtype: DTypeLike | None = None, layout: Layout | None = None,
    device: DeviceLike = None, pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """A triangle that is 0 at its ends; :func:`flambeau.signal.windows.bartlett` has the symmetric one as default.

    >>> fb.bartlett_window(4)
    tensor([0.0000, 0.5000, 1.0000, 0.5000])
    """
    return _older("bartlett_window", window_length, periodic, triangle, dtype, device, requires_grad)


@public(method=False)
def blackman_window(
    window_length: int, periodic: bool = True, *, dtype: DTypeLike | None = None, layout: Layout | None = None,
    device: DeviceLike = None, pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """0.42 - 0.5 cos(t) + 0.08 cos(2 t), for t from 0 to 2π.

    >>> fb.blackman_window(4)[1:]
    tensor([0.3400, 1.0000, 0.3400])
    """
    return _older("blackman_window", window_length, periodic, cosines(BLACKMAN), dtype, device, requires_grad)


@public(method=False)
def hann_window(
    window_length: int, periodic: bool = True, *, dtype: DTypeLike | None = None, layout: Layout | None = None,
    device: DeviceLike = None, pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """0.5 - 0.5 cos(t), for t from 0 to 2π.

    >>> fb.hann_window(4)
    tensor([0.0000, 0.5000, 1.0000, 0.5000])
    """
    return _older("hann_window", window_length, periodic, cosines((0.5, 0.5)), dtype, device, requires_grad)


@public(method=False)
def hamming_window(
    window_length: int, periodic: bool = True, alpha: float = 0.54, beta: float = 0.46, *,
    dtype: DTypeLike | None = None, layout: Layout | None = None, device: DeviceLike = None, pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """alpha - beta cos(t), for t from 0 to 2π.

    >>> fb.hamming_window(4)
    tensor([0.0800, 0.5400, 1.0000, 0.5400])
    """
    return _older("hamming_window", window_length, periodic, cosines((alpha, beta)), dtype, device, requires_grad)


@public(method=False)
def kaiser_window(
    window_length: int, periodic: bool = True, beta: float = 12.0, *, dtype: DTypeLike | None = None,
    layout: Layout | None = None, device: DeviceLike = None, pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """i0(beta * sqrt(1 - t²)) / i0(beta), for t from -1 to 1: ``beta`` trades width for small side lobes.

    >>> fb.kaiser_window(4, beta=2.0)
    tensor([0.4387, 0.8348, 1.0000, 0.8348])
    """
    return _older("kaiser_window", window_length, periodic, bessel(beta), dtype, device, requires_grad)
