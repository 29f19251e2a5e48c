"""The kernels beside the elementwise ones: functions of whole arrays, by the family of their ops."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import mlx.core as mx
import numpy as np

from flambeau.backends.base import Declined, Shape
from flambeau.backends.layout import reduced_shape
from flambeau.backends.strided import StridedArray
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from flambeau.core.random import KEY_STEPS, MULTIPLIERS, ROUNDS, WORDS_PER_BLOCK
from flambeau_mlx.cells import FLOATS, MX, convert, wide

if TYPE_CHECKING:
    from flambeau_mlx.backend import MlxBackend

Axes = int | tuple[int, ...] | None
Ints = tuple[int, ...]

_MASK32: Final = 0xFFFFFFFF
_MASK64: Final = 0xFFFFFFFFFFFFFFFF


def bind(backend: MlxBackend) -> None:
    """Register all of them."""
    for family in (_makers, _reductions, _indexing, _products, _steps):
        family(backend)


# -- arrays from nothing, and elements moved -----------------------------------------------------------
def _makers(backend: MlxBackend) -> None:
    table, load, new = backend.kernels, backend.load, backend.new

    def arange(start: Any, step: Any, *, length: int, dtype: DType, index: int = 0) -> StridedArray:
        kind = np.int64 if dtype.category <= dt.INTEGER else np.float64
        with np.errstate(all="ignore"):
            return backend.from_host((start + np.arange(length, dtype=kind) * step).astype(dtype.numpy), dtype)

    def random_bits(seed: int, offset: int, *, length: int, index: int = 0) -> StridedArray:
        backend.enter()
        return new(philox(seed, offset & _MASK64, length))

    def cat(*xs: Any, axis: int) -> StridedArray:
        arrays = xs[0] if len(xs) == 1 and isinstance(xs[0], (list, tuple)) else xs
        return new(mx.concatenate([load(x) for x in arrays if x.shape != (0,)] or [load(arrays[0])], axis))

    for fn in (arange, random_bits, cat):
        table.register(fn.__name__, fn)


def philox(seed: int, offset: int, length: int) -> mx.array:
    """Philox4x32-10 as :mod:`flambeau.core.random` defines it: the same words as on every device."""
    u32, u64 = mx.uint32, mx.uint64
    counter = mx.arange(-(-length // WORDS_PER_BLOCK), dtype=u64) + mx.array(np.uint64(offset))
    zero = mx.zeros(counter.shape, u32)
    c0, c1, c2, c3 = counter.astype(u32), (counter >> 32).astype(u32), zero, zero
    key0, key1 = seed & _MASK32, seed >> 32 & _MASK32
    for _ in range(ROUNDS):
        low, high = (mx.array(np.uint64(m)) * c.astype(u64) for m, c in zip(MULTIPLIERS, (c0, c2), strict=True))
        c0, c1, c2, c3 = (
            (high >> 32).astype(u32) ^ c1 ^ mx.array(np.uint32(key0)), high.astype(u32),
            (low >> 32).astype(u32) ^ c3 ^ mx.array(np.uint32(key1)), low.astype(u32),
        )  # fmt: skip
        key0, key1 = (key0 + KEY_STEPS[0]) & _MASK32, (key1 + KEY_STEPS[1]) & _MASK32
    return mx.stack([c0, c1, c2, c3], axis=1).reshape(-1)[:length]


# -- along axes ----------------------------------------------------------------------------------------
def _reductions(backend: MlxBackend) -> None:
    add, whole = backend.function, (*dt.INTS, *FLOATS)
    add("sum", lambda x, **how: _reduced(mx.sum, wide(x), **how).astype(x.dtype), whole)
    add("max", partial(_reduced, mx.max), whole)
    add("min", partial(_reduced, mx.min), whole)
    for name, fn in (("sum", mx.any), ("max", mx.any), ("min", mx.all)):
        add(name, partial(_reduced, fn), dt.BOOLS)
    add("argmax", argmax)
    add("argsort", argsort)
    add("cumsum", lambda x, *, axis: mx.cumsum(wide(x), axis=axis).astype(x.dtype) if x.ndim else x, whole)
    add("softmax", softmax, FLOATS)
    add("log_softmax", log_softmax, FLOATS)


def _reduced(fn: Callable[..., mx.array], x: mx.array, *, axis: Axes = None, keepdims: bool = False) -> mx.array:
    return fn(x, axis if x.ndim else None, keepdims=keepdims)


def argmax(x: mx.array, *, axis: int, keepdims: bool = False) -> mx.array:
    if not x.size:
        return mx.zeros(reduced_shape(x.shape, axis, keepdims), mx.int64)
    x = x.astype(mx.uint8) if x.dtype == mx.bool_ else x
    return _reduced(mx.argmax, x, axis=axis, keepdims=keepdims).astype(mx.int64)


def argsort(x: mx.array, *, axis: int = -1, descending: bool = False) -> mx.array:
    """Stable both ways; nan is the largest."""
    if not x.size or not x.ndim:
        return mx.zeros(x.shape, mx.int64)
    if not descending:
        return mx.argsort(x, axis=axis).astype(mx.int64)
    backwards = mx.argsort(mx.flip(x, axis), axis=axis).astype(mx.int64)
    return mx.flip(x.shape[axis] - 1 - backwards, axis)


def softmax(x: mx.array, *, axis: int) -> mx.array:
    return mx.softmax(wide(x), axis=axis).astype(x.dtype) if x.ndim and x.size else mx.exp(x - x)


def log_softmax(x: mx.array, *, axis: int) -> mx.array:
    if not x.ndim or not x.size:
        return x - x
    shifted = wide(x) - mx.max(wide(x), axis=axis, keepdims=True)
    return (shifted - mx.logsumexp(shifted, axis=axis, keepdims=True)).astype(x.dtype)


# -- reading and writing by integer arrays ---------------------------------------------------------------
def _indexing(backend: MlxBackend) -> None:
    """No index leads out of an array, which MLX does not look at; a bad one raises at the host's next read."""
    load, new = backend.load, backend.new

    def checked(name: str, index: StridedArray, axis: int, size: int) -> tuple[mx.array, mx.array | None]:
        """The indices, bad ones moved inside, and whether all are sound."""
        value = load(index)
        if not index.size:
            return value, None
        extent = mx.stack([mx.min(value), mx.max(value)])
        backend.check_later(name, extent, axis, size)
        return mx.clip(value, 0, max(size - 1, 0)), (extent[0] >= 0) & (extent[1] < size)

    def gather(x: StridedArray, index: StridedArray, *, axis: int) -> StridedArray:
        places, _ = checked("gather", index, axis, x.shape[axis] if x.ndim else 1)
        value = load(x)
        if not index.size or not x.ndim:
            return new(mx.broadcast_to(value, index.shape) if index.size else mx.zeros(index.shape, value.dtype))
        return new(mx.take_along_axis(_cut(value, index.shape, axis % x.ndim), places, axis=axis))

    def scatter(
        x: StridedArray, index: StridedArray, src: StridedArray, *, axis: int, reduce: str = "set"
    ) -> StridedArray:
        places, sound = checked("scatter", index, axis, x.shape[axis] if x.ndim else 1)
        value = load(x)
        if sound is None:
            return new(value)
        found = scattered(value, places, load(src), axis=axis, reduce=reduce)
        return new(mx.where(sound, found, value))

    backend.kernels.register("gather", gather)
    backend.kernels.register("scatter", scatter)


