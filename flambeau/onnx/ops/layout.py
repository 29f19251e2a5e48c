"""Shapes: ops that move numbers and compute with none."""

from __future__ import annotations

import math

import flambeau as fb
from flambeau import Tensor
from flambeau.onnx.errors import OnnxError
from flambeau.onnx.ops import hosted
from flambeau.onnx.plan import Call
from flambeau.onnx.registry import op
from flambeau.onnx.values import Ints, Value, bounded, shape_of


@op("Identity", raw=True)
def identity(call: Call, x: Value) -> Value:
    return x


@op("Shape", raw=True)
def shape(call: Call, x: Value) -> Ints:
    sizes = shape_of(x)
    return Ints(sizes[call["start"] or 0 : call["end"]])


@op("Size", raw=True)
def size(call: Call, x: Value) -> Ints:
    return Ints((math.prod(shape_of(x)),), scalar=True)


@op("Reshape", since=1, layout=True)
def reshape_first(call: Call, x: Tensor) -> Tensor:
    return _reshaped(x, call["shape"] or (), keep_zero=False)


@op("Reshape", since=5, ints=(1,), layout=True, host=hosted.reshape)
def reshape(call: Call, x: Tensor, target: tuple[int, ...]) -> Tensor:
    """A 0 stands for the size that is there, unless ``allowzero``."""
    return _reshaped(x, target, keep_zero=bool(call["allowzero"]))


def _reshaped(x: Tensor, target: tuple[int, ...], *, keep_zero: bool) -> Tensor:
    if not keep_zero:
        if any(n == 0 and i >= x.ndim for i, n in enumerate(target)):
            raise OnnxError(f"the shape {target} copies a size that {tuple(x.shape)} does not have")
        target = tuple(x.shape[i] if n == 0 else n for i, n in enumerate(target))
    if -1 in target and x.numel() == 0:  # what -1 stands for follows from the other sizes alone
        rest = math.prod(n for n in target if n != -1)
        target = tuple((0 if rest else 1) if n == -1 else n for n in target)
    return x.reshape(target)


