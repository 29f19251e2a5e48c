"""The uniform distribution."""

from __future__ import annotations

from collections.abc import Mapping

from flambeau.core.errors import ArgumentError
from flambeau.core.ops.random import rand
from flambeau.core.tensor import Tensor
from flambeau.distributions import constraints
from flambeau.distributions.constraints import Constraint
from flambeau.distributions.distribution import Distribution
from flambeau.distributions.utils import Shape, Value, _all, broadcast_all

__all__ = ["Uniform"]


class Uniform(Distribution):
    """Numbers in [low, high), all equally probable; ValueError unless low < high.

    >>> fb.distributions.Uniform(0.0, 2.0).log_prob(fb.tensor([1.0]))
    tensor([-0.6931])
    """

    has_rsample = True

    def __init__(self, low: Value, high: Value, validate_args: bool | None = None):
        self.low, self.high = broadcast_all(low, high)
        super().__init__(self.low.shape, validate_args=validate_args)
        if self._validate_args and not _all(self.low < self.high):
            raise ArgumentError("Uniform is not defined when low>= high")

    @property
    def arg_constraints(self) -> Mapping[str, Constraint]:
        return {"low": constraints.less_than(self.high), "high": constraints.greater_than(self.low)}

    def expand(self, batch_shape: Shape, _instance: object = None) -> Uniform:
        return self._expanded(Uniform, batch_shape, _instance, "low", "high")  # type: ignore[no-any-return]  # new

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Constraint:
        """The interval from low to high."""
        return constraints.interval(self.low, self.high)

    @property
    def mean(self) -> Tensor:
        return (self.high + self.low) / 2

    @property
    def mode(self) -> Tensor:
        """nan: no number is more probable than others."""
        return self.high * float("nan")

    @property
    def stddev(self) -> Tensor:
        return (self.high - self.low) / 12**0.5

    @property
    def variance(self) -> Tensor:
        return (self.high - self.low).pow(2) / 12

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        u = rand(self._extended_shape(sample_shape), dtype=self.low.dtype, device=self.low.device)
        return self.low + u * (self.high - self.low)

    def log_prob(self, value: Tensor) -> Tensor:
        value = self._checked(value)
        inside = (self.low <= value) & (self.high > value)
        return inside.to(self.low.dtype).log() - (self.high - self.low).log()

    def cdf(self, value: Tensor) -> Tensor:
        return ((self._checked(value) - self.low) / (self.high - self.low)).clamp(min=0, max=1)

    def icdf(self, value: Tensor) -> Tensor:
        return value * (self.high - self.low) + self.low

    def entropy(self) -> Tensor:
        return (self.high - self.low).log()
