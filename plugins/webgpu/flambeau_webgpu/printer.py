"""Print a lowered expression as statements of WGSL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from flambeau.core.expr import ExprError, Program, Step
from flambeau_webgpu.functions import has_float
from flambeau_webgpu.wgsl import REGISTER, cast, literal, wrapped

_COMPARES: Final = {"lt": "<", "eq": "==", "gt": ">", "ge": ">=", "le": "<="}
_ARITHMETIC: Final = {"add": "+", "sub": "-", "mul": "*"}
_BITWISE: Final = {"bitwise_and": "&", "bitwise_or": "|", "bitwise_xor": "^"}
#: Functions of floats that WGSL has, and computes to the last digits.
_EXACT: Final = frozenset({"abs", "sqrt", "floor", "ceil", "trunc", "round"})


def native(name: str, dtype: DType) -> bool:
    """Whether a function that is no primitive is called rather than written out."""
    return name in ("gt", "ge", "le", "ne", "minimum") or (dtype.is_floating_point and name in _EXACT)


def statements(program: Program, inputs: Sequence[str]) -> tuple[list[str], str]:
    """The statements of a program whose operands are in registers ``inputs``, and the result's text."""
    names: list[str] = []
    lines: list[str] = []
    fed = {a for s in program.steps if s.op in ("add", "sub", "div") for a in s.args}
    for i, step in enumerate(program.steps):
        if step.op == "input":
            names.append(inputs[step.value])
            continue
        if step.op == "constant":
            names.append(literal(step.value, step.dtype))
            continue
        text = _term(step, [names[a] for a in step.args], [program.steps[a].dtype for a in step.args])
        if step.op in ("add", "sub") and step.dtype is dt.float32 and i in fed:
            text = f"keep_({text})"  # drivers make x of (1 + x) - 1
        names.append(f"t{i}")
        lines.append(f"let t{i} = {text};")
    return lines, names[-1]


def _term(step: Step, args: list[str], kinds: list[DType]) -> str:
    op, dtype, own = step.op, step.dtype, kinds[0]
    if op == "cast":
        return cast(args[0], own, dtype)
    if op == "where":
        return f"select({args[2]}, {args[1]}, {args[0]})"
    if op in ("bitcast_int", "bitcast_float"):
        return f"bitcast<{REGISTER[dtype]}>({args[0]})"
    if op in _BITWISE:
        sign = "!=" if op == "bitwise_xor" and dtype is dt.bool_ else _BITWISE[op]
        return f"({args[0]} {sign} {args[1]})"
    if op in _COMPARES:
        return f"({args[0]} {_COMPARES[op]} {args[1]})"
    if op == "ne":
        return f"!({args[0]} == {args[1]})"  # != is false where one is nan
    if own.category == dt.INTEGER:
        return _integer(op, own, args)
    if op in _ARITHMETIC:
        return f"({args[0]} {_ARITHMETIC[op]} {args[1]})"
    if op == "div":
        return f"({args[0]} / {args[1]})"
    if op == "neg":
        return f"(-{args[0]})"
    if op in _EXACT:
        return f"{op}({args[0]})"
    if not has_float(op) or own is not dt.float32:
        raise ExprError(f"{op} of {own}")
    return f"{op}_f32({', '.join(args)})"


def _integer(op: str, dtype: DType, args: list[str]) -> str:
    if op in _ARITHMETIC:
        return wrapped(dtype, f"{args[0]} {_ARITHMETIC[op]} {args[1]}")
    if op == "neg":
        return wrapped(dtype, f"{literal(0, dtype)} - {args[0]}")
    if op in ("shl_const", "shr_const"):
        return wrapped(dtype, f"{args[0]} {'<<' if op == 'shl_const' else '>>'} u32({args[1]})")
    if op == "abs" and not dtype.is_signed:
        return args[0]
    if op not in ("abs", "maximum", "minimum", "idiv", "fmod", "pow", "shl", "shr"):
        raise ExprError(f"{op} of {dtype}")
    return f"{op}_{dtype.name}({', '.join(args)})"
