"""Cases of layers and losses on batches of nothing, in the torch API."""

from __future__ import annotations

from typing import Any

from tests.recorded import Case, on_inputs

CASES: dict[str, Case] = {}

case = on_inputs(CASES)


def functions(name: str, fn: Any) -> None:
    """``fn(F, a)`` of nn.functional."""
    case(name, lambda T, a: fn(T.nn.functional, a))


# -- convolution and windows ---------------------------------------------------------------------------
for _n, _s in ((1, (5,)), (2, (5, 6)), (3, (4, 5, 6))):
    _k = (2,) * _n
    functions(
        f"conv{_n}d", lambda F, a, n=_n, s=_s, k=_k: getattr(F, f"conv{n}d")(a.x(0, 2, *s), a.x(3, 2, *k), a.x(3))
    )
    functions(
        f"conv_transpose{_n}d",
        lambda F, a, n=_n, s=_s, k=_k: getattr(F, f"conv_transpose{n}d")(a.x(0, 2, *s), a.x(2, 3, *k), a.x(3), 2),
    )
    for _name in ("max_pool", "avg_pool"):
        functions(f"{_name}{_n}d", lambda F, a, n=_n, s=_s, name=_name: getattr(F, f"{name}{n}d")(a.x(0, 2, *s), 2))
    for _name in ("adaptive_max_pool", "adaptive_avg_pool"):
        functions(f"{_name}{_n}d", lambda F, a, n=_n, s=_s, name=_name: getattr(F, f"{name}{n}d")(a.x(0, 2, *s), 3))
    functions(f"lp_pool{_n}d", lambda F, a, n=_n, s=_s: getattr(F, f"lp_pool{n}d")(a.x(0, 2, *s, low=1), 2.0, 2))
    functions(
        f"max_unpool{_n}d",
        lambda F, a, n=_n, s=_s: getattr(F, f"max_unpool{n}d")(a.x(0, 2, *s), a.ints(1, 0, 2, *s), 2),
    )
functions("conv1d of nothing in groups", lambda F, a: F.conv1d(a.x(0, 4, 5), a.x(4, 2, 2), groups=2, padding="same"))
functions("adaptive_avg_pool2d to nothing", lambda F, a: F.adaptive_avg_pool2d(a.x(2, 3, 4, 4, grad=False), (0, 2)))
functions("unfold", lambda F, a: F.unfold(a.x(0, 2, 5, 6), 2))
functions("fold", lambda F, a: F.fold(a.x(0, 8, 20), (5, 6), 2))
functions("channel_shuffle", lambda F, a: F.channel_shuffle(a.x(0, 4, 3), 2))
for _mode in ("nearest", "bilinear", "bicubic", "area"):
    functions(f"interpolate {_mode}", lambda F, a, m=_mode: F.interpolate(a.x(0, 2, 4, 5), (3, 8), mode=m))
for _mode in ("constant", "reflect", "replicate", "circular"):
    functions(f"pad {_mode}", lambda F, a, m=_mode: F.pad(a.x(0, 2, 4, 5), (1, 2, 2, -1), m))
functions("grid_sample", lambda F, a: F.grid_sample(a.x(0, 2, 4, 5), a.x(0, 3, 3, 2), align_corners=False))

# -- normalisation ---------------------------------------------------------------------------------------
functions("group_norm", lambda F, a: F.group_norm(a.x(0, 4, 3), 2, a.x(4), a.x(4)))
functions("group_norm of rows", lambda F, a: F.group_norm(a.x(0, 4), 2, a.x(4), a.x(4)))
functions("instance_norm", lambda F, a: F.instance_norm(a.x(0, 4, 3)))
functions("instance_norm without channels", lambda F, a: F.instance_norm(a.x(2, 0, 3)))
functions("batch_norm", lambda F, a: F.batch_norm(a.x(0, 4, 3), None, None, a.x(4), a.x(4), training=True))
functions("layer_norm", lambda F, a: F.layer_norm(a.x(0, 4, 3), (3,), a.x(3), a.x(3)))
functions("rms_norm", lambda F, a: F.rms_norm(a.x(0, 4, 3), (3,), a.x(3)))
functions("local_response_norm", lambda F, a: F.local_response_norm(a.x(0, 4, 3), 2))


