"""A backend as somebody published it for version 1 of the contract: the 33 kernels over numpy, and nothing else.

Never edit this file to make a test pass: it stands for packages that nobody can edit. If it stops working,
the contract has changed and API_VERSION must say so.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from flambeau.backends.base import Backend, KernelTable, Layout
from flambeau.backends.generic import generic_table
from flambeau.core import dtype as dt
from flambeau.core.random import random_words

LOW = (dt.float16, dt.bfloat16)
INEXACT = (*dt.FLOATS, *dt.COMPLEXES)
NUMBERS = (*dt.REALS, *dt.COMPLEXES)
ORDERED = (*dt.BOOLS, *dt.REALS)
LOGICAL = (*dt.BOOLS, *dt.INTS)


def root(x):
    while isinstance(x.base, np.ndarray):
        x = x.base
    return x


def address(x):
    return x.__array_interface__["data"][0]


class FrozenBackend(Backend):
    device_type = "frozen"
    api_version = 1
    array = np.ndarray
    capabilities = frozenset({"has_fp64", "has_fp16"})

    def __init__(self):
        self.kernels = KernelTable("frozen", generic_table(self))
        add_elementwise(self.kernels)
        add_others(self.kernels)

    def empty(self, shape, dtype, index=0):
        flat = np.empty(int(np.prod(shape)), dtype.numpy)
        flat.view(np.uint8)[:] = 1  # what is not written shows, and is a valid bool
        return flat.reshape(shape)

    def from_host(self, host, dtype, index=0):
        array = self.empty(host.shape, dtype)
        array[...] = host
        return array

    def to_host(self, array):
        return np.array(array)

    def copy_into(self, dst, src):
        if src.dtype.kind == "c" and dst.dtype.kind not in "cb":
            src = src.real
        with np.errstate(all="ignore"):
            np.copyto(dst, src, casting="unsafe")

    def as_strided(self, array, shape, strides, offset, dtype=None):
        flat = root(array).reshape(-1).view(np.uint8)
        wanted = (dtype or self.dtype_of(array)).numpy
        if 0 in shape:
            return flat[:0].view(wanted).reshape(shape)
        return np.ndarray(shape, wanted, flat, offset * wanted.itemsize, [s * wanted.itemsize for s in strides])

    def layout(self, array):
        size = array.itemsize
        offset = (address(array) - address(root(array))) // size
        return Layout(array.shape, tuple(s // size for s in array.strides), offset)

    def dtype_of(self, array):
        return dt.from_numpy(array.dtype)

    def storage_id(self, array):
        return id(root(array))

    def storage_nbytes(self, array):
        return root(array).nbytes


# -- elementwise -------------------------------------------------------------------------------------
def quiet(function, *ins, out=None):
    with np.errstate(all="ignore"):
        result = np.asarray(function(*ins))
    if out is None:
        return result
    out[...] = result
    return out


def in_float32(function, *ins, out=None):
    """Low precision computes in float32 and rounds once."""
    wide = [x.astype(np.float32) if x.dtype.itemsize == 2 else x for x in ins]
    result = quiet(function, *wide)
    low = next(x.dtype for x in ins if x.dtype.itemsize == 2)
    return quiet(lambda: result.astype(low) if result.dtype == np.float32 else result, out=out)


def integer_power(x, y):
    if x.dtype == bool:
        return x | ~y
    size, up = np.absolute(x), np.where(y < 0, 0, y).astype(y.dtype)
    down = np.where((size == 1) & ((x == 1) | (y & 1 == 0)), 1, np.where(size == 1, x, 0))
    return np.where(y < 0, down, np.power(x, up)).astype(x.dtype)


def integer_fmod(x, y):
    return np.where(y == 0, 0, np.fmod(x, np.where(y == 0, 1, y))).astype(x.dtype)


ELEMENTWISE = (
    ("exp log sqrt sin cos", None, INEXACT), ("floor", np.floor, dt.FLOATS), ("floor", np.positive, dt.INTS),
    ("neg", np.negative, NUMBERS), ("abs", np.absolute, dt.ALL), ("add", np.add, dt.ALL), ("sub", np.subtract, NUMBERS),
    ("sub", np.bitwise_xor, dt.BOOLS), ("mul", np.multiply, dt.ALL), ("div", np.divide, INEXACT),
    ("idiv", np.floor_divide, dt.REALS), ("fmod", np.fmod, dt.FLOATS), ("fmod", integer_fmod, dt.INTS),
    ("pow", np.power, INEXACT), ("pow", integer_power, LOGICAL), ("maximum", np.maximum, ORDERED),
    ("lt", np.less, ORDERED), ("eq", np.equal, dt.ALL), ("bitwise_and bitwise_or bitwise_xor", None, LOGICAL),
    ("shl", np.left_shift, dt.INTS), ("shr", np.right_shift, dt.INTS), ("where", np.where, dt.ALL),
)  # fmt: skip


def add_elementwise(table):
    for names, function, dtypes in ELEMENTWISE:
        for name in names.split():
            for dtype in dtypes:
                run = in_float32 if dtype in LOW and name not in ("where", "neg", "abs") else quiet
                table.register(name, partial(run, function or getattr(np, name)), (dtype,))


# -- the others --------------------------------------------------------------------------------------
def total(x, *, axis, keepdims):
    wide = np.float32 if dt.from_numpy(x.dtype) in LOW else x.dtype
    with np.errstate(all="ignore"):
        return np.asarray(np.sum(x, axis=axis, dtype=wide, keepdims=keepdims)).astype(x.dtype)


def largest(x, *, axis, keepdims):
    wide = x.astype(np.float32) if dt.from_numpy(x.dtype) in LOW else x
    return np.asarray(np.max(wide, axis=axis, keepdims=keepdims)).astype(x.dtype)


def argmax(x, *, axis, keepdims):
    if not x.ndim:
        return np.zeros((), np.int64)
    wide = x.astype(np.float32) if dt.from_numpy(x.dtype) in LOW else x
    return np.asarray(np.argmax(wide, axis=axis, keepdims=keepdims))


def argsort(x, *, axis, descending):
    if not x.ndim:
        return np.zeros((), np.int64)
    wide = x.astype(np.float32) if dt.from_numpy(x.dtype) in LOW else x
    if not descending:
        return np.argsort(wide, axis=axis, kind="stable")
    backwards = np.argsort(np.flip(wide, axis), axis=axis, kind="stable")
    return np.flip(x.shape[axis] - 1 - backwards, axis)


def matmul(x, y):
    if dt.from_numpy(x.dtype) in LOW:
        return np.matmul(x.astype(np.float32), y.astype(np.float32)).astype(x.dtype)
    with np.errstate(all="ignore"):
        return np.matmul(x, y)


def places(op, x, index, axis):
    """Numpy's index arrays for the elements of ``index`` along ``axis``."""
    size = x.shape[axis]
    if index.size and not (index.min() >= 0 and index.max() < size):
        bad = index[(index < 0) | (index >= size)][0]
        raise IndexError(f"{op}: index {bad} is out of bounds for dimension {axis} with size {size}")
    found = list(np.indices(index.shape, sparse=True))
    found[axis] = index
    return tuple(found)


