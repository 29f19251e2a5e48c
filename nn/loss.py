"""Losses as modules; each does what the function of its name in nn.functional does.

``reduction`` is "mean", "sum" or "none" for all of them.
"""

from __future__ import annotations

from typing import Any

from flambeau.nn.factory import module_of


def _averaged(
    name: str, function: str, doc: str, buffers: tuple[str, ...] = (), first: Any = None, **options: Any
) -> Any:
    """A loss with torch's older arguments around its ``options``, which come after those of ``first``."""
    middle = {"size_average": None, **options, "reduce": None, "reduction": "mean"}
    return module_of(name, function, doc, module=__name__, buffers=buffers, **(first or {}), **middle)


MSELoss = _averaged("MSELoss", "mse_loss", "(input - target)², averaged.")
L1Loss = _averaged("L1Loss", "l1_loss", "abs(input - target), averaged.")
SmoothL1Loss = module_of(
    "SmoothL1Loss", "smooth_l1_loss", "0.5 d² / beta where d = abs(input - target) is below beta, d - 0.5 beta "
    "elsewhere.",
    module=__name__, size_average=None, reduce=None, reduction="mean", beta=1.0,
)  # fmt: skip
HuberLoss = module_of(
    "HuberLoss", "huber_loss", "0.5 d² where d = abs(input - target) is below delta, delta (d - 0.5 delta) elsewhere.",
    module=__name__, reduction="mean", delta=1.0,
)  # fmt: skip
CrossEntropyLoss = module_of(
    "CrossEntropyLoss", "cross_entropy",
    "The cross entropy of scores (N, C, ...) and classes (N, ...), or probabilities of the shape of the scores.",
    module=__name__, buffers=("weight",), weight=None, size_average=None, ignore_index=-100, reduce=None,
    reduction="mean", label_smoothing=0.0,
)  # fmt: skip
NLLLoss = _averaged(
    "NLLLoss", "nll_loss", "Minus the log probabilities (N, C, ...) of the target classes (N, ...).", ("weight",),
    dict(weight=None), ignore_index=-100,
)  # fmt: skip
BCELoss = _averaged(
    "BCELoss",
    "binary_cross_entropy",
    "-(target log(input) + (1 - target) log(1 - input)), averaged.",
    ("weight",),
    dict(weight=None),
)
BCEWithLogitsLoss = module_of(
    "BCEWithLogitsLoss", "binary_cross_entropy_with_logits", "BCELoss of sigmoid(input), without overflow.",
    module=__name__, buffers=("weight", "pos_weight"), weight=None, size_average=None, reduce=None, reduction="mean",
    pos_weight=None,
)  # fmt: skip
KLDivLoss = module_of(
    "KLDivLoss", "kl_div", "target (log(target) - input) of log probabilities input; reduction may be 'batchmean'.",
    module=__name__, size_average=None, reduce=None, reduction="mean", log_target=False,
)  # fmt: skip
PoissonNLLLoss = module_of(
    "PoissonNLLLoss", "poisson_nll_loss", "exp(input) - target input.", module=__name__,
    log_input=True, full=False, size_average=None, eps=1e-8, reduce=None, reduction="mean",
)  # fmt: skip
GaussianNLLLoss = module_of(
    "GaussianNLLLoss", "gaussian_nll_loss", "0.5 (log(var) + (input - target)² / var).",
    module=__name__, keyword_only=True, full=False, eps=1e-6, reduction="mean",
)  # fmt: skip
HingeEmbeddingLoss = _averaged(
    "HingeEmbeddingLoss", "hinge_embedding_loss", "input where target is 1, max(0, margin - input) where it is -1.",
    first=dict(margin=1.0),
)  # fmt: skip
MarginRankingLoss = _averaged(
    "MarginRankingLoss", "margin_ranking_loss", "max(0, -target (input1 - input2) + margin).", first=dict(margin=0.0)
)
SoftMarginLoss = _averaged("SoftMarginLoss", "soft_margin_loss", "log(1 + exp(-target input)).")
MultiMarginLoss = _averaged(
    "MultiMarginLoss", "multi_margin_loss", "Mean over the other classes of max(0, margin - input[target] + "
    "input[class]) ** p.",
    ("weight",), dict(p=1, margin=1.0, weight=None),
)  # fmt: skip
MultiLabelMarginLoss = _averaged(
    "MultiLabelMarginLoss",
    "multilabel_margin_loss",
    "Sum over labels and other classes of max(0, 1 - input[label] + input[class]).",
)
MultiLabelSoftMarginLoss = _averaged(
    "MultiLabelSoftMarginLoss", "multilabel_soft_margin_loss", "Mean over classes of the binary cross entropy of "
    "logits.",
    ("weight",), dict(weight=None),
)  # fmt: skip
CosineEmbeddingLoss = _averaged(
    "CosineEmbeddingLoss", "cosine_embedding_loss", "1 - cosine where target is 1, max(0, cosine - margin) where it is "
    "-1.",
    first=dict(margin=0.0),
)  # fmt: skip
TripletMarginLoss = _averaged(
    "TripletMarginLoss", "triplet_margin_loss", "max(0, d(anchor, positive) - d(anchor, negative) + margin).",
    first=dict(margin=1.0, p=2.0, eps=1e-6, swap=False),
)  # fmt: skip
TripletMarginWithDistanceLoss = module_of(
    "TripletMarginWithDistanceLoss", "triplet_margin_with_distance_loss", "TripletMarginLoss with a distance of one's "
    "own.",
    module=__name__, keyword_only=True, distance_function=None, margin=1.0, swap=False, reduction="mean",
)  # fmt: skip
CTCLoss = module_of(
    "CTCLoss", "ctc_loss", "Connectionist temporal classification of log probabilities (T, N, C) and label sequences.",
    module=__name__, blank=0, reduction="mean", zero_infinity=False,
)  # fmt: skip
