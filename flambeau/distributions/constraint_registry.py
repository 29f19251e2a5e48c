"""Which transform leads from the reals to the values of a constraint.

``biject_to`` gives bijections, for changes of variables; ``transform_to`` what is simplest to optimise through, which
need not be one to one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from flambeau.core.tensor import Tensor
from flambeau.distributions import constraints, transforms
from flambeau.distributions.constraints import Constraint
from flambeau.distributions.transforms import Transform
from flambeau.distributions.utils import Value

__all__ = ["ConstraintRegistry", "biject_to", "transform_to"]

Factory = Callable[[Any], Transform]
F = TypeVar("F", bound=Factory)


class ConstraintRegistry:
    """Transforms by the class of a constraint; a call gives the one for a constraint.

    >>> fb.distributions.biject_to(fb.distributions.constraints.positive)
    ExpTransform()
    """

    def __init__(self) -> None:
        self._registry: dict[type[Constraint], Factory] = {}
        super().__init__()

    def register(self, constraint: Any, factory: Factory | None = None) -> Any:  # Any: a constraint or its class
        """Enter ``factory(constraint) -> Transform`` for a class of constraints; without it, give a decorator.

        TypeError for what is no constraint.
        """
        if factory is None:
            return lambda fn: self.register(constraint, fn)
        kind = type(constraint) if isinstance(constraint, Constraint) else constraint
        if not isinstance(kind, type) or not issubclass(kind, Constraint):
            raise TypeError(
                f"Expected constraint to be either a Constraint subclass or instance, but got {constraint!r}"
            )
        self._registry[kind] = factory
        return factory

    def __call__(self, constraint: Constraint) -> Transform:
        """The transform to ``constraint``; NotImplementedError where its class has none."""
        try:
            factory = self._registry[type(constraint)]
        except KeyError:
            raise NotImplementedError(f"Cannot transform {type(constraint).__name__} constraints") from None
        return factory(constraint)


biject_to: Final = ConstraintRegistry()
transform_to: Final = ConstraintRegistry()


def _both(*kinds: Any) -> Callable[[F], F]:
    def enter(factory: F) -> F:
        for kind in kinds:
            biject_to.register(kind, factory)
            transform_to.register(kind, factory)
        return factory

    return enter


@_both(constraints.real)
def _transform_to_real(constraint: Any) -> Transform:
    return transforms.identity_transform


@_both(constraints.positive, constraints.nonnegative)
def _transform_to_greater_than(constraint: Any) -> Transform:
    low: Value = constraint.lower_bound
    if not isinstance(low, Tensor) and low == 0:
        return transforms.ExpTransform()
    return transforms.ComposeTransform([transforms.ExpTransform(), transforms.AffineTransform(low, 1)])


@_both(constraints.less_than)
def _transform_to_less_than(constraint: Any) -> Transform:
    return transforms.ComposeTransform(
        [transforms.ExpTransform(), transforms.AffineTransform(constraint.upper_bound, -1)]
    )


@_both(constraints.interval, constraints.half_open_interval)
def _transform_to_interval(constraint: Any) -> Transform:
    low: Value = constraint.lower_bound
    high: Value = constraint.upper_bound
    if not isinstance(low, Tensor) and not isinstance(high, Tensor) and (low, high) == (0, 1):
        return transforms.SigmoidTransform()
    return transforms.ComposeTransform([transforms.SigmoidTransform(), transforms.AffineTransform(low, high - low)])


@_both(constraints.corr_cholesky)
def _transform_to_corr_cholesky(constraint: Any) -> Transform:
    return transforms.CorrCholeskyTransform()


def _biject_to_simplex(constraint: Any) -> Transform:
    return transforms.StickBreakingTransform()


def _transform_to_simplex(constraint: Any) -> Transform:
    return transforms.SoftmaxTransform()


def _transform_to_lower_cholesky(constraint: Any) -> Transform:
    return transforms.LowerCholeskyTransform()


def _transform_to_positive_definite(constraint: Any) -> Transform:
    return transforms.PositiveDefiniteTransform()


biject_to.register(constraints.simplex, _biject_to_simplex)
transform_to.register(constraints.simplex, _transform_to_simplex)
transform_to.register(constraints.lower_cholesky, _transform_to_lower_cholesky)
transform_to.register(constraints.positive_definite, _transform_to_positive_definite)
transform_to.register(constraints.positive_semidefinite, _transform_to_positive_definite)


def _of_parts(registry: ConstraintRegistry) -> None:
    """What leads to constraints made of other ones: the same of what leads to those."""

    def independent(constraint: Any) -> Transform:
        base = registry(constraint.base_constraint)
        return transforms.IndependentTransform(base, constraint.reinterpreted_batch_ndims)

    def cat(constraint: Any) -> Transform:
        return transforms.CatTransform([registry(c) for c in constraint.cseq], constraint.dim, constraint.lengths)

    def stack(constraint: Any) -> Transform:
        return transforms.StackTransform([registry(c) for c in constraint.cseq], constraint.dim)

    registry.register(constraints.independent, independent)
    registry.register(constraints.cat, cat)
    registry.register(constraints.stack, stack)


_of_parts(biject_to)
_of_parts(transform_to)
