"""What losses ask of their arguments beside shapes: the dtypes, and the values where they can be seen."""

from __future__ import annotations

from flambeau.core import dtype as dt
from flambeau.core.errors import DTypeError, ShapeError
from flambeau.core.tensor import Tensor


def values_of(t: Tensor) -> Tensor | None:
    """The tensor without its history if its values can be asked for: not under vmap, on meta, or of nothing."""
    if t._key.level is not None or t._key.backend.has("no_data") or 0 in t._array.shape:
        return None
    return t.detach()


def bounds(t: Tensor) -> tuple[float, float] | None:
    """The smallest and the largest element, nan if one is nan; None where they cannot be seen."""
    seen = values_of(t)
    if seen is None:
        return None
    low, high = seen.amin(), seen.amax()
    return low.item(), high.item()


def check_between(name: str, argument: str, t: Tensor, low: float, high: float) -> None:
    """RuntimeError unless all elements are within ``low`` ... ``high``."""
    found = bounds(t)
    if found is not None and not (low <= found[0] and found[1] <= high):
        raise RuntimeError(
            f"{name}: all elements of {argument} should be between {low} and {high}, got {found[0]} to {found[1]}"
        )


def check_floating(name: str, **tensors: Tensor) -> None:
    """DTypeError names the first tensor that is not real and floating."""
    for argument, t in tensors.items():
        if t.dtype.category != dt.FLOATING:
            raise DTypeError(f"{name}: {argument} must be a real floating tensor, got {t.dtype.name}")


def check_numbers(name: str, **tensors: Tensor) -> None:
    """DTypeError names the first tensor of bools, which do not subtract."""
    for argument, t in tensors.items():
        if t.dtype is dt.bool_:
            raise DTypeError(f"{name}: {argument} must be a tensor of numbers, got bool")


def check_classes(name: str, target: Tensor, takes: tuple[dt.DType, ...] = (dt.int64, dt.uint8)) -> None:
    """DTypeError unless ``target`` has a dtype of class numbers."""
    if target.dtype not in takes:
        wanted = " or ".join(d.name for d in takes)
        raise DTypeError(f"{name}: target must be class numbers, {wanted}, got {target.dtype.name}")


def check_one_dtype(name: str, input: Tensor, **tensors: Tensor | None) -> None:
    """DTypeError names the first tensor that has not the input's dtype."""
    for argument, t in tensors.items():
        if t is not None and t.dtype is not input.dtype:
            raise DTypeError(f"{name}: {argument} of dtype {t.dtype.name} must have the input's, {input.dtype.name}")


def check_within(name: str, input: Tensor, **tensors: Tensor | None) -> None:
    """ShapeError names the first tensor that does not broadcast to the input's shape."""
    shape = tuple(input.shape)
    for argument, t in tensors.items():
        if t is not None and (
            t.ndim > len(shape) or any(a not in (1, b) for a, b in zip(t.shape[::-1], shape[::-1], strict=False))
        ):
            raise ShapeError(f"{name}: {argument} of shape {tuple(t.shape)} does not broadcast to the input's, {shape}")
