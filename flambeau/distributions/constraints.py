"""Constraints: which values are in the support of a distribution, or may be its parameters.

A constraint's ``check(value)`` is a mask of the shape of ``value`` without its last ``event_dim`` axes.
``is_discrete`` says whether its values are isolated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from flambeau.core.creation import eye
from flambeau.core.dtype import bool_, finfo
from flambeau.core.ops.decompose import cholesky
from flambeau.core.ops.joining import cat as joined
from flambeau.core.ops.joining import stack as stacked
from flambeau.core.ops.linalg import eigvalsh
from flambeau.core.tensor import Tensor
from flambeau.distributions.utils import Value

__all__ = [
    "Constraint", "MixtureSameFamilyConstraint", "boolean", "cat", "corr_cholesky", "dependent", "dependent_property",
    "greater_than", "greater_than_eq", "half_open_interval", "independent", "integer_interval", "interval",
    "is_dependent", "less_than", "lower_cholesky", "lower_triangular", "multinomial", "nonnegative",
    "nonnegative_integer", "one_hot", "positive", "positive_definite", "positive_integer", "positive_semidefinite",
    "real", "real_vector", "simplex", "square", "stack", "symmetric", "unit_interval",
]  # fmt: skip


class Constraint:
    """A region of values; subclasses say by :meth:`check` what is inside.

    >>> fb.distributions.constraints.positive.check(fb.tensor([-1.0, 1.0]))
    tensor([False,  True])
    """

    is_discrete: Any = False  # Any: of some subclasses these two are properties
    event_dim: Any = 0

    def check(self, value: Tensor) -> Tensor:
        """A mask of the events in ``value`` that are inside."""
        raise NotImplementedError(f"{type(self).__name__} has no check")

    def __repr__(self) -> str:
        return type(self).__name__.removeprefix("_") + "()"


class _Dependent(Constraint):
    """A region that depends on other parameters, so that it cannot be checked alone."""

    def __init__(self, *, is_discrete: Any = NotImplemented, event_dim: Any = NotImplemented):
        self._is_discrete, self._event_dim = is_discrete, event_dim
        super().__init__()

    def _known(self, name: str) -> Any:
        value = getattr(self, f"_{name}")
        if value is NotImplemented:
            raise NotImplementedError(f"{name} of a dependent constraint is known of instances alone")
        return value

    @property
    def is_discrete(self) -> bool:
        """Whether its values are isolated; NotImplementedError where that depends."""
        return bool(self._known("is_discrete"))

    @property
    def event_dim(self) -> int:
        """The number of axes of an event; NotImplementedError where that depends."""
        return int(self._known("event_dim"))

    def __call__(self, *, is_discrete: Any = NotImplemented, event_dim: Any = NotImplemented) -> _Dependent:
        """A dependent constraint with some of its facts said."""
        return _Dependent(
            is_discrete=self._is_discrete if is_discrete is NotImplemented else is_discrete,
            event_dim=self._event_dim if event_dim is NotImplemented else event_dim,
        )

    def check(self, value: Tensor) -> Tensor:
        raise ValueError("a dependent constraint cannot be checked: its region is known of instances alone")


def is_dependent(constraint: object) -> bool:
    """Whether a constraint depends on other parameters.

    >>> fb.distributions.constraints.is_dependent(fb.distributions.Uniform.support)
    True
    """
    return isinstance(constraint, _Dependent)


class _DependentProperty(property, _Dependent):
    """A property of instances whose value is a constraint, and a dependent constraint on the class.

    ``@dependent_property`` or ``@dependent_property(is_discrete=..., event_dim=...)``.
    """

    def __init__(
        self, fn: Callable[..., Any] | None = None, *, is_discrete: Any = NotImplemented,
        event_dim: Any = NotImplemented,
    ):  # fmt: skip
        super().__init__(fn)
        self._is_discrete, self._event_dim = is_discrete, event_dim

    def __call__(self, fn: Callable[..., Any]) -> _DependentProperty:  # type: ignore[override]
        return type(self)(fn, is_discrete=self._is_discrete, event_dim=self._event_dim)


class _IndependentConstraint(Constraint):
    """A constraint whose last ``reinterpreted_batch_ndims`` batch axes belong to the event: all must be inside."""

    def __init__(self, base_constraint: Constraint, reinterpreted_batch_ndims: int):
        if not isinstance(base_constraint, Constraint):
            raise AssertionError(f"independent: base_constraint must be a Constraint, got {base_constraint!r}")
        if not (isinstance(reinterpreted_batch_ndims, int) and reinterpreted_batch_ndims >= 0):
            raise AssertionError(f"independent: expects an int of at least 0, got {reinterpreted_batch_ndims!r}")
        self.base_constraint, self.reinterpreted_batch_ndims = base_constraint, reinterpreted_batch_ndims

    @property
    def is_discrete(self) -> bool:
        """That of the base."""
        return bool(self.base_constraint.is_discrete)

    @property
    def event_dim(self) -> int:
        """That of the base and the axes that are added to it."""
        return int(self.base_constraint.event_dim) + self.reinterpreted_batch_ndims

    def check(self, value: Tensor) -> Tensor:
        if value.ndim < self.event_dim:
            raise ValueError(f"{self!r}: expects a value of at least {self.event_dim} axes, got {value.ndim}")
        return _all_of(self.base_constraint.check(value), self.reinterpreted_batch_ndims)

    def __repr__(self) -> str:
        return f"IndependentConstraint({self.base_constraint!r}, {self.reinterpreted_batch_ndims})"


def _all_of(mask: Tensor, axes: int) -> Tensor:
    """Whether all of the last ``axes`` axes hold; an int or nothing else where they do not exist is an error."""
    return mask.flatten(mask.ndim - axes).all(-1) if axes else mask


class MixtureSameFamilyConstraint(Constraint):
    """A constraint of the components of a mixture, whose samples lack the components' axis."""

    def __init__(self, base_constraint: Constraint):
        if not isinstance(base_constraint, Constraint):
            raise AssertionError(f"MixtureSameFamilyConstraint: expects a Constraint, got {base_constraint!r}")
        self.base_constraint = base_constraint

    @property
    def is_discrete(self) -> bool:
        """That of the components."""
        return bool(self.base_constraint.is_discrete)

    @property
    def event_dim(self) -> int:
        """That of the components."""
        return int(self.base_constraint.event_dim)

    def check(self, value: Tensor) -> Tensor:
        """Whether a value is inside for all components."""
        inside = self.base_constraint.check(value.unsqueeze(-1 - self.event_dim))
        axes = value.ndim - self.event_dim
        if value.ndim < self.event_dim:
            raise ValueError(f"{self!r}: expects a value of at least {self.event_dim} axes, got {value.ndim}")
        return inside.flatten(axes).all(-1) if inside.ndim > axes else inside

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_constraint!r})"


