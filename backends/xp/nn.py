"""Fused kernels of neural networks: softmax and normalisations, with their gradients.

float16 and bfloat16 are computed in float32 and rounded once.
"""

from __future__ import annotations

from math import prod
from typing import Final

from flambeau.backends.xp import Array, Bodies, Namespace
from flambeau.backends.xp.reduce import wide
from flambeau.backends.xp.sums import add_up, dots, dots_down
from flambeau.core import dtype as dt

bodies = Bodies()
Ints = tuple[int, ...]

_DTYPES: Final = dt.FLOATS


def back(result: Array, like: Array) -> Array:
    """``result`` in the dtype of ``like``."""
    return result if result.dtype == like.dtype else result.astype(like.dtype)


# -- softmax ---------------------------------------------------------------------------------------
def _shifted(xp: Namespace, x: Array, axis: int) -> Array:
    """``x`` less its maximum along ``axis``, in memory of its own."""
    x = wide(xp, x)
    return xp.subtract(x, xp.maximum.reduce(x, axis=axis, keepdims=True)) if x.size else x.copy()


def _total(xp: Namespace, x: Array, axis: int) -> Array:
    return add_up(xp, x, (axis % x.ndim,), True) if x.ndim else x


@bodies.kernel("softmax", _DTYPES)
def softmax(xp: Namespace, x: Array, *, axis: int) -> Array:
    """exp(x) over its sum along ``axis``."""
    if x.ndim == 0:
        return softmax(xp, x.reshape(1), axis=0).reshape(())
    e = _shifted(xp, x, axis)
    xp.exp(e, e)
    e /= _total(xp, e, axis)
    return back(e, x)


@bodies.kernel("log_softmax", _DTYPES)
def log_softmax(xp: Namespace, x: Array, *, axis: int) -> Array:
    """The logarithm of softmax."""
    if x.ndim == 0:
        return log_softmax(xp, x.reshape(1), axis=0).reshape(())
    s = _shifted(xp, x, axis)
    s -= xp.log(_total(xp, xp.exp(s), axis))
    return back(s, x)


@bodies.kernel("softmax_grad", _DTYPES)
def softmax_grad(xp: Namespace, grad: Array, result: Array, *, axis: int) -> Array:
    """The gradient of softmax from its ``result``."""
    r = wide(xp, result)
    weighted = wide(xp, grad) * r
    return back(weighted - r * _total(xp, weighted, axis), result)


@bodies.kernel("log_softmax_grad", _DTYPES)
def log_softmax_grad(xp: Namespace, grad: Array, result: Array, *, axis: int) -> Array:
    """The gradient of log_softmax from its ``result``."""
    g = wide(xp, grad)
    return back(g - xp.exp(wide(xp, result)) * _total(xp, g, axis), result)


# -- over the last axes ----------------------------------------------------------------------------
def _rows(xp: Namespace, x: Array, normalized_shape: Ints) -> Array:
    """The axes of ``normalized_shape`` as one, all others as another."""
    size = prod(normalized_shape)
    return wide(xp, x).reshape(prod(x.shape[: x.ndim - len(normalized_shape)]), size)


def _inverse_root(xp: Namespace, total: Array, size: int, eps: float) -> Array:
    """1 / sqrt(total / size + eps), as a column."""
    total /= size
    total += eps
    xp.sqrt(total, total)
    return xp.reciprocal(total, total)[:, None]


def _standard(xp: Namespace, rows: Array, eps: float) -> tuple[Array, Array]:
    """Rows with mean 0 and variance 1, and one over their standard deviations."""
    size = rows.shape[1]
    mean = xp.add.reduce(rows, axis=1, keepdims=True)
    mean /= size
    centred = xp.subtract(rows, mean)
    rstd = _inverse_root(xp, dots(xp, centred, centred), size, eps)
    centred *= rstd
    return centred, rstd


def _by_rms(xp: Namespace, rows: Array, eps: float) -> tuple[Array, Array]:
    rrms = _inverse_root(xp, dots(xp, rows, rows), rows.shape[1], eps)
    return rows * rrms, rrms


def _affine(xp: Namespace, rows: Array, weight: Array | None, bias: Array | None) -> Array:
    if weight is not None:
        rows *= wide(xp, weight).reshape(-1)
    if bias is not None:
        rows += wide(xp, bias).reshape(-1)
    return rows


