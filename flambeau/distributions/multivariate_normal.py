"""The multivariate normal distribution."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

from flambeau.core.creation import eye
from flambeau.core.errors import ArgumentError
from flambeau.core.ops.decompose import cholesky
from flambeau.core.ops.expand import broadcast_shapes
from flambeau.core.ops.solve import cholesky_inverse, solve_triangular
from flambeau.core.tensor import Tensor
from flambeau.distributions import constraints
from flambeau.distributions.distribution import Constraints, Distribution
from flambeau.distributions.utils import Shape, _standard_normal, lazy_property

__all__ = ["MultivariateNormal"]


def _batch_mv(matrices: Tensor, vectors: Tensor) -> Tensor:
    """Matrices (..., n, n) times vectors (..., n)."""
    return (matrices @ vectors.unsqueeze(-1)).squeeze(-1)


def _batch_mahalanobis(factor: Tensor, x: Tensor) -> Tensor:
    """x^T M^-1 x for M with the Cholesky factors ``factor`` (B, n, n), and x (S, B, n): the axes S are made columns."""
    extra = x.ndim - factor.ndim + 1
    samples = x.shape[:extra]
    columns = x.reshape((math.prod(samples), *x.shape[extra:])).movedim(0, -1)
    found = solve_triangular(factor, columns, upper=False).pow(2).sum(-2)
    return found.movedim(-1, 0).reshape((*samples, *found.shape[:-1]))


def _precision_to_scale_tril(precision: Tensor) -> Tensor:
    """The Cholesky factor of the inverse: of the inverse of the matrix with rows and columns in reverse order."""
    upper = cholesky(precision.flip((-2, -1))).flip((-2, -1)).mT
    one = eye(precision.shape[-1], dtype=precision.dtype, device=precision.device)
    return solve_triangular(upper, one, upper=False)


class MultivariateNormal(Distribution):
    """Normal vectors of mean ``loc``, by covariance matrix, its inverse or its Cholesky factor ``scale_tril``.

    Exactly one of the three matrices (..., n, n) is given; ``scale_tril`` costs least.

    >>> d = fb.distributions.MultivariateNormal(fb.zeros(2), scale_tril=fb.eye(2))
    >>> d.log_prob(fb.zeros(2))
    tensor(-1.8379)
    """

    arg_constraints: ClassVar[Constraints] = {
        "loc": constraints.real_vector, "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite, "scale_tril": constraints.lower_cholesky,
    }  # fmt: skip
    support = constraints.real_vector
    has_rsample = True

    def __init__(
        self, loc: Tensor, covariance_matrix: Tensor | None = None, precision_matrix: Tensor | None = None,
        scale_tril: Tensor | None = None, validate_args: bool | None = None,
    ):  # fmt: skip
        if loc.ndim < 1:
            raise ArgumentError("loc must be at least one-dimensional.")
        matrices = dict(covariance_matrix=covariance_matrix, precision_matrix=precision_matrix, scale_tril=scale_tril)
        name, matrix = one_matrix(matrices)
        batch_shape = broadcast_shapes(tuple(matrix.shape[:-2]), tuple(loc.shape[:-1]))
        setattr(self, name, matrix.expand((*batch_shape, *matrix.shape[-2:])))
        self.loc = loc.expand((*batch_shape, loc.shape[-1]))
        super().__init__(batch_shape, self.loc.shape[-1:], validate_args=validate_args)
        self._unbroadcasted_scale_tril = factor_of(name, matrix)

    def expand(self, batch_shape: Shape, _instance: object = None) -> MultivariateNormal:
        names = "loc", "covariance_matrix", "precision_matrix", "scale_tril"
        new = self._expanded(MultivariateNormal, batch_shape, _instance, *names)
        new._unbroadcasted_scale_tril = self._unbroadcasted_scale_tril
        return new  # type: ignore[no-any-return]  # of the class of self

    def _full(self, matrix: Tensor) -> Tensor:
        return matrix.expand(self._batch_shape + self._event_shape + self._event_shape)

    @lazy_property
    def scale_tril(self) -> Tensor:
        """The Cholesky factor of the covariance matrix."""
        return self._full(self._unbroadcasted_scale_tril)

    @lazy_property
    def covariance_matrix(self) -> Tensor:
        """The covariance matrix."""
        return self._full(self._unbroadcasted_scale_tril @ self._unbroadcasted_scale_tril.mT)

    @lazy_property
    def precision_matrix(self) -> Tensor:
        """The inverse of the covariance matrix."""
        return self._full(cholesky_inverse(self._unbroadcasted_scale_tril))

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        found = self._unbroadcasted_scale_tril.pow(2).sum(-1)
        return found.expand(self._batch_shape + self._event_shape)

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        z = _standard_normal(self._extended_shape(sample_shape), self.loc.dtype, self.loc.device)
        return self.loc + _batch_mv(self._unbroadcasted_scale_tril, z)

    def _half_log_det(self) -> Tensor:
        return self._unbroadcasted_scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        away = _batch_mahalanobis(self._unbroadcasted_scale_tril, self._checked(value) - self.loc)
        return -0.5 * (self._event_shape[0] * math.log(2 * math.pi) + away) - self._half_log_det()

    def entropy(self) -> Tensor:
        found = 0.5 * self._event_shape[0] * (1 + math.log(2 * math.pi)) + self._half_log_det()
        return found.expand(self._batch_shape) if self._batch_shape else found


def one_matrix(matrices: Mapping[str, Tensor | None]) -> tuple[str, Tensor]:
    """The matrix that is given, and its name; ValueError unless it is one, and one of matrices."""
    given = [(name, m) for name, m in matrices.items() if m is not None]
    if len(given) != 1:
        raise ArgumentError(
            "Exactly one of covariance_matrix or precision_matrix or scale_tril may be specified, "
            f"got {[name for name, _ in given]}"
        )
    name, matrix = given[0]
    if matrix.ndim < 2:
        raise ArgumentError(f"{name} must be at least two-dimensional, with optional leading batch dimensions")
    return name, matrix


def factor_of(name: str, matrix: Tensor) -> Tensor:
    """The Cholesky factor of the covariance matrix, from whichever is given."""
    if name == "scale_tril":
        return matrix
    return cholesky(matrix) if name == "covariance_matrix" else _precision_to_scale_tril(matrix)
