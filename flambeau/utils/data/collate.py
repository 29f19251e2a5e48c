"""From samples to a batch."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, overload

import numpy as np

from flambeau.core import dtype as dt
from flambeau.core.accelerator import pinning_device
from flambeau.core.blame import checking, explain_functions, users_level
from flambeau.core.dispatch import tensor_of
from flambeau.core.exchange import from_numpy, host_device
from flambeau.core.from_data import as_tensor, tensor
from flambeau.core.keys import get_default_device
from flambeau.core.ops.joining import stack
from flambeau.core.state import get
from flambeau.core.tensor import Tensor
from flambeau.utils.data import shared
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
    return collated(batch)


def collated(batch: Sequence[Any]) -> Any:
    """:func:`default_collate` of a list of samples, which is not looked at beforehand."""
    first = batch[0]
    if isinstance(first, Tensor):
        return _stack(batch)
    if isinstance(first, np.ndarray):
        return _stack_arrays(batch)
    if isinstance(first, np.generic):
        return (
            as_tensor(np.array(batch), device=host_device()) if np.dtype(first.dtype).kind not in "US" else list(batch)
        )
    if isinstance(first, (bool, int, float, complex)):
        return _numbers(batch)
    if isinstance(first, (str, bytes)):
        return list(batch)
    if isinstance(first, Mapping):
        return _like(first, {key: collated([sample[key] for sample in batch]) for key in first})
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
    members = [collated(values) for values in zip(*batch, strict=True)]
    if hasattr(first, "_fields"):
        return type(first)(*members)
    return members if isinstance(first, tuple) else _like(first, members)


_NUMBERS = {int: np.dtype(np.int64), float: np.dtype(np.float64), bool: np.dtype(np.bool_)}


def _numbers(batch: Sequence[Any]) -> Tensor:
    kind = type(batch[0])
    if kind in _NUMBERS and all(type(v) is kind for v in batch):
        with contextlib.suppress(OverflowError):  # tensor() says which number is too large
            return from_numpy(np.array(batch, _NUMBERS[kind]))
    return tensor(batch, dtype=dt.float64 if isinstance(batch[0], float) else None, device=host_device())


def _stack(tensors: Sequence[Tensor]) -> Tensor:
    first, arrays = tensors[0], plain_arrays(tensors)
    stacked = None if arrays is None else _stacked(arrays)
    if stacked is not None:
        return tensor_of(stacked, first._key)
    for i, t in enumerate(tensors):
        if t.shape != first.shape:
            raise RuntimeError(
                f"default_collate: samples must have one shape, sample 0 has {tuple(first.shape)} and "
                f"sample {i} has {tuple(t.shape)}; give the DataLoader a collate_fn that pads them"
            )
    return stack(tensors)


def _stack_arrays(arrays: Sequence[HostArray]) -> Tensor:
    kind = arrays[0].dtype
    if kind.isnative and kind.kind in "biufc" and all(type(a) is np.ndarray and a.dtype == kind for a in arrays):
        stacked = _stacked(arrays)
        if stacked is not None:
            return from_numpy(stacked)
    return _stack([as_tensor(a, device=host_device()) for a in arrays])


def _stacked(arrays: Sequence[HostArray]) -> HostArray | None:
    """Arrays of one dtype, side by side; None unless they have one shape."""
    shape, count = arrays[0].shape, len(arrays)
    if any(a.shape != shape for a in arrays):
        return None
    out = shared.empty((count, *shape), arrays[0].dtype)
    if shape:
        np.concatenate(arrays, out=out.reshape(count * shape[0], *shape[1:]))
    else:
        for i, a in enumerate(arrays):
            out[i] = a
    return out


def plain_arrays(tensors: Sequence[Tensor]) -> list[HostArray] | None:
    """The numpy arrays of tensors of one dtype on the host, if nothing has to know that they are read."""
    state, key, found = get(), tensors[0]._key, []
    if state is None or not state.plain or key.level is not None or key.device is not host_device():
        return None
    grad = state.grad
    for t in tensors:
        if type(t) is not Tensor or t._key is not key or (grad and t._node is not None):
            return None
        array = t._array
        if type(array) is not np.ndarray:
            return None
        found.append(array)
    return found


def rows(tensors: Sequence[Tensor], indices: Sequence[int]) -> list[Tensor] | None:
    """What :func:`default_collate` makes of ``[tuple(t[i] for t in tensors) for i in indices]``, by one op a tensor.

    None where that takes the samples themselves: for what is not an int or out of range, and for tensors of subclasses.
    """
    count = len(tensors[0])
    if not indices or not all(type(i) is int for i in indices) or not -count <= min(indices) <= max(indices) < count:
        return None
    if not all(type(t) is Tensor and len(t) == count for t in tensors):
        return None
    return [_rows(t, indices) for t in tensors]


def _rows(t: Tensor, indices: Sequence[int]) -> Tensor:
    arrays = plain_arrays([t])
    if arrays is None:
        return t[list(indices)]
    (array,) = arrays
    if not array.flags.c_contiguous:  # of which numpy's take would copy the whole
        return tensor_of(np.ascontiguousarray(array[indices]), t._key)
    out = shared.empty((len(indices), *array.shape[1:]), array.dtype)
    return tensor_of(np.take(array, indices, 0, out, mode="wrap"), t._key)  # the mode that writes into it directly


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
