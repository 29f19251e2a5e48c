"""How native kernels stand over those of numpy: what is asked before, and what is called otherwise."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, wraps
from importlib import import_module
from typing import TYPE_CHECKING, Any

from flambeau.backends.base import Declined, Kernel, KernelTable
from flambeau.backends.cpu import helpers
from flambeau.backends.cpu.memory import is_here, memory
from flambeau.core import config
from flambeau.core.dtype import DType

if TYPE_CHECKING:
    from flambeau.backends.llvm.target import Target  # lazy for start-up


def active() -> Target | None:
    """The target that the setting ``cpu_code`` asks code for; None where numpy computes everything."""
    name: str = config.get("cpu_code")
    target = None if name == "none" else _target(name)
    if target is not None and not is_here():
        memory.start(target)
    return target


helpers.started_by(active)


@cache
def _target(name: str) -> Target | None:
    from flambeau.backends.llvm import compiler, target  # what small work does not need

    if compiler.unavailable() is not None:
        return None
    found = target.named(name)
    helpers.make(found)
    return found


def over(table: KernelTable, name: str, dtypes: Iterable[DType], module: str, least: int, counted: int = 0) -> None:
    """Enter ``KERNELS[name](target, *arrays, **params)`` of a module of this package for ``least`` elements and more.

    ``counted`` is the number of the operand whose elements these are.

    It returns None for what it does not serve; the kernel that stood in the table does that, and whatever is smaller.
    """
    for dtype in dtypes:
        before = table.own(name, dtype)
        assert before is not None, f"no kernel {name} for {dtype.name} to stand over"
        table.register(name, _entry(before.fn, module, name, least, counted), (dtype,))


def _entry(before: Kernel, module: str, name: str, least: int, counted: int) -> Kernel:
    @wraps(before)
    def kernel(x: Any, *rest: Any, **params: Any) -> Any:
        size = x.size if counted == 0 else rest[counted - 1].size
        target = active() if size >= least else None
        if target is not None:
            native = import_module(f"flambeau.backends.cpu.native.{module}").KERNELS
            found = native[name](target, x, *rest, **params)
            if found is not None:
                return found
        return before(x, *rest, **params)

    return kernel


def alone(table: KernelTable, names: Iterable[str], dtypes: Iterable[DType], module: str, least: int) -> None:
    """Enter ``KERNELS[name](target, *arrays, **params)`` for ops that numpy has no kernels of.

    Whoever calls such an op asks the kernel's ``worth(x)`` before, and composes what it is not worth for; what is
    called all the same and not served goes to the op's body.
    """
    dtypes = tuple(dtypes)
    for name in names:
        table.register(name, _native_only(module, name, least), dtypes)


def _native_only(module: str, name: str, least: int) -> Kernel:
    def kernel(x: Any, *rest: Any, **params: Any) -> Any:
        target = active()
        if target is not None:
            native = import_module(f"flambeau.backends.cpu.native.{module}").KERNELS
            found = native[name](target, x, *rest, **params)
            if found is not None:
                return found
        raise Declined(name)

    def worth(x: Any) -> bool:
        return x.size >= least and active() is not None

    kernel.worth = worth  # type: ignore[attr-defined]
    return kernel
