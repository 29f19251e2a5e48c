"""The gamma distribution."""

from __future__ import annotations

from typing import ClassVar

from flambeau.core.dtype import finfo
from flambeau.core.from_data import as_tensor
from flambeau.core.ops.elementwise import xlogy_p as xlogy
from flambeau.core.ops.gamma import standard_gamma
from flambeau.core.ops.transcendental import igamma_p
from flambeau.core.tensor import Tensor
from flambeau.distributions import constraints
from flambeau.distributions.distribution import Constraints
from flambeau.distributions.exp_family import ExponentialFamily
from flambeau.distributions.utils import Shape, Value, broadcast_all

__all__ = ["Gamma"]


class Gamma(ExponentialFamily):
    """The gamma distribution of shape parameter ``concentration`` and inverse scale ``rate``.

    Samples have implicit gradients, see :func:`flambeau._standard_gamma`.

    >>> fb.distributions.Gamma(3.0, 2.0).mean
    tensor(1.5000)
    """

    arg_constraints: ClassVar[Constraints] = {"concentration": constraints.positive, "rate": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True
    _mean_carrier_measure = 0.0

    def __init__(self, concentration: Value, rate: Value, validate_args: bool | None = None):
        self.concentration, self.rate = broadcast_all(concentration, rate)
        super().__init__(self.concentration.shape, validate_args=validate_args)

    def expand(self, batch_shape: Shape, _instance: object = None) -> Gamma:
        return self._expanded(Gamma, batch_shape, _instance, "concentration", "rate")  # type: ignore[no-any-return]

    @property
    def mean(self) -> Tensor:
        return self.concentration / self.rate

    @property
    def mode(self) -> Tensor:
        return ((self.concentration - 1) / self.rate).clamp(min=0)

    @property
    def variance(self) -> Tensor:
        return self.concentration / self.rate.pow(2)

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        found = standard_gamma(self.concentration.expand(self._extended_shape(sample_shape))) / self.rate
        return found.clamp(min=finfo(found._key.stored).tiny)

    def log_prob(self, value: Tensor) -> Tensor:
        value = self._checked(as_tensor(value, dtype=self.rate.dtype, device=self.rate.device))
        a, rate = self.concentration, self.rate
        return xlogy(a, rate) + xlogy(a - 1, value) - rate * value - a.lgamma()

    def cdf(self, value: Tensor) -> Tensor:
        return igamma_p(self.concentration, self.rate * self._checked(value))

    def entropy(self) -> Tensor:
        a = self.concentration
        return a - self.rate.log() + a.lgamma() + (1 - a) * a.digamma()

    @property
    def _natural_params(self) -> tuple[Tensor, Tensor]:
        return self.concentration - 1, -self.rate

    def _log_normalizer(self, x: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]  # of two parameters
        return (x + 1).lgamma() - (x + 1) * (-y).log()
