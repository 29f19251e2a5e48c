"""The Wishart distribution."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping

from flambeau.core.creation import arange
from flambeau.core.errors import ArgumentError
from flambeau.core.ops.elementwise import where
from flambeau.core.ops.expand import broadcast_shapes
from flambeau.core.ops.linalg import slogdet
from flambeau.core.ops.solve import cholesky_inverse, cholesky_solve
from flambeau.core.ops.special import mvlgamma
from flambeau.core.tensor import Tensor
from flambeau.distributions import constraints
from flambeau.distributions.chi2 import Chi2
from flambeau.distributions.constraints import Constraint
from flambeau.distributions.exp_family import ExponentialFamily
from flambeau.distributions.multivariate_normal import factor_of, one_matrix
from flambeau.distributions.utils import Shape, Value, _all, _standard_normal, broadcast_all, lazy_property

__all__ = ["Wishart"]


def _mvdigamma(x: Tensor, p: int) -> Tensor:
    """The derivative of the logarithm of the multivariate gamma function."""
    return (x.unsqueeze(-1) - arange(p, dtype=x.dtype, device=x.device) / 2).digamma().sum(-1)


class Wishart(ExponentialFamily):
    """The distribution of the sum of x x^T over ``df`` normal vectors x of mean 0 and a covariance matrix.

    ``df`` is real, above n - 1. The covariance matrix (..., n, n) is given, or its inverse, or its Cholesky factor.

    >>> fb.distributions.Wishart(fb.tensor(3.0), covariance_matrix=fb.eye(2)).mean
    tensor([[3., 0.],
            [0., 3.]])
    """

    support = constraints.positive_definite
    has_rsample = True
    _mean_carrier_measure = 0.0

    def __init__(
        self, df: Value, covariance_matrix: Tensor | None = None, precision_matrix: Tensor | None = None,
        scale_tril: Tensor | None = None, validate_args: bool | None = None,
    ):  # fmt: skip
        matrices = dict(covariance_matrix=covariance_matrix, precision_matrix=precision_matrix, scale_tril=scale_tril)
        name, matrix = one_matrix(matrices)
        df = broadcast_all(df, matrix.new_zeros(()))[0] if not isinstance(df, Tensor) else df
        batch_shape = broadcast_shapes(tuple(df.shape), tuple(matrix.shape[:-2]))
        n = matrix.shape[-1]
        self.df = df.expand(batch_shape)
        if not _all(self.df > n - 1):
            raise ArgumentError(f"Value of df={df} expected to be greater than ndim - 1 = {n - 1}.")
        setattr(self, name, matrix.expand((*batch_shape, n, n)))
        super().__init__(batch_shape, (n, n), validate_args=validate_args)
        self._unbroadcasted_scale_tril = factor_of(name, matrix)
        self._chi2 = Chi2(self.df.unsqueeze(-1) - arange(n, dtype=df.dtype, device=df.device))

    @property
    def arg_constraints(self) -> Mapping[str, Constraint]:
        matrix = constraints.positive_definite
        return {
            "covariance_matrix": matrix, "precision_matrix": matrix, "scale_tril": constraints.lower_cholesky,
            "df": constraints.greater_than(self._event_shape[-1] - 1),
        }  # fmt: skip

    def expand(self, batch_shape: Shape, _instance: object = None) -> Wishart:
        names = "df", "covariance_matrix", "precision_matrix", "scale_tril"
        new = self._expanded(Wishart, batch_shape, _instance, *names)
        new._unbroadcasted_scale_tril = self._unbroadcasted_scale_tril
        new._chi2 = self._chi2.expand((*batch_shape, self._event_shape[-1]))
        return new  # type: ignore[no-any-return]  # of the class of self

    def _full(self, matrix: Tensor) -> Tensor:
        return matrix.expand(self._batch_shape + self._event_shape)

    @lazy_property
    def scale_tril(self) -> Tensor:
        """The Cholesky factor of the covariance matrix."""
        return self._full(self._unbroadcasted_scale_tril)

    @lazy_property
    def covariance_matrix(self) -> Tensor:
        """The covariance matrix of the vectors."""
        return self._full(self._unbroadcasted_scale_tril @ self._unbroadcasted_scale_tril.mT)

    @lazy_property
    def precision_matrix(self) -> Tensor:
        """The inverse of the covariance matrix."""
        return self._full(cholesky_inverse(self._unbroadcasted_scale_tril))

    def _df(self, axes: int) -> Tensor:
        """The degrees of freedom, with axes for the event."""
        return self.df.reshape(self._batch_shape + (1,) * axes)

    @property
    def mean(self) -> Tensor:
        return self._df(2) * self.covariance_matrix

    @property
    def mode(self) -> Tensor:
        """nan for df up to n + 1."""
        factor = self._df(2) - self._event_shape[-1] - 1
        return where(factor > 0, factor, math.nan) * self.covariance_matrix

    @property
    def variance(self) -> Tensor:
        matrix = self.covariance_matrix
        diagonal = matrix.diagonal(dim1=-2, dim2=-1)
        return self._df(2) * (matrix.pow(2) + diagonal.unsqueeze(-1) * diagonal.unsqueeze(-2))

    def _bartlett_sampling(self, sample_shape: Shape = ()) -> Tensor:
        """By Bartlett's factors: chi numbers on the diagonal and normal ones below it."""
        shape = self._extended_shape(sample_shape)
        low = _standard_normal(shape, self.df.dtype, self.df.device).tril(-1)
        noise = low + self._chi2.rsample(sample_shape).sqrt().diag_embed()
        factor = self._unbroadcasted_scale_tril @ noise
        return factor @ factor.mT

    def rsample(self, sample_shape: Shape = (), max_try_correction: int | None = None) -> Tensor:
        """Matrices; those that rounding has made singular are drawn again, up to ``max_try_correction`` (3) times."""
        found = self._bartlett_sampling(sample_shape)
        for _ in range(3 if max_try_correction is None else max_try_correction):
            singular = ~self.support.check(found.detach())
            if found._key.level is not None or not bool(singular.any()):
                break
            warnings.warn("Wishart: drew a singular matrix, drawing it again", stacklevel=2)
            found = where(singular.unsqueeze(-1).unsqueeze(-1), self._bartlett_sampling(sample_shape), found)
        return found

    def _half_log_det(self) -> Tensor:
        return self._unbroadcasted_scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        value, half, n = self._checked(value), 0.5 * self.df, self._event_shape[-1]
        solved = cholesky_solve(value, self._unbroadcasted_scale_tril)
        return (
            (half - 0.5 * (n + 1)) * slogdet(value)[1]
            - 0.5 * solved.diagonal(dim1=-2, dim2=-1).sum(-1)
            - half * (n * math.log(2) + 2 * self._half_log_det())
            - mvlgamma(half, n)
        )

    def entropy(self) -> Tensor:
        half, n = 0.5 * self.df, self._event_shape[-1]
        return (
            (n + 1) * (self._half_log_det() + 0.5 * n * math.log(2))
            + mvlgamma(half, n)
            - (half - 0.5 * (n + 1)) * _mvdigamma(half, n)
            + half * n
        )

    @property
    def _natural_params(self) -> tuple[Tensor, Tensor]:
        return 0.5 * self.df, -0.5 * self.precision_matrix

    def _log_normalizer(self, x: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]  # of two parameters
        n = y.shape[-1]
        return x * (n * math.log(2) - slogdet(-2 * y)[1]) + mvlgamma(x, n)
