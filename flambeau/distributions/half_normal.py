"""The half-normal distribution."""

from __future__ import annotations

import math

from flambeau.core.tensor import Tensor
from flambeau.distributions.half import Half
from flambeau.distributions.normal import Normal
from flambeau.distributions.utils import Shape, Value

__all__ = ["HalfNormal"]


class HalfNormal(Half):
    """The distribution of abs(x) for normal x of mean 0 and standard deviation ``scale``.

    >>> fb.distributions.HalfNormal(1.0).mean
    tensor(0.7979)
    """

    def __init__(self, scale: Value, validate_args: bool | None = None):
        super().__init__(Normal(0, scale, validate_args=False), validate_args)

    def expand(self, batch_shape: Shape, _instance: object = None) -> HalfNormal:
        new = self._get_checked_instance(HalfNormal, _instance)
        return super().expand(batch_shape, new)  # type: ignore[return-value]  # new

    @property
    def mean(self) -> Tensor:
        return self.scale * math.sqrt(2 / math.pi)

    @property
    def variance(self) -> Tensor:
        return self.scale.pow(2) * (1 - 2 / math.pi)
