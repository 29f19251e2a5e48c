"""Kernels generated from scalar expressions: numpy calls on blocks, large operands over the threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from flambeau.backends.base import Kernel
from flambeau.backends.cpu import chunks
from flambeau.backends.cpu.native.deferred import of_expression
from flambeau.backends.xp import Array
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from flambeau.core.expr import Expr
from flambeau.core.expr.arrays import to_numpy

#: Elements up to which numpy computes an expression of some steps and one of many: beyond, machine code gains.
_SMALL, _SMALLER = 8192, 2048
_MANY: Final = 8


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
    compiled: Any = to_numpy(expr, name, dtypes, result)
    arity, dtype = len(dtypes), result.numpy
    large = of_expression(
        lambda: _in_machine_code(name, expr, arity), dtypes, result, chunks.nary(compiled, dtype, arity)
    )
    if any(d in dt.LOW_PRECISION for d in (*dtypes, result)):
        return chunks.nary(compiled, dtype, arity, large=large, limit=_SMALLER)
    limit = _SMALLER if len(compiled.program.steps) > _MANY else _SMALL
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