# -- numbers -----------------------------------------------------------------------------------------
class _Bounded(Constraint):
    """A region between bounds, which stand in its text."""

    names: tuple[str, ...] = ()

    def __repr__(self) -> str:
        bounds = ", ".join(f"{name}={getattr(self, name)}" for name in self.names)
        return f"{type(self).__name__.removeprefix('_')}({bounds})"


class _Above(_Bounded):
    names: tuple[str, ...] = ("lower_bound",)

    def __init__(self, lower_bound: Value):
        self.lower_bound = lower_bound


class _Below(_Bounded):
    names: tuple[str, ...] = ("upper_bound",)

    def __init__(self, upper_bound: Value):
        self.upper_bound = upper_bound


class _Between(_Bounded):
    names = ("lower_bound", "upper_bound")

    def __init__(self, lower_bound: Value, upper_bound: Value):
        self.lower_bound, self.upper_bound = lower_bound, upper_bound


class _Boolean(Constraint):
    """0 and 1."""

    is_discrete = True

    def check(self, value: Tensor) -> Tensor:
        return (value == 0) | (value == 1)


class _IntegerInterval(_Between):
    """Whole numbers in [lower_bound, upper_bound]."""

    is_discrete = True

    def check(self, value: Tensor) -> Tensor:
        return (value % 1 == 0) & (value >= self.lower_bound) & (value <= self.upper_bound)


class _IntegerLessThan(_Below):
    """Whole numbers up to and with ``upper_bound``."""

    is_discrete = True

    def check(self, value: Tensor) -> Tensor:
        return (value % 1 == 0) & (value <= self.upper_bound)


