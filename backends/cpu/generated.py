"""Kernels generated from scalar expressions: numpy calls on blocks for small operands, machine code for large ones.

Long expressions with functions in them, the special functions above all, are machine code at every size: in numpy they
are dozens of calls. Their first call loads the compiler.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from flambeau.backends.base import Kernel
from flambeau.backends.cpu import chunks
from flambeau.backends.cpu.elementwise import TRANSCENDENTAL
from flambeau.backends.cpu.native.deferred import of_expression, of_expression_at_once
from flambeau.backends.xp import Array
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from flambeau.core.expr import Expr, lower
from flambeau.core.expr.arrays import numpy_has, to_numpy

#: Elements up to which numpy computes an expression of few steps and one of many: beyond, machine code gains.
_SMALL, _SMALLER = 1024, 128
#: Steps, and letters, from which on an expression with functions is machine code's for operands of every size.
_MANY, _LONG = 8, 1000
#: Those that small models are made of, for which loading the compiler costs more than what it saves.
_EVERYDAY: Final = frozenset({
    "gelu", "gelu_grad", "gelu_tanh", "gelu_tanh_grad", "silu", "silu_grad", "cross_entropy_of_logit",
    "cross_entropy_of_logit_grad", "cross_entropy_of_probability",
})  # fmt: skip


def _clamp(x: Array, low: Array, high: Array, out: Array) -> None:
    np.maximum(x, low, out=out)
    np.minimum(out, high, out=out)


#: Expressions that a few of numpy's calls do quicker on small operands.
_DIRECT: Final[dict[str, Callable[..., None]]] = {"clamp": _clamp}


def _in_machine_code(name: str, expr: Expr, arity: int) -> Expr:
    """A call of the function of this name, which is more exact than its definition, or the definition itself."""
    from flambeau.backends.llvm import maths  # lazy: at the first large operands
    from flambeau.core.expr import parse  # lazy: likewise

    if name not in maths.FUNCTIONS:
        return expr
    operands = ("x", "y")[:arity]
    return parse(f"{name}({', '.join(operands)})", operands)


def kernel(name: str, expr: Expr, dtypes: tuple[DType, ...], result: DType) -> Kernel:
    """A kernel for ``expr``; dtypes of the operands and of the result."""
    make = _at_once if _is_long(name, expr, dtypes, result) else _by_size
    return make(name, expr, dtypes, result)


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

    return of_expression_at_once(name, lambda: _in_machine_code(name, expr, arity), dtypes, result, usual)


def _by_size(name: str, expr: Expr, dtypes: tuple[DType, ...], result: DType) -> Kernel:
    """Numpy's functions for small operands, machine code for large ones."""
    compiled: Any = to_numpy(expr, name, dtypes, result)
    arity, dtype = len(dtypes), result.numpy
    usual = chunks.nary(compiled, dtype, arity)
    large = of_expression(name, lambda: _in_machine_code(name, expr, arity), dtypes, result, usual)
    if any(d in dt.LOW_PRECISION for d in (*dtypes, result)):
        return chunks.nary(compiled, dtype, arity, large=large, limit=_SMALL)
    limit = _SMALLER if len(compiled.program.steps) > 2 * _MANY else _SMALL
    direct = _DIRECT.get(name)
    block, buffers, empty = compiled.block, compiled.buffers, np.empty

    def small(*ins: Array, out: Array | None = None) -> Array:
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
        if target.size > limit:
            return large(*ins, out=out)
        if direct is None:
            block(*ins, target, *[empty(shape, b) for b in buffers])
        else:
            direct(*ins, target)
        return target

    return small
