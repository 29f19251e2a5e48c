"""The half-Cauchy distribution."""

from __future__ import annotations

import math
from typing import ClassVar

from flambeau.core.creation import full_like, zeros_like
from flambeau.core.from_data import as_tensor
from flambeau.core.ops.elementwise import where
from flambeau.core.tensor import Tensor
from flambeau.distributions import constraints
from flambeau.distributions.cauchy import Cauchy
from flambeau.distributions.distribution import Constraints
from flambeau.distributions.mappings import AbsTransform
from flambeau.distributions.transformed_distribution import TransformedDistribution
from flambeau.distributions.utils import Shape, Value

__all__ = ["HalfCauchy"]


class HalfCauchy(TransformedDistribution):
    """The distribution of abs(x) for Cauchy x of median 0 and half width ``scale``.

    >>> fb.distributions.HalfCauchy(1.0).cdf(fb.tensor(1.0))
    tensor(0.5000)
    """

    arg_constraints: ClassVar[Constraints] = {"scale": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True

    def __init__(self, scale: Value, validate_args: bool | None = None):
        super().__init__(Cauchy(0, scale, validate_args=False), AbsTransform(), validate_args=validate_args)

    def expand(self, batch_shape: Shape, _instance: object = None) -> HalfCauchy:
        new = self._get_checked_instance(HalfCauchy, _instance)
        return super().expand(batch_shape, new)  # type: ignore[return-value]  # new

    @property
    def scale(self) -> Tensor:
        """The half width of x."""
        return self.base_dist.scale  # type: ignore[no-any-return]  # of any distribution

    @property
    def mean(self) -> Tensor:
        return full_like(self.scale, math.inf)

    @property
    def mode(self) -> Tensor:
        return zeros_like(self.scale)

    @property
    def variance(self) -> Tensor:
        return self.base_dist.variance  # type: ignore[no-any-return]  # of any distribution

    def log_prob(self, value: Tensor) -> Tensor:
        value = as_tensor(self._checked(value), dtype=self.scale.dtype, device=self.scale.device)
        found: Tensor = self.base_dist.log_prob(value) + math.log(2)
        return where(value >= 0, found, -math.inf)

    def cdf(self, value: Tensor) -> Tensor:
        found: Tensor = self.base_dist.cdf(self._checked(value))
        return 2 * found - 1

    def icdf(self, value: Tensor) -> Tensor:
        return self.base_dist.icdf((value + 1) / 2)  # type: ignore[no-any-return]  # of any distribution

    def entropy(self) -> Tensor:
        return self.base_dist.entropy() - math.log(2)  # type: ignore[no-any-return]  # of any distribution
