"""Images: padding, resampling, rearranging channels, in torch's signatures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from flambeau.core.arguments import bounded
from flambeau.core.autocast import autocasting
from flambeau.core.creation import linspace
from flambeau.core.dtype import FLOATING, LOW_PRECISION, int64, uint8
from flambeau.core.errors import DTypeError, ShapeError
from flambeau.core.ops.joining import stack
from flambeau.core.ops.nn import grid as ops
from flambeau.core.ops.nn.pool import adaptive_avg_pool
from flambeau.core.ops.nn.resample import AxisTaps, resample_p
from flambeau.core.ops.nn.rules import served
from flambeau.core.ops.padding import pad as pad
from flambeau.core.tensor import Tensor
from flambeau.nn.functional import domain


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
    if antialias and mode not in ("bilinear", "bicubic"):
        raise ValueError(f"interpolate: antialias=True is for the modes bilinear and bicubic, got {mode!r}")
    if 0 in input.shape[1:]:
        raise ShapeError(f"interpolate: only the batch of input may be empty, got shape {tuple(input.shape)}")
    out, factors = _resampled_sizes(input, n, size, scale_factor, bool(recompute_scale_factor))
    if mode == "area":
        return adaptive_avg_pool(input, out)
    return _interpolated(input, out, factors, mode, bool(align_corners), antialias)


@autocasting("same|float32")
def _interpolated(
    input: Tensor, out: tuple[int, ...], factors: Sequence[float | None], mode: str, align_corners: bool,
    antialias: bool,
) -> Tensor:  # fmt: skip
    n = len(out)
    if served(resample_p, input):
        axes = zip(input.shape[2:], out, factors, strict=True)
        return resample_p(input, tuple(_taps(*v, mode, align_corners, antialias) for v in axes))
    if mode in ("nearest", "nearest-exact"):
        for i in range(n):
            input = _nearest(input, 2 + i, out[i], factors[i], 0.5 if mode == "nearest-exact" else 0.0)
        return input
    if input.dtype.category < FLOATING and input.dtype is not uint8:
        raise DTypeError(f"interpolate: mode {mode!r} takes floating tensors and uint8, got {input.dtype.name}")
    x = input.float() if input.dtype is uint8 else input
    for i in range(n) if input.dtype is not uint8 else reversed(range(n)):
        x = resample(x, 2 + i, out[i], factors[i], mode, align_corners, antialias, input.dtype is uint8)
        if input.dtype is uint8:  # torch rounds after each axis, the last one first
            x = (x + 0.5).floor().clamp(0, 255)
    return x.to(input.dtype)


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


def _nearest_places(size: int, out: int, factor: float | None, half: float) -> list[int]:
    """The element below each position, or with ``half`` the nearest one."""
    if size == out and factor is None:
        return list(range(size))
    step = size / out if factor is None else 1 / factor
    return [min(math.floor((i + half) * step), size - 1) for i in range(out)]


def _nearest(x: Tensor, axis: int, out: int, factor: float | None, half: float) -> Tensor:
    """One axis: the elements of :func:`_nearest_places`."""
    if x.shape[axis] == out and factor is None:
        return x
    return x.index_select(axis, x.new_tensor(_nearest_places(x.shape[axis], out, factor, half), dtype=int64))


def _weighted(
    size: int, out: int, factor: float | None, mode: str, align: bool, antialias: bool
) -> list[list[tuple[int, float]]]:
    """As many (place, weight) for each result of an axis."""
    step = size / out if factor is None else 1 / factor
    if align:
        step = (size - 1) / (out - 1) if out > 1 else 0.0
    if antialias:
        return _blurred([(i + 0.5) * step for i in range(out)], size, step, mode)
    positions = [i * step if align else (i + 0.5) * step - 0.5 for i in range(out)]
    return _cubic(positions) if mode == "bicubic" else _linear(positions)


@lru_cache(256)
def _taps(size: int, out: int, factor: float | None, mode: str, align: bool, antialias: bool) -> AxisTaps:
    if mode in ("nearest", "nearest-exact"):
        places = _nearest_places(size, out, factor, 0.5 if mode == "nearest-exact" else 0.0)
        return AxisTaps.of(size, [[(place, 1.0)] for place in places])
    return AxisTaps.of(size, _weighted(size, out, factor, mode, align, antialias), antialias)


def resample(
    x: Tensor, axis: int, out: int, factor: float | None, mode: str, align: bool, antialias: bool, whole: bool = False
) -> Tensor:  # fmt: skip
    """One axis: the sum of neighbours, each with its weight; of ``whole`` numbers, weights are rounded as torch's."""
    size = x.shape[axis]
    taps = _weighted(size, out, factor, mode, align, antialias)
    if whole:
        taps = _in_short_integers(taps)
    total: Any = None
    for offsets in zip(*taps, strict=True):
        index = x.new_tensor([min(max(place, 0), size - 1) for place, _ in offsets], dtype=int64)
        shape = [-1 if i == axis else 1 for i in range(x.ndim)]
        weight = x.new_tensor([w for _, w in offsets]).reshape(shape)
        part = x.index_select(axis, index) * weight
        total = part if total is None else total + part
    result: Tensor = total
    return result


def _in_short_integers(taps: list[list[tuple[int, float]]]) -> list[list[tuple[int, float]]]:
    """The weights in as many binary places as the largest allows in 16 bits with a sign, at most 22."""
    largest = max(w for offsets in taps for _, w in offsets)
    places = next((p for p in range(22) if 0.5 + largest * 2 ** (p + 1) >= 2**15), 22)
    scale = 2.0**places
    return [[(at, math.copysign(math.floor(abs(w) * scale + 0.5), w) / scale) for at, w in offsets] for offsets in taps]


