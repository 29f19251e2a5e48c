"""Flat memory of its own, and the kernels of the contract as numpy functions of views of that memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from flambeau.backends.adapter import StridedTable
from flambeau.backends.strided import StridedArray, StridedBackend
from flambeau.core import dtype as dt
from flambeau.core.random import random_words

ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "neg": np.negative, "abs": np.abs, "exp": np.exp, "log": np.log, "sqrt": np.sqrt, "sin": np.sin, "cos": np.cos,
    "floor": np.floor, "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "idiv": np.floor_divide,
    "fmod": np.fmod, "pow": np.power, "maximum": np.maximum, "lt": np.less, "eq": np.equal,
    "bitwise_and": np.bitwise_and, "bitwise_or": np.bitwise_or, "bitwise_xor": np.bitwise_xor, "shl": np.left_shift,
    "shr": np.right_shift, "where": np.where,
}  # fmt: skip
ROWS: dict[str, Callable[..., Any]] = {
    "sum": lambda x: x.sum(-1), "max": lambda x: x.max(-1), "argmax": lambda x: x.argmax(-1), "matmul": np.matmul,
    "gather": lambda x, index: np.take_along_axis(x, index, -1),
}  # fmt: skip


class AcmeBackend(StridedBackend):
    """Two devices."""

    device_type = "acme"
    api_version = 1

    def __init__(self) -> None:
        super().__init__()
        self.kernels = StridedTable("acme", self)
        for name, fn in ELEMENTWISE.items():
            self.kernels.add(name, on_views(fn))
        for name, fn in ROWS.items():
            self.kernels.add(name, on_views(fn), rows=True)
        self.kernels.add("argsort", argsort, rows=True)
        self.kernels.add("scatter", scatter, rows=True)
        self.kernels.add("arange", arange)
        self.kernels.add("random_bits", random_bits)

    def device_count(self) -> int:
        return 2

    def supports(self, dtype: dt.DType, index: int = 0) -> bool:
        return dtype in (dt.bool_, dt.uint32, dt.int64, dt.float32, dt.float64)

    def allocate(self, nbytes: int, index: int) -> bytearray:
        return bytearray(nbytes)

    def read(self, memory: bytearray, start: int, nbytes: int) -> bytes:
        return bytes(memory[start : start + nbytes])

    def write(self, memory: bytearray, start: int, data: memoryview) -> None:
        memory[start : start + len(data)] = data


def view(x: Any) -> Any:
    """A numpy view of an array's memory; numbers stay what they are."""
    if not isinstance(x, StridedArray):
        return x
    flat = np.frombuffer(x.buffer.memory, x.dtype.numpy, x.buffer.nbytes // x.dtype.itemsize)
    strides = [s * x.dtype.itemsize for s in x.strides]
    return np.lib.stride_tricks.as_strided(flat[x.offset :], x.shape, strides)


def on_views(fn: Callable[..., Any]) -> Callable[..., None]:
    def kernel(out: StridedArray, *ins: Any) -> None:
        with np.errstate(all="ignore"):
            view(out)[...] = fn(*map(view, ins))

    return kernel


def argsort(out: StridedArray, x: StridedArray, *, descending: bool) -> None:
    values = view(x)[:, ::-1] if descending else view(x)
    order = values.argsort(-1, kind="stable")
    view(out)[...] = x.shape[-1] - 1 - order[:, ::-1] if descending else order


def scatter(out: StridedArray, index: StridedArray, src: StridedArray, *, reduce: str) -> None:
    place = (np.arange(index.shape[0])[:, None], view(index))
    if reduce == "add":
        np.add.at(view(out), place, view(src))
    else:
        view(out)[place] = view(src)


def arange(out: StridedArray, start: Any, step: Any) -> None:
    view(out)[...] = start + np.arange(out.size) * step


def random_bits(out: StridedArray, seed: int, offset: int) -> None:
    view(out)[...] = random_words(seed, offset, out.size)


def flambeau_backends() -> AcmeBackend:
    return AcmeBackend()
