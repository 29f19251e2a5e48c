"""Exponential families, whose entropies and divergences follow from one function."""

from __future__ import annotations

from flambeau.core.autograd.api import grad
from flambeau.core.state import enable_grad
from flambeau.core.tensor import Tensor
from flambeau.distributions.distribution import Distribution
from flambeau.distributions.utils import _sum_rightmost

__all__ = ["ExponentialFamily"]


class ExponentialFamily(Distribution):
    """Densities ``exp(t(x) · theta - F(theta) + k(x))``.

    A subclass may say its natural parameters theta, the log normalizer F and the mean of the carrier measure k;
    entropy and Kullback-Leibler divergence follow by Bregman's formula (Nielsen and Nock, "Entropies and
    cross-entropies of exponential families", 2010).
    """

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        raise NotImplementedError(f"{type(self).__name__} does not say its natural parameters")

    def _log_normalizer(self, *natural_params: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} does not say its log normalizer")

    @property
    def _mean_carrier_measure(self) -> float | Tensor:
        raise NotImplementedError(f"{type(self).__name__} does not say the mean of its carrier measure")

    def entropy(self) -> Tensor:
        """F(theta) - theta · grad F(theta) - mean of k."""
        given, normalizer, params, slopes = self._with_slopes()
        result = normalizer - self._mean_carrier_measure
        for p, slope in zip(params, slopes, strict=True):
            result = result - _sum_rightmost(p * slope, p.ndim - result.ndim)
        return result if any(p.requires_grad for p in given) else result.detach()

    def _with_slopes(self) -> tuple[tuple[Tensor, ...], Tensor, list[Tensor], tuple[Tensor, ...]]:
        """The natural parameters as given and as differentiated by, F at them and its gradient."""
        given = self._natural_params
        with enable_grad():
            params = [p if p.requires_grad else p.detach().requires_grad_() for p in given]
            normalizer = self._log_normalizer(*params)
            slopes = grad(normalizer.sum(), params, create_graph=True)
        return given, normalizer, params, slopes
