"""Cases of calls outside the domain of layers and losses, which raise, in the torch API."""

from __future__ import annotations

import math
from typing import Any

from tests.recorded import Case

CASES: dict[str, Case] = {}


def wrong(name: str, *calls: Any) -> None:
    """Each of ``fn(F, x, i)`` raises; x(*shape) makes floats in 0 ... 1, i(*values) integers."""
    for n, fn in enumerate(calls):
        CASES[f"{name} {n}"] = lambda T, fn=fn: _called(T, fn)


def _called(T: Any, fn: Any) -> Any:
    try:
        return fn(T.nn.functional, _floats(T), lambda *v: T.tensor(v))
    except NotImplementedError as error:  # a kernel that PyTorch does not have for a dtype
        raise RuntimeError(str(error)) from None


def _floats(T: Any) -> Any:
    return lambda *shape, dtype="float32": T.full(shape, 0.5, dtype=getattr(T, dtype))


wrong(
    "binary_cross_entropy",
    lambda F, x, i: F.binary_cross_entropy(x(3) * 3, x(3)),
    lambda F, x, i: F.binary_cross_entropy(-x(3), x(3)),
    lambda F, x, i: F.binary_cross_entropy(x(3) * math.nan, x(3)),
    lambda F, x, i: F.binary_cross_entropy(x(3), x(3) * 3),
    lambda F, x, i: F.binary_cross_entropy(x(3), x(3, dtype="float64")),
    lambda F, x, i: F.binary_cross_entropy(x(3), i(0, 1, 1)),
    lambda F, x, i: F.binary_cross_entropy(x(3), x(3), weight=x(2, 3)),
    lambda F, x, i: F.binary_cross_entropy_with_logits(x(3), i(0, 1, 1)),
    lambda F, x, i: F.binary_cross_entropy_with_logits(x(3), x(3), weight=x(2, 3)),
)
wrong(
    "nll_loss",
    lambda F, x, i: F.nll_loss(x(2, 3), i(0, 3)),
    lambda F, x, i: F.nll_loss(x(2, 3), i(0, -1)),
    lambda F, x, i: F.nll_loss(x(2, 3), x(2)),
    lambda F, x, i: F.nll_loss(x(2, 3), i(0, 1), weight=x(2)),
    lambda F, x, i: F.nll_loss(x(2, 3), i(0, 1), weight=x(3, dtype="float64")),
    lambda F, x, i: F.cross_entropy(x(2, 3), i(0, 3)),
    lambda F, x, i: F.cross_entropy(x(2, 3), i(0, -2)),
    lambda F, x, i: F.cross_entropy(x(2, 3), x(2, 3), ignore_index=1),
    lambda F, x, i: F.cross_entropy(x(2, 3), i(0, 1), label_smoothing=1.5),
)
wrong(
    "margins",
    lambda F, x, i: F.multi_margin_loss(x(2, 3), i(0, 1), p=3),
    lambda F, x, i: F.multi_margin_loss(x(1, 2, 3), i(0, 1)),
    lambda F, x, i: F.multi_margin_loss(x(2, 3), i(0, 1), weight=x(4)),
    lambda F, x, i: F.multilabel_margin_loss(x(3), i(0, -5, 1)),
    lambda F, x, i: F.multilabel_margin_loss(x(3), i(0, 3, 1)),
    lambda F, x, i: F.soft_margin_loss(x(1), x(3)),
    lambda F, x, i: F.triplet_margin_loss(x(2, 3), x(2, 3), x(2, 3), margin=0),
    lambda F, x, i: F.triplet_margin_loss(x(3), x(2, 3), x(2, 3)),
    lambda F, x, i: F.cosine_embedding_loss(x(3), x(2, 3), x(2)),
    lambda F, x, i: F.cosine_embedding_loss(x(2, 3), x(2, 3), x(2, 1)),
    lambda F, x, i: F.cosine_similarity(x(2, 3), x(2, 3), eps=-1.0),
)
wrong(
    "regression",
    lambda F, x, i: F.huber_loss(x(3), x(3), delta=0.0),
    lambda F, x, i: F.huber_loss(x(3), x(3), delta=math.nan),
    lambda F, x, i: F.smooth_l1_loss(x(3), x(3), beta=-1.0),
    lambda F, x, i: F.mse_loss(i(1, 2), i(1, 2)),
    lambda F, x, i: F.gaussian_nll_loss(x(3), x(3), -x(3)),
    lambda F, x, i: F.gaussian_nll_loss(x(2, 3), x(2, 3), x(2, 2)),
    lambda F, x, i: F.kl_div(i(1, 2), x(2)),
)
wrong(
    "ctc_loss",
    lambda F, x, i: F.ctc_loss(x(4, 1, 3), i(1, 2).reshape(1, 2), i(4), i(-1)),
    lambda F, x, i: F.ctc_loss(x(4, 1, 3), i(1, 2).reshape(1, 2), i(-1), i(1)),
    lambda F, x, i: F.ctc_loss(x(4, 1, 3), i(1, 2).reshape(1, 2), i(5), i(1)),
    lambda F, x, i: F.ctc_loss(x(4, 1, 3), i(1, 2).reshape(1, 2), i(4), i(3)),
    lambda F, x, i: F.ctc_loss(x(4, 1, 3), i(1, 2, 1), i(4), i(2)),
    lambda F, x, i: F.ctc_loss(x(4, 1, 3), i(1, 2).reshape(1, 2), i(4, 4), i(1)),
    lambda F, x, i: F.ctc_loss(x(4, 1, 3), i(1, 2).reshape(1, 2), i(4), i(1, 1)),
    lambda F, x, i: F.ctc_loss(x(4, 1, 3), i(1, 2).reshape(1, 2), x(1), i(1)),
    lambda F, x, i: F.ctc_loss(x(4, 1, 3), i(1, 2).reshape(1, 2), i(4), i(1), blank=3),
)
wrong(
    "tables",
    lambda F, x, i: F.embedding(i(3), x(3, 2)),
    lambda F, x, i: F.embedding(i(-1), x(3, 2)),
    lambda F, x, i: F.one_hot(i(-1, 2)),
    lambda F, x, i: F.one_hot(i(1, 2), 2),
    lambda F, x, i: F.bilinear(x(2, 3), x(1, 4), x(5, 3, 4)),
    lambda F, x, i: F.bilinear(x(2, 3), x(2, 4), x(5, 3, 4), x(1)),
)
wrong(
    "dtypes",
    lambda F, x, i: F.conv1d(x(1, 1, 4), x(1, 1, 2, dtype="float64")),
    lambda F, x, i: F.conv1d(x(1, 1, 4), x(1, 1, 2), x(1, dtype="float64")),
    lambda F, x, i: F.conv_transpose1d(x(1, 1, 4), x(1, 1, 2, dtype="float64")),
    lambda F, x, i: F.layer_norm(x(2, 3, dtype="float64"), (3,), x(3)),
    lambda F, x, i: F.batch_norm(x(2, 3, dtype="float64"), x(3), x(3)),
    lambda F, x, i: F.scaled_dot_product_attention(x(1, 2, 3), x(1, 2, 3), x(1, 2, 3, dtype="float64")),
    lambda F, x, i: F.prelu(x(2), x(1, dtype="float64")),
    lambda F, x, i: F.adaptive_avg_pool1d(i(1, 2).reshape(1, 2), 1),
    lambda F, x, i: F.gelu(i(1, 2)),
    lambda F, x, i: F.softmax(i(1, 2), 0),
    lambda F, x, i: F.dropout(i(1, 2)),
)
wrong(
    "shapes",
    lambda F, x, i: F.conv2d(x(1, 1, 4, 4), x(1, 1, 2)),
    lambda F, x, i: F.conv_transpose2d(x(1, 1, 4, 4), x(1, 1, 2, 2), padding=-1),
    lambda F, x, i: F.conv_transpose2d(x(1, 1, 4, 4), x(1, 1, 2, 2), output_padding=-1),
    lambda F, x, i: F.conv_transpose2d(x(1, 1, 4, 4), x(1, 1, 2, 2), groups=0),
    lambda F, x, i: F.max_pool1d(x(0, 10), 1),
    lambda F, x, i: F.avg_pool2d(x(1, 0, 4, 4), 2),
    lambda F, x, i: F.avg_pool3d(x(1, 1, 1, 4, 4), 2, padding=1),
    lambda F, x, i: F.group_norm(x(1, 3), 3),
    lambda F, x, i: F.batch_norm(x(2, 3), None, None, training=True, eps=0.0),
    lambda F, x, i: F.batch_norm(x(2, 3), x(3), x(3), x(1)),
    lambda F, x, i: F.dropout2d(x(3)),
    lambda F, x, i: F.dropout(x(3), 1.5),
    lambda F, x, i: F.prelu(x(3), x(3)),
    lambda F, x, i: F.interpolate(x(1, 0, 4), 2),
    lambda F, x, i: F.affine_grid(x(2, 2, 3), (1, 1, 4, 4)),
    lambda F, x, i: F.grid_sample(x(1, 1, 4, 4), x(1, 2, 2, 2, dtype="float64")),
    lambda F, x, i: F.unfold(x(1, 1, 4, 4), 2, dilation=0),
    lambda F, x, i: F.rrelu(x(3), 0.3, 0.1),
)
