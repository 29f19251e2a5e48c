"""Small calls: built-ins of machine code take the place of numpy's functions once those were called often enough.

A call of numpy's costs half a microsecond before it computes anything. A built-in (:mod:`flambeau.backends.llvm.calls`)
takes less than a tenth, but a program has to run for a while until that pays for the compiler, which small programs
never load. Only functions whose results are the same to the bit change hands so: nothing that a program computes
depends on how often it was called. Others (exp, tanh, sigmoid) stay numpy's in small calls for good: a built-in from
the first call on would load the compiler for a program of one line, and a later one would change bits.
"""

from __future__ import annotations

import threading
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from flambeau.backends.base import Kernel, KernelTable
from flambeau.backends.cpu.memory import is_here
from flambeau.backends.cpu.native.arrays import active
from flambeau.core import config
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from flambeau.core.locks import fork_safe

if TYPE_CHECKING:
    from flambeau.backends.llvm.ir import Function, Value  # lazy for start-up

Array = np.ndarray[Any, Any]

#: Calls of all functions of a dtype together after which built-ins are made.
CALLS: Final = 2000
#: Elements from which a result is so large that its memory should be kept.
_LARGE: Final = 16384
_OPERANDS: Final = ("x", "y", "z")
_COMPARISONS: Final = {"lt": "x < y", "le": "x <= y", "gt": "x > y", "ge": "x >= y", "eq": "x == y", "ne": "x != y"}
_LOGICAL: Final = {
    "logical_and": "(x != 0) & (y != 0)", "logical_or": "(x != 0) | (y != 0)", "logical_xor": "(x != 0) ^ (y != 0)",
    "logical_not": "x == 0",
}  # fmt: skip
#: Functions whose results are bools.
_PREDICATES: Final = _COMPARISONS | _LOGICAL
_NUMBERS: Final = _PREDICATES | {
    "add": "x + y", "sub": "x - y", "mul": "x * y", "neg": "-x", "abs": "abs(x)", "square": "x * x",
    "maximum": "maximum(x, y)", "minimum": "minimum(x, y)", "relu": "maximum(0, x)", "where": "where(x, y, z)",
}  # fmt: skip
_BITS: Final = {"bitwise_and": "x & y", "bitwise_or": "x | y", "bitwise_xor": "x ^ y", "bitwise_not": "~x"}
_FLOATS: Final = _NUMBERS | {"div": "x / y", "sqrt": "sqrt(x)"}
#: What built-ins compute, by dtype: expressions whose every step is exact, or rounded once as IEEE 754 says.
SOURCES: Final[dict[DType, dict[str, str]]] = {
    dt.float32: _FLOATS,
    dt.float64: _FLOATS,
    dt.int32: _NUMBERS | _BITS,
    dt.int64: _NUMBERS | _BITS,
    dt.bool_: _BITS | {"eq": "x == y", "ne": "x != y", "logical_and": "x & y", "logical_or": "x | y",
                       "logical_not": "~x", "logical_xor": "x ^ y", "where": "where(x, y, z)"},
}  # fmt: skip


def bind(table: KernelTable) -> None:
    """Count the calls of the kernels that stand in the table; without machine code they stay as they are."""
    if config.get("cpu_code") != "none":
        for dtype, sources in SOURCES.items():
            _Waiting(table, dtype, sources).enter()


class _Waiting:
    """The kernels of a dtype that wait for their built-ins."""

    def __init__(self, table: KernelTable, dtype: DType, sources: dict[str, str]):
        self.table, self.dtype, self.sources = table, dtype, sources
        self.before: dict[str, Kernel] = {}
        self.counted: dict[str, Kernel] = {}
        self.tick = count(1).__next__
        self.lock = fork_safe(threading.RLock())
        self.done = False

    def enter(self) -> None:
        """Put counting kernels into the table."""
        makers = {1: self._unary, 2: self._binary, 3: self._ternary}
        for name, source in self.sources.items():
            entry = self.table.own(name, self.dtype)
            assert entry is not None, f"no kernel {name} for {self.dtype.name}"
            arity = len(_operands(source))
            self.before[name] = _by_position(entry.fn, arity)
            self.counted[name] = made = makers[arity](entry.fn)
            made.__name__ = name  # as the built-in's, for `explain`
            made.nout = 1  # type: ignore[attr-defined]  # it takes `out` by position, as numpy's do
            self.table.register(name, made, (self.dtype,))

    def _unary(self, native: Kernel) -> Kernel:
        def kernel(x: Array, out: Array | None = None) -> Any:
            if x.size >= _LARGE or self.tick() >= CALLS:
                self._look(x)
            return native(x) if out is None else native(x, out=out)

        return kernel

    def _binary(self, native: Kernel) -> Kernel:
        def kernel(x: Array, y: Array, out: Array | None = None) -> Any:
            if x.size >= _LARGE or self.tick() >= CALLS:
                self._look(x)
            return native(x, y) if out is None else native(x, y, out=out)

        return kernel

    def _ternary(self, native: Kernel) -> Kernel:
        def kernel(x: Array, y: Array, z: Array, out: Array | None = None) -> Any:
            if x.size >= _LARGE or self.tick() >= CALLS:
                self._look(x)
            return native(x, y, z) if out is None else native(x, y, z, out=out)

        return kernel

    def _look(self, x: Array) -> None:
        """A large result has its memory kept, and for small ones it is time for built-ins."""
        if x.size >= _LARGE:
            if not is_here():
                active()
        elif not self.done:
            self.change()

    def change(self) -> None:
        """Put built-ins into the table, or what was there before where there are none; once."""
        with self.lock:
            if self.done:
                return
            made = _built(self.dtype, self.sources, self.before)
            self.done = True
            for name, counted in self.counted.items():
                entry = self.table.own(name, self.dtype)
                if entry is not None and entry.fn is counted:  # else somebody's own kernel stands over it
                    self.table.register(name, made.get(name, self.before[name]), (self.dtype,))


def _operands(source: str) -> tuple[str, ...]:
    return tuple(v for v in _OPERANDS if v in source.replace("maximum", "").replace("minimum", ""))


def _by_position(native: Kernel, arity: int) -> Kernel:
    """A kernel as the fallback of a built-in: ``out`` may come by position."""
    if isinstance(native, np.ufunc):
        return native

    def kernel(*arrays: Array, out: Array | None = None) -> Any:
        if len(arrays) > arity:
            *arrays, out = arrays  # type: ignore[assignment]
        return native(*arrays) if out is None else native(*arrays, out=out)

    return kernel


def _built(dtype: DType, sources: dict[str, str], before: dict[str, Kernel]) -> dict[str, Kernel]:
    """The built-ins by name; none where none can be made, which changes nothing but the time."""
    target = active()
    if target is None:
        return {}
    from flambeau.backends.llvm import calls, cpython, printer  # what small programs do not need
    from flambeau.backends.llvm.module import Module
    from flambeau.core.expr import lower, parse

    if cpython.unsuited():
        return {}
    module, functions = Module(target), {}
    for name, source in sources.items():
        operands = _operands(source)
        inputs = (dt.bool_, dtype, dtype) if name == "where" else (dtype,) * len(operands)
        result = dt.bool_ if name in _PREDICATES else dtype
        program = lower(parse(source, operands), inputs, result, printer.native)

        def body(f: Function, *values: Value, program: Any = program) -> Value:
            return printer.print_program(f, program, values)

        made = calls.elementwise_builtin(module, name, body, inputs, result, zero_dims=True)
        functions[made] = before[name]
    return {f.symbol: built for f, built in zip(functions, calls.builtins(functions), strict=True)}
