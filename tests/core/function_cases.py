"""Custom functions in the torch API: what forward and backward may do."""

from __future__ import annotations

from typing import Any

from tests.core.leaves import function, gradient, leaf
from tests.recorded import Case, collected

#: What cases take besides T is made so.
GIVEN: dict[str, Case] = {"x": lambda T: leaf(T, 1, 2), "got": lambda T: []}

CASES: dict[str, Case] = {
    "return_list": lambda T: [
        type(
            function(T, forward=lambda ctx, x: [x * 1, x * 2], backward=lambda ctx, *g: g[0]).apply(leaf(T, 1, 2))
        ).__name__
    ],
    "dirty_leaf": lambda T: dirtying(T).apply(leaf(T, 1, 2)),
    "gradient_of_wrong_shape": lambda T, x: gradient(
        function(T, forward=lambda ctx, x: x * 1, backward=lambda ctx, g: T.ones(3, dtype=T.float64)).apply(x), x
    ),
    "gradient_that_broadcasts": lambda T, x: gradient(
        function(T, forward=lambda ctx, x: x * T.ones(3, 2, dtype=T.float64), backward=lambda ctx, g: g).apply(x), x
    ),
    "gradient_none": lambda T, x: gradient(
        function(T, forward=lambda ctx, x: x * 1, backward=lambda ctx, g: None).apply(x), x
    ),
}
case = collected(CASES)


def dirtying(T: Any) -> Any:
    def f(ctx, x):
        x.add_(1)
        ctx.mark_dirty(x)
        return x

    return function(T, forward=f, backward=lambda ctx, g: g * 5)


@case
def inputs_are_the_callers(T: Any, x: Any, got: Any) -> Any:
    """forward keeps its input on the output, with its history: Pyro's straight-through estimators."""

    def f(ctx, x):
        got.append([x.requires_grad, x.is_leaf])
        hard = x.round()
        hard._soft = x
        return hard

    soft = x * 1.2
    hard = function(T, forward=f, backward=lambda ctx, g: g * 0).apply(soft)
    return [got, hard._soft is soft, gradient((hard + hard._soft**2).sum(), x)]


@case
def basic(T: Any, x: Any) -> Any:
    def f(ctx, x, n):
        ctx.save_for_backward(x)
        ctx.n = n
        return x * n

    F = function(T, forward=f, backward=lambda ctx, g: (g * ctx.n, None))
    y = F.apply(x, 3)
    y.sum().backward()
    return [y, x.grad, type(y.grad_fn).__name__, y.grad_fn.name()]


@case
def save_output(T: Any, x: Any) -> Any:
    def f(ctx, x):
        y = x.exp()
        ctx.save_for_backward(y)
        return y

    def b(ctx, g):
        (y,) = ctx.saved_tensors
        return g * y

    F = function(T, forward=f, backward=b)
    (g,) = T.autograd.grad(F.apply(x).sum(), x, create_graph=True)
    g.sum().backward()
    return [g, x.grad]


