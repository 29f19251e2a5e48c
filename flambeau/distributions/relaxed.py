"""What the relaxed distributions share: the parameters are those of the distribution that is mapped."""

from __future__ import annotations

from flambeau.core.tensor import Tensor
from flambeau.distributions.transformed_distribution import TransformedDistribution


class Relaxed(TransformedDistribution):
    """A distribution of ``temperature`` and ``probs`` or ``logits``, mapped from the whole line."""

    has_rsample = True

    @property
    def temperature(self) -> Tensor:
        """The temperature; the lower, the nearer to one of the categories."""
        return self.base_dist.temperature  # type: ignore[no-any-return]  # of any distribution

    @property
    def logits(self) -> Tensor:
        """The parameter as logits."""
        return self.base_dist.logits  # type: ignore[no-any-return]  # of any distribution

    @property
    def probs(self) -> Tensor:
        """The parameter as probabilities."""
        return self.base_dist.probs  # type: ignore[no-any-return]  # of any distribution
