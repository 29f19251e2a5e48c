"""How native kernels stand over those of numpy: what is asked before, and what is called otherwise."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, wraps
from importlib import import_module
from typing import Any

from flambeau.backends.base import Kernel, KernelTable
from flambeau.backends.llvm.target import Target
from flambeau.core.dtype import DType


@cache
def active() -> Target | None:
    """The target that code is made for here; None where numpy computes everything."""
    from flambeau.backends.llvm import compiler, target  # what small work does not need

    return target.chosen() if compiler.unavailable() is None else None


def over(table: KernelTable, name: str, dtypes: Iterable[DType], module: str, function: str, least: int) -> None:
    """Enter ``function(target, *arrays, **params)`` of a module of this package for operands of ``least`` elements.

    It returns None for what it does not serve; the kernel that stood in the table does that, and whatever is smaller.
    """
    for dtype in dtypes:
        before = table.own(name, dtype)
        assert before is not None, f"no kernel {name} for {dtype.name} to stand over"
        table.register(name, _entry(before.fn, module, function, least), (dtype,))


def _entry(before: Kernel, module: str, function: str, least: int) -> Kernel:
    @wraps(before)
    def kernel(x: Any, *rest: Any, **params: Any) -> Any:
        if x.size >= least and active() is not None:
            native = getattr(import_module(f"flambeau.backends.cpu.native.{module}"), function)
            found = native(active(), x, *rest, **params)
            if found is not None:
                return found
        return before(x, *rest, **params)

    return kernel
