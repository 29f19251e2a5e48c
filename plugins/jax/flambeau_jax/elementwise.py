"""Every elementwise op, from its record's expression over JAX's functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

import jax
import jax.numpy as jnp
from jax import lax

from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from flambeau.core.expr import Expr, bits_dtype, compute_dtype, evaluate
from flambeau_jax.cells import Value, convert

Pure = Callable[..., Value]

#: Beside the primitives: what XLA computes better than an expression would.
_NATIVE: Final[Mapping[str, Pure]] = {
    "tanh": jnp.tanh, "expm1": jnp.expm1, "log1p": jnp.log1p, "rsqrt": lax.rsqrt, "atan2": jnp.arctan2,
    "erf": jax.scipy.special.erf, "lgamma": jax.scipy.special.gammaln, "ceil": jnp.ceil, "isnan": jnp.isnan,
    "isinf": jnp.isinf, "isfinite": jnp.isfinite, "nextafter": jnp.nextafter, "signbit": jnp.signbit,
    "copysign": jnp.copysign, "minimum": jnp.minimum,
}  # fmt: skip


@lru_cache(None)
def body_of(name: str, expr: Expr, dtypes: tuple[DType, ...], out: DType) -> Pure:
    """A function of arrays of ``dtypes`` that computes the expression and rounds once, to ``out``."""
    compute = compute_dtype(dtypes, out)
    fns = functions(compute)

    def body(*ins: Value) -> Value:
        shape = jnp.broadcast_shapes(*[x.shape for x in ins])
        wide = [x.astype(compute.numpy) if d in dt.LOW_PRECISION else x for x, d in zip(ins, dtypes, strict=True)]
        native = _NATIVE.get(name) if name in fns else None
        result = native(*wide) if native else evaluate(expr, dict(zip(expr.operands, wide, strict=True)), fns, compute)
        return jnp.broadcast_to(convert(jnp.asarray(result), dtype=out.numpy), shape)

    body.__name__ = name
    return body


@lru_cache(None)
def functions(compute: DType) -> Mapping[str, Pure]:
    """The primitives of the expression language, for one type of literals."""
    whole = compute.category <= dt.INTEGER
    fns: dict[str, Pure] = {
        "neg": jnp.negative, "abs": jnp.abs, "exp": jnp.exp, "log": jnp.log, "sqrt": jnp.sqrt, "sin": jnp.sin,
        "cos": jnp.cos, "floor": lambda x: x if x.dtype.kind in "iub" else jnp.floor(x), "add": jnp.add,
        "sub": _sub, "mul": jnp.multiply, "div": jnp.divide, "idiv": _idiv, "fmod": _fmod, "pow": _pow,
        "maximum": jnp.maximum, "lt": jnp.less, "eq": jnp.equal, "bitwise_and": jnp.bitwise_and,
        "bitwise_or": jnp.bitwise_or, "bitwise_xor": jnp.bitwise_xor, "bitwise_not": jnp.bitwise_not,
        "shl": jnp.left_shift, "shr": jnp.right_shift, "where": jnp.where,
        "to_int": lambda x: x if x.dtype.kind in "iu" else convert(x, dtype=_bits(x)),
        "constant": lambda value, dtype, like: jnp.asarray(value, dtype.numpy),
    }  # fmt: skip
    if not whole:
        fns["bitcast_int"] = lambda x: lax.bitcast_convert_type(x, bits_dtype(compute).numpy)
        fns["bitcast_float"] = lambda x: lax.bitcast_convert_type(x.astype(bits_dtype(compute).numpy), compute.numpy)
    if compute.category == dt.FLOATING:
        fns.update(_NATIVE)
    return fns


def _bits(x: Value) -> Any:
    return jnp.dtype(jnp.int32 if x.dtype.kind == "b" else f"int{8 * x.dtype.itemsize}")


def _sub(x: Value, y: Value) -> Value:
    return jnp.bitwise_xor(x, y) if jnp.result_type(x, y).kind == "b" else jnp.subtract(x, y)


def _idiv(x: Value, y: Value) -> Value:
    """Floor division; of integers by 0 it is 0."""
    if jnp.issubdtype(jnp.result_type(x, y), jnp.floating):
        return jnp.floor_divide(x, y)
    return jnp.where(y == 0, 0, jnp.floor_divide(x, jnp.where(y == 0, 1, y)))


def _fmod(x: Value, y: Value) -> Value:
    if jnp.issubdtype(jnp.result_type(x, y), jnp.floating):
        return jnp.fmod(x, y)
    return jnp.where(y == 0, 0, jnp.fmod(x, jnp.where(y == 0, 1, y)))


def _pow(x: Value, y: Value) -> Value:
    kind = jnp.result_type(x, y)
    if kind.kind == "b":
        return jnp.bitwise_or(x, jnp.logical_not(y))
    return _integer_power(x, y) if kind.kind in "iu" else jnp.power(x, y)


def _integer_power(x: Value, y: Value) -> Value:
    """By squaring, modulo 2**bits; to a negative power 1 stays 1, -1 its sign, and all else is 0."""
    kind = jnp.result_type(x, y)
    x, y = jnp.asarray(x, kind), jnp.asarray(y, kind)
    result, base, n = jnp.ones_like(x), x, jnp.maximum(y, 0)
    for _ in range(x.dtype.itemsize * 8):
        result = jnp.where(n & 1 == 1, result * base, result)
        base, n = base * base, n >> 1
    if x.dtype.kind == "u":
        return result
    sign = jnp.where(y & 1 == 1, -1, 1).astype(x.dtype)
    unit = jnp.where(x == 1, 1, jnp.where(x == -1, sign, 0)).astype(x.dtype)
    return jnp.where(y < 0, unit, result)
