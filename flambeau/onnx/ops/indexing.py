"""Taking numbers by index, putting them by index, and finding them."""

from __future__ import annotations

import math
from typing import Final

import flambeau as fb
from flambeau import Tensor
from flambeau.onnx.errors import OnnxError
from flambeau.onnx.ops import hosted
from flambeau.onnx.plan import Call
from flambeau.onnx.registry import op
from flambeau.onnx.values import bounded

#: What scatter calls ONNX's reductions.
_REDUCTIONS: Final = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def positive(indices: Tensor, size: int) -> Tensor:
    """Indices counted from the start. Those outside are left to the op that takes them, which refuses them."""
    indices = indices.to(fb.int64)
    return fb.where(indices < 0, indices + size, indices)


@op("Gather", layout=True, host=hosted.gather)
def gather(call: Call, x: Tensor, indices: Tensor) -> Tensor:
    axis = call["axis"] % max(x.ndim, 1)
    flat = positive(indices, x.shape[axis]).reshape(-1)
    return x.index_select(axis, flat).reshape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


@op("GatherElements", layout=True)
def gather_elements(call: Call, x: Tensor, indices: Tensor) -> Tensor:
    return fb.gather(x, call["axis"], positive(indices, x.shape[call["axis"]]))


@op("GatherND", layout=True)
def gather_nd(call: Call, x: Tensor, indices: Tensor) -> Tensor:
    batch, depth = call["batch_dims"] or 0, indices.shape[-1]
    lead = tuple(x.shape[:batch])
    if batch + depth > x.ndim:
        raise OnnxError(f"indices of {depth} numbers do not fit the shape {tuple(x.shape)}")
    places = _flat(indices, tuple(x.shape[batch : batch + depth]))
    rest = tuple(x.shape[batch + depth :])
    rows = x.reshape((math.prod(lead), math.prod(x.shape[batch : batch + depth]), math.prod(rest)))
    places = places.reshape((math.prod(lead), -1, 1)).expand((-1, -1, rows.shape[2]))
    return fb.gather(rows, 1, places).reshape((*indices.shape[:-1], *rest))


