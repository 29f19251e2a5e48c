"""Fourier transforms, short-time transforms, windows, special functions and histograms of points in the torch API."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from tests.recorded import Case, on_inputs

CASES: dict[str, Case] = {}
#: PyTorch's own Bessel functions and airy_ai of float64 are exact to 1e-7, its igammac to 1e-8.
ROUNDED = {f"{name} at points": 3e-7 for name in ("bessel_j0", "bessel_j1", "bessel_y0", "bessel_y1", "airy_ai")}
ROUNDED["igammac inside"] = 1e-8
case = on_inputs(CASES)

# -- transforms --------------------------------------------------------------------------------------
_ONE: tuple[dict[str, Any], ...] = ({}, {"n": 4, "dim": 0}, {"n": 7, "norm": "ortho"}, {"norm": "forward"})
_TWO: tuple[dict[str, Any], ...] = (
    {},
    {"s": (4, -1)},
    {"norm": "ortho", "dim": (0, 2)},
    {"s": (2, 5), "norm": "forward"},
)
_ANY: tuple[dict[str, Any], ...] = ({}, {"dim": 1}, {"s": (3, 4)}, {"s": (2, 3), "dim": (2, 0), "norm": "ortho"})
for _end, _options in (("", _ONE), ("2", _TWO), ("n", _ANY)):
    for (_i, _kw), _stem in itertools.product(enumerate(_options), ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")):
        case(f"{_stem}{_end} {_i}", lambda T, m, n=_stem + _end, kw=_kw: getattr(T.fft, n)(m.x(3, 5, 4), **kw))
        if _stem not in ("rfft", "ihfft"):
            case(
                f"{_stem}{_end} {_i} of complex numbers",
                lambda T, m, n=_stem + _end, kw=_kw: getattr(T.fft, n)(T.complex(m.x(3, 4, 4), m.x(3, 4, 4)) * 1, **kw),
            )


def _twice(T: Any, m: Any, name: str) -> Any:
    x = m.x(2, 5)
    found = getattr(T.fft, name)(x)
    (slope,) = T.autograd.grad((found.abs() ** 3).sum(), x, create_graph=True)
    return slope


for _name in ("fft", "rfft", "irfft", "hfft", "ihfft"):
    case(f"the second derivative of {_name}", lambda T, m, name=_name: _twice(T, m, name))


def _on(text: str) -> None:
    CASES[text] = eval(f"lambda T: {text}")


for _text in (
    "T.fft.fft(T.arange(4))",
    "T.fft.rfft(T.tensor([True, False, True]))",
    "T.fft.fft(T.ones(4, dtype=T.float16))",
    "T.fft.rfft(T.ones(4, dtype=T.complex64))",
    "T.fft.ihfft(T.ones(4, dtype=T.complex64))",
    "T.fft.fft(T.ones(4), norm='none')",
    "T.fft.fft(T.ones(4), n=0)",
    "T.fft.fft(T.zeros(3, 0))",
    "T.fft.fft(T.tensor(1.0))",
    "T.fft.fftn(T.tensor(1.0))",
    "T.fft.fftn(T.ones(2, 2), dim=(0, 0))",
    "T.fft.fftn(T.ones(2, 2), s=(2, 2, 2))",
    "T.fft.fftn(T.ones(2, 2), s=(2,), dim=(0, 1))",
    "T.fft.rfftn(T.ones(2), dim=())",
    "T.fft.irfft(T.ones(3, 1))",
    "T.fft.fft(T.ones(2), dim=3)",
    "T.fft.fft(T.ones(2), out=T.empty(0))",
    "T.fft.fft(T.ones(2), out=T.empty(0, dtype=T.complex128))",
    "[T.fft.fftfreq(5, 0.5), T.fft.fftfreq(4), T.fft.rfftfreq(5, 2.0, dtype=T.float64), T.fft.fftfreq(0)]",
    "T.fft.fftfreq(3, dtype=T.int64)",
    "[T.fft.fftshift(T.arange(6).reshape(2, 3), dim=d) for d in (None, 0, (1,), (0, 1))]",
    "[T.fft.ifftshift(T.arange(6).reshape(2, 3), dim=d) for d in (None, 0, (1,), (0, 1))]",
    "T.histogramdd(T.arange(12.0).reshape(6, 2) % 5, bins=[2, 3])",
    "T.histogramdd(T.arange(12.0).reshape(6, 2) % 5, bins=3, density=True, weight=T.arange(6.0))",
    "T.histogramdd(T.arange(12.0).reshape(2, 3, 2) % 5, bins=[2, 2], range=[0.0, 2.0, 1.0, 4.0])",
    "T.histogramdd(T.arange(6.0).reshape(3, 2), [T.tensor([0.0, 2.0, 4.0]), T.tensor([1.0, 3.0])])",
    "T.histogramdd(T.ones(3, 2), [2])",
    "T.histogramdd(T.ones(3), [2])",
    "T.histogramdd(T.ones(3, 2), [2, 2], range=[0.0, 1.0])",
):
    _on(_text)

# -- frames ------------------------------------------------------------------------------------------
_FRAMES: tuple[dict[str, Any], ...] = (
    {}, {"hop_length": 3, "normalized": True}, {"center": False}, {"pad_mode": "constant"}, {"win_length": 5},
    {"onesided": False}, {"return_complex": False}, {"center": False, "win_length": 5, "align_to_window": True},
)  # fmt: skip
for _i, _kw in enumerate(_FRAMES):
    _kw = {"return_complex": True, **_kw}
    case(f"stft {_i}", lambda T, m, kw=_kw: T.stft(m.x(2, 20), 8, **kw))
    case(
        f"stft {_i} with a window",
        lambda T, m, kw=_kw: m.x(20).stft(8, window=m.x(kw.get("win_length", 8), low=0.5), **kw),
    )
for _i, _kw in enumerate(
    ({}, {"length": 11}, {"length": 40}, {"normalized": True}, {"win_length": 7}, {"hop_length": 3})
):
    case(
        f"istft {_i}",
        lambda T, m, kw=_kw: T.istft(
            T.complex(m.x(2, 5, 6), m.x(2, 5, 6)), 8, window=m.x(kw.get("win_length", 8), low=0.5), **kw
        ),
    )
case("stft of complex numbers", lambda T, m: T.stft(T.complex(m.x(2, 20), m.x(2, 20)), 8))
case(
    "istft to complex numbers",
    lambda T, m: T.istft(T.complex(m.x(8, 6), m.x(8, 6)), 8, onesided=False, return_complex=True),
)
for _text in (
    "T.stft(T.ones(20), 8)",
    "T.stft(T.ones(20), 0, return_complex=True)",
    "T.stft(T.ones(20), 30, center=False, return_complex=True)",
    "T.stft(T.ones(20), 64, return_complex=True)",
    "T.stft(T.ones(20), 8, hop_length=0, return_complex=True)",
    "T.stft(T.ones(20), 8, win_length=9, return_complex=True)",
    "T.stft(T.ones(20), 8, window=T.ones(5), return_complex=True)",
    "T.stft(T.ones(20) + 0j, 8, onesided=True)",
    "T.stft(T.ones(20, dtype=T.int64), 8, return_complex=True)",
    "T.stft(T.ones(1, 2, 20), 8, return_complex=True)",
    "T.stft(T.ones(20), 8, return_complex=True, align_to_window=True)",
    "T.istft(T.ones(5, 6), 8)",
    "T.istft(T.ones(5, 6) + 0j, 10)",
    "T.istft(T.ones(5, 6) + 0j, 8, hop_length=9)",
    "T.istft(T.ones(5, 6) + 0j, 8, window=T.zeros(8))",
    "T.istft(T.ones(5, 6) + 0j, 8, center=False, window=T.hann_window(8))",
    "T.istft(T.ones(5, 6) + 0j, 8, return_complex=True)",
    "T.istft(T.ones(5, 0) + 0j, 8)",
):
    _on(_text)

# -- windows -----------------------------------------------------------------------------------------
_WINDOWS: dict[str, dict[str, Any]] = {
    "bartlett": {}, "blackman": {}, "cosine": {}, "exponential": {"tau": 2.0}, "gaussian": {"std": 1.5},
    "general_cosine": {"a": [0.4, 0.3, 0.2]}, "general_hamming": {"alpha": 0.6}, "hamming": {}, "hann": {},
    "kaiser": {"beta": 5.0}, "nuttall": {},
}  # fmt: skip
for _name, _kw in _WINDOWS.items():
    CASES[f"signal.windows.{_name}"] = lambda T, name=_name, kw=_kw: [
        getattr(T.signal.windows, name)(m, sym=sym, dtype=T.float64, **kw)
        for m in (0, 1, 2, 7, 8)
        for sym in (True, False)
    ]
for _name in ("bartlett", "blackman", "hann", "hamming", "kaiser"):
    CASES[f"{_name}_window"] = lambda T, name=_name: [
        getattr(T, f"{name}_window")(m, periodic, dtype=T.float64) for m in (0, 1, 6, 7) for periodic in (True, False)
    ]
for _text in (
    "T.hamming_window(5, False, 0.5, 0.4, dtype=T.float64)",
    "T.kaiser_window(5, True, 3.0, dtype=T.float64)",
    "T.signal.windows.exponential(4, center=1.0, sym=False, dtype=T.float64)",
    "T.signal.windows.exponential(4, center=1.0)",
    "T.signal.windows.exponential(4, tau=0.0)",
    "T.signal.windows.gaussian(4, std=0.0)",
    "T.signal.windows.kaiser(4, beta=-1.0)",
    "T.signal.windows.general_cosine(4, a=[])",
    "T.signal.windows.general_cosine(4, a=3)",
    "T.signal.windows.hann(-1)",
    "T.signal.windows.hann(4, dtype=T.int64)",
    "T.signal.windows.hann(4, requires_grad=True)",
    "T.hann_window(-1)",
    "T.hann_window(4, dtype=T.int64)",
    "T.hann_window(2.5)",
):
    _on(_text)

# -- special functions -------------------------------------------------------------------------------
_POINTS = np.array([np.nan, 0.0, -0.0, -1.5, 0.75, 3.0, 20.0, -20.0])
for _name in (
    "bessel_j0", "bessel_j1", "bessel_y0", "bessel_y1", "modified_bessel_i0", "modified_bessel_i1",
    "modified_bessel_k0", "modified_bessel_k1", "scaled_modified_bessel_k0", "scaled_modified_bessel_k1",
    "spherical_bessel_j0", "airy_ai",
):  # fmt: skip
    CASES[f"{_name} at points"] = lambda T, name=_name: getattr(T.special, name)(T.tensor(_POINTS))
    CASES[f"{_name} of integers"] = lambda T, name=_name: getattr(T.special, name)(T.tensor([0, 1])).dtype
for _name, _low, _high in (
    ("erfcx", -3, 3),
    ("entr", 0.1, 2),
    ("ndtr", -3, 3),
    ("log_ndtr", -9, 3),
    ("ndtri", 0.1, 0.9),
):
    case(f"{_name} inside", lambda T, m, n=_name, a=_low, b=_high: getattr(T.special, n)(m.x(9, low=a, high=b)))
    CASES[f"{_name} at the ends"] = lambda T, name=_name: getattr(T.special, name)(
        T.tensor([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 2.0], dtype=T.float64)
    )
case("xlog1py inside", lambda T, m: T.special.xlog1py(m.x(3, 1), m.x(4, low=-0.9)))
_ENDS = np.array([np.nan, np.inf, 0.0, -1.0, -2.0, 2.0])
for _name, _rows in (("xlog1py", _ENDS), ("gammainc", _ENDS[1:]), ("gammaincc", _ENDS[1:])):  # nan stays nan here
    CASES[f"{_name} at the ends"] = lambda T, name=_name, rows=_rows: getattr(T.special, name)(
        T.tensor(rows[:, None]), T.tensor(rows)
    )
for _name in ("igamma", "igammac"):
    case(
        f"{_name} inside",
        lambda T, m, n=_name: getattr(T, n)(m.x(3, 1, low=0.2, high=40, grad=False), m.x(4, low=0.5, high=40)),
    )
    CASES[f"{_name}_"] = lambda T, name=_name: getattr(T.tensor([2.0, 3.0]), f"{name}_")(T.tensor([1.0, 5.0]))
_DEGREES = np.array([-1.0, 0.0, 1.0, 2.0, 2.5, 7.0])
for _name in (
    *[f"{s}chebyshev_polynomial_{k}" for s in ("", "shifted_") for k in "tuvw"], "hermite_polynomial_h",
    "hermite_polynomial_he", "laguerre_polynomial_l", "legendre_polynomial_p",
):  # fmt: skip
    CASES[_name] = lambda T, name=_name: [
        getattr(T.special, name)(T.tensor([-1.5, -1.0, 0.3, 1.0, 2.0], dtype=T.float64)[:, None], T.tensor(_DEGREES)),
        getattr(T.special, name)(T.tensor([0.25, 3.0], dtype=T.float64), 5),
        getattr(T.special, name)(0.5, T.tensor([3, 0])),
        getattr(T.special, name)(T.tensor([2, 3]), 2),
    ]
CASES["special.softmax"] = lambda T: [
    T.special.softmax(T.tensor([1, 2]), 0, dtype=T.float64), T.special.log_softmax(T.tensor([1.0, 2.0]), 0),
    T.special.multigammaln(T.tensor([3.0, 4.0]), 2),
]  # fmt: skip
