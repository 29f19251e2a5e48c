"""Statistics and finite differences: covariances, histograms, numerical gradients, pairwise distances."""

from __future__ import annotations

import math
from collections.abc import Sequence

from flambeau.core import creation
from flambeau.core import dtype as dt
from flambeau.core.autocast import autocasting
from flambeau.core.autograd.inplace import readable
from flambeau.core.dtype import Number
from flambeau.core.errors import ArgumentError, DTypeError, ShapeError
from flambeau.core.ops import construct, variance
from flambeau.core.ops.arithmetic import clamp
from flambeau.core.ops.elementwise import cj, where
from flambeau.core.ops.index import index_add_p
from flambeau.core.ops.joining import cat
from flambeau.core.ops.matmul import matmul_p
from flambeau.core.ops.nn import distance as pairs
from flambeau.core.ops.search import searchsorted
from flambeau.core.ops.shape import axis_of, matrix_transpose, reshape, unsqueeze
from flambeau.core.ops.views import diagonal, narrow
from flambeau.core.public import public
from flambeau.core.record import alike
from flambeau.core.results import Histogram, HistogramDD, returned
from flambeau.core.tensor import Tensor


# -- covariances -------------------------------------------------------------------------------------
@public()
def cov(
    input: Tensor, *, correction: int = 1, fweights: Tensor | None = None, aweights: Tensor | None = None
) -> Tensor:
    """The covariances of the rows of a matrix (the variance of a vector), one column an observation.

    ``fweights`` counts each observation so often, ``aweights`` weighs them; the sum is divided by their
    total less ``correction``.

    >>> fb.cov(fb.tensor([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]]))
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """
    if input.ndim > 2:
        raise ShapeError(f"cov: expects at most 2 dimensions, got shape {tuple(input.shape)}")
    if input.dtype is dt.bool_:
        raise DTypeError("cov: not implemented for bool")
    x = input if input.ndim == 2 else reshape(input, (1, input.numel()))
    x = x if x.dtype.category >= dt.FLOATING else x.to(dt.get_default_dtype())
    count = x._array.shape[1]
    weights = _weights(x, fweights, aweights)
    if weights is None:
        mean, total, divisor = x.mean(1, keepdim=True), None, count - correction
    else:
        total = weights.sum()
        mean = unsqueeze((x * weights).sum(1) / total, 1)
        spent = total if aweights is None else (weights * aweights).sum() / total
        divisor = total - correction * (spent if aweights is not None else 1)
    apart = x - mean
    right = cj(apart) if weights is None else cj(apart) * weights
    found = matmul_p(apart, matrix_transpose(right)) / (max(divisor, 0) if total is None else clamp(divisor, min=0))
    return reshape(found, ()) if x._array.shape[0] == 1 else found


def _weights(x: Tensor, counts: Tensor | None, weights: Tensor | None) -> Tensor | None:
    both: Tensor | None = None
    for name, given in (("fweights", counts), ("aweights", weights)):
        if given is None:
            continue
        wants = dt.INTEGER if name == "fweights" else dt.FLOATING
        if given.dtype.category != wants:
            kind = "integers" if name == "fweights" else "floating-point numbers"
            raise DTypeError(f"cov: {name} must be {kind}, got {given.dtype}")
        if tuple(given.shape) != (x.shape[1],):
            raise ShapeError(
                f"cov: {name} must be a vector with one number for each of the {x.shape[1]} observations, "
                f"got shape {tuple(given.shape)}"
            )
        if given._key.level is None and bool((given < 0).any()):
            raise ArgumentError(f"cov: {name} must not be negative")
        both = given.to(x.dtype.to_real()) if both is None else both * given
    return both


@public()
def corrcoef(input: Tensor) -> Tensor:
    """The correlation coefficients of the rows of a matrix: covariances over standard deviations, in [-1, 1].

    >>> fb.corrcoef(fb.tensor([[1.0, 2.0], [2.0, 4.0]]))
    tensor([[1., 1.],
            [1., 1.]])
    """
    c = cov(input)
    if not c.ndim:
        return c / c
    spread = diagonal(c).real.sqrt()
    found = c / unsqueeze(spread, 1) / unsqueeze(spread, 0)
    if found.is_complex():
        return construct.from_parts(clamp(found.real, -1, 1), clamp(found.imag, -1, 1))
    return clamp(found, -1, 1)


