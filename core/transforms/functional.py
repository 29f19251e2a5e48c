"""torch.autograd.functional: Jacobians and products of a function at given inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau.core.transforms import func as transforms


def _tuple(inputs: Any) -> tuple[Any, ...]:
    return inputs if isinstance(inputs, tuple) else (inputs,)


def _nums(inputs: Any) -> Any:
    return tuple(range(len(inputs))) if isinstance(inputs, tuple) else 0


def jacobian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    vectorize: bool = True,
    strategy: str = "reverse-mode",
) -> Any:
    """The Jacobian of ``func`` at ``inputs``: shape (*output, *input), nested tuples for several of either."""
    transform = transforms.jacfwd if strategy == "forward-mode" else transforms.jacrev
    return transform(func, argnums=_nums(inputs))(*_tuple(inputs))


def hessian(func: Callable[..., Any], inputs: Any, create_graph: bool = False, vectorize: bool = True) -> Any:
    """The second derivatives of a scalar function at ``inputs``."""
    return transforms.hessian(func, argnums=_nums(inputs))(*_tuple(inputs))


def vjp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False) -> tuple[Any, Any]:
    """``(output, product)``: the vector ``v`` times the Jacobian."""
    out, pull = transforms.vjp(func, *_tuple(inputs))
    found = pull(out.new_ones(out.shape) if v is None else v)
    return out, found if isinstance(inputs, tuple) else found[0]


def jvp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False) -> tuple[Any, Any]:
    """``(output, product)``: the Jacobian times the vector ``v``."""
    primals = _tuple(inputs)
    tangents = tuple(x.new_ones(x.shape) for x in primals) if v is None else _tuple(v)
    found: tuple[Any, Any] = transforms.jvp(func, primals, tangents)
    return found


def vhp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False) -> tuple[Any, Any]:
    """``(output, product)``: the vector ``v`` times the Hessian of a scalar function."""
    primals = _tuple(inputs)
    gradient = transforms.grad(func, argnums=tuple(range(len(primals))))
    _, pull = transforms.vjp(gradient, *primals)
    directions = tuple(x.new_ones(x.shape) for x in primals) if v is None else _tuple(v)
    found = pull(directions)
    return func(*primals), found if isinstance(inputs, tuple) else found[0]


def hvp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False) -> tuple[Any, Any]:
    """``(output, product)``: the Hessian of a scalar function times the vector ``v`` (forward over reverse)."""
    primals = _tuple(inputs)
    gradient = transforms.grad(func, argnums=tuple(range(len(primals))))
    directions = tuple(x.new_ones(x.shape) for x in primals) if v is None else _tuple(v)
    _, found = transforms.jvp(gradient, primals, directions)
    return func(*primals), found if isinstance(inputs, tuple) else found[0]
