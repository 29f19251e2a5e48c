"""``torch._foreach_add`` and its kind: one op over lists of tensors, as optimizers of packages call them.

Where a device changes whole lists in one call, tensors that record nothing go so; the others go through the dispatcher
one by one. The functions in place give the list back that they were given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import flambeau as fb
from flambeau.core.dtype import DType
from flambeau.core.errors import ShapeError
from flambeau.core.expr import Rule
from flambeau.core.memory_format import MemoryFormat
from flambeau.core.ops.nn import step
from flambeau.core.tensor import Tensor

__all__ = ["FUNCTIONS", "overloads"]

Tensors: TypeAlias = Sequence[Tensor]
Scalar: TypeAlias = bool | int | float | complex
#: What stands beside a list of tensors: one for all, or one for each.
Other: TypeAlias = Scalar | Tensor | Sequence[Scalar | Tensor]
Function: TypeAlias = Callable[..., Any]  # Any: a list or a tuple of tensors

_UNARY: Final = [
    "abs", "acos", "asin", "atan", "ceil", "cos", "cosh", "erf", "erfc", "exp", "expm1", "floor", "frac", "lgamma",
    "log", "log10", "log1p", "log2", "neg", "reciprocal", "round", "rsqrt", "sigmoid", "sign", "sin", "sinh", "sqrt",
    "tan", "tanh", "trunc",
]  # fmt: skip
#: Of these what expressions compute as the ops do.
_AT_ONCE: Final = frozenset({"abs", "exp", "neg", "reciprocal", "sqrt"})
_SOURCES: Final = {
    "add": "x + alpha * y", "sub": "x - alpha * y", "mul": "x * y", "div": "x / y", "maximum": "maximum(x, y)",
    "minimum": "minimum(x, y)", "addcmul": "x + value * a * b", "addcdiv": "x + value * (a / b)", "copy": "y",
    "lerp": "where(abs(weight) < 0.5, x + weight * (y - x), y - (y - x) * (1 - weight))",
    "reciprocal": "1 / x", "neg": "-x", "zero": "0",
}  # fmt: skip
_BINARY: Final = ["add", "clamp_max", "clamp_min", "div", "maximum", "minimum", "mul", "pow", "sub"]


def _tensors(name: str, given: Any, position: int = 1) -> list[Tensor]:
    """A list of tensors, as it was given; TypeError for other things, ShapeError where it is empty."""
    if isinstance(given, Tensor) or not isinstance(given, (list, tuple)):
        raise TypeError(f"{name}: argument {position} must be a list or tuple of tensors, got {type(given).__name__}")
    for i, x in enumerate(given):
        if not isinstance(x, Tensor):
            raise TypeError(f"{name}: element {i} of argument {position} must be a Tensor, got {type(x).__name__}")
    if not given:
        raise ShapeError(f"{name}: Tensor list must have at least one tensor.")
    return list(given)


def _each(name: str, other: Other, count: int) -> list[Any]:
    """What stands beside each of ``count`` tensors."""
    if not isinstance(other, (list, tuple)):
        return [other] * count
    if len(other) != count:
        if any(isinstance(x, Tensor) for x in other):
            raise ShapeError(f"{name}: Tensor lists must have the same number of tensors, got {count} and {len(other)}")
        raise ShapeError(f"{name}: Tensor list must have same number of elements as scalar list.")
    return list(other)


def _results(name: str, inputs: Any, results: list[Tensor]) -> Any:  # the list as it was given, in place
    return inputs if name.endswith("_") else tuple(results)


def _at_once(name: str, given: Any, inputs: list[Tensor], **operands: Any) -> Any:
    """The results of a whole list by one call; None where that is not served.

    Operands are lists of tensors, and numbers (also in tensors without axes) that stand beside all of them.
    """
    stem = name.removeprefix("_foreach_").rstrip("_")
    source = _SOURCES.get(stem, f"{stem}(x)")
    if not step.updates(inputs[0]):
        return None
    lists: dict[str, list[Tensor]] = {"x": inputs}
    numbers: dict[str, float] = {}
    for operand, value in operands.items():
        if isinstance(value, Tensor) and not value.ndim and value._key is inputs[0]._key and not value.requires_grad:
            numbers[operand] = value.item()
        elif value.__class__ is float or value.__class__ is int:
            numbers[operand] = float(value)
        elif isinstance(value, (list, tuple)) and all(isinstance(v, Tensor) for v in value):
            lists[operand] = list(value)
        else:
            return None
    if any(len(column) != len(inputs) for column in lists.values()):
        return None
    if not name.endswith("_"):
        lists = {"out": step.outputs(inputs), **lists}
    changed = "x" if name.endswith("_") else "out"
    rule = Rule(tuple(lists), tuple(numbers), ((changed, source),))
    if not step.update(rule, list(lists.values()), list(numbers.values()), name):
        return None
    return _results(name, given, lists[changed])


def _unary(op: str, name: str) -> Function:
    def foreach(self: Tensors) -> Any:
        if op.rstrip("_") in _AT_ONCE and (found := _at_once(name, self, _tensors(name, self))) is not None:
            return found
        return _results(name, self, [getattr(x, op)() for x in _tensors(name, self)])

    return foreach


def _binary(op: str, name: str) -> Function:
    stem = op.rstrip("_")
    weighed = stem in ("add", "sub")

    def foreach(self: Tensors, other: Other, *, alpha: Scalar = 1) -> Any:
        if stem == "pow" and isinstance(self, (bool, int, float, complex)) and not name.endswith("_"):
            return tuple(fb.pow(self, x) for x in _tensors(name, other, 2))
        if alpha != 1 and not weighed:
            raise TypeError(f"{name}: there is no alpha here")
        inputs = _tensors(name, self)
        if stem in _SOURCES:
            more = {"alpha": alpha} if weighed else {}
            if (found := _at_once(name, self, inputs, y=other, **more)) is not None:
                return found
        options: Mapping[str, Any] = {"alpha": alpha} if weighed and alpha != 1 else {}
        beside = _each(name, other, len(inputs))
        if stem in ("maximum", "minimum"):  # their methods take tensors alone
            return _bounded(stem, name, self, inputs, beside)
        return _results(name, self, [getattr(x, op)(y, **options) for x, y in zip(inputs, beside, strict=True)])

    return foreach


def _bounded(stem: str, name: str, given: Any, inputs: list[Tensor], beside: list[Any]) -> Any:
    clamp = "clamp_min" if stem == "maximum" else "clamp_max"
    return _results(name, given, [getattr(x, clamp + "_" * name.endswith("_"))(y)
                                  for x, y in zip(inputs, beside, strict=True)])  # fmt: skip


def _pointwise(op: str, name: str) -> Function:
    def foreach(self: Tensors, tensor1: Tensors, tensor2: Tensors, value: Other = 1) -> Any:
        inputs = _tensors(name, self)
        if (found := _at_once(name, self, inputs, a=tensor1, b=tensor2, value=value)) is not None:
            return found
        if isinstance(value, Tensor):  # one value for each, in a tensor
            value = value.tolist()
        values = _each(name, value, len(inputs))
        pairs = (_each(name, _tensors(name, t, i), len(inputs)) for i, t in ((2, tensor1), (3, tensor2)))
        rows = zip(inputs, *pairs, values, strict=True)
        return _results(name, self, [getattr(x, op)(a, b, value=v) for x, a, b, v in rows])

    return foreach


def _lerp(op: str, name: str) -> Function:
    def foreach(self: Tensors, tensors1: Tensors, weight: Other) -> Any:
        inputs = _tensors(name, self)
        if (found := _at_once(name, self, inputs, y=tensors1, weight=weight)) is not None:
            return found
        ends = _each(name, _tensors(name, tensors1, 2), len(inputs))
        rows = zip(inputs, ends, _each(name, weight, len(inputs)), strict=True)
        return _results(name, self, [getattr(x, op)(end, w) for x, end, w in rows])

    return foreach


def _foreach_norm(self: Tensors, ord: float = 2, dtype: DType | None = None) -> tuple[Tensor, ...]:
    """The norm of each tensor as a vector."""
    return tuple(fb.linalg.vector_norm(x, ord, dtype=dtype) for x in _tensors("_foreach_norm", self))


def _foreach_powsum(self: Tensors, ord: float = 2, dtype: DType | None = None) -> tuple[Tensor, ...]:
    """The sum of the absolute values to the power ``ord``, of each tensor."""
    return tuple((x if dtype is None else x.to(dtype)).abs().pow(ord).sum() for x in _tensors("_foreach_powsum", self))


def _foreach_max(self: Tensors) -> tuple[Tensor, ...]:
    """The largest element of each tensor."""
    return tuple(x.max() for x in _tensors("_foreach_max", self))


def _foreach_mm(self: Tensors, mat2: Tensors) -> tuple[Tensor, ...]:
    """The product of each pair of matrices."""
    inputs = _tensors("_foreach_mm", self)
    others = _each("_foreach_mm", _tensors("_foreach_mm", mat2, 2), len(inputs))
    return tuple(x.mm(y) for x, y in zip(inputs, others, strict=True))


def _foreach_clone(self: Tensors, *, memory_format: MemoryFormat | None = None) -> tuple[Tensor, ...]:
    """A copy of each tensor."""
    options = {} if memory_format is None else {"memory_format": memory_format}
    return tuple(x.clone(**options) for x in _tensors("_foreach_clone", self))


def _foreach_copy_(self: Tensors, src: Tensors, non_blocking: bool = False) -> Tensors:
    """Write each tensor of ``src`` into the one at its place."""
    inputs = _tensors("_foreach_copy_", self)
    if _at_once("_foreach_copy_", self, inputs, y=src) is not None:
        return self
    for x, y in zip(inputs, _each("_foreach_copy_", _tensors("_foreach_copy_", src, 2), len(inputs)), strict=True):
        x.copy_(y, non_blocking)
    return self


def _foreach_zero_(self: Tensors) -> Tensors:
    """Set every element to 0."""
    inputs = _tensors("_foreach_zero_", self)
    if _at_once("_foreach_zero_", self, inputs) is None:
        for x in inputs:
            x.zero_()
    return self


def _made() -> dict[str, Function]:
    """The functions by name; each also in place, where torch has that."""
    single = (_foreach_norm, _foreach_powsum, _foreach_max, _foreach_mm, _foreach_clone, _foreach_copy_, _foreach_zero_)
    functions: dict[str, Function] = {f.__name__: f for f in single}
    kinds = [(_unary, _UNARY), (_binary, _BINARY), (_pointwise, ["addcdiv", "addcmul"]), (_lerp, ["lerp"])]
    for make, names in kinds:
        for op in names:
            for form in (op, f"{op}_"):
                name = f"_foreach_{form}"
                made = functions[name] = make(form, name)
                made.__name__ = made.__qualname__ = name
    return functions


FUNCTIONS: Final = _made()


def overloads(name: str) -> list[str]:
    """The overloads that torch has of one of these functions; none for other names.

    >>> overloads("_foreach_lerp_")
    ['List', 'Scalar', 'ScalarList']
    """
    if name not in FUNCTIONS:
        return []
    op = name.removeprefix("_foreach_").rstrip("_")
    if op in _BINARY:
        return ["Scalar", "List", "ScalarList", *(["Tensor"] if op in ("add", "mul", "div") else [])]
    if op in ("addcdiv", "addcmul"):
        return ["Scalar", "ScalarList", "Tensor"]
    if op == "lerp":
        return ["List", "Scalar", "ScalarList"]
    return ["Scalar"] if op in ("norm", "powsum") else ["default"]
