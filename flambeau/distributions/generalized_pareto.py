"""The generalized Pareto distribution."""

from __future__ import annotations

import math
from typing import ClassVar

from flambeau.core.dtype import finfo
from flambeau.core.ops.elementwise import where
from flambeau.core.ops.random import rand
from flambeau.core.tensor import Tensor
from flambeau.distributions import constraints
from flambeau.distributions.constraints import Constraint
from flambeau.distributions.distribution import Constraints, Distribution
from flambeau.distributions.utils import Shape, Value, broadcast_all

__all__ = ["GeneralizedPareto"]


class GeneralizedPareto(Distribution):
    """The distribution of excesses of survival (1 + concentration z)**(-1 / concentration), z = (x - loc) / scale.

    For a concentration of 0 it is the exponential one, for negative ones it ends at loc - scale / concentration.
    The mean is nan for a concentration from 1 on, the variance from 1/2 on.

    >>> fb.distributions.GeneralizedPareto(0.0, 1.0, 0.5).mean
    tensor(2.)
    """

    arg_constraints: ClassVar[Constraints] = {
        "loc": constraints.real, "scale": constraints.positive, "concentration": constraints.real,
    }  # fmt: skip
    has_rsample = True

    def __init__(self, loc: Value, scale: Value, concentration: Value, validate_args: bool | None = None):
        self.loc, self.scale, self.concentration = broadcast_all(loc, scale, concentration)
        super().__init__(self.loc.shape, validate_args=validate_args)

    def expand(self, batch_shape: Shape, _instance: object = None) -> GeneralizedPareto:
        names = "loc", "scale", "concentration"
        return self._expanded(GeneralizedPareto, batch_shape, _instance, *names)  # type: ignore[no-any-return]  # new

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Constraint:
        """From loc on, to its end where the concentration is negative."""
        end = where(self.concentration < 0, self.loc - self.scale / self.concentration, math.inf)
        return constraints.interval(self.loc, end)

    @property
    def mean(self) -> Tensor:
        c = self.concentration
        return where(c < 1, self.loc + self.scale / (1 - c), math.nan)

    @property
    def variance(self) -> Tensor:
        c = self.concentration
        return where(c < 0.5, self.scale.pow(2) / ((1 - c).pow(2) * (1 - 2 * c)), math.nan)

    @property
    def mode(self) -> Tensor:
        return self.loc

    def _z(self, value: Tensor) -> Tensor:
        return (value - self.loc) / self.scale

    def _no_shape(self) -> tuple[Tensor, Tensor]:
        """Where the concentration is as good as 0, and the concentration with 1 there."""
        c = self.concentration
        small = c.abs() < finfo(c._key.stored).eps
        return small, c.masked_fill(small, 1.0)

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        u = rand(self._extended_shape(sample_shape), dtype=self.loc.dtype, device=self.loc.device)
        return self.icdf(u)

    def log_survival_function(self, value: Tensor) -> Tensor:
        """The logarithm of the probability of what is above ``value``."""
        small, c = self._no_shape()
        z = self._z(self._checked(value))
        return where(small, -z, -(c * z).clamp(min=-1).log1p() / c)

    def log_prob(self, value: Tensor) -> Tensor:
        small, c = self._no_shape()
        z = self._z(self._checked(value))
        return where(small, -z, -(1 + 1 / c) * (c * z).log1p()) - self.scale.log()

    def log_cdf(self, value: Tensor) -> Tensor:
        """The logarithm of :meth:`cdf`."""
        return (-self.log_survival_function(value).exp()).log1p()

    def cdf(self, value: Tensor) -> Tensor:
        return -self.log_survival_function(value).expm1()

    def icdf(self, value: Tensor) -> Tensor:
        small, c = self._no_shape()
        log_rest = (-value).log1p()
        return self.loc + self.scale * where(small, -log_rest, (-c * log_rest).expm1() / c)

    def entropy(self) -> Tensor:
        return self.scale.log() + self.concentration + 1
