"""Shapes, views and tensors that are made."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import helper, numpy_helper

from flambeau.core import dtype as dt
from flambeau.export.laws import Law
from flambeau.onnx.errors import Unmapped
from flambeau.onnx.table import maps
from flambeau.onnx.writer import Call, element


@maps("view", "reshape")
def view(call: Call, x: str) -> str:
    """Another shape."""
    return call.reshaped(x, call.params["shape"])


@maps("permute")
def permute(call: Call, x: str) -> str:
    """Dimensions in another order."""
    axes = list(call.params["axes"])
    return x if axes == sorted(axes) else call.transposed(x, axes)


@maps("expand")
def expand(call: Call, x: str) -> str:
    """Repeated along dimensions."""
    return str(call.emit("Expand", x, call.ints(call.params["shape"])))


@maps("clone", "detach", "to_device", "conj")
def clone(call: Call, x: str) -> str:
    """The same elements."""
    return x


@maps("cast")
def cast(call: Call, x: str) -> str:
    """Another dtype."""
    return x if call.value(0).dtype is call.dtype else call.cast(x, call.dtype)


@maps("cat")
def cat(call: Call, xs: list[str]) -> str:
    """One after the other."""
    cast = [
        n if v.dtype is call.dtype else call.cast(n, call.dtype) for n, v in zip(xs, call.node.args[0], strict=True)
    ]
    if len(cast) == 1:
        return cast[0]
    return str(call.emit("Concat", *cast, axis=call.params["axis"]))


@maps("pad")
def pad(call: Call, x: str) -> str:
    """Space along each axis; negative widths cut."""
    if call.dtype is dt.bool_:
        raise Unmapped("truth values")
    before, after = zip(*call.params["widths"], strict=True) if call.params["widths"] else ((), ())
    value = call.writer.number(call.params["value"], call.dtype)
    return str(call.emit("Pad", x, call.ints([*before, *after]), value))


@maps("flip")
def flip(call: Call, x: str) -> str:
    """The other way round along axes."""
    axes = list(call.params["axes"])
    if not axes:
        return x
    count, least = len(axes), -(2**63)
    return str(call.emit("Slice", x, call.ints([-1] * count), call.ints([least] * count), call.ints(axes),
                         call.ints([-1] * count)))  # fmt: skip


@maps("tril", "triu")
def triangle(call: Call, x: str) -> str:
    """One side of a diagonal."""
    whole = call.constant(np.array(call.params["diagonal"], np.int64))
    return str(call.emit("Trilu", x, whole, upper=int(call.node.op == "triu")))


@maps("basic_index")
def basic_index(call: Call, x: str) -> str:
    """Numbers, slices and new dimensions."""
    cuts: list[tuple[Any, Any, Any, int]] = []  # start, end, step, axis
    gone, new = [], []
    shape, axis, place = call.shape(), 0, 0
    for entry in call.params["index"]:
        if entry is None:
            new.append(place)
            place += 1
            continue
        if isinstance(entry, slice):
            if entry.start != 0 or entry.stop != shape[axis] or entry.step != 1:
                cuts.append((entry.start, entry.stop, entry.step, axis))
            place += 1
        else:
            first = 0 if axis == 0 and call.value(0) in call.writer.last else entry
            cuts.append((first, _next(first), 1, axis))
            gone.append(axis)
        axis += 1
    if cuts:
        starts, ends, steps, axes = (call.ints(column) for column in zip(*cuts, strict=True))
        x = str(call.emit("Slice", x, starts, ends, axes, steps))
    x = call.squeezed(x, *gone) if gone else x
    return call.unsqueezed(x, *new) if new else x


def _next(n: Any) -> Any:
    if isinstance(n, Law):
        return Law(n.form, n.terms, n.constant + n.divisor, n.divisor, n.scale)
    return n + 1 if n != -1 else 2**62


def _flat(call: Call, x: str, places: Any) -> str:
    """The elements at places of the flattened tensor."""
    return str(call.emit("Gather", call.emit("Reshape", x, call.ints([-1])), call.constant(places), axis=0))


@maps("as_strided")
def as_strided(call: Call, x: str) -> str:
    """Any places of a dense tensor."""
    call.fixed()
    places = np.array(call.params["offset"], np.int64)
    shape, strides = call.params["shape"], call.params["strides"]
    if any(isinstance(n, Law) for n in (*shape, *strides, call.params["offset"])):
        raise Unmapped("sizes that may change")
    for n, stride in zip(shape, strides, strict=True):
        places = np.add.outer(places, np.arange(n) * stride)
    return _flat(call, x, places)


@maps("diagonal")
def diagonal(call: Call, x: str) -> str:
    """A diagonal of two dimensions, which comes last."""
    shape = call.fixed()
    a, b, offset = call.params["axis1"] % len(shape), call.params["axis2"] % len(shape), call.params["offset"]
    places = np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)
    return _flat(call, x, np.ascontiguousarray(np.diagonal(places, offset, a, b)))


@maps("unfold")
def unfold(call: Call, x: str) -> str:
    """Windows along a dimension; what is in each comes last."""
    rank, size, step = call.rank(), call.params["size"], call.params["step"]
    if not rank:
        raise Unmapped("a tensor without dimensions")
    axis = call.params["axis"] % rank
    n = call.shape()[axis]
    if isinstance(n, Law) or isinstance(size, Law):
        raise Unmapped("sizes that may change")
    places = np.arange(0, n - size + 1, step, dtype=np.int64)[:, None] + np.arange(size, dtype=np.int64)
    found = call.emit("Gather", x, call.constant(places), axis=axis)
    order = [i for i in range(rank + 1) if i != axis + 1] + [axis + 1]
    return str(found) if order == sorted(order) else str(call.emit("Transpose", found, perm=order))


@maps("full")
def full(call: Call) -> str:
    """One number everywhere."""
    return _everywhere(call, call.params["value"])


def _everywhere(call: Call, value: Any) -> str:
    shape = call.params["shape"]
    if isinstance(value, Law):
        return str(call.emit("Expand", call.writer.number(value, call.dtype), call.ints(shape)))
    kind = helper.tensor_dtype_to_np_dtype(element(call.dtype))
    tensor = numpy_helper.from_array(np.array([value]).astype(kind))
    return str(call.emit("ConstantOfShape", call.ints(shape), value=tensor))


@maps("empty")
def empty(call: Call) -> str:
    """Zeros: what nobody wrote to."""
    return _everywhere(call, 0)


@maps("arange")
def arange(call: Call, start: str, step: str) -> str:
    """Numbers at equal steps."""
    first, by, length = call.node.args[0], call.node.args[1], call.params["length"]
    scalar = call.squeezed(call.ints([length]), 0) if isinstance(length, Law) else call.writer.number(length, dt.int64)
    places = call.emit("Range", call.writer.number(0, dt.int64), scalar, call.writer.number(1, dt.int64))
    if call.dtype is not dt.int64:
        places = call.cast(places, call.dtype)
    if by != 1:
        places = call.emit("Mul", places, call.writer.number(by, call.dtype))
    return str(places if first == 0 else call.emit("Add", places, call.writer.number(first, call.dtype)))
