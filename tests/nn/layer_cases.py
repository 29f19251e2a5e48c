"""Layers in the torch API, and what they reject."""

from __future__ import annotations

from typing import Any

from tests.nn.models import filled, numbers
from tests.recorded import Case, collected

CASES: dict[str, Case] = {
    "linear_err": lambda T: T.nn.Linear(3, 2)(T.ones(1, 4)),
    "linear_0": lambda T: T.nn.Linear(3, 2)(T.ones(0, 3)).shape,
    "linear_1d": lambda T: filled(T, T.nn.Linear(3, 2))(numbers(T, 3)),
    "linear_device": lambda T: T.nn.Linear(3, 2, device="meta").weight.shape,
    "conv_same": lambda T: filled(T, T.nn.Conv2d(1, 2, (3, 4), padding="same", dilation=2))(numbers(T, 1, 1, 6, 7)),
    "conv_same_stride": lambda T: T.nn.Conv2d(1, 2, 3, padding="same", stride=2),
    "conv_modes": lambda T: [
        filled(T, T.nn.Conv2d(1, 2, 3, padding=(1, 2), padding_mode=m))(numbers(T, 1, 1, 6, 7))
        for m in ("zeros", "reflect", "replicate", "circular")
    ],
    "conv_samemode": lambda T: [
        filled(T, T.nn.Conv1d(1, 2, 4, padding="same", padding_mode=m))(numbers(T, 1, 1, 7))
        for m in ("zeros", "reflect", "replicate", "circular")
    ],
    "conv_unb": lambda T: filled(T, T.nn.Conv2d(1, 2, 3))(numbers(T, 1, 6, 7)),
    "conv_err": lambda T: T.nn.Conv2d(3, 2, 3)(T.ones(1, 4, 5, 5)),
    "conv_groups_err": lambda T: T.nn.Conv2d(3, 2, 3, groups=2),
    "conv_small": lambda T: T.nn.Conv2d(1, 2, 3)(T.ones(1, 1, 2, 2)),
    "convT": lambda T: filled(
        T, T.nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, output_padding=1, dilation=1, groups=1)
    )(numbers(T, 1, 2, 4, 4)),
    "convT_size": lambda T: filled(T, T.nn.ConvTranspose1d(2, 3, 3, stride=2))(numbers(T, 1, 2, 4), output_size=[10]),
    "batch_norm_1": lambda T: T.nn.BatchNorm1d(3)(T.ones(1, 3)),
    "batch_norm_dim": lambda T: T.nn.BatchNorm2d(3)(T.ones(1, 3)),
    "batch_norm_ch": lambda T: T.nn.BatchNorm1d(3)(T.ones(4, 5)),
    "ln_err": lambda T: T.nn.LayerNorm(3)(T.ones(2, 4)),
    "dropout_p": lambda T: T.nn.Dropout(1.5),
    "dropout_1": lambda T: T.nn.Dropout(1.0)(T.ones(3)),
    "embedding_pre": lambda T: [
        T.nn.Embedding.from_pretrained(numbers(T, 3, 2)).weight,
        T.nn.Embedding.from_pretrained(numbers(T, 3, 2), freeze=False, padding_idx=1).weight,
    ],
    "embedding_oob": lambda T: T.nn.Embedding(3, 2)(T.tensor([3])),
    "embedding_float": lambda T: T.nn.Embedding(3, 2)(T.tensor([1.0])),
    "printed_linear": lambda T: [
        (repr(m), m.extra_repr())
        for m in (
            T.nn.Linear(2, 3),
            T.nn.Linear(2, 3, bias=False),
            T.nn.Bilinear(2, 3, 4),
            T.nn.Bilinear(2, 3, 4, False),
        )
    ],
    "printed_embedding": lambda T: [
        (repr(m), m.extra_repr())
        for m in (
            T.nn.Embedding(4, 3),
            T.nn.Embedding(4, 3, padding_idx=-1, max_norm=1.5, norm_type=1.0),
            T.nn.Embedding(4, 3, scale_grad_by_freq=True, sparse=True),
            T.nn.EmbeddingBag(4, 3),
            T.nn.EmbeddingBag(4, 3, 1.0, 3.0, True, "sum", padding_idx=2),
            T.nn.EmbeddingBag(4, 3, mode="max"),
        )
    ],
    "printed_norms": lambda T: [
        (repr(m), m.extra_repr())
        for m in (
            T.nn.GroupNorm(2, 4),
            T.nn.GroupNorm(2, 4, 0.1, affine=False),
            T.nn.LayerNorm(3),
            T.nn.LayerNorm([3, 4], 0.1, elementwise_affine=False),
            T.nn.LayerNorm((3, 4), bias=False),
            T.nn.RMSNorm(3),
            T.nn.RMSNorm((3, 4), eps=0.1, elementwise_affine=False),
            T.nn.InstanceNorm3d(3),
            T.nn.InstanceNorm3d(3, 0.1, 0.2, affine=True, track_running_stats=True),
            T.nn.BatchNorm3d(2, momentum=None),
        )
    ],
    "printed_convolutions": lambda T: [
        (repr(m), m.extra_repr())
        for m in (
            T.nn.Conv1d(2, 4, 3, groups=2, padding_mode="circular"),
            T.nn.Conv3d(1, 2, (1, 2, 3), padding="same"),
            T.nn.ConvTranspose3d(2, 4, 3, 2, (1, 0, 1), 1, 2, False, 2),
            T.nn.ConvTranspose3d(2, 4, 3),
        )
    ],
    "printed_recurrent": lambda T: [
        (repr(m), m.extra_repr())
        for m in (
            T.nn.RNNBase("GRU", 2, 3),
            T.nn.RNN(2, 3, 2, "relu", bias=False, batch_first=True),
            T.nn.GRU(2, 3),
            T.nn.LSTM(2, 3, 2, dropout=0.1, bidirectional=True, proj_size=1),
            T.nn.RNNCell(2, 3, False, "relu"),
            T.nn.LSTMCell(2, 3),
            T.nn.GRUCell(2, 3, bias=False),
        )
    ],
    "printed_attention": lambda T: repr(T.nn.TransformerDecoderLayer(4, 2, 8)),
    "bare_module": lambda T: [repr(T.nn.Module()), T.nn.Module().extra_repr()],
    "convT3": lambda T: [
        filled(T, T.nn.ConvTranspose3d(2, 4, (2, 1, 3), **options))(numbers(T, 1, 2, 2, 3, 2))
        for options in ({}, {"stride": 2, "padding": (1, 0, 1), "output_padding": 1, "groups": 2, "dilation": 2})
    ],
    "convT3_size": lambda T: filled(T, T.nn.ConvTranspose3d(1, 2, 2, stride=2, bias=False))(
        numbers(T, 1, 1, 2, 1, 2), output_size=(5, 2, 4)
    ),
    "convT3_wrong_size": lambda T: T.nn.ConvTranspose3d(1, 2, 2, 2)(T.ones(1, 1, 2, 1, 2), output_size=(9, 2, 4)),
    "in3": lambda T: [
        filled(T, T.nn.InstanceNorm3d(2, eps=0.1, **options))(numbers(T, 2, 2, 2, 1, 3) ** 2)
        for options in ({}, {"affine": True}, {"affine": True, "track_running_stats": True})
    ],
    "in3_one": lambda T: T.nn.InstanceNorm3d(2)(numbers(T, 2, 2, 1, 3)),
    "in3_channels": lambda T: T.nn.InstanceNorm3d(3, affine=True)(T.ones(2, 2, 2, 1, 3)),
    "in3_dim": lambda T: T.nn.InstanceNorm3d(3)(T.ones(2, 3, 4)),
    "embedding_padneg": lambda T: T.nn.Embedding(3, 2, padding_idx=-1).padding_idx,
}
case = collected(CASES)


