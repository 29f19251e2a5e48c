"""Writing along a dim: scatter in its forms, index_add, index_copy, index_fill, each also in place."""

from __future__ import annotations

from typing import Final, TypeAlias

from flambeau.core import creation
from flambeau.core import dtype as dt
from flambeau.core.autocast import autocasting
from flambeau.core.autograd.inplace import in_place
from flambeau.core.dtype import Number
from flambeau.core.errors import ArgumentError, DTypeError, ShapeError
from flambeau.core.ops.index import aligned, scatter_p, shaped_as, spread, wrapped
from flambeau.core.public import public
from flambeau.core.record import OPS
from flambeau.core.tensor import Tensor

#: The record that serves a call, its operands and params.
Plan: TypeAlias = tuple[str, list[Tensor], dict[str, int | str | bool]]
#: What ``scatter`` does itself, by the names that functions have for it.
_SIMPLE: Final[dict[str | None, str]] = {None: "set", "set": "set", "add": "add", "sum": "add"}


def _source(name: str, input: Tensor, index: Tensor, src: Tensor | Number | None, value: Number | None) -> Tensor:
    """``src`` as a tensor: of one value where a number was given."""
    given = src if value is None else value
    if isinstance(given, Tensor) and given._key.dtype is input._key.dtype:
        return given
    if isinstance(given, (bool, int, float, complex)):
        return creation.full(tuple(index.shape), given, dtype=input.dtype, device=input.device)
    if not isinstance(given, Tensor):
        raise TypeError(f"{name}: argument 'src' must be a tensor or a number, got {type(given).__name__}")
    raise DTypeError(f"{name}: expected src to have the dtype of input, got {given.dtype} and {input.dtype}")


def _scatter_call(
    name: str, input: Tensor, dim: int, index: Tensor, src: Tensor | Number | None, value: Number | None = None,
    reduce: str | None = None, include_self: bool = True
) -> Plan:  # fmt: skip
    source = _source(name, input, index, src, value)
    if 0 in index._array.shape and name.startswith("scatter"):  # torch looks no further: neither at dtype nor at rank
        index, source = (_nothing(t, input) for t in (index, source))
        index = index.to(dt.int64)
    axis, operands = aligned(input, dim, index, source)
    if reduce in _SIMPLE and include_self:
        return "scatter", operands, {"axis": axis, "reduce": _SIMPLE[reduce]}
    kind = {"multiply": "prod"}.get(reduce or "", reduce)
    if kind not in ("sum", "mean", "prod", "amax", "amin"):
        raise ArgumentError(f"{name}: reduce must be sum, prod, mean, amax or amin, got {reduce!r}")
    return "scatter_reduce", operands, {"axis": axis, "reduce": kind, "include_self": include_self}


def _nothing(x: Tensor, like: Tensor) -> Tensor:
    """No elements of ``x``, in as many dimensions as ``like`` has."""
    return x.reshape((-1,))[:0].reshape((0,) * max(like.ndim, 1))


def _functional(plan: Plan, input: Tensor) -> Tensor:
    name, operands, params = plan
    made: Tensor = OPS[name].function(*operands, *params.values())  # in the schema's order, as the fast path wants
    return shaped_as(input, made)


def _in_place(plan: Plan, input: Tensor) -> Tensor:
    name, operands, params = plan
    in_place(OPS[name], operands, params, None)
    return input


@public(out=True)
def scatter(
    input: Tensor, dim: int, index: Tensor, src: Tensor | Number | None = None, *, value: Number | None = None,
    reduce: str | None = None,
) -> Tensor:  # fmt: skip
    """A copy of ``input`` with ``src`` (a tensor or a number) written where ``index`` points along ``dim``.

    ``out[index[i][j]][j] = src[i][j]`` for dim 0; ``reduce`` "add" or "multiply" combines instead. Where
    several meet, which one stays is not defined.

    >>> fb.scatter(fb.zeros(3), 0, fb.tensor([2, 0]), fb.tensor([1.0, 5.0]))
    tensor([5., 0., 1.])
    """
    return _functional(_scatter_call("scatter", input, dim, index, src, value, reduce), input)


