"""The fused kernels of neural networks as machine code: what they check, and what they call of :mod:`rows`."""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Any, Final

import numpy as np

from flambeau.backends.cpu.native import channels, norm_columns, reduce, rows, softmax_columns
from flambeau.backends.cpu.native.lanes import dtype_name, served
from flambeau.backends.cpu.native.layout import layout
from flambeau.backends.cpu.storage import address
from flambeau.backends.llvm.target import Target

Array = np.ndarray[Any, Any]
Ints = tuple[int, ...]


def fit(target: Target, x: Array, *others: Array | None) -> bool:
    """Whether there is something to do on dtypes that are all the same and served."""
    if not x.size or not served(x, target):
        return False
    return not others or all(v is None or v.dtype == x.dtype and served(v, target) for v in others)


def dense(x: Array) -> Array:
    """The array, or a copy, whose elements lie next to each other in index order."""
    return x if x.flags.c_contiguous else np.ascontiguousarray(x)


def at(x: Array | None) -> int:
    """The address of an operand, 0 for one that is not there."""
    return 0 if x is None else address(x)


# -- softmax ---------------------------------------------------------------------------------------
def _softmax(name: str, target: Target, *ins: Array, axis: int) -> Array | None:
    x = ins[-1]
    if not fit(target, *ins) or x.ndim == 0 or ins[0].shape != x.shape:
        return None
    if x.flags.c_contiguous and ins[0].flags.c_contiguous:
        return _softmax_of_dense(name, target, ins, axis % x.ndim)
    order = sorted(range(x.ndim), key=lambda i: -abs(x.strides[i]))  # as it lies in memory
    turned = tuple([dense(v.transpose(order)) for v in ins])
    out = _softmax_of_dense(name, target, turned, order.index(axis % x.ndim))
    return out.transpose(np.argsort(order))


