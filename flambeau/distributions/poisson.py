"""The Poisson distribution."""

from __future__ import annotations

from typing import ClassVar

from flambeau.core.ops.elementwise import xlogy_p as xlogy
from flambeau.core.ops.sampling import poisson
from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.distributions import constraints
from flambeau.distributions.distribution import Constraints
from flambeau.distributions.exp_family import ExponentialFamily
from flambeau.distributions.utils import Shape, Value, broadcast_all

__all__ = ["Poisson"]


class Poisson(ExponentialFamily):
    """The probability rate**k * exp(-rate) / k! of the whole numbers k.

    >>> fb.distributions.Poisson(4.0).variance
    tensor(4.)
    """

    arg_constraints: ClassVar[Constraints] = {"rate": constraints.nonnegative}
    support = constraints.nonnegative_integer

    def __init__(self, rate: Value, validate_args: bool | None = None):
        (self.rate,) = broadcast_all(rate)
        super().__init__(self.rate.shape, validate_args=validate_args)

    def expand(self, batch_shape: Shape, _instance: object = None) -> Poisson:
        return self._expanded(Poisson, batch_shape, _instance, "rate")  # type: ignore[no-any-return]  # new

    @property
    def mean(self) -> Tensor:
        return self.rate

    @property
    def mode(self) -> Tensor:
        return self.rate.floor()

    @property
    def variance(self) -> Tensor:
        return self.rate

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        with no_grad():
            return poisson(self.rate.expand(self._extended_shape(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        rate, value = broadcast_all(self.rate, self._checked(value))
        return xlogy(value, rate) - rate - (value + 1).lgamma()

    @property
    def _natural_params(self) -> tuple[Tensor]:
        return (self.rate.log(),)

    def _log_normalizer(self, x: Tensor) -> Tensor:  # type: ignore[override]  # of one parameter
        return x.exp()
