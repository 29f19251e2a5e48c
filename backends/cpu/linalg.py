"""Products of matrices in machine code and on numpy's BLAS, and the shared decompositions.

Small ones are BLAS's, whose call costs less. There two matrices go through ``dot``, which costs a small product half
of what ``matmul`` does, and of a batch of small matrices each thread multiplies some, since BLAS would not split one.
"""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Any, Final

import numpy as np

from flambeau.backends.base import Kernel, KernelTable
from flambeau.backends.cpu import threads
from flambeau.backends.cpu.helpers import add_rows
from flambeau.backends.xp import Array
from flambeau.backends.xp import linalg as xp_linalg
from flambeau.core import config
from flambeau.core import dtype as dt

_BLAS: Final = (dt.float32, dt.float64, dt.complex64, dt.complex128)
_EXACT: Final = 2**53  # up to which float64 holds every integer
_SMALL: Final = 1 << 16  # multiplications up to which integers need no detour
_NATIVE: Final = 1 << 20  # multiplications from which machine code may pay for its call,
_NATIVE_LOW: Final = 1 << 14  # and of numbers of 16 bits, which numpy copies before and after
_WORTH_A_THREAD: Final = 10_000_000  # multiplications
_BLAS_ALONE: Final = 64**3  # multiplications in one product up to which OpenBLAS takes one thread of itself
_COMPLEX_ALONE: Final = 56**2  # of complex numbers
_DOT_ALONE: Final = 8192  # in a product of two vectors
_LONG: Final = 1 << 16  # terms of a sum from which on products are made in parts of half as many, and added


def bind(table: KernelTable) -> None:
    xp_linalg.bodies.bind(table, np)
    for name in xp_linalg.bodies.names() - {"matmul"}:
        for dtype in _BLAS:
            found = table.own(name, dtype)
            if found is not None:
                table.register(name, partial(_by_one_thread, found.fn), (dtype,))
    table.register("matmul", matmul, _BLAS)
    table.register("matmul", complex_matmul, dt.COMPLEXES)
    table.register("matmul", low_matmul, dt.LOW_PRECISION)
    table.register("matmul", integer_matmul, dt.INTS)
    table.register("linear", linear, _BLAS)
    table.register("linear", complex_linear, dt.COMPLEXES)
    table.register("linear", low_linear, dt.LOW_PRECISION)


def _by_one_thread(body: Kernel, *ins: Array, **params: Any) -> Any:
    """A decomposition, in the caller's thread alone: as quick where the cores are shared, and always the same bits."""
    with threads.single_threaded_blas():
        return body(*ins, **params)


# -- products --------------------------------------------------------------------------------------
def matmul(x: Array, y: Array) -> Array:
    """(..., n, k) times (..., k, m); the batches broadcast."""
    if x.ndim == 2 and y.ndim == 2:
        if x.size <= _DOT_ALONE and x.size * y.shape[1] <= _BLAS_ALONE:
            return x.dot(y)
        return gemm(x, y)
    if y.ndim == 2 and x.size:
        return gemm(x.reshape(-1, x.shape[-1]), y).reshape(*x.shape[:-1], y.shape[1])
    (n, k), m = x.shape[-2:], y.shape[-1]
    if x.size * m < _NATIVE and y.size * n < _NATIVE and _stays_alone(x, n, k, m):
        return np.matmul(_for_blas(x), _for_blas(y))
    found = _native(x, y, None, _NATIVE)
    return _batched(_for_blas(x), _for_blas(y)) if found is None else found


def _native(x: Array, y: Array, bias: Array | None, least: int) -> Array | None:
    """The product by machine code, from so many multiplications on; None where there is none, or BLAS is quicker."""
    if max(x.size * y.shape[-1], y.size * x.shape[-2]) < least or config.get("cpu_code") == "none":
        return None
    from flambeau.backends.cpu.native.matmul import product  # lazy for start-up: only large work needs it

    k = x.shape[-1]
    if k < _LONG:
        return product(x, y, bias)
    if x.dtype.itemsize == 2:
        return None  # each part would be rounded
    step = _LONG // 2
    total = product(x[..., :step], y[..., :step, :], bias)
    for i in range(step, k, step):
        if total is None:
            break
        here = x[..., i : i + step], y[..., i : i + step, :]
        part = product(*here)
        if part is None:
            with threads.single_threaded_blas():
                part = np.matmul(*here)
        total += part
    return total


def _stays_alone(x: Array, n: int, k: int, m: int) -> bool:
    """Whether OpenBLAS computes a product in its caller's thread, however many it may use."""
    if x.dtype.kind == "c":
        return n * k * m <= _COMPLEX_ALONE
    return n * k * m <= _BLAS_ALONE and (n * m > 1 or k <= _DOT_ALONE)


def gemm(x: Array, y: Array) -> Array:
    """(n, k) times (k, m), a large one in pieces over the threads; BLAS itself uses one thread.

    The shapes alone say which pieces: BLAS's bits depend on the size of a product.
    """
    found = _native(x, y, None, _NATIVE)
    if found is not None:
        return found
    (n, k), m = x.shape, y.shape[1]
    if _stays_alone(x, n, k, m) or threads.blas_threads() is None:
        return x.dot(y)
    with threads.single_threaded_blas():
        if k >= _LONG:
            return _by_terms(x, y)
        if n * k * m < _WORTH_A_THREAD:
            return x.dot(y)
        out = np.empty((n, m), x.dtype)
        pieces = _pieces(max(n, m), n * k * m)
        threads.run([
            partial(_some, x, y, out, n >= m, pieces[part])
            for part in threads.ranges(len(pieces), threads.num_threads())
        ])  # fmt: skip
    return out


