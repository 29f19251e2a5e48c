"""Names of the Python array API standard (2024.12) that torch has not, with the standard's meaning.

Where torch has the name with another meaning (``equal``, ``sort``, ``max`` along an axis, ``nonzero``, ``meshgrid``,
``size``), torch's stays. https://data-apis.org/array-api/2024.12/
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from types import ModuleType
from typing import Final

from flambeau.core import creation, registry
from flambeau.core import dtype as dt
from flambeau.core.device import DeviceLike, located
from flambeau.core.device import device as Device
from flambeau.core.dtype import DType, DTypeLike, as_dtype
from flambeau.core.errors import ShapeError
from flambeau.core.keys import get_default_device, key_for
from flambeau.core.ops import convert, expand, joining, scan, scatter, search, shape, views
from flambeau.core.ops import index as places
from flambeau.core.public import public
from flambeau.core.results import UniqueAll, UniqueCounts, UniqueInverse
from flambeau.core.tensor import Tensor

VERSIONS: Final = ("2021.12", "2022.12", "2023.12", "2024.12")


# -- data types --------------------------------------------------------------------------------------
@public(method=False)
def astype(x: Tensor, dtype: DType, /, *, copy: bool = True, device: DeviceLike = None) -> Tensor:
    """``x`` in another dtype, a copy unless ``copy`` is False and nothing changes.

    >>> fb.astype(fb.tensor([1.5]), fb.int32)
    tensor([1], dtype=flambeau.int32)
    """
    return convert.convert(x, None if device is None else located(device), as_dtype(dtype), copy)


_KINDS: Final[dict[str, tuple[DType, ...]]] = {
    "bool": dt.BOOLS,
    "signed integer": tuple(d for d in dt.INTS if d.is_signed),
    "unsigned integer": tuple(d for d in dt.INTS if not d.is_signed),
    "integral": dt.INTS,
    "real floating": dt.FLOATS,
    "complex floating": dt.COMPLEXES,
    "numeric": dt.INTS + dt.FLOATS + dt.COMPLEXES,
}


@public(method=False)
def isdtype(dtype: DTypeLike, kind: DTypeLike | tuple[DTypeLike, ...]) -> bool:
    """Whether a dtype is of a kind: a dtype, one of the standard's names, or a tuple of either.

    The names: "bool", "signed integer", "unsigned integer", "integral", "real floating", "complex floating",
    "numeric".

    >>> fb.isdtype(fb.float32, "real floating")
    True
    """
    if isinstance(kind, tuple):
        return any(isdtype(dtype, k) for k in kind)
    if not isinstance(kind, str):
        return as_dtype(dtype) is as_dtype(kind)
    if kind not in _KINDS:
        raise ValueError(f"isdtype: kind must be a dtype or one of {', '.join(map(repr, _KINDS))}, got {kind!r}")
    return as_dtype(dtype) in _KINDS[kind]


# -- shapes ------------------------------------------------------------------------------------------
@public(method=False)
def broadcast_arrays(*arrays: Tensor) -> list[Tensor]:
    """All tensors expanded to their common shape.

    >>> [t.shape for t in fb.broadcast_arrays(fb.ones(2, 1), fb.ones(3))]
    [flambeau.Size([2, 3]), flambeau.Size([2, 3])]
    """
    return list(expand.broadcast_tensors(*arrays))


@public(method=False)
def expand_dims(x: Tensor, /, *, axis: int = 0) -> Tensor:
    """With a new dimension of size 1 at ``axis``; a view."""
    return shape.unsqueeze(x, axis)


@public(method=False)
def permute_dims(x: Tensor, /, axes: Sequence[int]) -> Tensor:
    """The dimensions in the order ``axes``; a view.

    >>> fb.permute_dims(fb.ones(2, 3), (1, 0)).shape
    flambeau.Size([3, 2])
    """
    return shape.permute(x, tuple(axes))


@public(method=False)
def unstack(x: Tensor, /, *, axis: int = 0) -> tuple[Tensor, ...]:
    """Every place of dimension ``axis`` as a tensor without it; views.

    >>> fb.unstack(fb.tensor([[1, 2], [3, 4]]))
    (tensor([1, 2]), tensor([3, 4]))
    """
    return views.unbind(x, axis)


@public(method=False)
def repeat(x: Tensor, repeats: int | Tensor, /, *, axis: int | None = None) -> Tensor:
    """Each element ``repeats`` times in a row along ``axis``; :meth:`Tensor.repeat` repeats the whole instead.

    >>> fb.repeat(fb.tensor([1, 2]), 2)
    tensor([1, 1, 2, 2])
    """
    return joining.repeat_interleave(x, repeats, axis)


@public(method=False, out=True, more={"indices": "index"})
def take(input: Tensor, index: Tensor, *, axis: int | None = None) -> Tensor:
    """The elements at ``index`` of the flattened tensor, in its shape; with ``axis`` the slices along it.

    Negative places count from the end.

    >>> fb.take(fb.tensor([[1.0, 2.0], [3.0, 4.0]]), fb.tensor([0, 3]))
    tensor([1., 4.])
    """
    if axis is None:
        return places.take(input, index)
    size = input._array.shape[shape.axis_of("take", input, axis, label="axis")]
    return places.index_select(input, axis, places.wrapped(index, size))


@public(method=False)
def take_along_axis(x: Tensor, indices: Tensor, /, *, axis: int = -1) -> Tensor:
    """The elements at ``indices`` along ``axis``, as argsort returns them; the other dimensions broadcast.

    >>> fb.take_along_axis(fb.tensor([[3.0, 1.0]]), fb.tensor([[1, 0]]), axis=1)
    tensor([[1., 3.]])
    """
    return places.take_along_dim(x, indices, axis)


# -- sums --------------------------------------------------------------------------------------------
def _the_axis(name: str, x: Tensor, axis: int | None) -> int:
    if axis is None and x.ndim != 1:
        raise ShapeError(f"{name}: give the axis of a tensor with {x.ndim} dimensions")
    return shape.axis_of(name, x, 0 if axis is None else axis, label="axis")


def _after(start: int, found: Tensor, axis: int) -> Tensor:
    """``found`` with one more place along ``axis``, in front."""
    first = found.new_full((*found.shape[:axis], 1, *found.shape[axis + 1 :]), start)
    return joining.cat([first, found], axis)


@public(method=False)
def cumulative_sum(
    x: Tensor, /, *, axis: int | None = None, dtype: DTypeLike | None = None, include_initial: bool = False
) -> Tensor:
    """The sum of the elements up to each along ``axis``; with ``include_initial`` the empty one stands before them.

    >>> fb.cumulative_sum(fb.tensor([1, 2]), include_initial=True)
    tensor([0, 1, 3])
    """
    axis = _the_axis("cumulative_sum", x, axis)
    found = scan.cumsum(x, axis, dtype=dtype)
    return _after(0, found, axis) if include_initial else found


@public(method=False)
def cumulative_prod(
    x: Tensor, /, *, axis: int | None = None, dtype: DTypeLike | None = None, include_initial: bool = False
) -> Tensor:
    """The product of the elements up to each along ``axis``; with ``include_initial`` the empty one before them.

    >>> fb.cumulative_prod(fb.tensor([2, 3]), include_initial=True)
    tensor([1, 2, 6])
    """
    axis = _the_axis("cumulative_prod", x, axis)
    found = scan.cumprod(x, axis, dtype=dtype)
    return _after(1, found, axis) if include_initial else found


# -- sets --------------------------------------------------------------------------------------------
@public(method=False)
def unique_all(x: Tensor, /) -> UniqueAll[Tensor]:
    """The different elements, where each comes first in the flattened tensor, where each element went, and counts.

    >>> fb.unique_all(fb.tensor([2, 1, 2])).indices
    tensor([1, 0])
    """
    values, inverse, counts = search.unique(x, return_inverse=True, return_counts=True)
    numbers = creation.arange(x.numel(), device=x.device)
    none = creation.zeros(values.numel(), dtype=dt.int64, device=x.device)
    first = scatter.scatter_reduce(none, 0, shape.ravel(inverse), numbers, "amin", include_self=False)
    return UniqueAll(values, first, inverse, counts)


@public(method=False)
def unique_counts(x: Tensor, /) -> UniqueCounts[Tensor]:
    """The different elements and how often each occurs.

    >>> fb.unique_counts(fb.tensor([2, 1, 2]))
    UniqueCounts(values=tensor([1, 2]), counts=tensor([1, 2]))
    """
    return UniqueCounts(*search.unique(x, return_counts=True))


@public(method=False)
def unique_inverse(x: Tensor, /) -> UniqueInverse[Tensor]:
    """The different elements and where each element of ``x`` is among them.

    >>> fb.unique_inverse(fb.tensor([2, 1, 2]))
    UniqueInverse(values=tensor([1, 2]), inverse_indices=tensor([1, 0, 1]))
    """
    return UniqueInverse(*search.unique(x, return_inverse=True))


@public(method=False)
def unique_values(x: Tensor, /) -> Tensor:
    """The different elements in ascending order.

    >>> fb.unique_values(fb.tensor([2, 1, 2]))
    tensor([1, 2])
    """
    return search.unique(x)


# -- the namespace -----------------------------------------------------------------------------------
@public("__array_namespace__")
def array_namespace(self: Tensor, /, *, api_version: str | None = None) -> ModuleType:
    """The module with the standard's functions: :mod:`flambeau.array_api`."""
    if api_version is not None and api_version not in VERSIONS:
        raise ValueError(f"__array_namespace__: versions {', '.join(VERSIONS)} are known, got {api_version!r}")
    return importlib.import_module("flambeau.array_api")


