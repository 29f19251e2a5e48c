"""Mixtures of distributions of one family."""

from __future__ import annotations

from typing import ClassVar

from flambeau.core.creation import arange
from flambeau.core.errors import ArgumentError
from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.distributions import constraints
from flambeau.distributions.categorical import Categorical
from flambeau.distributions.constraints import Constraint
from flambeau.distributions.distribution import Constraints, Distribution
from flambeau.distributions.utils import Shape
from flambeau.nn.functional import log_softmax

__all__ = ["MixtureSameFamily"]


class MixtureSameFamily(Distribution):
    """The mixture of the distributions along the last batch axis of ``component_distribution``.

    ``mixture_distribution``, a :class:`Categorical` of as many categories, has their weights. ValueError where the
    two do not fit.

    >>> weights = fb.distributions.Categorical(fb.ones(2))
    >>> parts = fb.distributions.Normal(fb.tensor([-1.0, 1.0]), 1.0)
    >>> fb.distributions.MixtureSameFamily(weights, parts).variance
    tensor(2.)
    """

    arg_constraints: ClassVar[Constraints] = {}
    has_rsample = False

    def __init__(
        self, mixture_distribution: Categorical, component_distribution: Distribution,
        validate_args: bool | None = None,
    ):  # fmt: skip
        self._mixture_distribution, self._component_distribution = mixture_distribution, component_distribution
        if not isinstance(mixture_distribution, Categorical):
            raise ArgumentError("The Mixture distribution needs to be an instance of torch.distributions.Categorical")
        if not isinstance(component_distribution, Distribution):
            raise ArgumentError("The Component distribution need to be an instance of torch.distributions.Distribution")
        weights, parts = mixture_distribution.batch_shape, component_distribution.batch_shape[:-1]
        for i, j in zip(reversed(weights), reversed(parts), strict=False):
            if i != 1 and j != 1 and i != j:
                raise ArgumentError(
                    f"mixture_distribution.batch_shape ({tuple(weights)}) is not compatible with "
                    f"component_distribution.batch_shape ({tuple(component_distribution.batch_shape)})"
                )
        count = component_distribution.batch_shape[-1]
        if mixture_distribution.logits.shape[-1] != count:
            raise ArgumentError(
                f"mixture_distribution component ({mixture_distribution.logits.shape[-1]}) does not equal "
                f"component_distribution.batch_shape[-1] ({count})"
            )
        self._num_component, self._event_ndims = count, len(component_distribution.event_shape)
        super().__init__(parts, component_distribution.event_shape, validate_args=validate_args)

    def expand(self, batch_shape: Shape, _instance: object = None) -> MixtureSameFamily:
        new = self._get_checked_instance(MixtureSameFamily, _instance)
        new._component_distribution = self._component_distribution.expand((*batch_shape, self._num_component))
        new._mixture_distribution = self._mixture_distribution.expand(batch_shape)
        new._num_component, new._event_ndims = self._num_component, self._event_ndims
        return self._finished(new, batch_shape)  # type: ignore[no-any-return]  # new

    @constraints.dependent_property
    def support(self) -> Constraint:
        """That of the components."""
        return constraints.MixtureSameFamilyConstraint(self._component_distribution.support)

    @property
    def mixture_distribution(self) -> Categorical:
        """The distribution of the component."""
        return self._mixture_distribution

    @property
    def component_distribution(self) -> Distribution:
        """The components, along the last batch axis."""
        return self._component_distribution

    def _pad(self, x: Tensor) -> Tensor:
        """Values with an axis for the components."""
        return x.unsqueeze(-1 - self._event_ndims)

    def _pad_mixture_dimensions(self, x: Tensor) -> Tensor:
        """Something of each component with axes for the event."""
        return x.reshape((*x.shape[:-1], x.shape[-1]) + (1,) * self._event_ndims)

    def _mean_of(self, x: Tensor) -> Tensor:
        """The mean over the components."""
        return (self._pad_mixture_dimensions(self.mixture_distribution.probs) * x).sum(-1 - self._event_ndims)

    @property
    def mean(self) -> Tensor:
        return self._mean_of(self.component_distribution.mean)

    @property
    def variance(self) -> Tensor:
        """The mean of the variances and the variance of the means."""
        away = self.component_distribution.mean - self._pad(self.mean)
        return self._mean_of(self.component_distribution.variance) + self._mean_of(away.pow(2))

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        with no_grad():
            weights = self.mixture_distribution
            if weights.batch_shape != self._batch_shape:
                weights = weights.expand(self._batch_shape)
            which = weights.sample(sample_shape).reshape((-1,))
            rows = self.component_distribution.sample(sample_shape)
            rows = rows.reshape((-1, self._num_component, *self._event_shape))
            chosen = rows[arange(rows.shape[0], device=rows.device), which]
            return chosen.reshape(self._extended_shape(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        log_prob = self.component_distribution.log_prob(self._pad(self._checked(value)))
        return (log_prob + log_softmax(self.mixture_distribution.logits, dim=-1)).logsumexp(-1)

    def cdf(self, value: Tensor) -> Tensor:
        return (self.component_distribution.cdf(self._pad(value)) * self.mixture_distribution.probs).sum(-1)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(\n  {self.mixture_distribution!r},\n  {self.component_distribution!r})"
