"""Helpers that the records of this package share."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, overload

from flambeau.core import dtype as dt
from flambeau.core.declare import OpFunction
from flambeau.core.errors import DTypeError
from flambeau.core.record import DTypeRule, Vjp, alike
from flambeau.core.tensor import Tensor

Shape: TypeAlias = tuple[int, ...]


def low_with_float32(a: dt.DType, b: dt.DType) -> bool:
    """Whether ``a`` has a low precision that goes with parameters in float32."""
    return a in dt.LOW_PRECISION and b is dt.float32


def _parameters_of(name: str, operands: Sequence[Any]) -> None:
    """DTypeError for a parameter that has not the dtype of the first operand and does not go with it."""
    first, *others = [a.dtype for a in operands if isinstance(a, Tensor)]
    for d in others:
        if d is not first and not low_with_float32(first, d):
            raise DTypeError(f"{name}: weight and bias must have the input's dtype {first.name}, got {d.name}")


#: Real floating tensors only; integers do not become floating.
floats = DTypeRule("floats", accepts=dt.FLOATS)
#: The same, of one dtype.
one_float = floats.but("one_float", check=alike())
#: The same, of one dtype, but for parameters in float32 of inputs in low precision.
normalised = floats.but("normalised", check=_parameters_of)
#: Sums of products: all numbers as they are, of one dtype.
products = DTypeRule("products", accepts=dt.REALS + dt.COMPLEXES, check=alike())
#: All real numbers as they are.
reals = DTypeRule("reals", accepts=dt.REALS)
#: Means; those of integers are cut, and int64, in which integers are added up.
means = DTypeRule("means", accepts=(dt.int64, *dt.FLOATS))


def through_body(
    body: Callable[..., Tensor | tuple[Tensor, ...]], operands: Sequence[str], params: Sequence[str] = (),
    whole: Sequence[str] = (),
) -> Vjp:  # fmt: skip
    """A joint vjp that computes the body again and differentiates it.

    For ops that a backend may fuse and whose gradient is rarely asked for, such as the gradients of others.
    Those of the operands that are ``whole`` numbers have no gradient.
    """
    places = [i for i, name in enumerate(operands) if name not in whole]

    def rule(g: Tensor | list[Tensor], needs: Sequence[bool], *values: Tensor | object) -> tuple[Tensor | None, ...]:
        from flambeau.core.transforms.func import vjp  # the transforms load at first need

        args, fixed = values[: len(operands)], dict(zip(params, values[len(operands) :], strict=True))
        wanted = [i for i, need in zip(places, needs, strict=True) if need and isinstance(args[i], Tensor)]

        def of_wanted(*chosen: Tensor) -> Tensor | tuple[Tensor, ...]:
            full = list(args)
            for i, value in zip(wanted, chosen, strict=True):
                full[i] = value
            return body(*full, **fixed)

        _, pull = vjp(of_wanted, *(args[i] for i in wanted))
        found = dict(zip(wanted, pull(tuple(g) if isinstance(g, list) else g), strict=True))
        return tuple(found.get(i) for i in places)

    positional = inspect.Parameter.POSITIONAL_OR_KEYWORD
    names = ("g", "needs", *operands, *params)
    rule.__signature__ = inspect.Signature([inspect.Parameter(n, positional) for n in names])  # type: ignore[attr-defined]
    return rule


@overload
def per_channel(v: Tensor, ndim: int) -> Tensor: ...
@overload
def per_channel(v: None, ndim: int) -> None: ...
def per_channel(v: Tensor | None, ndim: int) -> Tensor | None:
    """A vector (C,) in a shape that broadcasts along axis 1 of ``ndim`` axes; None stays None."""
    return v if v is None or ndim == 2 else v.reshape(-1, *[1] * (ndim - 2))


def all_but_channel(ndim: int) -> tuple[int, ...]:
    """Every axis but axis 1."""
    return (0, *range(2, ndim))


def served(op: OpFunction[Any], x: Tensor) -> bool:
    """Whether the device of ``x`` has code of its own for an op that is composed elsewhere, worth it for its size."""
    key = x._key
    if key.level is not None:
        return False
    worth = getattr(getattr(key, op.op.name, None), "worth", None)
    return worth is not None and bool(worth(x._array))


def gradient_of(
    body: Callable[..., Any], operands: Sequence[str], wanted: Sequence[str], params: Sequence[str] = ()
) -> Callable[..., tuple[Tensor, ...]]:
    """``gradient(*grads, *operands, **params)``: the gradients of ``body`` for the ``wanted`` operands, by its ops."""
    rule = through_body(body, operands, params, [n for n in operands if n not in wanted])
    needs = (True,) * len(wanted)

    def gradient(*values: Any, **fixed: Any) -> tuple[Tensor, ...]:
        count = len(values) - len(operands)
        g = values[0] if count == 1 else list(values[:count])
        found: tuple[Tensor, ...] = rule(g, needs, *values[count:], *(fixed[n] for n in params))
        return found

    return gradient
