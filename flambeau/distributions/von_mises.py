"""The von Mises distribution."""

from __future__ import annotations

import math
from typing import ClassVar

from flambeau.core.creation import zeros_like
from flambeau.core.dtype import float64
from flambeau.core.ops.elementwise import where
from flambeau.core.ops.random import rand
from flambeau.core.ops.special import i0e_p as i0e
from flambeau.core.ops.special import i1e_p as i1e
from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.distributions import constraints
from flambeau.distributions.distribution import Constraints, Distribution
from flambeau.distributions.utils import Shape, Value, broadcast_all, lazy_property

__all__ = ["VonMises"]


class VonMises(Distribution):
    """Angles of the density exp(concentration * cos(x - loc)), normalised; samples are in [-pi, pi).

    >>> fb.distributions.VonMises(fb.tensor(0.0), fb.tensor(1e-6)).log_prob(fb.tensor(1.0))
    tensor(-1.8379)
    """

    arg_constraints: ClassVar[Constraints] = {"loc": constraints.real, "concentration": constraints.positive}
    support = constraints.real
    has_rsample = False

    def __init__(self, loc: Value, concentration: Value, validate_args: bool | None = None):
        self.loc, self.concentration = broadcast_all(loc, concentration)
        super().__init__(self.loc.shape, validate_args=validate_args)

    def expand(self, batch_shape: Shape, _instance: object = None) -> VonMises:
        return self._expanded(VonMises, batch_shape, _instance, "loc", "concentration")  # type: ignore[no-any-return]

    @property
    def mean(self) -> Tensor:
        """The circular mean."""
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    @lazy_property
    def variance(self) -> Tensor:
        """The circular variance, 1 - I1(concentration) / I0(concentration)."""
        return 1 - i1e(self.concentration) / i0e(self.concentration)

    @lazy_property
    def _proposal_r(self) -> Tensor:
        """The parameter of the wrapped Cauchy numbers that are proposed; its Taylor series for small ones."""
        k = self.concentration.to(float64)
        rho = (1 + 4 * k * k).sqrt() + 1
        rho = (rho - (2 * rho).sqrt()) / (2 * k)
        return where(k < 1e-5, 1 / k + k, (1 + rho * rho) / (2 * rho))

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        """By rejection: Best and Fisher, "Efficient simulation of the von Mises distribution", 1979."""
        shape = self._extended_shape(sample_shape)
        with no_grad():
            loc, k, r = (t.to(float64).expand(shape) for t in (self.loc, self.concentration, self._proposal_r))
            found, missing = zeros_like(k), k == k
            for _ in range(100):
                u1, u2, u3 = (rand(shape, dtype=float64, device=k.device) for _ in range(3))
                z = (math.pi * u1).cos()
                f = (1 + r * z) / (r + z)
                c = k * (r - f)
                accepted = missing & ((c * (2 - c) - u2 > 0) | ((c / u2.clamp(min=1e-300)).log() + 1 - c >= 0))
                found = where(accepted, (u3 - 0.5).sign() * f.clamp(-1, 1).acos(), found)
                missing = missing & ~accepted
                if found._key.level is None and not bool(missing.any()):
                    break
            return ((found + math.pi + loc) % (2 * math.pi) - math.pi).to(self.loc.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        k = self.concentration
        return k * ((self._checked(value) - self.loc).cos() - 1) - math.log(2 * math.pi) - i0e(k).log()
