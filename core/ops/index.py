"""Reading and writing along an axis by integer tensors: gather and scatter, and what is made of them.

``gather`` and ``scatter`` (set, add) are primitives, whose kernels check every index. Each is the other's
gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from flambeau.backends.layout import Shape
from flambeau.core import creation
from flambeau.core import dtype as dt
from flambeau.core.arguments import AXIS, normal_axis
from flambeau.core.declare import OpFunction, composite, op
from flambeau.core.errors import ShapeError
from flambeau.core.ops import storage
from flambeau.core.ops.elementwise import broadcast, cj, maximum_p, minimum_p, mul_p, where
from flambeau.core.ops.scan import cut, positions, put_back, shifted
from flambeau.core.ops.sort import argsort_p
from flambeau.core.out import deliver
from flambeau.core.public import public
from flambeau.core.record import same
from flambeau.core.tensor import Tensor


# -- shapes ------------------------------------------------------------------------------------------
def _fits(name: str, index: Shape, other: Shape, what: str, axis: int | None) -> None:
    """The index must have the rank of the other tensor, and be no larger along any axis but ``axis``."""
    if index == other or 0 in index:  # it points nowhere
        return
    if len(index) == len(other):
        for n, m in zip(index, other, strict=True):
            if n > m:
                break
        else:
            return
    index, other = tuple(index), tuple(other)
    if len(index) != len(other):
        raise ShapeError(
            f"{name}: index and {what} must have the same number of dimensions, got shapes {index} and {other}"
        )
    skip = None if axis is None else axis % max(len(other), 1)
    for i, (n, m) in enumerate(zip(index, other, strict=True)):
        if i != skip and n > m:
            apart = "" if skip is None else f" apart from dimension {skip}"
            raise ShapeError(f"{name}: size does not match at dimension {i}: expected index {index} to be no larger "
                             f"than {what} {other}{apart}")  # fmt: skip


def _gathered(x: Shape, index: Shape, *, axis: int) -> Shape:
    _fits("gather", index, x, "input", axis)
    return index


def _scattered(x: Shape, index: Shape, src: Shape, *, axis: int, name: str = "scatter", **params: object) -> Shape:
    _fits(name, index, x, "input", axis)
    _fits(name, index, src, "src", None)
    return x


# -- primitives --------------------------------------------------------------------------------------
gather_p: OpFunction[Tensor] = op("gather(x: Tensor, index: Tensor, *, axis: Axis) -> Tensor", infer=_gathered,
    dtype=storage.anything, kinds={"index": "index"}, check=True, public=False, linear=["x"], batch="along_axis",
    vjp=dict(x=lambda g, x_shape, index, axis: put_back(g, x_shape, index, axis)),
    doc="out[.., j, ..] = x[.., index[.., j, ..], ..].")  # fmt: skip


def _scatter_vjp_x(g: Tensor, index: Tensor, axis: int, reduce: str) -> Tensor:
    if reduce == "add":
        return g
    return scatter_p(g, index, creation.zeros_at(g, tuple(index.shape)), axis, "set")


def _scatter_vjp_src(g: Tensor, index: Tensor, src_shape: Shape, axis: int) -> Tensor:
    return grown(gather_p(g, index, axis), src_shape)


def grown(g: Tensor, shape: Shape) -> Tensor:
    """``g`` with zeros after it up to ``shape``."""
    if tuple(g.shape) == tuple(shape):
        return g
    if not g.numel():
        return creation.zeros_at(g, tuple(shape))
    return storage.pad_p(g, widths=tuple((0, n - m) for n, m in zip(shape, g.shape, strict=True)), value=0)


scatter_p: OpFunction[Tensor] = op(
    "scatter(x: Tensor, index: Tensor, src: Tensor, *, axis: Axis, reduce: str = 'set') -> Tensor",
    infer=_scattered, dtype=same, kinds={"index": "index"}, check=True, public=False,
    linear=["x", "src"], batch="along_axis", vjp=dict(x=_scatter_vjp_x, src=_scatter_vjp_src),
    doc="A copy of x with src set, or added, where index points.")  # fmt: skip


# -- along one axis, by a vector of indices ----------------------------------------------------------
def spread(index: Tensor, shape: Shape, axis: int) -> Tensor:
    """A vector of indices as an index of the rank of ``shape``: the same along every other axis."""
    n = index.shape[0]
    thin = index.reshape(tuple(n if i == axis else 1 for i in range(len(shape))))
    return storage.expand_p(thin, tuple(n if i == axis else m for i, m in enumerate(shape)))


def _selected(x: Shape, index: Shape, *, axis: int) -> Shape:
    if len(index) != 1:
        raise IndexError(f"index_select: index must be a vector, got shape {tuple(index)}")
    axis %= len(x) or 1  # the fast path checks with the axis as the user gave it
    return (*x[:axis], index[0], *x[axis + 1 :])


def _selected_vjp(g: Tensor, x_shape: Shape, index: Tensor, axis: int) -> Tensor:
    return index_add_p(creation.zeros_at(g, tuple(x_shape)), index, g, axis)


@composite(
    "index_select(x: Tensor, index: Tensor, *, axis: Axis) -> Tensor",
    infer=_selected,
    check=True,
    dtype=storage.anything,
    kinds={"index": "index"},
    upcast=False,
    public=False,
    linear=["x"],
    vjp=dict(x=_selected_vjp),
)
def index_select_p(x: Tensor, index: Tensor, *, axis: int) -> Tensor:
    """The slices of ``x`` at the places of a vector of indices."""
    return gather_p(x, spread(index, x.shape, axis), axis)


def _added(x: Shape, index: Shape, src: Shape, *, axis: int) -> Shape:
    axis %= len(x) or 1
    wanted = (*x[:axis], *index, *x[axis + 1 :])
    if len(index) != 1 or tuple(src) != wanted:
        raise ShapeError(
            f"index_add: src must have the shape of input with dimension {axis} as long as the vector index: "
            f"input {tuple(x)}, index {tuple(index)}, src {tuple(src)}"
        )
    return x


@composite(
    "index_add(x: Tensor, index: Tensor, src: Tensor, *, axis: Axis) -> Tensor",
    infer=_added,
    check=True,
    dtype=same,
    kinds={"index": "index"},
    public=False,
    linear=["x", "src"],
    vjp=dict(x=lambda g: g, src=lambda g, index, axis: index_select_p(g, index, axis)),
)
def index_add_p(x: Tensor, index: Tensor, src: Tensor, *, axis: int) -> Tensor:
    """``x`` with the slices of ``src`` added at the places of a vector of indices."""
    _added(x.shape, index.shape, src.shape, axis=axis)
    return scatter_p(x, spread(index, src.shape, axis), src, axis, "add")


# -- scatter with other reductions -------------------------------------------------------------------
Combine: TypeAlias = Callable[[Tensor, Tensor], Tensor]
_COMBINE: Final[dict[str, Combine]] = {"prod": mul_p, "amax": maximum_p, "amin": minimum_p}


def _runs(index: Tensor, src: Tensor, axis: int, combine: Combine) -> tuple[Tensor, Tensor, Tensor]:
    """``src`` combined over equal indices: (sorted index, running result, whether it is the last of its run)."""
    order = argsort_p(index, axis)
    key, value = gather_p(index, order, axis), gather_p(src, order, axis)
    by, n = 1, index.shape[axis]
    while by < n:  # after each round an element holds the result over the last 2 * by elements of its run
        together = (positions(key, axis) >= by) & (key == shifted(key, axis, by, 0))
        value = where(together, combine(value, shifted(value, axis, by, 0)), value)
        by *= 2
    last = (positions(key, axis) == n - 1) | (key != shifted(key, axis, -1, 0))
    return key, value, last


def _scatter_combined(x: Tensor, index: Tensor, src: Tensor, axis: int, combine: Combine, include_self: bool) -> Tensor:
    """Each place gets one result, that of the last of its run; the others go to a place behind the end."""
    n = x.shape[axis]
    key, value, last = _runs(index, cut_to(src, index.shape), axis, combine)
    place = where(last, key, n)
    widths = tuple((0, 1) if i == axis else (0, 0) for i in range(x.ndim))
    found = cut(scatter_p(storage.pad_p(x, widths=widths), place, value, axis, "set"), axis, 0, n)
    if not include_self:
        return found
    none = storage.pad_p(creation.zeros_at(x, tuple(x.shape)), widths=widths).to(dt.int64)
    hit = cut(scatter_p(none, place, last.to(dt.int64), axis, "set"), axis, 0, n) != 0
    return where(hit, combine(x, found), x)


def cut_to(x: Tensor, shape: Shape) -> Tensor:
    """The first elements along each axis, up to ``shape``."""
    return x if tuple(x.shape) == tuple(shape) else storage.basic_index_p(x, tuple(slice(0, n, 1) for n in shape))


def _counts(x: Tensor, index: Tensor, axis: int, include_self: bool) -> Tensor:
    """How many values meet at each place, at least 1."""
    start = creation.ones_like(x) if include_self else creation.zeros_like(x)
    ones = creation.full(tuple(index.shape), 1, dtype=x.dtype, device=x.device)
    met = scatter_p(start, index, ones, axis, "add")
    return where(met == 0, 1, met)


def _combined_vjp(
    g: Tensor, needs: Sequence[bool], x: Tensor, index: Tensor, src: Tensor, out: Tensor, axis: int, reduce: str,
    include_self: bool
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """For the extremes, ties share; for products each gets the product of the others, as in torch."""
    part = cut_to(src, index.shape)
    if reduce in ("sum", "mean"):
        to_x = to_src = g if reduce == "sum" else g / _counts(g, index, axis, include_self)
        to_src = gather_p(to_src, index, axis)
    elif reduce == "prod":
        to_x = g * cj(scatter_reduce_p(creation.ones_like(x), index, src, axis, "prod", True))
        to_src = gather_p(g, index, axis) * cj(_others(x, index, part, out, axis, include_self))
    else:
        own, theirs = (x == out).to(g.dtype), (part == gather_p(out, index, axis)).to(g.dtype)
        if not include_self:
            own = scatter_p(own, index, creation.zeros_at(own, tuple(index.shape)), axis, "set")
        each = g / scatter_p(own, index, theirs, axis, "add")
        to_x, to_src = own * each, theirs * gather_p(each, index, axis)
    if not include_self:
        to_x = scatter_p(to_x, index, creation.zeros_at(to_x, tuple(index.shape)), axis, "set")
    return to_x, grown(to_src, src.shape)


def _others(x: Tensor, index: Tensor, src: Tensor, out: Tensor, axis: int, include_self: bool) -> Tensor:
    """For each element of ``src`` the product of all that meets it, without a division by zero.

    Beside the only zero that product is 0, and its derivative is not: ``out`` has it.
    """
    zero = src == 0
    start = creation.zeros_at(x, tuple(x.shape))
    zeros = gather_p(scatter_p(start, index, zero.to(x.dtype), axis, "add"), index, axis)
    only = zero & (zeros == 1)
    rest = scatter_reduce_p(x, index, where(only, 1, src), axis, "prod", include_self)
    return where(only, gather_p(rest, index, axis), gather_p(out, index, axis) / where(zero, 1, src))


@composite(
    "scatter_reduce(x: Tensor, index: Tensor, src: Tensor, *, axis: Axis, reduce: str, include_self: bool = True)"
    " -> Tensor",
    infer=lambda x, index, src, **params: _scattered(x, index, src, **params, name="scatter_reduce"),
    check=True,
    dtype=same,
    kinds={"index": "index"},
    public=False,
    batch="along_axis",
    vjp=_combined_vjp,
)
def scatter_reduce_p(x: Tensor, index: Tensor, src: Tensor, *, axis: int, reduce: str, include_self: bool) -> Tensor:
    """``x`` with the values of ``src`` that meet at one place combined there: sum, mean, prod, amax or amin."""
    if index.numel() == 0:
        return x.clone()
    _scattered(x.shape, index.shape, src.shape, axis=axis, name="scatter_reduce")
    if reduce in _COMBINE:
        return _scatter_combined(x, index, src, axis, _COMBINE[reduce], include_self)
    zeros = creation.zeros_at(x, tuple(index.shape))
    total = scatter_p(x if include_self else scatter_p(x, index, zeros, axis, "set"), index, src, axis, "add")
    if reduce == "sum":
        return total
    count = _counts(x, index, axis, include_self)
    return total / count if x.dtype.category >= dt.FLOATING else total.floor_divide(count)


# -- public functions along a dim --------------------------------------------------------------------
def aligned(input: Tensor, dim: int, *others: Tensor) -> tuple[int, list[Tensor]]:
    """(axis, tensors): 0-d ones as vectors of one element, as torch lets them take part."""
    ndim = len(input._array.shape)
    axis = AXIS[dim, ndim] if dim.__class__ is int else normal_axis(dim, ndim)  # 1.0 and True are 1 to a dict
    return axis, [t if t._array.shape else t.reshape((1,)) for t in (input, *others)]


def shaped_as(input: Tensor, result: Tensor) -> Tensor:
    """``result`` as a 0-d tensor where ``input`` is one."""
    return result if input._array.shape else result.reshape(())


@public()
def gather(input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False, out: Tensor | None = None) -> Tensor:
    """The elements of ``input`` that ``index`` (int64, of the same rank) names along ``dim``.

    ``out[i][j] = input[index[i][j]][j]`` for dim 0. The index may be smaller along the other dimensions.
    IndexError for a place outside, ShapeError for shapes that do not fit.

    >>> fb.gather(fb.tensor([[1, 2], [3, 4]]), 1, fb.tensor([[0], [1]]))
    tensor([[1],
            [4]])
    """
    axis, (x, at) = aligned(input, dim, index)
    if 0 in at._array.shape:  # torch looks no further: neither at its dtype nor at its rank
        return deliver("gather", x.reshape((-1,))[:0].reshape(tuple(at.shape)), out)
    found = gather_p(x, at, axis)
    return deliver("gather", shaped_as(index, found), out)


@public()
def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None, *, out: Tensor | None = None) -> Tensor:
    """The elements at ``indices`` along ``dim``, the other dimensions broadcast; without ``dim``, of the flat tensor.

    The indices are those that argmax and argsort return.

    >>> fb.take_along_dim(fb.tensor([[3.0, 1.0]]), fb.tensor([[1, 0]]), dim=1)
    tensor([[1., 3.]])
    """
    if dim is None:
        return deliver("take_along_dim", gather_p(input.reshape((-1,)), indices.reshape((-1,)), 0), out)
    if input.ndim != indices.ndim:
        raise ShapeError(
            f"take_along_dim: input and indices must have the same number of dimensions, "
            f"got shapes {tuple(input.shape)} and {tuple(indices.shape)}"
        )
    axis = normal_axis(dim, input.ndim)
    rest = broadcast(_without(input.shape, axis), _without(indices.shape, axis))
    shape = (*rest[:axis], input.shape[axis], *rest[axis:])
    places = (*rest[:axis], indices.shape[axis], *rest[axis:])
    n = input.shape[axis]
    found = gather_p(input.expand(shape), wrapped(indices.expand(places), n), axis)
    return deliver("take_along_dim", found, out)


def _without(shape: Shape, axis: int) -> Shape:
    return (*shape[:axis], *shape[axis + 1 :])


def wrapped(index: Tensor, size: int) -> Tensor:
    """Indices that count from the end, counted from the start."""
    return where(index < 0, index + size, index)


@public(out=True, more={"indices": "index"})
def take(input: Tensor, index: Tensor) -> Tensor:
    """The elements at ``index`` of the flattened tensor, in its shape; negative ones count from the end.

    >>> fb.take(fb.tensor([[1.0, 2.0], [3.0, 4.0]]), fb.tensor([0, 3]))
    tensor([1., 4.])
    """
    flat = input.reshape((input.numel(),))
    return gather_p(flat, wrapped(index.reshape((-1,)), input.numel()), 0).reshape(tuple(index.shape))


@public(inplace=True)
def put(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """``input`` with the elements of ``source`` set, or added, at ``index`` of the flattened tensor.

    >>> fb.put(fb.zeros(3), fb.tensor([1]), fb.tensor([5.0]))
    tensor([0., 5., 0.])
    """
    flat, at = input.reshape((input.numel(),)), wrapped(index.reshape((-1,)), input.numel())
    done = scatter_p(flat, at, source.reshape((-1,)), 0, "add" if accumulate else "set")
    return done.reshape(tuple(input.shape))


@public()
def index_select(input: Tensor, dim: int, index: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The slices of ``input`` along ``dim`` at the places in ``index``, a vector of ints (or a 0-d one).

    >>> fb.index_select(fb.tensor([[1, 2], [3, 4]]), 1, fb.tensor([1]))
    tensor([[2],
            [4]])
    """
    axis, (x, at) = aligned(input, dim, index)
    return deliver("index_select", shaped_as(input, index_select_p(x, at, axis)), out)
