"""Sampling of images at given positions, which a backend may fuse."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

from flambeau.core.declare import OpFunction, composite
from flambeau.core.dtype import int64
from flambeau.core.ops.elementwise import where
from flambeau.core.ops.nn.activation import hardtanh_p
from flambeau.core.ops.nn.rules import Shape, floats, gradient_of, served, through_body
from flambeau.core.ops.storage import cast_p
from flambeau.core.tensor import Tensor

_PARAMS = ("mode", "padding", "corner")


def _sample(x: Tensor, grid: Tensor, *, mode: str, padding: str, corner: bool) -> Tensor:
    n, sizes = x.ndim - 2, x.shape[2:]
    places = [_place(grid[..., n - 1 - i], sizes[i], corner) for i in range(n)]
    inside = [partial(INSIDE[padding], size=size, corner=corner) for size in sizes]
    taps = [TAPS[mode](place, within) for place, within in zip(places, inside, strict=True)]
    total: Any = None
    for chosen in product(*taps):
        weight: Any = 1.0
        for _, w in chosen:
            weight = weight * w
        part = _at(x, [cast_p(index, dtype=int64) for index, _ in chosen], weight)
        total = part if total is None else total + part
    result: Tensor = total
    return result


_gradient = gradient_of(_sample, ("x", "grid"), ("x", "grid"), _PARAMS)


def _infer(x: Shape, grid: Shape, **p: object) -> Shape:
    return (*x[:2], *grid[1:-1])


@composite(
    "grid_sample(x: Tensor, grid: Tensor, *, mode: str, padding: str, corner: bool) -> Tensor",
    autocast="float32|widest",
    infer=_infer,
    dtype=floats,
    public=False,
    vjp=lambda g, needs, x, grid, mode, padding, corner: grid_sample_grad_p(g, x, grid, mode, padding, corner),
)
def grid_sample_p(x: Tensor, grid: Tensor, *, mode: str, padding: str, corner: bool) -> Tensor:
    """The input (N, C, *S) at positions (N, *L, 2 or 3) in [-1, 1], x first, for devices with a kernel of its own."""
    return _sample(x, grid, mode=mode, padding=padding, corner=corner)


def _sample_grad(grad: Tensor, x: Tensor, grid: Tensor, *, mode: str, padding: str, corner: bool) -> tuple[Tensor, ...]:
    return _gradient(grad, x, grid, mode=mode, padding=padding, corner=corner)


grid_sample_grad_p: OpFunction[tuple[Tensor, ...]] = composite(
    "grid_sample_grad(grad: Tensor, x: Tensor, grid: Tensor, *, mode: str, padding: str, corner: bool)"
    " -> (of_x: Tensor, of_grid: Tensor)",
    infer=lambda grad, x, grid, **p: (x, grid),
    dtype=floats,
    public=False,
    doc="The gradients of grid_sample for its input and the positions.",
    vjp=through_body(_sample_grad, ("grad", "x", "grid"), _PARAMS),
)(_sample_grad)


def grid_sample(x: Tensor, grid: Tensor, mode: str, padding: str, corner: bool) -> Tensor:
    """The same: one op where the device has it."""
    if mode != "bicubic" and served(grid_sample_p, grid):
        return grid_sample_p(x, grid, mode, padding, corner)
    return _sample(x, grid, mode=mode, padding=padding, corner=corner)


Within = Callable[[Tensor], Tensor]
Taps = list[tuple[Tensor, Tensor]]  # elements along one axis, and the weight of each


def _place(g: Tensor, size: int, corner: bool) -> Tensor:
    """A position in [-1, 1] in elements."""
    return (g + 1) * ((size - 1) / 2) if corner else (g + 1) * (size / 2) - 0.5


# -- what stands beside the input. Positions on an edge and beyond have no gradient, as in torch.
def _zeros(p: Tensor, size: int, corner: bool) -> Tensor:
    return p


def _border(p: Tensor, size: int, corner: bool) -> Tensor:
    return hardtanh_p(p, 0.0, size - 1.0)


def _reflection(p: Tensor, size: int, corner: bool) -> Tensor:
    low, span = (0.0, size - 1.0) if corner else (-0.5, float(size))
    if span == 0:
        return _border(p * 0.0, size, corner)
    p = p - low
    p = where(p < 0, -p, p)
    turns = (p.detach() / span).floor()
    rest = p - turns * span
    return _border(where(turns % 2 == 0, rest + low, span - rest + low), size, corner)


INSIDE: dict[str, Callable[..., Tensor]] = {"zeros": _zeros, "border": _border, "reflection": _reflection}


# -- which elements count, and how much
def _one_tap(place: Tensor, within: Within) -> Taps:
    near = within(place)
    one = where(near > near, near, 1.0)  # the grid has a gradient, of zeros
    return [(near.detach().round(), one)]


def _two_taps(place: Tensor, within: Within) -> Taps:
    p = within(place)
    low = p.detach().floor()
    return [(low, low + 1 - p), (low + 1, p - low)]


def _four_taps(place: Tensor, within: Within) -> Taps:
    low = place.detach().floor()
    t = place - low
    return [(within(low + k), _keys(t - k)) for k in (-1, 0, 1, 2)]


def _keys(t: Tensor, a: float = -0.75) -> Tensor:
    """The weight of an element at a distance. Keys, IEEE TASSP 29 (1981), with a = -0.75."""
    d = where(t < 0, -t, t)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    return where(d <= 1, near, a * (((d - 5) * d + 8) * d - 4))


TAPS: dict[str, Callable[[Tensor, Within], Taps]] = {"bilinear": _two_taps, "nearest": _one_tap, "bicubic": _four_taps}


def _at(x: Tensor, index: list[Tensor], weight: Tensor) -> Tensor:
    """Elements of (N, C, *S) at an index per axis (N, *L), 0 outside, times a weight."""
    sizes = x.shape[2:]
    inside: Any = None
    flat: Any = 0
    for i, size in zip(index, sizes, strict=True):
        ok = (i >= 0) & (i < size)
        inside = ok if inside is None else inside & ok
        flat = flat * size + i.clamp(0, size - 1)
    channels = x.shape[1]
    where_each = flat.flatten(1).unsqueeze(1).expand(-1, channels, -1)
    taken = x.flatten(2).gather(2, where_each).reshape(x.shape[0], channels, *index[0].shape[1:])
    return where(inside.unsqueeze(1), taken, 0.0) * weight.unsqueeze(1)
