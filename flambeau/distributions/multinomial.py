"""The multinomial distribution."""

from __future__ import annotations

import math

from flambeau.core.creation import ones_like, zeros
from flambeau.core.size import Size
from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.distributions import constraints
from flambeau.distributions.binomial import Binomial
from flambeau.distributions.categorical import Categorical
from flambeau.distributions.constraints import Constraint
from flambeau.distributions.of_categories import OfCategories
from flambeau.distributions.utils import Shape, broadcast_all

__all__ = ["Multinomial"]


class Multinomial(OfCategories):
    """How often each category comes in ``total_count`` draws, by ``probs`` or ``logits`` along the last axis.

    ``total_count`` is an int; log_prob takes counts of any sum.

    >>> fb.distributions.Multinomial(4, fb.tensor([1.0, 3.0])).mean
    tensor([1., 3.])
    """

    def __init__(
        self, total_count: int = 1, probs: Tensor | None = None, logits: Tensor | None = None,
        validate_args: bool | None = None,
    ):  # fmt: skip
        if not isinstance(total_count, int):
            raise NotImplementedError("Multinomial: inhomogeneous total_count is not supported; give an int")
        self.total_count = total_count
        categorical = Categorical(probs, logits)
        self._binomial = Binomial(total_count=total_count, probs=categorical.probs)
        super().__init__(categorical, validate_args)

    def expand(self, batch_shape: Shape, _instance: object = None) -> Multinomial:
        new = self._get_checked_instance(Multinomial, _instance)
        new.total_count = self.total_count
        new._categorical = self._categorical.expand(batch_shape)
        new._binomial = self._binomial.expand((*batch_shape, *self._event_shape))
        return self._finished(new, batch_shape)  # type: ignore[no-any-return]  # new

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> Constraint:
        """Counts whose sum is at most ``total_count``."""
        return constraints.multinomial(self.total_count)

    @property
    def mean(self) -> Tensor:
        return self.probs * self.total_count

    @property
    def variance(self) -> Tensor:
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        with no_grad():
            draws = self._categorical.sample(Size((self.total_count, *sample_shape))).movedim(0, -1)
            counts = zeros(self._extended_shape(sample_shape), dtype=self._param.dtype, device=self._param.device)
            return counts.scatter_add_(-1, draws, ones_like(draws, dtype=counts.dtype))

    def log_prob(self, value: Tensor) -> Tensor:
        logits, value = broadcast_all(self.logits, self._checked(value))
        ways = (value.sum(-1) + 1).lgamma() - (value + 1).lgamma().sum(-1)
        return ways + (logits.masked_fill((value == 0) & (logits == -math.inf), 0.0) * value).sum(-1)

    def entropy(self) -> Tensor:
        """n times that of one draw, less the logarithm of the orders in which the counts may have come."""
        n = self._binomial.total_count.new_full((), self.total_count)
        counts = self._binomial.enumerate_support(expand=False)[1:]
        spread = (self._binomial.log_prob(counts).exp() * (counts + 1).lgamma()).sum((0, -1))
        return n * self._categorical.entropy() - (n + 1).lgamma() + spread