def _flat(indices: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Index tuples in the last axis as places in a flat tensor of these sizes."""
    places = fb.zeros((math.prod(indices.shape[:-1]),), dtype=fb.int64, device=indices.device)
    for i, size in enumerate(sizes):
        each = fb.arange(size, device=indices.device)  # taking from it refuses what is outside of this axis
        places = places * size + each.index_select(0, positive(indices[..., i], size).reshape(-1))
    return places.reshape(indices.shape[:-1])


@op("Scatter", "ScatterElements", layout=True)
def scatter_elements(call: Call, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    axis = call["axis"]
    return _scattered(call, x, axis, positive(indices, x.shape[axis]), updates)


def _scattered(call: Call, x: Tensor, axis: int, indices: Tensor, updates: Tensor) -> Tensor:
    reduction = call["reduction"] or "none"
    if reduction == "none":
        return x.scatter(axis, indices, updates)
    return x.scatter_reduce(axis, indices, updates, _REDUCTIONS[reduction], include_self=True)


@op("ScatterND", layout=True)
def scatter_nd(call: Call, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    depth = indices.shape[-1]
    places = _flat(indices, tuple(x.shape[:depth])).reshape((-1, 1))
    rows = x.reshape((math.prod(x.shape[:depth]), math.prod(x.shape[depth:])))
    out = _scattered(call, rows, 0, places.expand((-1, rows.shape[1])), updates.reshape((-1, rows.shape[1])))
    return out.reshape(x.shape)


@op("TensorScatter", ints=(2,))
def tensor_scatter(call: Call, x: Tensor, update: Tensor, starts: tuple[int, ...] | None = None) -> Tensor:
    """Each row of a batch is written from its own start on, in a circle if ``mode`` says so."""
    axis = call["axis"] % x.ndim
    length, size = update.shape[axis], x.shape[axis]
    offsets = fb.tensor(starts or (0,) * x.shape[0], device=x.device)
    places = offsets[:, None] + fb.arange(length, device=x.device)
    if call["mode"] == "circular":
        places = places % size
    elif starts and max(starts) + length > size:
        raise OnnxError(f"{length} from {max(starts)} on do not fit a size of {size}")
    shape = [1] * x.ndim
    shape[0], shape[axis] = x.shape[0], length
    return x.scatter(axis, places.reshape(shape).expand(update.shape), update)


@op("Slice", since=1, layout=True)
def slice_first(call: Call, x: Tensor) -> Tensor:
    """Bounds are attributes before version 10."""
    return sliced(x, call["starts"], call["ends"], call["axes"])


@op("Slice", since=10, ints=(1, 2, 3, 4), layout=True, host=hosted.cut)
def slice_by_inputs(
    call: Call,
    x: Tensor,
    starts: tuple[int, ...],
    ends: tuple[int, ...],
    axes: tuple[int, ...] | None = None,
    steps: tuple[int, ...] | None = None,
) -> Tensor:
    return sliced(x, starts, ends, axes, steps)


def sliced(
    x: Tensor,
    starts: tuple[int, ...],
    ends: tuple[int, ...],
    axes: tuple[int, ...] | None = None,
    steps: tuple[int, ...] | None = None,
) -> Tensor:
    axes = tuple(range(len(starts))) if axes is None else axes
    steps = (1,) * len(starts) if steps is None else steps
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = x.shape[axis]
        if step == 0:
            raise OnnxError("a slice has the step 0")
        if step < 0:  # the same slice of the axis turned round
            start = min(max(start + size if start < 0 else start, 0), size - 1)
            end = min(max(end + size if end < 0 else end, -1), size - 1)
            x, start, end, step = x.flip(axis), size - 1 - start, size - 1 - end, -step
        whole = (slice(None),) * (axis % x.ndim)
        x = x[(*whole, slice(start, end, step))]
    return x


@op("Compress", layout=True)
def compress(call: Call, x: Tensor, condition: Tensor) -> Tensor:
    axis = call["axis"]
    if axis is None:
        x, axis = x.reshape(-1), 0
    return x.index_select(axis, condition.nonzero().reshape(-1))


@op("NonZero")
def nonzero(call: Call, x: Tensor) -> Tensor:
    return x.nonzero().t().clone()


@op("OneHot")
def one_hot(call: Call, indices: Tensor, depth: Tensor, values: Tensor) -> Tensor:
    """Places outside of −depth to depth − 1 get no 1."""
    (size,), axis = bounded((int(depth.reshape(-1)[0].item()),)), call["axis"]
    at = (indices.to(fb.int64) % size if not indices.is_floating_point() else fb.remainder(indices, size)).unsqueeze(
        axis
    )
    inside = ((indices >= -size) & (indices < size)).unsqueeze(axis)
    shape = [1] * at.ndim
    shape[axis] = size
    hot = (at == fb.arange(size, device=at.device).reshape(shape)) & inside
    return fb.where(hot, values[1], values[0])


@op("ReverseSequence", ints=(1,), layout=True)
def reverse_sequence(call: Call, x: Tensor, lengths: tuple[int, ...]) -> Tensor:
    batch, time = call["batch_axis"], call["time_axis"]
    size = x.shape[time]
    sizes = fb.tensor(lengths, device=x.device)[:, None]
    steps = fb.arange(size, device=x.device)[None]
    places = fb.where(steps < sizes, sizes - 1 - steps, steps)
    places = places if batch == 0 else places.t()
    return fb.gather(x, time, places.reshape((*places.shape, *(1,) * (x.ndim - 2))).expand(x.shape))


@op("TopK", since=1)
def top_k_first(call: Call, x: Tensor) -> tuple[Tensor, Tensor]:
    return _top(x, call["k"], call["axis"], largest=True)


@op("TopK", since=10, ints=(1,))
def top_k(call: Call, x: Tensor, count: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    return _top(x, count[0], call["axis"], largest=call["largest"] is None or bool(call["largest"]))


def _top(x: Tensor, count: int, axis: int, *, largest: bool) -> tuple[Tensor, Tensor]:
    """Of equal numbers the first comes first."""
    values, places = fb.sort(x, dim=axis, descending=largest, stable=True)
    return values.narrow(axis, 0, count), places.narrow(axis, 0, count)


@op("Unique", layout=True)
def unique(call: Call, x: Tensor) -> tuple[Tensor, ...]:
    """The different numbers or slices, where each is first, which of them stands at each place, and how often."""
    axis = call["axis"]
    flat = x.reshape(-1) if axis is None else x
    values, inverse, counts = fb.unique(flat, return_inverse=True, return_counts=True, dim=0 if axis is None else axis)
    order = fb.arange(inverse.numel(), device=x.device)
    first = fb.full_like(counts, inverse.numel()).scatter_reduce(0, inverse.reshape(-1), order, "amin")
    if not call["sorted"]:
        by_place = fb.argsort(first)
        rank = fb.argsort(by_place)
        values = values.index_select(0 if axis is None else axis, by_place)
        first, counts, inverse = first[by_place], counts[by_place], rank[inverse]
    return values, first, inverse.reshape(-1), counts