@public()
def scatter_(
    input: Tensor, dim: int, index: Tensor, src: Tensor | Number | None = None, *, value: Number | None = None,
    reduce: str | None = None,
) -> Tensor:  # fmt: skip
    """:func:`scatter` in place."""
    return _in_place(_scatter_call("scatter_", input, dim, index, src, value, reduce), input)


@public(out=True)
@autocasting("same|widest")
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor | Number) -> Tensor:
    """A copy of ``input`` with ``src`` added where ``index`` points along ``dim``.

    >>> fb.scatter_add(fb.zeros(3), 0, fb.tensor([0, 0, 2]), fb.ones(3))
    tensor([2., 0., 1.])
    """
    return _functional(_scatter_call("scatter_add", input, dim, index, src, reduce="add"), input)


@public()
def scatter_add_(input: Tensor, dim: int, index: Tensor, src: Tensor | Number) -> Tensor:
    """:func:`scatter_add` in place."""
    return _in_place(_scatter_call("scatter_add_", input, dim, index, src, reduce="add"), input)


@public(out=True)
def scatter_reduce(
    input: Tensor, dim: int, index: Tensor, src: Tensor | Number, reduce: str, *, include_self: bool = True
) -> Tensor:
    """A copy of ``input`` with the values of ``src`` that ``index`` sends to one place along ``dim`` combined there.

    ``reduce``: "sum", "prod", "mean", "amax" or "amin". With ``include_self`` what stood there takes part.

    >>> fb.scatter_reduce(fb.zeros(2), 0, fb.tensor([0, 0]), fb.tensor([3.0, 5.0]), "amax")
    tensor([5., 0.])
    """
    plan = _scatter_call("scatter_reduce", input, dim, index, src, None, reduce, include_self)
    return _functional(plan, input)


@public()
def scatter_reduce_(
    input: Tensor, dim: int, index: Tensor, src: Tensor | Number, reduce: str, *, include_self: bool = True
) -> Tensor:
    """:func:`scatter_reduce` in place."""
    return _in_place(_scatter_call("scatter_reduce_", input, dim, index, src, None, reduce, include_self), input)


# -- along a dim by a vector of indices --------------------------------------------------------------
def _added_call(name: str, input: Tensor, dim: int, index: Tensor, source: Tensor, alpha: Tensor | Number) -> Plan:
    axis, (x, at, src) = aligned(input, dim, index, _source(name, input, index, source, None))
    return "index_add", [x, at, src if alpha == 1 else src * alpha], {"axis": axis}


@public(out=True)
def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Tensor | Number = 1) -> Tensor:
    """A copy of ``input`` with ``alpha`` times the slices of ``source`` along ``dim`` added at the places in ``index``.

    Equal places add up. ShapeError unless ``source`` has the shape of ``input`` but for ``dim``.

    >>> fb.index_add(fb.zeros(3), 0, fb.tensor([0, 0, 2]), fb.ones(3))
    tensor([2., 0., 1.])
    """
    return _functional(_added_call("index_add", input, dim, index, source, alpha), input)


@public()
def index_add_(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Tensor | Number = 1) -> Tensor:
    """:func:`index_add` in place."""
    return _in_place(_added_call("index_add_", input, dim, index, source, alpha), input)


def _filled_call(name: str, input: Tensor, dim: int, index: Tensor, value: Tensor | Number) -> Plan:
    """A scatter of a number, or the place of every slice that ``index`` names filled: a tensor counts once in each."""
    if (value.is_complex() if isinstance(value, Tensor) else isinstance(value, complex)) and not input.is_complex():
        raise DTypeError(f"{name}: a complex value cannot be converted to {input.dtype} without loss")
    axis, (x, at) = aligned(input, dim, index)
    places = spread(wrapped(at, x.shape[axis]), x.shape, axis)
    if not isinstance(value, Tensor):
        source = creation.full(tuple(places.shape), value, dtype=input.dtype, device=input.device)
        return _scatter_call(name, x, axis, places, source)
    if value.ndim:
        raise ShapeError(f"{name}: value must be a number or a 0-d tensor, got shape {tuple(value.shape)}")
    nowhere = creation.full(tuple(x.shape), False, dtype=dt.bool_, device=x.device)
    there = creation.full(tuple(places.shape), True, dtype=dt.bool_, device=x.device)
    return "masked_fill", [x, scatter_p(nowhere, places, there, axis, "set"), value], {}


