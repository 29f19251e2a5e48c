"""Print a lowered expression as statements of the C dialect, and the functions that they call."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from flambeau.backends.dialect.functions import Library
from flambeau.backends.dialect.prelude import REGISTER, Target
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from flambeau.core.expr import Program, Step

_COMPARES: Final = {"lt": "<", "eq": "==", "gt": ">", "ge": ">=", "le": "<=", "ne": "!="}
_ARITHMETIC: Final = {"add": "+", "sub": "-", "mul": "*"}
_BITWISE: Final = {"bitwise_and": "&", "bitwise_or": "|", "bitwise_xor": "^"}


class Body(NamedTuple):
    """A printed program: the texts of its functions, its statements, and the name of the result."""

    functions: str
    statements: list[str]
    result: str


def print_program(program: Program, target: Target, inputs: Sequence[str]) -> Body:
    """The program with ``inputs`` as the texts of its operands' values in registers."""
    library = Library(target)
    statements, result = print_steps(program, library, inputs, "t")
    return Body(library.text(), statements, result)


def print_steps(program: Program, library: Library, inputs: Sequence[str], stem: str) -> tuple[list[str], str]:
    """The statements of a program, whose names begin with ``stem``, and the name of the result."""
    names: list[str] = []
    statements: list[str] = []
    for i, step in enumerate(program.steps):
        if step.op == "input":
            names.append(inputs[step.value])
            continue
        names.append(f"{stem}{i}")
        text = _term(step, [names[a] for a in step.args], [program.steps[a].dtype for a in step.args], library)
        statements.append(f"const {REGISTER[step.dtype]} {stem}{i} = {text};")
    return statements, names[-1]


def literal(value: bool | int | float, dtype: DType) -> str:
    """A constant of the register type."""
    t = REGISTER[dtype]
    if dtype is dt.bool_:
        return "1" if value else "0"
    if dtype.category == dt.INTEGER:
        whole = int(value)
        if dtype is dt.int64 and whole == -(2**63):
            return "((i64)(-9223372036854775807L - 1))"
        return f"(({t}){whole}{'UL' if dtype is dt.uint64 else 'L' if dtype is dt.int64 else ''})"
    if dtype.category == dt.COMPLEX:
        return f"MAKE_{t}({literal(value, dtype.to_real())}, 0)"
    number = float(value)
    wide = dtype is dt.float64
    if math.isnan(number):
        return "AS_f64(0x7ff8000000000000L)" if wide else "AS_f32(0x7fc00000)"
    if math.isinf(number):
        return ("-" if number < 0 else "") + ("AS_f64(0x7ff0000000000000L)" if wide else "AS_f32(0x7f800000)")
    if not wide and abs(number) > 3.4028235677973366e38:  # rounds to infinity in float32
        return ("-" if number < 0 else "") + "AS_f32(0x7f800000)"
    return f"({number!r}{'' if wide else 'f'})" if "e" in repr(number) or "." in repr(number) else f"(({t}){number!r})"


def _term(step: Step, args: list[str], kinds: list[DType], library: Library) -> str:
    op, dtype = step.op, step.dtype
    if op == "constant":
        return literal(step.value, dtype)
    if op == "cast":
        return _cast(args[0], kinds[0], dtype)
    if op == "where":
        return f"{args[0]} ? {args[1]} : {args[2]}"
    if op in ("bitcast_int", "bitcast_float"):
        return f"AS_{REGISTER[dtype]}({args[0]})"
    if op in _BITWISE:
        return f"({REGISTER[dtype]})({args[0]} {_BITWISE[op]} {args[1]})"
    own = kinds[0]
    if own.category == dt.COMPLEX:
        return library.call(op, own, args)
    if op in _COMPARES:
        return f"{args[0]} {_COMPARES[op]} {args[1]}"
    if own.category == dt.INTEGER:
        return _integer(op, own, args, library)
    if op in _ARITHMETIC:
        return f"{args[0]} {_ARITHMETIC[op]} {args[1]}"
    if op == "div":
        return f"{args[0]} / {args[1]}"
    if op == "neg":
        return f"-{args[0]}"
    return library.call(op, own, args)


def _integer(op: str, dtype: DType, args: list[str], library: Library) -> str:
    """Integers wrap: their arithmetic runs in the unsigned type, where C defines it."""
    t = REGISTER[dtype]
    u = t.replace("i", "u")
    if op in _ARITHMETIC:
        return f"({t})(({u}){args[0]} {_ARITHMETIC[op]} ({u}){args[1]})"
    if op == "neg":
        return f"({t})(({u})0 - ({u}){args[0]})"
    if op == "shl_const":
        return f"({t})(({u}){args[0]} << {args[1]})"
    if op == "shr_const":
        return f"({t})({args[0]} >> {args[1]})"
    return library.call(op, dtype, args)


def _cast(value: str, source: DType, to: DType) -> str:
    t = REGISTER[to]
    if source.category == dt.COMPLEX:
        if to.category == dt.COMPLEX:
            part = REGISTER[to.to_real()]
            return f"MAKE_{t}(({part}){value}.x, ({part}){value}.y)"
        return f"({value}.x != 0 || {value}.y != 0)" if to is dt.bool_ else _cast(f"{value}.x", source.to_real(), to)
    if to.category == dt.COMPLEX:
        return f"MAKE_{t}(({REGISTER[to.to_real()]}){value}, 0)"
    if to is dt.bool_:
        return f"{value} != 0"
    if source.is_floating_point and to.category == dt.INTEGER and to.bits < 64:
        return f"({t})(i64){value}"  # through 64 bits: what is too large wraps, and is not undefined
    return f"({t}){value}"
