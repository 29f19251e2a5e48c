"""Masks: filling, selecting and writing where they are True, and the places where they are."""

from __future__ import annotations

import math
from typing import Literal, overload

from flambeau.core import creation, from_data
from flambeau.core import dtype as dt
from flambeau.core.declare import composite
from flambeau.core.dtype import Number
from flambeau.core.errors import DTypeError, NumberError, ShapeError
from flambeau.core.ops import storage
from flambeau.core.ops.elementwise import broadcast, where
from flambeau.core.ops.index import gather_p, index_select_p
from flambeau.core.ops.reduce import sum_p
from flambeau.core.ops.scan import cumsum_p, cut
from flambeau.core.ops.sort import argsort_p
from flambeau.core.out import deliver
from flambeau.core.public import public
from flambeau.core.record import to_index
from flambeau.core.state import get
from flambeau.core.tensor import Tensor
from flambeau.core.transforms.levels import in_front


@composite(
    "masked_fill(x: Tensor, mask: Tensor, value: Tensor) -> Tensor",
    infer=lambda x, mask, value: broadcast(x, mask),
    dtype=storage.anything,
    kinds={"mask": "any", "value": "any"},
    upcast=False,
    inplace=True,
    vjp=dict(x=lambda g, mask: where(mask, 0, g), value=lambda g, mask: where(mask, g, 0)),
)
def masked_fill_p(x: Tensor, mask: Tensor, value: Tensor | Number) -> Tensor:
    """``x`` with ``value`` (a number or a 0-d tensor) where ``mask`` is True; the two broadcast.

    >>> fb.masked_fill(fb.tensor([1.0, -1.0]), fb.tensor([False, True]), 0.0)
    tensor([1., 0.])
    """
    if mask.dtype is not dt.bool_:
        raise DTypeError(f"masked_fill: mask must be a bool tensor, got {mask.dtype}")
    if isinstance(value, Tensor):
        if value.ndim:
            raise ShapeError(f"masked_fill: value must be a number or a 0-d tensor, got shape {tuple(value.shape)}")
        if dt.BOOL < x.dtype.category < value.dtype.category == dt.COMPLEX:
            raise DTypeError(f"masked_fill: a value of {value.dtype} cannot be converted to {x.dtype} without loss")
        value = storage.cast_p(value, dtype=x.dtype)
    else:
        value = from_data.number("masked_fill", value, x.dtype, x.device)
    return where(mask, value, x)


@public()
def masked_fill(input: Tensor, mask: Tensor, value: Tensor | Number) -> Tensor:
    """``input`` with ``value`` (a number or a 0-d tensor) where ``mask`` is True; the two broadcast.

    >>> fb.masked_fill(fb.tensor([1.0, 2.0]), fb.tensor([True, False]), 0.0)
    tensor([0., 2.])
    """
    if value.__class__ in (float, int) and isinstance(mask, Tensor) and mask._key.dtype is dt.bool_:
        key, state = input._key, get()
        fits = key.dtype not in dt.LOW_PRECISION or dt.holds(key.dtype, value)
        if fits and key.dtype.category == dt.FLOATING and key.level is None and state is not None and state.plain:
            try:
                return where(mask, value, input)
            except NumberError:  # of a number that does not fit
                pass
    return masked_fill_p(input, mask, value)


@composite("nonzero(x: Tensor) -> Tensor", dtype=to_index, upcast=False, differentiable=False, public=False)
def nonzero_p(x: Tensor) -> Tensor:
    """The indices (n, ndim) of the elements that are not zero, in row-major order."""
    full_mask = (x != 0).reshape((x.numel(),))
    flat = cut(argsort_p(full_mask, 0, True), 0, 0, int(sum_p(full_mask)))
    columns = []
    for n in reversed(x.shape):
        columns.append(flat.remainder(n or 1).reshape((flat.shape[0], 1)))
        flat = flat.floor_divide(n or 1)
    if not columns:
        return creation.full((flat.shape[0], 0), 0, dtype=dt.int64, device=x.device)
    return storage.cat_p(columns[::-1], 1)


@overload
def nonzero(input: Tensor, *, as_tuple: Literal[False] = False, out: Tensor | None = None) -> Tensor: ...
@overload
def nonzero(input: Tensor, *, as_tuple: Literal[True]) -> tuple[Tensor, ...]: ...
@overload
def nonzero(input: Tensor, *, as_tuple: bool, out: Tensor | None = None) -> Tensor | tuple[Tensor, ...]: ...
@public()
def nonzero(input: Tensor, *, as_tuple: bool = False, out: Tensor | None = None) -> Tensor | tuple[Tensor, ...]:
    """The indices (n, ndim) of the elements that are not zero; ``as_tuple`` one vector per dimension instead.

    Its shape depends on the values, so it reads from the device, and does not work inside transforms.

    >>> fb.nonzero(fb.tensor([0, 5, 7]))
    tensor([[1],
            [2]])
    """
    if as_tuple and out is not None:
        raise TypeError("nonzero: argument 'out' is for as_tuple=False; the tuple has one tensor for each dimension")
    if not as_tuple:
        return deliver("nonzero", nonzero_p(input), out)
    found = nonzero_p(input if input.ndim else input.reshape((1,)))
    return tuple(found.select(1, i) for i in range(found.shape[1]))


