"""Recurrent layers and attention in the torch API."""

from __future__ import annotations

import warnings
from typing import Any

from tests.nn.models import filled, numbers
from tests.recorded import Case, collected

#: What cases take besides T is made so.
GIVEN: dict[str, Case] = {"m": lambda T: mha(T)}

CASES: dict[str, Case] = {
    "lstm_h0": lambda T: filled(T, T.nn.LSTM(3, 4, proj_size=2))(
        numbers(T, 5, 2, 3), (numbers(T, 1, 2, 2), numbers(T, 1, 2, 4))
    ),
    "lstm_unb": lambda T: filled(T, T.nn.LSTM(3, 4))(numbers(T, 5, 3)),
    "lstm_err": lambda T: T.nn.LSTM(3, 4)(T.ones(5, 2, 7)),
    "lstm_err2": lambda T: T.nn.LSTM(3, 4)(T.ones(5, 2, 3), (T.ones(1, 3, 4), T.ones(1, 2, 4))),
    "lstm_err3": lambda T: T.nn.LSTM(3, 4)(T.ones(3)),
    "lstm_projerr": lambda T: T.nn.LSTM(3, 4, proj_size=4),
    "mha1": lambda T, m: m(numbers(T, 3, 2, 4), numbers(T, 5, 2, 4), numbers(T, 5, 2, 4) * 2),
}
case = collected(CASES)


def mha(T: Any, **options: Any) -> Any:
    return filled(T, T.nn.MultiheadAttention(4, 2, **options))


@case
def lstm(T: Any) -> Any:
    out = []
    for kw in (
        {},
        dict(num_layers=2, bidirectional=True),
        dict(batch_first=True),
        dict(proj_size=2),
        dict(bias=False),
        dict(num_layers=2, bidirectional=True, proj_size=2, batch_first=True),
    ):
        m = filled(T, T.nn.LSTM(3, 4, **kw))
        y, (h, c) = m(numbers(T, 5, 2, 3))
        out.append([y, h, c, [n for n, _ in m.named_parameters()]])
    return out


@case
def lstm_dropwarn(T: Any) -> Any:
    with warnings.catch_warnings(record=True) as w:
        warnings.simplefilter("always")
        T.nn.LSTM(3, 4, dropout=0.5)
        return len(w)


@case
def lstm_grad(T: Any) -> Any:
    m = filled(T, T.nn.LSTM(3, 4, num_layers=2))
    y, _ = m(numbers(T, 5, 2, 3))
    y.sum().backward()
    return [p.grad for p in m.parameters()]


@case
def gru_rnn(T: Any) -> Any:
    return [
        filled(T, T.nn.GRU(3, 4, bidirectional=True))(numbers(T, 5, 2, 3)),
        filled(T, T.nn.RNN(3, 4, nonlinearity="relu", num_layers=2))(numbers(T, 5, 2, 3)),
        filled(T, T.nn.LSTMCell(3, 4))(numbers(T, 2, 3)),
        filled(T, T.nn.GRUCell(3, 4))(numbers(T, 2, 3)),
        filled(T, T.nn.RNNCell(3, 4))(numbers(T, 3)),
    ]


@case
def lstm_packed(T: Any) -> Any:
    m = filled(T, T.nn.LSTM(3, 4))
    p = T.nn.utils.rnn.pack_padded_sequence(numbers(T, 5, 2, 3), T.tensor([5, 3]))
    y, (h, c) = m(p)
    o, lengths = T.nn.utils.rnn.pad_packed_sequence(y)
    return [o, lengths, h, c]


@case
def mha2(T: Any) -> Any:
    m = mha(T, batch_first=True)
    x = numbers(T, 2, 3, 4)
    mask = T.tensor([[0, 1, 0], [0, 0, 1], [0, 0, 0]]).bool()
    kp = T.tensor([[0, 0, 1], [0, 0, 0]]).bool()
    return [
        m(x, x, x, attn_mask=mask),
        m(x, x, x, key_padding_mask=kp, attn_mask=mask, average_attn_weights=False),
        m(x, x, x, need_weights=False, is_causal=False),
    ]


