"""Padding of tensors by a constant or by their own elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from flambeau.core.autocast import autocasting
from flambeau.core.dispatch import tensor_of
from flambeau.core.errors import ArgumentError, ShapeError
from flambeau.core.from_data import check_fits
from flambeau.core.ops import storage
from flambeau.core.ops.joining import cat, flip
from flambeau.core.ops.shape import sizes_of
from flambeau.core.ops.storage import expand_p
from flambeau.core.ops.views import narrow
from flambeau.core.state import get
from flambeau.core.tensor import Tensor


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Space around the last dimensions: ``pad`` is (before, after) of the last one, then of the one before, and so on.

    ``mode``: "constant" fills with ``value`` (0); "reflect" mirrors at the border element, "replicate" repeats
    it, "circular" goes on at the other end. Negative widths cut.

    >>> fb.nn.functional.pad(fb.tensor([1, 2, 3]), (2, 1), mode="reflect")
    tensor([3, 2, 1, 2, 3, 2])
    """
    pad = tuple(pad)
    widths = pad if {*map(type, pad)} == {int} else sizes_of("pad", (pad,), "pad")
    ndim = len(input._array.shape)
    if len(widths) % 2 or len(widths) // 2 > ndim:
        raise ShapeError(
            f"pad: pad {widths} must be pairs, at most one for each of the {ndim} dimension(s) "
            f"of shape {tuple(input.shape)}"
        )
    pairs = [*zip(widths[::2], widths[1::2], strict=True)][::-1]
    first = ndim - len(pairs)
    if isinstance(value, complex):
        raise TypeError(f"pad: value must be a float, got {value!r}")
    if mode == "constant":
        if value is not None:
            check_fits("pad", float(value), input.dtype)  # which is what PyTorch takes it for
        every = (*[(0, 0)] * first, *pairs)
        return storage.pad_p(input, every, 0 if value is None else value)
    if mode not in _BORDERS:
        raise ArgumentError(f"pad: mode must be 'constant', {', '.join(map(repr, _BORDERS))}, got {mode!r}")
    if value:  # PyTorch takes a 0, which says nothing
        raise ArgumentError(f"pad: mode {mode!r} doesn't take a value, got value={value}")
    precise = mode == "replicate" or mode == "reflect" and len(pairs) < 3
    return (_precise if precise else _with_borders)(input, pairs, first, mode)


def _with_borders(input: Tensor, pairs: Sequence[tuple[int, int]], first: int, mode: str) -> Tensor:
    if _is_simple(input, pairs, first, mode):
        return _at_once(input, pairs, first, mode)
    out = input
    for axis, (before, after) in enumerate(pairs, first):
        out = _bordered(out, axis, before, after, mode)
    return storage.clone_p(out, "C") if out is input else out


def _is_simple(x: Tensor, pairs: Sequence[tuple[int, int]], first: int, mode: str) -> bool:
    """Whether nobody records the call, and each border has what it is made of; nothing is cut."""
    key, state = x._key, get()
    if key.level is not None or state is None or not state.plain or x._node is not None and state.grad:
        return False
    sizes = x._array.shape[first:]
    spare = mode == "reflect"  # the border element itself is not repeated
    return all(
        min(pair) >= 0 and n > 0 and (mode == "replicate" or max(pair) <= n - spare)
        for n, pair in zip(sizes, pairs, strict=True)
    )


def _at_once(x: Tensor, pairs: Sequence[tuple[int, int]], first: int, mode: str) -> Tensor:
    """The elements written once to where they go, and then the borders, axis after axis, each over those before it."""
    key, shape = x._key, x._array.shape
    every = [(0, 0)] * first + list(pairs)
    whole = [n + a + b for n, (a, b) in zip(shape, every, strict=True)]
    out = key.backend.empty(tuple(whole), key.stored, key.device.number)
    index = [slice(a, a + n, 1) for n, (a, _) in zip(shape, every, strict=True)]
    key.setitem(out, x._array, index=tuple(index))
    for axis, (before, after) in enumerate(pairs, first):
        n, end = shape[axis], before + shape[axis]
        starts = {"reflect": (before + 1, end - 1 - after), "replicate": (before, end - 1), "circular": (n, before)}
        for count, to, start in ((before, 0, starts[mode][0]), (after, end, starts[mode][1])):
            if not count:
                continue
            index[axis] = slice(start, start + (1 if mode == "replicate" else count), 1)
            part = key.basic_index(out, index=tuple(index))
            if mode == "reflect":
                part = key.flip(part, axes=(axis,))
            elif mode == "replicate":
                part = key.expand(part, shape=(*part.shape[:axis], count, *part.shape[axis + 1 :]))
            index[axis] = slice(to, to + count, 1)
            key.setitem(out, part, index=tuple(index))
        index[axis] = slice(0, whole[axis], 1)
    return tensor_of(out, key)


@autocasting("float32|same")
def _precise(input: Tensor, pairs: Sequence[tuple[int, int]], first: int, mode: str) -> Tensor:
    return _with_borders(input, pairs, first, mode)


def _bordered(x: Tensor, axis: int, before: int, after: int, mode: str) -> Tensor:
    """One dimension with borders made of its own elements; "circular" cuts first, the others last."""
    size = x._array.shape[axis]
    total = size + before + after
    if total < (mode != "circular" and max(before, after) > 0):
        raise ShapeError(f"pad: widths ({before}, {after}) take more than the {size} elements of dimension {axis}")
    cut = max(-before, 0)
    before, after, behind = max(before, 0), max(after, 0), max(-after, 0)
    if mode == "circular" and cut + behind:
        x, size = narrow(x, axis, cut, size - cut - behind), size - cut - behind
    most = {"reflect": size - 1, "circular": size}.get(mode)
    if most is not None and max(before, after) > most or (not size and before + after):
        raise ShapeError(
            f"pad: {mode} padding ({before}, {after}) must be at most {most} for dimension {axis} of size {size} "
            f"in shape {tuple(x.shape)}"
        )
    front, back = _BORDERS[mode](x, axis, size, before, after)
    parts = [*([front] if before else []), x, *([back] if after else [])]
    out = cat(parts, axis) if len(parts) > 1 else x
    return out if out._array.shape[axis] == total else narrow(out, axis, cut, total)


def _mirror(x: Tensor, axis: int, size: int, before: int, after: int) -> tuple[Tensor, Tensor]:
    front = flip(narrow(x, axis, 1, before), axis) if before else x
    return front, flip(narrow(x, axis, size - 1 - after, after), axis) if after else x


def _edges(x: Tensor, axis: int, size: int, before: int, after: int) -> tuple[Tensor, Tensor]:
    def many(start: int, count: int) -> Tensor:
        shape = tuple(x._array.shape)
        return expand_p(narrow(x, axis, start, 1), (*shape[:axis], count, *shape[axis + 1 :]))

    return many(0, before) if before else x, many(size - 1, after) if after else x


def _around(x: Tensor, axis: int, size: int, before: int, after: int) -> tuple[Tensor, Tensor]:
    return narrow(x, axis, size - before, before), narrow(x, axis, 0, after)


_BORDERS: Final = {"reflect": _mirror, "replicate": _edges, "circular": _around}
