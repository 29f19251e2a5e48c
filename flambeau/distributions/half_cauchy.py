"""The half-Cauchy distribution."""

from __future__ import annotations

import math

from flambeau.core.creation import full_like
from flambeau.core.from_data import as_tensor
from flambeau.core.tensor import Tensor
from flambeau.distributions.cauchy import Cauchy
from flambeau.distributions.half import Half
from flambeau.distributions.utils import Shape, Value

__all__ = ["HalfCauchy"]


class HalfCauchy(Half):
    """The distribution of abs(x) for Cauchy x of median 0 and half width ``scale``.

    >>> fb.distributions.HalfCauchy(1.0).cdf(fb.tensor(1.0))
    tensor(0.5000)
    """

    def __init__(self, scale: Value, validate_args: bool | None = None):
        super().__init__(Cauchy(0, scale, validate_args=False), validate_args)

    def expand(self, batch_shape: Shape, _instance: object = None) -> HalfCauchy:
        new = self._get_checked_instance(HalfCauchy, _instance)
        return super().expand(batch_shape, new)  # type: ignore[return-value]  # new

    @property
    def mean(self) -> Tensor:
        return full_like(self.scale, math.inf)

    @property
    def variance(self) -> Tensor:
        return self.base_dist.variance  # type: ignore[no-any-return]  # of any distribution

    def log_prob(self, value: Tensor) -> Tensor:
        return super().log_prob(as_tensor(value, dtype=self.scale.dtype, device=self.scale.device))
