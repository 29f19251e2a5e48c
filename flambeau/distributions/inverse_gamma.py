"""The inverse gamma distribution."""

from __future__ import annotations

import math
from typing import ClassVar

from flambeau.core.creation import ones_like
from flambeau.core.ops.elementwise import where
from flambeau.core.tensor import Tensor
from flambeau.distributions import constraints
from flambeau.distributions.distribution import Constraints
from flambeau.distributions.gamma import Gamma
from flambeau.distributions.mappings import PowerTransform
from flambeau.distributions.transformed_distribution import TransformedDistribution
from flambeau.distributions.utils import Shape, Value

__all__ = ["InverseGamma"]


class InverseGamma(TransformedDistribution):
    """The distribution of 1 / x for x of Gamma(concentration, rate).

    >>> fb.distributions.InverseGamma(3.0, 2.0).mean
    tensor(1.)
    """

    arg_constraints: ClassVar[Constraints] = {"concentration": constraints.positive, "rate": constraints.positive}
    support = constraints.positive
    has_rsample = True

    def __init__(self, concentration: Value, rate: Value, validate_args: bool | None = None):
        base = Gamma(concentration, rate, validate_args=validate_args)
        super().__init__(base, PowerTransform(-ones_like(base.rate)), validate_args=validate_args)

    def expand(self, batch_shape: Shape, _instance: object = None) -> InverseGamma:
        new = self._get_checked_instance(InverseGamma, _instance)
        return super().expand(batch_shape, new)  # type: ignore[return-value]  # new

    @property
    def concentration(self) -> Tensor:
        """The shape parameter of x."""
        return self.base_dist.concentration  # type: ignore[no-any-return]  # of any distribution

    @property
    def rate(self) -> Tensor:
        """The inverse scale of x."""
        return self.base_dist.rate  # type: ignore[no-any-return]  # of any distribution

    @property
    def mean(self) -> Tensor:
        """Infinite for a concentration up to 1."""
        a = self.concentration
        return where(a > 1, self.rate / (a - 1), math.inf)

    @property
    def mode(self) -> Tensor:
        return self.rate / (self.concentration + 1)

    @property
    def variance(self) -> Tensor:
        """Infinite for a concentration up to 2."""
        a = self.concentration
        return where(a > 2, self.rate.pow(2) / ((a - 1).pow(2) * (a - 2)), math.inf)

    def entropy(self) -> Tensor:
        a = self.concentration
        return a + self.rate.log() + a.lgamma() - (1 + a) * a.digamma()
