"""The multivariate normal distribution of a covariance matrix of low rank and a diagonal."""

from __future__ import annotations

import math
from typing import ClassVar

from flambeau.core.creation import eye
from flambeau.core.errors import ArgumentError
from flambeau.core.ops.decompose import cholesky
from flambeau.core.ops.expand import broadcast_shapes
from flambeau.core.ops.solve import solve_triangular
from flambeau.core.tensor import Tensor
from flambeau.distributions import constraints
from flambeau.distributions.distribution import Constraints, Distribution
from flambeau.distributions.multivariate_normal import _batch_mahalanobis, _batch_mv
from flambeau.distributions.utils import Shape, _standard_normal, lazy_property

__all__ = ["LowRankMultivariateNormal"]


def _batch_capacitance_tril(factor: Tensor, diagonal: Tensor) -> Tensor:
    """The Cholesky factor of 1 + W^T D^-1 W."""
    weighed = factor.mT / diagonal.unsqueeze(-2)
    one = eye(factor.shape[-1], dtype=factor.dtype, device=factor.device)
    return cholesky(weighed @ factor + one)


def _batch_lowrank_logdet(factor: Tensor, diagonal: Tensor, capacitance_tril: Tensor) -> Tensor:
    """log det(W W^T + D), by the matrix determinant lemma."""
    return 2 * capacitance_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1) + diagonal.log().sum(-1)


def _batch_lowrank_mahalanobis(factor: Tensor, diagonal: Tensor, x: Tensor, capacitance_tril: Tensor) -> Tensor:
    """x^T (W W^T + D)^-1 x, by Woodbury's identity."""
    projected = _batch_mv(factor.mT / diagonal.unsqueeze(-2), x)
    return (x.pow(2) / diagonal).sum(-1) - _batch_mahalanobis(capacitance_tril, projected)


class LowRankMultivariateNormal(Distribution):
    """Normal vectors of covariance ``cov_factor`` @ ``cov_factor``^T + diag(``cov_diag``).

    ``cov_factor`` is (..., n, rank), ``cov_diag`` (..., n) and positive: all costs grow with n * rank**2.

    >>> d = fb.distributions.LowRankMultivariateNormal(fb.zeros(2), fb.tensor([[1.0], [0.0]]), fb.ones(2))
    >>> d.variance
    tensor([2., 1.])
    """

    arg_constraints: ClassVar[Constraints] = {
        "loc": constraints.real_vector, "cov_factor": constraints.independent(constraints.real, 2),
        "cov_diag": constraints.independent(constraints.positive, 1),
    }  # fmt: skip
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, loc: Tensor, cov_factor: Tensor, cov_diag: Tensor, validate_args: bool | None = None):
        if loc.ndim < 1:
            raise ArgumentError("loc must be at least one-dimensional.")
        event = tuple(loc.shape[-1:])
        if cov_factor.ndim < 2 or tuple(cov_factor.shape[-2:-1]) != event:
            raise ArgumentError(f"cov_factor must be a batch of matrices with shape {event[0]} x m")
        if tuple(cov_diag.shape[-1:]) != event:
            raise ArgumentError(f"cov_diag must be a batch of vectors with shape {event}")
        try:
            shape = broadcast_shapes(tuple(loc.shape), tuple(cov_diag.shape), tuple(cov_factor.shape[:-1]))
        except RuntimeError:
            raise ArgumentError(
                f"Incompatible batch shapes: loc {tuple(loc.shape)}, cov_factor {tuple(cov_factor.shape)}, "
                f"cov_diag {tuple(cov_diag.shape)}"
            ) from None
        self.loc, self.cov_diag = loc.expand(shape), cov_diag.expand(shape)
        self.cov_factor = cov_factor.expand((*shape, cov_factor.shape[-1]))
        self._unbroadcasted_cov_factor, self._unbroadcasted_cov_diag = cov_factor, cov_diag
        self._capacitance_tril = _batch_capacitance_tril(cov_factor, cov_diag)
        super().__init__(shape[:-1], event, validate_args=validate_args)

    def expand(self, batch_shape: Shape, _instance: object = None) -> LowRankMultivariateNormal:
        new = self._expanded(LowRankMultivariateNormal, batch_shape, _instance, "loc", "cov_factor", "cov_diag")
        for name in ("_unbroadcasted_cov_factor", "_unbroadcasted_cov_diag", "_capacitance_tril"):
            setattr(new, name, getattr(self, name))
        return new  # type: ignore[no-any-return]  # of the class of self

    def _full(self, matrix: Tensor) -> Tensor:
        return matrix.expand(self._batch_shape + self._event_shape + self._event_shape)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    @lazy_property
    def variance(self) -> Tensor:
        found = self._unbroadcasted_cov_factor.pow(2).sum(-1) + self._unbroadcasted_cov_diag
        return found.expand(self._batch_shape + self._event_shape)

    @lazy_property
    def scale_tril(self) -> Tensor:
        """The Cholesky factor of the covariance matrix: sqrt(D) times that of 1 + D^-1/2 W W^T D^-1/2."""
        root = self._unbroadcasted_cov_diag.sqrt().unsqueeze(-1)
        scaled = self._unbroadcasted_cov_factor / root
        one = eye(self._event_shape[0], dtype=root.dtype, device=root.device)
        return self._full(root * cholesky(scaled @ scaled.mT + one))

    @lazy_property
    def covariance_matrix(self) -> Tensor:
        """The covariance matrix."""
        factor = self._unbroadcasted_cov_factor
        return self._full(factor @ factor.mT + self._unbroadcasted_cov_diag.diag_embed())

    @lazy_property
    def precision_matrix(self) -> Tensor:
        """The inverse of the covariance matrix, by Woodbury's identity."""
        diagonal = self._unbroadcasted_cov_diag
        inner = solve_triangular(
            self._capacitance_tril, self._unbroadcasted_cov_factor.mT / diagonal.unsqueeze(-2), upper=False
        )
        return self._full(diagonal.reciprocal().diag_embed() - inner.mT @ inner)

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        rank = (*shape[:-1], self.cov_factor.shape[-1])
        dtype, device = self.loc.dtype, self.loc.device
        low = _batch_mv(self._unbroadcasted_cov_factor, _standard_normal(rank, dtype, device))
        return self.loc + low + self._unbroadcasted_cov_diag.sqrt() * _standard_normal(shape, dtype, device)

    def _log_det(self) -> Tensor:
        return _batch_lowrank_logdet(
            self._unbroadcasted_cov_factor, self._unbroadcasted_cov_diag, self._capacitance_tril
        )

    def log_prob(self, value: Tensor) -> Tensor:
        away = _batch_lowrank_mahalanobis(
            self._unbroadcasted_cov_factor, self._unbroadcasted_cov_diag, self._checked(value) - self.loc,
            self._capacitance_tril,
        )  # fmt: skip
        return -0.5 * (self._event_shape[0] * math.log(2 * math.pi) + self._log_det() + away)

    def entropy(self) -> Tensor:
        found = 0.5 * (self._event_shape[0] * (1 + math.log(2 * math.pi)) + self._log_det())
        return found.expand(self._batch_shape) if self._batch_shape else found
