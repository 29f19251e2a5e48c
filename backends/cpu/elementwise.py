"""Elementwise kernels on numpy: bare ufuncs, those that compute much spread over the threads.

Arithmetic and comparisons of full precision stay bare: a Python function around them would cost a small
call a quarter more, and large ones wait for memory, not for cores.
"""

from __future__ import annotations

import math
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from flambeau.backends.base import Kernel, KernelTable
from flambeau.backends.cpu import chunks
from flambeau.backends.cpu.native.deferred import of_expression
from flambeau.backends.xp import Array
from flambeau.backends.xp import elementwise as xp_elementwise
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType

if TYPE_CHECKING:
    from flambeau.core.expr import Expr

#: Functions that ml_dtypes computes for bfloat16 one by one through the C library, and all of which take long.
TRANSCENDENTAL: Final = frozenset({
    "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "asin", "acos", "atan", "sinh",
    "cosh", "tanh", "asinh", "acosh", "atanh", "pow", "atan2", "logaddexp", "logaddexp2",
})  # fmt: skip
#: Functions that cost several nanoseconds an element in every dtype.
_COSTLY: Final = TRANSCENDENTAL | {
    "sqrt", "rsqrt", "reciprocal", "sigmoid", "idiv", "floor_divide", "fmod", "remainder", "hypot", "nextafter",
    "copysign", "gcd", "lcm",
}  # fmt: skip
#: Functions that numpy computes one number at a time, but of bools.
_LOGICAL: Final = frozenset({"logical_not", "logical_and", "logical_or", "logical_xor"})
#: Those of integers ask that no divisor is 0.
DIVISIONS: Final = frozenset({"idiv", "floor_divide", "fmod", "remainder"})
#: Functions that numpy computes slowly in float32 and float64 too.
_SLOW: Final = DIVISIONS | _LOGICAL | {
    "logaddexp", "logaddexp2", "hypot", "nextafter", "copysign", "acosh", "sigmoid", "rsqrt", "reciprocal", "sqrt",
}  # fmt: skip
_SLOW_DOUBLE: Final = _SLOW | {"sin", "cos", "exp", "exp2", "expm1", "acos", "asin", "cosh", "atan2", "tanh"}
#: What machine code computes under these names; other names are functions of the language.
_SOURCES: Final = {
    "positive": "x", "floor_divide": "x // y", "remainder": "x % y", "reciprocal": "1 / x",
    "relu": "maximum(x, 0)", "square": "x * x",
    "bitwise_not": "~x", "le": "x <= y", "gt": "x > y", "ge": "x >= y", "ne": "x != y",
    "logical_not": "x == 0", "logical_and": "(x != 0) & (y != 0)", "logical_or": "(x != 0) | (y != 0)",
    "logical_xor": "(x != 0) ^ (y != 0)",
    "logaddexp": f"where(x == y, x + {math.log(2)}, maximum(x, y) + log1p(exp(-abs(x - y))))",
    "logaddexp2": f"where(x == y, x + 1, maximum(x, y) + log1p(exp2(-abs(x - y))) * {1 / math.log(2)})",
}  # fmt: skip
#: Functions that depend on where the next number of the dtype lies: float32 does not tell for a shorter one.
_BY_STEPS: Final = frozenset({"nextafter"})
#: Elements from which machine code is worth the call, where numpy's functions are slow and where they are quick.
_NATIVE, _NATIVE_QUICK = 2048, 65536
#: Elements in a chunk of a kernel that makes temporaries: they stay in the second-level cache.
BLOCK: Final = 32768
#: From here on a bitwise choice beats numpy's, which mispredicts a branch at every other element.
SELECT: Final = 4096


def bind(table: KernelTable) -> None:
    xp_elementwise.bind(table, np)
    for dtype in dt.ALL:
        _bind_large(table, dtype)
        if dtype.itemsize <= 8:
            table.register("where", _select(dtype), (dtype,))
    for dtype in (dt.float32, dt.float64):  # called often; a lambda costs a small call a quarter more
        table.register("relu", partial(np.maximum, np.zeros((), dtype.numpy)), (dtype,))


class DivisionByZeroError(ZeroDivisionError, RuntimeError):
    """A division of integers by 0, which has no value; other backends, which cannot look, give 0."""


def _checked(name: str, native: Kernel) -> Kernel:
    """A division of integers that looks at its divisors first."""

    def kernel(x: Array, y: Array, out: Array | None = None) -> Array:
        if not y.all():
            raise DivisionByZeroError(f"{name}: ZeroDivisionError: integers of {x.dtype} cannot be divided by 0")
        return native(x, y, out=out)

    return kernel