class _IntegerGreaterThan(_Above):
    """Whole numbers from ``lower_bound`` on."""

    is_discrete = True

    def check(self, value: Tensor) -> Tensor:
        return (value % 1 == 0) & (value >= self.lower_bound)


class _Real(Constraint):
    """All numbers but nan."""

    def check(self, value: Tensor) -> Tensor:
        return value == value


class _GreaterThan(_Above):
    """(lower_bound, inf]."""

    def check(self, value: Tensor) -> Tensor:
        return value > self.lower_bound


class _GreaterThanEq(_Above):
    """[lower_bound, inf]."""

    def check(self, value: Tensor) -> Tensor:
        return value >= self.lower_bound


class _LessThan(_Below):
    """[-inf, upper_bound)."""

    def check(self, value: Tensor) -> Tensor:
        return value < self.upper_bound


class _Interval(_Between):
    """[lower_bound, upper_bound]."""

    def check(self, value: Tensor) -> Tensor:
        return (value >= self.lower_bound) & (value <= self.upper_bound)


class _HalfOpenInterval(_Between):
    """[lower_bound, upper_bound)."""

    def check(self, value: Tensor) -> Tensor:
        return (value >= self.lower_bound) & (value < self.upper_bound)


# -- vectors -----------------------------------------------------------------------------------------
class _OneHot(Constraint):
    """Vectors of zeros with a single 1."""

    is_discrete = True
    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        return ((value == 0) | (value == 1)).all(-1) & (value.sum(-1) == 1)


class _Simplex(Constraint):
    """Vectors of numbers from 0 on whose sum is 1, to within 1e-6."""

    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        return (value >= 0).all(-1) & ((value.sum(-1) - 1).abs() < 1e-6)


class _Multinomial(_Below):
    """Vectors of counts whose sum is at most ``upper_bound``."""

    names = ()

    is_discrete = True
    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        return (value >= 0).all(-1) & (value.sum(-1) <= self.upper_bound)


# -- matrices ----------------------------------------------------------------------------------------
class _LowerTriangular(Constraint):
    """Lower triangular matrices."""

    event_dim = 2

    def check(self, value: Tensor) -> Tensor:
        return _all_of(value.tril() == value, 2)


class _LowerCholesky(Constraint):
    """Lower triangular matrices with a positive diagonal."""

    event_dim = 2

    def check(self, value: Tensor) -> Tensor:
        return _all_of(value.tril() == value, 2) & (value.diagonal(dim1=-2, dim2=-1) > 0).all(-1)


class _CorrCholesky(Constraint):
    """Lower triangular matrices with a positive diagonal and rows of length 1: factors of correlation matrices."""

    event_dim = 2

    def check(self, value: Tensor) -> Tensor:
        tolerance = finfo(value.dtype).eps * value.shape[-1] * 10
        norms = (value.detach() ** 2).sum(-1).sqrt()
        return lower_cholesky.check(value) & ((norms - 1).abs() <= tolerance).all(-1)


class _Square(Constraint):
    """Square matrices."""

    event_dim = 2

    def check(self, value: Tensor) -> Tensor:
        return value.new_full(value.shape[:-2], value.shape[-2] == value.shape[-1], dtype=bool_)


class _Symmetric(_Square):
    """Symmetric matrices, to within 1e-6."""

    def check(self, value: Tensor) -> Tensor:
        square = super().check(value)
        if value.shape[-2] != value.shape[-1]:
            return square
        return _all_of(value.isclose(value.mT, atol=1e-6), 2)


def _or_one(value: Tensor, usable: Tensor) -> Tensor:
    """The matrices that are usable, and the unit matrix for others: decompositions refuse nan."""
    return value.where(usable.unsqueeze(-1).unsqueeze(-1), eye(value.shape[-1], dtype=value.dtype, device=value.device))


class _PositiveSemidefinite(_Symmetric):
    """Symmetric matrices without negative eigenvalues."""

    def check(self, value: Tensor) -> Tensor:
        symmetric = super().check(value)
        if value.shape[-2] != value.shape[-1]:
            return symmetric
        return symmetric & (eigvalsh(_or_one(value, symmetric)) >= 0).all(-1)


