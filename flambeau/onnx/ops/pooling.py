"""Pooling over any number of axes, by views of all windows; the common forms by flambeau's own pooling."""

from __future__ import annotations

from dataclasses import dataclass

import flambeau as fb
import flambeau.nn.functional as F
from flambeau import Tensor
from flambeau.onnx.ops.convolution import padding, settings, sides
from flambeau.onnx.plan import Call
from flambeau.onnx.registry import op

_MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


@dataclass(slots=True)
class Windows:
    """Where a pooling op's windows lie: ``extra`` is what windows that begin inside reach past the padding."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: list[tuple[int, int]]
    extra: list[int]

    def view(self, x: Tensor) -> Tensor:
        """All windows of a padded tensor: their axes come last."""
        for i, (k, s, d) in enumerate(zip(self.kernel, self.strides, self.dilations, strict=True)):
            x = x.unfold(2 + i, (k - 1) * d + 1, s)[..., ::d]
        return x

    def sides(self) -> list[int]:
        return sides([(a, b + e) for (a, b), e in zip(self.pads, self.extra, strict=True)])


def windows(call: Call, x: Tensor) -> Windows:
    kernel = tuple(call["kernel_shape"])
    strides, dilations = settings(call, len(kernel))
    pads = padding(call, x.shape[2:], kernel, strides, dilations)
    extra = []
    for n, k, s, d, (a, b) in zip(x.shape[2:], kernel, strides, dilations, pads, strict=True):
        reach = n + a + b - (k - 1) * d - 1
        count = (-(-reach // s) if call["ceil_mode"] else reach // s) + 1
        if call["ceil_mode"] and (count - 1) * s >= n + a:
            count -= 1
        extra.append(max((count - 1) * s - reach, 0))
    return Windows(kernel, strides, dilations, pads, extra)


def _axes(w: Windows) -> tuple[int, ...]:
    return tuple(range(-len(w.kernel), 0))


@op("MaxPool")
def max_pool(call: Call, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
    """The second output says where each maximum stands in the flat input."""
    w = windows(call, x)
    rank = len(w.kernel)
    if x.is_floating_point():
        usual = (
            rank in _MAX
            and not any(w.extra)
            and all(a == b and 2 * a <= k for (a, b), k in zip(w.pads, w.kernel, strict=True))
        )
        if usual and not call.wants(1):
            return _MAX[rank](x, w.kernel, w.strides, [a for a, _ in w.pads], w.dilations)
        low = -fb.inf
    else:
        low = fb.iinfo(x.dtype).min
    view = w.view(F.pad(x, w.sides(), value=low))
    if not call.wants(1):
        return fb.amax(view, _axes(w))
    best, tap = view.flatten(2 + rank).max(-1)
    return best, _places(call, x, w, tap)


def _places(call: Call, x: Tensor, w: Windows, tap: Tensor) -> Tensor:
    """The flat places in the input of the taps chosen in each window."""
    places = fb.zeros_like(tap)
    rank = len(w.kernel)
    order = range(rank) if not call["storage_order"] else reversed(range(rank))
    along = []
    rest = tap
    for i in reversed(range(rank)):
        shape = [1] * tap.ndim
        shape[2 + i] = tap.shape[2 + i]
        start = fb.arange(tap.shape[2 + i], device=x.device).reshape(shape) * w.strides[i] - w.pads[i][0]
        along.append(start + rest % w.kernel[i] * w.dilations[i])
        rest = fb.div(rest, w.kernel[i], rounding_mode="floor")
    along.reverse()
    for i in order:
        places = places * x.shape[2 + i] + along[i]
    size = x[0, 0].numel()
    images = fb.arange(x.shape[0] * x.shape[1], device=x.device).reshape((*x.shape[:2], *(1,) * rank))
    return places + images * size


@op("AveragePool")
def average_pool(call: Call, x: Tensor) -> Tensor:
    """Padding counts if ``count_include_pad``; what a window reaches past the padding never does."""
    w = windows(call, x)
    total = w.view(F.pad(x, w.sides())).sum(_axes(w))
    ones = fb.ones((1, 1, *x.shape[2:]), dtype=x.dtype, device=x.device)
    ones = F.pad(ones, sides(w.pads), value=float(bool(call["count_include_pad"])))
    return total / w.view(F.pad(ones, sides([(0, e) for e in w.extra]))).sum(_axes(w))


@op("LpPool")
def lp_pool(call: Call, x: Tensor) -> Tensor:
    w = windows(call, x)
    p = call["p"] or 2
    return w.view(F.pad(x, w.sides()).abs() ** p).sum(_axes(w)) ** (1.0 / p)


def _spatial(x: Tensor) -> tuple[int, ...]:
    return tuple(range(2, x.ndim))


@op("GlobalAveragePool")
def global_average_pool(call: Call, x: Tensor) -> Tensor:
    return x.mean(_spatial(x), keepdim=True)


@op("GlobalMaxPool")
def global_max_pool(call: Call, x: Tensor) -> Tensor:
    return fb.amax(x, _spatial(x), keepdim=True)


@op("GlobalLpPool")
def global_lp_pool(call: Call, x: Tensor) -> Tensor:
    p = call["p"] or 2
    return (x.abs() ** p).sum(_spatial(x), keepdim=True) ** (1.0 / p)


@op("MaxUnpool", ints=(2,))
def max_unpool(call: Call, x: Tensor, places: Tensor, shape: tuple[int, ...] | None = None) -> Tensor:
    """Each number at its place in a flat output of zeros."""
    kernel = call["kernel_shape"]
    strides, _ = settings(call, len(kernel))
    pads = call["pads"] or (0,) * (2 * len(kernel))
    least = [
        (n - 1) * s - (a + b) + k
        for n, k, s, a, b in zip(x.shape[2:], kernel, strides, pads[: len(kernel)], pads[len(kernel) :], strict=True)
    ]
    sizes = (*x.shape[:2], *least)
    out = fb.zeros(sizes, dtype=x.dtype, device=x.device)
    out = out.reshape(-1).scatter(0, places.reshape(-1), x.reshape(-1)).reshape(sizes)
    if shape is None or tuple(shape) == sizes:
        return out
    return F.pad(out, sides([(0, want - have) for want, have in zip(shape[2:], least, strict=True)]))
