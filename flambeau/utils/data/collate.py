"""From samples to a batch."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, overload

import numpy as np

from flambeau.core import dtype as dt
from flambeau.core.accelerator import pinning_device
from flambeau.core.blame import checking, explain_functions, users_level
from flambeau.core.exchange import host_device
from flambeau.core.from_data import as_tensor, tensor
from flambeau.core.keys import get_default_device
from flambeau.core.ops.joining import stack
from flambeau.core.tensor import Tensor
from flambeau.utils.host import HostArray


@overload
def default_collate(batch: Sequence[Tensor | HostArray | float]) -> Tensor: ...
@overload
def default_collate(batch: Sequence[str]) -> list[str]: ...
@overload
def default_collate(batch: Sequence[tuple[Tensor, ...]]) -> list[Tensor]: ...
@overload  # the structure of the samples decides
def default_collate(batch: Sequence[Any]) -> Any: ...
def default_collate(batch: Sequence[Any]) -> Any:  # Any: the structure of the samples decides
    """A list of samples to one batch of the same structure.

    Tensors, arrays and numpy scalars are stacked along a new first dimension; Python ints become int64,
    floats float64, bools bool tensors; strings and bytes stay a list. Of dicts, named tuples, lists and
    tuples, each member is collated (a tuple becomes a list). What is not a tensor yet becomes one on the
    host, whatever the default device.

    >>> default_collate([(1, "a"), (2, "b")])
    [tensor([1, 2]), ['a', 'b']]
    """
    first = batch[0]
    if isinstance(first, Tensor):
        return _stack(batch)
    if isinstance(first, np.ndarray):
        return _stack([as_tensor(a, device=host_device()) for a in batch])
    if isinstance(first, np.generic):
        return (
            as_tensor(np.array(batch), device=host_device()) if np.dtype(first.dtype).kind not in "US" else list(batch)
        )
    if isinstance(first, float):
        return tensor(batch, dtype=dt.float64, device=host_device())
    if isinstance(first, (bool, int, complex)):
        return tensor(batch, device=host_device())
    if isinstance(first, (str, bytes)):
        return list(batch)
    if isinstance(first, Mapping):
        return _like(first, {key: default_collate([sample[key] for sample in batch]) for key in first})
    if isinstance(first, Sequence):
        return _collate_sequences(first, batch)
    raise TypeError(
        "default_collate: samples may hold tensors, arrays, numbers, strings, dicts, lists and tuples, "
        f"found {type(first).__name__}; give the DataLoader a collate_fn"
    )


CollateMap = dict[type | tuple[type, ...], Callable[..., Any]]


def collate(batch: Sequence[Any], *, collate_fn_map: CollateMap | None = None) -> Any:  # Any: as default_collate
    """As :func:`default_collate`, with functions of one's own for some classes.

    Args:
        batch: the samples.
        collate_fn_map: from a class, or a tuple of them, to ``function(values, collate_fn_map=...)``.

    >>> def joined(values, *, collate_fn_map=None): return "".join(values)
    >>> fb.utils.data.collate.collate(["a", "b"], collate_fn_map={str: joined})
    'ab'
    """
    first, own = batch[0], collate_fn_map or {}
    fn = own.get(type(first)) or next((f for kinds, f in own.items() if isinstance(first, kinds)), None)
    if fn is not None:
        return fn(batch, collate_fn_map=own)
    if isinstance(first, Mapping):
        return _like(first, {key: collate([sample[key] for sample in batch], collate_fn_map=own) for key in first})
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*(collate(values, collate_fn_map=own) for values in zip(*batch, strict=True)))
    if isinstance(first, Sequence) and not isinstance(first, str | bytes):
        return [collate(values, collate_fn_map=own) for values in zip(*batch, strict=True)]
    return default_collate(batch)


def _leaf(batch: Sequence[Any], *, collate_fn_map: CollateMap | None = None) -> Any:
    return default_collate(batch)


#: The classes that :func:`default_collate` knows, for maps that change or add some.
default_collate_fn_map: CollateMap = dict.fromkeys(
    (Tensor, np.ndarray, (np.bool_, np.number, np.object_), float, int, str, bytes), _leaf
)


def _collate_sequences(first: Sequence[Any], batch: Sequence[Sequence[Any]]) -> Any:
    for i, sample in enumerate(batch):
        if len(sample) != len(first):
            raise RuntimeError(
                f"default_collate: samples must have equally many members, sample 0 has {len(first)} and "
                f"sample {i} has {len(sample)}; give the DataLoader a collate_fn that pads them"
            )
    members = [default_collate(values) for values in zip(*batch, strict=True)]
    if hasattr(first, "_fields"):
        return type(first)(*members)
    return members if isinstance(first, tuple) else _like(first, members)


def _stack(tensors: Sequence[Tensor]) -> Tensor:
    for i, t in enumerate(tensors):
        if t.shape != tensors[0].shape:
            raise RuntimeError(
                f"default_collate: samples must have one shape, sample 0 has {tuple(tensors[0].shape)} and "
                f"sample {i} has {tuple(t.shape)}; give the DataLoader a collate_fn that pads them"
            )
    return stack(tensors)


def default_convert(data: object) -> Any:  # Any: the structure of ``data``
    """One sample with its arrays and numpy scalars as tensors; what a DataLoader without batches does.

    >>> fb.utils.data.default_convert([1.0, "a"])
    [1.0, 'a']
    """

    def convert(value: object) -> object:
        numeric = isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind not in "OSUMm"
        return as_tensor(value, device=host_device()) if numeric else value

    return map_leaves(convert, data)


def map_leaves(fn: Callable[[object], object], data: object) -> object:
    """``data`` with ``fn`` of each of its members that is not a dict, named tuple, list or tuple."""
    if isinstance(data, Mapping):
        return _like(data, {key: map_leaves(fn, value) for key, value in data.items()})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        fields: Any = type(data)
        return fields(*(map_leaves(fn, value) for value in data))
    if isinstance(data, (list, tuple)):
        return _like(data, [map_leaves(fn, value) for value in data])
    return fn(data)


def pinner() -> Callable[[Any], Any] | None:
    """What pins a batch's tensors in host memory for the accelerator; None, with a warning, if nothing does."""
    if pinning_device() is not None:
        return lambda batch: map_leaves(_pinned, batch)
    warnings.warn(
        f"DataLoader: pin_memory=True has no effect, the device {str(get_default_device())!r} knows no pinned memory",
        stacklevel=users_level(),
    )
    return None


def _pinned(value: object) -> object:
    """A tensor of the host, or an object that knows how, pinned; anything else as it is."""
    if isinstance(value, Tensor) and not value.is_cpu:
        return value
    return value.pin_memory() if hasattr(value, "pin_memory") else value


def _like(original: Any, members: object) -> object:
    """``members`` in a container of the original's class, where that class can be made of them."""
    try:
        return type(original)(members)
    except TypeError:  # a class with a constructor of its own
        return members


explain_functions(globals(), "default_collate default_convert", wrap=checking)
