"""Windows that taper the ends of a signal: ``flambeau.signal.windows``.

``M`` points, symmetric by default; with ``sym=False`` periodic, for spectra. They are float32 or float64, 1 where
``M`` is 1, and raise ValueError for a negative ``M`` or another dtype.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable

from flambeau.core import creation as _creation
from flambeau.core import dtype as _dt
from flambeau.core.blame import explain_imported as _explain_imported
from flambeau.core.device import DeviceLike
from flambeau.core.dtype import DTypeLike
from flambeau.core.errors import ArgumentError, DTypeError
from flambeau.core.memory_format import Layout, strided
from flambeau.core.methods import give_homes as _give_homes
from flambeau.core.ops import windows as _windows
from flambeau.core.tensor import Tensor

__all__ = [
    "bartlett", "blackman", "cosine", "exponential", "gaussian", "general_cosine", "general_hamming", "hamming",
    "hann", "kaiser", "nuttall",
]  # fmt: skip


def _made(
    name: str, M: int, sym: bool, formula: _windows.Formula, dtype: DTypeLike | None, layout: Layout,
    device: DeviceLike, requires_grad: bool,
) -> Tensor:  # fmt: skip
    if layout is not strided:
        raise ArgumentError(f"{name}: is there for strided tensors only, got layout {layout}")
    kind = _dt.get_default_dtype() if dtype is None else _dt.as_dtype(dtype)
    if kind not in (_dt.float32, _dt.float64):
        raise _WindowDTypeError(f"{name}: expects float32 or float64, got {kind}")
    M = operator.index(M)
    if M < 0:
        raise ArgumentError(f"{name}: requires a non-negative window length, got M={M}")
    return _windows.window(M, not sym, formula, kind, device, requires_grad)


class _WindowDTypeError(DTypeError, ValueError):
    """A dtype that windows do not have: a ValueError in torch."""


def bartlett(
    M: int, *, sym: bool = True, dtype: DTypeLike | None = None, layout: Layout = strided,
    device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """A triangle that is 0 at its ends.

    >>> fb.signal.windows.bartlett(5)
    tensor([0.0000, 0.5000, 1.0000, 0.5000, 0.0000])
    """
    return _made("bartlett", M, sym, _windows.triangle, dtype, layout, device, requires_grad)


def blackman(
    M: int, *, sym: bool = True, dtype: DTypeLike | None = None, layout: Layout = strided,
    device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """0.42 - 0.5 cos(t) + 0.08 cos(2 t), for t from 0 to 2π.

    >>> fb.signal.windows.blackman(4, sym=False)[1:]
    tensor([0.3400, 1.0000, 0.3400])
    """
    return _made("blackman", M, sym, _windows.cosines(_windows.BLACKMAN), dtype, layout, device, requires_grad)


def cosine(
    M: int, *, sym: bool = True, dtype: DTypeLike | None = None, layout: Layout = strided,
    device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Half a period of a sine, whose zeros would be half a point outside.

    >>> fb.signal.windows.cosine(3)
    tensor([0.5000, 1.0000, 0.5000])
    """
    return _made("cosine", M, sym, _windows.half_turn, dtype, layout, device, requires_grad)


