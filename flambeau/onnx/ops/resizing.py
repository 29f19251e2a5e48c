"""Resize and Upsample: each axis by itself, nearest ones by index, others as a product with a matrix of weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import flambeau as fb
import flambeau.nn.functional as F
from flambeau import Tensor
from flambeau.onnx.errors import OnnxError
from flambeau.onnx.plan import Call
from flambeau.onnx.registry import op
from flambeau.onnx.values import bounded


@dataclass(frozen=True, slots=True)
class Axis:
    """How one axis is resized: its sizes, the factor, and the part of it that is cropped out."""

    size: int
    wanted: int
    scale: float
    start: float = 0.0
    end: float = 1.0

    @property
    def length(self) -> float:
        """The size wanted before it was cut to a whole number."""
        return self.scale * self.size

    def positions(self, mode: str) -> Tensor:
        """Where each place of the output lies in the input, by the way of mapping coordinates."""
        at = fb.arange(self.wanted, dtype=fb.float64)
        if mode == "asymmetric":
            return at / self.scale
        if mode == "align_corners":
            return at * ((self.size - 1) / (self.length - 1) if self.wanted > 1 else 0.0)
        if mode == "tf_crop_and_resize":
            if self.wanted == 1:
                return fb.full_like(at, 0.5 * (self.start + self.end) * (self.size - 1))
            return self.start * (self.size - 1) + at * ((self.end - self.start) * (self.size - 1) / (self.length - 1))
        if mode == "tf_half_pixel_for_nn":
            return (at + 0.5) / self.scale
        if mode == "pytorch_half_pixel" and self.wanted == 1:
            return fb.zeros_like(at)
        middle = (at + 0.5) / self.scale - 0.5
        if mode == "half_pixel_symmetric":
            return middle + self.size / 2 * (1 - self.wanted / (self.scale * self.size))
        if mode not in ("half_pixel", "pytorch_half_pixel"):
            raise OnnxError(f"there is no way {mode!r} of mapping coordinates")
        return middle


def _nearest(positions: Tensor, mode: str) -> Tensor:
    rounded: dict[str, Callable[[Tensor], Tensor]] = {
        "floor": fb.floor,
        "ceil": fb.ceil,
        "round_prefer_floor": lambda x: fb.ceil(x - 0.5),
        "round_prefer_ceil": lambda x: fb.floor(x + 0.5),
    }
    if mode not in rounded:
        raise OnnxError(f"there is no way {mode!r} of rounding")
    return rounded[mode](positions).to(fb.int64)


def _tent(x: Tensor, a: float) -> Tensor:
    return (1 - x.abs()).clamp(min=0)


def _cubic(x: Tensor, a: float) -> Tensor:
    """Keys' kernel: IEEE Trans. ASSP 29 (1981) 1153."""
    x = x.abs()
    inner = ((a + 2) * x - (a + 3)) * x * x + 1
    outer = ((x - 5) * x + 8) * x * a - 4 * a
    return fb.where(x <= 1, inner, fb.where(x < 2, outer, fb.zeros_like(x)))


def _matrix(axis: Axis, positions: Tensor, call: Call) -> Tensor:
    """The weight of each input place in each output place, of shape (wanted, size)."""
    cubic = call["mode"] == "cubic"
    shrink = min(axis.scale, 1.0) if call["antialias"] else 1.0
    reach = 2 if cubic else 1
    first = math.floor(-reach / shrink) + 1
    taps = fb.arange(first, reach + 1 - first if shrink < 1 else reach + 1, dtype=fb.float64)
    base = fb.floor(positions)
    places = base[:, None] + taps
    weights = (_cubic if cubic else _tent)((places - positions[:, None]) * shrink, call["cubic_coeff_a"] or -0.75)
    if call["exclude_outside"]:
        weights = fb.where((places >= 0) & (places < axis.size), weights, fb.zeros_like(weights))
    weights = weights / weights.sum(1, keepdim=True)
    at = places.clamp(0, axis.size - 1).to(fb.int64)
    return fb.zeros((axis.wanted, axis.size), dtype=fb.float64).scatter_add(1, at, weights)


def resized(call: Call, x: Tensor, axes: dict[int, Axis], coordinates: str, rounding: str) -> Tensor:
    dtype, computes = x.dtype, x
    outside: Any = None
    for at, axis in axes.items():
        positions = axis.positions(coordinates)
        if coordinates == "tf_crop_and_resize":
            shape = [1] * x.ndim
            shape[at] = -1
            beyond = ((positions < 0) | (positions > axis.size - 1)).reshape(shape)
            outside = beyond if outside is None else outside | beyond
        elif axis.size == axis.wanted and axis.scale == 1:
            continue
        if call["mode"] == "nearest":
            places = _nearest(positions, rounding).clamp(0, axis.size - 1)
            computes = computes.index_select(at, places.to(x.device))
        else:
            wide = computes if computes.is_floating_point() else computes.to(fb.float32)
            matrix = _matrix(axis, positions, call).to(wide.dtype).to(x.device)
            computes = fb.matmul(wide.movedim(at, -1), matrix.t()).movedim(-1, at)
    if outside is not None:
        filler = fb.full_like(computes, call["extrapolation_value"])
        computes = fb.where(outside.to(x.device), filler, computes)
    if not dtype.is_floating_point and computes.is_floating_point():
        info = fb.iinfo(dtype)
        computes = computes.clamp(info.min, info.max)
    return computes.to(dtype)


