"""Kernels of composites whose results are expressions: the parts of floats, derivatives of digamma."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np

from flambeau.backends.base import Declined, Kernel, KernelTable
from flambeau.backends.cpu.native.deferred import of_expression
from flambeau.backends.xp import Array
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType

if TYPE_CHECKING:
    from flambeau.core.expr import Expr  # lazy for start-up

_DTYPES: Final = (dt.float32, dt.float64)
#: Elements from which machine code is quicker than numpy.
_PARTS: Final = 512
#: Orders up to which a derivative of digamma has code of its own.
_ORDERS: Final = 10
_BITS: Final = "let normal = abs(x) >= tiny; let b = bitcast_int(where(normal, x, x * 2**(mantissa + 1))); "
_MANTISSA: Final = (
    f"{_BITS}where(x != 0 and abs(x) < inf, bitcast_float((b & ~bitcast_int(inf)) | bitcast_int(0.5)), x)"
)
_EXPONENT: Final = (
    f"{_BITS}let k = ((b & bitcast_int(inf)) >> mantissa) - (bias - 1); "
    "where(x != 0 and abs(x) < inf, where(normal, k, k - (mantissa + 1)), 0)"
)


def bind(table: KernelTable) -> None:
    for dtype in _DTYPES:
        table.register("frexp", _frexp(dtype), (dtype,))
        table.register("polygamma", _polygamma(dtype), (dtype,))


def _frexp(dtype: DType) -> Kernel:
    """Numpy's function, but for large operands, of which mantissas and exponents are two expressions."""

    def parts(x: Array) -> tuple[Array, Array]:
        mantissa, exponent = np.empty_like(x, subok=False), np.empty_like(x, np.int32, subok=False)
        np.frexp(x, mantissa, exponent)
        return mantissa, exponent

    mantissas = _large("mantissa", _MANTISSA, dtype, dtype, lambda x, out=None: parts(x)[0])
    exponents = _large("exponent", _EXPONENT, dtype, dt.int32, lambda x, out=None: parts(x)[1])

    def frexp(x: Array) -> tuple[Array, Array]:
        return parts(x) if x.size < _PARTS else (mantissas(x), exponents(x))

    return frexp


def _large(name: str, source: str, dtype: DType, result: DType, usual: Kernel) -> Kernel:
    def expression() -> Expr:
        from flambeau.core.expr import parse  # at the first large operands

        return parse(source, ("x",))

    return of_expression(name, expression, (dtype,), result, usual)


def _polygamma(dtype: DType) -> Kernel:
    @cache
    def of_order(n: int) -> Kernel:
        from flambeau.backends.cpu import generated  # expressions are compiled at first need
        from flambeau.core import special  # parsed at first need
        from flambeau.core.expr import parse  # likewise

        return generated.kernel(f"polygamma{n}", parse(special.polygamma(n), ("x",)), (dtype,), dtype)

    def polygamma(x: Array, *, n: int) -> Array:
        if n > _ORDERS:
            raise Declined("polygamma")
        found: Array = of_order(n)(x)
        return found

    return polygamma