def _norm(T: Any, a: Any, name: str, *shape: int) -> Any:
    """A layer in training, and what became of its statistics."""
    layer = a.module(getattr(T.nn, name)(shape[1]))
    return layer(a.x(*shape)), layer.running_mean, layer.running_var


for _n, _s in ((1, (5,)), (2, (5, 6)), (3, (4, 5, 6))):
    case(f"BatchNorm{_n}d", lambda T, a, n=_n, s=_s: _norm(T, a, f"BatchNorm{n}d", 0, 2, *s))

# -- attention, sequences, tables ------------------------------------------------------------------------
for _label, (_q, _k) in {"no batch": ((0, 3, 4), (0, 5, 4)), "no keys": ((2, 3, 4), (2, 0, 4)),
                         "no queries": ((2, 0, 4), (2, 5, 4))}.items():  # fmt: skip
    functions(
        f"scaled_dot_product_attention {_label}",
        lambda F, a, q=_q, k=_k: F.scaled_dot_product_attention(a.x(*q), a.x(*k), a.x(*k)),
    )
for _weights in (False, True):
    case(
        f"MultiheadAttention need_weights={_weights}",
        lambda T, a, w=_weights: a.module(T.nn.MultiheadAttention(4, 2))(*[a.x(3, 0, 4)] * 3, need_weights=w),
    )
case(
    "TransformerEncoderLayer",
    lambda T, a: a.module(T.nn.TransformerEncoderLayer(4, 2, 6, 0.0, batch_first=True))(a.x(0, 3, 4)),
)
case(
    "TransformerDecoderLayer",
    lambda T, a: a.module(T.nn.TransformerDecoderLayer(4, 2, 6, 0.0))(a.x(3, 0, 4), a.x(5, 0, 4)),
)
for _name in ("RNN", "LSTM", "GRU"):
    case(f"{_name}Cell", lambda T, a, name=_name: a.module(getattr(T.nn, f"{name}Cell")(3, 4))(a.x(0, 3)))
functions("embedding", lambda F, a: F.embedding(a.ints(4, 0, 3), a.x(4, 2)))
functions("embedding_bag", lambda F, a: F.embedding_bag(a.ints(4, 0, 3), a.x(4, 2)))
functions("embedding_bag of empty bags", lambda F, a: F.embedding_bag(a.ints(4, 0), a.x(4, 2), a.ints(1, 2)))
functions("linear", lambda F, a: F.linear(a.x(0, 3), a.x(2, 3), a.x(2)))
functions("bilinear", lambda F, a: F.bilinear(a.x(0, 3), a.x(0, 4), a.x(2, 3, 4), a.x(2)))

# -- losses ------------------------------------------------------------------------------------------------
for _how in ("none", "mean", "sum"):
    for _name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "soft_margin_loss", "hinge_embedding_loss"):
        functions(
            f"{_name} {_how}",
            lambda F, a, h=_how, name=_name: getattr(F, name)(a.x(0, 3), a.x(0, 3, grad=False), reduction=h),
        )
    functions(
        f"binary_cross_entropy {_how}",
        lambda F, a, h=_how: F.binary_cross_entropy(a.x(0, 3), a.x(0, 3, grad=False), reduction=h),
    )
    functions(f"nll_loss {_how}", lambda F, a, h=_how: F.nll_loss(a.x(0, 3), a.ints(3, 0), reduction=h))
    functions(
        f"cross_entropy of probabilities {_how}",
        lambda F, a, h=_how: F.cross_entropy(a.x(0, 3), a.x(0, 3, grad=False), reduction=h),
    )
functions("multi_margin_loss none", lambda F, a: F.multi_margin_loss(a.x(0, 3), a.ints(3, 0), reduction="none"))
functions("cosine_similarity", lambda F, a: F.cosine_similarity(a.x(0, 3), a.x(0, 3)))
functions("pairwise_distance", lambda F, a: F.pairwise_distance(a.x(0, 3), a.x(0, 3)))
functions("triplet_margin_loss", lambda F, a: F.triplet_margin_loss(a.x(0, 3), a.x(0, 3), a.x(0, 3)))
functions("kl_div", lambda F, a: F.kl_div(a.x(0, 3), a.x(0, 3, grad=False), reduction="sum"))