@op("Upsample", since=1)
def upsample_first(call: Call, x: Tensor) -> Tensor:
    scales = call["scales"] or (1.0, 1.0, call["height_scale"], call["width_scale"])
    return _by_factors(call, x, scales)


@op("Upsample", since=9)
@op("Resize", since=10)
def upsample(call: Call, x: Tensor, scales: Tensor) -> Tensor:
    return _by_factors(call, x, scales.tolist())


def _by_factors(call: Call, x: Tensor, scales: Sequence[float]) -> Tensor:
    axes = {i: Axis(n, _scaled(n, s), s) for i, (n, s) in enumerate(zip(x.shape, scales, strict=True))}
    bounded([a.wanted for a in axes.values()])
    return resized(call, x, axes, "asymmetric", "floor")


def _scaled(size: int, scale: float) -> int:
    if not 0 < scale < 1e6:
        raise OnnxError(f"an axis cannot be scaled by {scale}")
    return math.floor(size * scale)


@op("Resize", since=11, ints=(3,))
def resize(
    call: Call, x: Tensor, roi: Tensor | None = None, scales: Tensor | None = None, sizes: tuple[int, ...] | None = None
) -> Tensor:
    places = [a % x.ndim for a in (range(x.ndim) if call["axes"] is None else call["axes"])]
    have = [x.shape[a] for a in places]
    if sizes:
        factors, wanted = _by_sizes(call, have, bounded(sizes))
    elif scales is not None and scales.numel():
        factors = scales.tolist()
        wanted = [_scaled(n, s) for n, s in zip(have, factors, strict=True)]
    else:
        raise OnnxError("neither scales nor sizes are given")
    bounded(wanted)
    count = len(places)
    crop = roi.tolist() if roi is not None and roi.numel() else [0.0] * count + [1.0] * count
    axes = {a: Axis(have[i], wanted[i], factors[i], crop[i], crop[count + i]) for i, a in enumerate(places)}
    return resized(call, x, axes, call["coordinate_transformation_mode"], call["nearest_mode"])


def _by_sizes(call: Call, have: list[int], sizes: tuple[int, ...]) -> tuple[list[float], list[int]]:
    """With a policy one factor serves all axes, and the sizes are bounds."""
    factors = [m / n for m, n in zip(sizes, have, strict=True)]
    policy = call["keep_aspect_ratio_policy"] or "stretch"
    if policy == "stretch":
        return factors, list(sizes)
    factor = min(factors) if policy == "not_larger" else max(factors)
    return [factor] * len(have), [math.floor(factor * n + 0.5) for n in have]


@op("Pad", since=1, layout=True)
def pad_first(call: Call, x: Tensor) -> Tensor:
    """Before version 11 the widths are an attribute."""
    widths = call["pads"] if call["pads"] is not None else call["paddings"]
    return padded(call, x, widths, float(call["value"]), None)


@op("Pad", since=11, ints=(1, 3), layout=True)
def pad(
    call: Call, x: Tensor, widths: tuple[int, ...], value: Tensor | None = None, axes: tuple[int, ...] | None = None
) -> Tensor:
    return padded(call, x, widths, 0.0 if value is None else value.item(), axes)


def padded(call: Call, x: Tensor, widths: Sequence[int], value: float, axes: Sequence[int] | None) -> Tensor:
    """Constant by one op; the other modes take, on each axis, places of the input itself."""
    at = list(range(x.ndim)) if axes is None else [a % x.ndim for a in axes]
    if len(widths) != 2 * len(at):
        raise OnnxError(f"the widths {tuple(widths)} are not two for each of {len(at)} axes")
    pairs = dict(zip(at, zip(widths[: len(at)], widths[len(at) :], strict=True), strict=True))
    bounded([n + sum(pairs.get(i, (0, 0))) for i, n in enumerate(x.shape)])
    mode = call["mode"]
    if mode == "constant":
        return F.pad(x, [w for i in reversed(range(x.ndim)) for w in pairs.get(i, (0, 0))], value=value)
    for axis, (before, after) in pairs.items():
        if before == after == 0:
            continue
        size = x.shape[axis]
        places = fb.arange(-before, size + after, device=x.device)
        if mode == "edge":
            places = places.clamp(0, size - 1)
        elif mode == "wrap":
            places = fb.remainder(places, size)
        elif mode == "reflect":
            turn = max(2 * (size - 1), 1)
            places = fb.remainder(places, turn)
            places = fb.minimum(places, turn - places) if size > 1 else fb.zeros_like(places)
        else:
            raise OnnxError(f"there is no mode {mode!r} of padding")
        x = x.index_select(axis, places)
    return x
