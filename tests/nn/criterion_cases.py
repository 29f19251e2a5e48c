"""Losses and distances as layers in the torch API: their options, the old ones too, and what they refuse."""

from __future__ import annotations

from typing import Any

from tests.recorded import Case, Inputs, on_inputs

CASES: dict[str, Case] = {}
case = on_inputs(CASES)


def criteria(name: str, given: Any, *makers: Any) -> None:
    """Losses ``make(T)`` by themselves, and their values at ``given(a)``, each in the three reductions."""

    def fn(T: Any, a: Inputs) -> Any:
        found = []
        for make in makers:
            loss, values = make(T), given(T, a)
            found += [repr(loss), loss.extra_repr(), loss.reduction]
            for loss.reduction in ("none", "mean", "sum"):
                found.append(loss(*values))
        return found

    case(name, fn)


def _signs(a: Inputs, *shape: int) -> Any:
    return a.ints(2, *shape) * 2 - 1


def _rows(count: int) -> Any:
    return lambda T, a: [a.x(4, 3) for _ in range(count)]


criteria("CosineEmbeddingLoss", lambda T, a: [a.x(5, 3), a.x(5, 3), _signs(a, 5)],
         lambda T: T.nn.CosineEmbeddingLoss(), lambda T: T.nn.CosineEmbeddingLoss(0.4, reduction="sum"))  # fmt: skip
criteria("CosineEmbeddingLoss of a pair", lambda T, a: [a.x(3), a.x(3), T.tensor(-1)],
         lambda T: T.nn.CosineEmbeddingLoss(margin=-0.5))  # fmt: skip
criteria("HingeEmbeddingLoss", lambda T, a: [a.x(3, 4), _signs(a, 3, 4)],
         lambda T: T.nn.HingeEmbeddingLoss(), lambda T: T.nn.HingeEmbeddingLoss(0.3, reduction="none"))  # fmt: skip
criteria("MarginRankingLoss", lambda T, a: [a.x(6), a.x(6), _signs(a, 6)],
         lambda T: T.nn.MarginRankingLoss(), lambda T: T.nn.MarginRankingLoss(margin=0.7))  # fmt: skip
criteria("MultiLabelMarginLoss", lambda T, a: [a.x(2, 4), T.tensor([[3, 0, -1, 1], [1, -1, 2, 2]])],
         lambda T: T.nn.MultiLabelMarginLoss())  # fmt: skip
criteria("MultiLabelSoftMarginLoss", lambda T, a: [a.x(3, 4), a.ints(2, 3, 4).double()],
         lambda T: T.nn.MultiLabelSoftMarginLoss(),
         lambda T: T.nn.MultiLabelSoftMarginLoss(T.tensor([0.5, 1.0, 2.0, 0.1], dtype=T.float64)))  # fmt: skip
criteria("MultiMarginLoss", lambda T, a: [a.x(5, 3), a.ints(3, 5)],
         lambda T: T.nn.MultiMarginLoss(), lambda T: T.nn.MultiMarginLoss(2, 0.4),
         lambda T: T.nn.MultiMarginLoss(weight=T.tensor([0.5, 1.0, 2.0], dtype=T.float64)))  # fmt: skip
criteria("PoissonNLLLoss", lambda T, a: [a.x(3, 4, low=0.1), a.x(3, 4, low=0.5, high=4.0, grad=False)],
         lambda T: T.nn.PoissonNLLLoss(), lambda T: T.nn.PoissonNLLLoss(log_input=False, eps=0.1),
         lambda T: T.nn.PoissonNLLLoss(full=True))  # fmt: skip
criteria("SoftMarginLoss", lambda T, a: [a.x(3, 4, low=-40.0, high=40.0), _signs(a, 3, 4)],
         lambda T: T.nn.SoftMarginLoss(), lambda T: T.nn.SoftMarginLoss(reduction="sum"))  # fmt: skip
criteria("TripletMarginLoss", _rows(3), lambda T: T.nn.TripletMarginLoss(),
         lambda T: T.nn.TripletMarginLoss(margin=0.5, p=1, eps=0.01, swap=True))  # fmt: skip
criteria("TripletMarginWithDistanceLoss", _rows(3), lambda T: T.nn.TripletMarginWithDistanceLoss(),
         lambda T: T.nn.TripletMarginWithDistanceLoss(distance_function=lambda x, y: (x - y).abs().amax(-1), margin=2),
         lambda T: T.nn.TripletMarginWithDistanceLoss(
             distance_function=T.nn.CosineSimilarity(), swap=True, margin=0.3))  # fmt: skip


