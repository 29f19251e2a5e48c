"""What families and transforms say of themselves, registries, and properties that are constraints, in the torch API."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tests.recorded import Case, Inputs, collected

CASES: dict[str, Case] = {}
case = collected(CASES)

#: The families that have a param_shape, each of parameters in two or three dimensions, as probs and as logits.
SHAPED: dict[str, Callable[[Any, Any, str], Any]] = {
    "Bernoulli": lambda T, D, kind: D.Bernoulli(**{kind: T.full((2, 3), 0.5)}),
    "Binomial": lambda T, D, kind: D.Binomial(T.tensor([[4], [5]]), **{kind: T.full((3,), 0.5)}),
    "Categorical": lambda T, D, kind: D.Categorical(**{kind: T.ones(2, 3)}),
    "ContinuousBernoulli": lambda T, D, kind: D.ContinuousBernoulli(**{kind: T.full((1, 3), 0.25)}),
    "Multinomial": lambda T, D, kind: D.Multinomial(4, **{kind: T.ones(2, 1, 3)}),
    "NegativeBinomial": lambda T, D, kind: D.NegativeBinomial(T.ones(2, 1), **{kind: T.full((3,), 0.5)}),
    "OneHotCategorical": lambda T, D, kind: D.OneHotCategorical(**{kind: T.ones(2, 3)}),
    "LogitRelaxedBernoulli": lambda T, D, kind: D.relaxed_bernoulli.LogitRelaxedBernoulli(
        T.tensor(2.0), **{kind: T.full((2, 3), 0.5)}
    ),
}


def param_shape(make: Callable[[Any, Any, str], Any], kind: str, T: Any) -> Any:
    d = make(T, T.distributions, kind)
    wider = d.expand((4, *d.batch_shape))
    return [type(d.param_shape).__name__, *([x.param_shape, x.batch_shape, x.event_shape] for x in (d, wider))]


for _name, _make in SHAPED.items():
    for _kind in ("probs", "logits"):
        CASES[f"param_shape {_name} {_kind}"] = partial(param_shape, _make, _kind)


@case
def component_distribution(T: Any) -> Any:
    D, i = T.distributions, Inputs(T, "mixture")
    choice, parts = D.Categorical(i.x(3, low=0.1, high=1.0, grad=False)), D.Normal(i.x(2, 3, grad=False), 1.0)
    mixed = D.MixtureSameFamily(choice, parts)
    wider = mixed.expand((4, 2))
    own = [mixed.component_distribution is parts, mixed.mixture_distribution is choice]
    inner = wider.component_distribution, wider.mixture_distribution
    return own, [[type(d).__name__, d.batch_shape, d.event_shape] for d in inner], inner[0].mean, inner[1].probs


@case
def mixture_distribution_of_another_kind(T: Any) -> Any:
    return T.distributions.MixtureSameFamily(
        T.distributions.Normal(T.zeros(2), 1.0), T.distributions.Normal(T.zeros(2), 1.0)
    )


@case
def ConstraintRegistry(T: Any) -> Any:
    D, c = T.distributions, T.distributions.constraints
    registry = D.constraint_registry.ConstraintRegistry()

    @registry.register(c.greater_than)
    def made(constraint: Any) -> Any:
        return D.AffineTransform(constraint.lower_bound, 1)

    plain = registry.register(c.real, lambda constraint: D.transforms.identity_transform)
    found = registry(c.greater_than(3.0)), registry(c.real)
    registry.register(c.greater_than, lambda constraint: D.ExpTransform())
    names = [type(t).__name__ for t in (*found, registry(c.positive), registry(c.greater_than(2)))]
    return names, found[0](T.ones(1)), made(c.greater_than(5)).loc, plain(c.real) is found[1]


@case
def ConstraintRegistry_that_is_empty(T: Any) -> Any:
    return T.distributions.constraint_registry.ConstraintRegistry()(T.distributions.constraints.real)


@case
def dependent_property(T: Any) -> Any:
    c = T.distributions.constraints

    class Bounded:
        top = 2.0

        @c.dependent_property
        def plain(self) -> Any:
            return c.less_than(self.top)

        @c.dependent_property(is_discrete=True, event_dim=1)
        def told(self) -> Any:
            return c.integer_interval(0, self.top)

    bounded = Bounded()
    asked = [
        c.is_dependent(Bounded.plain),
        c.is_dependent(bounded.plain),
        Bounded.told.is_discrete,
        Bounded.told.event_dim,
    ]
    checks = [bounded.plain.check(T.tensor([1.0, 3.0])), bounded.told.check(T.tensor([1.0, 1.5, 3.0]))]
    return asked, checks, isinstance(Bounded.plain, c.dependent_property)


@case
def dependent_property_that_tells_nothing(T: Any) -> Any:
    return T.distributions.constraints.dependent_property(lambda self: None).event_dim


@case
def dependent_property_checks_nothing(T: Any) -> Any:
    return T.distributions.constraints.dependent_property(lambda self: None).check(T.ones(1))


@case
def identity_transform(T: Any) -> Any:
    same, x = T.distributions.transforms.identity_transform, T.tensor([[1.0, -2.0]])
    facts = [same.bijective, same.sign, same.domain, same.codomain, list(same.forward_shape((2, 3))), len(same.parts)]
    found = same(x), same.inv(x), same.log_abs_det_jacobian(x, x)
    return [repr(f) for f in facts[2:4]], facts[:2] + facts[4:], found, same == T.distributions.ComposeTransform([])


@case
def log_survival_function_of_what_is_outside(T: Any) -> Any:
    d = T.distributions.GeneralizedPareto(T.tensor(0.0), 1.0, -0.5)
    return d.log_survival_function(T.tensor(3.0))


@case
def concentrations_of_a_beta(T: Any) -> Any:
    d = T.distributions.Beta(T.tensor([0.5, 2.0], requires_grad=True), T.tensor(3.0))
    return [d.concentration1, d.concentration0, d.concentration1.requires_grad, d.concentration0.shape]
