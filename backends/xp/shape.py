"""Views, layouts and copies. The views alias: a full index of integers keeps a 0-d view, not a scalar."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from flambeau.backends.base import KernelTable
from flambeau.backends.xp import Array, Bodies, Namespace
from flambeau.core import dtype as dt
from flambeau.core.cache import Cache
from flambeau.core.dtype import DType

bodies = Bodies()
_Padded: TypeAlias = tuple[tuple[int, ...], tuple[slice, ...], tuple[slice, ...]]
#: Complex numbers by the bytes of their parts: names would be read anew at each call.
_PAIRS: Final = {4: dt.complex64.numpy, 8: dt.complex128.numpy}


def bind(table: KernelTable, xp: Namespace) -> None:
    """Enter the views, which need no namespace, as plain functions; then the bodies."""
    for fn in (basic_index, permute, view_dtype, view_as_real, view_as_complex, cast, clone, setitem):
        table.register(fn.__name__, fn)
    bodies.bind(table, xp)


# -- views -----------------------------------------------------------------------------------------
def basic_index(x: Array, *, index: tuple[Any, ...]) -> Array:
    return x[(*index, ...)]


def permute(x: Array, *, axes: tuple[int, ...]) -> Array:
    return x.transpose(axes)


def view_dtype(x: Array, *, dtype: DType) -> Array:
    """The same bytes as another dtype; the last axis, which must be dense, takes up a change of width."""
    if x.ndim == 0 and x.itemsize != dtype.itemsize:
        raise ValueError(f"view: a 0-d array of {x.dtype} cannot be seen as {dtype}, whose width differs")
    return x.view(dtype.numpy)


def view_as_real(x: Array) -> Array:
    return x[..., None].view(x.real.dtype)


def view_as_complex(x: Array) -> Array:
    """Pairs along the last axis, of size 2 and dense, as complex numbers."""
    return x.view(_PAIRS[x.itemsize])[..., 0]


# -- copies ----------------------------------------------------------------------------------------
def cast(x: Array, *, dtype: DType) -> Array:
    if x.dtype.kind == "c" and dtype.numpy.kind not in "cb":
        x = x.real  # without the warning about the imaginary part
    return x.astype(dtype.numpy) if dtype not in dt.HELD else dt.cast_host(x, dtype)


def clone(x: Array, *, order: str = "K") -> Array:
    return x.copy(order)


def setitem(dst: Array, src: Array, *, index: tuple[Any, ...]) -> Array:
    dst[(*index, ...)] = src
    return dst


@bodies.kernel("full")
def full(xp: Namespace, *, shape: tuple[int, ...], value: Any, dtype: DType, index: int = 0) -> Array:
    out = xp.empty(shape, dtype.numpy)
    out.fill(value if dtype.category >= 2 and not isinstance(value, int) else xp.asarray(value).astype(dtype.numpy))
    return out


@bodies.kernel("arange")
def arange(xp: Namespace, start: Any, step: Any, *, length: int, dtype: DType, index: int = 0) -> Array:
    """Element i is start + i * step, each computed by itself, so that errors do not add up."""
    if dtype.category < 2:
        steps = xp.arange(length, dtype="i8")
        if step != 1:
            steps *= step
        return (steps + start if start else steps).astype(dtype.numpy, copy=False)
    result = xp.arange(length, dtype="f8") * step
    return (result + start).astype(dtype.numpy, copy=False)


@bodies.kernel("cat")
def cat(xp: Namespace, *xs: Array, axis: int) -> Array:
    if len(xs) == 1 and isinstance(xs[0], (list, tuple)):
        xs = tuple(xs[0])
    return xp.ascontiguousarray(xp.concatenate(xs, axis))  # numpy keeps the order of permuted arrays


@bodies.kernel("pad")
def pad(xp: Namespace, x: Array, *, widths: tuple[tuple[int, int], ...], value: Any) -> Array:
    """``value`` around ``x``; a negative width takes away."""
    shape, target, source = _PADDED[x.shape, widths]
    out = xp.empty(shape, x.dtype)
    out.fill(value)
    out[target] = x[source]
    return out


def _padded(shape: tuple[int, ...], widths: tuple[tuple[int, int], ...]) -> _Padded:
    """The shape of the result, which part of it is the operand's, and which of the operand's."""
    larger = tuple([n + before + after for n, (before, after) in zip(shape, widths, strict=True)])
    source = tuple([slice(max(-b, 0), n - max(-a, 0)) for n, (b, a) in zip(shape, widths, strict=True)])
    target = tuple([slice(max(b, 0), n - max(a, 0)) for n, (b, a) in zip(larger, widths, strict=True)])
    return larger, target, source


_PADDED: Final[Cache[tuple[tuple[int, ...], tuple[tuple[int, int], ...]], _Padded]] = Cache(lambda key: _padded(*key))


@bodies.kernel("flip")
def flip(xp: Namespace, x: Array, *, axes: tuple[int, ...]) -> Array:
    return x[tuple([slice(None, None, -1) if i in axes else slice(None) for i in range(x.ndim)])].copy()


@bodies.kernel("tril")
def tril(xp: Namespace, x: Array, *, diagonal: int = 0) -> Array:
    """The lower triangle of each matrix."""
    return xp.tril(x, diagonal)


@bodies.kernel("triu")
def triu(xp: Namespace, x: Array, *, diagonal: int = 0) -> Array:
    """The upper triangle of each matrix."""
    return xp.triu(x, diagonal)
