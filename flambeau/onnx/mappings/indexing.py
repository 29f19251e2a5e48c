"""Reading and writing at places that a tensor says."""

from __future__ import annotations

import math
from typing import Any

from flambeau.core import dispatch
from flambeau.core import dtype as dt
from flambeau.core.creation import arange
from flambeau.core.record import OPS
from flambeau.onnx.errors import Unmapped
from flambeau.onnx.table import maps
from flambeau.onnx.writer import Call, has_law


@maps("gather")
def gather(call: Call, x: str, index: str) -> str:
    """An element for each place."""
    if not call.rank() or not call.rank(1):
        raise Unmapped("a tensor without dimensions")
    return str(call.emit("GatherElements", x, index, axis=call.params["axis"]))


@maps("index_select")
def index_select(call: Call, x: str, index: str) -> str:
    """Parts along a dimension."""
    if not call.rank() or call.rank(1) != 1:
        raise Unmapped("a tensor without dimensions")
    return str(call.emit("Gather", x, index, axis=call.params["axis"]))


@maps("embedding")
def embedding(call: Call, weight: str, index: str) -> str:
    """Rows of a table."""
    return str(call.emit("Gather", weight, index, axis=0))


def _places(call: Call, indices: list[str], operand: int) -> str:
    """Index tensors, which broadcast, side by side in a new last dimension."""
    values = call.node.args[operand]
    first, rest = indices[0], indices[1:]
    shape: Any = None
    if rest:
        total = call.emit("Add", first, rest[0])
        for name in rest[1:]:
            total = call.emit("Add", total, name)
        shape = call.emit("Shape", total)
    wide = [n if shape is None else call.emit("Expand", n, shape) for n in indices]
    rank = max(len(v.shape) for v in values)
    return str(call.emit("Concat", *[call.unsqueezed(n, rank) for n in wide], axis=-1))


@maps("index_get")
def index_get(call: Call, x: str, indices: list[str]) -> str:
    """At the places of index tensors along neighbouring dimensions."""
    axis = call.params["axis"]
    if len(indices) == 1:
        return str(call.emit("Gather", x, indices[0], axis=axis))
    if axis:
        raise Unmapped("several index tensors after the first dimension")
    return str(call.emit("GatherND", x, _places(call, indices, 1)))


@maps("index_put")
def index_put(call: Call, x: str, values: str, indices: list[str]) -> str:
    """Written at the places of index tensors."""
    if call.params["axis"]:
        raise Unmapped("index tensors after the first dimension")
    places = _places(call, indices, 2)
    target = call.emit("Shape", call.emit("GatherND", x, places))
    wide = call.emit("Expand", call.same(1), target)
    return str(call.emit("ScatterND", x, places, wide, reduction="add" if call.params["accumulate"] else None))


_REDUCTIONS = {"set": None, "add": "add", "sum": "add", "multiply": "mul", "prod": "mul", "amax": "max", "amin": "min"}


@maps("scatter", "scatter_reduce")
def scatter(call: Call, x: str, index: str, src: str) -> str:
    """Elements written to the places that an index of their shape says."""
    reduce = call.params["reduce"]
    if reduce not in _REDUCTIONS or not call.params.get("include_self", True):
        raise Unmapped(f"reduce={reduce!r}")
    if not call.rank():
        raise Unmapped("a tensor without dimensions")
    if call.shape(1) != call.shape(2):  # the index says how much of the source there is
        axes = list(range(call.rank()))
        src = str(call.emit("Slice", src, call.ints([0] * len(axes)), call.ints(call.shape(1)), call.ints(axes)))
    return str(call.emit("ScatterElements", x, index, src, axis=call.params["axis"], reduction=_REDUCTIONS[reduce]))


@maps("nonzero")
def nonzero(call: Call, x: str) -> str:
    """The places of what is not zero."""
    if not call.rank():
        raise Unmapped("a tensor without dimensions")
    found = call.emit("NonZero", x if call.value(0).dtype is not dt.bfloat16 else call.cast(x, dt.float32))
    return str(call.emit("Transpose", found, perm=[1, 0]))


@maps("write_view")
def write_view(call: Call, x: str, new: str) -> str:
    """The second operand in the place of a view of the first: the view of numbered places says where."""
    shape = call.fixed()
    part = arange(math.prod(shape)).reshape(shape)
    for name, given in call.params["views"]:
        if any(has_law(v) for v in given.values()):
            raise Unmapped("sizes that may change")
        part = dispatch.call(OPS[name], [part], given)
    places = part.numpy()
    flat = call.emit("Reshape", x, call.ints([-1]))
    wide = call.emit("Expand", call.same(1), call.ints(places.shape))
    found = call.emit("ScatterND", flat, call.constant(places[..., None]), wide)
    return str(call.emit("Reshape", found, call.ints(shape)))
