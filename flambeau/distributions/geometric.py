"""The geometric distribution."""

from __future__ import annotations

from typing import ClassVar

from flambeau.core.creation import zeros_like
from flambeau.core.dtype import finfo
from flambeau.core.errors import ArgumentError
from flambeau.core.ops.random import rand
from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.distributions import constraints
from flambeau.distributions.binary import Binary
from flambeau.distributions.distribution import Constraints
from flambeau.distributions.utils import Shape, Value, _all, broadcast_all
from flambeau.nn.functional import binary_cross_entropy_with_logits

__all__ = ["Geometric"]


class Geometric(Binary):
    """The number of failures before the first success, whose probability is ``probs``, in (0, 1].

    >>> fb.distributions.Geometric(0.25).mean
    tensor(3.)
    """

    arg_constraints: ClassVar[Constraints] = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.nonnegative_integer

    def __init__(self, probs: Value | None = None, logits: Value | None = None, validate_args: bool | None = None):
        super().__init__(self._set(probs, logits), validate_args=validate_args)
        if self._validate_args and probs is not None and not _all(self.probs > 0):
            raise ArgumentError(
                f"Expected parameter probs (Tensor of shape {tuple(self.probs.shape)}) of distribution {self!r} "
                f"to be positive but found invalid values:\n{self.probs}"
            )

    def expand(self, batch_shape: Shape, _instance: object = None) -> Geometric:
        return self._expanded(Geometric, batch_shape, _instance, "probs", "logits")  # type: ignore[no-any-return]

    @property
    def mean(self) -> Tensor:
        return 1 / self.probs - 1

    @property
    def mode(self) -> Tensor:
        return zeros_like(self.probs)

    @property
    def variance(self) -> Tensor:
        return (1 / self.probs - 1) / self.probs

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        with no_grad():
            probs = self.probs
            u = rand(self._extended_shape(sample_shape), dtype=probs.dtype, device=probs.device)
            return (u.clamp(min=finfo(probs._key.stored).tiny).log() / (-probs).log1p()).floor()

    def log_prob(self, value: Tensor) -> Tensor:
        value, probs = broadcast_all(self._checked(value), self.probs)
        failing = probs.masked_fill((probs == 1) & (value == 0), 0.0)  # no failure asked of what never fails
        return value * (-failing).log1p() + probs.log()

    def entropy(self) -> Tensor:
        return binary_cross_entropy_with_logits(self.logits, self.probs, reduction="none") / self.probs
