"""Normalisations and their gradients."""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Final

from flambeau.backends.dialect import norm as texts
from flambeau.backends.dialect.launch import computed
from flambeau.backends.dialect.windows import Ints
from flambeau.backends.launched import elementwise
from flambeau.backends.launched.launcher import Launcher
from flambeau.backends.strided import StridedArray
from flambeau.core import dtype as dt

Optional = StridedArray | None


def register(backend: Launcher) -> None:
    """Enter the normalisations."""
    table = backend.kernels
    table.register("layer_norm", partial(layer_norm, backend), dt.FLOATS)
    table.register("rms_norm", partial(rms_norm, backend), dt.FLOATS)
    table.register("layer_norm_grad", partial(norm_grad, backend, centred=True), dt.FLOATS)
    table.register("rms_norm_grad", partial(norm_grad, backend, centred=False), dt.FLOATS)
    table.register("batch_norm", partial(batch_norm, backend), dt.FLOATS)
    table.register("batch_norm_sums", partial(batch_norm_sums, backend), dt.FLOATS)


def _present(backend: Launcher, *arrays: Optional) -> tuple[list[StridedArray], tuple[int, ...], tuple[bool, ...]]:
    """The arrays that there are, contiguous; all offsets; and which there are."""
    dense = [None if a is None else backend.dense(a) for a in arrays]
    return (
        [a for a in dense if a is not None],
        tuple([0 if a is None else a.offset for a in dense]),
        tuple([a is not None for a in dense]),
    )


def layer_norm(
    backend: Launcher, x: StridedArray, weight: Optional, bias: Optional, *, normalized_shape: Ints, eps: float
) -> StridedArray:
    """(x - mean) / sqrt(var + eps) * weight + bias over the last axes."""
    return _norm(backend, x, weight, bias, normalized_shape, eps, True)


def rms_norm(
    backend: Launcher, x: StridedArray, weight: Optional, *, normalized_shape: Ints, eps: float
) -> StridedArray:
    """x / sqrt(mean(x²) + eps) * weight over the last axes."""
    return _norm(backend, x, weight, None, normalized_shape, eps, False)


def _rows(x: StridedArray, normalized_shape: Ints, eps: float, centred: bool) -> texts.Rows:
    n = prod(normalized_shape)
    return texts.Rows(x.size // max(n, 1), n, centred, eps)


def _norm(
    backend: Launcher, x: StridedArray, weight: Optional, bias: Optional, shape: Ints, eps: float, centred: bool
) -> StridedArray:
    out = backend.empty(x.shape, x.dtype, x.index)
    if out.size:
        ins, offsets, there = _present(backend, x, weight, bias)
        device, rows = backend.device(x.index), _rows(x, shape, eps, centred)
        a, b, c = offsets
        device.enqueue(texts.norm(device, x.dtype, rows, (a, b, c), (there[1], there[2])), ins, (out,))
    return out


def norm_grad(
    backend: Launcher, grad: StridedArray, x: StridedArray, weight: Optional, *, normalized_shape: Ints,
    eps: float, centred: bool,
) -> tuple[StridedArray, ...]:  # fmt: skip
    """The gradients for the input, the weight and, of layer_norm, the bias."""
    out, wide = backend.empty(x.shape, x.dtype, x.index), computed(x.dtype)
    count, rows = 2 if centred else 1, _rows(x, normalized_shape, eps, centred)
    if not out.size:
        sums = backend.empty((2, rows.n), wide, x.index)
        elementwise.fill(backend, sums, 0)
    else:
        device, target = backend.device(x.index), backend.device(x.index).target
        ins, (a, b, c), there = _present(backend, grad, x, weight)
        parts = backend.empty((2, texts.parts_of(device, rows), rows.n), wide, x.index)
        left = parts if target.cpu else backend.empty((rows.rows, 2), wide, x.index)
        device.enqueue(texts.norm_grad(device, x.dtype, rows, (a, b, c), there[2]), ins, (out, left))
        if not target.cpu:
            device.enqueue(texts.norm_sums(device, x.dtype, rows, (a, b)), (*ins[:2], left), (parts,))
        add_up = backend.kernels.find("sum", wide)
        assert add_up is not None  # every backend has sums
        sums = add_up(parts, axis=(1,), keepdims=False)
    return out, *[_row(backend, sums, i, x, normalized_shape) for i in range(count)]


def _row(backend: Launcher, sums: StridedArray, i: int, like: StridedArray, shape: Ints) -> StridedArray:
    """Row ``i`` of ``sums`` in the dtype of ``like``."""
    out = backend.empty(tuple(shape), like.dtype, like.index)
    if out.size:
        backend.copy(out, sums.viewed(out.shape, out.strides, sums.offset + i * sums.shape[1]))
    return out


# -- per channel ---------------------------------------------------------------------------------------
#: Elements of a channel in one image below which channels are first put one after the other.
_FEW: Final = 16


def _by_channel(backend: Launcher, x: StridedArray) -> tuple[texts.Channels, StridedArray]:
    """The sizes in which a channel's elements stand in long pieces, and ``x`` so, contiguous."""
    images, channels, n = x.shape[0], x.shape[1], prod(x.shape[2:])
    if n >= _FEW or images == 1:
        return texts.Channels(images, channels, n), backend.dense(x)
    turned = x.permuted((1, 0, *range(2, x.ndim)))
    return texts.Channels(1, channels, images * n), backend.dense(turned)


def batch_norm(
    backend: Launcher, x: StridedArray, weight: Optional, bias: Optional, *, eps: float
) -> tuple[StridedArray, StridedArray, StridedArray]:
    """The input normalised by each channel's mean and biased variance, and those two."""
    mean, var = (backend.empty((x.shape[1],), x.dtype, x.index) for _ in range(2))
    if not x.size:  # the mean of nothing
        for v in (mean, var):
            elementwise.fill(backend, v, float("nan"))
        return backend.empty(x.shape, x.dtype, x.index), mean, var
    sizes, dense = _by_channel(backend, x)
    ins, (a, b, c), there = _present(backend, dense, weight, bias)
    out, device = backend.empty(dense.shape, x.dtype, x.index), backend.device(x.index)
    launch = texts.batch_norm(device, x.dtype, sizes, eps, (a, b, c), (there[1], there[2]))
    device.enqueue(launch, ins, (out, mean, var))
    if sizes.images != x.shape[0]:
        out = backend.dense(out.permuted((1, 0, *range(2, x.ndim))))
    return out, mean, var


def batch_norm_sums(
    backend: Launcher, grad: StridedArray, x: StridedArray, mean: StridedArray
) -> tuple[StridedArray, StridedArray]:
    """Per channel: the sum of ``grad``, and of ``grad * (x - mean)``."""
    sums = [backend.empty((x.shape[1],), x.dtype, x.index) for _ in range(2)]
    if not x.size:
        for v in sums:
            elementwise.fill(backend, v, 0)
    else:
        sizes, dense = _by_channel(backend, x)
        ins, (a, b, c), _ = _present(backend, _by_channel(backend, grad)[1], dense, mean)
        device = backend.device(x.index)
        device.enqueue(texts.batch_norm_sums(device, x.dtype, sizes, (a, b, c)), ins, sums)
    return sums[0], sums[1]