def _pieces(length: int, work: int) -> list[slice]:
    """The pieces of a product: few enough that each is worth its calls, and enough for some threads."""
    count = 4 if work < 1 << 32 else 8 if work < 1 << 35 else 16
    step = max(128, -(-length // count))
    return [slice(i, min(i + step, length)) for i in range(0, length, step)]


def _some(x: Array, y: Array, out: Array, by_rows: bool, pieces: list[slice]) -> None:
    for piece in pieces:
        if by_rows:
            np.dot(x[piece], y, out[piece])
        else:
            out[:, piece] = x.dot(y[:, piece])


def _by_terms(x: Array, y: Array) -> Array:
    """A product that adds up many terms: of parts of them, which are added in order."""
    step = _LONG // 2
    parts = [partial(np.dot, x[:, i : i + step], y[i : i + step]) for i in range(0, x.shape[1], step)]
    found = threads.in_order(parts)
    total: Array = next(found)
    for part in found:
        total += part
    return total


def _for_blas(x: Array) -> Array:
    """``x``, copied where BLAS could not read its matrices and numpy would multiply element by element."""
    rows, columns = x.shape[-2:]
    over_rows, over_columns = x.strides[-2:]
    by_rows = over_columns == x.itemsize and over_rows >= columns * x.itemsize
    by_columns = over_rows == x.itemsize and over_columns >= rows * x.itemsize
    return x if by_rows or by_columns else np.ascontiguousarray(x)


def _batched(x: Array, y: Array) -> Array:
    n, k, m = x.shape[-2], x.shape[-1], y.shape[-1]
    batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    one, count = n * k * m, threads.num_threads()
    cut = next((i for i, size in enumerate(batch) if size >= 2 * count), None)
    if _stays_alone(x, n, k, m) and (count < 2 or one * prod(batch) < _WORTH_A_THREAD or cut is None):
        return np.matmul(x, y)
    out = np.empty((*batch, n, m), x.dtype)
    if cut is None or count < 2 or one * prod(batch) < _WORTH_A_THREAD or threads.blas_threads() is None:
        return _one_by_one(x, y, out)
    wide = [np.broadcast_to(v, (*batch, *v.shape[-2:])) for v in (x, y)]

    def some(part: slice) -> None:
        here = (slice(None),) * cut + (part,)
        np.matmul(wide[0][here], wide[1][here], out=out[here])

    with threads.single_threaded_blas():
        threads.run([partial(some, part) for part in threads.ranges(batch[cut], count)])
    return out


def _one_by_one(x: Array, y: Array, out: Array) -> Array:
    """A batch of few large matrices: each product over the threads."""
    for at in np.ndindex(out.shape[:-2]):
        left, right = (v[tuple([0 if n == 1 else i for i, n in zip(at[out.ndim - v.ndim :], v.shape, strict=False)])]
                       for v in (x, y))  # fmt: skip
        out[at] = gemm(left, right)
    return out


def complex_matmul(x: Array, y: Array) -> Array:
    """:func:`matmul`, which takes small products for real ones."""
    return gemm(x, y) if x.ndim == 2 and y.ndim == 2 else matmul(x, y)


def low_matmul(x: Array, y: Array) -> Array:
    """In float32, rounded once."""
    if y.ndim == 2 and x.ndim > 2 and x.size:
        return low_matmul(x.reshape(-1, x.shape[-1]), y).reshape(*x.shape[:-1], y.shape[1])
    found = _native(x, y, None, _NATIVE_LOW)
    if found is not None:
        return found
    return matmul(x.astype(np.float32), y.astype(np.float32)).astype(x.dtype)


def integer_matmul(x: Array, y: Array) -> Array:
    """Modulo 2**bits; through float64, for which there is BLAS, wherever that is exact."""
    k = x.shape[-1]
    if x.size * y.shape[-1] <= _SMALL or k * _largest(x) * _largest(y) >= _EXACT:
        return np.matmul(x, y)
    return matmul(x.astype(np.float64), y.astype(np.float64)).astype(np.int64).astype(x.dtype, copy=False)


def _largest(x: Array) -> int:
    """A bound on the absolute values."""
    if x.itemsize == 1:
        return 255
    return max(abs(int(x.max())), abs(int(x.min())))


def linear(x: Array, weight: Array, bias: Array | None) -> Array:
    """``x @ weight.T + bias``."""
    if x.ndim != 2:
        return linear(x.reshape(prod(x.shape[:-1]), x.shape[-1]), weight, bias).reshape(*x.shape[:-1], weight.shape[0])
    if x.size <= _DOT_ALONE and x.size * weight.shape[0] <= _BLAS_ALONE:
        out = x.dot(weight.T)
    else:
        found = _native(x, weight.T, bias, _NATIVE)
        if found is not None:
            return found
        out = gemm(x, weight.T)
    if bias is None:
        return out
    if out.size > 4096:
        return _add(out, bias, out)
    return add_rows(out, bias)


_add = np.add


def complex_linear(x: Array, weight: Array, bias: Array | None) -> Array:
    out = complex_matmul(x, weight.T) if x.ndim > 1 else complex_matmul(x[None], weight.T)[0]
    return out if bias is None else _add(out, bias, out)


def low_linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """In float32, rounded once."""
    if x.ndim > 1:
        found = _native(x.reshape(prod(x.shape[:-1]), x.shape[-1]), weight.T, bias, _NATIVE_LOW)
        if found is not None:
            return found.reshape(*x.shape[:-1], weight.shape[0])
    wide = [None if v is None else v.astype(np.float32) for v in (x, weight, bias)]
    return linear(*wide).astype(x.dtype)
