"""The binomial distribution."""

from __future__ import annotations

from typing import ClassVar

from flambeau.core.creation import arange
from flambeau.core.ops.sampling import binomial
from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.distributions import constraints
from flambeau.distributions.binary import Binary
from flambeau.distributions.constraints import Constraint
from flambeau.distributions.distribution import Constraints
from flambeau.distributions.utils import Shape, Value, broadcast_all
from flambeau.nn.functional import logsigmoid

__all__ = ["Binomial"]


class Binomial(Binary):
    """How many of ``total_count`` trials succeed, each with probability ``probs``.

    >>> fb.distributions.Binomial(10, fb.tensor([0.0, 0.5])).mean
    tensor([0., 5.])
    """

    arg_constraints: ClassVar[Constraints] = {
        "total_count": constraints.nonnegative_integer, "probs": constraints.unit_interval,
        "logits": constraints.real,
    }  # fmt: skip
    has_enumerate_support = True

    def __init__(
        self, total_count: Value = 1, probs: Value | None = None, logits: Value | None = None,
        validate_args: bool | None = None,
    ):  # fmt: skip
        shape = self._set(probs, logits, total_count)
        self.total_count = broadcast_all(total_count, self._param)[0].to(self._param.dtype)
        super().__init__(shape, validate_args=validate_args)

    def expand(self, batch_shape: Shape, _instance: object = None) -> Binomial:
        names = "total_count", "probs", "logits"
        return self._expanded(Binomial, batch_shape, _instance, *names)  # type: ignore[no-any-return]  # new

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Constraint:
        """The whole numbers from 0 to the count."""
        return constraints.integer_interval(0, self.total_count)

    @property
    def mean(self) -> Tensor:
        return self.total_count * self.probs

    @property
    def mode(self) -> Tensor:
        return ((self.total_count + 1) * self.probs).floor().clamp(max=self.total_count)

    @property
    def variance(self) -> Tensor:
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        with no_grad():
            return binomial(self.total_count.expand(shape), self.probs.expand(shape))

    def log_prob(self, value: Tensor) -> Tensor:
        n, k = self.total_count, self._checked(value)
        ways = (n + 1).lgamma() - (k + 1).lgamma() - (n - k + 1).lgamma()
        return ways + k * self.logits + n * logsigmoid(-self.logits)

    def entropy(self) -> Tensor:
        log_prob = self.log_prob(self.enumerate_support(False))
        return -(log_prob.exp() * log_prob).sum(0)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        count = int(self.total_count.max())
        if not self.total_count.min() == count:
            raise NotImplementedError("Inhomogeneous total count not supported by `enumerate_support`.")
        return self._enumerated(arange(1 + count, dtype=self._param.dtype, device=self._param.device), expand)