# -- histograms --------------------------------------------------------------------------------------
@public(out=True)
def histogram(
    input: Tensor,
    bins: int | Tensor,
    *,
    range: tuple[float, float] | None = None,
    weight: Tensor | None = None,
    density: bool = False,
) -> Histogram[Tensor]:
    """(hist, bin_edges): how many elements, or how much of ``weight``, fall into each of ``bins``.

    ``bins``: how many of equal width from the smallest to the largest element (or over ``range``), or the
    edges. The last bin holds its upper edge too. ``density`` makes the sum over all bins times width 1.

    >>> fb.histogram(fb.tensor([1.0, 2.0, 1.0]), bins=2, range=(0.0, 4.0)).hist
    tensor([2., 1.])
    """
    if not input.is_floating_point():
        raise DTypeError(f"histogram: input must be a floating tensor, got {input.dtype}")
    if weight is not None and (weight.shape != input.shape or weight.dtype is not input.dtype):
        raise ShapeError(
            f"histogram: weight must have the shape and dtype of input, got {weight.dtype} {tuple(weight.shape)} "
            f"and {input.dtype} {tuple(input.shape)}"
        )
    if isinstance(bins, Tensor):
        alike("input and the edges")("histogram", (input, bins))
    x = input.detach().reshape((input.numel(),))
    edges = bins if isinstance(bins, Tensor) else _even_edges(x, bins, range)
    count = edges.numel() - 1
    place, inside = _boxes([x], [edges])
    amount = inside.to(x.dtype) if weight is None else where(inside, weight.detach().reshape((x.numel(),)), 0.0)
    hist = index_add_p(creation.zeros_at(x, (count,)), place, amount, 0)
    if density:
        hist = hist / hist.sum() / edges.diff()
    made: Histogram[Tensor] = returned("histogram", (hist, edges))
    return made


@public(method=False)
def histogramdd(
    input: Tensor, bins: int | Sequence[int] | Sequence[Tensor], range: Sequence[float] | None = None,
    weight: Tensor | None = None, density: bool = False,
) -> HistogramDD[Tensor]:  # fmt: skip
    """(hist, bin_edges) of points (..., N): how many, or how much of ``weight`` (...), fall into each box.

    ``bins``: how many of equal width in every dimension, one number for each, or the edges of each. ``range`` has the
    lowest and highest edge of each dimension, one after the other; default: its smallest and largest element.
    ``density`` makes the sum over all boxes times their volumes 1.

    >>> fb.histogramdd(fb.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), bins=2).hist
    tensor([[0., 1.],
            [1., 1.]])
    """
    if not input.is_floating_point():
        raise DTypeError(f"histogramdd: input must be a floating tensor, got {input.dtype}")
    if input.ndim < 2:
        raise ShapeError(f"histogramdd: input must have at least 2 dimensions, got shape {tuple(input.shape)}")
    if weight is not None and (weight.shape != input.shape[:-1] or weight.dtype is not input.dtype):
        raise ShapeError(
            f"histogramdd: weight must have the shape of input without its last dimension and its dtype, "
            f"got {weight.dtype} {tuple(weight.shape)} and {input.dtype} {tuple(input.shape)}"
        )
    n, rows = input.shape[-1], math.prod(input.shape[:-1])
    given: list[int | Tensor] = [bins] * n if isinstance(bins, int) else list(bins)
    if len(given) != n:
        raise ArgumentError(f"histogramdd: bins must have one entry for each of the {n} coordinates, got {len(given)}")
    if range is not None and len(range) != 2 * n:
        raise ArgumentError(f"histogramdd: range must have {2 * n} elements for {n} coordinates, got {len(range)}")
    columns = [reshape(c, (rows,)) for c in input.detach().unbind(-1)]
    edges = [
        b if isinstance(b, Tensor) else _even_edges(c, b, None if range is None else (range[2 * i], range[2 * i + 1]))
        for i, (c, b) in enumerate(zip(columns, given, strict=True))
    ]
    sizes = tuple(e.numel() - 1 for e in edges)
    box, inside = _boxes(columns, edges)
    amount = inside.to(input.dtype) if weight is None else where(inside, reshape(weight.detach(), (rows,)), 0.0)
    flat = index_add_p(creation.zeros_at(amount, (math.prod(sizes),)), box, amount, 0)
    hist = reshape(flat, sizes)
    if density:
        hist = hist / hist.sum()
        for i, e in enumerate(edges):
            hist = hist / reshape(e.diff(), (-1, *[1] * (n - 1 - i)))
    return HistogramDD(hist, tuple(edges))


