"""torch.func: grad, vjp and jvp."""

from __future__ import annotations

from typing import Any

from tests.core.leaves import numbers
from tests.recorded import Case, collected

CASES: dict[str, Case] = {
    "grad_1": lambda T: T.func.grad(lambda x, y: (x * y).sum(), argnums=(0, 1))(numbers(T, 2), numbers(T, 2) + 1),
    "grad_kw": lambda T: T.func.grad(lambda x, k: (x * k).sum())(numbers(T, 2), k=3.0),
    "grad_aux": lambda T: T.func.grad(lambda x: ((x * 2).sum(), x * 3), has_aux=True)(numbers(T, 2)),
    "grad_and_value_aux": lambda T: T.func.grad_and_value(lambda x: ((x**2).sum(), {"a": x * 3}), has_aux=True)(
        numbers(T, 2)
    ),
    "grad_tree": lambda T: T.func.grad(lambda p: (p["w"] * 2 + p["b"][0]).sum())(
        {"w": numbers(T, 2), "b": [numbers(T, 1)]}
    ),
    "grad_neg": lambda T: T.func.grad(lambda x, y: (x * y * y).sum(), argnums=-1)(numbers(T, 2), numbers(T, 2)),
    "grad_nonscalar": lambda T: T.func.grad(lambda x: x)(numbers(T, 2)),
    "grad_int": lambda T: T.func.grad(lambda x: x.sum())(T.arange(3)),
    "grad_nontensor": lambda T: T.func.grad(lambda x: 3.0)(numbers(T, 2)),
    "grad_unused": lambda T: T.func.grad(lambda x, y: x.sum(), argnums=(0, 1))(numbers(T, 2), numbers(T, 2)),
    "grad_g": lambda T: T.func.grad(lambda x: T.func.grad(lambda y: (y**3 * x).sum())(x).sum())(numbers(T, 2)),
    "grad_detach": lambda T: T.func.grad(lambda x: (x.detach() * x).sum())(numbers(T, 2)),
    "jvp1": lambda T: T.func.jvp(
        lambda x, y: (x * y, x.sum()), (numbers(T, 2), numbers(T, 2) + 1), (numbers(T, 2), numbers(T, 2))
    ),
    "jvp_aux": lambda T: T.func.jvp(lambda x: (x.sin(), x * 2), (numbers(T, 2),), (numbers(T, 2),), has_aux=True),
    "jvp_jvp": lambda T: T.func.jvp(lambda x: T.func.jvp(T.sin, (x,), (x,))[1], (numbers(T, 2),), (numbers(T, 2),)),
    "jvp_grad": lambda T: T.func.jvp(T.func.grad(lambda x: (x**3).sum()), (numbers(T, 2),), (numbers(T, 2),)),
    "grad_jvp": lambda T: T.func.grad(lambda x: T.func.jvp(lambda y: (y**3).sum(), (x,), (T.ones_like(x),))[1])(
        numbers(T, 2)
    ),
    "jvp_shape": lambda T: T.func.jvp(T.sin, (numbers(T, 2),), (numbers(T, 3),)),
    "jvp_len": lambda T: T.func.jvp(T.sin, (numbers(T, 2),), (numbers(T, 2), numbers(T, 2))),
    "jvp_const": lambda T: T.func.jvp(lambda x: T.ones(2), (numbers(T, 2),), (numbers(T, 2),)),
    "jvp_tree": lambda T: T.func.jvp(lambda d: d["a"] * 2, ({"a": numbers(T, 2)},), ({"a": numbers(T, 2)},)),
}
case = collected(CASES)


@case
def grad_nograd_in(T: Any) -> Any:
    def f(x):
        with T.no_grad():
            y = x * 2
        return (x - y).sum()

    return T.func.grad(f)(numbers(T, 2))


@case
def grad_nograd_out(T: Any) -> Any:
    with T.no_grad():
        return T.func.grad(lambda x: (x**2).sum())(numbers(T, 2))


@case
def grad_reqout(T: Any) -> Any:
    x = numbers(T, 2).requires_grad_()
    g = T.func.grad(lambda x: (x**2).sum())(x)
    g.sum().backward()
    return [g, x.grad]


@case
def grad_inplace(T: Any) -> Any:
    def f(x):
        y = x.clone()
        y.mul_(x)
        return y.sum()

    return T.func.grad(f)(numbers(T, 2))


@case
def grad_inplace_arg(T: Any) -> Any:
    def f(x):
        x.mul_(2)
        return (x**2).sum()

    a = numbers(T, 2)
    return [T.func.grad(f)(a), a]


@case
def vjp1(T: Any) -> Any:
    o, f = T.func.vjp(lambda x, y: (x * y, x + y), numbers(T, 2), numbers(T, 2) + 1)
    return [o, f((numbers(T, 2), numbers(T, 2)))]


@case
def vjp_single(T: Any) -> Any:
    o, f = T.func.vjp(lambda x: x.sin(), numbers(T, 2))
    r = f(numbers(T, 2))
    return [o, type(r).__name__, r]


@case
def vjp_dict(T: Any) -> Any:
    _, f = T.func.vjp(lambda x: {"a": x * 2, "b": x * 3}, numbers(T, 2))
    return f({"a": numbers(T, 2), "b": numbers(T, 2)})


@case
def vjp_aux(T: Any) -> Any:
    o, f, a = T.func.vjp(lambda x: (x.sin(), x), numbers(T, 2), has_aux=True)
    return [o, a, f(numbers(T, 2))]


@case
def vjp_twice(T: Any) -> Any:
    _, f = T.func.vjp(lambda x: x.sin(), numbers(T, 2))
    return [f(numbers(T, 2)), f(numbers(T, 2) * 2)]


@case
def vjp_wrong(T: Any) -> Any:
    _, f = T.func.vjp(lambda x: (x, x), numbers(T, 2))
    f(numbers(T, 2))


@case
def vjp_vmap(T: Any) -> Any:
    _, f = T.func.vjp(lambda x: x.sin(), numbers(T, 2))
    return T.func.vmap(f)(T.eye(2, dtype=T.float64))
