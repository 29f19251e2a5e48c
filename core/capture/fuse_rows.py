"""Kernels of rows as steps: reductions over the last axes, softmax, norms, and gradients of them.

Single numbers of a row are computed in float64 where the backend serves that, as kernels do, else in the dtype of the
row; rows of low precision in float32, rounded once at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from flambeau.backends.layout import broadcast_shapes
from flambeau.core import dtype as dt
from flambeau.core.capture.fuse_calls import Call, Part, accepted, has_overlay, key_of, rows_of
from flambeau.core.capture.trace import Kind, Node, Value
from flambeau.core.dtype import DType
from flambeau.core.expr import parse
from flambeau.core.keys import expression
from flambeau.core.record import OPS

#: A value of the recording, or the number of a part.
Operand: TypeAlias = Value | int


class _Rows:
    """Parts that are put together: ``row`` is the dtype of rows, ``single`` that of single numbers."""

    def __init__(self, axes: int, row: DType, single: DType):
        self.axes, self.row, self.single = axes, row, single
        self.parts: list[Part] = []

    def _add(self, name: str, expr: Any, operands: tuple[Operand, ...], dtype: DType, axes: int = 0) -> int:
        self.parts.append(Part(name, expr, operands, dtype, axes))
        return len(self.parts) - 1

    def dtype(self, x: Operand) -> DType:
        return key_of(x).dtype if isinstance(x, Value) else self.parts[x].dtype

    def cast(self, x: Operand, dtype: DType) -> Operand:
        return x if self.dtype(x) is dtype else self._add("cast", parse("x", ("x",)), (x,), dtype)

    def op(self, name: str, *operands: Operand) -> int:
        dtype = self.dtype(operands[0])
        return self._add(name, expression(OPS[name], dtype), operands, dtype)

    def number(self, value: float, dtype: DType) -> int:
        return self._add("constant", parse(repr(float(value)), ()), (), dtype)

    def fold(self, name: str, x: Operand, dtype: DType | None = None) -> int:
        return self._add(name, parse("x", ("x",)), (x,), dtype or self.row, self.axes)

    def one_over(self, x: Operand) -> int:
        return self.op("div", self.number(1.0, self.dtype(x)), x)


# -- definitions -----------------------------------------------------------------------------------
def _softmax(b: _Rows, x: Operand) -> Operand:
    e = b.op("exp", b.op("sub", x, b.fold("max", x)))
    return b.op("mul", e, b.cast(b.one_over(b.fold("sum", e, b.single)), b.row))


def _log_softmax(b: _Rows, x: Operand) -> Operand:
    centred = b.op("sub", x, b.fold("max", x))
    total = b.fold("sum", b.op("exp", centred))
    return b.op("sub", centred, b.op("log", total))


def _softmax_grad(b: _Rows, g: Operand, result: Operand) -> Operand:
    return b.op("mul", b.op("sub", g, b.fold("sum", b.op("mul", g, result))), result)


def _log_softmax_grad(b: _Rows, g: Operand, result: Operand) -> Operand:
    return b.op("sub", g, b.op("mul", b.op("exp", result), b.fold("sum", g)))


def _deviation(b: _Rows, x: Operand, eps: float) -> Operand:
    """One over the root of the mean square."""
    mean = b.fold("mean", b.op("mul", x, x), b.single)
    return b.cast(b.one_over(b.op("sqrt", b.op("add", mean, b.number(eps, b.single)))), b.row)


def _scaled(b: _Rows, x: Operand, weight: Operand | None, bias: Operand | None = None) -> Operand:
    x = x if weight is None else b.op("mul", x, weight)
    return x if bias is None else b.op("add", x, bias)


def _layer_norm(b: _Rows, x: Operand, weight: Operand | None, bias: Operand | None, *, eps: float) -> Operand:
    centred = b.op("sub", x, b.fold("mean", x))
    return _scaled(b, b.op("mul", centred, _deviation(b, centred, eps)), weight, bias)


def _rms_norm(b: _Rows, x: Operand, weight: Operand | None, *, eps: float) -> Operand:
    return _scaled(b, b.op("mul", x, _deviation(b, x, eps)), weight)


#: By the name of the op: of rows along an axis, and of rows of a shape.
_ALONG: Final[dict[str, Callable[..., Operand]]] = {
    "softmax": _softmax, "log_softmax": _log_softmax, "softmax_grad": _softmax_grad,
    "log_softmax_grad": _log_softmax_grad,
}  # fmt: skip
_NORMS: Final[dict[str, Callable[..., Operand]]] = {"layer_norm": _layer_norm, "rms_norm": _rms_norm}
_FOLDS: Final = frozenset({"sum", "mean", "max", "min"})


# -- nodes -----------------------------------------------------------------------------------------
def rows_call(node: Node) -> Call | None:
    """What a group does for a kernel of rows; None where it can't."""
    op, key = node.op, node.key
    if node.kind is not Kind.KERNEL or op is None or key is None or key.level is not None or node.several:
        return None
    if op.name not in _ALONG and op.name not in _NORMS and op.name not in _FOLDS or has_overlay(node):
        return None
    if len(node.outs) != 1 or node.outs[0] is None or not node.outs[0].is_array or "out" in node.params:
        return None
    if len(node.args) != len(op.schema.operands):
        return None
    operands = [x for x in node.args if x is not None]
    if any(x.__class__ is not Value or not x.is_array for x in operands):
        return None
    dtypes = {key_of(x).dtype for x in (*operands, node.outs[0])}
    axes = _axes(node, operands[0].shape)
    if len(dtypes) != 1 or not next(iter(dtypes)).is_floating_point or not axes:
        return None
    (dtype,) = dtypes
    row = dt.float32 if dtype in dt.LOW_PRECISION else dtype
    for single in dict.fromkeys((dt.float64, row)):
        call = _defined(node, operands, axes, row, single)
        if accepted(call):
            return call
    return None


def _axes(node: Node, shape: Sequence[int]) -> int:
    """How many of the last axes a kernel reduces; 0 where it isn't the last ones."""
    assert node.op is not None
    rank, params = len(shape), node.params
    if node.op.name in _NORMS:
        return len(params["normalized_shape"])
    axis = params["axis"]
    chosen = range(rank) if axis is None else (axis,) if isinstance(axis, int) else axis
    found = sorted({a % rank for a in chosen}) if rank else []
    return len(found) if found == list(range(rank - len(found), rank)) else 0


def _defined(node: Node, operands: Sequence[Value], axes: int, row: DType, single: DType) -> Call:
    assert node.op is not None and node.outs[0] is not None
    b, name, result = _Rows(axes, row, single), node.op.name, node.outs[0]
    first, *rest = [None if x is None else b.cast(x, row) for x in node.args]
    assert first is not None
    if name in _FOLDS:
        found: Operand = b.fold(name, first)
    elif name in _NORMS:
        found = _NORMS[name](b, first, *rest, eps=node.params["eps"])
    else:
        found = _ALONG[name](b, first, *rest)
    b.cast(found, key_of(result).dtype)
    shape = broadcast_shapes(*[x.shape for x in operands])
    drops = name in _FOLDS and result.shape != rows_of(shape, axes)
    return Call(tuple(b.parts), tuple(operands), result, False, shape, axes, drops)