def _distances(T: Any, a: Inputs) -> Any:
    found = []
    for m in (
        T.nn.PairwiseDistance(), T.nn.PairwiseDistance(1, eps=0.1, keepdim=True), T.nn.PairwiseDistance(T.inf),
        T.nn.PairwiseDistance(p=0.5), T.nn.PairwiseDistance(p=-1),
    ):  # fmt: skip
        found += [repr(m), m.extra_repr(), m.norm, m(a.x(4, 3), a.x(4, 3)), m(a.x(3), a.x(1, 3))]
    return [*found, T.nn.PairwiseDistance(0)(a.x(4, 3, grad=False), a.x(4, 3, grad=False))]


case("PairwiseDistance", _distances)


def _of_old(T: Any, a: Inputs) -> Any:
    """``size_average`` and ``reduce``, by place and by name."""
    nn = T.nn
    return [
        loss.reduction
        for loss in (
            nn.SoftMarginLoss(False), nn.SoftMarginLoss(reduce=False), nn.MultiLabelMarginLoss(True, True),
            nn.HingeEmbeddingLoss(1.0, False), nn.MarginRankingLoss(0.0, None, False), nn.CosineEmbeddingLoss(0, True),
            nn.MultiMarginLoss(1, 1.0, None, False), nn.TripletMarginLoss(1.0, 2.0, 1e-6, False, False),
            nn.PoissonNLLLoss(True, False, None, 1e-8, False), nn.MultiLabelSoftMarginLoss(None, False, True, "none"),
        )
    ]  # fmt: skip


case("size_average and reduce", _of_old)


def _buffers(T: Any, a: Inputs) -> Any:
    weight = T.ones(2)
    losses = [T.nn.MultiMarginLoss(weight=weight), T.nn.MultiLabelSoftMarginLoss(weight), T.nn.MultiMarginLoss()]
    own = T.nn.TripletMarginWithDistanceLoss()
    return [[n for n, _ in loss.named_buffers()] for loss in losses] + [
        list(losses[0].state_dict()), losses[0].double().weight, [n for n, _ in own.named_children()], own.swap
    ]  # fmt: skip


case("weights are buffers", _buffers)

CASES |= {
    "CosineEmbeddingLoss of other shapes": lambda T: T.nn.CosineEmbeddingLoss()(T.ones(3, 2), T.ones(3), T.ones(3)),
    "CosineEmbeddingLoss of too many targets": lambda T: T.nn.CosineEmbeddingLoss()(
        T.ones(3, 2), T.ones(3, 2), T.ones(2)
    ),
    "MarginRankingLoss of other shapes": lambda T: T.nn.MarginRankingLoss()(T.ones(3), T.ones(3, 1), T.ones(3)),
    "MultiLabelMarginLoss of other shapes": lambda T: T.nn.MultiLabelMarginLoss()(
        T.ones(2, 3), T.zeros(2, 4, dtype=T.int64)
    ),
    "MultiLabelMarginLoss of a label too large": lambda T: T.nn.MultiLabelMarginLoss()(T.ones(3), T.tensor([3, -1, 0])),
    "MultiMarginLoss of p 3": lambda T: T.nn.MultiMarginLoss(3),
    "MultiMarginLoss of weights in a matrix": lambda T: T.nn.MultiMarginLoss(weight=T.ones(2, 2)),
    "MultiMarginLoss of a label too large": lambda T: T.nn.MultiMarginLoss()(T.ones(1, 3), T.tensor([3])),
    "PoissonNLLLoss unknown": lambda T: T.nn.PoissonNLLLoss(reduction="some")(T.ones(2), T.ones(2)),
    "SoftMarginLoss of other shapes": lambda T: T.nn.SoftMarginLoss()(T.ones(2), T.ones(3)),
    "TripletMarginLoss of margin 0": lambda T: T.nn.TripletMarginLoss(margin=0.0),
    "TripletMarginLoss of other ranks": lambda T: T.nn.TripletMarginLoss()(T.ones(2, 3), T.ones(3), T.ones(2, 3)),
    "HuberLoss of a text": lambda T: T.nn.HuberLoss(delta="1"),
    "Embedding of a row too far": lambda T: T.nn.Embedding(3, 2, padding_idx=3),
    "EmbeddingBag of another weight": lambda T: T.nn.EmbeddingBag(3, 2, _weight=T.ones(2, 2)),
    "TripletMarginWithDistanceLoss below 0": lambda T: T.nn.TripletMarginWithDistanceLoss(margin=-1.0),
    "PairwiseDistance of other shapes": lambda T: T.nn.PairwiseDistance()(T.ones(2, 3), T.ones(2, 4)),
}