@case
def save_input_higher(T: Any, x: Any) -> Any:
    def f(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    def b(ctx, g):
        (x,) = ctx.saved_tensors
        return g * 3 * x**2

    F = function(T, forward=f, backward=b)
    (g,) = T.autograd.grad(F.apply(x).sum(), x, create_graph=True)
    (h,) = T.autograd.grad(g.sum(), x, create_graph=True)
    (i,) = T.autograd.grad(h.sum(), x)
    return [g, h, i]


@case
def dirty(T: Any, x: Any) -> Any:
    F = dirtying(T)
    y = x * 2
    z = F.apply(y)
    z.sum().backward()
    return [z is y, z, x.grad]


@case
def dirty_view(T: Any, x: Any) -> Any:
    def f(ctx, x):
        x.mul_(3)
        ctx.mark_dirty(x)
        return x

    F = function(T, forward=f, backward=lambda ctx, g: g * 3)
    y = x * 2
    F.apply(y[0:1])
    y.sum().backward()
    return [y, x.grad]


@case
def dirty_not_returned(T: Any, x: Any) -> Any:
    def f(ctx, x):
        x.mul_(3)
        ctx.mark_dirty(x)
        return x * 1

    F = function(T, forward=f, backward=lambda ctx, g: g * 3)
    F.apply(x * 1)


@case
def non_differentiable(T: Any, x: Any) -> Any:
    def f(ctx, x):
        m = x * 2
        ctx.mark_non_differentiable(m)
        return (x * 3, m)

    F = function(T, forward=f, backward=lambda ctx, g, gm: g * 3 + gm * 0)
    y, m = F.apply(x)
    y.sum().backward()
    return [y.requires_grad, m.requires_grad, x.grad]


@case
def non_differentiable_all(T: Any) -> Any:
    def f(ctx, x):
        m = x * 2
        ctx.mark_non_differentiable(m)
        return m

    F = function(T, forward=f, backward=lambda ctx, g: g)
    return F.apply(leaf(T, 1)).requires_grad


@case
def materialize(T: Any, got: Any, x: Any) -> Any:
    def f(ctx, x):
        ctx.set_materialize_grads(False)
        return (x * 1, x * 2)

    def b(ctx, a, c):
        got.append([a is None, c is None])
        return a

    F = function(T, forward=f, backward=b)
    y, _ = F.apply(x)
    y.sum().backward()
    return [got, x.grad]


@case
def materialize_default(T: Any, got: Any, x: Any) -> Any:
    def b(ctx, a, c):
        got.append(c.tolist())
        return a + c

    F = function(T, forward=lambda ctx, x: (x * 1, x * 2), backward=b)
    y, _ = F.apply(x)
    y.sum().backward()
    return [got, x.grad]


@case
def setup(T: Any, x: Any) -> Any:
    def s(ctx, inputs, output):
        ctx.n = inputs[1]
        ctx.save_for_backward(output)

    F = function(T, forward=lambda x, n: x * n, setup_context=s, backward=lambda ctx, g: (g * ctx.n, None))
    return gradient(F.apply(x, 4), x)


@case
def setup_default(T: Any, x: Any) -> Any:
    def s(ctx, inputs, output):
        ctx.n = inputs[1]

    F = function(T, forward=lambda x, n=2: x * n, setup_context=s, backward=lambda ctx, g: (g * ctx.n, None))
    return gradient(F.apply(x), x)


@case
def default_args_old(T: Any, x: Any) -> Any:
    def f(ctx, x, n=2):
        ctx.n = n
        return x * n

    F = function(T, forward=f, backward=lambda ctx, g: g * ctx.n)
    return gradient(F.apply(x), x)


@case
def too_many_gradients(T: Any) -> Any:
    F = function(T, forward=lambda ctx, x: x * 1, backward=lambda ctx, g: (g, None, None))
    x = leaf(T, 1)
    return gradient(F.apply(x), x)


@case
def too_many_gradients2(T: Any) -> Any:
    F = function(T, forward=lambda ctx, x: x * 1, backward=lambda ctx, g: (g, g))
    x = leaf(T, 1)
    return gradient(F.apply(x), x)


@case
def nontensor_out(T: Any, x: Any) -> Any:
    F = function(T, forward=lambda ctx, x: (x * 1, "a", None, [x]), backward=lambda ctx, g, *o: g)
    y = F.apply(x)
    y[0].sum().backward()
    return [x.grad, y[1], y[2], type(y[3]).__name__]


@case
def return_input(T: Any, x: Any) -> Any:
    F = function(T, forward=lambda ctx, x: x, backward=lambda ctx, g: g * 7)
    y = F.apply(x)
    y.sum().backward()
    return [y is x, y.requires_grad, x.grad]


@case
def return_view_inplace(T: Any, x: Any) -> Any:
    F = function(T, forward=lambda ctx, x: x.view(2, 1), backward=lambda ctx, g: g.view(2) * 7)
    y = F.apply(x * 1)
    y.mul_(2)
    return gradient(y, x)


@case
def needs(T: Any, got: Any) -> Any:
    def b(ctx, g):
        got.append(list(ctx.needs_input_grad))
        return (g, None, g)

    F = function(T, forward=lambda ctx, x, y, z: x + y + z, backward=b)
    x = leaf(T, 1)
    y = T.ones(1)
    z = leaf(T, 2)
    F.apply(x, y, z).sum().backward()
    return got
