"""torch.autograd.functional: Jacobians and products of a function at given inputs.

Unless ``create_graph``, what these return has no history. With ``strict`` an output that does not depend on an
input is an error; else its derivative is zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

from flambeau.core import state
from flambeau.core.autograd import api
from flambeau.core.blame import checking, explain_functions
from flambeau.core.errors import GradientError
from flambeau.core.tensor import Tensor
from flambeau.core.transforms import func as transforms
from flambeau.core.tree import flatten, tree_map

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]


Inputs: TypeAlias = Tensor | Sequence[Tensor]
Strategy: TypeAlias = Literal["reverse-mode", "forward-mode"]


def _without_history(value: Any) -> Any:
    return tree_map(lambda t: t.detach() if isinstance(t, Tensor) else t, value)


class _Call:
    """One call of a function of this module: its inputs, and what its results become."""

    def __init__(self, name: str, func: Callable[..., Any], inputs: Inputs, create_graph: bool, strict: bool):
        self.name, self.create, self.several = name, create_graph, isinstance(inputs, (tuple, list))
        given = api.as_tuple(inputs)
        self.inputs: tuple[Tensor, ...] = given if create_graph else _without_history(given)
        for i, x in enumerate(self.inputs):
            if not isinstance(x, Tensor):
                raise TypeError(f"{name}: inputs must be a tensor or a tuple of them; input {i} is {type(x).__name__}")
        if strict:
            _check_dependence(name, func, self.inputs)
        self.argnums: int | tuple[int, ...] = tuple(range(len(self.inputs))) if self.several else 0

    def result(self, value: Any) -> Any:
        return value if self.create else _without_history(value)

    def directions(self, v: Inputs | None, likes: tuple[Tensor, ...], what: str) -> tuple[Any, ...]:
        """The vector to multiply with: ones where the only one it can be is a scalar."""
        if v is None:
            if len(likes) != 1 or likes[0].numel() != 1:
                raise GradientError(f"{self.name}: v can only be None where {what} is one tensor with one element")
            return (likes[0].new_ones(tuple(likes[0].shape)),)
        given = api.as_tuple(v)
        if len(given) != len(likes) or any(g.shape != x.shape for g, x in zip(given, likes, strict=True)):
            shapes = [tuple(g.shape) for g in given], [tuple(x.shape) for x in likes]
            raise GradientError(f"{self.name}: v has shapes {shapes[0]}, but {what} has {shapes[1]}")
        return given if self.create else _without_history(given)


def _check_dependence(name: str, func: Callable[..., Any], inputs: tuple[Tensor, ...]) -> None:
    with state.enable_grad():
        leaves = [x.detach().requires_grad_() for x in inputs]
        outs = flatten(func(*leaves))[0]
        for j, out in enumerate(outs):
            if not out.requires_grad:
                raise GradientError(f"{name}: output {j} does not depend on the inputs (strict=True)")
            found = api.grad(out, leaves, out.new_ones(tuple(out.shape)), retain_graph=True, allow_unused=True)
            for i, g in enumerate(found):
                if g is None:
                    raise GradientError(f"{name}: output {j} does not depend on input {i} (strict=True)")


def jacobian(
    func: Callable[..., Any], inputs: Inputs, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
    strategy: Strategy = "reverse-mode",
) -> Any:  # Any: nests as inputs and outputs do  # fmt: skip
    """The Jacobian of ``func`` at ``inputs``: shape (*output, *input), nested tuples for several of either.

    With ``vectorize`` its rows are computed together under vmap, which is much faster where backward can be mapped
    over; forward mode always is.
    """
    call = _Call("jacobian", func, inputs, create_graph, strict)
    return call.result(_transform(strategy, vectorize)(func, call.argnums)(*call.inputs))


def _transform(strategy: Strategy, vectorize: bool) -> Callable[[Callable[..., Any], Any], Callable[..., Any]]:
    if strategy == "forward-mode":
        return transforms.jacfwd
    if vectorize:
        return transforms.jacrev
    return lambda func, argnums: transforms.by_rows(func, argnums, False, transforms.one_by_one)


def hessian(
    func: Callable[..., Any], inputs: Inputs, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
    outer_jacobian_strategy: Strategy = "reverse-mode",
) -> Any:  # Any: nests as inputs and outputs do  # fmt: skip
    """The second derivatives of a scalar function at ``inputs``; ``vectorize`` as in :func:`jacobian`."""
    call = _Call("hessian", func, inputs, create_graph, strict)

    def scalar(*args: Any) -> Any:
        out = func(*args)
        if not isinstance(out, Tensor) or out.numel() != 1:
            raise GradientError("hessian: the function must return one tensor with one element")
        return out.reshape(())

    inside = vectorize or outer_jacobian_strategy == "forward-mode"  # which maps over what it derives
    inner = _transform("reverse-mode", inside)(scalar, call.argnums)
    return call.result(_transform(outer_jacobian_strategy, vectorize)(inner, call.argnums)(*call.inputs))


def vjp(
    func: Callable[..., Any], inputs: Inputs, v: Inputs | None = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """``(output, product)``: the vector ``v`` times the Jacobian; v may be left out for a scalar function."""
    call = _Call("vjp", func, inputs, create_graph, strict)
    out, pull = transforms.vjp(func, *call.inputs)
    given = call.directions(v, api.as_tuple(out), "the output")
    found = pull(given if isinstance(out, tuple) else given[0])
    return call.result(out), call.result(found if call.several else found[0])


def jvp(
    func: Callable[..., Any], inputs: Inputs, v: Inputs | None = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """``(output, product)``: the Jacobian times the vector ``v``."""
    call = _Call("jvp", func, inputs, create_graph, strict)
    out, moved = transforms.jvp(func, call.inputs, call.directions(v, call.inputs, "the input"))
    return call.result(out), call.result(moved)


def vhp(
    func: Callable[..., Any], inputs: Inputs, v: Inputs | None = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """``(output, product)``: the vector ``v`` times the Hessian of a scalar function."""
    call = _Call("vhp", func, inputs, create_graph, strict)
    gradient = transforms.grad(func, argnums=tuple(range(len(call.inputs))))
    _, pull = transforms.vjp(gradient, *call.inputs)
    found = pull(call.directions(v, call.inputs, "the input"))
    return call.result(func(*call.inputs)), call.result(found if call.several else found[0])


def hvp(
    func: Callable[..., Any], inputs: Inputs, v: Inputs | None = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """``(output, product)``: the Hessian of a scalar function times the vector ``v`` (forward over reverse)."""
    call = _Call("hvp", func, inputs, create_graph, strict)
    gradient = transforms.grad(func, argnums=tuple(range(len(call.inputs))))
    _, found = transforms.jvp(gradient, call.inputs, call.directions(v, call.inputs, "the input"))
    return call.result(func(*call.inputs)), call.result(found if call.several else found[0])


explain_functions(globals(), wrap=checking)
