"""The largest and the smallest: max and min in their three forms, and where they stand."""

from __future__ import annotations

from typing import overload

from flambeau.backends.layout import reduced_shape
from flambeau.core.arguments import normal_axis
from flambeau.core.declare import OpFunction
from flambeau.core.errors import need_tensors
from flambeau.core.ops.elementwise import maximum_p, minimum_p
from flambeau.core.ops.index import gather_p
from flambeau.core.ops.reduce import argmax_p, argmin_p, max_p, min_p
from flambeau.core.ops.scan import Pair
from flambeau.core.out import deliver
from flambeau.core.public import public
from flambeau.core.results import MinMax, ValuesIndices, returned
from flambeau.core.tensor import Tensor


@overload
def _max(input: Tensor, dim: None = None, keepdim: bool = False, *, out: Tensor | None = None) -> Tensor: ...
@overload
def _max(input: Tensor, dim: int, keepdim: bool = False, *, out: Pair | None = None) -> ValuesIndices[Tensor]: ...
@overload
def _max(input: Tensor, other: Tensor, /, *, out: Tensor | None = None) -> Tensor: ...
@overload
def _max(input: Tensor, *, other: Tensor, out: Tensor | None = None) -> Tensor: ...
@public("max")
def _max(
    input: Tensor, dim: int | Tensor | None = None, keepdim: bool = False, *, other: Tensor | None = None,
    out: Tensor | Pair | None = None,
) -> Tensor | ValuesIndices[Tensor]:  # fmt: skip
    """The largest element; with ``dim`` (values, indices) along it; with a tensor elementwise.

    nan wins. The gradient of the largest of all is shared by equal ones; along ``dim`` it goes to the index.
    ShapeError for all of no elements, IndexError for a ``dim`` of size 0 or that ``input`` does not have.

    >>> fb.max(fb.tensor([[1.0, 5.0]]), 1).indices
    tensor([1])
    """
    found = returned("max", _extreme(max_p, argmax_p, maximum_p, input, dim, keepdim, other))
    answer: Tensor | ValuesIndices[Tensor] = deliver("max" if isinstance(found, tuple) else "maximum", found, out)
    return answer


@overload
def _min(input: Tensor, dim: None = None, keepdim: bool = False, *, out: Tensor | None = None) -> Tensor: ...
@overload
def _min(input: Tensor, dim: int, keepdim: bool = False, *, out: Pair | None = None) -> ValuesIndices[Tensor]: ...
@overload
def _min(input: Tensor, other: Tensor, /, *, out: Tensor | None = None) -> Tensor: ...
@overload
def _min(input: Tensor, *, other: Tensor, out: Tensor | None = None) -> Tensor: ...
@public("min")
def _min(
    input: Tensor, dim: int | Tensor | None = None, keepdim: bool = False, *, other: Tensor | None = None,
    out: Tensor | Pair | None = None,
) -> Tensor | ValuesIndices[Tensor]:  # fmt: skip
    """The smallest element; with ``dim`` (values, indices) along it; with a tensor elementwise.

    nan wins. The gradient of the smallest of all is shared by equal ones; along ``dim`` it goes to the index.
    ShapeError for all of no elements, IndexError for a ``dim`` of size 0 or that ``input`` does not have.

    >>> fb.min(fb.tensor([[1.0, 5.0]]), 1).indices
    tensor([0])
    """
    found = returned("min", _extreme(min_p, argmin_p, minimum_p, input, dim, keepdim, other))
    answer: Tensor | ValuesIndices[Tensor] = deliver("min" if isinstance(found, tuple) else "minimum", found, out)
    return answer


def _extreme(
    whole: OpFunction[Tensor], place: OpFunction[Tensor], pairwise: OpFunction[Tensor], input: Tensor,
    dim: int | Tensor | None, keepdim: bool, other: Tensor | None,
) -> Tensor | ValuesIndices[Tensor]:  # fmt: skip
    if isinstance(dim, Tensor):
        need_tensors(pairwise.op.name, input=input)
        dim, other = None, dim
    if other is not None:
        return pairwise(input, other)
    try:
        return whole(input) if dim is None else ValuesIndices(*_along(whole, place, input, dim, keepdim))
    except (IndexError, RuntimeError, TypeError) as error:  # in words of the record, which users know as amax or amin
        words = str(error)
        if not words.startswith(f"{whole.op.title}:"):
            raise
        raise type(error)(words[1:]) from None


def _along(whole: OpFunction[Tensor], place: OpFunction[Tensor], x: Tensor, dim: int, keepdim: bool) -> Pair:
    """The extreme elements along an axis and where they stand, the first of equal ones."""
    if x.ndim == 0:
        return x.clone(), _place(place, x, dim, keepdim)
    axis = normal_axis(dim, x.ndim)
    if x._node is None and x._key.level is None:  # no gradient has to find its way back to one of equal elements
        return whole(x, axis, keepdim), place(x, axis, keepdim)
    at = place(x, axis, True)
    values = gather_p(x, at, axis)
    if keepdim:
        return values, at
    shape = reduced_shape(tuple(x.shape), axis, False)
    return values.reshape(shape), at.reshape(shape)


def _place(place: OpFunction[Tensor], x: Tensor, dim: int | None, keepdim: bool) -> Tensor:
    """argmax and argmin for any ``dim``: None counts in the flattened tensor."""
    if dim is None or x.ndim == 0:
        if dim is not None:
            normal_axis(dim, 0)
        flat = place(x.reshape((x.numel(),)), 0, False)
        return flat.reshape((1,) * x.ndim) if keepdim else flat
    return place(x, dim, keepdim)


@public(out=True)
def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Where the largest element stands along ``dim`` (None: in the flattened tensor), int64; the first of equals.

    >>> fb.argmax(fb.tensor([[1, 5], [7, 2]]), dim=1)
    tensor([1, 0])
    """
    return _place(argmax_p, input, dim, keepdim)


@public(out=True)
def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Where the smallest element stands along ``dim`` (None: in the flattened tensor), int64; the first of equals.

    >>> fb.argmin(fb.tensor([3.0, 1.0, 2.0]))
    tensor(1)
    """
    return _place(argmin_p, input, dim, keepdim)


@public(out=True)
def aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False) -> MinMax[Tensor]:
    """(min, max): the smallest and the largest element, along ``dim`` or of all.

    >>> fb.aminmax(fb.tensor([1.0, 2.0, 3.0]))
    MinMax(min=tensor(1.), max=tensor(3.))
    """
    found: MinMax[Tensor] = returned("aminmax", (min_p(input, dim, keepdim), max_p(input, dim, keepdim)))
    return found
