"""Print an expression as a scalar Python function: plain code that an interpreter runs and numba compiles.

Typed constants and the functions of each step come in through the namespace, so that a compiler's own
versions (a vectorised exp, an integer-to-float cast) can take their place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from flambeau.core.expr.lower import Native, Program, Step, lower, wide
from flambeau.core.expr.syntax import Expr

_OPERATORS: Final = {
    "add": "+", "sub": "-", "mul": "*", "lt": "<", "eq": "==", "gt": ">", "ge": ">=", "le": "<=", "ne": "!=",
    "bitwise_and": "&", "bitwise_or": "|", "bitwise_xor": "^", "shl_const": "<<", "shr_const": ">>",
}  # fmt: skip
_ON_OPERATORS: Final = frozenset({"gt", "ge", "le", "ne"})


def to_scalar(
    expr: Expr,
    name: str,
    dtypes: tuple[DType, ...],
    out: DType | None = None,
    functions: Mapping[str, Callable[..., Any]] = {},
    native: Native | None = None,
) -> tuple[str, dict[str, Any]]:
    """The source of ``def name(operands...)`` for one element, and the namespace to run it in.

    Operands arrive, and the result leaves, in the compute type (float32 for the 16-bit floats). Steps that are no
    Python operator call ``functions[step]``, by default those of :func:`scalar_functions`; ``native`` names those
    beyond the primitives. Functions that depend on the type are looked up as ``"step_dtype"`` first.
    """

    def available(fn: str, dtype: DType) -> bool:
        return fn in _ON_OPERATORS or (native is not None and native(fn, dtype))

    return write(lower(expr, dtypes, out, available), name, expr.operands, functions)


def write(
    program: Program, name: str, operands: tuple[str, ...], functions: Mapping[str, Callable[..., Any]] = {}
) -> tuple[str, dict[str, Any]]:
    """:func:`to_scalar` for a program that is already lowered."""
    namespace: dict[str, Any] = {}
    lines, values = [], []
    available = {**scalar_functions(), **functions}
    for i, step in enumerate(program.steps):
        if step.op == "input":
            values.append(operands[step.value])
            continue
        values.append(f"t{i}_")
        lines.append(f"    t{i}_ = {_term(step, [values[a] for a in step.args], available, namespace)}")
    text = "\n".join((f"def {name}({', '.join(operands)}):", *lines, f"    return {values[-1]}", ""))
    return text, namespace


def _term(step: Step, args: list[str], functions: Mapping[str, Callable[..., Any]], namespace: dict[str, Any]) -> str:
    kind = step.dtype
    if step.op == "constant":
        if kind is dt.bool_:
            return repr(step.value)
        constant = f"k{len(namespace)}_"
        namespace[constant] = kind.numpy.type(step.value)
        return constant
    if step.op in _OPERATORS:
        return f"{args[0]} {_OPERATORS[step.op]} {args[1]}"
    if step.op == "where":
        return f"{args[1]} if {args[0]} else {args[2]}"
    if step.op == "neg":
        return f"-{args[0]}"
    if step.op == "cast" and kind is dt.bool_:
        return f"{args[0]} != 0"
    typed = f"{step.op}_{kind.name}"
    used = typed if typed in functions else step.op
    namespace[f"{used}_"] = functions[used]
    return f"{used}_({', '.join(args)})"


def scalar_functions() -> dict[str, Callable[..., Any]]:
    """Functions on numpy scalars for every primitive that is no operator: the definition, in plain Python."""
    named: dict[str, Callable[..., Any]] = {
        "abs": abs, "exp": np.exp, "log": np.log, "sqrt": np.sqrt, "sin": np.sin, "cos": np.cos, "floor": np.floor,
        "div": np.true_divide, "idiv": np.floor_divide, "fmod": np.fmod, "pow": _power, "maximum": np.maximum,
        "shl": np.left_shift, "shr": np.right_shift,
    }  # fmt: skip
    for kind in dt.ALL:
        if kind is not dt.bool_:
            named[f"cast_{kind.name}"] = _caster(kind)
    for integer, real in ((dt.int32, dt.float32), (dt.int64, dt.float64)):
        named[f"bitcast_int_{integer.name}"] = lambda x, to=integer.numpy: x.view(to)
        named[f"bitcast_float_{real.name}"] = lambda x, to=real.numpy: x.view(to)
    return named


def _caster(kind: DType) -> Callable[[Any], Any]:
    """A conversion to ``wide(kind)``; to an integer it truncates, and what does not fit becomes the smallest one."""
    target: Callable[[Any], Any] = wide(kind).numpy.type
    if kind.category != dt.INTEGER:
        return target
    info = dt.iinfo(kind)

    def cast(x: Any) -> Any:
        if isinstance(x, float | np.floating):
            whole = int(x) if math.isfinite(x) else info.min
            return target(whole if info.min <= whole <= info.max else info.min)
        return x.astype(kind.numpy) if isinstance(x, np.generic) else target(x)

    return cast


def _power(base: Any, exponent: Any) -> Any:
    if isinstance(base, np.integer) and exponent < 0:
        return base.dtype.type(1 if base == 1 else (-1 if exponent & 1 else 1) if base == -1 else 0)
    return np.power(base, exponent)
