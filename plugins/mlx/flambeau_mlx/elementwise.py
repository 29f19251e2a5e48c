"""Every elementwise op, from its record's expression over MLX's functions."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

import mlx.core as mx

from flambeau.backends.group import Group
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType, host_scalar
from flambeau.core.expr import Expr, lower
from flambeau_mlx.cells import MX, convert, to_mlx, wide

Pure = Callable[..., Any]

#: Beside the primitives: what MLX computes better than an expression would.
_NATIVE: Final = frozenset({"tanh", "expm1", "log1p", "erf", "rsqrt", "sigmoid", "isnan", "isinf", "isfinite"})


def native(name: str, dtype: DType) -> bool:
    return name in _NATIVE and dtype.category == dt.FLOATING


@lru_cache(None)
def body_of(expr: Expr, dtypes: tuple[DType, ...], out: DType, compiled: bool) -> Pure:
    """A function of arrays of ``dtypes`` that computes the expression and rounds once, to ``out``.

    It has an operation of MLX for each step; ``compiled`` makes one of all.
    """
    program = lower(expr, dtypes, out, native)
    ready: list[mx.array | None] = [None] * len(program.steps)
    work: list[tuple[int, Pure, tuple[int, ...]]] = []
    inputs: list[tuple[int, int]] = []
    for i, (op, dtype, args, value) in enumerate(program.steps):
        if op == "input":
            inputs.append((i, value))
        elif op == "constant":
            ready[i] = to_mlx(host_scalar(value, dtype), dtype)
        else:
            work.append((i, _function(op, MX[dtype]), args))

    def body(*ins: mx.array) -> mx.array:
        values: list[Any] = ready.copy()
        for i, place in inputs:
            values[i] = wide(ins[place])
        for i, fn, args in work:
            values[i] = fn(*[values[a] for a in args])
        return convert(values[-1], MX[out])

    order = list(range(len(dtypes)))
    if [place for _, place in inputs] != order:
        return lambda *ins: mx.broadcast_to(body(*ins), mx.broadcast_shapes(*[x.shape for x in ins]))
    if len(work) == 1 and list(work[0][2]) == order and not any(d in dt.LOW_PRECISION for d in (*dtypes, out)):
        return work[0][1]  # one operation of MLX, which needs nobody around it
    return mx.compile(body) if compiled and len(work) > 1 else body


def _function(op: str, to: mx.Dtype) -> Pure:
    if op in ("cast", "to_int"):
        return lambda x: convert(x, to)
    if op in ("bitcast_int", "bitcast_float"):
        return lambda x: x.view(to)
    return FUNCTIONS.get(op) or getattr(mx, op)


def _real(x: mx.array) -> bool:
    return mx.issubdtype(x.dtype, mx.floating)


def _idiv(x: mx.array, y: mx.array) -> mx.array:
    """Floor division as Python's; of integers by 0 it is 0."""
    if not _real(x):
        found = mx.floor_divide(x, _divisor(y))
        found = mx.where(y == -1, -x, found) if mx.issubdtype(y.dtype, mx.signedinteger) else found
        return mx.where(y == 0, mx.zeros_like(x), found)
    rest = _fmod(x, y)
    quotient = (x - rest) / y
    quotient = mx.where((rest != 0) & ((y < 0) != (rest < 0)), quotient - 1, quotient)
    floored = mx.floor(quotient)
    floored = mx.where(quotient - floored > 0.5, floored + 1, floored)
    exact = x / y
    return mx.where(y == 0, exact, mx.where(quotient == 0, exact * 0, floored))


def _fmod(x: mx.array, y: mx.array) -> mx.array:
    """What division leaves, with the sign of ``x``; MLX's has that of ``y``."""
    if _real(x):
        rest = mx.remainder(mx.abs(x), mx.abs(y))
        return mx.where(x < 0, -rest, rest)
    rest = mx.remainder(x, _divisor(y))
    rest = mx.where((rest != 0) & ((x < 0) != (y < 0)), rest - y, rest)
    return mx.where(y == 0, mx.zeros_like(x), rest)


