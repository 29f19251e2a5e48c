"""What the distributions of absolute values share."""

from __future__ import annotations

import math
from typing import ClassVar

from flambeau.core.creation import zeros_like
from flambeau.core.ops.elementwise import where
from flambeau.core.tensor import Tensor
from flambeau.distributions import constraints
from flambeau.distributions.distribution import Constraints, Distribution
from flambeau.distributions.mappings import AbsTransform
from flambeau.distributions.transformed_distribution import TransformedDistribution


class Half(TransformedDistribution):
    """The distribution of abs(x) for x of ``whole``, which is symmetric about 0 and has a ``scale``."""

    arg_constraints: ClassVar[Constraints] = {"scale": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True

    def __init__(self, whole: Distribution, validate_args: bool | None):
        super().__init__(whole, AbsTransform(), validate_args=validate_args)

    @property
    def scale(self) -> Tensor:
        """The scale of x."""
        return self.base_dist.scale  # type: ignore[no-any-return]  # of any distribution

    @property
    def mode(self) -> Tensor:
        return zeros_like(self.scale)

    def log_prob(self, value: Tensor) -> Tensor:
        found: Tensor = self.base_dist.log_prob(self._checked(value)) + math.log(2)
        return where(value >= 0, found, -math.inf)

    def cdf(self, value: Tensor) -> Tensor:
        found: Tensor = self.base_dist.cdf(self._checked(value))
        return 2 * found - 1

    def icdf(self, value: Tensor) -> Tensor:
        return self.base_dist.icdf((value + 1) / 2)  # type: ignore[no-any-return]  # of any distribution

    def entropy(self) -> Tensor:
        return self.base_dist.entropy() - math.log(2)  # type: ignore[no-any-return]  # of any distribution