def gather(x, index, *, axis):
    if not x.ndim:
        return gather(x.reshape(1), index.reshape(-1), axis=0).reshape(index.shape)
    return x[places("gather", x, index, axis)]


def scatter(x, index, src, *, axis, reduce):
    if not x.ndim:
        return scatter(x.reshape(1), index.reshape(-1), src.reshape(-1), axis=0, reduce=reduce).reshape(())
    out, at = x.copy(), places("scatter", x, index, axis)
    src = src[tuple(slice(n) for n in index.shape)]
    if reduce == "set":
        out[at] = src
    elif reduce == "add":
        np.add.at(out, at, src)
    else:
        raise NotImplementedError(f"scatter: reduce={reduce!r}")
    return out


def arange(start, step, *, length, dtype, index=0):
    exact = (
        [start + i * step for i in range(length)] if isinstance(start + step, int) else start + np.arange(length) * step
    )
    return np.array(exact, np.int64 if dtype.category < dt.FLOATING and dtype is not dt.uint64 else None).astype(
        dtype.numpy
    )


def random_bits(seed, offset, *, length, index=0):
    return np.array(random_words(seed, offset, length), np.uint32)


def add_others(table):
    table.register("sum", total, NUMBERS)
    table.register("max", largest, ORDERED)
    table.register("argmax", argmax, ORDERED)
    table.register("argsort", argsort, ORDERED)
    table.register("matmul", matmul, NUMBERS)
    table.register("arange", arange, NUMBERS)
    table.register("random_bits", random_bits)
    table.register("gather", gather)
    table.register("scatter", scatter)
