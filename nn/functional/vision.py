"""Images: padding, resampling, rearranging channels, in torch's signatures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from flambeau.core.arguments import bounded
from flambeau.core.creation import linspace, zeros_like
from flambeau.core.dtype import int64
from flambeau.core.errors import ShapeError
from flambeau.core.ops.elementwise import where
from flambeau.core.ops.joining import stack
from flambeau.core.ops.nn.pool import adaptive_avg_pool
from flambeau.core.ops.padding import pad as pad
from flambeau.core.tensor import Tensor


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """Channels to pixels: (..., C r², H, W) to (..., C, H r, W r). Shi et al., arXiv:1609.05158.

    >>> fb.nn.functional.pixel_shuffle(fb.ones(1, 4, 2, 2), 2).shape
    flambeau.Size([1, 1, 4, 4])
    """
    r = upscale_factor
    if input.ndim < 3 or r < 1 or input.shape[-3] % (r * r):
        raise ShapeError(
            f"pixel_shuffle: the channels of input {tuple(input.shape)} must divide by upscale_factor²={r * r}"
        )
    *lead, c, h, w = input.shape
    n = len(lead)
    x = input.reshape(*lead, c // (r * r), r, r, h, w)
    return x.permute(*range(n + 1), n + 3, n + 1, n + 4, n + 2).reshape(*lead, c // (r * r), h * r, w * r)


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """Pixels to channels: (..., C, H r, W r) to (..., C r², H, W).

    >>> fb.nn.functional.pixel_unshuffle(fb.ones(1, 1, 4, 4), 2).shape
    flambeau.Size([1, 4, 2, 2])
    """
    r = downscale_factor
    if input.ndim < 3 or r < 1 or input.shape[-2] % r or input.shape[-1] % r:
        raise ShapeError(
            f"pixel_unshuffle: height and width of input {tuple(input.shape)} must divide by downscale_factor={r}"
        )
    *lead, c, h, w = input.shape
    n = len(lead)
    x = input.reshape(*lead, c, h // r, r, w // r, r)
    return x.permute(*range(n + 1), n + 2, n + 4, n + 1, n + 3).reshape(*lead, c * r * r, h // r, w // r)


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """The channels of (N, C, ...) dealt out over ``groups``.

    >>> fb.nn.functional.channel_shuffle(fb.ones(1, 4, 2, 2), 2).shape
    flambeau.Size([1, 4, 2, 2])
    """
    if input.ndim < 3 or groups < 1 or input.shape[1] % groups:
        raise ShapeError(f"channel_shuffle: the channels of input {tuple(input.shape)} must divide by groups={groups}")
    n, c, *rest = input.shape
    return input.reshape(n, groups, c // groups, *rest).transpose(1, 2).reshape(n, c, *rest)


# -- interpolate -------------------------------------------------------------------------------------
_MODES = {"nearest": (1, 2, 3), "nearest-exact": (1, 2, 3), "linear": (1,), "bilinear": (2,), "bicubic": (2,),
          "trilinear": (3,), "area": (1, 2, 3)}  # fmt: skip


def interpolate(
    input: Tensor, size: int | Sequence[int] | None = None, scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest", align_corners: bool | None = None, recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:  # fmt: skip
    """(N, C, *S) resampled to ``size``, or to its sizes times ``scale_factor``.

    Modes: nearest, nearest-exact, linear, bilinear, trilinear, bicubic, area. ``align_corners`` puts the centres
    of the corner elements, not their edges, in the same places.

    >>> fb.nn.functional.interpolate(fb.ones(1, 1, 4, 4), scale_factor=2).shape
    flambeau.Size([1, 1, 8, 8])
    """
    n = input.ndim - 2
    if n not in _MODES.get(mode, ()):
        raise NotImplementedError(
            f"interpolate: mode {mode!r} does not take input of shape {tuple(input.shape)}; modes: {', '.join(_MODES)}"
        )
    if align_corners is not None and mode in ("nearest", "nearest-exact", "area"):
        raise ValueError("interpolate: align_corners can only be set with the linear and cubic modes")
    if antialias:
        raise NotImplementedError("interpolate: antialias=True is not there; blur the input first")
    out, factors = _resampled_sizes(input, n, size, scale_factor, bool(recompute_scale_factor))
    if mode == "area":
        return adaptive_avg_pool(input, out)
    for i in range(n):
        input = _resample(input, 2 + i, out[i], factors[i], mode, bool(align_corners))
    return input


def _resampled_sizes(
    input: Tensor, n: int, size: Any, factor: Any, again: bool
) -> tuple[tuple[int, ...], list[float | None]]:
    """The result's sizes, and the factors to compute positions with (None: from the sizes)."""
    if (size is None) == (factor is None):
        raise ValueError("interpolate: give one of size and scale_factor")
    if size is not None:
        out = tuple(int(s) for s in size) if isinstance(size, Sequence) else (int(size),) * n
        factors: list[float | None] = [None] * n
    else:
        given = [float(f) for f in factor] if isinstance(factor, Sequence) else [float(factor)] * n
        out = tuple(math.floor(s * f) for s, f in zip(input.shape[2:], given, strict=True))
        factors = [None] * n if again else list(given)
    if len(out) != n or any(s < 1 for s in out):
        raise ValueError(
            f"interpolate: input and output sizes should be greater than 0 and have {n} dimensions, got {out}"
        )
    bounded(max(out), "interpolate: an output size")
    return out, factors


