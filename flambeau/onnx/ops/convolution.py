"""Convolutions, of one to three dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import flambeau as fb
import flambeau.nn.functional as F
from flambeau import Tensor
from flambeau.onnx.errors import OnnxError
from flambeau.onnx.plan import Call
from flambeau.onnx.registry import op

_CONV: dict[int, Any] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED: dict[int, Any] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def sides(pads: Sequence[tuple[int, int]]) -> list[int]:
    """Padding before and after each axis as ``pad`` takes it: the last axis first."""
    return [n for pair in reversed(list(pads)) for n in pair]


def padding(
    call: Call, sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> list[tuple[int, int]]:
    """Padding before and after each spatial axis, by ``pads`` or ``auto_pad``."""
    auto = call["auto_pad"] or "NOTSET"
    if auto == "NOTSET":
        pads = call["pads"] or (0,) * (2 * len(sizes))
        if len(pads) != 2 * len(sizes):
            raise OnnxError(f"the pads {tuple(pads)} are not two for each of {len(sizes)} axes")
        return list(zip(pads[: len(sizes)], pads[len(sizes) :], strict=True))
    if auto == "VALID":
        return [(0, 0)] * len(sizes)
    totals = [
        max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
        for n, k, s, d in zip(sizes, kernel, strides, dilations, strict=True)
    ]
    return [halves(t, upper=auto == "SAME_UPPER") for t in totals]


def halves(total: int, *, upper: bool) -> tuple[int, int]:
    """A total in two, of which the odd one goes to the end if ``upper``."""
    small = total // 2
    return (small, total - small) if upper else (total - small, small)


def settings(call: Call, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Strides and dilations of ``rank`` axes."""
    found = tuple(tuple(call[name] or (1,) * rank) for name in ("strides", "dilations"))
    if any(len(values) != rank or min(values, default=1) < 1 for values in found):
        raise OnnxError(f"strides and dilations {found} do not fit {rank} axes")
    return found[0], found[1]