def _copied_call(name: str, input: Tensor, dim: int, index: Tensor, source: Tensor | Number) -> Plan:
    """A scatter of whole slices; a number or 0-d tensor is written everywhere."""
    axis, (x, at) = aligned(input, dim, index)
    places = spread(at, x.shape, axis)
    if not isinstance(source, Tensor):
        if isinstance(source, complex) and not input.is_complex():
            raise DTypeError(f"{name}: a complex number cannot be converted to {input.dtype} without loss")
        source = creation.full(tuple(places.shape), source, dtype=input.dtype, device=input.device)
    elif not source.ndim and places.numel() == index.numel() == 1:
        source = source.reshape(tuple(places.shape))
    elif tuple(source.shape) != tuple(places.shape) and input.ndim:
        raise ShapeError(
            f"{name}: source must have the shape of input with dimension {axis} as long as index: "
            f"input {tuple(input.shape)}, index {tuple(index.shape)}, source {tuple(source.shape)}"
        )
    return _scatter_call(name, x, axis, places, source)


@public(out=True)
def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """A copy of ``input`` with the slices of ``source`` along ``dim`` written at the places in ``index``.

    >>> fb.index_copy(fb.zeros(3), 0, fb.tensor([2]), fb.ones(1))
    tensor([0., 0., 1.])
    """
    return _functional(_copied_call("index_copy", input, dim, index, source), input)


@public()
def index_copy_(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """:func:`index_copy` in place."""
    return _in_place(_copied_call("index_copy_", input, dim, index, source), input)


@public()
def index_fill(input: Tensor, dim: int, index: Tensor, value: Tensor | Number) -> Tensor:
    """A copy of ``input`` with ``value``, a number or a 0-d tensor, along ``dim`` at the places in ``index``.

    Negative places count from the end.

    >>> fb.index_fill(fb.zeros(3), 0, fb.tensor([1]), 5.0)
    tensor([0., 5., 0.])
    """
    return _functional(_filled_call("index_fill", input, dim, index, value), input)


@public()
def index_fill_(input: Tensor, dim: int, index: Tensor, value: Tensor | Number) -> Tensor:
    """:func:`index_fill` in place."""
    return _in_place(_filled_call("index_fill_", input, dim, index, value), input)


def _reduced_call(
    name: str, input: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, include_self: bool
) -> Plan:
    axis, (x, at, src) = aligned(input, dim, index, source)
    places = spread(at, x.shape, axis)
    if tuple(src.shape) != tuple(places.shape):
        raise ShapeError(
            f"{name}: source must have the shape of input with dimension {axis} as long as index: "
            f"input {tuple(input.shape)}, index {tuple(index.shape)}, source {tuple(source.shape)}"
        )
    return _scatter_call(name, x, axis, places, src, None, reduce, include_self)


@public(out=True)
def index_reduce(
    input: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """A copy of ``input`` with the slices of ``source`` that ``index`` sends to one place along ``dim`` combined there.

    ``reduce``: "prod", "mean", "amax" or "amin". With ``include_self`` what stood there takes part.

    >>> fb.index_reduce(fb.zeros(2), 0, fb.tensor([0, 0]), fb.tensor([3.0, 5.0]), "amax")
    tensor([5., 0.])
    """
    return _functional(_reduced_call("index_reduce", input, dim, index, source, reduce, include_self), input)


@public()
def index_reduce_(
    input: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """:func:`index_reduce` in place."""
    return _in_place(_reduced_call("index_reduce_", input, dim, index, source, reduce, include_self), input)
