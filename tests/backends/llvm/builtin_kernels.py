"""Built-ins that the tests call, of every kind that there is, each beside the function that it stands in for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from flambeau.backends.llvm.calls import Builtin, builtins, elementwise_builtin
from flambeau.backends.llvm.ir import Function, Value
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import F64
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType


def choice(condition: Any, x: Any, y: Any, out: Any = None) -> Any:
    """numpy.where with ``out``."""
    found = np.where(condition, x, y)
    if out is None:
        return found
    out[...] = found
    return out


@dataclass(frozen=True)
class Kernel:
    """What ``body`` computes is what ``fallback`` does."""

    name: str
    inputs: tuple[DType, ...]
    out: DType
    body: Callable[..., Value]
    fallback: Callable[..., Any]
    chunk: int = 1 << 15


def _to_double(f: Function, n: Value, x: Value) -> Value:
    return n.convert("sitofp", F64) + x.convert("fpext", F64)


_F32, _F64, _I32, _BOOL = dt.float32, dt.float64, dt.int32, dt.bool_
KERNELS = (
    Kernel("add", (_F32, _F32), _F32, lambda f, x, y: x + y, np.add),
    Kernel("mul", (_F32, _F32), _F32, lambda f, x, y: x * y, np.multiply, chunk=5),
    Kernel("div", (_F64, _F64), _F64, lambda f, x, y: x / y, np.divide),
    Kernel("lt", (_F64, _F64), _BOOL, lambda f, x, y: x < y, np.less, chunk=16),
    Kernel("neg", (dt.int64,), dt.int64, lambda f, x: -x, np.negative),
    Kernel("sub", (_I32, _I32), _I32, lambda f, x, y: x - y, np.subtract, chunk=7),
    Kernel("xor", (dt.uint8, dt.uint8), dt.uint8, lambda f, x, y: x ^ y, np.bitwise_xor, chunk=3),
    Kernel("mixed", (_I32, _F32), _F64, _to_double, np.add),
    Kernel("choice", (_BOOL, _F32, _F32), _F32, lambda f, c, x, y: f.select(c, x, y), choice),
    Kernel("both", (_BOOL, _BOOL), _BOOL, lambda f, x, y: x & y, np.logical_and, chunk=9),
    Kernel("brain", (dt.bfloat16, dt.bfloat16), dt.bfloat16, lambda f, x, y: x * y, np.multiply),
    Kernel("half", (dt.float16, dt.float16), dt.float16, lambda f, x, y: x + y, np.add),
)  # fmt: skip


def kernels(target: Target) -> list[Kernel]:
    """Those that a target can have."""
    return [k for k in KERNELS if target.half or dt.float16 not in k.inputs]


def written(module: Module, kernel: Kernel, **options: Any) -> Builtin:
    """A kernel's built-in in a module."""
    return elementwise_builtin(
        module, kernel.name, kernel.body, kernel.inputs, kernel.out, chunk=kernel.chunk, **options
    )


@cache
def made(target: Target) -> dict[str, Callable[..., Any]]:
    """The built-ins of a target, by name."""
    module = Module(target)
    functions = {written(module, k): k.fallback for k in kernels(target)}
    return {f.symbol: built for f, built in zip(functions, builtins(functions), strict=True)}


class NotServed(Exception):
    """Raised by a fallback that stands for all."""


def refuse(*args: Any, **kwargs: Any) -> Any:
    """The fallback that tells what a built-in does not serve."""
    raise NotServed


@cache
def refusing(target: Target) -> dict[str, Callable[..., Any]]:
    """The built-ins of a target whose fallback is :func:`refuse`."""
    module = Module(target)
    made_here = builtins({written(module, k): refuse for k in kernels(target)})
    return {f.__name__: f for f in made_here}


def numbers(dtype: DType, count: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Numbers of a dtype, with what is special in it."""
    rng = np.random.default_rng([seed, count])
    if dtype is _BOOL:
        return rng.random(count) < 0.5
    if dtype.category == dt.INTEGER:
        info = np.iinfo(dtype.numpy)
        return rng.integers(info.min, info.max, count, dtype.numpy, endpoint=True)
    found = rng.standard_normal(count) * 10.0 ** rng.integers(-3, 4, count)
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-41, 65504.0, 3e38])
    at = rng.random(count) < 0.3
    found[at] = rng.choice(special, at.sum())
    with np.errstate(all="ignore"):
        return found.astype(dtype.numpy)


def same(found: Any, wanted: Any) -> bool:
    """Whether two arrays are equal in class, dtype, shape and bits, those of a nan apart."""
    if type(found) is not type(wanted) or found.dtype != wanted.dtype or found.shape != wanted.shape:
        return False
    if found.dtype.kind in "fcV":
        unknown = np.not_equal(found, found), np.not_equal(wanted, wanted)
        if not np.array_equal(*unknown):
            return False
        found, wanted = (np.where(unknown[0], v.dtype.type(0), v) for v in (found, wanted))
    return bool(found.tobytes() == wanted.tobytes())