@op("Conv")
def conv(call: Call, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return convolved(call, x, weight, bias)


def convolved(call: Call, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    rank = x.ndim - 2
    if rank not in _CONV:
        raise call.refuse(f"a convolution over {rank} axes")
    strides, dilations = settings(call, rank)
    pads = padding(call, x.shape[2:], weight.shape[2:], strides, dilations)
    if any(before != after for before, after in pads):
        x = F.pad(x, sides(pads))
        pads = [(0, 0)] * rank
    at = [before for before, _ in pads]
    return _CONV[rank](x, weight, bias, strides, at, dilations, call["group"])  # type: ignore[no-any-return]


@op("ConvTranspose")
def conv_transpose(call: Call, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The whole result, then cut or filled at its edges by what pads and output_shape leave."""
    rank = x.ndim - 2
    if rank not in _TRANSPOSED:
        raise call.refuse(f"a convolution over {rank} axes")
    strides, dilations = settings(call, rank)
    more = call["output_padding"] or (0,) * rank
    kernel = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations, strict=True)]
    full = [(n - 1) * s + k + m for n, s, k, m in zip(x.shape[2:], strides, kernel, more, strict=True)]
    auto = call["auto_pad"] or "NOTSET"
    if call["output_shape"]:
        pads = [
            halves(f - n, upper=auto == "SAME_UPPER") for f, n in zip(full, call["output_shape"][-rank:], strict=True)
        ]
    elif auto in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [n * s for n, s in zip(x.shape[2:], strides, strict=True)]
        pads = [halves(f - n, upper=auto == "SAME_UPPER") for f, n in zip(full, wanted, strict=True)]
    else:
        pads = padding(call, x.shape[2:], weight.shape[2:], strides, dilations)
    out = _TRANSPOSED[rank](x, weight, None, strides, 0, 0, call["group"], dilations)
    edges = [(-before, m - after) for (before, after), m in zip(pads, more, strict=True)]
    if any(a or b for a, b in edges):
        out = F.pad(out, sides(edges))
    return out if bias is None else out + bias.reshape((-1, *(1,) * rank))  # type: ignore[no-any-return]


@op("Col2Im", ints=(1, 2))
def col2im(call: Call, x: Tensor, image: tuple[int, ...], block: tuple[int, ...]) -> Tensor:
    """Blocks of columns added at their places in the image: the transpose of unfolding, on any number of axes."""
    rank = len(image)
    strides, dilations = settings(call, rank)
    pads = padding(call, image, block, strides, dilations)
    channels = x.shape[1] // math.prod(block)
    sizes = [n + a + b for n, (a, b) in zip(image, pads, strict=True)]
    counts = [(n - (k - 1) * d - 1) // s + 1 for n, k, d, s in zip(sizes, block, dilations, strides, strict=True)]
    places = fb.zeros((1,) * (2 * rank), dtype=fb.int64, device=x.device)
    for i in range(rank):
        within = fb.arange(block[i], device=x.device)[:, None] * dilations[i]
        along = within + fb.arange(counts[i], device=x.device) * strides[i]
        shape = [1] * (2 * rank)
        shape[i], shape[rank + i] = block[i], counts[i]
        places = places * sizes[i] + along.reshape(shape)
    rows = x.reshape((x.shape[0] * channels, -1))
    out = fb.zeros((rows.shape[0], math.prod(sizes)), dtype=x.dtype, device=x.device)
    out = out.scatter_add(1, places.reshape((1, -1)).expand(rows.shape), rows)
    return F.pad(out.reshape((x.shape[0], channels, *sizes)), sides([(-a, -b) for a, b in pads]))


@op("DeformConv")
def deform_conv(
    call: Call, x: Tensor, weight: Tensor, offset: Tensor, bias: Tensor | None = None, mask: Tensor | None = None
) -> Tensor:
    """Each tap of the kernel reads the image bilinearly at its place plus an offset (Dai et al., arXiv:1703.06211)."""
    if x.ndim != 4:
        raise call.refuse(f"a deformable convolution over {x.ndim - 2} axes")
    strides, dilations = settings(call, 2)
    (top, _), (left, _) = padding(call, x.shape[2:], weight.shape[2:], strides, dilations)
    n, c, h, w = x.shape
    kh, kw = weight.shape[2:]
    oh, ow = offset.shape[2:]
    groups = call["offset_group"]
    moves = offset.reshape((n, groups, kh, kw, 2, oh, ow))
    rows, columns = (fb.arange(k, device=x.device, dtype=x.dtype) for k in (kh, kw))
    down, along = (fb.arange(k, device=x.device, dtype=x.dtype) for k in (oh, ow))
    y = moves[:, :, :, :, 0] + (down * strides[0] - top).reshape((-1, 1)) + (rows * dilations[0]).reshape((-1, 1, 1, 1))
    z = moves[:, :, :, :, 1] + along * strides[1] - left + (columns * dilations[1]).reshape((-1, 1, 1))
    shape = (n, groups, 1, kh * kw * oh * ow)
    taps = _read(x.reshape((n, groups, c // groups, h * w)), y.reshape(shape), z.reshape(shape), h, w)
    taps = taps.reshape((n, groups, c // groups, kh * kw, oh, ow))
    if mask is not None:
        taps = taps * mask.reshape((n, groups, 1, kh * kw, oh, ow))
    group = call["group"]
    taps = taps.reshape((n, group, c // group * kh * kw, oh * ow))
    kernel = weight.reshape((group, weight.shape[0] // group, -1))
    out = fb.matmul(kernel, taps).reshape((n, weight.shape[0], oh, ow))
    return out if bias is None else out + bias.reshape((-1, 1, 1))


def _read(image: Tensor, y: Tensor, x: Tensor, height: int, width: int) -> Tensor:
    """A flat image read bilinearly at places in pixels; beyond its edges it is 0."""
    top, left = fb.floor(y), fb.floor(x)
    out = fb.zeros((1,), dtype=image.dtype, device=image.device)
    for row, down in ((top, 1 - (y - top)), (top + 1, y - top)):
        for column, along in ((left, 1 - (x - left)), (left + 1, x - left)):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            at = row.clamp(0, height - 1).to(fb.int64) * width + column.clamp(0, width - 1).to(fb.int64)
            values = fb.gather(image, 3, at.expand((*image.shape[:3], -1)))
            out = out + fb.where(inside, down * along, fb.zeros_like(y)) * values
    return out