def _resample(x: Tensor, axis: int, out: int, factor: float | None, mode: str, align: bool) -> Tensor:
    """One axis: the sum of neighbours, each with its weight."""
    size = x.shape[axis]
    step = size / out if factor is None else 1 / factor
    if mode in ("nearest", "nearest-exact"):
        if size == out and factor is None:
            return x
        half = 0.5 if mode == "nearest-exact" else 0.0
        places = [min(math.floor((i + half) * step), size - 1) for i in range(out)]
        return x.index_select(axis, x.new_tensor(places, dtype=int64))
    if align:
        step = (size - 1) / (out - 1) if out > 1 else 0.0
    positions = [i * step if align else (i + 0.5) * step - 0.5 for i in range(out)]
    taps = _cubic(positions) if mode == "bicubic" else _linear(positions)
    total: Any = None
    for offsets in zip(*taps, strict=True):
        index = x.new_tensor([min(max(place, 0), size - 1) for place, _ in offsets], dtype=int64)
        shape = [-1 if i == axis else 1 for i in range(x.ndim)]
        weight = x.new_tensor([w for _, w in offsets]).reshape(shape)
        part = x.index_select(axis, index) * weight
        total = part if total is None else total + part
    result: Tensor = total
    return result


def _linear(positions: list[float]) -> list[list[tuple[int, float]]]:
    """Two (place, weight) for each position."""
    taps = []
    for p in (max(p, 0.0) for p in positions):
        low = math.floor(p)
        taps.append([(low, 1 - (p - low)), (low + 1, p - low)])
    return taps


def _cubic(positions: list[float], a: float = -0.75) -> list[list[tuple[int, float]]]:
    """Four (place, weight) for each position. Keys, IEEE TASSP 29 (1981), with a = -0.75."""

    def weight(d: float) -> float:
        d = abs(d)
        if d <= 1:
            return ((a + 2) * d - (a + 3)) * d * d + 1
        return a * (((d - 5) * d + 8) * d - 4) if d < 2 else 0.0

    return [[(math.floor(p) + k, weight(p - math.floor(p) - k)) for k in (-1, 0, 1, 2)] for p in positions]