def _cut(x: mx.array, shape: Shape, axis: int | None = None) -> mx.array:
    """``x`` cut down to ``shape``, but for ``axis``."""
    return x[tuple([slice(None if a == axis else n) for a, n in enumerate(shape)])]


def scattered(x: mx.array, index: mx.array, src: mx.array, *, axis: int, reduce: str) -> mx.array:
    """A copy of ``x`` with ``src`` set, or combined with what stands there; low precision in float32."""
    if not x.ndim:
        return scattered(x.reshape(1), index.reshape(1), src.reshape(1), axis=0, reduce=reduce).reshape(())
    axis %= x.ndim
    src = _cut(src, index.shape)
    grid = [mx.arange(n).reshape([-1 if b == a else 1 for b in range(x.ndim)]) for a, n in enumerate(index.shape)]
    grid[axis] = index
    places = tuple(grid)
    if x.dtype == mx.bool_:
        method = {"add": "maximum", "prod": "minimum", "amax": "maximum", "amin": "minimum"}.get(reduce)
        work, values = x.astype(mx.uint8), src.astype(mx.uint8)
    else:
        method = {"add": "add", "prod": "multiply", "amax": "maximum", "amin": "minimum"}.get(reduce)
        work, values = wide(x), wide(src)
    if method is None:
        work = work.reshape(work.shape)  # another handle: an assignment gives it another array
        work[places] = values
        return convert(work, x.dtype)
    return convert(getattr(work.at[places], method)(values), x.dtype)


# -- products of matrices --------------------------------------------------------------------------------
def _products(backend: MlxBackend) -> None:
    backend.function(
        "matmul", lambda x, y: (wide(x) @ wide(y)).astype(x.dtype), FLOATS, work=lambda x, y: x.size * y.shape[-1]
    )
    backend.function("matmul", backend.on_host("matmul"), (*dt.BOOLS, *dt.INTS))  # MLX multiplies floats alone
    for fn in (conv, conv_grad_input, conv_grad_weight, attention, layer_norm, rms_norm):
        backend.function(fn.__name__, fn, FLOATS)


def matmul(x: mx.array, y: mx.array) -> mx.array:
    return (wide(x) @ wide(y)).astype(x.dtype)


def _last(x: mx.array) -> mx.array:
    """Channels last, where MLX has them."""
    return mx.moveaxis(wide(x), 1, -1)


