"""Fourier transforms, and the matrix from frequencies to mels."""

from __future__ import annotations

import math

import flambeau as fb
from flambeau import Tensor
from flambeau.onnx.errors import OnnxError
from flambeau.onnx.plan import Call
from flambeau.onnx.registry import op
from flambeau.onnx.values import DTYPES, bounded


@op("DFT", since=17, ints=(1,))
def dft_first(call: Call, x: Tensor, length: tuple[int, ...] | None = None) -> Tensor:
    """In version 17 the axis is an attribute."""
    return _dft(call, x, length, call["axis"])


@op("DFT", since=20, ints=(1, 2))
def dft(call: Call, x: Tensor, length: tuple[int, ...] | None = None, axis: tuple[int, ...] | None = None) -> Tensor:
    return _dft(call, x, length, axis[0] if axis else -2)


def _dft(call: Call, x: Tensor, length: tuple[int, ...] | None, axis: int) -> Tensor:
    """The last axis holds a real number, or a real and an imaginary part."""
    axis = axis % x.ndim
    if axis == x.ndim - 1:
        raise OnnxError("the transform does not run over the axis of the parts")
    size = length[0] if length else None
    if call["inverse"] and call["onesided"]:
        return fb.fft.irfft(_complex(x), size, axis).unsqueeze(-1)
    if call["inverse"]:
        return fb.view_as_real(fb.fft.ifft(_complex(x), size, axis))
    if call["onesided"]:
        return fb.view_as_real(fb.fft.rfft(x.squeeze(-1), size, axis))
    return fb.view_as_real(fb.fft.fft(_complex(x), size, axis))


def _complex(x: Tensor) -> Tensor:
    if x.shape[-1] == 2:
        return fb.view_as_complex(x.contiguous())
    return x.squeeze(-1).to(fb.complex128 if x.dtype is fb.float64 else fb.complex64)


@op("STFT", ints=(1, 3))
def stft(
    call: Call, x: Tensor, step: tuple[int, ...], window: Tensor | None = None, length: tuple[int, ...] | None = None
) -> Tensor:
    if length is None and window is None:
        raise OnnxError("neither a window nor a length of frames is given")
    size = length[0] if length else window.shape[0]  # type: ignore[union-attr]  # one of the two is there
    signal = _complex(x) if x.shape[-1] == 2 else x.squeeze(-1)
    frames = signal.unfold(1, size, step[0])
    if window is not None:
        frames = frames * window
    onesided = call["onesided"] and not frames.is_complex()
    return fb.view_as_real(fb.fft.rfft(frames) if onesided else fb.fft.fft(frames))


@op("MelWeightMatrix")
def mel_weights(call: Call, bands: Tensor, size: Tensor, rate: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Triangles over the frequencies, at equal distances on the scale of mels."""
    count, length, per_second = int(bands.item()), int(size.item()), int(rate.item())
    bottom, top = (2595 * math.log10(1 + float(v.item()) / 700) for v in (low, high))
    step = (top - bottom) / (count + 2)
    edges = [700 * (10 ** ((i * step + bottom) / 2595) - 1) for i in range(count + 2)]
    bins = [int((length + 1) * hertz // per_second) for hertz in edges]
    rows, columns = bounded((length // 2 + 1, count))
    weights = [[0.0] * columns for _ in range(rows)]
    for i in range(count):
        first, middle, last = bins[i : i + 3]
        for j in range(first, middle + 1):
            weights[j][i] = (j - first) / (middle - first) if middle > first else 1.0
        for j in range(middle, last):
            weights[j][i] = (last - j) / (last - middle)
    return fb.tensor(weights, dtype=DTYPES[call["output_datatype"]], device=call.device)