def _divisor(y: mx.array) -> mx.array:
    """Integers that divide any other: 0, and of the least number -1, are traps of processors."""
    bad = (y == 0) | (y == -1) if mx.issubdtype(y.dtype, mx.signedinteger) else y == 0
    return mx.where(bad, mx.ones_like(y), y)


def _pow(x: mx.array, y: mx.array) -> mx.array:
    """Of integers by squaring, modulo 2**bits; to a negative power 1 stays 1, -1 its sign, and all else is 0."""
    if x.dtype == mx.bool_:
        return x | ~y
    if _real(x):
        return mx.power(x, y)
    result, base, n = mx.ones_like(x), x, mx.maximum(y, mx.zeros_like(y))
    for _ in range(x.dtype.size * 8):
        result = mx.where((n & 1) == 1, result * base, result)
        base, n = base * base, n >> 1
    if not mx.issubdtype(x.dtype, mx.signedinteger):
        return result
    sign = mx.where((y & 1) == 1, x, mx.ones_like(x))
    unit = mx.where((x == 1) | (x == -1), sign, mx.zeros_like(x))
    return mx.where(y < 0, unit, result)


def _shl(x: mx.array, y: mx.array) -> mx.array:
    over = (y < 0) | (y >= x.dtype.size * 8)
    return mx.where(over, mx.zeros_like(x), mx.left_shift(x, mx.where(over, mx.zeros_like(y), y)))


def _shr(x: mx.array, y: mx.array) -> mx.array:
    over = (y < 0) | (y >= x.dtype.size * 8)
    return mx.right_shift(mx.where(over & (x >= 0), mx.zeros_like(x), x), mx.where(over, x.dtype.size * 8 - 1, y))


#: The primitives that MLX has not by their names, or not with their meaning.
FUNCTIONS: Final[Mapping[str, Pure]] = {
    "neg": mx.negative, "sub": mx.subtract, "mul": mx.multiply, "div": mx.divide, "lt": mx.less, "eq": mx.equal,
    "idiv": _idiv, "fmod": _fmod, "pow": _pow, "shl": _shl, "shr": _shr, "shl_const": mx.left_shift,
    "shr_const": mx.right_shift,
}  # fmt: skip


# -- groups of steps ------------------------------------------------------------------------------------
@lru_cache(None)
def fuses_exactly() -> bool:
    """Whether compiled steps have the bits of single ones here: no product and sum are made one rounding.

    On processors MLX calls a C++ compiler, which may be missing.
    """
    if mx.default_device().type == mx.DeviceType.cpu and not any(map(shutil.which, ("g++", "c++", "clang++"))):
        return False

    def steps(x: mx.array, y: mx.array) -> mx.array:
        return mx.exp(x * y + x) / y - x * y

    x, y = (mx.arange(1, 4097, dtype=mx.float32) / n for n in (4099, 4111))
    try:
        return bool(mx.array_equal(mx.compile(steps)(x, y), steps(x, y)).item())
    except RuntimeError:
        return False


def compiled_group(group: Group) -> Pure:
    """A function of the inputs' values that gives those of the outputs, each step rounded to its own dtype."""
    dtypes = [x.dtype for x in group.inputs] + [s.dtype for s in group.steps]
    bodies = [body_of(s.expr, tuple([dtypes[i] for i in s.operands]), s.dtype, False) for s in group.steps]

    def run(*ins: mx.array) -> list[mx.array]:
        values = list(ins)
        for step, body in zip(group.steps, bodies, strict=True):
            values.append(body(*[values[i] for i in step.operands]))
        first = len(group.inputs)
        return [mx.broadcast_to(values[first + o.step], group.shape) for o in group.outputs]

    return mx.compile(run)
