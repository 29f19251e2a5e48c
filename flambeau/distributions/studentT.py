"""Student's t distribution."""

from __future__ import annotations

import math
from typing import ClassVar

from flambeau.core.creation import full_like
from flambeau.core.tensor import Tensor
from flambeau.distributions import constraints
from flambeau.distributions.chi2 import Chi2
from flambeau.distributions.distribution import Constraints, Distribution
from flambeau.distributions.utils import Shape, Value, _standard_normal, broadcast_all

__all__ = ["StudentT"]


class StudentT(Distribution):
    """Student's t distribution of ``df`` degrees of freedom, moved by ``loc`` and stretched by ``scale``.

    The mean is nan for df up to 1, the variance infinite up to 2 and nan up to 1.

    >>> fb.distributions.StudentT(3.0).variance
    tensor(3.)
    """

    arg_constraints: ClassVar[Constraints] = {
        "df": constraints.positive, "loc": constraints.real, "scale": constraints.positive,
    }  # fmt: skip
    support = constraints.real
    has_rsample = True

    def __init__(self, df: Value, loc: Value = 0.0, scale: Value = 1.0, validate_args: bool | None = None):
        self.df, self.loc, self.scale = broadcast_all(df, loc, scale)
        self._chi2 = Chi2(self.df)
        super().__init__(self.df.shape, validate_args=validate_args)

    def expand(self, batch_shape: Shape, _instance: object = None) -> StudentT:
        new = self._expanded(StudentT, batch_shape, _instance, "df", "loc", "scale")
        new._chi2 = self._chi2.expand(batch_shape)
        return new  # type: ignore[no-any-return]  # of the class of self

    @property
    def mean(self) -> Tensor:
        return self.loc.where(self.df > 1, math.nan)

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        finite = self.df > 2
        found = self.scale.pow(2) * self.df / (self.df - 2).where(finite, 1.0)
        return found.where(finite, full_like(self.df, math.inf).where(self.df > 1, math.nan))

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        x = _standard_normal(self._extended_shape(sample_shape), self.df.dtype, self.df.device)
        return self.loc + self.scale * x * (self._chi2.rsample(sample_shape) / self.df).rsqrt()

    def log_prob(self, value: Tensor) -> Tensor:
        z = (self._checked(value) - self.loc) / self.scale
        half = 0.5 * self.df
        size = self.scale.log() + 0.5 * (math.pi * self.df).log() + half.lgamma() - (half + 0.5).lgamma()
        return -(half + 0.5) * (z * z / self.df).log1p() - size

    def entropy(self) -> Tensor:
        half = 0.5 * self.df
        beta = half.lgamma() + math.lgamma(0.5) - (half + 0.5).lgamma()
        slope = (half + 0.5).digamma() - half.digamma()
        return self.scale.log() + (half + 0.5) * slope + 0.5 * self.df.log() + beta
