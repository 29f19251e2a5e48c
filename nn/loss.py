"""Losses as modules; each does what the function of its name in nn.functional does.

``reduction`` is "mean", "sum" or "none" for all of them; ``size_average`` and ``reduce`` are its older forms.
"""

from __future__ import annotations

from collections.abc import Callable

from flambeau.core.tensor import Tensor
from flambeau.nn import functional as F
from flambeau.nn.functional.ctc import Lengths
from flambeau.nn.functional.loss import reduction_of
from flambeau.nn.of_function import OfFunction
from flambeau.nn.spatial import Spatial
from flambeau.nn.vision import PairwiseDistance


class _Loss(OfFunction):
    """The base of losses, with torch's constructor for classes of one's own."""

    _shown = ()

    def __init__(self, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean") -> None:
        super(Spatial, self).__init__()  # past the constructors of options
        self.__dict__["reduction"] = reduction_of(reduction, size_average, reduce, (reduction,))

    def _settle(self) -> None:
        """The older forms become a reduction, so that it may be set later."""
        older = [self.__dict__.pop(name, None) for name in ("size_average", "reduce")]
        if older != [None, None]:
            self.__dict__["reduction"] = reduction_of(self.__dict__["reduction"], *older)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """How far ``input`` is from ``target``."""
        return self._apply_to(input, target)


class _AveragedLoss(_Loss):
    size_average: bool | None = None
    reduce: bool | None = None
    reduction: str = "mean"


class _WeightedLoss(_Loss):
    """A loss with a weight for each class, a buffer; the constructor is torch's."""

    def __init__(
        self, weight: Tensor | None = None, size_average: bool | None = None, reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:  # fmt: skip
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)


class _WeightedAverage(_WeightedLoss):
    weight: Tensor | None = None
    size_average: bool | None = None
    reduce: bool | None = None
    reduction: str = "mean"


class MSELoss(_AveragedLoss, function=F.mse_loss):
    """(input - target)², averaged."""


class L1Loss(_AveragedLoss, function=F.l1_loss):
    """abs(input - target), averaged."""


class SmoothL1Loss(_AveragedLoss, function=F.smooth_l1_loss):
    """0.5 d² / beta where d = abs(input - target) is below beta, d - 0.5 beta elsewhere."""

    beta: float = 1.0


class HuberLoss(_Loss, function=F.huber_loss):
    """0.5 d² where d = abs(input - target) is below delta, delta (d - 0.5 delta) elsewhere."""

    reduction: str = "mean"
    delta: float = 1.0

    def _settle(self) -> None:
        super()._settle()
        if not isinstance(self.delta, (float, int)):
            raise TypeError(f"HuberLoss: delta must be a float or int, got {self.delta!r}")


class CrossEntropyLoss(_WeightedLoss, function=F.cross_entropy):
    """The cross entropy of scores (N, C, ...) and classes (N, ...), or probabilities of the shape of the scores."""

    weight: Tensor | None = None
    size_average: bool | None = None
    ignore_index: int = -100
    reduce: bool | None = None
    reduction: str = "mean"
    label_smoothing: float = 0.0


class NLLLoss(_WeightedLoss, function=F.nll_loss):
    """Minus the log probabilities (N, C, ...) of the target classes (N, ...)."""

    weight: Tensor | None = None
    size_average: bool | None = None
    ignore_index: int = -100
    reduce: bool | None = None
    reduction: str = "mean"


class NLLLoss2d(NLLLoss, function=F.nll_loss):
    """The name of old of NLLLoss for images."""


class BCELoss(_WeightedAverage, function=F.binary_cross_entropy):
    """-(target log(input) + (1 - target) log(1 - input)), averaged."""


class BCEWithLogitsLoss(_WeightedAverage, function=F.binary_cross_entropy_with_logits):
    """BCELoss of sigmoid(input), without overflow."""

    pos_weight: Tensor | None = None


class KLDivLoss(_AveragedLoss, function=F.kl_div):
    """target (log(target) - input) of log probabilities input; reduction may be 'batchmean'.

    >>> fb.nn.KLDivLoss(reduction="batchmean")(fb.zeros(1, 2), fb.ones(1, 2))
    tensor(0.)
    """

    log_target: bool = False


class PoissonNLLLoss(_Loss, function=F.poisson_nll_loss):
    """exp(input) - target input."""

    log_input: bool = True
    full: bool = False
    size_average: bool | None = None
    eps: float = 1e-08
    reduce: bool | None = None
    reduction: str = "mean"


class GaussianNLLLoss(_Loss, function=F.gaussian_nll_loss, kw_only=True):
    """0.5 (log(var) + (input - target)² / var)."""

    full: bool = False
    eps: float = 1e-06
    reduction: str = "mean"

    def forward(self, input: Tensor, target: Tensor, var: Tensor | float) -> Tensor:  # type: ignore[override]
        """``nn.functional.gaussian_nll_loss`` of the arguments."""
        return self._apply_to(input, target, var)


class HingeEmbeddingLoss(_Loss, function=F.hinge_embedding_loss):
    """input where target is 1, max(0, margin - input) where it is -1."""

    margin: float = 1.0
    size_average: bool | None = None
    reduce: bool | None = None
    reduction: str = "mean"


class _PairLoss(_Loss):
    margin: float = 0.0
    size_average: bool | None = None
    reduce: bool | None = None
    reduction: str = "mean"

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:  # type: ignore[override]
        """How far the pairs are from what ``target`` says of them."""
        return self._apply_to(input1, input2, target)


class MarginRankingLoss(_PairLoss, function=F.margin_ranking_loss):
    """max(0, -target (input1 - input2) + margin)."""


class SoftMarginLoss(_AveragedLoss, function=F.soft_margin_loss):
    """log(1 + exp(-target input))."""


class MultiMarginLoss(_WeightedLoss, function=F.multi_margin_loss):
    """Mean over the other classes of max(0, margin - input[target] + input[class]) ** p."""

    p: int = 1
    margin: float = 1.0
    weight: Tensor | None = None
    size_average: bool | None = None
    reduce: bool | None = None
    reduction: str = "mean"

    def _settle(self) -> None:
        super()._settle()
        if self.p not in (1, 2):
            raise ValueError(f"MultiMarginLoss: p must be 1 or 2, got {self.p}")
        weight = self._buffers["weight"]
        if weight is not None and weight.ndim != 1:
            raise ValueError(f"MultiMarginLoss: weight must have one dimension, got shape {tuple(weight.shape)}")


class MultiLabelMarginLoss(_AveragedLoss, function=F.multilabel_margin_loss):
    """Sum over labels and other classes of max(0, 1 - input[label] + input[class])."""


class MultiLabelSoftMarginLoss(_WeightedAverage, function=F.multilabel_soft_margin_loss):
    """Mean over classes of the binary cross entropy of logits."""


class CosineEmbeddingLoss(_PairLoss, function=F.cosine_embedding_loss):
    """1 - cosine where target is 1, max(0, cosine - margin) where it is -1."""


class _TripletLoss(_Loss):
    def _settle(self) -> None:
        super()._settle()
        margin: float = self.__dict__["margin"]
        if margin <= 0:
            raise ValueError(f"{type(self).__name__}: margin must be greater than 0, got {margin}")

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:  # type: ignore[override]
        """How far ``anchor`` is from ``positive``, as against ``negative``."""
        return self._apply_to(anchor, positive, negative)


class TripletMarginLoss(_TripletLoss, function=F.triplet_margin_loss):
    """max(0, d(anchor, positive) - d(anchor, negative) + margin)."""

    margin: float = 1.0
    p: float = 2.0
    eps: float = 1e-06
    swap: bool = False
    size_average: bool | None = None
    reduce: bool | None = None
    reduction: str = "mean"


class TripletMarginWithDistanceLoss(_TripletLoss, function=F.triplet_margin_with_distance_loss, kw_only=True):
    """TripletMarginLoss with a distance of one's own."""

    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None
    margin: float = 1.0
    swap: bool = False
    reduction: str = "mean"

    def _settle(self) -> None:
        super()._settle()
        self.distance_function = PairwiseDistance() if self.distance_function is None else self.distance_function


class CTCLoss(_Loss, function=F.ctc_loss):
    """Connectionist temporal classification of log probabilities (T, N, C) and label sequences."""

    blank: int = 0
    reduction: str = "mean"
    zero_infinity: bool = False

    def forward(  # type: ignore[override]
        self, log_probs: Tensor, targets: Tensor, input_lengths: Lengths, target_lengths: Lengths
    ) -> Tensor:  # fmt: skip
        """``nn.functional.ctc_loss`` of the arguments."""
        return self._apply_to(log_probs, targets, input_lengths, target_lengths)
