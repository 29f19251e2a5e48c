"""Compile an expression to numpy calls on blocks that stay in the cache.

The function that comes out takes any strides and broadcasts; float16 and bfloat16 are widened to float32 on the
way into a block and rounded once on the way out.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import numpy as np

from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from flambeau.core.expr.lower import Program, Step, lower, wide
from flambeau.core.expr.syntax import Expr

Array = Any
#: Elements in a block: a handful of float32 temporaries of this size fit the second-level cache.
BLOCK: Final = 16384

_UFUNCS: Final = {
    "neg": np.negative, "abs": np.absolute, "exp": np.exp, "log": np.log, "sqrt": np.sqrt, "sin": np.sin,
    "cos": np.cos, "floor": np.floor, "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.true_divide,
    "idiv": np.floor_divide, "fmod": np.fmod, "pow": np.power, "maximum": np.maximum, "lt": np.less, "eq": np.equal,
    "bitwise_and": np.bitwise_and, "bitwise_or": np.bitwise_or, "bitwise_xor": np.bitwise_xor,
    "shl": np.left_shift, "shr": np.right_shift, "shl_const": np.left_shift, "shr_const": np.right_shift,
    "gt": np.greater, "ge": np.greater_equal, "le": np.less_equal, "ne": np.not_equal, "minimum": np.minimum,
    "remainder": np.remainder, "gcd": np.gcd, "lcm": np.lcm, "square": np.square,
    "exp2": np.exp2, "expm1": np.expm1, "log2": np.log2, "log10": np.log10, "log1p": np.log1p, "tan": np.tan,
    "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh,
    "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh, "ceil": np.ceil, "trunc": np.trunc,
    "round": np.rint, "isnan": np.isnan, "isinf": np.isinf, "isfinite": np.isfinite, "signbit": np.signbit,
    "copysign": np.copysign, "nextafter": np.nextafter, "hypot": np.hypot, "atan2": np.arctan2,
    "logaddexp": np.logaddexp, "logaddexp2": np.logaddexp2, "heaviside": np.heaviside, "fmax": np.fmax,
    "fmin": np.fmin, "conj": np.conjugate,
}  # fmt: skip
_ON_ANY: Final = frozenset({"gt", "ge", "le", "ne", "minimum", "remainder", "gcd", "lcm", "square"})
_NOT_ON_COMPLEX: Final = frozenset({"hypot", "atan2", "logaddexp", "logaddexp2", "heaviside", "copysign", "nextafter",
                                    "signbit", "ceil", "trunc", "round"})  # fmt: skip


def numpy_has(name: str, dtype: DType) -> bool:
    """Whether numpy has the function, beside the primitives, for a compute dtype."""
    if name not in _UFUNCS or name in ("gcd", "lcm") and dtype.category != dt.INTEGER:
        return False
    if dtype.category == dt.COMPLEX:
        return name not in _NOT_ON_COMPLEX
    return dtype.category == dt.FLOATING or name in _ON_ANY


def to_numpy(
    expr: Expr, name: str, dtypes: tuple[DType, ...] | None = None, out: DType | None = None
) -> Callable[..., Array]:
    """A function ``fn(*ins, out=None)`` of numpy arrays that broadcasts and computes ``expr``.

    With ``dtypes`` (the operands') and ``out`` (the result's) it is compiled for these, else at each call for
    the dtypes that come. ``out`` may be one of the inputs; it may overlap them in any way.

    >>> from flambeau.core.expr import parse
    >>> to_numpy(parse("x * x + 1", ("x",)), "demo")(np.arange(3.0))
    array([1., 2., 5.])
    """
    if dtypes is not None:
        return _Compiled(name, lower(expr, dtypes, out, numpy_has))

    def elementwise(*ins: Array, out: Array = None) -> Array:
        arrays = [np.asarray(x) for x in ins]
        found = tuple(dt.from_numpy(a.dtype) for a in arrays)
        wanted = None if out is None else dt.from_numpy(out.dtype)
        return _compiled(expr, name, found, wanted)(*arrays, out=out)

    elementwise.__name__ = elementwise.__qualname__ = name
    return elementwise


@lru_cache(maxsize=1024)
def _compiled(expr: Expr, name: str, dtypes: tuple[DType, ...], out: DType | None) -> _Compiled:
    return _Compiled(name, lower(expr, dtypes, out, numpy_has))


class _Compiled:
    """One program as numpy calls; ``source`` is the Python text of its block function."""

    def __init__(self, name: str, program: Program):
        self.__name__ = name
        self.program = program
        self.wide = [wide(d).numpy for d in program.inputs]
        self.wide_out, self.out = wide(program.out).numpy, program.out.numpy
        writer = _Writer(program)
        self.source = writer.source(name)
        self.buffers = [d.numpy for d in writer.buffers]
        namespace = dict(writer.constants, np=np, pow_int=_pow_int, select=_select)
        exec(compile(self.source, f"<expr {name}>", "exec"), namespace)
        self.block: Any = namespace["block"]

    def __call__(self, *ins: Array, out: Array = None) -> Array:
        arrays = [np.asarray(x) for x in ins]
        shape = np.broadcast_shapes(*(a.shape for a in arrays)) if out is None else out.shape
        if out is None:
            out = np.empty(shape, self.out)
        with np.errstate(all="ignore"):
            if out.size <= BLOCK:
                self.at_once(arrays, out)
            else:
                self.by_blocks(arrays, out)
        return out

    def at_once(self, arrays: list[Array], out: Array) -> None:
        arrays = [a.astype(w, copy=False) for a, w in zip(arrays, self.wide, strict=True)]
        buffers = [np.empty(out.shape, d) for d in self.buffers]
        if out.dtype == self.wide_out:
            self.block(*arrays, out, *buffers)
            return
        result = np.empty(out.shape, self.wide_out)
        self.block(*arrays, result, *buffers)
        np.copyto(out, result, casting="unsafe")

    def by_blocks(self, arrays: list[Array], out: Array) -> None:
        buffers = [np.empty(BLOCK, d) for d in self.buffers]
        walk: Any = np.nditer(  # type: ignore[call-overload]
            [*arrays, out],
            flags=["external_loop", "buffered", "copy_if_overlap", "grow_inner", "delay_bufalloc"],
            op_flags=[["readonly"]] * len(arrays) + [["writeonly", "no_broadcast"]],
            op_dtypes=[*self.wide, self.wide_out],
            casting="unsafe",
            order="K",
            buffersize=BLOCK,
        )
        with walk:
            walk.reset()
            for parts in walk:
                for start in range(0, parts[-1].size, BLOCK):  # an inner loop without buffers has any length
                    here = [p[start : start + BLOCK] for p in parts]
                    self.block(*here, *(b[: here[-1].size] for b in buffers))


class _Writer:
    """Writes the block function: one numpy call a step, temporaries reused after their last use."""

    def __init__(self, program: Program):
        self.steps = program.steps
        self.buffers: list[DType] = []
        self.constants: dict[str, Any] = {}
        self.free: list[int] = []
        self.held: dict[int, int] = {}  # step -> buffer
        self.names: list[str] = []
        self.roots: list[int] = []  # the step whose buffer a step's value lies in (views share one)
        self.last = self.last_uses()

    def last_uses(self) -> list[int]:
        roots, last = list(range(len(self.steps))), list(range(len(self.steps)))
        for i, step in enumerate(self.steps):
            if step.op.startswith("bitcast"):
                roots[i] = roots[step.args[0]]
            for a in step.args:
                last[roots[a]] = i
        self.roots = roots
        return last

    def source(self, name: str) -> str:
        lines = [line for i, step in enumerate(self.steps) for line in self.lines(i, step)]
        inputs = sum(s.op == "input" for s in self.steps)
        count = 1 + max((s.value for s in self.steps if s.op == "input"), default=inputs - 1)
        arguments = [f"x{i}" for i in range(count)] + ["*rest"]
        unpack = f"    *spare, out{''.join(f', t{i}' for i in range(len(self.buffers)))} = rest"
        return "\n".join([f"def block({', '.join(arguments)}):  # {name}", unpack, *(f"    {x}" for x in lines)]) + "\n"

    def lines(self, i: int, step: Step) -> list[str]:
        if step.op == "input":
            self.names.append(f"x{step.value}")
            return self.finish(i)
        if step.op == "constant":
            # An array without axes: numpy's functions take it at half the price of a scalar.
            self.constants[f"c{i}"] = np.asarray(step.dtype.numpy.type(step.value))
            self.names.append(f"c{i}")
            return self.finish(i)
        args = [self.names[a] for a in step.args]
        if step.op.startswith("bitcast"):
            self.names.append(f"v{i}")
            return [f"v{i} = {args[0]}.view(np.{step.dtype.name})", *self.finish(i)]
        last = i == len(self.steps) - 1
        in_place = step.op not in ("where", "cast")  # these may write before they have read all
        if in_place:
            self.release(i, step)
        target = "out" if last and in_place else self.allocate(i, step.dtype)
        if not in_place:
            self.release(i, step)
        self.names.append(target)
        return [*self.call(step, args, target), *(self.finish(i) if target != "out" else ())]

    def finish(self, i: int) -> list[str]:
        return [f"np.copyto(out, {self.names[i]})"] if i == len(self.steps) - 1 else []

    def call(self, step: Step, args: list[str], target: str) -> list[str]:
        if step.op == "where":
            return [f"select({target}, {', '.join(args)})"]
        if step.op == "cast":
            return [f"np.copyto({target}, {args[0]}, casting='unsafe')"]
        if step.op == "pow" and step.dtype.category == dt.INTEGER:
            return [f"pow_int({', '.join(args)}, {target})"]
        return [f"np.{_UFUNCS[step.op].__name__}({', '.join(args)}, out={target})"]

    def allocate(self, i: int, dtype: DType) -> str:
        buffer = next((b for b in self.free if self.buffers[b] is dtype), None)
        if buffer is None:
            buffer = len(self.buffers)
            self.buffers.append(dtype)
        else:
            self.free.remove(buffer)
        self.held[i] = buffer
        return f"t{buffer}"

    def release(self, i: int, step: Step) -> None:
        for root in {self.roots[a] for a in step.args}:
            if self.last[root] == i and root in self.held:
                self.free.append(self.held.pop(root))


#: From so many elements on a choice by bits is faster than numpy's, which mispredicts a branch at every other one.
_BY_BITS: Final = 1024


def _select(out: Array, condition: Array, x: Array, y: Array) -> None:
    """Write ``x`` where the condition holds and ``y`` elsewhere to ``out``, which is none of them."""
    width = out.dtype.itemsize
    if out.size < _BY_BITS or width > 8 or np.ndim(condition) == 0:
        np.copyto(out, y)
        np.copyto(out, x, where=condition)
        return
    bits = f"i{width}"
    mask = np.negative(condition.view(np.int8)).astype(bits)
    target, other = out.view(bits), y.view(bits)
    np.bitwise_xor(x.view(bits), other, out=target)
    target &= mask
    target ^= other


def _pow_int(base: Array, exponent: Array, out: Array) -> None:
    """Integer powers; a negative exponent gives the truncated reciprocal, as in PyTorch."""
    exponent = np.asarray(exponent)
    if exponent.dtype.kind == "u" or not np.any(exponent < 0):
        np.power(base, exponent, out=out)
        return
    unit = np.where(base == 1, 1, np.where(base == -1, np.where(exponent & 1, -1, 1), 0))
    np.copyto(out, np.where(exponent < 0, unit, np.power(base, np.maximum(exponent, 0))), casting="unsafe")
