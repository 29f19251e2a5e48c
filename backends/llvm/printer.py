"""Print a lowered expression on vectors: each step becomes a value of a function that is being written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from flambeau.backends.llvm import casts, integers, maths
from flambeau.backends.llvm.casts import REGISTER
from flambeau.backends.llvm.ir import Function, Value
from flambeau.backends.llvm.types import F32, F64, I64
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from flambeau.core.expr import Program, Step

_COMPARES: Final = frozenset({"lt", "le", "gt", "ge", "eq", "ne"})
_UNSIGNED: Final = {"lt": "ult", "le": "ule", "gt": "ugt", "ge": "uge"}


def native(name: str, dtype: DType) -> bool:
    """Whether a function beside the primitives is printed as it is, for a compute dtype, rather than inlined."""
    if dtype.category == dt.INTEGER:
        return name in _INTEGER
    if dtype.is_floating_point:
        return name in _FLOAT or maths.native(name, dtype)
    return False


def unserved(program: Program) -> str | None:
    """What a program has that is not printed; None where all is."""
    for dtype in (*program.inputs, program.out, *(step.dtype for step in program.steps)):
        if dtype not in REGISTER:
            return f"the dtype {dtype.name}"
    for step in program.steps:
        if step.op in ("input", "constant", "cast", "where", "bitcast_int", "bitcast_float"):
            continue
        own = program.steps[step.args[0]].dtype
        if not _prints(step.op, own):
            return f"{step.op} of {own.name}"
    return None


def _prints(op: str, own: DType) -> bool:
    if op in _COMPARES:
        return True
    if own is dt.bool_:
        return op in _BITWISE
    if own.category == dt.INTEGER:
        return op in _INTEGER
    return (op in _FLOAT and (op not in _FLOAT32_ALONE or own is dt.float32)) or maths.native(op, own)


def print_program(f: Function, program: Program, inputs: Sequence[Value]) -> Value:
    """The value of the program, in the register type of its last step; ``inputs`` are the operands in registers."""
    lanes = inputs[0].type.lanes
    values: list[Value] = []
    for step in program.steps:
        args = [values[a] for a in step.args]
        kinds = [program.steps[a].dtype for a in step.args]
        if step.op == "input":
            values.append(inputs[step.value])
        elif step.op == "constant":
            values.append(constant(f, step.value, step.dtype, lanes))
        else:
            values.append(_term(f, step, args, kinds))
    return values[-1]


def constant(f: Function, value: bool | int | float, dtype: DType, lanes: int) -> Value:
    """A number of a dtype in every lane; unsigned ones are written as the signed one of the same bits."""
    t = REGISTER[dtype]
    if dtype.category == dt.INTEGER:
        value = int(value)
        value = value - (1 << t.bits) if value >> (t.bits - 1) == 1 else value
    return f.constant(t.vector(lanes), value)


def _term(f: Function, step: Step, args: list[Value], kinds: list[DType]) -> Value:
    op, own = step.op, kinds[0]
    if op == "cast":
        return casts.cast(args[0], own, step.dtype)
    if op == "where":
        return f.select(*args)
    if op in ("bitcast_int", "bitcast_float"):
        return args[0].bitcast(REGISTER[step.dtype])
    if op in _COMPARES:
        integer = own.category == dt.INTEGER
        return args[0].compare(_UNSIGNED.get(op, op) if integer and not own.is_signed else op, args[1])
    if own is dt.bool_:
        return _BITWISE[op](*args)
    if own.category == dt.INTEGER:
        return _INTEGER[op](own.is_signed, *args)
    if maths.native(op, own):
        return maths.FUNCTIONS[op](f, *args)
    return _FLOAT[op](f, *args)


# -- integers: functions of (signed, values) -----------------------------------------------------------
def _larger(signed: bool, a: Value, b: Value) -> Value:
    return a.function.select(a.compare("gt" if signed else "ugt", b), a, b)


def _smaller(signed: bool, a: Value, b: Value) -> Value:
    return a.function.select(a.compare("lt" if signed else "ult", b), a, b)


def _magnitude(signed: bool, a: Value) -> Value:
    return a.function.select(a < 0, -a, a) if signed else a


_BITWISE: Final[dict[str, Callable[..., Value]]] = {
    "bitwise_and": lambda a, b: a & b, "bitwise_or": lambda a, b: a | b, "bitwise_xor": lambda a, b: a ^ b,
}  # fmt: skip
_INTEGER: Final[dict[str, Callable[..., Value]]] = {
    **{name: (lambda signed, a, b, fn=fn: fn(a, b)) for name, fn in _BITWISE.items()},
    "add": lambda signed, a, b: a + b,
    "sub": lambda signed, a, b: a - b,
    "mul": lambda signed, a, b: a * b,
    "neg": lambda signed, a: -a,
    "abs": _magnitude,
    "square": lambda signed, a: a * a,
    "maximum": _larger,
    "minimum": _smaller,
    "shl": lambda signed, a, b: integers.shift_left(a, b),
    "shr": lambda signed, a, b: integers.shift_right(a, b, signed),
    "shl_const": lambda signed, a, b: a << b,
    "shr_const": lambda signed, a, b: a.ashr(b) if signed else a >> b,
    "idiv": lambda signed, a, b: integers.floor_divide(a, b, signed),
    "fmod": lambda signed, a, b: integers.remainder(a, b, signed),
    "remainder": lambda signed, a, b: integers.modulo(a, b, signed),
    "pow": lambda signed, a, b: integers.power(a, b, signed),
    **{name: (lambda signed, a, b: a) for name in _COMPARES},  # printed before; here for `native`
}  # fmt: skip


# -- floats: functions of (function, values) -----------------------------------------------------------
def _maximum(f: Function, a: Value, b: Value) -> Value:
    return f.select(a.is_nan(), a, f.maximum(a, b))


def _minimum(f: Function, a: Value, b: Value) -> Value:
    return f.select(a.is_nan(), a, f.minimum(a, b))


def _fmax(f: Function, a: Value, b: Value) -> Value:
    return f.select(b.is_nan(), a, f.maximum(a, b))


def _fmin(f: Function, a: Value, b: Value) -> Value:
    return f.select(b.is_nan(), a, f.minimum(a, b))


def _fmod(f: Function, a: Value, b: Value) -> Value:
    """The exact rest, of float32 computed in float64: a quotient of 24 digits times the divisor has no more than 48.

    A quotient beyond that is taken off by its leading 24 digits first, in the worst case a dozen times.
    """
    x, y = f.apply("fabs", a).convert("fpext", F64), f.apply("fabs", b).convert("fpext", F64)
    rest = f.variable(x.type, x)
    with f.loop() as leave:
        below = (rest.now / y) * (1 - 2.0**-50)
        large = below >= 2.0**24
        leave(~integers.any_lane(large))
        leading = (below.bitcast(I64) & -(1 << 29)).bitcast(F64)
        rest.set(f.select(large, rest.now - leading * y, rest.now))
    r = rest.now - f.apply("trunc", rest.now / y) * y
    r = f.select(r < 0, r + y, r)
    found = f.apply("copysign", r.convert("fptrunc", F32), a)
    infinite = f.apply("fabs", b).eq(float("inf")) & (f.apply("fabs", a) < float("inf"))
    return f.select(infinite, a, found)


def _remainder(f: Function, a: Value, b: Value) -> Value:
    r = _fmod(f, a, b)
    moved = f.select(r.ne(0) & ((r < 0) ^ (b < 0)), r + b, r)
    return f.select(r.eq(0), f.apply("copysign", f.constant(a.type, 0.0), b), moved)


def _idiv(f: Function, a: Value, b: Value) -> Value:
    """Python's floor division: from the rest, so that it agrees with the remainder."""
    r = _fmod(f, a, b)
    d = (a - r) / b
    d = f.select(r.ne(0) & ((b < 0) ^ (r < 0)), d - 1, d)
    whole = f.apply("floor", d)
    whole = f.select(d - whole > 0.5, whole + 1, whole)
    plain = a / b
    found = f.select(d.eq(0), f.apply("copysign", f.constant(a.type, 0.0), plain), whole)
    return f.select(b.eq(0), plain, found)