def _boxes(columns: Sequence[Tensor], edges: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The number of each point's box, row-major, and whether it is in one at all."""
    box: Tensor | None = None
    inside: Tensor | None = None
    for x, edge in zip(columns, edges, strict=True):
        count = edge.numel() - 1
        place = searchsorted(edge, x, right=True) - 1
        place = where(x == edge[count], count - 1, place)
        here = (x >= edge[0]) & (x <= edge[count])
        place = clamp(place, 0, count - 1)
        box, inside = (place, here) if box is None or inside is None else (box * count + place, inside & here)
    assert box is not None and inside is not None
    return box, inside


def _even_edges(x: Tensor, bins: int, span: tuple[float, float] | None) -> Tensor:
    if bins < 1:
        raise ArgumentError(f"histogram: bins must be at least 1, got {bins}")
    if span is None and x.numel() and x._key.level is not None:  # other edges for each of a batch
        least, most = x.min(), x.max()
        flat = (least == most) * 0.5
        return creation.linspace(least - flat, most + flat, bins + 1, dtype=x.dtype, device=x.device)
    low, high = span if span is not None else (float(x.min()), float(x.max())) if x.numel() else (0.0, 1.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ArgumentError(f"histogram: needs finite bounds in ascending order, got {low} and {high}")
    return creation.linspace(low, high, bins + 1, dtype=x.dtype, device=x.device)


# -- finite differences ------------------------------------------------------------------------------
@public(method=False)
def gradient(
    input: Tensor,
    *,
    spacing: Number | Tensor | Sequence[Number | Tensor] | None = None,
    dim: int | Sequence[int] | None = None,
    edge_order: int = 1,
) -> tuple[Tensor, ...]:
    """Estimates of the derivative along each of ``dim`` (None: every dimension) by central differences.

    ``spacing``: the distance of neighbours (None: 1), one for each of ``dim``, or tensors of their places. At the
    edges the differences are one-sided, of order ``edge_order`` (1 or 2).

    >>> fb.gradient(fb.tensor([1.0, 4.0, 9.0]))
    (tensor([3., 4., 5.]),)
    """
    if edge_order not in (1, 2):
        raise ArgumentError(f"gradient: edge_order must be 1 or 2, got {edge_order}")
    dims = range(input.ndim) if dim is None else (dim,) if isinstance(dim, int) else dim
    axes = [axis_of("gradient", input, d) for d in dims]
    if len(set(axes)) != len(axes):
        raise ArgumentError(f"gradient: a dim appears multiple times in the list of dims {tuple(dims)}")
    spacing = 1 if spacing is None else spacing
    steps = list(spacing) if isinstance(spacing, Sequence) else [spacing] * len(axes)
    if len(steps) != len(axes):
        raise ShapeError(f"gradient: spacing has {len(steps)} entries for {len(axes)} dimension(s)")
    return tuple(_slope(input, a, s, edge_order) for a, s in zip(axes, steps, strict=True))


def _slope(f: Tensor, axis: int, step: Number | Tensor, edge_order: int) -> Tensor:
    n = f._array.shape[axis] if f.ndim else 0
    if n <= edge_order:
        raise ShapeError(
            f"gradient: dimension {axis} of shape {tuple(f.shape)} needs at least {edge_order + 1} elements"
        )
    if isinstance(step, Tensor):
        shape = tuple(n - 1 if i == axis else 1 for i in range(f.ndim))
        gaps = reshape(step.diff(), shape)
    else:
        gaps = None

    def at(i: int, length: int = 1) -> Tensor:
        return narrow(f, axis, i, length)

    def gap(i: int, length: int = 1) -> Number | Tensor:
        return step if gaps is None else narrow(gaps, axis, i, length)

    edges = []
    for i, j, k, sign in ((0, 1, 2, 1), (n - 1, n - 2, n - 3, -1)):
        a = gap(min(i, j))
        if edge_order == 1:
            edges.append((at(j) - at(i)) / a * sign)
            continue
        b = gap(min(j, k))
        slope = -(2 * a + b) / (a * (a + b)) * at(i) + (a + b) / (a * b) * at(j) - a / (b * (a + b)) * at(k)
        edges.append(slope * sign)
    if n == 2:
        return cat(edges, axis)
    before, after = gap(0, n - 2), gap(1, n - 2)
    left, here, right = at(0, n - 2), at(1, n - 2), at(2, n - 2)
    if gaps is None:
        middle = (right - left) / (2 * step)
    else:
        middle = (
            right * (before / (after * (before + after)))
            + here * ((after - before) / (before * after))
            - left * (after / (before * (before + after)))
        )
    return cat([edges[0], middle, edges[1]], axis)


# -- norms and distances -----------------------------------------------------------------------------
@public(out=True)
@autocasting("same|float32")
def renorm(input: Tensor, p: float, dim: int, maxnorm: float) -> Tensor:
    """``input`` whose slices along ``dim`` are scaled down to the p-norm ``maxnorm`` where theirs is larger.

    >>> fb.renorm(fb.tensor([[3.0, 4.0]]), 2, 0, 1.0)
    tensor([[0.6000, 0.8000]])
    """
    if input.ndim < 2:
        raise ShapeError(f"renorm: expects at least 2 dimensions, got shape {tuple(input.shape)}")
    if p <= 0 or maxnorm < 0:
        raise ArgumentError(f"renorm: p must be positive and maxnorm not negative, got p={p}, maxnorm={maxnorm}")
    axis = axis_of("renorm", input, dim)
    others = tuple(i for i in range(input.ndim) if i != axis)
    size = variance.vector_norm_p(input, float(p), others, True)
    return input * where(size > maxnorm, maxnorm / (size + 1e-7), 1.0)


@public()
def renorm_(self: Tensor, p: float, dim: int, maxnorm: float) -> Tensor:
    """:func:`renorm` in place."""
    return self.copy_(renorm(readable(self), p, dim, maxnorm))


@public(method=False)
@autocasting("same|float32")
def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """The p-norm distances of all pairs of rows of a matrix, those of the first row first.

    >>> fb.pdist(fb.tensor([[0.0, 0.0], [3.0, 4.0]]))
    tensor([5.])
    """
    if input.ndim != 2:
        raise ShapeError(f"pdist: expects a matrix, got shape {tuple(input.shape)}")
    return pairs.pdist(input, float(p))
