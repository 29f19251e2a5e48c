"""Kernels generated from scalar expressions: numpy calls on blocks for small operands, machine code for large ones.

Long expressions with functions in them, the special functions above all, are machine code at every size: in numpy they
are dozens of calls. Their first call loads the compiler. Where every step of an expression is exact, or rounded once as
IEEE 754 says, a built-in of machine code takes the kernel's place once it was called often
(:mod:`flambeau.backends.cpu.small` says why then, and only there).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import count
from typing import Any, Final

import numpy as np

from flambeau.backends.base import Kernel
from flambeau.backends.cpu import chunks, small
from flambeau.backends.cpu.elementwise import TRANSCENDENTAL
from flambeau.backends.cpu.native.deferred import of_expression, of_expression_at_once
from flambeau.backends.xp import Array
from flambeau.core import config
from flambeau.core import dtype as dt
from flambeau.core.cache import Cache
from flambeau.core.dtype import DType
from flambeau.core.expr import Expr, Program, lower
from flambeau.core.expr.arrays import numpy_has, to_numpy
from flambeau.core.locks import fork_safe

#: Elements up to which numpy computes an expression of few steps and one of many: beyond, machine code gains.
_SMALL, _SMALLER = 1024, 128
#: Steps, and letters, from which on an expression with functions is machine code's for operands of every size.
_MANY, _LONG = 8, 1000
#: Those that small models are made of, for which loading the compiler costs more than what it saves.
_EVERYDAY: Final = frozenset({
    "gelu", "gelu_grad", "gelu_tanh", "gelu_tanh_grad", "silu", "silu_grad", "cross_entropy_of_logit",
    "cross_entropy_of_logit_grad", "cross_entropy_of_probability",
})  # fmt: skip
#: Calls of a kernel after which a built-in is made.
CALLS: Final = 500


def _clamp(x: Array, low: Array, high: Array, out: Array) -> None:
    np.maximum(x, low, out=out)
    np.minimum(out, high, out=out)


#: Expressions that a few of numpy's calls do quicker on small operands.
_DIRECT: Final[dict[str, Callable[..., None]]] = {"clamp": _clamp}

#: Steps whose results are the same to the bit wherever they are computed.
_EXACT: Final = frozenset({
    "input", "constant", "where", "neg", "abs", "sqrt", "floor", "ceil", "trunc", "round", "add", "sub", "mul", "div",
    "square", "maximum", "minimum", "fmax", "fmin", "lt", "le", "gt", "ge", "eq", "ne", "isnan", "isinf", "isfinite",
    "signbit", "copysign", "bitwise_and", "bitwise_or", "bitwise_xor", "shl_const", "shr_const", "bitcast_int",
    "bitcast_float", "cast",
})  # fmt: skip


def is_exact(program: Program) -> bool:
    """Whether a program gives the same bits wherever it is computed."""
    if any(d in dt.LOW_PRECISION or d.is_complex for d in (*program.inputs, program.out)):
        return False
    return has_exact_steps(program)


def has_exact_steps(program: Program) -> bool:
    """The same but for what rounding to low precision makes of nan's bits."""
    steps = program.steps
    return all(s.op in _EXACT and not (s.op == "cast" and _is_lossy(steps[s.args[0]].dtype, s.dtype)) for s in steps)


def _is_lossy(source: DType, to: DType) -> bool:
    """Whether a cast may meet numbers that it has no result for: those of floats that no integer holds."""
    return source.is_floating_point and to.category == dt.INTEGER


def native_from(name: str, expr: Expr, dtypes: tuple[DType, ...], result: DType) -> int:
    """Elements of a result from which machine code computes it, whatever the operands' sizes."""
    return 0 if _is_long(name, expr, dtypes, result) else _SMALL + 1


def in_machine_code(name: str, expr: Expr, arity: int) -> Expr:
    """A call of the function of this name, which is more exact than its definition, or the definition itself."""
    from flambeau.backends.llvm import maths  # lazy: at the first large operands
    from flambeau.core.expr import parse  # lazy: likewise

    if name not in maths.FUNCTIONS:
        return expr
    operands = ("x", "y")[:arity]
    return parse(f"{name}({', '.join(operands)})", operands)