def _bind_large(table: KernelTable, dtype: DType) -> None:
    """Replace, for one dtype, the kernels that are worth several threads."""
    names = xp_elementwise.names() - {"where"}
    for name in names if dtype in dt.LOW_PRECISION else names & (_COSTLY if dtype is dt.bool_ else _COSTLY | _LOGICAL):
        entry = table.own(name, dtype)
        if entry is None:
            continue
        arity = _arity(entry.fn)
        if dtype is dt.bfloat16 and name in TRANSCENDENTAL:
            wide = table.own(name, dt.float32)
            assert wide is not None
            rounded = xp_elementwise.in_float32(np, wide.fn, dtype, arity)
            made = chunks.nary(rounded, dtype.numpy, arity, BLOCK)
            large = _native(name, dtype, dtype, arity, made)
            made = chunks.nary(rounded, dtype.numpy, arity, large=large, limit=_NATIVE)
        else:
            wrap, result = chunks.binary if arity == 2 else chunks.unary, _result(entry.fn, dtype)
            made = wrap(entry.fn, result)
            large = _native(name, dtype, dt.from_numpy(result), arity, made)
            made = wrap(entry.fn, result, large, native_from(name, dtype))
        if name in DIVISIONS and dtype.category == dt.INTEGER:
            made = _checked(name, made)
        if dtype in dt.LOW_PRECISION and name in _OF_BITS:
            made = _on_bits(*_OF_BITS[name])
        table.register(name, made, (dtype,))


#: What takes no arithmetic of numbers that have two bytes, only their sign's bit.
_OF_BITS: Final[dict[str, tuple[np.ufunc, int]]] = {"neg": (np.bitwise_xor, 0x8000), "abs": (np.bitwise_and, 0x7FFF)}


def _on_bits(function: np.ufunc, bits: int) -> Kernel:
    other, sixteen = np.array(bits, np.uint16), np.dtype(np.uint16)

    def kernel(x: Array, out: Array | None = None) -> Array:
        target: Array = np.empty_like(x) if out is None else out
        function(x.view(sixteen), other, out=target.view(sixteen))
        return target

    return kernel


def native_from(name: str, dtype: DType) -> int:
    """Elements of an operand from which machine code computes a function that has it here."""
    quick = dtype in (dt.float32, dt.float64) and name not in (_SLOW if dtype is dt.float32 else _SLOW_DOUBLE)
    return _NATIVE_QUICK if quick else _NATIVE


def has_native(name: str, dtype: DType) -> bool:
    """Whether large operands of a function of the table are machine code's."""
    if dtype.is_complex or name in _BY_STEPS or (name in DIVISIONS and dtype.category == dt.INTEGER):
        return False
    return dtype in dt.LOW_PRECISION or name in (_COSTLY if dtype is dt.bool_ else _COSTLY | _LOGICAL)


def source(name: str, operands: tuple[str, ...]) -> str:
    """The expression that machine code computes under a name of the table."""
    return _SOURCES.get(name, f"{name}({', '.join(operands)})")


def _native(name: str, dtype: DType, result: DType, arity: int, usual: Kernel) -> Kernel:
    """A kernel's machine code, over ``usual`` where there is none."""
    if dtype.is_complex or (name in _BY_STEPS and dtype in dt.LOW_PRECISION):
        return usual
    operands = ("x", "y")[:arity]

    def expression() -> Expr:
        from flambeau.core.expr import parse  # at the first large operands
        from flambeau.core.special import EXPRESSIONS  # likewise

        return parse(EXPRESSIONS[name] if name in _BY_STEPS else source(name, operands), operands)

    return of_expression(name, expression, (dtype,) * arity, result, usual)


def _arity(native: Kernel) -> int:
    return native.nin if isinstance(native, np.ufunc) else len(signature(native).parameters) - 1  # less `out`


def _result(native: Kernel, dtype: DType) -> np.dtype[Any]:
    """The dtype of a kernel's result: numpy's own functions may give bools, or the real part's."""
    if not isinstance(native, np.ufunc):
        return dtype.numpy
    found: np.dtype[Any] = native.resolve_dtypes((*(dtype.numpy,) * native.nin, None))[-1]
    return found


def _select(dtype: DType) -> Kernel:
    """``where`` as a choice of bits: all ones or all zeros from the condition, then and and xor."""
    bits, native = np.dtype(f"i{dtype.itemsize}"), np.where

    def choose(condition: Array, x: Array, y: Array, out: Array) -> Array:
        mask = np.negative(condition.view(np.int8)).astype(bits)
        x, y, target = x.view(bits), y.view(bits), out.view(bits)
        if y.ndim == 0 and not y:
            return np.bitwise_and(mask, x, target)
        mask &= x ^ y
        return np.bitwise_xor(mask, y, target)

    def usual(condition: Array, x: Array, y: Array, out: Array | None = None) -> Array:
        return chunks.spread(choose, (condition, x, y), out, dtype.numpy, BLOCK)

    def expression() -> Expr:
        from flambeau.core.expr import parse  # at the first large operands

        return parse("where(c, x, y)", ("c", "x", "y"))

    def kernel(condition: Array, x: Array, y: Array, out: Array | None = None) -> Array:
        if condition.size < SELECT:
            return native(condition, x, y) if out is None else xp_elementwise.where(np, condition, x, y, out)
        return large(condition, x, y, out=out)

    as_bits = dtype.is_complex or dtype in dt.LOW_PRECISION  # numbers that registers do not hold as they are
    large = usual if as_bits else of_expression("where", expression, (dt.bool_, dtype, dtype), dtype, usual)
    return kernel
