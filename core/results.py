"""What functions with several results return: named tuples, generic over the tensors that they hold.

They stand below Tensor, whose methods return them, and so do not name it: a function says ``-> QR[Tensor]``.
"""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


# -- decompositions and solutions --------------------------------------------------------------------
class QR(NamedTuple, Generic[T]):
    Q: T
    R: T


class Eigen(NamedTuple, Generic[T]):
    eigenvalues: T
    eigenvectors: T


class SVD(NamedTuple, Generic[T]):
    U: T
    S: T
    Vh: T


class SignedLog(NamedTuple, Generic[T]):
    sign: T
    logabsdet: T


class LU(NamedTuple, Generic[T]):
    """Both factors in one matrix, and the exchanges of rows, counted from 1 as LAPACK does."""

    LU: T
    pivots: T


class LeastSquares(NamedTuple, Generic[T]):
    """What lstsq finds; residuals only for more rows than columns and full rank."""

    solution: T
    residuals: T
    rank: T
    singular_values: T


# -- selections and sets -----------------------------------------------------------------------------
class ValuesIndices(NamedTuple, Generic[T]):
    """What a selection along an axis returns: the values, and where they stood."""

    values: T
    indices: T


class MinMax(NamedTuple, Generic[T]):
    min: T
    max: T


class Histogram(NamedTuple, Generic[T]):
    hist: T
    bin_edges: T


class UniqueAll(NamedTuple, Generic[T]):
    values: T
    indices: T
    inverse_indices: T
    counts: T


class UniqueCounts(NamedTuple, Generic[T]):
    values: T
    counts: T


class UniqueInverse(NamedTuple, Generic[T]):
    values: T
    inverse_indices: T


def is_structured(cls: type) -> bool:
    """Whether ``cls`` is a tuple of this kind, what an op with several results returns."""
    return issubclass(cls, tuple) and cls.__module__ in (__name__, "torch.return_types", "flambeau.return_types")
