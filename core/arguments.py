"""Binding what users type to a schema: both names of each argument, axes counted from the end, sequences."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from flambeau.core.cache import Cache
from flambeau.core.device import located
from flambeau.core.dtype import as_dtype
from flambeau.core.errors import ShapeError, not_a_tensor
from flambeau.core.record import Op
from flambeau.core.schema import REQUIRED, Argument


def normal_axis(axis: Any, ndim: int, name: str = "dim") -> int:
    """``axis`` counted from the front; IndexError when the tensor has no such dimension."""
    try:
        if isinstance(axis, bool):
            raise TypeError
        i = operator.index(axis)
    except TypeError:
        raise TypeError(f"{name} must be an int, got {axis!r} ({type(axis).__name__})") from None
    span = max(ndim, 1)
    if not -span <= i < span:
        raise IndexError(
            f"Dimension out of range: {name}={i}, but a tensor with {ndim} dimension(s) takes {-span} to {span - 1}"
        )
    return i + span if i < 0 else i


def normal_axes(axes: Any, ndim: int, name: str = "dim") -> tuple[int, ...] | None:
    """A tuple of different axes counted from the front; None (and, as in torch, an empty tuple) means all."""
    if axes is None:
        return None
    if not isinstance(axes, (tuple, list)):
        axes = (axes,)
    if not axes:
        return None
    found = tuple(normal_axis(a, ndim, name) for a in axes)
    if len(set(found)) != len(found):
        raise RuntimeError(f"dim {tuple(axes)} appears multiple times in the list of {name}s")
    return found if ndim else None


#: By (axes, ndim), and by (axis, ndim).
AXES: Final[Cache[tuple[Any, int], tuple[int, ...] | None]] = Cache(lambda key: normal_axes(*key))
AXIS: Final[Cache[tuple[Any, int], int]] = Cache(lambda key: normal_axis(*key))


def ints(value: Any, name: str) -> tuple[int, ...]:
    """A tuple of ints from an int or a sequence of them."""
    if isinstance(value, (tuple, list)):
        try:
            return tuple(operator.index(v) for v in value)
        except TypeError:
            raise TypeError(f"{name} must be ints, got {value!r}") from None
    if not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an int or several, got {value!r} ({type(value).__name__})")
    return (operator.index(value),)


#: How many objects of Python a call may make: more would take hours, and all memory.
MOST: Final = 1 << 22


def bounded(count: int, name: str) -> int:
    """``count``, which says how many objects a call is to make; ValueError where it is beyond reason."""
    if count > MOST:
        raise ValueError(f"{name} must be at most {MOST}, got {count}: memory does not hold so many objects")
    return count


def new_shape(old: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """``shape`` with its -1 filled in; ShapeError when the element counts differ."""
    size, known, unknown = 1, 1, -1
    for n in old:
        size *= n
    for i, n in enumerate(shape):
        if n == -1:
            if unknown >= 0:
                raise ShapeError(f"reshape: only one dimension can be inferred, got shape {shape}")
            unknown = i
        elif n < 0:
            raise ShapeError(f"reshape: invalid size {n} in shape {shape}")
        else:
            known *= n
    if unknown >= 0:
        if known == 0 or size % known:
            raise ShapeError(f"reshape: shape {shape} is invalid for input of shape {tuple(old)} ({size} elements)")
        return (*shape[:unknown], size // known, *shape[unknown + 1 :])
    if known != size:
        raise ShapeError(f"reshape: shape {shape} is invalid for input of shape {tuple(old)} ({size} elements)")
    return tuple(shape)


#: By (old, shape).
NEW_SHAPE: Final[Cache[tuple[tuple[int, ...], tuple[int, ...]], tuple[int, ...]]] = Cache(lambda key: new_shape(*key))


def _value(p: Argument, value: Any, ndim: int, op: Op) -> Any:
    """One param as the kernels want it."""
    name, kind = p.public, p.type
    if kind == "Axes":
        return normal_axes(value, ndim, name)
    if kind == "Axis":
        return None if value is None else normal_axis(value, ndim, name)
    if kind == "Ints":
        return None if value is None else ints(value, f"{op.title}: {name}")
    if kind in ("int", "int?"):
        return value if value is None else _index(value, op, name)
    if kind in ("DType", "DType?"):
        return None if value is None else as_dtype(value)
    if kind == "Device":
        return None if value is None else located(value)
    if kind == "bool":
        return value if value.__class__ is bool else _flag(value, op, name)
    if kind in ("float", "float?") and value is not None:
        return value if value.__class__ is float else _number(value, op, name)
    if kind == "str" and not isinstance(value, str):
        raise TypeError(f"{op.name}: argument {name!r} must be a str, got {value!r} ({type(value).__name__})")
    return value


def _flag(value: Any, op: Op, name: str) -> bool:
    if isinstance(value, np.bool_):
        return bool(value)
    raise TypeError(f"{op.name}: argument {name!r} must be a bool, got {value!r} ({type(value).__name__})")


def _number(value: Any, op: Op, name: str) -> float:
    try:
        if isinstance(value, (str, bytes)):
            raise TypeError
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(
            f"{op.name}: argument {name!r} must be a number, got {value!r} ({type(value).__name__})"
        ) from None


def _index(value: Any, op: Op, name: str) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(
            f"{op.title}: argument {name!r} must be an int, got {value!r} ({type(value).__name__})"
        ) from None


def bind(
    op: Op, args: Sequence[Any], params: Mapping[str, Any], kw: Mapping[str, Any] | None
) -> tuple[list[Any], dict[str, Any]]:
    """Operands in order and every param under its schema name; TypeError names what does not fit."""
    schema = op.schema
    operands, bound = list(args), dict(params)
    for name, value in (kw or {}).items():
        a = schema.argument(name)
        if a is None and name in op.keywords:
            if value is not None:
                op.keywords[name](operands, value)
            continue
        if a is None:
            known = ", ".join(x.public for x in (*schema.operands, *schema.params))
            raise TypeError(f"{op.title}: unexpected argument {name!r}; it takes {known}")
        if a in schema.operands:
            operands[schema.operands.index(a)] = value
        else:
            bound[a.name] = value
    for i, a in enumerate(schema.operands):
        if operands[i] is REQUIRED:
            raise TypeError(f"{op.title}: missing argument {a.public!r}")
        if operands[i] is None and a.type != "Tensor?":
            raise TypeError(f"{op.title}: argument {a.public!r} must be a {a.type}, got {operands[i]!r}")
        if isinstance(operands[i], np.generic):  # a number of numpy's is a number
            operands[i] = operands[i].item()
    if op.tensors:
        _require_tensors(op, operands)
    if op.negative is not None and isinstance(operands[1], int) and operands[1] < 0:
        op.negative(operands)
    first = next((v for v in operands if hasattr(v, "_array")), None)
    ndim = len(first._array.shape) if first is not None else _first_ndim(operands)
    for p in schema.params:
        if bound[p.name] is REQUIRED:
            raise TypeError(f"{op.title}: missing argument {p.public!r}")
        try:
            bound[p.name] = _value(p, bound[p.name], ndim, op)
        except (IndexError, TypeError) as error:
            text = str(error)
            raise type(error)(text if text.startswith(op.title) else f"{op.title}: {text}") from None
    return operands, bound


def _require_tensors(op: Op, operands: Sequence[Any]) -> None:
    for a, value in zip(op.schema.operands, operands, strict=True):
        if a.name in op.tensors and isinstance(value, (bool, int, float, complex)):
            raise not_a_tensor(op.name, a.public, value, "a tensor")


def _first_ndim(operands: Sequence[Any]) -> int:
    lists = [v for v in operands if isinstance(v, (list, tuple)) and v]
    return len(lists[0][0]._array.shape) if lists and hasattr(lists[0][0], "_array") else 0
