"""A softmax over many classes that looks at the rare ones only where it must."""

from __future__ import annotations

from collections.abc import Sequence as Numbers
from typing import Any, NamedTuple

from flambeau.core.device import DeviceLike
from flambeau.core.dtype import DType
from flambeau.core.ops.joining import cat
from flambeau.core.tensor import Tensor
from flambeau.nn import functional as F
from flambeau.nn.container import ModuleList, Sequential
from flambeau.nn.linear import Linear
from flambeau.nn.module import Module


class ASMoutput(NamedTuple):
    """The log probability of each target, and minus their mean."""

    output: Tensor
    loss: Tensor


class AdaptiveLogSoftmaxWithLoss(Module):
    """log softmax over ``n_classes``, sorted by frequency and cut at ``cutoffs`` into clusters. arXiv:1609.04309.

    The head has the classes before the first cut and one score for each cluster; cluster i goes through
    in_features / div_value ** (i + 1) features. Grave et al., 2016.

    >>> output, loss = fb.nn.AdaptiveLogSoftmaxWithLoss(32, 20, [5, 9])(fb.ones(3, 32), fb.tensor([0, 7, 19]))
    >>> output.shape, loss.shape
    (flambeau.Size([3]), flambeau.Size([]))
    """

    def __init__(
        self, in_features: int, n_classes: int, cutoffs: Numbers[int], div_value: float = 4.0, head_bias: bool = False,
        device: DeviceLike = None, dtype: DType | None = None,
    ):  # fmt: skip
        super().__init__()
        cuts = list(cutoffs)
        if not cuts:
            raise ValueError("AdaptiveLogSoftmaxWithLoss: cutoffs must be a sequence of at least 1 number, got none")
        if cuts != sorted(set(cuts)) or cuts[0] <= 0 or cuts[-1] > n_classes - 1 or any(int(c) != c for c in cuts):
            raise ValueError(
                "AdaptiveLogSoftmaxWithLoss: cutoffs must be unique positive ints in increasing order, each between 1 "
                f"and n_classes - 1 = {n_classes - 1}, got {cuts}"
            )
        self.in_features, self.n_classes, self.cutoffs = in_features, n_classes, [*cuts, n_classes]
        self.div_value, self.head_bias = div_value, head_bias
        self.shortlist_size, self.n_clusters = cuts[0], len(cuts)
        self.head_size = self.shortlist_size + self.n_clusters
        options: dict[str, Any] = {"device": device, "dtype": dtype}
        self.head = Linear(in_features, self.head_size, head_bias, **options)
        self.tail = ModuleList()
        for i, (low, high) in enumerate(self._clusters()):
            width = int(in_features // div_value ** (i + 1))
            self.tail.append(Sequential(Linear(in_features, width, False, **options),
                                        Linear(width, high - low, False, **options)))  # fmt: skip

    def _clusters(self) -> list[tuple[int, int]]:
        return list(zip(self.cutoffs[:-1], self.cutoffs[1:], strict=True))

    def reset_parameters(self) -> None:
        """New random values."""
        self.head.reset_parameters()
        for layer in self.tail.modules():
            if isinstance(layer, Linear):
                layer.reset_parameters()

    def forward(self, input_: Tensor, target_: Tensor) -> ASMoutput:
        """The log probabilities (N,) of targets (N,) for inputs (N, in_features), or of one; and the loss."""
        batched = target_.ndim > 0
        if target_.ndim > 1 or input_.ndim != target_.ndim + 1 or batched and input_.shape[0] != target_.shape[0]:
            raise RuntimeError(
                "AdaptiveLogSoftmaxWithLoss: input (N, in_features) goes with target (N,), (in_features,) with a "
                f"number; got {tuple(input_.shape)} and {tuple(target_.shape)}"
            )
        input, target = (input_, target_) if batched else (input_.unsqueeze(0), target_.unsqueeze(0))
        self._check_target(target)
        head = F.log_softmax(self.head(input), 1)
        of_head = target.clamp(max=self.shortlist_size - 1)
        output = input.new_zeros(target.shape[0]) + head.gather(1, of_head.unsqueeze(1)).squeeze(1)
        for i, (low, high) in enumerate(self._clusters()):
            rows = ((target >= low) & (target < high)).nonzero().squeeze(1)
            if rows.numel():
                within = F.log_softmax(self.tail[i](input.index_select(0, rows)), 1)
                one = within.gather(1, (target.index_select(0, rows) - low).unsqueeze(1)).squeeze(1)
                output = output.index_copy(0, rows, head[:, self.shortlist_size + i].index_select(0, rows) + one)
        return ASMoutput(output if batched else output.squeeze(0), (-output).mean())

    def _check_target(self, target: Tensor) -> None:
        low, high = int(target.min().item()), int(target.max().item())
        if low < 0 or high >= self.n_classes:
            raise RuntimeError(
                f"AdaptiveLogSoftmaxWithLoss: target values should be in [0, {self.n_classes - 1}], but values in "
                f"range [{low}, {high}] were found"
            )

    def log_prob(self, input: Tensor) -> Tensor:
        """The log probabilities of all classes: (N, in_features) to (N, n_classes)."""
        scores = self.head(input)
        head = F.log_softmax(scores, 1)
        parts = [head[:, : self.shortlist_size]]
        for i, cluster in enumerate(self.tail):
            place = self.shortlist_size + i
            parts.append(F.log_softmax(cluster(input), 1) + head[:, place : place + 1])
        return cat(parts, 1)

    def predict(self, input: Tensor) -> Tensor:
        """The most probable class of each row."""
        return self.log_prob(input).argmax(1)
