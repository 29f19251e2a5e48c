"""The negative binomial distribution."""

from __future__ import annotations

from typing import ClassVar

from flambeau.core.ops.sampling import poisson
from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.distributions import constraints
from flambeau.distributions.binary import Binary
from flambeau.distributions.distribution import Constraints
from flambeau.distributions.gamma import Gamma
from flambeau.distributions.utils import Shape, Value, broadcast_all, lazy_property
from flambeau.nn.functional import logsigmoid

__all__ = ["NegativeBinomial"]


class NegativeBinomial(Binary):
    """How many trials succeed, each with probability ``probs``, before ``total_count`` of them (real) have failed.

    >>> fb.distributions.NegativeBinomial(2.0, 0.75).mean
    tensor(6.)
    """

    arg_constraints: ClassVar[Constraints] = {
        "total_count": constraints.greater_than_eq(0), "probs": constraints.half_open_interval(0.0, 1.0),
        "logits": constraints.real,
    }  # fmt: skip
    support = constraints.nonnegative_integer

    def __init__(
        self, total_count: Value, probs: Value | None = None, logits: Value | None = None,
        validate_args: bool | None = None,
    ):  # fmt: skip
        shape = self._set(probs, logits, total_count)
        self.total_count = broadcast_all(total_count, self._param)[0].to(self._param.dtype)
        super().__init__(shape, validate_args=validate_args)

    def expand(self, batch_shape: Shape, _instance: object = None) -> NegativeBinomial:
        names = "total_count", "probs", "logits"
        return self._expanded(NegativeBinomial, batch_shape, _instance, *names)  # type: ignore[no-any-return]  # new

    @property
    def mean(self) -> Tensor:
        return self.total_count * self.logits.exp()

    @property
    def mode(self) -> Tensor:
        return ((self.total_count - 1) * self.logits.exp()).floor().clamp(min=0)

    @property
    def variance(self) -> Tensor:
        return self.mean / (-self.logits).sigmoid()

    @lazy_property
    def _gamma(self) -> Gamma:
        """What the rates of the Poisson numbers follow; a count of 0 is no parameter of it, so nothing is checked."""
        return Gamma(self.total_count, (-self.logits).exp(), validate_args=False)

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        with no_grad():
            return poisson(self._gamma.sample(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        n, k = self.total_count, self._checked(value)
        ways = (n + k).lgamma() - (k + 1).lgamma() - n.lgamma()
        ways = ways.masked_fill((n + k) == 0, 0.0)  # none of no trials
        return n * logsigmoid(-self.logits) + k * logsigmoid(self.logits) + ways
