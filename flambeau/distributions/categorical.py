"""The categorical distribution."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from flambeau.core.creation import arange, full
from flambeau.core.dtype import finfo
from flambeau.core.errors import ArgumentError
from flambeau.core.ops.sampling import multinomial
from flambeau.core.size import Size
from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.distributions import constraints
from flambeau.distributions.binary import ByProbsOrLogits, only_one
from flambeau.distributions.constraints import Constraint
from flambeau.distributions.distribution import Constraints
from flambeau.distributions.utils import Shape, lazy_property, logits_to_probs, probs_to_logits

__all__ = ["Categorical"]


class Categorical(ByProbsOrLogits):
    """Indices of categories, int64, of the probabilities along the last axis of ``probs``, or of ``logits``.

    Either is normalised. ValueError unless exactly one of them is given, with an axis at least.

    >>> fb.distributions.Categorical(fb.tensor([1.0, 3.0])).log_prob(fb.tensor(1))
    tensor(-0.2877)
    """

    arg_constraints: ClassVar[Constraints] = {"probs": constraints.simplex, "logits": constraints.real_vector}
    has_enumerate_support = True

    def __init__(self, probs: Tensor | None = None, logits: Tensor | None = None, validate_args: bool | None = None):
        by_probs = only_one(probs, logits)
        given: Any = probs if by_probs else logits
        if given.ndim < 1:
            raise ArgumentError(f"`{'probs' if by_probs else 'logits'}` parameter must be at least one-dimensional.")
        if by_probs:
            self.probs = given / given.sum(-1, keepdim=True)
        else:
            self.logits = given - given.logsumexp(-1, keepdim=True)
        self._num_events = given.shape[-1]
        super().__init__(given.shape[:-1], validate_args=validate_args)

    def expand(self, batch_shape: Shape, _instance: object = None) -> Categorical:
        new = self._expanded(Categorical, batch_shape, _instance, "probs", "logits")
        new._num_events = self._num_events
        return new  # type: ignore[no-any-return]  # of the class of self

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Constraint:
        """The whole numbers below the number of categories."""
        return constraints.integer_interval(0, self._num_events - 1)

    @lazy_property
    def logits(self) -> Tensor:
        """The logarithms of the probabilities."""
        return probs_to_logits(self.probs)

    @lazy_property
    def probs(self) -> Tensor:
        """The probabilities."""
        return logits_to_probs(self.logits)

    @property
    def mean(self) -> Tensor:
        """nan: categories are no numbers."""
        return self._nan()

    @property
    def variance(self) -> Tensor:
        """nan: categories are no numbers."""
        return self._nan()

    def _nan(self) -> Tensor:
        return full(self._extended_shape(), math.nan, dtype=self._param.dtype, device=self._param.device)

    @property
    def mode(self) -> Tensor:
        return self.probs.argmax(dim=-1)

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        with no_grad():
            shape, count = Size(sample_shape), math.prod(sample_shape)
            rows = self.probs.reshape((-1, self._num_events))
            if not count or not rows.shape[0]:
                return arange(0, device=rows.device).reshape(self._extended_shape(shape))
            return multinomial(rows, count, True).T.reshape(self._extended_shape(shape))

    def log_prob(self, value: Tensor) -> Tensor:
        value = self._checked(value).long().unsqueeze(-1)
        shape = Size(value[..., 0].add(self.logits[..., 0]).shape)
        index, logits = value.expand((*shape, 1)), self.logits.expand((*shape, self._num_events))
        return logits.gather(-1, index).squeeze(-1)

    def entropy(self) -> Tensor:
        logits = self.logits.clamp(min=finfo(self.logits._key.stored).min)
        return -(logits * self.probs).sum(-1)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        return self._enumerated(arange(self._num_events, device=self._param.device), expand)
