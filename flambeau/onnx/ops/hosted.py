"""Arithmetic of numbers on the host: what a chain from Shape to Reshape does, in Python ints."""

from __future__ import annotations

import operator
from collections.abc import Callable

from flambeau.onnx.plan import Call
from flambeau.onnx.values import Ints

_WRAP = 1 << 63


def _wrapped(value: int) -> int:
    """As int64 holds it."""
    return value if type(value) is not int or -_WRAP <= value < _WRAP else (value + _WRAP) % (2 * _WRAP) - _WRAP


def _pairwise(x: Ints, y: Ints, function: Callable[[int, int], int]) -> Ints | None:
    n, m = len(x.values), len(y.values)
    if n != m and 1 not in (n, m):
        return None
    size = m if n == 1 else n
    left, right = (v.values * size if len(v.values) == 1 else v.values for v in (x, y))
    made = tuple(_wrapped(function(a, b)) for a, b in zip(left, right, strict=True))
    return Ints(made, scalar=x.scalar and y.scalar)


def _rule(function: Callable[[int, int], int]) -> Callable[[Call, Ints, Ints], Ints | None]:
    def rule(call: Call, x: Ints, y: Ints) -> Ints | None:
        return _pairwise(x, y, function)

    return rule


add, sub, mul = _rule(operator.add), _rule(operator.sub), _rule(operator.mul)


def div(call: Call, x: Ints, y: Ints) -> Ints | None:
    """Toward zero; division by zero is left to the op."""
    return None if 0 in y.values else _pairwise(x, y, _truncated)


def _truncated(x: int, y: int) -> int:
    return x // y if (x >= 0) == (y > 0) else -(-x // y)


def extreme(call: Call, *values: Ints) -> Ints | None:
    out: Ints | None = values[0]
    for value in values[1:]:
        out = out and _pairwise(out, value, max if call.step.op_type == "Max" else min)
    return out


def gather(call: Call, x: Ints, indices: Ints) -> Ints | None:
    size = len(x.values)
    if x.scalar or call["axis"] not in (0, -1) or not all(-size <= i < size for i in indices.values):
        return None
    return Ints(tuple(x.values[i] for i in indices.values), scalar=indices.scalar)


def concat(call: Call, *values: Ints) -> Ints | None:
    if any(v.scalar for v in values):
        return None
    return Ints(tuple(n for v in values for n in v.values))


def cut(
    call: Call, x: Ints, starts: Ints, ends: Ints, axes: Ints | None = None, steps: Ints | None = None
) -> Ints | None:
    one = len(starts.values) == len(ends.values) == 1 and (axes is None or axes.values in ((0,), (-1,)))
    step = steps.values[0] if steps is not None and steps.values else 1
    if x.scalar or not one or step == 0:
        return None
    size, start, end = len(x.values), starts.values[0], ends.values[0]
    if step < 0:  # an end before the first element is not -1 in Python
        start = min(max(start + size if start < 0 else start, 0), size - 1)
        end = min(max(end + size if end < 0 else end, -1), size - 1)
        return Ints(tuple(x.values[i] for i in range(start, end, step)))
    return Ints(x.values[start:end:step])


def unsqueeze(call: Call, x: Ints, axes: Ints | None = None) -> Ints | None:
    at = call["axes"] if axes is None else axes.values
    return Ints(x.values) if x.scalar and tuple(at) in ((0,), (-1,)) else None


def squeeze(call: Call, x: Ints, axes: Ints | None = None) -> Ints | None:
    at = call["axes"] if axes is None else axes.values
    one = not x.scalar and len(x.values) == 1 and (at is None or tuple(at) in ((0,), (-1,)))
    return Ints(x.values, scalar=True) if one else None


def reshape(call: Call, x: Ints, shape: Ints) -> Ints | None:
    if shape.values in ((-1,), (len(x.values),)):
        return Ints(x.values)
    return Ints(x.values, scalar=True) if shape.values == () and not shape.scalar and len(x.values) == 1 else None


def cast(call: Call, x: Ints) -> Ints | None:
    return x if call["to"] == 7 else None


def prod(call: Call, x: Ints, axes: Ints | None = None) -> Ints | None:
    if x.scalar or call["axes"] or axes is not None:
        return None
    out = 1
    for value in x.values:
        out = _wrapped(out * value)
    return Ints((out,), scalar=not call["keepdims"])