@bodies.kernel("layer_norm", _DTYPES)
def layer_norm(
    xp: Namespace, x: Array, weight: Array | None, bias: Array | None, *, normalized_shape: Ints, eps: float
) -> Array:
    """(x - mean) / sqrt(var + eps) * weight + bias over the last axes."""
    standard, _ = _standard(xp, _rows(xp, x, normalized_shape), eps)
    return back(_affine(xp, standard, weight, bias), x).reshape(x.shape)


@bodies.kernel("layer_norm_grad", _DTYPES)
def layer_norm_grad(
    xp: Namespace, grad: Array, x: Array, weight: Array | None, *, normalized_shape: Ints, eps: float
) -> tuple[Array, Array, Array]:
    """The gradients for the input, the weight and the bias."""
    standard, rstd = _standard(xp, _rows(xp, x, normalized_shape), eps)
    g, size = _rows(xp, grad, normalized_shape), standard.shape[1]
    of_weight = dots_down(xp, g, standard)
    of_bias = add_up(xp, g, (0,))
    inner = g if weight is None else g * wide(xp, weight).reshape(-1)
    along = dots(xp, inner, standard)[:, None] / size
    of_x = inner - xp.add.reduce(inner, axis=1, keepdims=True) / size
    standard *= along
    of_x -= standard
    of_x *= rstd
    return (
        back(of_x, x).reshape(x.shape),
        _like_weight(of_weight, x, normalized_shape),
        _like_weight(of_bias, x, normalized_shape),
    )


def _like_weight(v: Array, x: Array, normalized_shape: Ints) -> Array:
    return back(v, x).reshape(normalized_shape)


@bodies.kernel("rms_norm", _DTYPES)
def rms_norm(xp: Namespace, x: Array, weight: Array | None, *, normalized_shape: Ints, eps: float) -> Array:
    """x / sqrt(mean(x²) + eps) * weight over the last axes."""
    standard, _ = _by_rms(xp, _rows(xp, x, normalized_shape), eps)
    return back(_affine(xp, standard, weight, None), x).reshape(x.shape)


@bodies.kernel("rms_norm_grad", _DTYPES)
def rms_norm_grad(
    xp: Namespace, grad: Array, x: Array, weight: Array | None, *, normalized_shape: Ints, eps: float
) -> tuple[Array, Array]:
    """The gradients for the input and the weight."""
    standard, rrms = _by_rms(xp, _rows(xp, x, normalized_shape), eps)
    g, size = _rows(xp, grad, normalized_shape), standard.shape[1]
    of_weight = dots_down(xp, g, standard)
    inner = g if weight is None else g * wide(xp, weight).reshape(-1)
    along = dots(xp, inner, standard)[:, None] / size
    of_x = inner - standard * along
    of_x *= rrms
    return back(of_x, x).reshape(x.shape), _like_weight(of_weight, x, normalized_shape)


# -- per channel of (N, C, ...) --------------------------------------------------------------------
def _channels(xp: Namespace, x: Array) -> Array:
    """(N, C, ...) as (N, C, L)."""
    return wide(xp, x).reshape(x.shape[0], x.shape[1], prod(x.shape[2:]))


def _channel_dots(xp: Namespace, x: Array, y: Array) -> Array:
    """The sum of ``x * y``, of (N, C, L), for each channel."""
    if x.shape[2] == 1:
        return dots_down(xp, x[:, :, 0], y[:, :, 0])
    return add_up(xp, dots(xp, x, y), (0,))


@bodies.kernel("batch_norm", _DTYPES)
def batch_norm(
    xp: Namespace, x: Array, weight: Array | None, bias: Array | None, *, eps: float
) -> tuple[Array, Array, Array]:
    """The input normalised by each channel's mean and biased variance, and those two."""
    channels = _channels(xp, x)
    count = channels.shape[0] * channels.shape[2]
    mean = add_up(xp, channels, (0, 2)) / count
    out = channels - mean[:, None]
    var = _channel_dots(xp, out, out) / count
    scale = xp.reciprocal(xp.sqrt(var + channels.dtype.type(eps)))
    out *= (scale if weight is None else scale * wide(xp, weight))[:, None]
    if bias is not None:
        out += wide(xp, bias)[:, None]
    return back(out, x).reshape(x.shape), back(mean, x), back(var, x)


@bodies.kernel("batch_norm_sums", _DTYPES)
def batch_norm_sums(xp: Namespace, grad: Array, x: Array, mean: Array) -> tuple[Array, Array]:
    """Per channel: the sum of ``grad``, and of ``grad * (x - mean)``."""
    g = _channels(xp, grad)
    centred = _channels(xp, x) - wide(xp, mean)[:, None]
    return back(add_up(xp, g, (0, 2)), x), back(_channel_dots(xp, g, centred), x)
