"""Samples, references and error inputs of the storage ops: copies, casts, views, constructors, triangles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from flambeau.core import dtype as dt
from flambeau.core.device import device
from flambeau.plugins.conformance.opdb import Maker, Sample, error_rows, references, sample_rows, samples

Array = np.ndarray[Any, Any]

#: Ops whose values are not defined; they have no reference.
UNDEFINED = frozenset({"empty"})
#: Ops of which strides decide what they may do, or give.
BY_STRIDES = UNDEFINED | {"as_strided", "view", "view_dtype", "view_as_complex"}


# -- copies ------------------------------------------------------------------------------------------
@samples("cast")
def _casts(m: Maker) -> Iterator[Sample]:
    for target in (dt.float32, dt.float16, dt.int64, dt.uint8, dt.bool_, dt.complex64):
        yield Sample.rough(m(2, 3, low=0, high=2), target)  # too coarse for differences
    yield Sample(m(2, 3), dt.complex128 if m.is_complex else dt.float64)
    yield Sample(m(), m.dtype)
    yield Sample(m(0, 2), dt.float64)


sample_rows({
    "clone": lambda m: [(m(2, 3),), (m(2, 3), "C"), (m(),), (m(2, 0),)],
    "to_device": lambda m: [(m(2, 3), device("cpu"))],
    "cat": lambda m: [
        ([m(2, 3), m(1, 3)],), ([m(2, 3), m(2, 1), m(2, 2)], 1), ([m(2, 2), m(2, 2)], -1), ([m(3)],),
        ([m(0, 2), m(1, 2)], 0),
    ],
    "pad": lambda m: [
        (m(2, 3), ((1, 2), (0, 1)), 0), (m(2, 3), ((0, 0), (2, 0)), 1), (m(3, 4), ((-1, 1), (0, -2)), 0),
        (m(2), ((0, 0),), 0),
    ],
    "flip": lambda m: [(m(2, 3), (0,)), (m(2, 3, 2), (0, -1)), (m(0, 2), (1,))],
})  # fmt: skip


@samples("copy")
def _writes(m: Maker) -> Iterator[Sample]:
    yield Sample(m(2, 3), m(2, 3))
    yield Sample(m(2, 3), m(3))
    yield Sample(m(2, 3), m(1, 1))
    yield Sample(m(0, 3), m(3))
    if not m.is_complex:
        yield Sample.rough(m(2), m(2, dtype=dt.int16))


# -- views -------------------------------------------------------------------------------------------
sample_rows({
    "basic_index": lambda m: [
        (m(3, 4), (1, slice(0, 4, 1))), (m(3, 4), (slice(2, 3, 1), slice(0, 4, 2))),
        (m(3, 4), (None, 0, None, slice(1, 4, 1))), (m(3), (2,)), (m(), (None,)),
        (m(3, 2), (slice(0, 0, 1), slice(0, 2, 1))),
    ],
    "index_back": lambda m: [
        (m(4), (3, 4), (1, slice(0, 4, 1))), (m(1, 2), (3, 4), (slice(2, 3, 1), slice(0, 4, 2))), (m(), (3,), (2,)),
    ],
    "permute": lambda m: [(m(2, 3, 4), (2, 0, 1)), (m(2, 3), (1, 0)), (m(), ()), (m(0, 3), (1, 0))],
    "view": lambda m: [(m(2, 3, 4), (6, 4)), (m(2, 3), (3, 1, 2)), (m(1), ()), (m(2, 0), (0, 5))],
    "expand": lambda m: [(m(3, 1), (3, 4)), (m(2, 1, 3), (4, 2, 2, 3)), (m(), (2, 2)), (m(1, 3), (0, 3))],
    "as_strided": lambda m: [(m(3, 4), (2, 3), (4, 1), 1), (m(12), (3, 3), (2, 3), 0), (m(5), (3, 3), (1, 1), 0)],
    "diagonal": lambda m: [
        (m(3, 4), 0, 0, 1), (m(3, 4), 1, 0, 1), (m(2, 3, 3), -1, 1, 2), (m(3, 2, 4), 2, -1, 0), (m(2, 2), 5, 0, 1),
    ],
    "unfold": lambda m: [(m(7), 0, 3, 2), (m(2, 5), 1, 2, 1), (m(5, 2), -2, 4, 3), (m(3), 0, 3, 1)],
    "view_as_real": lambda m: [(m(2, 3),), (m(),)],
})  # fmt: skip


@samples("view_dtype")
def _reinterpretations(m: Maker) -> Iterator[Sample]:
    if m.dtype.category >= dt.FLOATING and m.dtype not in (dt.float64, dt.complex128):
        return  # references get floating values in float64, whose bits are others
    same_size = {1: dt.int8, 2: dt.int16, 4: dt.int32, 8: dt.float64}.get(m.dtype.itemsize)
    if same_size is not None:
        yield Sample(m(2, 4), same_size)
        yield Sample(m(), same_size)
    yield Sample(m(2, 4), dt.uint8)
    yield Sample(m(2, 16 // m.dtype.itemsize * 2), dt.complex128)


@samples("view_as_complex")
def _complexes(m: Maker) -> Iterator[Sample]:
    yield Sample.rough(m(3, 2))  # forward mode is compared for real results; see tests/ops/test_shape.py
    yield Sample.rough(m(2))


# -- new tensors -------------------------------------------------------------------------------------
sample_rows({
    "full": lambda m: [
        ((2, 3), 1.5, dt.float32, device("cpu")), ((), -3, dt.int64, device("cpu")),
        ((0, 2), 1, dt.bool_, device("cpu")), ((2,), 1 - 2j, dt.complex64, device("cpu")),
        ((2,), -1, dt.uint8, device("cpu")),
    ],
    "empty": lambda m: [((2, 3), dt.float32, device("cpu")), ((), dt.int64, device("cpu"))],
    "arange": lambda m: [
        (0, 1, 5, dt.int64, device("cpu")), (-3, 2, 4, dt.int16, device("cpu")),
        (0.5, 0.25, 6, dt.float64, device("cpu")), (1, 1, 0, dt.float32, device("cpu")),
    ],
})  # fmt: skip


# -- diagonals and triangles -------------------------------------------------------------------------
sample_rows({
    "embed_diagonal": lambda m: [(m(3), 0, 0, 1), (m(2, 3), 1, 1, 2), (m(2, 3), -2, 0, 2)],
    "tril triu": lambda m: [(m(3, 3),), (m(3, 4), 1), (m(2, 4, 3), -1), (m(0, 2),)],
})  # fmt: skip


# -- references --------------------------------------------------------------------------------------
def _padded(x: Array, widths: Any, value: float) -> Array:
    for axis, (before, after) in enumerate(widths):
        x = np.delete(x, np.r_[0 : max(-before, 0), x.shape[axis] - max(-after, 0) : x.shape[axis]], axis)
    return np.pad(x, [(max(b, 0), max(a, 0)) for b, a in widths], constant_values=value)


def _index_back(g: Array, x_shape: Any, index: Any) -> Array:
    out = np.zeros(x_shape, g.dtype)
    out[index] = g
    return out


def _strided(x: Array, shape: Any, strides: Any, offset: int) -> Array:
    places = offset + sum(
        np.arange(n).reshape((-1,) + (1,) * (len(shape) - 1 - i)) * s
        for i, (n, s) in enumerate(zip(shape, strides, strict=True))
    )
    return np.asarray(x.reshape(-1)[places])


def _embedded(x: Array, offset: int, axis1: int, axis2: int) -> Array:
    size = x.shape[-1] + abs(offset)
    out = np.zeros((*x.shape[:-1], size, size), x.dtype)
    for i in range(x.shape[-1]):
        out[..., i + max(-offset, 0), i + max(offset, 0)] = x[..., i]
    return np.moveaxis(out, (-2, -1), (axis1, axis2))


def _cast(x: Array, dtype: dt.DType) -> Array:
    return (x.real if x.dtype.kind == "c" and dtype.category < dt.COMPLEX and dtype is not dt.bool_ else x).astype(
        dtype.numpy
    )


references(
    {
        "cast": _cast,
        "clone": lambda x, order="K": x,
        "to_device": lambda x, device: x,
        "copy": lambda x, src: np.broadcast_to(src, x.shape).astype(x.dtype),
        "cat": lambda xs, axis=0: np.concatenate(xs, axis),
        "pad": _padded,
        "flip": np.flip,
        "basic_index": lambda x, index: x[index],
        "index_back": _index_back,
        "permute": np.transpose,
        "view": np.reshape,
        "expand": np.broadcast_to,
        "as_strided": _strided,
        "diagonal": np.diagonal,
        "unfold": lambda x, axis, size, step: np.moveaxis(
            np.stack([np.take(x, np.arange(size) + i, axis) for i in range(0, x.shape[axis] - size + 1, step)]),
            [0, 1 + axis % x.ndim],
            [axis % x.ndim, -1],
        ),
        "view_dtype": lambda x, dtype: x.view(dtype.numpy),
        "view_as_real": lambda x: np.stack([x.real, x.imag], -1),
        "view_as_complex": lambda x: x[..., 0] + 1j * x[..., 1],
        "full": lambda shape, value, dtype, device: np.full(
            shape, value % 256 if dtype is dt.uint8 else value, dtype.numpy
        ),
        "arange": lambda start, step, length, dtype, device: (start + np.arange(length) * step).astype(dtype.numpy),
        "embed_diagonal": _embedded,
        "tril": lambda x, diagonal=0: np.tril(x, diagonal),
        "triu": lambda x, diagonal=0: np.triu(x, diagonal),
    }
)


# -- errors ------------------------------------------------------------------------------------------
error_rows({
    "copy": lambda m: [(RuntimeError, ("copy", "(3,)", "(2,)", "broadcast"), m(2), m(3))],
    "cat": lambda m: [
        (RuntimeError, ("cat", "tensor 1", "(2, 4)", "(2, 3)"), [m(2, 3), m(2, 4)], 0),
        (IndexError, ("cat", "dim=2"), [m(2, 3), m(2, 3)], 2),
    ],
    "pad": lambda m: [(RuntimeError, ("pad", "(2,)"), m(2), ((-3, 0),), 0)],
    "tril triu": lambda m: [(RuntimeError, ("2 dimensions", "(3,)"), m(3))],
})  # fmt: skip
