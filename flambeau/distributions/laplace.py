"""The Laplace distribution."""

from __future__ import annotations

import math
from typing import ClassVar

from flambeau.core.dtype import finfo
from flambeau.core.ops.random import rand
from flambeau.core.tensor import Tensor
from flambeau.distributions import constraints
from flambeau.distributions.distribution import Constraints, Distribution
from flambeau.distributions.utils import Shape, Value, broadcast_all

__all__ = ["Laplace"]


class Laplace(Distribution):
    """The density exp(-abs(x - loc) / scale) / (2 scale).

    >>> fb.distributions.Laplace(0.0, 1.0).log_prob(fb.tensor(0.0))
    tensor(-0.6931)
    """

    arg_constraints: ClassVar[Constraints] = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True

    def __init__(self, loc: Value, scale: Value, validate_args: bool | None = None):
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    def expand(self, batch_shape: Shape, _instance: object = None) -> Laplace:
        return self._expanded(Laplace, batch_shape, _instance, "loc", "scale")  # type: ignore[no-any-return]  # new

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return 2 * self.scale.pow(2)

    @property
    def stddev(self) -> Tensor:
        return math.sqrt(2) * self.scale

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        dtype = self.loc.dtype
        u = rand(self._extended_shape(sample_shape), dtype=dtype, device=self.loc.device) - 0.5
        return self.loc - self.scale * u.sign() * (-2 * u.abs()).clamp(min=finfo(dtype).eps - 1).log1p()

    def log_prob(self, value: Tensor) -> Tensor:
        return -(2 * self.scale).log() - (self._checked(value) - self.loc).abs() / self.scale

    def cdf(self, value: Tensor) -> Tensor:
        z = self._checked(value) - self.loc
        return 0.5 - 0.5 * z.sign() * (-z.abs() / self.scale).expm1()

    def icdf(self, value: Tensor) -> Tensor:
        side = value - 0.5
        return self.loc - self.scale * side.sign() * (-2 * side.abs()).log1p()

    def entropy(self) -> Tensor:
        return 1 + (2 * self.scale).log()
