"""A flambeau backend to copy from: flat memory that is a memoryview, and the 33 kernels as plain Python loops."""

import ctypes.util
import math
import operator
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from flambeau.backends.adapter import StridedTable
from flambeau.backends.strided import StridedArray, StridedBackend
from flambeau.core import dtype as dt
from flambeau.core.random import random_words

INTS, LOGICAL, FLOATS = dt.INTS, (*dt.BOOLS, *dt.INTS), (dt.float32, dt.float64)
CODES: dict[dt.DType, Any] = dict(
    zip((*LOGICAL, *FLOATS), "?BbHhIiQqfd", strict=True)
)  # memoryview's name for each dtype


class PylistBackend(StridedBackend):
    device_type, api_version = "pylist", 1
    capabilities = frozenset({"has_fp64"})

    def __init__(self) -> None:
        super().__init__()
        self.kernels = table = StridedTable("flambeau-pylist", self)
        for name, scalar, dtypes in SCALAR:
            table.add(name, kernel(partial(map, scalar), items), dtypes)
        for name, fn in ALONG.items():
            table.add(name, kernel(fn, rows), rows=True)
        table.add("scatter", scatter, rows=True)
        table.add("arange", lambda out, start, step: fill(out, (start + i * step for i in range(out.size))))
        table.add("random_bits", lambda out, seed, offset: fill(out, random_words(seed, offset, out.size)))

    def supports(self, dtype: dt.DType, index: int = 0) -> bool:
        return dtype in CODES

    def allocate(self, nbytes: int, index: int) -> memoryview:
        return memoryview(bytearray(-(-nbytes // 8) * 8))

    def read(self, memory: memoryview, start: int, nbytes: int) -> bytes:
        return memory[start : start + nbytes].tobytes()

    def write(self, memory: memoryview, start: int, data: memoryview) -> None:
        memory[start : start + len(data)] = data


def flambeau_backends() -> PylistBackend:  # the hook: called when somebody first asks for the device
    return PylistBackend()


def items(x: StridedArray) -> Any:
    """The elements of a contiguous array, in the device's memory."""
    return x.buffer.memory.cast(CODES[x.dtype])[x.offset : x.offset + x.size]


def rows(x: StridedArray) -> Any:
    """A contiguous array of two or three axes as nested lists."""
    return items(x).cast("B").cast(CODES[x.dtype], x.shape).tolist() if x.size else [[] for _ in range(x.shape[0])]


def fill(out: StridedArray, values: Iterable[Any]) -> None:
    """Write the elements of an array, integers modulo 2**bits."""
    flat, span, low = items(out), 1 << out.dtype.bits, -(1 << (out.dtype.bits - 1)) if out.dtype.is_signed else 0
    for i, v in enumerate(values):
        flat[i] = (v - low) % span + low if out.dtype in INTS else v


def kernel(fn: Callable[..., Any], form: Callable[[StridedArray], Any]) -> Callable[..., None]:
    """A kernel from a function that gives the elements of the result, its operands turned into ``form``."""
    return lambda out, *ins, **params: fill(out, fn(*map(form, ins), **params))


def libm(name: str) -> Any:
    """C's functions, which give nan and inf where Python's raise."""
    function = getattr(ctypes.CDLL(ctypes.util.find_library("m") or "msvcrt"), name)
    function.restype, function.argtypes = ctypes.c_double, [ctypes.c_double] * (2 if name in ("fmod", "pow") else 1)
    return function


def order(row: list[Any]) -> Callable[[int], tuple[bool, Any]]:
    return lambda i: (row[i] != row[i], 0 if row[i] != row[i] else row[i])  # nan counts as the largest


SCALAR: tuple[tuple[str, Callable[..., Any], Iterable[dt.DType]], ...] = (
    *((name, libm(name), FLOATS) for name in ("exp", "log", "sqrt", "sin", "cos", "floor", "fmod", "pow")),
    *((name, getattr(operator, name), CODES) for name in ("neg", "abs", "add", "sub", "mul", "lt", "eq")),
    *((f"bitwise_{name}", getattr(operator, f"__{name}__"), LOGICAL) for name in ("and", "or", "xor")),
    ("maximum", lambda x, y: x if x >= y or x != x else y, CODES),
    ("where", lambda condition, x, y: x if condition else y, CODES),
    ("div", lambda x, y: x / y if y else x * math.copysign(math.inf, y), FLOATS),
    ("idiv", lambda x, y: x // y if y else x * math.copysign(math.inf, y), FLOATS),
    ("idiv", lambda x, y: x // y if y else 0, INTS),
    ("floor", lambda x: x, INTS),
    ("fmod", lambda x, y: abs(x) % abs(y) * (1 if x > 0 else -1) if y else 0, INTS),
    ("pow", lambda x, y: pow(x, y, 1 << 64) if y >= 0 else int(x**y) if x else 0, LOGICAL),
    ("shl", lambda x, y: x << y if 0 <= y < 64 else 0, INTS),
    ("shr", lambda x, y: x >> y if 0 <= y < 64 else -(x < 0), INTS),
)

ALONG: dict[str, Callable[..., Iterable[Any]]] = {  # over rows: the adapter has turned the axis to the last place
    "sum": lambda x: map(sum, x),
    "max": lambda x: (row[max(range(len(row)), key=order(row))] for row in x),
    "argmax": lambda x: (max(range(len(row)), key=order(row)) for row in x),
    "argsort": lambda x, descending: (i for r in x for i in sorted(range(len(r)), key=order(r), reverse=descending)),
    "gather": lambda x, index: (row[at(i, row)] for row, places in zip(x, index, strict=True) for i in places),
    "matmul": lambda x, y: (
        sum(map(operator.mul, row, column))
        for a, b in zip(x, y, strict=True)
        for row in a
        for column in zip(*b, strict=True)
    ),
}


def at(index: int, row: list[Any]) -> int:
    if 0 <= index < len(row):
        return index
    raise IndexError(f"index {index} is out of bounds")  # the adapter adds the op and the axis


def scatter(out: StridedArray, index: StridedArray, src: StridedArray, reduce: str) -> None:
    result = rows(out)  # the values of the array that is scattered into
    for row, places, values in zip(result, rows(index), rows(src), strict=True):
        for i, v in zip((at(i, row) for i in places), values, strict=True):
            row[i] = v + (row[i] if reduce == "add" else 0)
    fill(out, (v for row in result for v in row))
