"""Cases of the functions of layers and losses in torch's own namespace, with the arguments that they take there."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.recorded import Case

CASES: dict[str, Case] = {}


def on(shape: tuple[int, ...], *texts: str) -> None:
    """Expressions of T and a tensor t of the shape; what they give, and the gradient of t."""
    x = np.random.default_rng(5).standard_normal(shape)
    for text in texts:
        fn: Any = eval(f"lambda T, t: {text}")
        CASES[text] = lambda T, fn=fn: _run(T, fn, x)


def _run(T: Any, fn: Any, x: Any) -> Any:
    t = T.tensor(x).requires_grad_()
    out = fn(T, t)
    first = out[0] if isinstance(out, tuple) else out
    if first.requires_grad:
        (first * first).sum().backward()
    return tuple(o.detach() for o in out) if isinstance(out, tuple) else out.detach(), t.grad


on(
    (2, 4, 3),
    "T.batch_norm(t, t[0, :, 0].detach(), None, None, None, True, 0.1, 1e-5, False)",
    "T.batch_norm(t, None, None, T.zeros(4).to(t), T.ones(4).to(t), False, 0.1, 1e-5, True)",
    "T.instance_norm(t, None, None, None, None, True, 0.1, 1e-5, False)",
    "T.layer_norm(t, (4, 3), t[0].detach(), t[1].detach(), 1e-5, False)",
    "T.group_norm(t, 2, None, None, 1e-5, True)",
    "T.rms_norm(t, (3,))",
    "T.native_layer_norm(t, (3,), None, None, 1e-5)",
    "T.native_group_norm(t, None, None, 2, 4, 3, 2, 1e-5)",
    "T.native_batch_norm(t, None, None, None, None, True, 0.1, 1e-5)",
    "T.native_batch_norm(t, None, None, T.zeros(4).to(t), T.ones(4).to(t), False, 0.1, 1e-5)",
    "T.norm_except_dim(t, 2, 1)",
    "T.norm_except_dim(t, 1, -1)",
    "T.celu(t, 0.5)",
    "T.selu(t)",
    "T.prelu(t, t[0, :, 0].detach())",
    "t.hardshrink(0.7)",
    "T.threshold(t, 0.1, 3.0)",
    "T.rrelu(t)",
    "T.dropout(t, 0.5, False)",
    "T.feature_dropout(t, 1.0, True)",
    "T.alpha_dropout(t, 0.5, False)",
    "T.native_dropout(t, 1.0, True)",
    "T.conv1d(t, t.detach()[:, :, :2], None, 1, 1)",
    "T.conv_tbc(t, t.detach()[:, :3].transpose(0, 2)[:, :3, :].repeat(1, 2, 1)[:, :3], t.detach()[0, 0, :2] * 0, 1)",
    "T.convolution(t, t.detach()[:, :, :2], None, [1], [1], [1], False, [0], 1)",
    "T.convolution(t, t.detach()[:, :, :2].transpose(0, 1), None, [2], [0], [1], True, [1], 1)",
    "T.adaptive_max_pool1d(t, 2)",
    "T.max_pool1d_with_indices(t, 2)",
    "T.avg_pool1d(t, 2)",
    "T.constant_pad_nd(t, (1, -1, 0, 2), 7.5)",
    "T.pixel_shuffle(t.reshape(1, 4, 2, 3), 2)",
    "T.channel_shuffle(t, 2)",
    "T.cosine_similarity(t, t.detach()[0], 2)",
    "T.pairwise_distance(t[0], t.detach()[1])",
    "T.grid_sampler(t.reshape(1, 4, 2, 3), t.detach().reshape(1, 3, 4, 2), 0, 1, False)",
    "T.grid_sampler_2d(t.reshape(1, 4, 2, 3), t.detach().reshape(1, 3, 4, 2), 1, 2, True)",
    "T.affine_grid_generator(t[:, :2], (2, 1, 2, 3), True)",
)
on(
    (4, 3),
    "T.embedding(t, T.tensor([1, 3, 1]), 3)",
    "T.embedding(t, T.tensor([1, 3, 1]), -1, True)",
    "T.embedding_bag(t, T.tensor([1, 3, 1, 0]), T.tensor([0, 2]), False, 1)[0]",
    "T.embedding_bag(t, T.tensor([1, 3, 1, 0]), T.tensor([0, 1, 1]), False, 2)[0]",
    "T.embedding_renorm_(t.detach().clone(), T.tensor([1, 2]), 0.5, 2.0)",
    "T.binary_cross_entropy_with_logits(t, t.detach().sigmoid(), None, None, 2)",
    "T.cosine_embedding_loss(t, t.detach().flip(0), T.tensor([1.0, -1.0, 1.0, -1.0]).to(t), 0.1, 0)",
    "T.ctc_loss(t.log_softmax(1), T.tensor([1, 2]), T.tensor(4), T.tensor(2), 0, 2)",
    "T.hinge_embedding_loss(t, t.detach().sign(), 0.5, 1)",
    "T.kl_div(t.log_softmax(1), t.detach().softmax(1), 2)",
    "T.kl_div(t.log_softmax(1), t.detach().log_softmax(1), 0, log_target=True)",
    "T.margin_ranking_loss(t, t.detach().flip(0), t.detach().sign(), 0.3)",
    "T.poisson_nll_loss(t, t.detach().abs(), True, True, 1e-8, 1)",
    "T.triplet_margin_loss(t, t.detach().flip(0), t.detach() * 2, 1.0, 2.0, 1e-6, True, 0)",
    "T.kl_div(t.log_softmax(1), t.detach().softmax(1))",
    "T.rnn_tanh_cell(t, t.detach()[:, :2], t.detach()[:2], t.detach()[:2, :2])",
    "T.rnn_relu_cell(t, t.detach()[:, :2], t.detach()[:2], t.detach()[:2, :2], t.detach()[0, :2])",
    "T.gru_cell(t, t.detach()[:, :1], t.detach()[:3], t.detach()[:3, :1], t.detach()[0], t.detach()[1])",
    "T.lstm_cell(t, (t.detach()[:, :1], t.detach()[:, 1:2]), t.detach(), t.detach()[:, :1])",
    "T.fake_quantize_per_tensor_affine(t, 0.25, 1, 0, 7)",
    "T.fake_quantize_per_channel_affine(t.float(), T.tensor([0.5, 0.25, 1.0]), T.tensor([0, 1, 2]).int(), 1, 0, 7)",
    "T.segment_reduce(t, 'max', lengths=T.tensor([2, 0, 2]))",
    "T.segment_reduce(t, 'mean', lengths=T.tensor([1, 3]), initial=0.5)",
    "T.segment_reduce(t, 'prod', offsets=T.tensor([[0, 1, 3], [0, 0, 3], [0, 2, 3], [0, 3, 3]]), axis=1)",
)


def _states(T: Any, name: str) -> Any:
    h = T.ones(4, 2, 2, dtype=T.float64) / 3
    return (h, h * 2) if name == "lstm" else h


def _weights(T: Any, gates: int, biases: bool) -> list[Any]:
    rng = np.random.default_rng(6)
    made = []
    for layer in range(2):
        for _ in range(2):
            shapes = [(gates * 2, 3 if layer == 0 else 4), (gates * 2, 2)] + [(gates * 2,)] * (2 * biases)
            made += [T.tensor(rng.standard_normal(shape)).requires_grad_() for shape in shapes]
    return made


def _recurrent(T: Any, name: str, gates: int, packed: bool, biases: bool) -> Any:
    weights, x = _weights(T, gates, biases), T.tensor(np.random.default_rng(7).standard_normal((2, 4, 3)))
    if packed:
        batch_sizes = T.tensor([2, 2, 1])
        out = getattr(T, name)(x.reshape(-1, 3)[:5], batch_sizes, _states(T, name), weights, biases, 2, 0.0, True, True)
    else:
        out = getattr(T, name)(x, _states(T, name), weights, biases, 2, 0.0, False, True, True)
    (out[0] * out[0]).sum().backward()
    return tuple(o.detach() for o in out), weights[0].grad, weights[-1].grad


for _name, _gates in (("lstm", 4), ("gru", 3), ("rnn_tanh", 1), ("rnn_relu", 1)):
    for _packed in (False, True):
        for _biases in (False, True):
            _given = (_name, _gates, _packed, _biases)
            CASES[f"{_name}, packed {_packed}, biases {_biases}"] = lambda T, given=_given: _recurrent(T, *given)