def _linear(positions: list[float]) -> list[list[tuple[int, float]]]:
    """Two (place, weight) for each position."""
    taps = []
    for p in (max(p, 0.0) for p in positions):
        low = math.floor(p)
        taps.append([(low, 1 - (p - low)), (low + 1, p - low)])
    return taps


def _cubic(positions: list[float]) -> list[list[tuple[int, float]]]:
    """Four (place, weight) for each position."""
    return [[(math.floor(p) + k, _cubic_weight(p - math.floor(p) - k, -0.75)) for k in (-1, 0, 1, 2)]
            for p in positions]  # fmt: skip


def _cubic_weight(d: float, a: float) -> float:
    """The weight of an element at a distance. Keys, IEEE TASSP 29 (1981)."""
    d = abs(d)
    if d <= 1:
        return ((a + 2) * d - (a + 3)) * d * d + 1
    return a * (((d - 5) * d + 8) * d - 4) if d < 2 else 0.0


def _blurred(centres: list[float], size: int, step: float, mode: str) -> list[list[tuple[int, float]]]:
    """As many (place, weight) for each position as its share of the input is wide, the weights adding up to 1."""
    scale, reach = max(step, 1.0), 2 if mode == "bicubic" else 1
    taps = []
    for centre in centres:
        first = max(int(centre - reach * scale + 0.5), 0)
        places = range(first, min(int(centre + reach * scale + 0.5), size))
        distances = [(j - centre + 0.5) / scale for j in places]
        weights = [_cubic_weight(d, -0.5) if mode == "bicubic" else max(1 - abs(d), 0.0) for d in distances]
        taps.append([(j, w / sum(weights)) for j, w in zip(places, weights, strict=True)])
    widest = max(map(len, taps))
    return [row + [(0, 0.0)] * (widest - len(row)) for row in taps]


# -- grids -------------------------------------------------------------------------------------------
def affine_grid(theta: Tensor, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
    """Sampling positions in [-1, 1] of affine maps.

    theta is (N, 2, 3) or (N, 3, 4), size (N, C, *S), the result (N, *S, 2 or 3).

    >>> fb.nn.functional.affine_grid(fb.eye(2, 3).unsqueeze(0), (1, 1, 4, 4)).shape
    flambeau.Size([1, 4, 4, 2])
    """
    n = len(size) - 2
    if n not in (2, 3) or tuple(theta.shape) != (size[0], n, n + 1) or min(size) < 1:
        raise ShapeError(
            "affine_grid: theta (N, 2, 3) goes with size (N, C, H, W), (N, 3, 4) with (N, C, D, H, W); got "
            f"{tuple(theta.shape)} and {tuple(size)}"
        )
    domain.check_floating("affine_grid", theta=theta)
    axes = []
    for i, s in enumerate(size[2:]):
        span = linspace(-1, 1, s, dtype=theta.dtype, device=theta.device) if s > 1 else theta.new_zeros(1)
        span = span if align_corners else span * ((s - 1) / s)
        axes.append(span.reshape([-1 if j == i else 1 for j in range(n)]).expand(*size[2:]))
    base = stack([*reversed(axes), axes[0] * 0 + 1], -1).reshape(1, -1, n + 1)
    return (base @ theta.transpose(1, 2)).reshape(size[0], *size[2:], n)


@autocasting("float32|widest")
def grid_sample(
    input: Tensor, grid: Tensor, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool | None = None
) -> Tensor:
    """The input (N, C, *S) at positions ``grid`` (N, *L, 2 or 3) in [-1, 1], x first: (N, C, *L).

    ``mode`` is "bilinear", "nearest" or, for images, "bicubic"; ``padding_mode`` "zeros", "border" or "reflection".

    >>> fb.nn.functional.grid_sample(fb.ones(1, 1, 4, 4), fb.zeros(1, 2, 2, 2), align_corners=False).shape
    flambeau.Size([1, 1, 2, 2])
    """
    n = input.ndim - 2
    if n not in (2, 3) or grid.ndim != n + 2 or grid.shape[-1] != n or grid.shape[0] != input.shape[0]:
        raise ShapeError(
            "grid_sample: input (N, C, H, W) takes grid (N, h, w, 2), (N, C, D, H, W) takes (N, d, h, w, 3); got "
            f"{tuple(input.shape)} and {tuple(grid.shape)}"
        )
    if 0 in input.shape[2:]:
        raise ShapeError(f"grid_sample: input of shape {tuple(input.shape)} has no elements to sample")
    if mode not in ops.TAPS or padding_mode not in ops.INSIDE:
        raise ValueError(
            f"grid_sample: mode must be one of {', '.join(map(repr, ops.TAPS))} and padding_mode one of "
            f"{', '.join(map(repr, ops.INSIDE))}, got {mode!r} and {padding_mode!r}"
        )
    if mode == "bicubic" and n != 2:
        raise NotImplementedError("grid_sample: mode 'bicubic' is for 4-D input, images, only")
    domain.check_floating("grid_sample", input=input)
    domain.check_one_dtype("grid_sample", input, grid=grid)
    if input.dtype in LOW_PRECISION:  # positions and weights would have too few digits
        return grid_sample(input.float(), grid.float(), mode, padding_mode, align_corners).to(input.dtype)
    return ops.grid_sample(input, grid, mode, padding_mode, bool(align_corners))
