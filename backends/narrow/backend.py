"""The pretend accelerator of few dtypes: words of 32 bits behind a wall, and the minimum of kernels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import numpy as np

from flambeau.backends.adapter import StridedTable
from flambeau.backends.base import DeviceProperties, HostArray
from flambeau.backends.strided import StridedArray, StridedBackend
from flambeau.backends.xp.random import random_bits
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType

FLOATS, INTS = (dt.float32,), (dt.int32, dt.uint32)
DTYPES = (*FLOATS, *INTS)


class Memory:
    """Bytes on the far side: no buffer protocol, no length, nothing to index."""

    __slots__ = ("_bytes",)

    def __init__(self, nbytes: int):
        self._bytes = np.full(-(-nbytes // 4) * 4, 0xFF, np.uint8)  # rubbish: nan, -1


class NarrowBackend(StridedBackend):
    """See :mod:`flambeau.backends.narrow`."""

    device_type: ClassVar[str] = "narrow"
    capabilities = frozenset({"distinct_memory", "pretend"})
    index_dtype = dt.int32

    def __init__(self) -> None:
        super().__init__()
        self.kernels = table = StridedTable("narrow", self)
        _add_elementwise(table)
        _add_along_axes(table)
        table.add("arange", _arange, DTYPES)
        table.add("random_bits", _random_bits, (dt.uint32,))

    def properties(self, index: int = 0) -> DeviceProperties:
        return DeviceProperties("pretend accelerator", 0, {"dtypes": [d.name for d in DTYPES]})

    def supports(self, dtype: DType, index: int = 0) -> bool:
        return dtype in DTYPES

    # -- storage -----------------------------------------------------------------------------------
    def empty(self, shape: tuple[int, ...], dtype: DType, index: int = 0) -> StridedArray:
        _check(dtype)
        return super().empty(shape, dtype, index)

    def from_host(self, host: HostArray, dtype: DType, index: int = 0) -> StridedArray:
        if not isinstance(host, np.ndarray) or host.dtype != dtype.numpy:
            raise TypeError(f"narrow: from_host takes a numpy array of {dtype.name}, got {type(host).__name__}")
        return super().from_host(host, dtype, index)

    def as_strided(
        self, array: StridedArray, shape: tuple[int, ...], strides: tuple[int, ...], offset: int,
        dtype: DType | None = None,
    ) -> StridedArray:  # fmt: skip
        _check(dtype or array.dtype)
        return super().as_strided(array, shape, strides, offset, dtype)

    def allocate(self, nbytes: int, index: int) -> Memory:
        return Memory(nbytes)

    def read(self, memory: Memory, start: int, nbytes: int) -> bytes:
        return memory._bytes[start : start + nbytes].tobytes()

    def write(self, memory: Memory, start: int, data: memoryview) -> None:
        memory._bytes[start : start + len(data)] = np.frombuffer(data, np.uint8)

    def copy(self, dst: StridedArray, src: StridedArray) -> None:
        with np.errstate(all="ignore"):
            _inside(dst)[...] = _inside(src)


def _check(dtype: DType) -> None:
    if dtype not in DTYPES:
        raise TypeError(f"narrow: arrays of {dtype} do not exist on this device")


def _inside(x: StridedArray) -> HostArray:
    """An array as the kernels on the far side see it; nobody else may."""
    if x.__class__ is not StridedArray or x.buffer.memory.__class__ is not Memory:
        raise TypeError(f"narrow: a kernel got an operand of another backend: {type(x).__name__}")
    _check(x.dtype)
    flat = x.buffer.memory._bytes.view(x.dtype.numpy)
    return np.lib.stride_tricks.as_strided(flat[x.offset :], x.shape, [4 * s for s in x.strides], writeable=True)


# -- kernels -----------------------------------------------------------------------------------------
def _launch(function: Callable[..., Any], out: StridedArray, *ins: StridedArray, **params: Any) -> None:
    """Write what a function of numpy arrays gives to ``out``."""
    with np.errstate(all="ignore"):
        _inside(out)[...] = function(*map(_inside, ins), **params)


def _add_elementwise(table: StridedTable) -> None:
    def add(names: str, dtypes: tuple[DType, ...], function: Callable[..., Any] | None = None) -> None:
        for name in names.split():
            table.add(name, partial(_launch, function or getattr(np, name)), dtypes)

    add("exp log sqrt sin cos floor", FLOATS)
    add("floor", INTS, np.positive)
    add("neg", DTYPES, np.negative)
    add("abs maximum add fmod", DTYPES)
    add("sub", DTYPES, np.subtract)
    add("mul", DTYPES, np.multiply)
    add("div", FLOATS, np.divide)
    add("idiv", DTYPES, np.floor_divide)
    add("pow", FLOATS, np.power)
    add("pow", INTS, _integer_power)
    add("lt", DTYPES, np.less)
    add("eq", DTYPES, np.equal)
    add("bitwise_and bitwise_or bitwise_xor", INTS)
    add("shl", INTS, partial(_shift, np.left_shift))
    add("shr", INTS, partial(_shift, np.right_shift))
    add("where", DTYPES, lambda condition, x, y: np.where(condition != 0, x, y))


def _integer_power(x: HostArray, y: HostArray) -> HostArray:
    size = np.absolute(x)
    inverse = np.where((x == 1) | ((size == 1) & (y & 1 == 0)), 1, np.where(size == 1, x, 0))
    return np.where(y < 0, inverse, np.power(x, np.where(y < 0, 0, y)))


def _shift(function: Callable[..., Any], x: HostArray, y: HostArray) -> HostArray:
    beyond = np.where(x < 0, -1, 0) if function is np.right_shift else 0
    return np.where((y < 0) | (y >= 32), beyond, function(x, y & 31))


def _add_along_axes(table: StridedTable) -> None:
    table.add("sum", lambda out, x: _launch(partial(np.sum, axis=1, dtype=out.dtype.numpy), out, x), DTYPES, rows=True)
    table.add("max", partial(_launch, partial(np.max, axis=1)), DTYPES, rows=True)
    table.add("argmax", partial(_launch, partial(np.argmax, axis=1)), DTYPES, rows=True)
    table.add("argsort", partial(_launch, _argsort), DTYPES, rows=True)
    table.add("gather", _gather, DTYPES, rows=True)
    table.add("scatter", _scatter, DTYPES, rows=True)
    table.add("matmul", partial(_launch, np.matmul), DTYPES, rows=True)


def _argsort(x: HostArray, descending: bool) -> HostArray:
    if not descending:
        return np.argsort(x, axis=1, kind="stable")
    backwards = np.argsort(x[:, ::-1], axis=1, kind="stable")
    found: HostArray = (x.shape[1] - 1 - backwards)[:, ::-1]
    return found


def _inner(index: StridedArray, size: int) -> HostArray:
    """Indices, none of them out of range."""
    if index.dtype is not dt.int32:
        raise TypeError(f"narrow: indices are int32, got {index.dtype.name}")
    places = _inside(index)
    bad = places[(places < 0) | (places >= size)]
    if bad.size:
        raise IndexError(f"index {bad[0]} is out of bounds")
    return places


def _gather(out: StridedArray, x: StridedArray, index: StridedArray) -> None:
    _inside(out)[...] = np.take_along_axis(_inside(x), _inner(index, x.shape[1]), axis=1)


def _scatter(out: StridedArray, index: StridedArray, src: StridedArray, reduce: str) -> None:
    rows, places = np.arange(index.shape[0])[:, None], _inner(index, out.shape[1])
    if reduce == "add":
        np.add.at(_inside(out), (rows, places), _inside(src))
    else:
        _inside(out)[rows, places] = _inside(src)


def _arange(out: StridedArray, start: float, step: float) -> None:
    _inside(out)[...] = start + np.arange(out.size) * step


def _random_bits(out: StridedArray, seed: int, offset: int) -> None:
    _inside(out)[...] = random_bits(np, seed, offset, length=out.size)
