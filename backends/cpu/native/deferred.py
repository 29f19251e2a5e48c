"""Native kernels that are imported by their first call: small work needs none of what makes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from flambeau.backends.base import Kernel
from flambeau.backends.cpu.native.arrays import active
from flambeau.core.dtype import DType

if TYPE_CHECKING:
    from flambeau.core.expr import Expr

#: Elements from which a cast in machine code is worth the call.
CAST: Final = 16384


def of_expression(make: Callable[[], Expr], dtypes: tuple[DType, ...], result: DType, fallback: Kernel) -> Kernel:
    """The kernel of an expression, for large operands; what it does not serve goes to ``fallback``."""
    made: Kernel | None = None

    def kernel(*ins: Any, out: Any = None) -> Any:
        nonlocal made
        if active() is None:
            return fallback(*ins, out=out)
        if made is None:
            from flambeau.backends.cpu.native import elementwise  # lazy: small work needs none of it

            made = elementwise.of_expression(make, dtypes, result, fallback)
        return made(*ins, out=out)

    return kernel


def of_expression_at_once(
    name: str, make: Callable[[], Expr], dtypes: tuple[DType, ...], result: DType, fallback: Kernel
) -> Kernel:
    """The same for operands of every size, as a built-in that its first call makes."""
    made: Kernel | None = None

    def kernel(*ins: Any, out: Any = None) -> Any:
        nonlocal made
        if made is None:
            if active() is None:
                return fallback(*ins, out=out)
            from flambeau.backends.cpu.native import elementwise  # lazy: small work needs none of it

            made = elementwise.of_expression(make, dtypes, result, fallback).builtin(name)
        return made(*ins) if out is None else made(*ins, out)

    kernel.nout = 1  # type: ignore[attr-defined]  # it takes `out` by position, as numpy's do
    return kernel


def copy(dst: Any, src: Any) -> bool:
    """Write ``src`` to ``dst``, both large; False, and nothing done, for what is not served."""
    if active() is None:
        return False
    from flambeau.backends.cpu.native import elementwise  # lazy: small work needs none of it

    return elementwise.copy(dst, src)
