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


class LUParts(NamedTuple, Generic[T]):
    """The permutation and the two triangles."""

    P: T
    L: T
    U: T


class Reflections(NamedTuple, Generic[T]):
    """R on and above the diagonal, below it the vectors of the reflections, and their factors."""

    a: T
    tau: T


class LDL(NamedTuple, Generic[T]):
    """Both factors in one matrix, and the exchanges as LAPACK counts them: two negative ones are a block of 2."""

    LD: T
    pivots: T


class TriangularSolution(NamedTuple, Generic[T]):
    solution: T
    cloned_coefficient: T


# -- with 0 for each matrix that it went well for, or the place where it ended ------------------------
class CheckedCholesky(NamedTuple, Generic[T]):
    L: T
    info: T


class CheckedInverse(NamedTuple, Generic[T]):
    inverse: T
    info: T


class CheckedSolution(NamedTuple, Generic[T]):
    result: T
    info: T


class CheckedLU(NamedTuple, Generic[T]):
    LU: T
    pivots: T
    info: T


class CheckedLDL(NamedTuple, Generic[T]):
    LD: T
    pivots: T
    info: T


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