def _softmax_of_dense(name: str, target: Target, ins: tuple[Array, ...], axis: int) -> Array:
    x = ins[-1]
    out = np.empty(x.shape, x.dtype)
    count, width = x.shape[axis], prod(x.shape[axis + 1 :])
    ps = [address(v) for v in (*ins, out)]
    source = dtype_name(x.dtype)
    if width == 1:
        total, per = x.size // count, max(1, rows.CHUNK // count)
        rows.softmax(target, source, name)(-(-total // per), *ps, total, per, count)
    else:
        blocks, total = -(-width // softmax_columns.BLOCK), x.size // (count * width)
        per = max(1, rows.CHUNK // (count * width))
        job = softmax_columns.softmax(target, source, name)
        job(-(-total // per) * blocks, *ps, width, blocks, count, per, total)
    return out


# -- layer_norm, rms_norm --------------------------------------------------------------------------
def layer_norm(
    target: Target, x: Array, weight: Array | None, bias: Array | None, *, normalized_shape: Ints, eps: float
) -> Array | None:
    """(x - mean) / sqrt(var + eps) * weight + bias over the last axes."""
    return _norm(target, True, x, weight, bias, normalized_shape, eps)


def rms_norm(target: Target, x: Array, weight: Array | None, *, normalized_shape: Ints, eps: float) -> Array | None:
    """x / sqrt(mean(x²) + eps) * weight over the last axes."""
    return _norm(target, False, x, weight, None, normalized_shape, eps)


def _ends(shape: Ints, x: Array, *others: Array | None) -> bool:
    """Whether the last axes are of ``shape``, and the others are of that alone."""
    shape = tuple(shape)
    return x.shape[x.ndim - len(shape) :] == shape and all(v is None or v.shape == shape for v in others)


def _norm(
    target: Target, centred: bool, x: Array, weight: Array | None, bias: Array | None, shape: Ints, eps: float
) -> Array | None:
    if not fit(target, x, weight, bias) or not _ends(shape, x, weight, bias):
        return None
    x, w, b = dense(x), *(None if v is None else dense(v) for v in (weight, bias))
    out, count = np.empty_like(x), prod(shape)
    total, per = x.size // count, max(1, rows.CHUNK // count)
    job = rows.norm(target, dtype_name(x.dtype), centred, w is not None, b is not None)
    job(-(-total // per), address(x), address(out), at(w), at(b), eps, total, per, count)
    return out


def layer_norm_grad(
    target: Target, grad: Array, x: Array, weight: Array | None, *, normalized_shape: Ints, eps: float
) -> tuple[Array, Array, Array] | None:
    """The gradients for the input, the weight and the bias."""
    found = _norm_grad(target, True, grad, x, weight, normalized_shape, eps)
    return None if found is None else (found[0], found[1], found[2])


def rms_norm_grad(
    target: Target, grad: Array, x: Array, weight: Array | None, *, normalized_shape: Ints, eps: float
) -> tuple[Array, Array] | None:
    """The gradients for the input and the weight."""
    found = _norm_grad(target, False, grad, x, weight, normalized_shape, eps)
    return None if found is None else (found[0], found[1])


def _norm_grad(
    target: Target, centred: bool, grad: Array, x: Array, weight: Array | None, shape: Ints, eps: float
) -> list[Array] | None:
    if not fit(target, x, grad, weight) or not _ends(shape, x, weight) or grad.shape != x.shape:
        return None
    g, x, w = dense(grad), dense(x), None if weight is None else dense(weight)
    out, count, source = np.empty_like(x), prod(shape), dtype_name(x.dtype)
    total, per = x.size // count, max(rows.SUMMED, rows.CHUNK // count)
    chunks = -(-total // per)
    sums = np.zeros((1 + centred, chunks, count), "f8" if source == "float64" else "f4")
    job = rows.norm_grad(target, source, centred, w is not None)
    job(
        chunks, address(g), address(x), at(w), address(out), address(sums), address(sums[-1]), eps, total, per, count
    )  # fmt: skip
    if chunks == 1:
        added = sums.astype(x.dtype)
    else:
        where = layout(sums, (1,))
        assert where is not None
        added = reduce.fold(target, "sum", where, source)
    return [out, *added.reshape(1 + centred, *shape)]


# -- batch_norm ------------------------------------------------------------------------------------
def _sizes(x: Array) -> tuple[int, int, int, int]:
    """The batch, the channels, the numbers of a plane, and the channels of a chunk."""
    count = prod(x.shape[2:])
    return x.shape[0], x.shape[1], count, max(1, rows.CHUNK // (x.shape[0] * count))


def _per_channel(x: Array, *others: Array | None) -> bool:
    """Whether there are channels, and the others have a number for each."""
    return x.ndim > 1 and all(v is None or v.shape == x.shape[1:2] for v in others)


def _columns(x: Array) -> bool:
    """Whether the channels are columns: planes of a single number are no rows."""
    return x.ndim == 2 or x.size == x.shape[0] * x.shape[1]


def batch_norm(
    target: Target, x: Array, weight: Array | None, bias: Array | None, *, eps: float
) -> tuple[Array, Array, Array] | None:
    """The input normalised by each channel's mean and biased variance, and those two."""
    if not fit(target, x, weight, bias) or not _per_channel(x, weight, bias):
        return None
    x, w, b = dense(x), *(None if v is None else dense(v) for v in (weight, bias))
    if _columns(x):
        flat, *rest = norm_columns.batch_norm(target, x.reshape(x.shape[:2]), w, b, eps=eps)
        return flat.reshape(x.shape), rest[0], rest[1]
    batch, number, count, per = _sizes(x)
    out, mean, var = np.empty_like(x), np.empty(number, x.dtype), np.empty(number, x.dtype)
    job = channels.batch_norm(target, dtype_name(x.dtype), w is not None, b is not None)
    job(
        -(-number // per), address(x), address(out), at(w), at(b), address(mean), address(var), eps,
        batch, number, count, per,
    )  # fmt: skip
    return out, mean, var


def batch_norm_given(
    target: Target, x: Array, mean: Array, var: Array, weight: Array | None, bias: Array | None, *, eps: float
) -> Array | None:
    """The input normalised by given values per channel."""
    if x.ndim == 2 or not x.flags.c_contiguous or not fit(target, x, mean, var, weight, bias):
        return None
    if not _per_channel(x, mean, var, weight, bias):
        return None
    m, v, w, b = (None if p is None else dense(p) for p in (mean, var, weight, bias))
    batch, number, count, per = _sizes(x)
    out = np.empty(x.shape, x.dtype)
    job = channels.batch_norm_given(target, dtype_name(x.dtype), w is not None, b is not None)
    job(-(-number // per), address(x), address(out), at(w), at(b), at(m), at(v), eps, batch, number, count, per)
    return out


def batch_norm_sums(target: Target, grad: Array, x: Array, mean: Array) -> tuple[Array, Array] | None:
    """Per channel: the sum of ``grad``, and of ``grad * (x - mean)``."""
    if not fit(target, x, grad, mean) or not _per_channel(x, mean) or grad.shape != x.shape:
        return None
    g, x, mean = dense(grad), dense(x), dense(mean)
    if _columns(x):
        return norm_columns.batch_norm_sums(target, g.reshape(x.shape[:2]), x.reshape(x.shape[:2]), mean)
    batch, number, count, per = _sizes(x)
    total, dot = np.empty(number, x.dtype), np.empty(number, x.dtype)
    channels.sums(target, dtype_name(x.dtype))(
        -(-number // per), address(g), address(x), address(mean), address(total), address(dot), 0.0,
        batch, number, count, per,
    )  # fmt: skip
    return total, dot


KERNELS: Final = {
    **{name: partial(_softmax, name) for name in ("softmax", "log_softmax", "softmax_grad", "log_softmax_grad")},
    "layer_norm": layer_norm,
    "layer_norm_grad": layer_norm_grad,
    "rms_norm": rms_norm,
    "rms_norm_grad": rms_norm_grad,
    "batch_norm": batch_norm,
    "batch_norm_given": batch_norm_given,
    "batch_norm_sums": batch_norm_sums,
}
