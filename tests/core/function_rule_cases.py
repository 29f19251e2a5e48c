"""Custom functions in the torch API: what they save, and their rules for the transforms."""

from __future__ import annotations

from typing import Any

from tests.core.leaves import function, gradient, leaf
from tests.recorded import Case, collected

#: What cases take besides T is made so.
GIVEN: dict[str, Case] = {"x": lambda T: leaf(T, 1, 2)}

CASES: dict[str, Case] = {
    "missing_backward": lambda T: function(T, forward=lambda ctx, x: x * 1).apply(leaf(T, 1)).sum().backward(),
    "keyword_argument": lambda T: function(
        T, forward=lambda ctx, x, n=1: x * n, backward=lambda ctx, g: (g, None)
    ).apply(leaf(T, 1), n=3),
    "nested_in_tuple": lambda T: (
        function(T, forward=lambda ctx, t: t[0] * 1, backward=lambda ctx, g: g).apply((leaf(T, 1),)).requires_grad
    ),
    "once_differentiable_ok": lambda T, x: gradient(
        function(
            T, forward=lambda ctx, x: x * 3, backward=T.autograd.function.once_differentiable(lambda ctx, g: g * 3)
        ).apply(x),
        x,
    ),
    "int_input": lambda T, x: gradient(
        function(T, forward=lambda ctx, x, i: x[i], backward=lambda ctx, g: (T.ones(2, dtype=T.float64), None)).apply(
            x, T.tensor([0])
        ),
        x,
    ),
    "other_dtype": lambda T, x: gradient(
        function(T, forward=lambda ctx, x: x.float(), backward=lambda ctx, g: g * 2).apply(x), x
    ),
}
case = collected(CASES)


