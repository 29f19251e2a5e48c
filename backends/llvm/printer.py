"""Print a lowered expression on vectors: each step becomes a value of a function that is being written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from flambeau.backends.llvm import casts, integers, maths
from flambeau.backends.llvm.casts import REGISTER
from flambeau.backends.llvm.ir import Function, Value
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from flambeau.core.expr import Program, Step

#: Functions of so many instructions that a program has one copy of them.
_LONG: Final = frozenset({"pow"})
#: A step that rounds to ``value``, a dtype of low precision, and is computed with in float32 again.
ROUNDED: Final = "rounded"
#: exp of what is at most 0, whose results that were denormal are 0.
EXP_NONPOSITIVE: Final = "exp_nonpositive"
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
    return op in _FLOAT or maths.native(op, own)


def print_program(f: Function, program: Program, inputs: Sequence[Value]) -> Value:
    """The value of the program, in the register type of its last step; ``inputs`` are the operands in registers."""
    return print_steps(f, program.steps, inputs, inputs[0].type.lanes)[-1]


def print_steps(f: Function, steps: Sequence[Step], inputs: Sequence[Value], lanes: int) -> list[Value]:
    """The values of all steps."""
    values: list[Value] = []
    calls = Counter(step.op for step in steps if step.op in _LONG)
    for step in steps:
        args = [values[a] for a in step.args]
        kinds = [steps[a].dtype for a in step.args]
        if step.op == "input":
            values.append(inputs[step.value])
        elif step.op == "constant":
            values.append(constant(f, step.value, step.dtype, lanes))
        elif calls[step.op] > 1 and maths.native(step.op, step.dtype):
            values.append(f.call(_apart(f, step.op, args), *args))
        else:
            values.append(_term(f, step, args, kinds))
    return values


def _apart(f: Function, op: str, args: Sequence[Value]) -> Function:
    """A function of the module for what a program has several times: it takes as long to compile as many steps."""
    t = args[0].type
    name = f"{op}_{t.name}_{t.lanes}"
    found = f.module.functions.get(name)
    if isinstance(found, Function):
        return found
    made = Function(f.module, name, [t] * len(args), t, internal=True)
    made.ret(maths.FUNCTIONS[op](made, *made.args))
    return made


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
    if op == ROUNDED:
        return casts.widen(casts.narrow(args[0], step.value), step.value)
    if op == EXP_NONPOSITIVE:
        return maths.exp_nonpositive(f, args[0])
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


# -- floats, beside those of `maths`: functions of (function, values) ---------------------------------
def _maximum(f: Function, a: Value, b: Value) -> Value:
    return f.select(a.is_nan(), a, f.maximum(a, b))


def _minimum(f: Function, a: Value, b: Value) -> Value:
    return f.select(a.is_nan(), a, f.minimum(a, b))


def _fmax(f: Function, a: Value, b: Value) -> Value:
    return f.select(b.is_nan(), a, f.maximum(a, b))


def _fmin(f: Function, a: Value, b: Value) -> Value:
    return f.select(b.is_nan(), a, f.minimum(a, b))


def _infinite(f: Function, a: Value) -> Value:
    return f.apply("fabs", a).eq(float("inf"))


_FLOAT: Final[dict[str, Callable[..., Value]]] = {
    "add": lambda f, a, b: a + b,
    "sub": lambda f, a, b: a - b,
    "mul": lambda f, a, b: a * b,
    "div": lambda f, a, b: a / b,
    "neg": lambda f, a: -a,
    "abs": lambda f, a: f.apply("fabs", a),
    "square": lambda f, a: a * a,
    "maximum": _maximum,
    "minimum": _minimum,
    "fmax": _fmax,
    "fmin": _fmin,
    "isnan": lambda f, a: a.is_nan(),
    "isinf": _infinite,
    "isfinite": lambda f, a: f.apply("fabs", a) < float("inf"),
    "signbit": lambda f, a: a.bitcast(a.type.integer.scalar) < 0,
    **{name: (lambda f, a, b: a) for name in _COMPARES},  # printed before; here for `native`
}  # fmt: skip