class _PositiveDefinite(_Symmetric):
    """Symmetric matrices with positive eigenvalues, by whether they have a Cholesky factor."""

    def check(self, value: Tensor) -> Tensor:
        symmetric = super().check(value)
        if value.shape[-2] != value.shape[-1]:
            return symmetric
        value = _or_one(value.detach(), symmetric)
        try:
            cholesky(value)
        except RuntimeError:  # of one matrix at least
            return symmetric & (eigvalsh(value) > 0).all(-1)
        return symmetric


# -- parts -------------------------------------------------------------------------------------------
class _Parts(Constraint):
    cseq: list[Constraint]

    @property
    def is_discrete(self) -> bool:
        """Whether any part is."""
        return any(c.is_discrete for c in self.cseq)

    def _listed(self, name: str, cseq: Sequence[Constraint]) -> list[Constraint]:
        for c in cseq:
            if not isinstance(c, Constraint):
                raise AssertionError(f"{name}: cseq must hold constraints, got {c!r}")
        return list(cseq)


class _Cat(_Parts):
    """Constraints for pieces of ``lengths`` along an axis of events that are joined."""

    def __init__(self, cseq: Sequence[Constraint], dim: int = 0, lengths: Sequence[int] | None = None):
        self.cseq = self._listed("cat", cseq)
        self.lengths = [1] * len(self.cseq) if lengths is None else list(lengths)
        if len(self.lengths) != len(self.cseq):
            raise AssertionError(f"cat: got {len(self.cseq)} constraints and {len(self.lengths)} lengths")
        self.dim = dim

    @property
    def event_dim(self) -> int:
        """The largest of the parts."""
        return max(int(c.event_dim) for c in self.cseq)

    def check(self, value: Tensor) -> Tensor:
        if not -value.ndim <= self.dim < value.ndim:
            raise AssertionError(f"cat: there is no axis {self.dim} in a value of {value.ndim} axes")
        checks, start = [], 0
        for c, length in zip(self.cseq, self.lengths, strict=True):
            checks.append(c.check(value.narrow(self.dim, start, length)))
            start += length
        return joined(checks, self.dim)


class _Stack(_Parts):
    """Constraints for the entries along an axis at which events are stacked."""

    def __init__(self, cseq: Sequence[Constraint], dim: int = 0):
        self.cseq, self.dim = self._listed("stack", cseq), dim

    @property
    def event_dim(self) -> int:
        """The largest of the parts, and one more where the axis belongs to the event."""
        dim = max(int(c.event_dim) for c in self.cseq)
        return dim + 1 if self.dim + dim < 0 else dim

    def check(self, value: Tensor) -> Tensor:
        if not -value.ndim <= self.dim < value.ndim:
            raise AssertionError(f"stack: there is no axis {self.dim} in a value of {value.ndim} axes")
        if len(self.cseq) != value.shape[self.dim]:
            raise AssertionError(f"stack: {len(self.cseq)} constraints for an axis of {value.shape[self.dim]}")
        parts = zip(self.cseq, value.unbind(self.dim), strict=True)
        return stacked([c.check(v) for c, v in parts], self.dim)


# -- the names ---------------------------------------------------------------------------------------
dependent: Final = _Dependent()
dependent_property = _DependentProperty
independent = _IndependentConstraint
boolean: Final = _Boolean()
one_hot: Final = _OneHot()
nonnegative_integer: Final = _IntegerGreaterThan(0)
positive_integer: Final = _IntegerGreaterThan(1)
integer_interval = _IntegerInterval
real: Final = _Real()
real_vector: Final = independent(real, 1)
positive: Final = _GreaterThan(0.0)
nonnegative: Final = _GreaterThanEq(0.0)
greater_than = _GreaterThan
greater_than_eq = _GreaterThanEq
less_than = _LessThan
multinomial = _Multinomial
unit_interval: Final = _Interval(0.0, 1.0)
interval = _Interval
half_open_interval = _HalfOpenInterval
simplex: Final = _Simplex()
lower_triangular: Final = _LowerTriangular()
lower_cholesky: Final = _LowerCholesky()
corr_cholesky: Final = _CorrCholesky()
square: Final = _Square()
symmetric: Final = _Symmetric()
positive_semidefinite: Final = _PositiveSemidefinite()
positive_definite: Final = _PositiveDefinite()
cat = _Cat
stack = _Stack
