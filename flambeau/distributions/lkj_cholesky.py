"""The distribution of correlation matrices of Lewandowski, Kurowicka and Joe."""

from __future__ import annotations

import math
from typing import ClassVar

from flambeau.core.creation import arange
from flambeau.core.dtype import finfo
from flambeau.core.errors import ArgumentError
from flambeau.core.ops.joining import cat
from flambeau.core.ops.special import mvlgamma
from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.distributions import constraints
from flambeau.distributions.beta import Beta
from flambeau.distributions.distribution import Constraints, Distribution
from flambeau.distributions.utils import Shape, Value, _standard_normal, broadcast_all

__all__ = ["LKJCholesky"]


class LKJCholesky(Distribution):
    """Cholesky factors of ``dim`` x ``dim`` correlation matrices of the density det(matrix)**(concentration - 1).

    Lewandowski, Kurowicka and Joe, "Generating random correlation matrices based on vines and extended onion
    method", 2009. ValueError for a dim below 2.

    >>> fb.distributions.LKJCholesky(3, 0.5).sample().shape
    flambeau.Size([3, 3])
    """

    arg_constraints: ClassVar[Constraints] = {"concentration": constraints.positive}
    support = constraints.corr_cholesky

    def __init__(self, dim: int, concentration: Value = 1.0, validate_args: bool | None = None):
        if dim < 2:
            raise ArgumentError(f"Expected dim to be an integer greater than or equal to 2. Found dim={dim}.")
        self.dim = dim
        (self.concentration,) = broadcast_all(concentration)
        rows = arange(dim - 1, dtype=self.concentration.dtype, device=self.concentration.device)
        rows = cat([rows.new_zeros((1,)), rows])
        rest = self.concentration.unsqueeze(-1) + 0.5 * (dim - 2) - 0.5 * rows
        self._beta = Beta(0.5 * rows + 0.5, rest)
        super().__init__(self.concentration.size(), (dim, dim), validate_args=validate_args)

    def expand(self, batch_shape: Shape, _instance: object = None) -> LKJCholesky:
        new = self._get_checked_instance(LKJCholesky, _instance)
        new.dim = self.dim
        new.concentration = self.concentration.expand(tuple(batch_shape))
        new._beta = self._beta.expand((*batch_shape, self.dim))
        return self._finished(new, batch_shape)  # type: ignore[no-any-return]  # new

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        """By the onion method: each row a direction of what length a beta number says, and the rest."""
        with no_grad():
            squares = self._beta.sample(sample_shape).unsqueeze(-1)
            like = self.concentration
            rows = _standard_normal(self._extended_shape(sample_shape), like.dtype, like.device).tril(-1)
            lengths = rows.pow(2).sum(-1, keepdim=True).sqrt()
            rows = squares.sqrt() * rows / lengths.masked_fill(lengths == 0, 1.0)
            tiny = finfo(like._key.stored).tiny
            return rows + (1 - rows.pow(2).sum(-1)).clamp(min=tiny).sqrt().diag_embed()

    def log_prob(self, value: Tensor) -> Tensor:
        """The density of the lower triangle, by the diagonal (the paper's page 1999)."""
        value, n = self._checked(value), self.dim
        powers = arange(2, n + 1, dtype=self.concentration.dtype, device=self.concentration.device)
        powers = (2 * (self.concentration - 1)).unsqueeze(-1) + n - powers
        density = (powers * value.diagonal(dim1=-2, dim2=-1)[..., 1:].log()).sum(-1)
        a = self.concentration + 0.5 * (n - 1)
        size = 0.5 * (n - 1) * math.log(math.pi) + mvlgamma(a - 0.5, n - 1) - a.lgamma() * (n - 1)
        return density - size
