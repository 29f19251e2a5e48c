"""The relaxed Bernoulli distribution."""

from __future__ import annotations

from typing import ClassVar

from flambeau.core.ops.random import rand
from flambeau.core.tensor import Tensor
from flambeau.distributions import constraints
from flambeau.distributions.binary import Binary
from flambeau.distributions.distribution import Constraints
from flambeau.distributions.mappings import SigmoidTransform
from flambeau.distributions.relaxed import Relaxed
from flambeau.distributions.utils import Shape, Value, broadcast_all, clamp_probs
from flambeau.nn.functional import logsigmoid

__all__ = ["LogitRelaxedBernoulli", "RelaxedBernoulli"]


class LogitRelaxedBernoulli(Binary):
    """Logits of relaxed Bernoulli numbers (Maddison, Mnih and Teh, arXiv:1611.00712).

    >>> d = fb.distributions.relaxed_bernoulli.LogitRelaxedBernoulli(fb.tensor(1.0), 0.5)
    >>> d.log_prob(fb.tensor(0.0))
    tensor(-1.3863)
    """

    arg_constraints: ClassVar[Constraints] = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.real
    has_rsample = True

    def __init__(
        self, temperature: Tensor, probs: Value | None = None, logits: Value | None = None,
        validate_args: bool | None = None,
    ):  # fmt: skip
        self.temperature = temperature
        super().__init__(self._set(probs, logits), validate_args=validate_args)

    def expand(self, batch_shape: Shape, _instance: object = None) -> LogitRelaxedBernoulli:
        new = self._expanded(LogitRelaxedBernoulli, batch_shape, _instance, "probs", "logits")
        new.temperature = self.temperature
        return new  # type: ignore[no-any-return]  # of the class of self

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        probs = clamp_probs(self.probs.expand(shape))
        u = clamp_probs(rand(shape, dtype=probs.dtype, device=probs.device))
        return (u.log() - (-u).log1p() + probs.log() - (-probs).log1p()) / self.temperature

    def log_prob(self, value: Tensor) -> Tensor:
        logits, value = broadcast_all(self.logits, self._checked(value))
        away = logits - value * self.temperature
        return self.temperature.log() + logsigmoid(away) + logsigmoid(-away)


class RelaxedBernoulli(Relaxed):
    """Bernoulli numbers relaxed to (0, 1), with gradients; the lower the temperature, the nearer to 0 and 1.

    >>> d = fb.distributions.RelaxedBernoulli(fb.tensor(0.5), fb.tensor([0.1, 0.9], requires_grad=True))
    >>> d.rsample().requires_grad
    True
    """

    arg_constraints: ClassVar[Constraints] = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.unit_interval

    def __init__(
        self, temperature: Tensor, probs: Value | None = None, logits: Value | None = None,
        validate_args: bool | None = None,
    ):  # fmt: skip
        base = LogitRelaxedBernoulli(temperature, probs, logits)
        super().__init__(base, SigmoidTransform(), validate_args=validate_args)

    def expand(self, batch_shape: Shape, _instance: object = None) -> RelaxedBernoulli:
        new = self._get_checked_instance(RelaxedBernoulli, _instance)
        return super().expand(batch_shape, new)  # type: ignore[return-value]  # new