def conv(
    x: mx.array, weight: mx.array, bias: mx.array | None, *, stride: Ints, padding: Ints, dilation: Ints, groups: int
) -> mx.array:
    found = mx.conv_general(_last(x), _last(weight), stride, padding, dilation, groups=groups)
    found = found if bias is None else found + wide(bias)
    return mx.moveaxis(found, -1, 1).astype(x.dtype)


def conv_grad_input(grad: mx.array, weight: mx.array, *, shape: Ints, **options: Any) -> mx.array:
    work, cotangent = wide(weight), wide(grad)
    (found,) = mx.vjp(lambda x: conv(x, work, None, **options), [mx.zeros(shape, work.dtype)], [cotangent])[1]
    return found.astype(grad.dtype)


def conv_grad_weight(grad: mx.array, x: mx.array, *, shape: Ints, **options: Any) -> mx.array:
    work, cotangent = wide(x), wide(grad)
    (found,) = mx.vjp(lambda w: conv(work, w, None, **options), [mx.zeros(shape, work.dtype)], [cotangent])[1]
    return found.astype(grad.dtype)


def attention(
    query: mx.array, key: mx.array, value: mx.array, mask: mx.array | None, *, causal: bool, scale: float
) -> tuple[mx.array, mx.array]:
    """MLX's own; the logarithms of the denominators are lazy, and computed where a gradient wants them."""
    if query.ndim != 4 or 0 in (*query.shape, *key.shape) or not query.shape[:2] == key.shape[:2] == value.shape[:2]:
        raise Declined
    wanted = mask
    if causal:
        later = mx.arange(key.shape[-2]) > mx.arange(query.shape[-2]).reshape(-1, 1)
        never = mx.where(later, -mx.inf, 0.0).astype(query.dtype)
        wanted = never if mask is None else mask + never
    scores = (wide(query) * scale) @ mx.swapaxes(wide(key), -1, -2)
    lse = mx.logsumexp(scores if wanted is None else scores + wide(wanted), axis=-1)
    plain = causal and mask is None and query.shape[-2] == key.shape[-2]
    out = mx.fast.scaled_dot_product_attention(query, key, value, scale=scale, mask="causal" if plain else wanted)
    if mask is not None:  # a query that may look at nothing gives 0
        out = mx.where(lse[..., None] == -mx.inf, mx.zeros_like(out), out)
    return out, lse.astype(query.dtype)


# -- norms -----------------------------------------------------------------------------------------------
def _rows(x: mx.array, normalized_shape: Ints) -> mx.array:
    """With one last axis for all that are normalised."""
    lead = x.shape[: x.ndim - len(normalized_shape)]
    return wide(x).reshape(*lead, int(np.prod(normalized_shape)))


def _vector(x: mx.array | None) -> mx.array | None:
    return None if x is None else wide(x).reshape(-1)


def layer_norm(
    x: mx.array, weight: mx.array | None, bias: mx.array | None, *, normalized_shape: Ints, eps: float
) -> mx.array:
    if not x.size:
        return x
    found = mx.fast.layer_norm(_rows(x, normalized_shape), _vector(weight), _vector(bias), eps)
    return found.reshape(x.shape).astype(x.dtype)


def rms_norm(x: mx.array, weight: mx.array | None, *, normalized_shape: Ints, eps: float) -> mx.array:
    if not x.size:
        return x
    found = mx.fast.rms_norm(_rows(x, normalized_shape), _vector(weight), eps)
    return found.reshape(x.shape).astype(x.dtype)


# -- the step of an optimizer ----------------------------------------------------------------------------
def _steps(backend: MlxBackend) -> None:
    def adam_step(
        params: list[StridedArray], grads: list[StridedArray], first: list[StridedArray], second: list[StridedArray],
        largest: list[StridedArray], lr: float, beta1: float, beta2: float, eps: float, weight_decay: float,
        count: float, *, decoupled: bool, maximize: bool,
    ) -> list[StridedArray]:  # fmt: skip
        """Kingma and Ba, arXiv:1412.6980; decoupled decay: Loshchilov and Hutter, arXiv:1711.05101."""
        load, size, root = backend.load, lr / (1 - beta1**count), (1 - beta2**count) ** 0.5
        for row in zip(params, grads, first, second, largest or params, strict=True):
            p, d, m, v, top = [wide(load(x)) for x in row]
            d = -d if maximize else d
            if decoupled:
                p = p * (1 - lr * weight_decay)
            elif weight_decay:
                d = d + p * weight_decay
            m, v = m + (d - m) * (1 - beta1), v * beta2 + d * d * (1 - beta2)
            top = mx.maximum(top, v) if largest else v
            p = p - m / (mx.sqrt(top) / root + eps) * size
            for x, value in zip(row if largest else row[:4], (p, None, m, v, top), strict=False):
                if value is not None:
                    backend.store(x, value.astype(MX[x.dtype]))
        return []

    backend.kernels.register("adam_step", adam_step, FLOATS)