def square(T: Any) -> Any:
    def f(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    return function(T, forward=f, backward=lambda ctx, g: g * 2 * ctx.saved_tensors[0])


def save(ctx: Any, inputs: Any, output: Any) -> None:
    ctx.save_for_backward(*inputs)


@case
def saved_modified(T: Any, x: Any) -> Any:
    F = square(T)
    y = x * 1
    z = F.apply(y)
    y.add_(1)
    z.sum().backward()


@case
def saved_twice(T: Any, x: Any) -> Any:
    F = square(T)
    z = F.apply(x).sum()
    z.backward()
    z.backward()


@case
def saved_twice_retain(T: Any, x: Any) -> Any:
    F = square(T)
    z = F.apply(x).sum()
    z.backward(retain_graph=True)
    z.backward()
    return x.grad


@case
def save_nontensor(T: Any) -> Any:
    def f(ctx, x):
        ctx.save_for_backward(x, 3)
        return x * x

    F = function(T, forward=f, backward=lambda ctx, g: g)
    F.apply(leaf(T, 1))


@case
def once_differentiable(T: Any, x: Any) -> Any:
    od = T.autograd.function.once_differentiable
    F = function(T, forward=lambda ctx, x: x * 3, backward=od(lambda ctx, g: g * 3))
    (g,) = T.autograd.grad(F.apply(x).sum(), x, create_graph=True)
    g.sum().backward()


@case
def enable_inside(T: Any) -> Any:
    def f(ctx, x):
        with T.enable_grad():
            y = x.detach().requires_grad_()
            z = y * y
            ctx.y, ctx.z = (y, z)
        return z.detach()

    F = function(T, forward=f, backward=lambda ctx, g: T.autograd.grad(ctx.z, ctx.y, g)[0])
    x = leaf(T, 2.0)
    return gradient(F.apply(x), x)


@case
def missing_forward(T: Any) -> Any:
    class F(T.autograd.Function):
        pass

    F.apply(leaf(T, 1))


@case
def vjp_alias(T: Any) -> Any:
    F = function(T, forward=lambda ctx, x: x * 1, vjp=lambda ctx, g: g * 2)
    x = leaf(T, 1)
    return gradient(F.apply(x), x)


@case
def custom_jvp(T: Any) -> Any:
    def s(ctx, i, o):
        ctx.save_for_backward(*i)
        ctx.save_for_forward(*i)

    def j(ctx, t):
        (x,) = ctx.saved_tensors
        return 2 * x * t

    F = function(
        T, forward=lambda x: x**2, setup_context=s, jvp=j, backward=lambda ctx, g: 2 * ctx.saved_tensors[0] * g
    )
    return T.func.jvp(F.apply, (T.tensor([3.0]),), (T.tensor([1.0]),))


@case
def custom_vmap_grad(T: Any) -> Any:
    def v(info, in_dims, x, w):
        if in_dims[0] is not None:
            x = x.movedim(in_dims[0], 0)
        return ((x**2 * w).sum(-1), 0)

    def b(ctx, g):
        x, w = ctx.saved_tensors
        return (2 * x * w * g, x**2 * g)

    F = function(T, forward=lambda x, w: (x**2 * w).sum(), setup_context=save, vmap=v, backward=b)
    return T.func.vmap(T.func.grad(F.apply, argnums=(0, 1)), in_dims=(0, None))(T.arange(6.0).view(2, 3), T.ones(3))


@case
def generate_vmap(T: Any) -> Any:
    F = function(
        T,
        forward=lambda x: x**2,
        setup_context=save,
        generate_vmap_rule=True,
        backward=lambda ctx, g: 2 * ctx.saved_tensors[0] * g,
    )
    return [
        T.func.vmap(F.apply)(T.arange(6.0).view(2, 3)),
        T.func.vmap(T.func.grad(lambda x: F.apply(x).sum()))(T.arange(6.0).view(2, 3)),
        T.func.grad(lambda x: T.func.vmap(F.apply)(x).sum())(T.arange(6.0).view(2, 3)),
    ]


@case
def hessian_custom(T: Any) -> Any:
    F = function(
        T,
        forward=lambda x: x**3,
        setup_context=save,
        generate_vmap_rule=True,
        backward=lambda ctx, g: 3 * ctx.saved_tensors[0] ** 2 * g,
    )
    return T.func.jacrev(T.func.jacrev(lambda x: F.apply(x).sum()))(T.tensor([1.0, 2.0]))


@case
def nested_fn(T: Any) -> Any:
    G = function(T, forward=lambda ctx, x: x * 2, backward=lambda ctx, g: g * 2)
    F = function(T, forward=lambda ctx, x: G.apply(x) * 3, backward=lambda ctx, g: G.apply(g) * 3)
    x = leaf(T, 1)
    (g,) = T.autograd.grad(F.apply(x).sum(), x, create_graph=True)
    return g


@case
def hooks_saved(T: Any, x: Any) -> Any:
    log = []
    F = square(T)
    with T.autograd.graph.saved_tensors_hooks(lambda t: log.append("p") or t, lambda t: log.append("u") or t):
        y = F.apply(x)
    y.sum().backward()
    return [log, x.grad]


@case
def int_output(T: Any, x: Any) -> Any:
    F = function(T, forward=lambda ctx, x: (x * 1, x.argmax()), backward=lambda ctx, g, gi: g)
    a, b = F.apply(x)
    return [a.requires_grad, b.requires_grad]


@case
def ctx_attr_dict(T: Any) -> Any:
    def f(ctx, x):
        ctx.d = {"a": 1}
        return x * 1

    F = function(T, forward=f, backward=lambda ctx, g: g * ctx.d["a"])
    x = leaf(T, 1)
    y = F.apply(x)
    return [y.grad_fn.d]


@case
def grad_fn_next(T: Any) -> Any:
    F = function(T, forward=lambda ctx, x, y: x * y, backward=lambda ctx, g: (g, g))
    x = leaf(T, 1)
    y = F.apply(x, T.ones(1))
    return [len(y.grad_fn.next_functions), y.grad_fn.next_functions[1][0] is None]
