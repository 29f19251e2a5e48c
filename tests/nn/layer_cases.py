"""Layers in the torch API, and what they reject."""

from __future__ import annotations

from typing import Any

from tests.nn.parts import filled, numbers
from tests.recorded import Case, collected

CASES: dict[str, Case] = {}
case = collected(CASES)


@case
def linear_err(T: Any) -> Any:
    T.nn.Linear(3, 2)(T.ones(1, 4))


@case
def linear_0(T: Any) -> Any:
    return T.nn.Linear(3, 2)(T.ones(0, 3)).shape


@case
def linear_1d(T: Any) -> Any:
    return filled(T, T.nn.Linear(3, 2))(numbers(T, 3))


@case
def linear_device(T: Any) -> Any:
    return T.nn.Linear(3, 2, device="meta").weight.shape


@case
def conv_same(T: Any) -> Any:
    return filled(T, T.nn.Conv2d(1, 2, (3, 4), padding="same", dilation=2))(numbers(T, 1, 1, 6, 7))


@case
def conv_same_stride(T: Any) -> Any:
    T.nn.Conv2d(1, 2, 3, padding="same", stride=2)


@case
def conv_modes(T: Any) -> Any:
    return [
        filled(T, T.nn.Conv2d(1, 2, 3, padding=(1, 2), padding_mode=m))(numbers(T, 1, 1, 6, 7))
        for m in ("zeros", "reflect", "replicate", "circular")
    ]


@case
def conv_samemode(T: Any) -> Any:
    return [
        filled(T, T.nn.Conv1d(1, 2, 4, padding="same", padding_mode=m))(numbers(T, 1, 1, 7))
        for m in ("zeros", "reflect", "replicate", "circular")
    ]


@case
def conv_unb(T: Any) -> Any:
    return filled(T, T.nn.Conv2d(1, 2, 3))(numbers(T, 1, 6, 7))


@case
def conv_err(T: Any) -> Any:
    T.nn.Conv2d(3, 2, 3)(T.ones(1, 4, 5, 5))


@case
def conv_groups_err(T: Any) -> Any:
    T.nn.Conv2d(3, 2, 3, groups=2)


@case
def conv_small(T: Any) -> Any:
    T.nn.Conv2d(1, 2, 3)(T.ones(1, 1, 2, 2))


@case
def convT(T: Any) -> Any:
    return filled(T, T.nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, output_padding=1, dilation=1, groups=1))(
        numbers(T, 1, 2, 4, 4)
    )


@case
def convT_size(T: Any) -> Any:
    return filled(T, T.nn.ConvTranspose1d(2, 3, 3, stride=2))(numbers(T, 1, 2, 4), output_size=[10])


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
def batch_norm_1(T: Any) -> Any:
    T.nn.BatchNorm1d(3)(T.ones(1, 3))


@case
def batch_norm_dim(T: Any) -> Any:
    T.nn.BatchNorm2d(3)(T.ones(1, 3))


@case
def batch_norm_ch(T: Any) -> Any:
    T.nn.BatchNorm1d(3)(T.ones(4, 5))


@case
def ln_err(T: Any) -> Any:
    T.nn.LayerNorm(3)(T.ones(2, 4))


@case
def dropout_p(T: Any) -> Any:
    T.nn.Dropout(1.5)


@case
def dropout_1(T: Any) -> Any:
    return T.nn.Dropout(1.0)(T.ones(3))


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
def embedding_pre(T: Any) -> Any:
    m = T.nn.Embedding.from_pretrained(numbers(T, 3, 2))
    n = T.nn.Embedding.from_pretrained(numbers(T, 3, 2), freeze=False, padding_idx=1)
    return [m.weight, n.weight]


@case
def embedding_oob(T: Any) -> Any:
    T.nn.Embedding(3, 2)(T.tensor([3]))


@case
def embedding_float(T: Any) -> Any:
    T.nn.Embedding(3, 2)(T.tensor([1.0]))


@case
def embedding_padneg(T: Any) -> Any:
    return T.nn.Embedding(3, 2, padding_idx=-1).padding_idx
