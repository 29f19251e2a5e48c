"""Samples, references and error inputs of the nn ops."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from flambeau.plugins.conformance.opdb import Failure, Maker, Sample, error_rows, reference, sample_rows, samples
from flambeau.plugins.conformance.opdb import nn_references as ref

Samples = Iterator[Sample]

# -- elementwise: their samples are made by rule, see elementwise.py ---------------------------------
reference("relu_grad", lambda grad, y: np.where(y <= 0, 0, grad))
reference("gelu", ref.gelu)
reference("gelu_grad", ref.gelu_grad, tolerance=4)
reference("gelu_tanh", ref.gelu_tanh)
reference("gelu_tanh_grad", ref.gelu_tanh_grad, tolerance=4)
reference("silu", lambda x: x * ref.sigmoid(x))
reference("silu_grad", ref.silu_grad, tolerance=4)
reference("mish", lambda x: x * np.tanh(ref.softplus(x)))
reference("mish_grad", ref.mish_grad, tolerance=4)
reference("softplus", ref.scaled_softplus)
reference("logsigmoid", lambda x: -ref.softplus(-x))
reference("softsign", lambda x: x / (1 + np.abs(x)))
reference("tanhshrink", lambda x: x - np.tanh(x), tolerance=4)
reference("leaky_relu", lambda x, slope: np.where(x > 0, x, slope * x))
reference("elu", ref.elu)
reference("hardtanh", ref.hardtanh)
reference("hardsigmoid", lambda x: np.clip(x + 3, 0, 6) / 6)
reference("hardswish", lambda x: x * np.clip(x + 3, 0, 6) / 6)
reference("softshrink", ref.softshrink)
reference("hardshrink", lambda x, edge: np.where((x > edge) | (x < -edge) | np.isnan(x), x, 0))
reference("threshold", lambda x, edge, value: np.where(x <= edge, value, x))
reference("squared_error", lambda x, target: (x - target) ** 2, tolerance=4)
reference("absolute_error", lambda x, target: np.abs(x - target))
reference("huber_error", ref.huber, tolerance=4)
reference("cross_entropy_of_probability", ref.binary_entropy, tolerance=4)
reference("cross_entropy_of_logit", ref.logit_entropy, tolerance=4)
reference("scale_shift", lambda x, mean, scale, shift: (x - mean) * scale + shift, tolerance=4)
reference(
    "scale_shift_grad", lambda g, scale, x, mean, slope, shift: g * scale + (x - mean) * slope + shift, tolerance=4
)
reference("masked_scale", lambda x, mask, scale: np.where(mask, x * scale, 0))


sample_rows({
    "cross_entropy_of_probability": lambda m: [
        (m(3, 4, low=0.1, high=0.9), m(3, 4, low=0, high=1)), (m(2, 1, 4, low=0.1, high=0.9), m(3, 1, low=0, high=1)),
        (m(0, 3), m(0, 3)),
        Sample.rough(np.array([0, 1, 0, 1]).astype(m.dtype.numpy), np.array([0, 1, 1, 0]).astype(m.dtype.numpy)),
    ],
})  # fmt: skip


# -- softmax -----------------------------------------------------------------------------------------
sample_rows({
    "softmax log_softmax": lambda m: [
        Sample(m(3, 5), axis=1), Sample(m(2, 3, 4), dim=-2), Sample(m(), dim=0), Sample(m(0, 3), dim=1),
        Sample(m(2, 3, low=-60, high=60), dim=0),
    ],
})  # fmt: skip


reference("softmax", lambda x, axis=None, dim=None: ref.softmax(x, axis if dim is None else dim))
reference("log_softmax", lambda x, axis=None, dim=None: ref.log_softmax(x, axis if dim is None else dim), tolerance=4)


@samples("softmax_grad")
def softmax_grad(m: Maker) -> Samples:
    for shape, axis in (((3, 5), 1), ((2, 4, 3), 1)):
        yield Sample(m(*shape), _as(m, ref.softmax(m(*shape).astype(float), axis)), axis=axis)


@samples("log_softmax_grad")
def log_softmax_grad(m: Maker) -> Samples:
    for shape, axis in (((3, 5), 1), ((2, 4, 3), 1)):
        yield Sample(m(*shape), _as(m, ref.log_softmax(m(*shape).astype(float), axis)), axis=axis)


def _as(m: Maker, value: Any) -> Any:
    """A computed operand in the dtype of the sample."""
    return np.asarray(value).astype(m.dtype.numpy)


reference("softmax_grad", ref.softmax_grad, tolerance=4)
reference("log_softmax_grad", ref.log_softmax_grad, tolerance=4)


error_rows({
    "softmax log_softmax": lambda m: [(IndexError, ("softmax", "dim=2", "2 dimension"), m(2, 3), 2)],
})  # fmt: skip


# -- normalisation -----------------------------------------------------------------------------------
sample_rows({
    "layer_norm": lambda m: [
        Sample(m(2, 3, 4), m(4), m(4), normalized_shape=(4,), eps=1e-5),
        Sample(m(2, 3, 4), m(3, 4), None, normalized_shape=(3, 4), eps=1e-2),
        Sample(m(5, 4), None, None, normalized_shape=(4,), eps=1e-5),
        Sample(m(4), m(4), m(4), normalized_shape=(4,), eps=1e-3),
        Sample(m(0, 4), m(4), m(4), normalized_shape=(4,), eps=1e-3),
    ],
    "rms_norm": lambda m: [
        Sample(m(2, 3, 4), m(4), normalized_shape=(4,), eps=1e-5),
        Sample(m(2, 3, 4), None, normalized_shape=(3, 4), eps=1e-2),
    ],
    "layer_norm_grad rms_norm_grad": lambda m: [
        Sample(m(2, 3, 4), m(2, 3, 4), m(4), normalized_shape=(4,), eps=1e-1),
        Sample(m(2, 3, 2), m(2, 3, 2), None, normalized_shape=(3, 2), eps=1e-1),
    ],
    "batch_norm": lambda m: [
        Sample(m(4, 3, 2, 2), m(3), m(3), eps=1e-5), Sample(m(6, 3), None, None, eps=1e-2),
        Sample(m(3, 2, 4), m(2), None, eps=1e-2),
    ],
    "batch_norm_given": lambda m: [
        Sample(m(4, 3, 2, 2), m(3), m(3, low=0.5, high=2), m(3), m(3), eps=1e-5),
        Sample(m(6, 3), m(3), m(3, low=0.5, high=2), None, None, eps=1e-2),
        Sample(m(2, 2, 40), m(2), m(2, low=0.5, high=2), m(2), None, eps=1e-2),
    ],
    "batch_norm_sums": lambda m: [(m(4, 3, 2, 2), m(4, 3, 2, 2), m(3)), (m(4, 3), m(4, 3), m(3))],
})  # fmt: skip


reference("layer_norm", ref.layer_norm, tolerance=20)
reference("rms_norm", ref.rms_norm, tolerance=20)
reference("layer_norm_grad", ref.layer_norm_grad, tolerance=1000)
reference("rms_norm_grad", ref.rms_norm_grad, tolerance=1000)
reference("batch_norm", ref.batch_norm, tolerance=20)
reference("batch_norm_given", ref.batch_norm_given, tolerance=20)
reference("batch_norm_sums", ref.batch_norm_sums, tolerance=20)


error_rows({
    "layer_norm": lambda m: [
        Failure(RuntimeError, ("layer_norm", "normalized_shape (3,)", "(2, 4)"), m(2, 4), None, None,
            normalized_shape=(3,), eps=0.1),
        Failure(RuntimeError, ("layer_norm", "weight", "(5,)", "(4,)"), m(2, 4), m(5), None, normalized_shape=(4,),
            eps=0.1),
        Failure(RuntimeError, ("layer_norm", "input's dtype", "int8"), m(2, 4), _other(m(4)), None,
            normalized_shape=(4,), eps=0.1),
    ],
    "batch_norm": lambda m: [
        Failure(RuntimeError, ("batch_norm", "(N, C, ...)", "(4,)"), m(4), None, None, eps=0.1),
        Failure(RuntimeError, ("batch_norm", "bias", "(2,)", "(3,)"), m(4, 3), m(3), m(2), eps=0.1),
    ],
})  # fmt: skip


# -- convolution -------------------------------------------------------------------------------------
def _options(stride: Any, padding: Any, dilation: Any, groups: int = 1) -> dict[str, Any]:
    return dict(stride=stride, padding=padding, dilation=dilation, groups=groups)


_PLAIN = _options((1, 1), (0, 0), (1, 1))


def _other(x: Any) -> Any:
    """The array in a dtype that does not mix with its own."""
    return x.astype("int8" if x.dtype != "int8" else "int16")


sample_rows({
    "conv": lambda m: [
        Sample(m(2, 3, 6), m(4, 3, 3), m(4), **_options((2,), (1,), (1,))),
        Sample(m(2, 2, 5, 4), m(3, 2, 2, 3), None, **_PLAIN),
        Sample(m(1, 4, 7, 6), m(4, 2, 3, 2), m(4), **_options((2, 1), (1, 2), (1, 2), 2)),
        Sample(m(2, 3, 4, 4), m(2, 3, 1, 1), m(2), **_options((1, 1), (0, 0), (1, 1))),
        Sample(m(1, 2, 3, 4, 3), m(2, 1, 2, 2, 2), None, **_options((1, 2, 1), (1, 0, 1), (1, 1, 2), 2)),
        Sample(m(0, 2, 5, 4), m(3, 2, 2, 3), None, **_PLAIN), Sample(m(2, 0, 5, 4), m(3, 0, 2, 3), m(3), **_PLAIN),
    ],
    "conv_grad_input": lambda m: [
        Sample(m(2, 4, 3), m(4, 3, 3), shape=(2, 3, 6), **_options((2,), (1,), (1,))),
        Sample(m(2, 3, 4, 2), m(3, 2, 2, 3), shape=(2, 2, 5, 4), **_PLAIN),
        Sample(m(1, 4, 4, 8), m(4, 2, 3, 2), shape=(1, 4, 7, 6), **_options((2, 1), (1, 2), (1, 2), 2)),
    ],
    "conv_grad_weight": lambda m: [
        Sample(m(2, 4, 3), m(2, 3, 6), shape=(4, 3, 3), **_options((2,), (1,), (1,))),
        Sample(m(2, 3, 4, 2), m(2, 2, 5, 4), shape=(3, 2, 2, 3), **_PLAIN),
        Sample(m(1, 4, 4, 8), m(1, 4, 7, 6), shape=(4, 2, 3, 2), **_options((2, 1), (1, 2), (1, 2), 2)),
    ],
})  # fmt: skip


reference("conv", ref.conv, tolerance=20)
reference("conv_grad_input", ref.conv_grad_input, tolerance=20)
reference("conv_grad_weight", ref.conv_grad_weight, tolerance=20)


error_rows({
    "conv": lambda m: [
        Failure(RuntimeError, ("conv2d", "4 channels", "takes 3", "groups=1"), m(1, 4, 5, 5), m(2, 3, 3, 3), None,
            **_PLAIN),
        Failure(RuntimeError, ("conv2d", "bias", "(3,)", "(2,)"), m(1, 3, 5, 5), m(2, 3, 3, 3), m(3), **_PLAIN),
        Failure(RuntimeError, ("conv2d", "kernel does not fit", "(1, 3, 2, 5)"), m(1, 3, 2, 5), m(2, 3, 3, 3), None,
            **_PLAIN),
        Failure(RuntimeError, ("conv2d", "stride", "(0, 1)"), m(1, 3, 5, 5), m(2, 3, 3, 3), None, **_options((0, 1),
            (0, 0), (1, 1))),
        Failure(RuntimeError, ("conv", "(N, C, *sizes)", "(3, 5, 5)"), m(3, 5, 5), m(2, 3, 3, 3), None, **_PLAIN),
        Failure(RuntimeError, ("conv2d", "does not fit", "(1, 3, 0, 5)"), m(1, 3, 0, 5), m(2, 3, 1, 1), None,
            **_options((1, 1), (1, 1), (1, 1))),
        Failure(RuntimeError, ("conv", "same dtype"), m(1, 3, 5, 5), _other(m(2, 3, 3, 3)), None, **_PLAIN),
    ],
})  # fmt: skip


# -- pooling -----------------------------------------------------------------------------------------
def _pool(kernel: Any, stride: Any, padding: Any, ceil: bool = False) -> dict[str, Any]:
    return dict(kernel=kernel, stride=stride, padding=padding, ceil=ceil)


sample_rows({
    "max_pool": lambda m: [
        Sample(m.distinct(2, 1, 7), **_pool((3,), (2,), (1,), True), dilation=(1,)),
        Sample(m.distinct(1, 2, 5, 4), **_pool((2, 2), (2, 2), (0, 0)), dilation=(1, 1)),
        Sample(m.distinct(1, 1, 6, 7), **_pool((2, 3), (1, 2), (1, 1)), dilation=(2, 1)),
        Sample.rough(m.special(1, 2, 6, 6), **_pool((3, 3), (2, 2), (1, 1)), dilation=(1, 1)),
        Sample(m.distinct(1, 1, 2, 3, 4), **_pool((2, 2, 2), (1, 1, 2), (0, 0, 0)), dilation=(1, 1, 1)),
    ],
    "max_pool_grad": lambda m: [
        Sample(m(2, 2, 3), m.index(2, 2, 3, high=7), shape=(2, 2, 7)),
        Sample(m(1, 2, 2, 3), m.index(1, 2, 2, 3, high=20), shape=(1, 2, 4, 5)),
    ],
})  # fmt: skip


def _averages(ceil: bool = False, include: bool = True, divisor: int | None = None) -> dict[str, Any]:
    return dict(ceil=ceil, count_include_pad=include, divisor=divisor)


sample_rows({
    "avg_pool": lambda m: [
        Sample(m(2, 1, 7), kernel=(3,), stride=(2,), padding=(1,), **_averages(True, False)),
        Sample(m(1, 2, 5, 4), kernel=(2, 2), stride=(2, 2), padding=(0, 0), **_averages()),
        Sample(m(1, 1, 6, 6), kernel=(3, 2), stride=(2, 3), padding=(1, 1), **_averages(True, True)),
        Sample(m(1, 1, 5, 5), kernel=(3, 2), stride=(1, 2), padding=(1, 0), **_averages(divisor=4)),
    ],
    "avg_pool_grad": lambda m: [
        Sample(m(2, 1, 4), shape=(2, 1, 7), kernel=(3,), stride=(2,), padding=(1,), **_averages(True, False)),
        Sample(m(1, 2, 2, 2), shape=(1, 2, 5, 4), kernel=(2, 2), stride=(2, 2), padding=(0, 0), **_averages()),
        Sample(m(1, 1, 4, 3), shape=(1, 1, 6, 6), kernel=(3, 2), stride=(2, 3), padding=(1, 1), **_averages(True,
            True)),
    ],
})  # fmt: skip


reference("max_pool", ref.max_pool)
reference("max_pool_grad", ref.max_pool_grad, tolerance=4)
reference("avg_pool", ref.avg_pool, tolerance=4)
reference("avg_pool_grad", ref.avg_pool_grad, tolerance=4)


error_rows({
    "max_pool": lambda m: [
        Failure(RuntimeError, ("max_pool2d", "4 dimensions", "(3, 5)"), m(3, 5), **_pool((2, 2), (2, 2), (0, 0)),
            dilation=(1, 1)),
        Failure(RuntimeError, ("max_pool2d", "padding", "half", "(2, 2)"), m(1, 1, 5, 5), **_pool((3, 3), (1, 1), (2,
            2)), dilation=(1, 1)),
        Failure(RuntimeError, ("max_pool1d", "smaller than", "(1, 1, 2)"), m(1, 1, 2), **_pool((3,), (1,), (0,)),
            dilation=(1,)),
        Failure(RuntimeError, ("max_pool1d", "batch", "(1, 0, 4)"), m(1, 0, 4), **_pool((2,), (1,), (0,)),
            dilation=(1,)),
    ],
    "avg_pool": lambda m: [
        Failure(RuntimeError, ("avg_pool2d", "batch", "(1, 0, 4, 4)"), m(1, 0, 4, 4), kernel=(2, 2), stride=(1, 1),
            padding=(0, 0), **_averages()),
        Failure(RuntimeError, ("avg_pool3d", "smaller than", "(1, 1, 1, 4, 4)"), m(1, 1, 1, 4, 4), kernel=(2, 2, 2),
            stride=(1, 1, 1), padding=(1, 1, 1), **_averages()),
    ],
})  # fmt: skip


# -- classes -----------------------------------------------------------------------------------------
def _nll(reduction: str, ignore_index: int = -100) -> dict[str, Any]:
    return dict(ignore_index=ignore_index, reduction=reduction)


@samples("nll_loss")
def nll_loss(m: Maker) -> Samples:
    for how in ("none", "sum", "mean"):
        yield Sample(m(5, 3), m.index(5, high=3), None, **_nll(how))
        yield Sample(m(2, 3, 2), m.index(2, 2, high=3), _as(m, np.array([1, 2, 1])), **_nll(how, 1))
    yield Sample(m(4), np.array(2), None, **_nll("mean"))


@samples("nll_loss_grad")
def nll_loss_grad(m: Maker) -> Samples:
    total = _as(m, np.array(4))
    yield Sample(m(5), m.index(5, high=3), None, total, shape=(5, 3), **_nll("none"))
    yield Sample(m(), m.index(2, 2, high=3), _as(m, np.array([1, 2, 1])), total, shape=(2, 3, 2), **_nll("mean", 1))
    yield Sample(m(), m.index(5, high=3), None, total, shape=(5, 3), **_nll("sum"))
    yield Sample(m(), np.array([1, 1]), None, _as(m, np.array(0)), shape=(2, 3), **_nll("mean", 1))


reference("nll_loss", ref.nll_loss, tolerance=4)
reference("nll_loss_grad", ref.nll_loss_grad, tolerance=4)


error_rows({
    "nll_loss": lambda m: [
        Failure(RuntimeError, ("nll_loss", "(5, 3)", "(4,)"), m(5, 3), m.index(4, high=3), None, **_nll("mean")),
        Failure(RuntimeError, ("nll_loss", "weight", "(2,)", "(3,)"), m(5, 3), m.index(5, high=3), m(2),
            **_nll("mean")),
    ],
})  # fmt: skip


# -- tables, masks, attention ------------------------------------------------------------------------
sample_rows({
    "embedding": lambda m: [
        Sample(m(5, 3), m.index(2, 4, high=5), padding_idx=-1), Sample(m(5, 3), m.index(6, high=5), padding_idx=-1),
        Sample(m(5, 3), np.array(2), padding_idx=-1),
    ],
    "embedding_grad": lambda m: [
        Sample(m(2, 4, 3), m.index(2, 4, high=5), rows=5, padding_idx=-1),
        Sample(m(9, 2), m.index(9, high=4), rows=4, padding_idx=1),
    ],
    "sum_rows": lambda m: [
        Sample(m(5, 3), m.index(8, high=5), m.index(8, high=4), size=4),
        Sample(m(3, 1), m.index(2, high=3), m.index(2, high=6), size=6),
    ],
})  # fmt: skip


reference("embedding", lambda weight, index, padding_idx: weight[index])
reference("embedding_grad", ref.embedding_grad, tolerance=4)
reference("sum_rows", ref.sum_rows, tolerance=4)


error_rows({
    "embedding": lambda m: [
        Failure(RuntimeError, ("embedding", "(rows, width)", "(5,)"), m(5), m.index(2, high=5), padding_idx=-1),
        Failure(RuntimeError, ("embedding", "index", "integer"), m(5, 2), m(2), padding_idx=-1),
    ],
    "sum_rows": lambda m: [
        Failure(RuntimeError, ("sum_rows", "(2,)", "(3,)"), m(5, 2), m.index(2, high=5), m.index(3, high=4), size=4),
    ],
})  # fmt: skip


sample_rows({
    "dropout_mask": lambda m: [
        Sample(7, 3, 1 << 31, shape=(3, 5), device="cpu"), Sample(7, 4, 1 << 30, shape=(2, 2, 2), device="cpu"),
    ],
})  # fmt: skip


reference("dropout_mask", ref.dropout_mask)


sample_rows({
    "attention": lambda m: [
        Sample(m(2, 4, 3), m(2, 5, 3), m(2, 5, 2), None, causal=False, scale=0.5),
        Sample(m(2, 1, 4, 3), m(2, 1, 5, 3), m(2, 1, 5, 2), m(4, 5), causal=False, scale=0.7),
        Sample(m(4, 3), m(4, 3), m(4, 2), None, causal=True, scale=0.5),
        Sample(m(2, 2, 3), m(2, 4, 3), m(2, 4, 3), None, causal=True, scale=1.0),
        Sample(m(0, 2, 3), m(0, 4, 3), m(0, 4, 3), None, causal=False, scale=1.0),
        Sample(m(2, 0, 3), m(2, 4, 3), m(2, 4, 3), None, causal=True, scale=1.0),
    ],
})  # fmt: skip


reference("attention", ref.attention, tolerance=20)


@samples("attention_grad")
def attention_grad(m: Maker) -> Samples:
    for shapes, mask, causal in (
        (((2, 4, 3), (2, 5, 3), (2, 5, 2)), None, False), (((2, 1, 4, 3), (1, 5, 3), (1, 5, 2)), (4, 5), False),
        (((4, 3), (4, 3), (4, 2)), None, True), (((2, 2, 3), (1, 4, 3), (1, 4, 3)), (4,), True),
        (((0, 2, 3), (0, 4, 3), (0, 4, 3)), None, False), (((2, 0, 3), (2, 4, 3), (2, 4, 3)), None, True),
    ):  # fmt: skip
        q, k, v = (m(*shape) for shape in shapes)
        added = None if mask is None else m(*mask)
        exact = None if added is None else added.astype(float)
        out, lse = ref.attention(q.astype(float), k.astype(float), v.astype(float), exact, causal, 0.5)
        gradients = m(*out.shape), m(*lse.shape)
        yield Sample(*gradients, q, k, v, added, _as(m, out), _as(m, lse), causal=causal, scale=0.5)


reference("attention_grad", ref.attention_grad, tolerance=20)


error_rows({
    "attention": lambda m: [
        Failure(RuntimeError, ("scaled_dot_product_attention", "(4, 3)", "(5, 2)"), m(4, 3), m(5, 2), m(5, 2), None,
            causal=False, scale=1.0),
        Failure(RuntimeError, ("attention", "same dtype"), m(4, 3), m(5, 3), _other(m(5, 2)), None, causal=False,
            scale=1.0),
    ],
})  # fmt: skip


# -- recurrent ---------------------------------------------------------------------------------------
sample_rows({
    "lstm_layer": lambda m: [(m(3, 2, 8), m(2, 2), m(2, 2), m(8, 2)), (m(1, 3, 4), m(3, 1), m(3, 1), m(4, 1))],
    "gru_layer": lambda m: [(m(3, 2, 6), m(2, 2), m(6, 2), m(6)), (m(2, 2, 6), m(2, 2), m(6, 2), None)],
    "rnn_layer": lambda m: [
        Sample(m(3, 2, 2), m(2, 2), m(2, 2), nonlinearity="tanh"),
        Sample(m(3, 2, 2), m(2, 2), m(2, 2), nonlinearity="relu"),
    ],
})  # fmt: skip


@samples("lstm_layer_grad")
def lstm_layer_grad(m: Maker) -> Samples:
    gates, h0, c0, weight = m(2, 2, 4), m(2, 1), m(2, 1), m(4, 1)
    results = ref.lstm_layer(*(v.astype(float) for v in (gates, h0, c0, weight)))
    yield Sample(m(2, 2, 1), m(2, 2, 1), gates, h0, c0, weight, *(_as(m, r) for r in results))


sample_rows({
    "lstm_sequence": lambda m: [
        Sample(m(3, 2, 3), m(2, 2), m(2, 2), m(8, 3), m(8, 2), m(8), keep=True),
        Sample(m(2, 3, 1), m(3, 1), m(3, 1), m(4, 1), m(4, 1), None, keep=False),
    ],
})  # fmt: skip


@samples("lstm_sequence_grad")
def lstm_sequence_grad(m: Maker) -> Samples:
    x, h0, c0, w_ih, w_hh = m(2, 2, 3), m(2, 1), m(2, 1), m(4, 3), m(4, 1)
    first, *others = (v.astype(float) for v in (x, h0, c0, w_ih, w_hh))
    exact = ref.lstm_sequence(first, others[0], others[1], others[2], others[3], None, keep=True)
    out, cells, kept = (_as(m, r) for r in exact)
    yield Sample(kept, m(2, 2, 1), m(2, 2, 1), x, h0, c0, w_hh, out, cells)
    yield Sample(kept, m(2, 2, 1), None, x, h0, c0, w_hh, out, cells)


@samples("gru_layer_grad")
def gru_layer_grad(m: Maker) -> Samples:
    gates, h0, weight, bias = m(2, 2, 3), m(2, 1), m(3, 1), m(3)
    result = ref.gru_layer(*(v.astype(float) for v in (gates, h0, weight, bias)))
    yield Sample(m(2, 2, 1), gates, h0, weight, bias, _as(m, result))


@samples("rnn_layer_grad")
def rnn_layer_grad(m: Maker) -> Samples:
    gates, h0, weight = m(3, 2, 2), m(2, 2), m(2, 2)
    for how in ("tanh", "relu"):
        result = ref.rnn_layer(gates.astype(float), h0.astype(float), weight.astype(float), how)
        sample = Sample(m(3, 2, 2), h0, weight, _as(m, result), nonlinearity=how)
        sample.smooth = how == "tanh"
        yield sample


reference("lstm_layer", ref.lstm_layer, tolerance=20)
reference("gru_layer", ref.gru_layer, tolerance=20)
reference("rnn_layer", ref.rnn_layer, tolerance=20)
reference("lstm_sequence", ref.lstm_sequence, tolerance=20)
reference("lstm_sequence_grad", ref.lstm_sequence_grad, tolerance=20)
reference(
    "lstm_layer_grad",
    lambda of_out, of_cells, gates, h0, c0, weight, *results: ref.by_differences(
        ref.lstm_layer, (gates, h0, c0, weight), (of_out, of_cells)
    ),
    tolerance=1000,
)
reference(
    "gru_layer_grad",
    lambda of_out, gates, h0, weight, bias, result: ref.by_differences(
        ref.gru_layer, (gates, h0, weight, bias), (of_out,)
    ),
    tolerance=1000,
)
reference("rnn_layer_grad", ref.rnn_layer_grad, tolerance=20)
