"""Type an expression for given dtypes and flatten it into steps, each a primitive on earlier steps.

Every printer starts from a :class:`Program`: literals have their types, other records are inlined where the
target has no function of its own, equal steps are computed once, and conditions on constants are decided.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from flambeau.core.expr.evaluate import inlined
from flambeau.core.expr.fold import Literal, fold, limit, power_steps
from flambeau.core.expr.syntax import (
    CONDITIONS,
    PRIMITIVES,
    Call,
    Expr,
    ExprError,
    Limit,
    Name,
    Node,
    Number,
    on_define,
)

#: Says whether a target has a function of its own, for a compute dtype.
Native = Callable[[str, DType], bool]


class Step(NamedTuple):
    """One value: ``op`` on the values of earlier steps.

    ``op`` is a primitive, a native function of the target, "input" (``value`` is the operand's number),
    "constant" (``value``) or "cast" (to ``dtype``: to bool compares with 0, to an integer truncates).
    """

    op: str
    dtype: DType
    args: tuple[int, ...] = ()
    value: Any = None


@dataclass(frozen=True, slots=True)
class Program:
    """Straight-line steps; the last one is the result. ``inputs`` are the operands' dtypes as they are stored."""

    steps: tuple[Step, ...]
    inputs: tuple[DType, ...]
    out: DType


def wide(dtype: DType) -> DType:
    """The type in which values of ``dtype`` are computed with."""
    return dt.float32 if dtype in dt.LOW_PRECISION else dtype


def compute_dtype(dtypes: tuple[DType, ...], out: DType | None = None) -> DType:
    """The type of literals: the widest operand's, or for operands that are all bool the result's."""
    found: DType | None = None
    for candidate in (wide(d) for d in dtypes if d is not dt.bool_):
        if found is None or (candidate.category, candidate.itemsize) > (found.category, found.itemsize):
            found = candidate
    if found is None:
        found = wide(out) if out is not None else dt.bool_
    if out is not None and out.category > found.category:
        found = wide(out)
    return found


def bits_dtype(dtype: DType) -> DType:
    """The signed integer of the same width."""
    return {8: dt.int8, 16: dt.int16, 32: dt.int32, 64: dt.int64}[dtype.bits]


def lower(expr: Expr, dtypes: tuple[DType, ...], out: DType | None = None, native: Native | None = None) -> Program:
    """The program of ``expr`` on operands of ``dtypes``; ``out`` None takes the type that comes out.

    ``native(name, dtype)`` tells which functions beside the primitives the target has.
    """
    return _lower(expr, dtypes, out, native)


def applies(expr: Expr, dtypes: tuple[DType, ...], out: DType | None = None) -> bool:
    """Whether ``expr`` has a meaning for operands of ``dtypes``: the bits of a float, say, are no question to integers.

    >>> from flambeau.core.expr import parse
    >>> bits = parse("bitcast_int(x) < 0", ("x",))
    >>> applies(bits, (fb.float32,)), applies(bits, (fb.int64,))
    (True, False)
    """
    try:
        lower(expr, dtypes, out)
    except (ExprError, KeyError):
        return False
    return True


@lru_cache(maxsize=4096)
def _lower(expr: Expr, dtypes: tuple[DType, ...], out: DType | None, native: Native | None) -> Program:
    if len(dtypes) != len(expr.operands):
        raise ExprError(f"expr {expr.source!r} has operands {expr.operands}, got {len(dtypes)} dtype(s)")
    lowering = _Lowering(compute_dtype(dtypes, out), native or (lambda name, dtype: False))
    args: list[int | _Weak] = [lowering.step("input", wide(d), (), i) for i, d in enumerate(dtypes)]
    result = lowering.strong(lowering.run(expr, args, ()))
    natural = lowering.steps[result].dtype
    if out is None:
        low = {d for d in dtypes if d is not dt.bool_}
        out = low.pop() if len(low) == 1 and natural is lowering.compute else natural
    result = lowering.cast(result, wide(out))
    return Program(_reachable(lowering.steps, result), dtypes, out)


on_define.append(lambda name: _lower.cache_clear())


def _whole(literal: Literal) -> bool:
    return not isinstance(literal, float) or literal.is_integer()


class _Weak(NamedTuple):
    """A literal that has not met a typed value yet."""

    value: Literal


Value = int | _Weak


class _Lowering:
    def __init__(self, compute: DType, native: Native):
        self.compute, self.native = compute, native
        self.steps: list[Step] = []
        self.numbers: dict[Any, int] = {}

    # -- steps ---------------------------------------------------------------------------------
    def step(self, op: str, dtype: DType, args: tuple[int, ...] = (), value: Any = None) -> int:
        made = Step(op, dtype, args, value)
        key = (op, dtype, args, type(value), repr(value))  # repr keeps 0.0 from -0.0, and nan equal to itself
        if key not in self.numbers:
            self.numbers[key] = len(self.steps)
            self.steps.append(made)
        return self.numbers[key]

    def dtype(self, value: int) -> DType:
        return self.steps[value].dtype

    def constant(self, value: Literal, dtype: DType) -> int:
        if dtype is dt.bool_:
            return self.step("constant", dtype, (), bool(value))
        if dtype.category == dt.INTEGER:
            if not _whole(value):
                raise ExprError(f"literal {value!r} meets a value of type {dtype}; it has no such integer")
            return self.step("constant", dtype, (), int(value))
        return self.step("constant", dtype, (), float(value))

    def strong(self, value: Value, dtype: DType | None = None) -> int:
        return self.constant(value.value, dtype or self.compute) if isinstance(value, _Weak) else value

    def cast(self, value: int, dtype: DType) -> int:
        step = self.steps[value]
        if step.dtype is dtype:
            return value
        if step.op == "constant" and not (isinstance(step.value, float) and dtype.category == dt.INTEGER):
            return self.constant(step.value, dtype)
        return self.step("cast", dtype, (value,))

    def truth(self, value: Value) -> Value:
        if isinstance(value, _Weak):
            return _Weak(bool(value.value))
        return self.cast(value, dt.bool_)

    def together(self, values: tuple[Value, ...]) -> tuple[int, ...]:
        """The values in one type: literals follow the typed ones, those the widest of them."""
        typed = [self.dtype(v) for v in values if not isinstance(v, _Weak)]
        common = max(typed, key=lambda d: (d.category, d.itemsize), default=self.compute)
        for v in values:
            if isinstance(v, _Weak):
                common = self.fitting(v.value, common)
        return tuple(self.cast(self.strong(v, common), common) for v in values)

    def fitting(self, literal: Literal, common: DType) -> DType:
        """The type that a literal and a value of type ``common`` meet in."""
        if common is dt.bool_ and not isinstance(literal, bool):
            return self.compute
        if common.category == dt.INTEGER and not _whole(literal) and self.compute.category > dt.INTEGER:
            return self.compute
        return common

    # -- the tree ------------------------------------------------------------------------------
    def run(self, expr: Expr, args: list[Any], inside: tuple[str, ...]) -> Value:
        env: dict[str, Value] = dict(zip(expr.operands, args, strict=True))
        for name, node in expr.lets:
            env[name] = self.value(node, env, inside)
        return self.value(expr.result, env, inside)

    def value(self, node: Node, env: dict[str, Value], inside: tuple[str, ...]) -> Value:
        match node:
            case Number(value):
                return _Weak(value)
            case Limit(name):
                return _Weak(limit(name, self.compute))
            case Name(id):
                return env[id]
            case Call("where", (test, yes, no)):
                return self.choose(self.truth(self.value(test, env, inside)), yes, no, env, inside)
            case Call(fn, nodes):
                return self.call(fn, tuple(self.value(a, env, inside) for a in nodes), inside)
        raise TypeError(f"not a node: {node!r}")

    def choose(self, test: Value, yes: Node, no: Node, env: dict[str, Value], inside: tuple[str, ...]) -> Value:
        if not isinstance(test, _Weak) and self.steps[test].op == "constant":
            test = _Weak(self.steps[test].value)
        if isinstance(test, _Weak):
            return self.value(yes if test.value else no, env, inside)
        branches = self.together((self.value(yes, env, inside), self.value(no, env, inside)))
        if branches[0] == branches[1]:
            return branches[0]
        return self.step("where", self.dtype(branches[0]), (test, *branches))

    def call(self, fn: str, args: tuple[Value, ...], inside: tuple[str, ...]) -> Value:
        literals = tuple(a.value for a in args if isinstance(a, _Weak))
        if len(literals) == len(args):
            folded = fold(fn, literals)
            if folded is not None:
                return _Weak(folded)
        special = getattr(self, f"on_{fn}", None)
        if special is not None:
            found: Value = special(*args)
            return found
        if fn in PRIMITIVES or self.native(fn, self.compute):
            return self.primitive(fn, args)
        return self.run(inlined(fn, len(args), inside), list(args), (*inside, fn))

    def primitive(self, fn: str, args: tuple[Value, ...]) -> int:
        values = self.together(args)
        dtype = self.dtype(values[0])
        if dtype is dt.bool_ and fn in _ON_BOOLS:
            return _ON_BOOLS[fn](self, *values)
        result = dtype
        if fn in CONDITIONS:
            result = dt.bool_
        elif fn in ("abs", "real", "imag", "angle"):
            result = dtype.to_real()
        return self.step(fn, result, values)

    # -- functions with a typing of their own --------------------------------------------------
    def on_logical_and(self, x: Value, y: Value) -> Value:
        return self.primitive("bitwise_and", (self.truth(x), self.truth(y)))

    def on_logical_or(self, x: Value, y: Value) -> Value:
        return self.primitive("bitwise_or", (self.truth(x), self.truth(y)))

    def on_logical_xor(self, x: Value, y: Value) -> Value:
        return self.primitive("bitwise_xor", (self.truth(x), self.truth(y)))

    def on_logical_not(self, x: Value) -> Value:
        return self.primitive("bitwise_xor", (self.truth(x), _Weak(True)))

    def on_bitwise_not(self, x: Value) -> Value:
        value = self.strong(x)
        dtype = self.dtype(value)
        ones = True if dtype is dt.bool_ else -1 if dtype.is_signed else dt.iinfo(dtype).max
        return self.step("bitwise_xor", dtype, (value, self.constant(ones, dtype)))

    def on_pow(self, x: Value, y: Value) -> Value:
        count = power_steps(y.value) if isinstance(y, _Weak) else None
        if count is None:
            return self.primitive("pow", (x, y))
        square = self.primitive("mul", (x, x))
        return square if count == 2 else self.primitive("mul", (square, x if count == 3 else square))

    def on_floor(self, x: Value) -> Value:
        value = self.strong(x)
        return value if self.dtype(value).category < dt.FLOATING else self.primitive("floor", (value,))

    def on_shl(self, x: Value, count: Value) -> Value:
        return self.shift("shl", x, count)

    def on_shr(self, x: Value, count: Value) -> Value:
        return self.shift("shr", x, count)

    def shift(self, fn: str, x: Value, count: Value) -> Value:
        value, by = self.together((x, count))
        step, dtype = self.steps[by], self.dtype(value)
        if dtype.category != dt.INTEGER:
            raise ExprError(f"{fn} needs integers, got {dtype}")
        if step.op == "constant" and 0 <= step.value < dtype.bits:  # a count that every target takes as it is
            return self.step(f"{fn}_const", dtype, (value, by))
        return self.step(fn, dtype, (value, by))

    def on_to_int(self, x: Value) -> Value:
        value = self.strong(x)
        dtype = self.dtype(value)
        if dtype.category == dt.INTEGER:
            return value
        return self.cast(value, dt.int32 if dtype is dt.bool_ else bits_dtype(dtype))

    def on_bitcast_int(self, x: Value) -> Value:
        value = self.strong(x)
        if not self.dtype(value).is_floating_point:
            raise ExprError(f"bitcast_int needs a floating-point value, got {self.dtype(value)}")
        return self.step("bitcast_int", bits_dtype(self.dtype(value)), (value,))

    def on_bitcast_float(self, x: Value) -> Value:
        value = self.strong(x, bits_dtype(self.compute.to_real()))
        found = {dt.int32: dt.float32, dt.uint32: dt.float32, dt.int64: dt.float64, dt.uint64: dt.float64}
        dtype = found.get(self.dtype(value))
        if dtype is None:
            raise ExprError(f"bitcast_float needs an integer of 32 or 64 bits, got {self.dtype(value)}")
        return self.step("bitcast_float", dtype, (value,))


def _bools(fn: str) -> Callable[..., int]:
    return lambda self, x, y: self.step(fn, dt.bool_, (x, y))


def _not(self: _Lowering, x: int) -> int:
    return self.step("bitwise_xor", dt.bool_, (x, self.constant(True, dt.bool_)))


#: Arithmetic of bools: or for add and maximum, and for mul, xor for sub.
_ON_BOOLS: dict[str, Callable[..., int]] = {
    "add": _bools("bitwise_or"),
    "maximum": _bools("bitwise_or"),
    "mul": _bools("bitwise_and"),
    "minimum": _bools("bitwise_and"),
    "sub": _bools("bitwise_xor"),
    "ne": _bools("bitwise_xor"),
    "eq": lambda self, x, y: _not(self, self.step("bitwise_xor", dt.bool_, (x, y))),
    "lt": lambda self, x, y: self.step("bitwise_and", dt.bool_, (_not(self, x), y)),
    "gt": lambda self, x, y: self.step("bitwise_and", dt.bool_, (x, _not(self, y))),
    "le": lambda self, x, y: self.step("bitwise_or", dt.bool_, (_not(self, x), y)),
    "ge": lambda self, x, y: self.step("bitwise_or", dt.bool_, (x, _not(self, y))),
    "abs": lambda self, x: x,
}


def _reachable(steps: list[Step], result: int) -> tuple[Step, ...]:
    """The steps that the result reads, renumbered, the result last."""
    needed = {result}
    for i in range(result, -1, -1):
        if i in needed:
            needed.update(steps[i].args)
    order = [i for i in sorted(needed) if i != result]
    numbers = {old: new for new, old in enumerate(order)}
    kept = [steps[i]._replace(args=tuple(numbers[a] for a in steps[i].args)) for i in order]
    last = steps[result]
    return (*kept, last._replace(args=tuple(numbers[a] for a in last.args)))
