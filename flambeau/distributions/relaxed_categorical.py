"""The relaxed categorical distribution."""

from __future__ import annotations

import math
from typing import ClassVar

from flambeau.core.ops.random import rand
from flambeau.core.tensor import Tensor
from flambeau.distributions import constraints
from flambeau.distributions.categorical import Categorical
from flambeau.distributions.distribution import Constraints
from flambeau.distributions.mappings import ExpTransform
from flambeau.distributions.of_categories import OfCategories
from flambeau.distributions.relaxed import Relaxed
from flambeau.distributions.utils import Shape, broadcast_all, clamp_probs
from flambeau.nn.functional import log_softmax

__all__ = ["ExpRelaxedCategorical", "RelaxedOneHotCategorical"]


class ExpRelaxedCategorical(OfCategories):
    """Logarithms of relaxed one-hot vectors (Maddison, Mnih and Teh, arXiv:1611.00712; Jang et al., 1611.01144).

    >>> d = fb.distributions.relaxed_categorical.ExpRelaxedCategorical(fb.tensor(1.0), fb.ones(2))
    >>> d.rsample().exp().sum().round()
    tensor(1.)
    """

    support = constraints.real_vector  # of which only those whose exponentials sum to 1 come
    has_rsample = True

    def __init__(
        self, temperature: Tensor, probs: Tensor | None = None, logits: Tensor | None = None,
        validate_args: bool | None = None,
    ):  # fmt: skip
        self.temperature = temperature
        super().__init__(Categorical(probs, logits), validate_args)

    def expand(self, batch_shape: Shape, _instance: object = None) -> ExpRelaxedCategorical:
        new = self._get_checked_instance(ExpRelaxedCategorical, _instance)
        new.temperature, new._categorical = self.temperature, self._categorical.expand(batch_shape)
        return self._finished(new, batch_shape)  # type: ignore[no-any-return]  # new

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        logits = self.logits
        u = clamp_probs(rand(self._extended_shape(sample_shape), dtype=logits.dtype, device=logits.device))
        return log_softmax((logits - (-u.log()).log()) / self.temperature, dim=-1)

    def log_prob(self, value: Tensor) -> Tensor:
        logits, value = broadcast_all(self.logits, self._checked(value))
        n = self._event_shape[-1]
        score = log_softmax(logits - value * self.temperature, dim=-1).sum(-1)
        return score + math.lgamma(n) + (n - 1) * self.temperature.log()


class RelaxedOneHotCategorical(Relaxed):
    """One-hot vectors relaxed to the simplex, with gradients; the lower the temperature, the nearer to one-hot.

    >>> fb.distributions.RelaxedOneHotCategorical(fb.tensor(0.5), fb.ones(3)).rsample().sum().round()
    tensor(1.)
    """

    arg_constraints: ClassVar[Constraints] = {"probs": constraints.simplex, "logits": constraints.real_vector}
    support = constraints.simplex

    def __init__(
        self, temperature: Tensor, probs: Tensor | None = None, logits: Tensor | None = None,
        validate_args: bool | None = None,
    ):  # fmt: skip
        base = ExpRelaxedCategorical(temperature, probs, logits, validate_args=validate_args)
        super().__init__(base, ExpTransform(), validate_args=validate_args)

    def expand(self, batch_shape: Shape, _instance: object = None) -> RelaxedOneHotCategorical:
        new = self._get_checked_instance(RelaxedOneHotCategorical, _instance)
        return super().expand(batch_shape, new)  # type: ignore[return-value]  # new