@public()
def nonzero_static(input: Tensor, *, size: int, fill_value: int = -1) -> Tensor:
    """The first ``size`` rows of :func:`nonzero`, with rows of ``fill_value`` where there are fewer.

    >>> fb.nonzero_static(fb.tensor([0, 7]), size=2)
    tensor([[ 1],
            [-1]])
    """
    count, shape = input.numel(), tuple(input._array.shape)
    flat = (input != 0).reshape((count,))
    place = cumsum_p(flat.to(dt.int64), 0) - 1
    numbers = creation.arange(count, device=input.device)
    slots = creation.full_at(place, (size + 1,), -1)  # the last is for those that have no place
    found = slots.scatter(0, where(flat & (place < size), place, size), numbers)[:size]
    columns, rest = [], found
    for n in reversed(shape):
        columns.append(where(found < 0, fill_value, rest.remainder(n or 1)).reshape((size, 1)))
        rest = rest.floor_divide(n or 1)
    return storage.cat_p(columns[::-1], 1) if columns else creation.full_at(place, (size, 0), 0)


@public()
def argwhere(input: Tensor) -> Tensor:
    """The indices (n, ndim) of the elements that are not zero.

    >>> fb.argwhere(fb.tensor([0, 7, 0, 7]))
    tensor([[1],
            [3]])
    """
    if input._key.level is not None:
        found: Tensor = in_front(lambda x: (_argwhere_of_each(x, input.ndim),), input)[0]
        return found
    return nonzero_p(input)


def _argwhere_of_each(x: Tensor, ndim: int) -> Tensor:
    """The places in each part of the last ``ndim`` dimensions; RuntimeError unless all have as many."""
    found, batch = nonzero_p(x), tuple(x._array.shape[: x.ndim - ndim])
    size = math.prod(batch)
    count, rest = divmod(found._array.shape[0], max(size, 1))
    owner = found.new_zeros((found._array.shape[0],))
    for axis, n in enumerate(batch):
        owner = owner * n + found[:, axis]
    if (
        rest
        or count
        and bool((owner.reshape((size, count)) != creation.arange(size, device=x.device).reshape((size, 1))).any())
    ):
        raise RuntimeError("argwhere: elements of the batch of vmap have different numbers of elements that are not 0")
    return found[:, len(batch) :].reshape((*batch, count, ndim))


def true_places(mask: Tensor) -> Tensor:
    """Where a flattened mask is True."""
    found = nonzero_p(mask.reshape((mask.numel(),)))
    return found.reshape((found.shape[0],))


@public()
def masked_select(input: Tensor, mask: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The elements of ``input`` where ``mask`` is True (the two broadcast), as a vector.

    >>> fb.masked_select(fb.tensor([1, 2, 3]), fb.tensor([True, False, True]))
    tensor([1, 3])
    """
    _is_mask("masked_select", mask)
    shape = broadcast(input.shape, mask.shape)
    flat = input.expand(shape).reshape((math.prod(shape),))
    return deliver("masked_select", index_select_p(flat, true_places(mask.expand(shape)), 0), out)


def _is_mask(name: str, mask: object) -> None:
    if not isinstance(mask, Tensor) or mask.dtype is not dt.bool_:
        got = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise DTypeError(f"{name}: mask must be a bool tensor, got {got}")


@public(inplace=True)
def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """``input`` with the elements of ``source``, in order, where ``mask`` is True.

    ``mask`` broadcasts with ``input``; ``source`` must have as many elements as the mask has True ones, or more.

    >>> fb.masked_scatter(fb.zeros(3), fb.tensor([True, False, True]), fb.tensor([1.0, 2.0]))
    tensor([1., 0., 2.])
    """
    _is_mask("masked_scatter", mask)
    if source.dtype is not input.dtype:
        raise DTypeError(f"masked_scatter: source must have the dtype of input, got {source.dtype} and {input.dtype}")
    shape = broadcast(input.shape, mask.shape)
    flat_mask = mask.expand(shape).reshape((math.prod(shape),))
    if not source.numel() or not math.prod(shape):
        return input.expand(shape).clone()
    rank = cumsum_p(flat_mask, 0) - 1
    values = gather_p(source.reshape((source.numel(),)), where(flat_mask, rank, 0), 0)
    return where(flat_mask.reshape(shape), values.reshape(shape), input)