@public(function=False)
def to_device(self: Tensor, device: Device | str, /, *, stream: object = None) -> Tensor:
    """The tensor on a device; itself where it is there.

    >>> fb.ones(1).to_device("strict").device
    device(type='strict', index=0)
    """
    return convert.convert(self, located(device), None)


class Info:
    """What :func:`__array_namespace_info__` returns."""

    def capabilities(self) -> dict[str, bool | int]:
        """What of the standard's optional behaviour there is."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> Device:
        """The device of new tensors."""
        return get_default_device()

    def default_dtypes(self, *, device: DeviceLike = None) -> dict[str, DType]:
        """The dtypes that numbers get."""
        real = dt.get_default_dtype()
        return {
            "real floating": real, "complex floating": real.to_complex(), "integral": dt.int64, "indexing": dt.int64
        }  # fmt: skip

    def devices(self) -> list[Device]:
        """The devices that can be used now."""
        found = []
        for kind, backend in sorted(registry.backends.items()):
            found += [located(kind, i) for i in range(backend.device_count())]
        return found

    def dtypes(self, *, device: DeviceLike = None, kind: str | tuple[str, ...] | None = None) -> dict[str, DType]:
        """The dtypes of the standard, by name: those of a ``kind`` that a device supports."""
        where = get_default_device() if device is None else Device(device)
        backend = key_for(where, dt.bool_).backend
        names = [d for d in dt.ALL if d not in dt.LOW_PRECISION]
        return {
            d.name: d for d in names if backend.offers(d, where.number) and (kind is None or isdtype(d, kind))
        }  # fmt: skip


@public(method=False, function=True)
def __array_namespace_info__() -> Info:
    """What there is: capabilities, devices and dtypes."""
    return Info()