@op("Flatten", layout=True)
def flatten(call: Call, x: Tensor) -> Tensor:
    axis = call["axis"] + x.ndim if call["axis"] < 0 else call["axis"]
    return x.reshape((math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


@op("Transpose", layout=True)
def transpose(call: Call, x: Tensor) -> Tensor:
    return x.permute(call["perm"] if call["perm"] is not None else tuple(range(x.ndim))[::-1])


@op("Squeeze", since=1, layout=True, host=hosted.squeeze)
def squeeze_first(call: Call, x: Tensor) -> Tensor:
    return _squeezed(x, call["axes"])


@op("Squeeze", since=13, ints=(1,), layout=True, host=hosted.squeeze)
def squeeze(call: Call, x: Tensor, axes: tuple[int, ...] | None = None) -> Tensor:
    return _squeezed(x, axes)


def _squeezed(x: Tensor, axes: tuple[int, ...] | None) -> Tensor:
    if axes is None:
        return x.squeeze()
    if wrong := [a for a in axes if x.shape[a] != 1]:
        raise OnnxError(f"axis {wrong[0]} of the shape {tuple(x.shape)} is not 1")
    return x.squeeze(axes)


@op("Unsqueeze", since=1, layout=True, host=hosted.unsqueeze)
def unsqueeze_first(call: Call, x: Tensor) -> Tensor:
    return _unsqueezed(x, call["axes"])


@op("Unsqueeze", since=13, ints=(1,), layout=True, host=hosted.unsqueeze)
def unsqueeze(call: Call, x: Tensor, axes: tuple[int, ...]) -> Tensor:
    return _unsqueezed(x, axes)


def _unsqueezed(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    rank = x.ndim + len(axes)
    at = {a % rank for a in axes}
    if len(at) != len(axes):
        raise OnnxError(f"the axes {axes} name one twice")
    sizes = iter(x.shape)
    return x.reshape(tuple(1 if i in at else next(sizes) for i in range(rank)))


@op("Concat", since=1, layout=True, host=hosted.concat)
def concat(call: Call, *values: Tensor) -> Tensor:
    axis = call["axis"]
    return values[0].clone() if len(values) == 1 else fb.cat(values, 1 if axis is None else axis)


@op("Split", since=1, layout=True)
def split_first(call: Call, x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
    given = call["split"] if sizes is None else tuple(sizes.tolist())
    return _split(call, x, given)


@op("Split", since=13, ints=(1,), layout=True)
def split(call: Call, x: Tensor, sizes: tuple[int, ...] | None = None) -> tuple[Tensor, ...]:
    return _split(call, x, sizes)


def _split(call: Call, x: Tensor, sizes: tuple[int, ...] | None) -> tuple[Tensor, ...]:
    axis = call["axis"] or 0
    length = x.shape[axis]
    if sizes is None:
        parts = call["num_outputs"] or len(call.step.outputs)
        each = -(-length // parts)
        sizes = tuple(min(each, length - min(each * i, length)) for i in range(parts))
    return tuple(fb.split(x, list(sizes), axis))


@op("Expand", ints=(1,), layout=True)
def expand(call: Call, x: Tensor, target: tuple[int, ...]) -> Tensor:
    return x.expand(bounded(fb.broadcast_shapes(tuple(x.shape), target)))


@op("Tile", since=1, layout=True)
def tile_first(call: Call, x: Tensor, times: Tensor, axis: Tensor) -> Tensor:
    repeats = [1] * x.ndim
    repeats[int(axis.item())] = int(times.item())
    return x.repeat(repeats)


@op("Tile", since=6, ints=(1,), layout=True)
def tile(call: Call, x: Tensor, repeats: tuple[int, ...]) -> Tensor:
    bounded([n * r for n, r in zip(x.shape, repeats, strict=True)])
    return x.repeat(repeats)


@op("DepthToSpace", layout=True)
def depth_to_space(call: Call, x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    b = call["blocksize"]
    if call["mode"] == "CRD":
        parts = x.reshape((n, c // (b * b), b, b, h, w)).permute((0, 1, 4, 2, 5, 3))
    else:
        parts = x.reshape((n, b, b, c // (b * b), h, w)).permute((0, 3, 4, 1, 5, 2))
    return parts.reshape((n, c // (b * b), h * b, w * b))


@op("SpaceToDepth", layout=True)
def space_to_depth(call: Call, x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    b = call["blocksize"]
    order = (0, 1, 3, 5, 2, 4) if call["mode"] == "CRD" else (0, 3, 5, 1, 2, 4)
    return x.reshape((n, c, h // b, b, w // b, b)).permute(order).reshape((n, c * b * b, h // b, w // b))


@op("Trilu")
def trilu(call: Call, x: Tensor, diagonal: Tensor | None = None) -> Tensor:
    k = 0 if diagonal is None else int(diagonal.item())
    k = max(-x.shape[-2], min(k, x.shape[-1]))
    return fb.triu(x, k) if call["upper"] else fb.tril(x, k)


@op("CenterCropPad", ints=(1,), layout=True)
def center_crop_pad(call: Call, x: Tensor, target: tuple[int, ...]) -> Tensor:
    axes = call["axes"] if call["axes"] is not None else range(x.ndim)
    for axis, want in zip(axes, bounded(target), strict=True):
        have = x.shape[axis]
        if want < have:
            x = x.narrow(axis, (have - want) // 2, want)
        elif want > have:
            before = (want - have) // 2
            sides = [0, 0] * x.ndim
            place = 2 * (x.ndim - 1 - axis % x.ndim)
            sides[place : place + 2] = before, want - have - before
            x = fb.nn.functional.pad(x, sides)
    return x