@case
def mha_float(T: Any, m: Any) -> Any:
    x = numbers(T, 3, 2, 4)
    return [
        m(x, x, x, attn_mask=numbers(T, 3, 3)),
        m(x, x, x, attn_mask=numbers(T, 4, 3, 3)),
        m(x, x, x, key_padding_mask=numbers(T, 2, 3), attn_mask=numbers(T, 3, 3)),
    ]


@case
def mha_kv(T: Any) -> Any:
    m = mha(T, kdim=3, vdim=5)
    return [m(numbers(T, 3, 2, 4), numbers(T, 5, 2, 3), numbers(T, 5, 2, 5)), [n for n, _ in m.named_parameters()]]


@case
def mha_bias(T: Any) -> Any:
    m = mha(T, add_bias_kv=True, add_zero_attn=True)
    x = numbers(T, 3, 2, 4)
    return [
        m(x, x, x, attn_mask=T.ones(3, 3).tril().bool().logical_not(), key_padding_mask=T.zeros(2, 3).bool()),
        [n for n, _ in m.named_parameters()],
    ]


@case
def mha_nobias(T: Any) -> Any:
    m = mha(T, bias=False)
    x = numbers(T, 3, 2, 4)
    return [m(x, x, x), [n for n, _ in m.named_parameters()]]


@case
def mha_unb(T: Any, m: Any) -> Any:
    x = numbers(T, 3, 4)
    return [m(x, x, x), m(x, x, x, key_padding_mask=T.tensor([0, 0, 1]).bool())]


@case
def mha_causal(T: Any, m: Any) -> Any:
    x = numbers(T, 3, 2, 4)
    return m(x, x, x, attn_mask=T.nn.Transformer.generate_square_subsequent_mask(3, dtype=T.float64), is_causal=True)


@case
def mha_causal_err(T: Any, m: Any) -> Any:
    x = numbers(T, 3, 2, 4)
    return m(x, x, x, is_causal=True)


@case
def mha_maskshape(T: Any, m: Any) -> Any:
    x = numbers(T, 3, 2, 4)
    return m(x, x, x, attn_mask=numbers(T, 4, 3))


@case
def mha_grad(T: Any, m: Any) -> Any:
    x = numbers(T, 3, 2, 4).requires_grad_()
    m(x, x, x)[0].sum().backward()
    return [x.grad] + [p.grad for p in m.parameters()]


@case
def sdpa(T: Any) -> Any:
    f = T.nn.functional.scaled_dot_product_attention
    q = numbers(T, 2, 4, 3, 4)
    k = numbers(T, 2, 2, 5, 4)
    q2 = numbers(T, 2, 2, 3, 4)
    return [
        f(q2, k, k),
        f(q2, k, k, is_causal=True),
        f(q2, k, k, attn_mask=T.ones(3, 5).tril().bool()),
        f(q2, k, k, attn_mask=numbers(T, 3, 5), scale=0.3),
        f(q, k, k, enable_gqa=True),
    ]


@case
def sdpa_allmasked(T: Any) -> Any:
    f = T.nn.functional.scaled_dot_product_attention
    q = numbers(T, 1, 1, 2, 4)
    return f(q, q, q, attn_mask=T.zeros(2, 2).bool())


@case
def attention_with_a_mask_that_is_causal_too(T: Any) -> Any:
    attend = T.nn.functional.scaled_dot_product_attention
    q = numbers(T, 1, 2, 3, 4)
    mask = T.tensor([[True, True, False], [True, True, True], [False, True, True]])
    return [attend(q, q, q, attn_mask=mask, is_causal=True), attend(q, q, q, numbers(T, 3, 3), is_causal=True)]
