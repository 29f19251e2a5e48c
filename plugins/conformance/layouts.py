"""The same values with other strides: what a kernel must not notice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau.core.ops.storage import basic_index_p as basic_index


def transposed(x: Any) -> Any:
    """Fortran order."""
    axes = tuple(reversed(range(x.ndim)))
    return x.permute(axes).contiguous().permute(axes)


def reversed_(x: Any) -> Any:
    """Negative steps along every axis."""
    if not x.ndim:
        return x
    backwards = tuple(slice(n - 1, None, -1) if n else slice(0, 0, 1) for n in x.shape)
    return basic_index(x.flip(tuple(range(x.ndim))), backwards)


def sliced(x: Any) -> Any:
    """A slice in the middle of a larger tensor: an offset, and gaps between rows."""
    whole = x.new_zeros([n + 3 for n in x.shape]) if x.ndim else x.new_zeros([4])
    return whole[tuple(slice(2, 2 + n) for n in x.shape) if x.ndim else 2].copy_(x)


def stepped(x: Any) -> Any:
    """Every other element of the last axis."""
    if not x.ndim:
        return x
    return x.new_zeros((*x.shape[:-1], 2 * x.shape[-1] + 1))[..., 1::2].copy_(x)


def broadcast(x: Any) -> Any:
    """The first row along the first axis again and again, by a stride of 0: other values than those of ``x``."""
    return x[:1].expand(x.shape) if x.ndim and x.shape[0] else x


#: Those that keep the values.
LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "transposed": transposed,
    "reversed": reversed_,
    "sliced": sliced,
    "stepped": stepped,
}