class _Waiting:
    """A kernel that waits for its built-in: ``change`` makes it, once, and tells those who keep kernels."""

    def __init__(self, asked: Asked, kernel: Kernel, changed: Callable[[], None]):
        self.asked, self.kernel, self.changed = asked, kernel, changed
        self.tick = count(1).__next__
        self.lock = fork_safe(threading.RLock())
        self.done = False

    def change(self) -> None:
        """Put the built-in into the place of the kernel, where one can be made."""
        from flambeau.backends.llvm import printer  # what small programs do not need

        name, expr, dtypes, result, _ = self.asked
        with self.lock:
            if self.done:
                return
            self.done = True
            program = lower(expr, dtypes, result, printer.native)
            if is_exact(program) and not printer.unserved(program):
                made = small.built({name: program}, {name: self.kernel})
                if made:
                    _kernels[self.asked] = made[name]
                    self.changed()


#: Name, expression, dtypes of the operands and of the result, and the setting that says which machine code there is.
Asked = tuple[str, Expr, tuple[DType, ...], DType, str]
_kernels: Final[Cache[Asked, Kernel]] = Cache()


def kernel(
    name: str, expr: Expr, dtypes: tuple[DType, ...], result: DType, changed: Callable[[], None] = lambda: None
) -> Kernel:
    """A kernel for ``expr``; dtypes of the operands and of the result. ``changed`` is called when there is a better."""
    asked: Asked = name, expr, dtypes, result, config.get("cpu_code")
    found = _kernels.get(asked)
    if found is None:
        found = _at_once(name, expr, dtypes, result) if _is_long(name, expr, dtypes, result) else _made(asked, changed)
        _kernels.remember(asked, found)
    return found


def _is_long(name: str, expr: Expr, dtypes: tuple[DType, ...], result: DType) -> bool:
    """Whether an expression has many steps, some of which numpy and machine code round differently."""
    if name in _EVERYDAY or any(d.is_complex for d in (*dtypes, result)):
        return False
    if len(expr.source) > _LONG:
        return True  # it is found without being lowered, which takes long
    steps = lower(expr, dtypes, result, numpy_has).steps
    return len(steps) > _MANY and any(step.op in TRANSCENDENTAL for step in steps)


def _at_once(name: str, expr: Expr, dtypes: tuple[DType, ...], result: DType) -> Kernel:
    """Machine code for operands of every size: of the many steps each would be a call of numpy's."""
    arity, compiled = len(dtypes), None

    def usual(*ins: Array, out: Array | None = None) -> Array:
        nonlocal compiled
        if compiled is None:
            compiled = chunks.nary(to_numpy(expr, name, dtypes, result), result.numpy, arity)
        found: Array = compiled(*ins, out=out)
        return found

    return of_expression_at_once(name, lambda: in_machine_code(name, expr, arity), dtypes, result, usual)


def _made(asked: Asked, changed: Callable[[], None]) -> Kernel:
    """Numpy's functions for small operands, machine code for large ones."""
    name, expr, dtypes, result, code = asked
    compiled: Any = to_numpy(expr, name, dtypes, result)
    arity, dtype = len(dtypes), result.numpy
    usual = chunks.nary(compiled, dtype, arity)
    large = of_expression(name, lambda: in_machine_code(name, expr, arity), dtypes, result, usual)
    if any(d in dt.LOW_PRECISION for d in (*dtypes, result)):
        return chunks.nary(compiled, dtype, arity, large=large, limit=_SMALL)
    limit = _SMALLER if len(compiled.program.steps) > 2 * _MANY else _SMALL
    direct = _DIRECT.get(name)
    block, buffers, empty = compiled.block, compiled.buffers, np.empty

    def kernel(*ins: Array, out: Array | None = None) -> Array:
        """Without what the compiled function does for dtypes, for blocks and for numpy's warnings."""
        if len(ins) > arity:  # `out` by position
            *ins, out = ins  # type: ignore[assignment]
        if out is None:
            shape = ins[0].shape
            for x in ins:
                if x.shape != shape:
                    shape = np.broadcast_shapes(*[v.shape for v in ins])
                    break
        else:
            shape = out.shape
        target = empty(shape, dtype) if out is None else out
        if waiting is not None and not waiting.done and (target.size > limit or waiting.tick() >= CALLS):
            waiting.change()
        if target.size > limit:
            return large(*ins, out=out)
        if direct is not None:
            direct(*ins, target)
        else:
            block(*ins, target, *[empty(shape, b) for b in buffers])
        return target

    exact = code != "none" and is_exact(compiled.program)
    waiting = _Waiting(asked, kernel, changed) if exact else None
    return kernel
