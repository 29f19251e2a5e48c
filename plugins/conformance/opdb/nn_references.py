"""References of the nn ops: plain loops and formulas on numpy, written from the definitions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from flambeau.core.random import random_words

Array = Any  # numpy's; float64 and complex128 alike
Ints = tuple[int, ...]


# -- activations -------------------------------------------------------------------------------------
def erf(x: Array) -> Array:
    return np.asarray(np.vectorize(math.erf, otypes=[float])(x)) if x.size else np.asarray(x)


def sigmoid(x: Array) -> Array:
    return np.exp(-np.logaddexp(0, -x))


def softplus(x: Array) -> Array:
    return np.logaddexp(0, x)


def gelu(x: Array) -> Array:
    return x * (0.5 + 0.5 * erf(x / math.sqrt(2)))


def gelu_grad(grad: Array, x: Array) -> Array:
    return grad * ((0.5 + 0.5 * erf(x / math.sqrt(2))) + x * np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi))


def gelu_tanh(x: Array) -> Array:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def gelu_tanh_grad(grad: Array, x: Array) -> Array:
    c = math.sqrt(2 / math.pi)
    inner = c * (x + 0.044715 * x**3)
    return grad * (0.5 * (1 + np.tanh(inner)) + 0.5 * x / np.cosh(inner) ** 2 * c * (1 + 3 * 0.044715 * x**2))


def silu_grad(grad: Array, x: Array) -> Array:
    return grad * (sigmoid(x) + x * sigmoid(x) * sigmoid(-x))


def mish_grad(grad: Array, x: Array) -> Array:
    return grad * (np.tanh(softplus(x)) + x / np.cosh(softplus(x)) ** 2 * sigmoid(x))


def scaled_softplus(x: Array, beta: Array, threshold: Array) -> Array:
    return np.where(x * beta > threshold, x, np.log1p(np.exp(x * beta)) / beta)


def elu(x: Array, alpha: Array, scale: Array, rate: Array) -> Array:
    return scale * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0) * rate))


def hardtanh(x: Array, low: Array, high: Array) -> Array:
    return np.where(x < low, low, np.where(x > high, high, x))


def softshrink(x: Array, edge: Array) -> Array:
    return np.where(x > edge, x - edge, np.where(x < -edge, x + edge, np.where(np.isnan(x), x, 0)))


def huber(x: Array, target: Array, delta: Array) -> Array:
    d = np.abs(x - target)
    return np.where(d < delta, 0.5 * d * d, delta * (d - 0.5 * delta))


def binary_entropy(x: Array, target: Array) -> Array:
    return -(target * np.maximum(np.log(x), -100) + (1 - target) * np.maximum(np.log(1 - x), -100))


def logit_entropy(x: Array, target: Array, positive: Array) -> Array:
    return positive * target * softplus(-x) + (1 - target) * softplus(x)


# -- softmax and norms -------------------------------------------------------------------------------
def softmax(x: Array, axis: int = -1) -> Array:
    if x.ndim == 0:
        return np.ones_like(x)
    e = np.exp(x - x.max(axis=axis, keepdims=True)) if x.size else x
    return e / e.sum(axis=axis, keepdims=True)


def log_softmax(x: Array, axis: int = -1) -> Array:
    return np.log(softmax(x, axis))


def softmax_grad(grad: Array, result: Array, axis: int) -> Array:
    """By the whole Jacobian matrix, diag(result) - result resultᵀ."""
    g, r = np.moveaxis(grad, axis, -1), np.moveaxis(result, axis, -1)
    jacobian = r[..., :, None] * np.eye(r.shape[-1]) - r[..., :, None] * r[..., None, :]
    return np.moveaxis((jacobian @ g[..., None])[..., 0], -1, axis)


def log_softmax_grad(grad: Array, result: Array, axis: int) -> Array:
    """By the whole Jacobian matrix, 1 - softmax in every column."""
    g, p = np.moveaxis(grad, axis, -1), np.exp(np.moveaxis(result, axis, -1))
    jacobian = np.eye(p.shape[-1]) - p[..., None, :]
    return np.moveaxis((np.swapaxes(jacobian, -1, -2) @ g[..., None])[..., 0], -1, axis)


def _jacobian_rows(fn: Callable[[Array], Array], x: Array) -> Array:
    """The Jacobian of ``fn`` on a vector by central differences of fourth order."""
    h, columns = 1e-3, []
    for i in range(x.size):
        d = np.zeros_like(x)
        d[i] = h
        columns.append((8 * (fn(x + d) - fn(x - d)) - (fn(x + 2 * d) - fn(x - 2 * d))) / (12 * h))
    return np.stack(columns, 1)


def layer_norm(x: Array, weight: Array | None, bias: Array | None, normalized_shape: Ints, eps: float) -> Array:
    axes = tuple(range(x.ndim - len(normalized_shape), x.ndim))
    out = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)
    return out * (1 if weight is None else weight) + (0 if bias is None else bias)


def rms_norm(x: Array, weight: Array | None, normalized_shape: Ints, eps: float) -> Array:
    axes = tuple(range(x.ndim - len(normalized_shape), x.ndim))
    return x / np.sqrt((x**2).mean(axes, keepdims=True) + eps) * (1 if weight is None else weight)


def norm_grad(
    norm: Callable[[Array], Array], grad: Array, x: Array, weight: Array | None, normalized_shape: Ints
) -> tuple[Array, Array, Array]:
    """The gradients of a norm of rows, that of its input row by row with central differences."""
    size = math.prod(normalized_shape)
    rows, g = x.reshape(-1, size), grad.reshape(-1, size)
    w = np.ones(size) if weight is None else weight.reshape(-1)
    of_x = np.stack([_jacobian_rows(norm, r).T @ (w * v) for r, v in zip(rows, g, strict=True)])
    of_weight = sum(norm(r) * v for r, v in zip(rows, g, strict=True))
    return of_x.reshape(x.shape), np.reshape(of_weight, normalized_shape), g.sum(0).reshape(normalized_shape)


def layer_norm_grad(grad: Array, x: Array, weight: Array | None, normalized_shape: Ints, eps: float) -> Any:
    return norm_grad(lambda r: (r - r.mean()) / np.sqrt(r.var() + eps), grad, x, weight, normalized_shape)


def rms_norm_grad(grad: Array, x: Array, weight: Array | None, normalized_shape: Ints, eps: float) -> Any:
    return norm_grad(lambda r: r / np.sqrt((r**2).mean() + eps), grad, x, weight, normalized_shape)[:2]


def batch_norm(x: Array, weight: Array | None, bias: Array | None, eps: float) -> tuple[Array, Array, Array]:
    channels = np.moveaxis(x, 1, 0).reshape(x.shape[1], -1)
    mean, var = channels.mean(1), channels.var(1)
    out = (channels - mean[:, None]) / np.sqrt(var[:, None] + eps)
    out = out * (1 if weight is None else weight[:, None]) + (0 if bias is None else bias[:, None])
    moved = np.moveaxis(x, 1, 0).shape
    return np.moveaxis(out.reshape(moved), 0, 1), mean, var


def batch_norm_given(x: Array, mean: Array, var: Array, weight: Array | None, bias: Array | None, eps: float) -> Array:
    scale = (1 if weight is None else weight) / np.sqrt(var + eps)
    shift = (0 if bias is None else bias) - mean * scale
    return np.moveaxis(np.moveaxis(x, 1, -1) * scale + shift, -1, 1)


def batch_norm_sums(grad: Array, x: Array, mean: Array) -> tuple[Array, Array]:
    g, v = (np.moveaxis(t, 1, 0).reshape(x.shape[1], -1) for t in (grad, x))
    return g.sum(1), (g * (v - mean[:, None])).sum(1)


# -- convolution and pooling -------------------------------------------------------------------------
def taps(
    size: Sequence[int], kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, out: Ints
) -> Iterator[tuple[Ints, Ints, Ints]]:
    """(place in the result, place in the kernel, place in the input) of every product inside the input."""
    for o in np.ndindex(*out):
        for k in np.ndindex(*kernel):
            i = tuple(a * s - p + b * d for a, s, p, b, d in zip(o, stride, padding, k, dilation, strict=True))
            if all(0 <= v < n for v, n in zip(i, size, strict=True)):
                yield o, k, i


def conv(
    x: Array, weight: Array, bias: Array | None, stride: Ints, padding: Ints, dilation: Ints, groups: int
) -> Array:
    kernel = weight.shape[2:]
    rows = zip(x.shape[2:], kernel, stride, padding, dilation, strict=True)
    out: Array = np.zeros(
        (x.shape[0], weight.shape[0], *((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in rows)),
        np.result_type(x, weight),
    )
    for (o, k, i), g in itertools.product(
        list(taps(x.shape[2:], kernel, stride, padding, dilation, out.shape[2:])), range(groups)
    ):
        ins, outs = _group(g, x.shape[1], groups), _group(g, weight.shape[0], groups)
        out[(slice(None), outs, *o)] += x[(slice(None), ins, *i)] @ weight[(outs, slice(None), *k)].T
    return out if bias is None else out + bias.reshape(-1, *[1] * len(kernel))


def _group(g: int, channels: int, groups: int) -> slice:
    size = channels // groups
    return slice(g * size, (g + 1) * size)


def conv_grad_input(
    grad: Array, weight: Array, shape: Ints, stride: Ints, padding: Ints, dilation: Ints, groups: int
) -> Array:
    out: Array = np.zeros(shape, np.result_type(grad, weight))
    for (o, k, i), g in itertools.product(
        list(taps(shape[2:], weight.shape[2:], stride, padding, dilation, grad.shape[2:])), range(groups)
    ):
        ins, outs = _group(g, shape[1], groups), _group(g, weight.shape[0], groups)
        out[(slice(None), ins, *i)] += grad[(slice(None), outs, *o)] @ weight[(outs, slice(None), *k)]
    return out


def conv_grad_weight(
    grad: Array, x: Array, shape: Ints, stride: Ints, padding: Ints, dilation: Ints, groups: int
) -> Array:
    out: Array = np.zeros(shape, np.result_type(grad, x))
    for (o, k, i), g in itertools.product(
        list(taps(x.shape[2:], shape[2:], stride, padding, dilation, grad.shape[2:])), range(groups)
    ):
        ins, outs = _group(g, x.shape[1], groups), _group(g, shape[0], groups)
        out[(outs, slice(None), *k)] += grad[(slice(None), outs, *o)].T @ x[(slice(None), ins, *i)]
    return out


def pooled_sizes(x: Ints, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, ceil: bool) -> Ints:
    """As many windows as start inside the input or its first padding and, without ``ceil``, end inside the last."""
    found = []
    for n, k, s, p, d in zip(x, kernel, stride, padding, dilation, strict=True):
        starts = range(-p, n + p, s)
        ends = n + p
        found.append(sum(1 for a in starts if a + d * (k - 1) + 1 <= ends or (ceil and a < n)))
        if ceil:  # windows that stick out beyond one more than needed do not count
            full = sum(1 for a in starts if a + d * (k - 1) + 1 <= ends)
            left_over = (n + 2 * p - d * (k - 1) - 1) % s != 0
            found[-1] = min(found[-1], full + left_over)
    return tuple(found)


def max_pool(x: Array, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, ceil: bool) -> tuple[Array, Array]:
    sizes = pooled_sizes(x.shape[2:], kernel, stride, padding, dilation, ceil)
    out: Array = np.zeros((*x.shape[:2], *sizes), x.dtype)
    index: Array = np.full(out.shape, -1, np.int64)
    for o, _, i in taps(x.shape[2:], kernel, stride, padding, dilation, sizes):
        here: Array = x[(..., *i)]
        place: Any = np.ravel_multi_index(i, x.shape[2:])
        best, at = out[(..., *o)], index[(..., *o)]
        with np.errstate(invalid="ignore"):
            better = (at < 0) | (here > best) | ((here != here) & (best == best))
        out[(..., *o)], index[(..., *o)] = np.where(better, here, best), np.where(better, place, at)
    return out, index


def max_pool_grad(grad: Array, indices: Array, shape: Ints) -> Array:
    out: Array = np.zeros(shape, grad.dtype)
    flat = out.reshape(*shape[:2], -1)
    for n, c, *o in np.ndindex(*grad.shape):
        flat[n, c, indices[(n, c, *o)]] += grad[(n, c, *o)]
    return out


def _averaging(
    sizes: Ints, out: Ints, kernel: Ints, stride: Ints, padding: Ints, include: bool, divisor: int | None
) -> Iterator[tuple[Ints, Ints, float]]:
    """(place in the result, place in the input, weight)."""
    for o in np.ndindex(*out):
        first = [a * s - p for a, s, p in zip(o, stride, padding, strict=True)]
        inside = [range(max(a, 0), min(a + k, n)) for a, k, n in zip(first, kernel, sizes, strict=True)]
        counted = math.prod(min(a + k, n + p) - a for a, k, n, p in zip(first, kernel, sizes, padding, strict=True))
        count = divisor or (counted if include else math.prod(len(r) for r in inside))
        for i in itertools.product(*inside):
            yield o, i, 1 / count


def avg_pool(
    x: Array, kernel: Ints, stride: Ints, padding: Ints, ceil: bool, count_include_pad: bool, divisor: int | None
) -> Array:
    sizes = pooled_sizes(x.shape[2:], kernel, stride, padding, (1,) * len(kernel), ceil)
    out: Array = np.zeros((*x.shape[:2], *sizes))
    for o, i, w in _averaging(x.shape[2:], sizes, kernel, stride, padding, count_include_pad, divisor):
        out[(..., *o)] += w * x[(..., *i)]
    return np.trunc(out.round(9)) if x.dtype.kind == "i" else out


def avg_pool_grad(
    grad: Array, shape: Ints, kernel: Ints, stride: Ints, padding: Ints, ceil: bool, count_include_pad: bool,
    divisor: int | None,
) -> Array:  # fmt: skip
    out: Array = np.zeros(shape)
    for o, i, w in _averaging(shape[2:], grad.shape[2:], kernel, stride, padding, count_include_pad, divisor):
        out[(..., *i)] += w * grad[(..., *o)]
    return out


# -- classes, tables, attention ----------------------------------------------------------------------
def nll_loss(x: Array, target: Array, weight: Array | None, ignore_index: int, reduction: str) -> tuple[Array, Array]:
    losses, total = np.zeros(target.shape), 0.0
    for at in np.ndindex(*target.shape):
        c = int(target[at])
        if c == ignore_index:
            continue
        w = 1.0 if weight is None else weight[c]
        losses[at] = -w * x[(at[0], c, *at[1:]) if at else c]
        total += w
    reduced = {"none": losses, "sum": losses.sum(), "mean": losses.sum() / np.float64(total)}[reduction]
    return np.asarray(reduced), np.asarray(total)


def nll_loss_grad(
    grad: Array, target: Array, weight: Array | None, total: Array, shape: Ints, ignore_index: int, reduction: str
) -> Array:
    out: Array = np.zeros(shape)
    for at in np.ndindex(*target.shape):
        c = int(target[at])
        if c != ignore_index:
            g = grad[at] if reduction == "none" else grad / total if reduction == "mean" else grad
            out[(at[0], c, *at[1:]) if at else c] = -g * (1.0 if weight is None else weight[c])
    return out


def embedding_grad(grad: Array, index: Array, rows: int, padding_idx: int) -> Array:
    out: Array = np.zeros((rows, grad.shape[-1]), grad.dtype)
    for at in np.ndindex(*index.shape):
        if index[at] != padding_idx:
            out[index[at]] += grad[at]
    return out


def sum_rows(x: Array, source: Array, to: Array, size: int) -> Array:
    out: Array = np.zeros((size, x.shape[1]), x.dtype)
    for row, at in zip(source, to, strict=True):
        out[at] += x[row]
    return out


def attention(
    query: Array, key: Array, value: Array, mask: Array | None, causal: bool, scale: float
) -> tuple[Array, Array]:
    scores = np.einsum("...le,...se->...ls", query, key) * scale + (0 if mask is None else mask)
    if causal:
        later = np.arange(scores.shape[-1]) > np.arange(scores.shape[-2])[:, None]
        scores = np.where(later, -np.inf, scores)
    total = np.exp(scores).sum(-1, keepdims=True)
    weights = np.where(total == 0, 0, np.exp(scores) / np.where(total == 0, 1, total))
    return np.einsum("...ls,...sv->...lv", weights, value), np.log(total)[..., 0]


def attention_grad(
    grad: Array, grad_lse: Array, query: Array, key: Array, value: Array, mask: Array | None, out: Array, lse: Array,
    causal: bool, scale: float,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """By the chain rule through probabilities and scores, row by row."""
    lead, queries, keys = query.shape[:-2], query.shape[-2], key.shape[-2]
    k, v = (np.broadcast_to(x, (*lead, *x.shape[-2:])) for x in (key, value))
    added = np.broadcast_to(0.0 if mask is None else mask, (*lead, queries, keys))
    of_query, of_key, of_value = (np.zeros(x.shape) for x in (query, k, v))
    for at in np.ndindex(*lead, queries):
        head, row = at[:-1], at[-1]
        seen = slice(0, min(keys, row + 1) if causal else keys)
        p = np.exp(k[head][seen] @ query[at] * scale + added[at][seen] - lse[at])
        of_p = v[head][seen] @ grad[at]
        of_score = p * (of_p - grad[at] @ out[at] + grad_lse[at])
        of_query[at] += of_score @ k[head][seen] * scale
        of_key[head][seen] += np.outer(of_score, query[at]) * scale
        of_value[head][seen] += np.outer(p, grad[at])
    return of_query, _summed(of_key, key.shape), _summed(of_value, value.shape)


def _summed(x: Array, shape: Ints) -> Array:
    """The sum over what ``shape`` was broadcast along."""
    x = x.sum(tuple(range(x.ndim - len(shape))))
    return x.sum(tuple(i for i, n in enumerate(shape) if n != x.shape[i]), keepdims=True)


def dropout_mask(seed: int, offset: int, limit: int, shape: Ints, device: Any) -> Array:
    words = random_words(seed, offset, math.prod(shape))
    return np.array([w < limit for w in words], bool).reshape(shape)


# -- recurrent ---------------------------------------------------------------------------------------
def lstm_layer(gates: Array, h0: Array, c0: Array, weight: Array) -> tuple[Array, Array]:
    hidden, out, cells = h0.shape[1], [], []
    for step in gates:
        a = step + h0 @ weight.T
        i, f, g, o = (a[:, k * hidden : (k + 1) * hidden] for k in range(4))
        c0 = sigmoid(f) * c0 + sigmoid(i) * np.tanh(g)
        h0 = sigmoid(o) * np.tanh(c0)
        out.append(h0)
        cells.append(c0)
    return np.stack(out), np.stack(cells)


def lstm_sequence(
    x: Array, h0: Array, c0: Array, w_ih: Array, w_hh: Array, bias: Array | None, keep: bool
) -> tuple[Array, Array, Array]:
    gates = x @ w_ih.T + (0 if bias is None else bias)
    out, cells = lstm_layer(gates, h0, c0, w_hh)
    before = np.concatenate([h0[None], out[:-1]])
    i, f, g, o = np.split(gates + before @ w_hh.T, 4, axis=-1)
    kept = np.concatenate([sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)], -1)
    return out, cells, kept if keep else kept[:0]


def lstm_sequence_grad(
    kept: Array, of_out: Array | None, of_cells: Array | None, x: Array, h0: Array, c0: Array, w_hh: Array,
    result: Array, states: Array,
) -> tuple[Array, ...]:  # fmt: skip
    """Backwards through the steps, one example at a time."""
    of_gates, of_c0, of_h0 = np.zeros_like(kept), np.zeros_like(c0), np.zeros_like(h0)
    of_w_ih, of_w_hh = np.zeros((w_hh.shape[0], x.shape[-1])), np.zeros_like(w_hh)
    for n in range(h0.shape[0]):
        of_h, of_c = np.zeros(h0.shape[1]), np.zeros(h0.shape[1])
        for t in reversed(range(len(kept))):
            i, f, g, o = np.split(kept[t, n], 4)
            squashed = np.tanh(states[t, n])
            of_h = of_h + (0 if of_out is None else of_out[t, n])
            of_c = of_c + (0 if of_cells is None else of_cells[t, n]) + of_h * o * (1 - squashed**2)
            outer = of_c * g, of_c * (states[t - 1, n] if t else c0[n]), of_c * i, of_h * squashed
            slopes = i * (1 - i), f * (1 - f), 1 - g**2, o * (1 - o)
            of_gates[t, n] = np.concatenate([a * b for a, b in zip(outer, slopes, strict=True)])
            of_w_ih += np.outer(of_gates[t, n], x[t, n])
            of_w_hh += np.outer(of_gates[t, n], result[t - 1, n] if t else h0[n])
            of_h, of_c = w_hh.T @ of_gates[t, n], of_c * f
        of_h0[n], of_c0[n] = of_h, of_c
    return of_gates, of_h0, of_c0, of_w_ih, of_w_hh


def gru_layer(gates: Array, h0: Array, weight: Array, bias: Array | None) -> Array:
    hidden, out = h0.shape[1], []
    for step in gates:
        b = h0 @ weight.T + (0 if bias is None else bias)
        r = sigmoid(step[:, :hidden] + b[:, :hidden])
        z = sigmoid(step[:, hidden : 2 * hidden] + b[:, hidden : 2 * hidden])
        n = np.tanh(step[:, 2 * hidden :] + r * b[:, 2 * hidden :])
        h0 = (1 - z) * n + z * h0
        out.append(h0)
    return np.stack(out)


def rnn_layer(gates: Array, h0: Array, weight: Array, nonlinearity: str) -> Array:
    out = []
    for step in gates:
        h0 = step + h0 @ weight.T
        h0 = np.tanh(h0) if nonlinearity == "tanh" else np.maximum(h0, 0)
        out.append(h0)
    return np.stack(out)


def by_differences(
    fn: Callable[..., Any], operands: Sequence[Array | None], cotangents: Sequence[Array]
) -> tuple[Array, ...]:
    """The gradients of ``fn`` for its operands by central differences of fourth order."""
    grads = []
    for j, x in enumerate(operands):
        if x is None:
            continue

        def of_one(v: Array, j: int = j, x: Array = x) -> Array:
            outs = fn(*[v.reshape(x.shape) if i == j else o for i, o in enumerate(operands)])
            outs = outs if isinstance(outs, tuple) else (outs,)
            return np.asarray([sum((o * c).sum() for o, c in zip(outs, cotangents, strict=True))])

        grads.append(_jacobian_rows(of_one, x.reshape(-1))[0].reshape(x.shape))
    return tuple(grads)


def rnn_layer_grad(
    of_out: Array, h0: Array, weight: Array, result: Array, nonlinearity: str
) -> tuple[Array, Array, Array]:
    """Backwards through the steps, one example at a time."""
    of_gates, of_h0, of_weight = np.zeros_like(result), np.zeros_like(h0), np.zeros_like(weight)
    for n in range(h0.shape[0]):
        carried = np.zeros(h0.shape[1])
        for t in reversed(range(result.shape[0])):
            slope = 1 - result[t, n] ** 2 if nonlinearity == "tanh" else (result[t, n] > 0).astype(float)
            of_gates[t, n] = (of_out[t, n] + carried) * slope
            of_weight += np.outer(of_gates[t, n], result[t - 1, n] if t else h0[n])
            carried = weight.T @ of_gates[t, n]
        of_h0[n] = carried
    return of_gates, of_h0, of_weight
