"""The kernels beside the elementwise ones: functions of whole arrays, by the family of their ops."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any, Final

import mlx.core as mx

from flambeau.backends.base import Declined, Shape
from flambeau.backends.layout import reduced_shape
from flambeau.backends.strided import StridedArray
from flambeau.core import dtype as dt
from flambeau.core import registry
from flambeau.core.dtype import DType
from flambeau_mlx.cells import FLOATS, MX, convert, wide

if TYPE_CHECKING:
    from flambeau_mlx.backend import MlxBackend

Axes = int | tuple[int, ...] | None
Ints = tuple[int, ...]

#: The methods of ``x.at[...]``; of bools those that there are.
_AT: Final = {"add": "add", "prod": "multiply", "amax": "maximum", "amin": "minimum"}
_AT_BOOLS: Final = {**_AT, "add": "maximum", "prod": "minimum"}


def bind(backend: MlxBackend) -> None:
    """Register all of them."""
    for family in (_makers, _reductions, _indexing, _products, _steps):
        family(backend)


# -- arrays from nothing, and elements moved -----------------------------------------------------------
def _makers(backend: MlxBackend) -> None:
    def by_cpu(name: str) -> Callable[..., StridedArray]:
        """Numbers that nothing on the device goes into are made where they are made best, and sent."""

        def kernel(*numbers: Any, index: int = 0, dtype: DType = dt.uint32, **params: Any) -> StridedArray:
            make: Any = registry.get_backend("cpu").kernels.find(name, dtype)
            params = params if name == "random_bits" else {**params, "dtype": dtype}
            return backend.from_host(make(*numbers, **params), dtype)

        return kernel

    def cat(*xs: Any, axis: int) -> StridedArray:
        arrays = xs[0] if len(xs) == 1 and isinstance(xs[0], (list, tuple)) else xs
        kept = [x for x in arrays if x.shape != (0,)] or arrays[:1]
        return backend.new(mx.concatenate([backend.load(x) for x in kept], axis))

    for name in ("arange", "random_bits"):
        backend.kernels.register(name, by_cpu(name))
    backend.kernels.register("cat", cat)


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
    grid = [mx.arange(n).reshape([-1 if b == a else 1 for b in range(x.ndim)]) for a, n in enumerate(index.shape)]
    places = tuple([index if a == axis else along for a, along in enumerate(grid)])
    bools = x.dtype == mx.bool_
    work, values = [v.astype(mx.uint8) if bools else wide(v) for v in (x, _cut(src, index.shape))]
    if reduce == "set":
        work = work.reshape(work.shape)  # another handle: an assignment gives it another array
        work[places] = values
        return convert(work, x.dtype)
    return convert(getattr(work.at[places], (_AT_BOOLS if bools else _AT)[reduce])(values), x.dtype)


# -- products of matrices --------------------------------------------------------------------------------
def _products(backend: MlxBackend) -> None:
    backend.function("matmul", matmul, FLOATS, work=lambda x, y: x.size * y.shape[-1])
    whole = (*dt.BOOLS, *dt.INTS)  # MLX multiplies floats alone
    backend.kernels.register("matmul", backend.on_host("matmul"), whole)
    backend.function("layer_norm", partial(_normed, mx.fast.layer_norm), FLOATS)
    backend.function("rms_norm", partial(_normed, mx.fast.rms_norm), FLOATS)
    for fn in (conv, conv_grad_input, conv_grad_weight, attention):
        backend.function(fn.__name__, fn, FLOATS)


def matmul(x: mx.array, y: mx.array) -> mx.array:
    return (wide(x) @ wide(y)).astype(x.dtype)


def _last(x: mx.array) -> mx.array:
    """Channels last, where MLX has them."""
    return mx.moveaxis(wide(x), 1, -1)


def conv(
    x: mx.array, weight: mx.array, bias: mx.array | None, *, stride: Ints, padding: Ints, dilation: Ints, groups: int
) -> mx.array:
    if len(stride) > 3 or (groups > 1 and len(stride) == 3) or not x.size or not weight.size:
        raise Declined  # not among MLX's, which divides by the sizes
    found = mx.conv_general(_last(x), _last(weight), stride, padding, dilation, groups=groups)
    found = found if bias is None else found + wide(bias)
    return mx.moveaxis(found, -1, 1).astype(x.dtype)


def _transposed(linear: Callable[[mx.array], mx.array], grad: mx.array, shape: Ints) -> mx.array:
    """The gradient of a linear function is its transpose."""
    work = wide(grad)
    return mx.vjp(linear, [mx.zeros(shape, work.dtype)], [work])[1][0].astype(grad.dtype)


def conv_grad_input(grad: mx.array, weight: mx.array, *, shape: Ints, **options: Any) -> mx.array:
    return _transposed(lambda x: conv(x, wide(weight), None, **options), grad, shape)


def conv_grad_weight(grad: mx.array, x: mx.array, *, shape: Ints, **options: Any) -> mx.array:
    return _transposed(lambda weight: conv(wide(x), weight, None, **options), grad, shape)


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
def _normed(
    fn: Callable[..., mx.array], x: mx.array, *vectors: mx.array | None, normalized_shape: Ints, eps: float
) -> mx.array:
    """By rows, with one last axis for all that are normalised."""
    if not x.size:
        return x
    rows = wide(x).reshape(-1, prod(normalized_shape))
    flat = [None if v is None else wide(v).reshape(-1) for v in vectors]
    return fn(rows, *flat, eps).reshape(x.shape).astype(x.dtype)


# -- the steps of optimizers -----------------------------------------------------------------------------
def _steps(backend: MlxBackend) -> None:
    def sgd_step(
        params: list[StridedArray], grads: list[StridedArray], buffers: list[StridedArray], lr: float,
        weight_decay: float, momentum: float, dampening: float, *, nesterov: bool, maximize: bool,
    ) -> list[StridedArray]:  # fmt: skip
        """Sutskever et al., ICML 2013."""
        for i, (x, grad) in enumerate(zip(params, grads, strict=True)):
            p, d = wide(backend.load(x)), wide(backend.load(grad))
            d = -d if maximize else d
            d = d + p * weight_decay if weight_decay else d
            if buffers:
                b = wide(backend.load(buffers[i])) * momentum + d * (1 - dampening)
                backend.store(buffers[i], b.astype(MX[x.dtype]))
                d = d + b * momentum if nesterov else b
            backend.store(x, (p - d * lr).astype(MX[x.dtype]))
        return []

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

    backend.kernels.register("sgd_step", sgd_step, FLOATS)
    backend.kernels.register("adam_step", adam_step, FLOATS)