def exponential(
    M: int, *, center: float | None = None, tau: float = 1.0, sym: bool = True, dtype: DTypeLike | None = None,
    layout: Layout = strided, device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """exp(-abs(n - center) / tau); a ``center`` other than the middle is for ``sym=False``.

    >>> fb.signal.windows.exponential(3)
    tensor([0.3679, 1.0000, 0.3679])
    """
    if tau <= 0:
        raise ArgumentError(f"exponential: tau must be positive, got {tau}")
    if sym and center is not None:
        raise ArgumentError(f"exponential: center must be None for symmetric windows, got {center}")
    found = _made("exponential", M, sym, _windows.decay(center, tau), dtype, layout, device, requires_grad)
    if M == 1 and center is not None:
        return _creation.full_like(found, math.exp(-abs(center) / tau), requires_grad=requires_grad)
    return found


def gaussian(
    M: int, *, std: float = 1.0, sym: bool = True, dtype: DTypeLike | None = None, layout: Layout = strided,
    device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """The density of a normal distribution of deviation ``std`` points, 1 in the middle.

    >>> fb.signal.windows.gaussian(3)
    tensor([0.6065, 1.0000, 0.6065])
    """
    if std <= 0:
        raise ArgumentError(f"gaussian: std must be positive, got {std}")
    return _made("gaussian", M, sym, _windows.bell(std), dtype, layout, device, requires_grad)


def general_cosine(
    M: int, *, a: Iterable[float], sym: bool = True, dtype: DTypeLike | None = None, layout: Layout = strided,
    device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """The sum of ``a[k] * cos(k t)`` with alternating signs, for t from 0 to 2π.

    >>> fb.signal.windows.general_cosine(3, a=[0.5, 0.5])
    tensor([0., 1., 0.])
    """
    if not isinstance(a, Iterable):
        raise TypeError(f"general_cosine: a must be a list or tuple of coefficients, got {type(a).__name__}")
    weights = tuple(a)
    if not weights:
        raise ArgumentError("general_cosine: a, the coefficients, must not be empty")
    return _made("general_cosine", M, sym, _windows.cosines(weights), dtype, layout, device, requires_grad)


def general_hamming(
    M: int, *, alpha: float = 0.54, sym: bool = True, dtype: DTypeLike | None = None, layout: Layout = strided,
    device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """alpha - (1 - alpha) cos(t), for t from 0 to 2π.

    >>> fb.signal.windows.general_hamming(3)
    tensor([0.0800, 1.0000, 0.0800])
    """
    return _made("general_hamming", M, sym, _windows.cosines((alpha, 1 - alpha)), dtype, layout, device, requires_grad)


def hamming(
    M: int, *, sym: bool = True, dtype: DTypeLike | None = None, layout: Layout = strided,
    device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """0.54 - 0.46 cos(t), for t from 0 to 2π.

    >>> fb.signal.windows.hamming(3)
    tensor([0.0800, 1.0000, 0.0800])
    """
    return _made("hamming", M, sym, _windows.cosines((0.54, 0.46)), dtype, layout, device, requires_grad)


def hann(
    M: int, *, sym: bool = True, dtype: DTypeLike | None = None, layout: Layout = strided,
    device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """0.5 - 0.5 cos(t), for t from 0 to 2π.

    >>> fb.signal.windows.hann(4, sym=False)
    tensor([0.0000, 0.5000, 1.0000, 0.5000])
    """
    return _made("hann", M, sym, _windows.cosines((0.5, 0.5)), dtype, layout, device, requires_grad)


def kaiser(
    M: int, *, beta: float = 12.0, sym: bool = True, dtype: DTypeLike | None = None, layout: Layout = strided,
    device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """i0(beta * sqrt(1 - t²)) / i0(beta), for t from -1 to 1.

    >>> fb.signal.windows.kaiser(3, beta=2.0)
    tensor([0.4387, 1.0000, 0.4387])
    """
    if beta < 0:
        raise ArgumentError(f"kaiser: beta must be non-negative, got {beta}")
    return _made("kaiser", M, sym, _windows.bessel(beta), dtype, layout, device, requires_grad)


def nuttall(
    M: int, *, sym: bool = True, dtype: DTypeLike | None = None, layout: Layout = strided,
    device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Four terms of cosines, whose side lobes are below -93 dB.

    >>> fb.signal.windows.nuttall(4, sym=False)[1:]
    tensor([0.2270, 1.0000, 0.2270])
    """
    return _made("nuttall", M, sym, _windows.cosines(_windows.NUTTALL), dtype, layout, device, requires_grad)


_explain_imported(globals())
_give_homes(__name__, {name: globals()[name] for name in __all__})
