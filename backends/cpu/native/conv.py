"""Convolutions in float32 and their gradients as machine code: how a call becomes jobs.

Every one is told in three axes, those in front of size 1. The gradient of the input is again a convolution, of the
output's gradient with the turned weight: one for each phase of the stride, each with the taps that meet it (V. Dumoulin
and F. Visin, A guide to convolution arithmetic for deep learning, 2016).

Large ones of 3 × 3 taps and single places go Winograd's way (:mod:`~flambeau.backends.cpu.native.winograd_calls`).

Memory beside the result: for each thread at most a few MB (a panel, and one padded plane or some that share 512 KB),
for the gradient of the weight at most 16 times a block of it, for a strided gradient of the input one phase of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from math import prod
from typing import Any, Final

import numpy as np

from flambeau.backends.cpu.native import conv_forward, conv_weights, depthwise, winograd_calls
from flambeau.backends.cpu.native.after import NOTHING, Applied
from flambeau.backends.cpu.native.conv_tile import Memory, tile_of
from flambeau.backends.cpu.native.micro import Tile
from flambeau.backends.cpu.storage import address
from flambeau.backends.llvm.target import Target

Array = np.ndarray[Any, Any]
Ints = tuple[int, ...]
#: Places of the input that the same taps meet; those taps into the gradient; which of the kernel they are.
Phase = tuple[list[slice], Array, list[int]]

_FLOAT: Final = np.dtype(np.float32)
_LARGEST: Final = 1 << 29  # size of an axis: places in a row are counted in 32 bits
_PANELS: Final = 1 << 16  # numbers in the panels of a chunk
_WORK: Final = 1 << 21  # multiplications that a chunk of planes should have
_CHUNKS: Final = 16  # that there should be, if they can be large enough


@dataclass(frozen=True)
class Shape:
    """A convolution in three axes."""

    batch: int
    channels: int  # of a group
    out_channels: int  # of a group
    groups: int
    inside: Ints
    outside: Ints
    kernel: Ints
    stride: Ints
    padding: Ints
    dilation: Ints

    @property
    def is_depthwise(self) -> bool:
        """Whether each channel is by itself."""
        return self.groups > 1 and self.channels == self.out_channels == 1

    @property
    def is_square(self) -> bool:
        """Whether it is in two axes, by 3 × 3 taps and single places."""
        flat = self.inside[0] == 1 and self.padding[0] == 0
        return flat and self.kernel == (1, 3, 3) and self.stride == self.dilation == (1, 1, 1)

    @cached_property
    def taps(self) -> Array:
        """Where the kernel's places lie when the output's place is 0: (K, 3)."""
        places: Array = np.indices(self.kernel).reshape(3, -1).T
        return np.ascontiguousarray(places * np.array(self.dilation) - np.array(self.padding), np.int64)

    @cached_property
    def phases(self) -> list[Phase]:
        """The phases of the input: how the gradient comes there."""
        return list(_phases(self))


@lru_cache(128)
def _shape(x: Ints, weight: Ints, stride: Ints, padding: Ints, dilation: Ints, groups: int) -> Shape | None:
    """The sizes in three axes; None for what is empty, too large, or of more axes."""
    more = 3 - (len(x) - 2)
    if more < 0 or 0 in x or 0 in weight or weight[0] % groups:
        return None
    inside, kernel = (1,) * more + tuple(x[2:]), (1,) * more + tuple(weight[2:])
    stride, dilation = ((1,) * more + tuple(v) for v in (stride, dilation))
    padding = (0,) * more + tuple(padding)
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    outside = tuple([(n + 2 * p - r) // s + 1 for n, p, r, s in zip(inside, padding, reach, stride, strict=True)])
    if min(outside) < 1 or max(n + 2 * p + r for n, p, r in zip(inside, padding, reach, strict=True)) > _LARGEST:
        return None
    return Shape(
        x[0], weight[1], weight[0] // groups, groups, inside, outside, kernel, stride, padding, dilation
    )  # fmt: skip


def served(*operands: Array | None) -> bool:
    """Whether all are plain float32."""
    return all([x is None or x.dtype == _FLOAT for x in operands])  # noqa: C419  # no generator: asked by every call


def dense(x: Array) -> Array:
    """The operand with its numbers one after the other, where they may stand."""
    return x if x.flags.c_contiguous and x.flags.aligned else x.copy("C")


# -- forward ---------------------------------------------------------------------------------------
def conv(
    target: Target, x: Array, weight: Array, bias: Array | None, *, stride: Ints, padding: Ints, dilation: Ints,
    groups: int, out: Array | None = None, applied: Applied = NOTHING,
) -> Array | None:  # fmt: skip
    """Cross-correlation plus bias, (N, O, *L), then a line over it; None if it is not served.

    ``out``, if given, is dense. A line is not served where each channel is by itself.
    """
    s = _shape(x.shape, weight.shape, stride, padding, dilation, groups)
    if s is None or not served(x, weight, bias):
        return None
    outside = s.outside[3 - (x.ndim - 2) :]
    if s.is_depthwise and applied.values:
        return None
    y = np.empty((s.batch, weight.shape[0], *outside), np.float32) if out is None else out
    x, weight = dense(x), dense(weight)
    if s.is_depthwise:
        _depthwise(target, x, weight, bias, y, s, s.taps, s.outside, s.stride)
    else:
        filters = weight.reshape(s.groups, s.out_channels, s.channels, len(s.taps))
        _dense(target, x, filters, list(range(len(s.taps))), bias, y, s.taps, s.outside, s.stride, applied)
    return y


def _bias(bias: Array | None, count: int) -> Array:
    return np.zeros(count, np.float32) if bias is None else dense(bias)


def _dense(
    target: Target, x: Array, weight: Array, which: list[int], bias: Array | None, y: Array, taps: Array,
    outside: Ints, stride: Ints, applied: Applied = NOTHING,
) -> None:  # fmt: skip
    """The convolution of x with the taps ``which`` of a weight (groups, O, C, taps), which may be a view.

    A line may run twice, the second time over new results: it writes to none of what it reads but to these.
    """
    tile, (groups, out_channels, channels, _) = tile_of(target), weight.shape
    start = _bias(bias, groups * out_channels)
    if winograd_calls.pays(x.shape[0], channels, out_channels, outside) and len(taps) == 9:
        square = winograd_calls.square(taps, stride) if x.ndim == 4 else None
        if square is not None:
            padding, order = square
            nine = [which[i] for i in order]
            sizes = (x.shape[2], x.shape[3]), (outside[1], outside[2])
            if winograd_calls.conv(target, x, weight, nine, start, y, *sizes, padding, applied):
                return
    if weight.flags.c_contiguous and len(which) == weight.shape[3]:
        read, apart = weight, (out_channels * channels * len(which), channels * len(which), 1)
    else:
        read = _arranged(target, weight, which)
        apart = (read.size // groups, 1, tile.rows)
    inside, places, kernel = x.shape[2:], x.shape[0] * prod(outside), len(taps)
    inside = (1,) * (3 - len(inside)) + inside
    blocks = -(-channels // max(1, conv_forward.DEPTH // kernel))
    step = -(-channels // blocks)
    all_panels = -(-places // tile.width)
    panels = max(1, min(_PANELS // (step * kernel * tile.width), all_panels * groups // _CHUNKS))
    memory = Memory((step * kernel + out_channels) * tile.width * panels)
    chunks = -(-all_panels // panels)
    table = np.ascontiguousarray(taps, np.int64)
    conv_forward.forward(target, stride[2] if stride[2] < 3 else 0, applied.after)(
        chunks * groups, address(x), address(read), address(start), address(y), address(table), memory.address,
        memory.bytes, places, channels, out_channels, groups, *inside, kernel, *outside, *stride, step, panels,
        chunks, *apart, *applied.values,
    )  # fmt: skip


def _arranged(target: Target, weight: Array, which: list[int]) -> Array:
    """The weight in the order of reading."""
    groups, out_channels, channels, _ = weight.shape
    rows = tile_of(target).rows
    pieces, kernel = -(-out_channels // rows), len(which)
    found = np.empty((groups * pieces, channels * kernel, rows), np.float32)
    group, row, column, _ = (n // 4 for n in weight.strides)
    table = np.array(which, np.int64)
    conv_forward.arranged(target)(
        groups * pieces, address(weight), address(found), address(table), pieces, out_channels, channels, kernel, row,
        column, group,
    )  # fmt: skip
    return found


def _depthwise(
    target: Target, x: Array, weight: Array, bias: Array | None, y: Array, s: Shape, taps: Array, outside: Ints,
    stride: Ints,
) -> None:  # fmt: skip
    """Each channel of x with its own filter (channels, 1, taps)."""
    inside = (1,) * (5 - x.ndim) + x.shape[2:]
    frame = depthwise.frame(inside, taps, outside, stride, target)
    memory = Memory(frame.floats)
    offsets, start = frame.offsets(taps), _bias(bias, s.groups)
    planes = s.batch * s.groups
    per_chunk = _planes_per_chunk(planes, prod(outside) * len(taps))
    depthwise.forward(target)(
        -(-planes // per_chunk), address(x), address(weight), address(start), address(y), address(offsets),
        memory.address, memory.bytes, planes, s.groups, per_chunk, *frame.numbers, *outside, *stride, len(taps),
    )  # fmt: skip


# -- gradient of the input -------------------------------------------------------------------------
def conv_grad_input(
    target: Target, grad: Array, weight: Array, *, shape: Ints, stride: Ints, padding: Ints, dilation: Ints,
    groups: int, out: Array | None = None, applied: Applied = NOTHING,
) -> Array | None:  # fmt: skip
    """The gradient for an input of ``shape``, then a line over it; None if it is not served.

    ``out``, if given, is dense. A line is served where all of the input meets the same taps of several channels.
    """
    s = _shape(shape, weight.shape, stride, padding, dilation, groups)
    if s is None or not served(grad, weight):
        return None
    if applied.values and (s.is_depthwise or len(s.phases) > 1 or not s.phases[0][2]):
        return None
    if s.is_depthwise and max(s.stride) > 1:
        return _depthwise_strided(target, dense(grad), dense(weight), s).reshape(shape)
    grad, weight = dense(grad), dense(weight).reshape(s.groups, s.out_channels, s.channels, -1)
    flat = np.empty(shape, np.float32) if out is None else out
    whole = flat.reshape(s.batch, shape[1], *s.inside)
    for places, taps, which in s.phases:
        part = whole[:, :, places[0], places[1], places[2]]
        if not part.size:
            continue
        if not which:
            part[...] = 0
            continue
        y = part if part.flags.c_contiguous else np.empty(part.shape, np.float32)
        if s.is_depthwise:  # here with strides of 1 alone
            filters = np.ascontiguousarray(weight[..., which])
            _depthwise(target, grad, filters, None, y, s, taps, y.shape[2:], (1, 1, 1))
        else:
            _dense(target, grad, weight.swapaxes(1, 2), which, None, y, taps, y.shape[2:], (1, 1, 1), applied)
        if y is not part:
            part[...] = y
    return flat


def _depthwise_strided(target: Target, grad: Array, weight: Array, s: Shape) -> Array:
    frame = depthwise.frame(s.inside, s.taps, s.outside, s.stride, target)
    memory, offsets = Memory(frame.floats), frame.offsets(s.taps)
    planes = s.batch * s.groups
    out = np.empty((planes, *s.inside), np.float32)
    per_chunk = _planes_per_chunk(planes, prod(s.outside) * len(s.taps))
    depthwise.scattered(target)(
        -(-planes // per_chunk), address(grad), address(weight), address(out), address(offsets), memory.address,
        memory.bytes, planes, s.groups, per_chunk, *frame.numbers, *s.outside, *s.stride, len(s.taps),
    )  # fmt: skip
    return out


def _planes_per_chunk(planes: int, work: int) -> int:
    """How many planes of so many multiplications a chunk has."""
    return max(1, min(planes // _CHUNKS, _WORK // work))


def _phases(s: Shape) -> Iterator[Phase]:
    axes = list(zip(s.kernel, s.stride, s.padding, s.dilation, strict=True))
    for phase in product(*map(range, s.stride)):
        meets = [[j for j in range(k) if (r + p - j * d) % t == 0] for r, (k, t, p, d) in zip(phase, axes, strict=True)]
        places = list(product(*meets))
        taps = [tuple([(r + a[2] - j * a[3]) // a[1] for r, j, a in zip(phase, v, axes, strict=True)]) for v in places]
        which = [(v[0] * s.kernel[1] + v[1]) * s.kernel[2] + v[2] for v in places]
        yield [slice(r, None, t) for r, t in zip(phase, s.stride, strict=True)], np.array(taps, np.int64), which


# -- gradient of the weight ------------------------------------------------------------------------
def conv_grad_weight(
    target: Target, grad: Array, x: Array, *, shape: Ints, stride: Ints, padding: Ints, dilation: Ints, groups: int
) -> Array | None:
    """The gradient for a weight of ``shape``; None if it is not served."""
    s = _shape(x.shape, shape, stride, padding, dilation, groups)
    if s is None or not served(grad, x):
        return None
    run = _depthwise_weight if s.is_depthwise else _dense_weight
    return run(target, dense(grad), dense(x), s).reshape(shape)


def _depthwise_weight(target: Target, grad: Array, x: Array, s: Shape) -> Array:
    frame = depthwise.frame(s.inside, s.taps, s.outside, s.stride, target)
    count = depthwise.TAPS * -(-len(s.taps) // depthwise.TAPS)
    padded = np.concatenate([s.taps, np.repeat(s.taps[:1], count - len(s.taps), 0)])
    memory, offsets = Memory(frame.floats), frame.offsets(padded)
    out = np.zeros((s.groups, count), np.float32)
    depthwise.weights(target)(
        s.groups, address(x), address(grad), address(out), address(offsets), memory.address, memory.bytes, s.batch,
        s.groups, *frame.numbers, *s.outside, *s.stride, count,
    )  # fmt: skip
    return out[:, : len(s.taps)]


@lru_cache(128)
def _weight_plan(tile: Tile, s: Shape) -> conv_weights.Plan:
    return conv_weights.plan(
        tile, s.batch, s.channels, s.out_channels, s.groups, s.inside, s.padding, s.taps, s.outside
    )  # fmt: skip


def _dense_weight(target: Target, grad: Array, x: Array, s: Shape) -> Array:
    if s.is_square and winograd_calls.pays(s.batch, s.channels, s.out_channels, s.outside):
        found = np.empty((s.groups * s.out_channels, s.channels, *s.kernel), np.float32)
        sizes = [(n[1], n[2]) for n in (s.inside, s.outside, s.padding)]
        if winograd_calls.conv_grad_weight(target, grad, x, found, s.groups, *sizes):
            return found
    plan = _weight_plan(tile_of(target), s)
    memory, offsets = Memory(plan.floats), plan.offsets
    size = s.groups * s.out_channels * s.channels * len(s.taps)
    out = np.empty((plan.parts, size), np.float32)
    conv_weights.weights(target)(
        plan.chunks * s.groups, address(x), address(grad), address(out), address(offsets), memory.address, memory.bytes,
        s.batch, s.channels, s.out_channels, s.groups, *s.inside, *plan.padded, *s.padding, len(s.taps), *s.outside,
        *s.stride, plan.step, plan.images, plan.parts, plan.width, size,
    )  # fmt: skip
    total: Array = out[0] if plan.parts == 1 else np.add.reduce(out, 0)
    return total
