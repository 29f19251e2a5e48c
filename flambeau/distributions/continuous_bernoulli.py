"""The continuous Bernoulli distribution."""

from __future__ import annotations

import math
from typing import ClassVar

from flambeau.core.creation import zeros_like
from flambeau.core.errors import ArgumentError
from flambeau.core.ops.elementwise import where
from flambeau.core.ops.random import rand
from flambeau.core.tensor import Tensor
from flambeau.distributions import constraints
from flambeau.distributions.binary import Binary
from flambeau.distributions.distribution import Constraints
from flambeau.distributions.exp_family import ExponentialFamily
from flambeau.distributions.utils import Shape, Value, _all, broadcast_all, clamp_probs, lazy_property, logits_to_probs
from flambeau.nn.functional import binary_cross_entropy_with_logits

__all__ = ["ContinuousBernoulli"]


class ContinuousBernoulli(Binary, ExponentialFamily):
    """The density probs**x * (1 - probs)**(1 - x), normalised, in [0, 1] (Loaiza-Ganem and Cunningham, 1907.06845).

    Between the numbers ``lims`` around 1/2, where the closed forms lose their digits, Taylor series stand for them.

    >>> fb.distributions.ContinuousBernoulli(0.5).mean
    tensor(0.5000)
    """

    arg_constraints: ClassVar[Constraints] = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.unit_interval
    has_rsample = True
    _mean_carrier_measure = 0.0

    def __init__(
        self, probs: Value | None = None, logits: Value | None = None, lims: tuple[float, float] = (0.499, 0.501),
        validate_args: bool | None = None,
    ):  # fmt: skip
        shape = self._set(probs, logits)
        if probs is not None:
            if validate_args is not None and not _all(constraints.unit_interval.check(self.probs)):
                raise ArgumentError("The parameter probs has invalid values")
            self.probs = clamp_probs(self.probs)
        self._lims = lims
        super().__init__(shape, validate_args=validate_args)

    def expand(self, batch_shape: Shape, _instance: object = None) -> ContinuousBernoulli:
        new = self._expanded(ContinuousBernoulli, batch_shape, _instance, "probs", "logits")
        new._lims = self._lims
        return new  # type: ignore[no-any-return]  # of the class of self

    @lazy_property
    def probs(self) -> Tensor:
        """The parameter: not the mean, unless it is 1/2."""
        return clamp_probs(logits_to_probs(self.logits, is_binary=True))

    def _outside_unstable_region(self) -> Tensor:
        return (self.probs <= self._lims[0]) | (self.probs > self._lims[1])

    def _cut_probs(self) -> Tensor:
        """The parameter, held outside of ``lims``."""
        return where(self._outside_unstable_region(), self.probs, self._lims[0])

    def _near_half(self, closed: Tensor, *series: float) -> Tensor:
        """``closed``, or inside of ``lims`` a polynomial of probs - 1/2."""
        x, total = self.probs - 0.5, zeros_like(self.probs)
        for c in reversed(series):
            total = total * x + c
        return where(self._outside_unstable_region(), closed, total)

    def _cont_bern_log_norm(self) -> Tensor:
        """The logarithm of the normalising factor."""
        p = self._cut_probs()
        ratio = ((-p).log1p() - p.log()) / (1 - 2 * p)
        return self._near_half(ratio.log(), math.log(2), 0.0, 4 / 3, 0.0, 104 / 45)

    @property
    def mean(self) -> Tensor:
        p = self._cut_probs()
        closed = p / (2 * p - 1) + 1 / ((-p).log1p() - p.log())
        return self._near_half(closed, 0.5, 1 / 3, 0.0, 16 / 45)

    @property
    def stddev(self) -> Tensor:
        return self.variance.sqrt()

    @property
    def variance(self) -> Tensor:
        p = self._cut_probs()
        closed = p * (p - 1) / (1 - 2 * p).pow(2) + 1 / ((-p).log1p() - p.log()).pow(2)
        return self._near_half(closed, 1 / 12, 0.0, -1 / 15, 0.0, 128 / 945)

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        u = rand(self._extended_shape(sample_shape), dtype=self.probs.dtype, device=self.probs.device)
        return self.icdf(u)

    def log_prob(self, value: Tensor) -> Tensor:
        logits, value = broadcast_all(self.logits, self._checked(value))
        cross = binary_cross_entropy_with_logits(logits, value, reduction="none")
        return self._cont_bern_log_norm() - cross

    def cdf(self, value: Tensor) -> Tensor:
        value, p = self._checked(value), self._cut_probs()
        closed = (p.pow(value) * (1 - p).pow(1 - value) + p - 1) / (2 * p - 1)
        found = where(self._outside_unstable_region(), closed, value)
        return where(value <= 0, 0.0, where(value >= 1, 1.0, found))

    def icdf(self, value: Tensor) -> Tensor:
        p = self._cut_probs()
        closed = ((-p + value * (2 * p - 1)).log1p() - (-p).log1p()) / (p.log() - (-p).log1p())
        return where(self._outside_unstable_region(), closed, value)

    def entropy(self) -> Tensor:
        failure, success = (-self.probs).log1p(), self.probs.log()
        return self.mean * (failure - success) - self._cont_bern_log_norm() - failure

    @property
    def _natural_params(self) -> tuple[Tensor]:
        return (self.logits,)

    def _log_normalizer(self, x: Tensor) -> Tensor:  # type: ignore[override]  # of one parameter
        """log((exp(x) - 1) / x), by its series where the parameter is near 1/2."""
        outside = (x <= math.log(self._lims[0] / (1 - self._lims[0]))) | (
            x > math.log(self._lims[1] / (1 - self._lims[1]))
        )
        safe = where(outside, x, 1.0)
        return where(outside, (safe.exp() - 1).abs().log() - safe.abs().log(), 0.5 * x + x.pow(2) / 24)
