"""Losses in torch's own namespace: ``reduction`` is 0 for "none", as by default, 1 for "mean", 2 for "sum"."""

from __future__ import annotations

from collections.abc import Sequence

from flambeau.core.tensor import Tensor
from flambeau.nn import functional as F

_REDUCTIONS = ("none", "mean", "sum")
NONE = 0  # torch's own declarations say 1, and its functions do this


def _word(reduction: int) -> str:
    if not 0 <= reduction < len(_REDUCTIONS):
        raise ValueError(f"{reduction} is not a valid value for reduction; it is 0 (none), 1 (mean) or 2 (sum)")
    return _REDUCTIONS[reduction]


def binary_cross_entropy_with_logits(
    input: Tensor, target: Tensor, weight: Tensor | None = None, pos_weight: Tensor | None = None,
    reduction: int = NONE,
) -> Tensor:  # fmt: skip
    """The binary cross entropy of logits; see :func:`flambeau.nn.functional.binary_cross_entropy_with_logits`.

    >>> fb.binary_cross_entropy_with_logits(fb.zeros(2), fb.ones(2), reduction=2)
    tensor(1.3863)
    """
    return F.binary_cross_entropy_with_logits(input, target, weight, reduction=_word(reduction), pos_weight=pos_weight)


def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: int = NONE
) -> Tensor:
    """1 - cos for a target of 1, max(0, cos - margin) for -1.

    >>> fb.cosine_embedding_loss(fb.ones(1, 2), fb.ones(1, 2), fb.tensor([-1]))
    tensor([1.])
    """
    return F.cosine_embedding_loss(input1, input2, target, margin, reduction=_word(reduction))


def ctc_loss(
    log_probs: Tensor, targets: Tensor, input_lengths: Tensor | Sequence[int], target_lengths: Tensor | Sequence[int],
    blank: int = 0, reduction: int = NONE, zero_infinity: bool = False,
) -> Tensor:  # fmt: skip
    """Minus the log probability of label sequences; see :func:`flambeau.nn.functional.ctc_loss`.

    >>> fb.ctc_loss(fb.zeros(4, 1, 3).log_softmax(2), fb.tensor([[1]]), [4], [1], reduction=2)
    tensor(2.0919)
    """
    return F.ctc_loss(log_probs, targets, input_lengths, target_lengths, blank, _word(reduction), zero_infinity)


def hinge_embedding_loss(input: Tensor, target: Tensor, margin: float = 1.0, reduction: int = NONE) -> Tensor:
    """x for a target of 1, max(0, margin - x) for -1.

    >>> fb.hinge_embedding_loss(fb.tensor([0.25]), fb.tensor([-1.0]))
    tensor([0.7500])
    """
    return F.hinge_embedding_loss(input, target, margin, reduction=_word(reduction))


def kl_div(input: Tensor, target: Tensor, reduction: int = NONE, *, log_target: bool = False) -> Tensor:
    """target * (log(target) - input), of probabilities or, with ``log_target``, their logarithms.

    >>> fb.kl_div(fb.tensor([0.0]), fb.tensor([0.5]), 2)
    tensor(-0.3466)
    """
    return F.kl_div(input, target, reduction=_word(reduction), log_target=log_target)


def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: int = NONE
) -> Tensor:
    """max(0, -target * (input1 - input2) + margin).

    >>> fb.margin_ranking_loss(fb.tensor([1.0]), fb.tensor([3.0]), fb.tensor([1.0]))
    tensor([2.])
    """
    return F.margin_ranking_loss(input1, input2, target, margin, reduction=_word(reduction))


def poisson_nll_loss(input: Tensor, target: Tensor, log_input: bool, full: bool, eps: float, reduction: int) -> Tensor:
    """The negative log likelihood of counts; see :func:`flambeau.nn.functional.poisson_nll_loss`.

    >>> fb.poisson_nll_loss(fb.tensor([0.0]), fb.tensor([2.0]), True, False, 1e-8, 1)
    tensor(1.)
    """
    return F.poisson_nll_loss(input, target, log_input, full, eps=eps, reduction=_word(reduction))


def triplet_margin_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, p: float = 2, eps: float = 1e-6,
    swap: bool = False, reduction: int = NONE,
) -> Tensor:  # fmt: skip
    """max(0, margin + the p-distance to the positive less that to the negative).

    >>> fb.triplet_margin_loss(fb.zeros(1, 2), fb.ones(1, 2), fb.ones(1, 2))
    tensor([1.])
    """
    return F.triplet_margin_loss(anchor, positive, negative, margin, p, eps, swap, reduction=_word(reduction))
