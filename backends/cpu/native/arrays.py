"""How native kernels stand over those of numpy: what is asked before, and what is called otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache, wraps
from importlib import import_module
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from flambeau.backends.base import Declined, Kernel, KernelTable
from flambeau.backends.cpu import helpers
from flambeau.backends.cpu.memory import is_here, memory
from flambeau.core import config
from flambeau.core.cache import Cache
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


class _Kernels(dict[str, Kernel]):
    """The native kernels of a module, which is imported at their first call."""

    def __init__(self, module: str):
        self.module = module

    def __missing__(self, name: str) -> Kernel:
        found: Kernel = import_module(f"flambeau.backends.cpu.native.{self.module}").KERNELS[name]
        self[name] = found
        return found


def over(
    table: KernelTable, name: str, dtypes: Iterable[DType], module: str, least: int, counted: int = 0, planned: int = 0
) -> None:
    """Enter ``KERNELS[name](target, *arrays, **params)`` of a module of this package for ``least`` elements and more.

    ``counted`` is the number of the operand whose elements these are. ``planned`` is the number of operands that calls
    with plans have: for those ``PLANS[name](target, large, *arrays, **params)`` gives the plan
    (:mod:`~flambeau.backends.llvm.planned`) of what machine code does to the bit as the other kernel does, be it for
    fewer elements (``large`` is false) once there were enough calls, and None for the rest.

    A kernel returns None for what it does not serve; the one that stood in the table does that, and what is smaller.
    """
    for dtype in dtypes:
        before = table.own(name, dtype)
        assert before is not None, f"no kernel {name} for {dtype.name} to stand over"
        made = _entry(before.fn, module, name, least, counted)
        if planned:
            made = wraps(before.fn)(_planned(made, module, name, least, counted, planned))
        table.register(name, made, (dtype,))


def _entry(before: Kernel, module: str, name: str, least: int, counted: int) -> Kernel:
    kernels = _Kernels(module)

    @wraps(before)
    def kernel(x: Any, *rest: Any, **params: Any) -> Any:
        size = x.size if counted == 0 else rest[counted - 1].size
        target = active() if size >= least else None
        if target is not None:
            found = kernels[name](target, x, *rest, **params)
            if found is not None:
                return found
        return before(x, *rest, **params)

    return kernel


# -- plans -----------------------------------------------------------------------------------------
#: Small calls of all kernels together after which they get plans, and the plans of a kernel.
CALLS: Final = 2000
PLANS: Final = 512
_tick = count(1).__next__


def _planned(entry: Kernel, module: str, name: str, least: int, counted: int, operands: int) -> Kernel:
    """The kernel, with the plans of calls that came before by shapes, strides and params."""
    plans: Cache[tuple[Any, ...], bytes] = Cache(limit=PLANS)  # an empty one where there is none
    find = plans.get
    run: Callable[..., Any] = _not_yet

    def without(key: tuple[Any, ...], plan: bytes | None, arrays: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """A call without a plan: it may get one."""
        nonlocal run
        large = arrays[counted].size >= least
        if plan is None and (large or _tick() >= CALLS) and (target := active()) is not None:
            run, plan = _plan(module, name, target, large, arrays, params)
            plans.remember(key, plan)
            if plan and (found := run(plan, *arrays)) is not None:
                return found
        return entry(*arrays, **params)

    def one(x: Any, **params: Any) -> Any:
        plan = find(key := (x.shape, x.strides, *params, *params.values()))
        if plan and (found := run(plan, x)) is not None:
            return found
        return without(key, plan, (x,), params)

    def two(x: Any, y: Any, **params: Any) -> Any:
        plan = find(key := (x.shape, x.strides, y.shape, y.strides, *params, *params.values()))
        if plan and (found := run(plan, x, y)) is not None:
            return found
        return without(key, plan, (x, y), params)

    def two_or_more(x: Any, y: Any, *more: Any, **params: Any) -> Any:
        return entry(x, y, *more, **params) if more else two(x, y, **params)

    def three(x: Any, y: Any, z: Any, *more: Any, **params: Any) -> Any:
        if more:
            return entry(x, y, z, *more, **params)
        plan = find(key := (x.shape, x.strides, y.shape, y.strides, z.shape, z.strides, *params, *params.values()))
        if plan and (found := run(plan, x, y, z)) is not None:
            return found
        return without(key, plan, (x, y, z), params)

    kernels: dict[int, Kernel] = {1: one, 2: two_or_more if name == "index_get" else two, 3: three}
    return kernels[operands]


def _not_yet(plan: bytes, *arrays: Any) -> None:
    """What runs plans while there are none."""


def _plan(
    module: str, name: str, target: Target, large: bool, arrays: tuple[Any, ...], params: dict[str, Any]
) -> tuple[Callable[..., Any], bytes]:
    """What runs plans, and that of a call; an empty one where it has none."""
    from flambeau.backends.llvm import planned  # what small programs do not need

    run = planned.runner()
    if run is None:
        return _not_yet, b""
    make = import_module(f"flambeau.backends.cpu.native.{module}").PLANS[name]
    return run, make(target, large, *arrays, **params) or b""


def alone(table: KernelTable, names: Iterable[str], dtypes: Iterable[DType], module: str, least: int) -> None:
    """Enter ``KERNELS[name](target, *arrays, **params)`` for ops that numpy has no kernels of.

    Whoever calls such an op asks the kernel's ``worth(x)`` before, and composes what it is not worth for; what is
    called all the same and not served goes to the op's body.
    """
    dtypes = tuple(dtypes)
    for name in names:
        table.register(name, _native_only(module, name, least), dtypes)


def _native_only(module: str, name: str, least: int) -> Kernel:
    kernels = _Kernels(module)

    def kernel(x: Any, *rest: Any, **params: Any) -> Any:
        target = active()
        if target is not None:
            found = kernels[name](target, x, *rest, **params)
            if found is not None:
                return found
        raise Declined(name)

    def worth(x: Any) -> bool:
        return x.size >= least and active() is not None

    kernel.worth = worth  # type: ignore[attr-defined]
    return kernel