def _infinite(f: Function, a: Value) -> Value:
    return f.apply("fabs", a).eq(float("inf"))


_FLOAT32_ALONE: Final = frozenset({"fmod", "remainder", "idiv"})
_FLOAT: Final[dict[str, Callable[..., Value]]] = {
    "add": lambda f, a, b: a + b,
    "sub": lambda f, a, b: a - b,
    "mul": lambda f, a, b: a * b,
    "div": lambda f, a, b: a / b,
    "neg": lambda f, a: -a,
    "abs": lambda f, a: f.apply("fabs", a),
    "square": lambda f, a: a * a,
    "sqrt": lambda f, a: f.apply("sqrt", a),
    "floor": lambda f, a: f.apply("floor", a),
    "ceil": lambda f, a: f.apply("ceil", a),
    "trunc": lambda f, a: f.apply("trunc", a),
    "round": lambda f, a: f.apply("rint", a),
    "maximum": _maximum,
    "minimum": _minimum,
    "fmax": _fmax,
    "fmin": _fmin,
    "fmod": _fmod,
    "remainder": _remainder,
    "idiv": _idiv,
    "copysign": lambda f, a, b: f.apply("copysign", a, b),
    "isnan": lambda f, a: a.is_nan(),
    "isinf": _infinite,
    "isfinite": lambda f, a: f.apply("fabs", a) < float("inf"),
    "signbit": lambda f, a: a.bitcast(a.type.integer.scalar) < 0,
    **{name: (lambda f, a, b: a) for name in _COMPARES},  # printed before; here for `native`
}  # fmt: skip
