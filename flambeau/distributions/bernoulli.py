"""The Bernoulli distribution."""

from __future__ import annotations

import math
from typing import ClassVar

from flambeau.core.creation import arange
from flambeau.core.ops.sampling import bernoulli
from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.distributions import constraints
from flambeau.distributions.binary import Binary
from flambeau.distributions.distribution import Constraints
from flambeau.distributions.exp_family import ExponentialFamily
from flambeau.distributions.utils import Shape, Value, broadcast_all
from flambeau.nn.functional import binary_cross_entropy_with_logits

__all__ = ["Bernoulli"]


class Bernoulli(Binary, ExponentialFamily):
    """1 with probability ``probs``, else 0; by ``probs`` or ``logits``.

    ValueError unless exactly one of them is given.

    >>> fb.distributions.Bernoulli(0.5).log_prob(fb.tensor([0.0, 1.0]))
    tensor([-0.6931, -0.6931])
    """

    arg_constraints: ClassVar[Constraints] = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.boolean
    has_enumerate_support = True
    _mean_carrier_measure = 0.0

    def __init__(self, probs: Value | None = None, logits: Value | None = None, validate_args: bool | None = None):
        super().__init__(self._set(probs, logits), validate_args=validate_args)

    def expand(self, batch_shape: Shape, _instance: object = None) -> Bernoulli:
        return self._expanded(Bernoulli, batch_shape, _instance, "probs", "logits")  # type: ignore[no-any-return]

    @property
    def mean(self) -> Tensor:
        return self.probs

    @property
    def mode(self) -> Tensor:
        """The more probable value, nan where both are as probable."""
        return (self.probs >= 0.5).to(self.probs.dtype).where(self.probs != 0.5, math.nan)

    @property
    def variance(self) -> Tensor:
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        with no_grad():
            return bernoulli(self.probs.expand(self._extended_shape(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        logits, value = broadcast_all(self.logits, self._checked(value))
        return -binary_cross_entropy_with_logits(logits, value.to(logits.dtype), reduction="none")

    def entropy(self) -> Tensor:
        return binary_cross_entropy_with_logits(self.logits, self.probs, reduction="none")

    def enumerate_support(self, expand: bool = True) -> Tensor:
        return self._enumerated(arange(2, dtype=self._param.dtype, device=self._param.device), expand)

    @property
    def _natural_params(self) -> tuple[Tensor]:
        return (self.logits,)

    def _log_normalizer(self, x: Tensor) -> Tensor:  # type: ignore[override]  # of one parameter
        return x.exp().log1p()
