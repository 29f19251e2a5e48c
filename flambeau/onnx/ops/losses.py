"""Losses."""

from __future__ import annotations

import flambeau as fb
import flambeau.nn.functional as F
from flambeau import Tensor
from flambeau.core.dtype import bool_
from flambeau.onnx.plan import Call
from flambeau.onnx.registry import op


@op("NegativeLogLikelihoodLoss")
def nll_loss(call: Call, scores: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    return _loss(call, scores, target, weight)


@op("SoftmaxCrossEntropyLoss")
def softmax_cross_entropy(call: Call, x: Tensor, target: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    scores = F.log_softmax(x, 1)
    return _loss(call, scores, target, weight), scores


def _loss(call: Call, scores: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """Minus the weighted score of each target; ignored targets have no weight, in the mean too."""
    ignored = call["ignore_index"]
    target = target.to(fb.int64)
    counts = fb.ones_like(target, dtype=bool_) if ignored is None else target != ignored
    target = fb.where(counts, target, fb.zeros_like(target))
    picked = -fb.gather(scores, 1, target.unsqueeze(1)).squeeze(1)
    share = counts.to(scores.dtype)
    if weight is not None:
        share = share * weight[target]
    losses = fb.where(counts, picked * share, fb.zeros_like(picked))
    if call["reduction"] == "none":
        return losses
    return losses.sum() if call["reduction"] == "sum" else losses.sum() / share.sum()