@case
def batch_norm(T: Any) -> Any:
    m = T.nn.BatchNorm1d(3).double()
    x = numbers(T, 4, 3) ** 2
    y = m(x)
    m(x * 2)
    m.eval()
    return [y, m.running_mean, m.running_var, m.num_batches_tracked, m(x)]


@case
def batch_norm_none(T: Any) -> Any:
    m = T.nn.BatchNorm2d(3, momentum=None).double()
    x = numbers(T, 4, 3, 2, 2) ** 2
    m(x)
    m(x * 3)
    return [m.running_mean, m.running_var]


@case
def batch_norm_notrack(T: Any) -> Any:
    m = T.nn.BatchNorm1d(3, track_running_stats=False).double()
    m.eval()
    return [m(numbers(T, 4, 3) ** 2), list(m.state_dict())]


@case
def dropout_eval(T: Any) -> Any:
    x = T.ones(3)
    return T.nn.Dropout(0.5).eval()(x) is x


@case
def embedding_max(T: Any) -> Any:
    m = filled(T, T.nn.Embedding(5, 3, max_norm=0.1))
    y = m(T.tensor([1, 2, 1]))
    return [y, m.weight]


@case
def embedding_freq(T: Any) -> Any:
    m = filled(T, T.nn.Embedding(5, 3, scale_grad_by_freq=True))
    m(T.tensor([1, 2, 1])).sum().backward()
    return m.weight.grad


@case
def flatten_parameters(T: Any) -> Any:
    """It changes no result and no parameter."""
    found = []
    for m in (T.nn.LSTM(2, 3, 2, bidirectional=True), T.nn.GRU(2, 3), T.nn.RNNBase("RNN_TANH", 2, 3)):
        m, x = filled(T, m), numbers(T, 4, 1, 2)
        before = [p.clone() for p in m.parameters()]
        answer, kept = m.flatten_parameters(), list(m.parameters())
        found += [answer, m(x)[0] if type(m) is not T.nn.RNNBase else None, len(kept)]
        found.append(all(bool((p == q).all()) for p, q in zip(kept, before, strict=True)))
    return found
