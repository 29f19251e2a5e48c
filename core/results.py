"""What functions with several results return: named tuples, generic over the tensors that they hold.

They stand below Tensor, whose methods return them, and so do not name it: a function says ``-> QR[Tensor]``.
"""

from __future__ import annotations

from typing import Any, Final, Generic, NamedTuple, TypeVar

from flambeau.core.naming import prefix, shown

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


class OldSVD(NamedTuple, Generic[T]):
    U: T
    S: T
    V: T


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


class HistogramDD(NamedTuple, Generic[T]):
    hist: T
    bin_edges: tuple[T, ...]


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


# -- by the function that returns them ---------------------------------------------------------------
class _Returned:
    """What a named tuple of one function adds to its kind: PyTorch's look, and its form of the constructor."""

    __slots__ = ()

    def __new__(cls, *fields: Any, **named: Any) -> Any:  # Any: tensors, whose class stands above
        if len(fields) == 1 and not named and len(cls._fields) > 1:  # type: ignore[attr-defined]
            given = tuple(fields[0])
            if len(given) != len(cls._fields):  # type: ignore[attr-defined]
                raise TypeError(
                    f"{cls.__name__}: takes a sequence of {len(cls._fields)}, got {len(given)}"  # type: ignore[attr-defined]
                )
            fields = given
        return super().__new__(cls, *fields, **named)

    def __repr__(self) -> str:
        if prefix() == "flambeau":
            name = type(self).__mro__[2].__name__
            return f"{name}({', '.join(f'{n}={v!r}' for n, v in zip(self._fields, self, strict=True))})"  # type: ignore[attr-defined, call-overload]
        lines = ",\n".join(f"{n}={v!r}" for n, v in zip(self._fields, self, strict=True))  # type: ignore[attr-defined, call-overload]
        return f"{prefix()}.return_types.{type(self).__name__}(\n{lines})"


_KINDS: Final[dict[Any, str]] = {  # Any: classes of named tuples
    ValuesIndices: "cummax cummin kthvalue max median min mode nanmedian sort topk", MinMax: "aminmax",
    Histogram: "histogram", QR: "linalg_qr qr", Eigen: "linalg_eig linalg_eigh", SVD: "linalg_svd",
    SignedLog: "linalg_slogdet slogdet", LeastSquares: "linalg_lstsq", LU: "linalg_lu_factor",
    LUParts: "linalg_lu lu_unpack", Reflections: "geqrf", LDL: "linalg_ldl_factor", OldSVD: "svd",
    TriangularSolution: "triangular_solve", CheckedCholesky: "linalg_cholesky_ex", CheckedInverse: "linalg_inv_ex",
    CheckedSolution: "linalg_solve_ex", CheckedLU: "linalg_lu_factor_ex", CheckedLDL: "linalg_ldl_factor_ex",
}  # fmt: skip


def _return_types() -> dict[str, type]:
    found = {}
    kind: Any
    for kind, names in _KINDS.items():
        for name in names.split():
            counts = {"__slots__": (), "n_fields": len(kind._fields), "n_sequence_fields": len(kind._fields),
                      "__doc__": f"What ``{name.replace('_', '.')}`` returns."}  # fmt: skip
            made = type(name, (_Returned, kind), counts)
            found[name] = shown(home=".return_types", own="flambeau.return_types")(made)
    return found


#: The class of what a function returns, by its name: named tuples, each of one of the kinds above.
RETURN_TYPES: Final = _return_types()


def returned(name: str, found: Any) -> Any:  # Any: one tensor passes as it is
    """The results of the function ``name`` in the named tuple that is its own."""
    return tuple.__new__(RETURN_TYPES[name], found) if isinstance(found, tuple) else found


def is_structured(cls: type) -> bool:
    """Whether ``cls`` is a tuple of this kind, what an op with several results returns."""
    return issubclass(cls, tuple) and cls.__module__ in (__name__, "torch.return_types", "flambeau.return_types")