# -- grids -------------------------------------------------------------------------------------------
def affine_grid(theta: Tensor, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
    """Sampling positions in [-1, 1] of affine maps.

    theta is (N, 2, 3) or (N, 3, 4), size (N, C, *S), the result (N, *S, 2 or 3).

    >>> fb.nn.functional.affine_grid(fb.eye(2, 3).unsqueeze(0), (1, 1, 4, 4)).shape
    flambeau.Size([1, 4, 4, 2])
    """
    n = len(size) - 2
    if n not in (2, 3) or tuple(theta.shape[1:]) != (n, n + 1):
        raise ShapeError(
            "affine_grid: theta (N, 2, 3) goes with size (N, C, H, W), (N, 3, 4) with (N, C, D, H, W); got "
            f"{tuple(theta.shape)} and {tuple(size)}"
        )
    axes = []
    for i, s in enumerate(size[2:]):
        span = linspace(-1, 1, s, dtype=theta.dtype, device=theta.device) if s > 1 else theta.new_zeros(1)
        span = span if align_corners else span * ((s - 1) / s)
        axes.append(span.reshape([-1 if j == i else 1 for j in range(n)]).expand(*size[2:]))
    base = stack([*reversed(axes), axes[0] * 0 + 1], -1).reshape(1, -1, n + 1)
    return (base @ theta.transpose(1, 2)).reshape(size[0], *size[2:], n)


def grid_sample(
    input: Tensor, grid: Tensor, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool | None = None
) -> Tensor:
    """The input (N, C, *S) at positions ``grid`` (N, *L, 2 or 3) in [-1, 1], x first: (N, C, *L).

    ``mode`` is "bilinear" or "nearest", ``padding_mode`` "zeros", "border" or "reflection".

    >>> fb.nn.functional.grid_sample(fb.ones(1, 1, 4, 4), fb.zeros(1, 2, 2, 2), align_corners=False).shape
    flambeau.Size([1, 1, 2, 2])
    """
    n = input.ndim - 2
    if n not in (2, 3) or grid.ndim != n + 2 or grid.shape[-1] != n or grid.shape[0] != input.shape[0]:
        raise ShapeError(
            "grid_sample: input (N, C, H, W) takes grid (N, h, w, 2), (N, C, D, H, W) takes (N, d, h, w, 3); got "
            f"{tuple(input.shape)} and {tuple(grid.shape)}"
        )
    if mode not in ("bilinear", "nearest") or padding_mode not in ("zeros", "border", "reflection"):
        raise ValueError(
            "grid_sample: mode must be 'bilinear' or 'nearest' and padding_mode 'zeros', 'border' or 'reflection', "
            f"got {mode!r} and {padding_mode!r}"
        )
    corner = bool(align_corners)
    sizes = input.shape[2:]
    places = [_place(grid[..., n - 1 - i], sizes[i], padding_mode, corner) for i in range(n)]
    if mode == "nearest":
        return _at(input, [p.detach().round().to(int64) for p in places], None)
    lows = [p.detach().floor() for p in places]
    total: Any = None
    for corner_bits in range(2**n):
        bits = [(corner_bits >> i) & 1 for i in range(n)]
        weight: Any = 1.0
        for p, low, bit in zip(places, lows, bits, strict=True):
            weight = weight * ((p - low) if bit else (low + 1 - p))
        part = _at(input, [(low + bit).to(int64) for low, bit in zip(lows, bits, strict=True)], weight)
        total = part if total is None else total + part
    result: Tensor = total
    return result


def _place(g: Tensor, size: int, padding: str, corner: bool) -> Tensor:
    """A position in [-1, 1] in elements, brought inside as the padding mode wants."""
    p = (g + 1) / 2 * (size - 1) if corner else ((g + 1) * size - 1) / 2
    if padding == "reflection":
        low, span = (0.0, size - 1.0) if corner else (-0.5, float(size))
        if span == 0:
            p = zeros_like(p)
        else:
            p = (p - low).abs()
            turns, rest = (p.detach() / span).floor(), p
            rest = p - turns * span
            p = where(turns % 2 == 0, rest + low, span - rest + low)
    return p if padding == "zeros" else p.clamp(0, size - 1)


def _at(x: Tensor, index: list[Tensor], weight: Any) -> Tensor:
    """Elements of (N, C, *S) at an index per axis (N, *L), 0 outside, times a weight."""
    sizes = x.shape[2:]
    inside: Any = None
    flat: Any = 0
    for i, size in zip(index, sizes, strict=True):
        ok = (i >= 0) & (i < size)
        inside = ok if inside is None else inside & ok
        flat = flat * size + i.clamp(0, size - 1)
    batch, channels, places = x.shape[0], x.shape[1], tuple(index[0].shape[1:])
    taken = x.reshape(batch, channels, -1).gather(2, flat.reshape(batch, 1, -1).expand(batch, channels, -1))
    taken = where(inside.unsqueeze(1), taken.reshape(batch, channels, *places), 0.0)
    return taken if weight is None else taken * weight.unsqueeze(1)
