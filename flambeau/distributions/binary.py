"""What the distributions by a probability of success share: it is given as ``probs`` or as ``logits``."""

from __future__ import annotations

from typing import Any

from flambeau.core.errors import ArgumentError
from flambeau.core.size import Size
from flambeau.core.tensor import Tensor
from flambeau.distributions.distribution import Distribution
from flambeau.distributions.utils import Value, broadcast_all, lazy_property, logits_to_probs, probs_to_logits

__all__ = ["Binary"]


def only_one(probs: object, logits: object) -> bool:
    """Whether ``probs`` is the one that is given; ValueError unless one is."""
    if (probs is None) == (logits is None):
        raise ArgumentError("Either `probs` or `logits` must be specified, but not both.")
    return probs is not None


class ByProbsOrLogits(Distribution):
    """A distribution that keeps which of ``probs`` and ``logits`` it was given."""

    @property
    def _param(self) -> Tensor:
        found: Tensor = self.__dict__["probs"] if "probs" in self.__dict__ else self.__dict__["logits"]
        return found

    def _new(self, *args: Any, **kwargs: Any) -> Tensor:
        """An empty tensor of the parameter's dtype and device."""
        return self._param.new_empty(*args, **kwargs)

    @property
    def param_shape(self) -> Size:
        """The shape of the parameter."""
        return self._param.size()


class Binary(ByProbsOrLogits):
    """A distribution by ``probs`` or ``logits``, each computed from the other at first need."""

    def _set(self, probs: Value | None, logits: Value | None, *others: Value) -> Size:
        """Keep what is given, broadcast against ``others``; the shape."""
        if only_one(probs, logits):
            self.probs, *_ = broadcast_all(probs, *others)  # type: ignore[arg-type]  # not None
            return self.probs.shape
        self.logits, *_ = broadcast_all(logits, *others)  # type: ignore[arg-type]  # not None
        return self.logits.shape

    @lazy_property
    def probs(self) -> Tensor:
        """The probability of success."""
        return logits_to_probs(self.logits, is_binary=True)

    @lazy_property
    def logits(self) -> Tensor:
        """The logarithm of the odds of success."""
        return probs_to_logits(self.probs, is_binary=True)
