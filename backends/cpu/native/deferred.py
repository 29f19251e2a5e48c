"""Native kernels that are imported by their first call: small work needs none of what makes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from flambeau.backends.base import Kernel
from flambeau.backends.cpu.native.arrays import active
from flambeau.core.dtype import DType

if TYPE_CHECKING:
    from flambeau.backends.cpu.native.elementwise import Elementwise
    from flambeau.core.expr import Expr

#: Elements from which a cast in machine code is worth the call.
CAST: Final = 16384


def of_expression(
    name: str, make: Callable[[], Expr], dtypes: tuple[DType, ...], result: DType, fallback: Kernel
) -> Kernel:
    """The kernel of an expression, for large operands; what it does not serve goes to ``fallback``."""
    made: Any = None
    built: tuple[Any, Kernel] = None, fallback

    def kernel(*ins: Any, out: Any = None) -> Any:
        nonlocal made, built
        target = active()
        if target is None:
            return fallback(*ins, out=out)
        if made is None:
            made = _made(make, dtypes, result, fallback)
        if out is not None:
            return made(*ins, out=out)  # which may lie past the caches
        known, builtin = built
        if known is not target:
            built = target, (builtin := made.builtin(name))
        return builtin(*ins)

    return kernel


def of_expression_at_once(
    name: str, make: Callable[[], Expr], dtypes: tuple[DType, ...], result: DType, fallback: Kernel
) -> Kernel:
    """The same for operands of every size: a built-in that the first call makes, for the target that there is then."""
    made: Kernel | None = None

    def kernel(*ins: Any, out: Any = None) -> Any:
        nonlocal made
        if made is None:
            if active() is None:
                return fallback(*ins, out=out)
            made = _made(make, dtypes, result, fallback).builtin(name)
        return made(*ins) if out is None else made(*ins, out)

    kernel.nout = 1  # type: ignore[attr-defined]  # it takes `out` by position, as numpy's do
    return kernel


def _made(make: Callable[[], Expr], dtypes: tuple[DType, ...], result: DType, fallback: Kernel) -> Elementwise:
    from flambeau.backends.cpu.native import elementwise  # lazy: small work needs none of it

    return elementwise.of_expression(make, dtypes, result, fallback)


def copy(dst: Any, src: Any) -> bool:
    """Write ``src`` to ``dst``, both large; False, and nothing done, for what is not served."""
    if active() is None:
        return False
    from flambeau.backends.cpu.native import elementwise  # lazy: small work needs none of it

    return elementwise.copy(dst, src)
