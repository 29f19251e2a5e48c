"""Elementwise kernels of CUDA: the C dialect's texts, compiled by NVRTC and launched through CuPy."""

from __future__ import annotations

import struct
from math import prod
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from flambeau.backends import layout as lay
from flambeau.backends.dialect import elementwise as texts
from flambeau.backends.dialect.functions import program_for
from flambeau.backends.dialect.prelude import Target
from flambeau.backends.dialect.printer import print_program
from flambeau.backends.dialect.walk import walked
from flambeau.core.dtype import DType
from flambeau.core.expr import Expr

if TYPE_CHECKING:
    from flambeau.backends.cuda.backend import CudaBackend

TARGET: Final = Target("cuda", cpu=False, fp64=True, int64_atomics=True)
#: Results do not depend on how a compiler contracts products and sums.
OPTIONS: Final = ("--fmad=false", "--std=c++14")
GROUP: Final = 256
_MOST_GROUPS: Final = 1 << 16

Strides = tuple[tuple[int, ...], ...]


def source(kind: str, expr: Expr, dtypes: tuple[DType, ...], out: DType, pattern: str) -> str:
    """The text of the ``flat`` or ``rows`` kernel of an expression."""
    program = program_for(expr, dtypes, out, TARGET)
    return (texts.flat_source if kind == "flat" else texts.rows_source)(program, TARGET, pattern)


def plan(shape: tuple[int, ...], strides: Strides) -> tuple[str, str, bytes, int] | None:
    """(kernel, pattern, its parameters, elements) to walk arrays of one shape, the output's strides last.

    None when there are more axes than a kernel walks.
    """
    offsets = [0] * len(strides)
    shape, strides = walked(shape, strides)
    if not shape or (len(shape) == 1 and strides[-1] == (1,) and all(s in ((0,), (1,)) for s in strides)):
        n = prod(shape)
        pattern = "".join("v" if s == (1,) else "s" for s in strides[:-1])
        return "flat", pattern, struct.pack(f"{2 + len(offsets)}q", n, 1, *offsets), n
    if len(shape) > texts.MAX_AXES + 1:
        return None
    fill = [0] * (texts.MAX_AXES - len(shape) + 1)
    numbers = [len(shape) - 1, *shape[:-1], *fill]
    for s in strides:
        numbers += [*s[:-1], *fill]
    numbers += [s[-1] for s in strides] + offsets
    rows, columns = prod(shape[:-1]), shape[-1]
    pattern = "".join(str(s[-1]) if s[-1] in (0, 1) else "n" for s in strides)
    return "rows", pattern, struct.pack(f"{4 + len(numbers)}q", rows, 1, columns, columns, *numbers), rows * columns


class Generated:
    """One expression for given dtypes: ``fn(*ins, out=None)`` on CuPy's arrays."""

    def __init__(self, backend: CudaBackend, name: str, expr: Expr, dtypes: tuple[DType, ...], out: DType):
        self.__name__ = name
        self.backend, self.expr, self.dtypes, self.out = backend, expr, dtypes, out
        program = program_for(expr, dtypes, out, TARGET)
        print_program(program, TARGET, tuple(f"x{i}" for i in range(len(dtypes))))  # it can be said in C
        self._kernels: dict[tuple[int, str, str], Any] = {}

    def __call__(self, *ins: Any, out: Any = None) -> Any:
        from flambeau.backends.cuda.backend import overlaps

        xp = self.backend.xp
        shape = lay.broadcast_shapes(*[x.shape for x in ins])
        if out is not None and (out.dtype != self.out.numpy or any(overlaps(out, x) for x in ins)):
            self.backend.copy_into(out, self(*ins))
            return out
        result = xp.empty(shape, self.out.numpy) if out is None else out
        if result.size:
            self._run(xp, result, [xp.broadcast_to(x, shape) for x in ins])
        return result

    def _run(self, xp: Any, out: Any, ins: list[Any]) -> None:
        arrays = [*ins, out]
        strides = tuple(tuple(s // a.dtype.itemsize for s in a.strides) for a in arrays)
        found = plan(out.shape, strides)
        if found is None:
            for i in range(out.shape[0]):
                self._run(xp, out[i], [x[i] for x in ins])
            return
        kind, pattern, parameters, n = found
        groups = min(-(-n // GROUP), _MOST_GROUPS)
        self._kernel(xp, kind, pattern)((groups,), (GROUP,), (*arrays, np.frombuffer(parameters, np.uint8)))

    def _kernel(self, xp: Any, kind: str, pattern: str) -> Any:
        key = (int(xp.cuda.runtime.getDevice()), kind, pattern)
        found = self._kernels.get(key)
        if found is None:
            text = source(kind, self.expr, self.dtypes, self.out, pattern)
            module = xp.RawModule(code=text, options=OPTIONS, backend="nvrtc")
            found = self._kernels[key] = module.get_function(kind)
        return found
