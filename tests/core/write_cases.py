"""Kept gradients, hooks and leaves when tensors are written to, in the torch API."""

from __future__ import annotations

from typing import Any

from tests.core.leaves import gradient, leaf
from tests.recorded import Case, collected

#: What cases take besides T is made so.
GIVEN: dict[str, Case] = {"x": lambda T: leaf(T, 1, 2)}

CASES: dict[str, Case] = {
    "out_of_a_leaf": lambda T, x: T.mul(x, 2, out=T.empty(2, dtype=T.float64)),
    "repeated_rows": lambda T, x: gradient(x[T.tensor([0, 0, 1])] * T.tensor([1.0, 2.0, 3.0], dtype=T.float64), x),
}
case = collected(CASES)


@case
def kept_gradient_after_a_write(T: Any, x: Any) -> Any:
    y = x * 2
    y.retain_grad()
    y.mul_(3)
    (y * 5).sum().backward()
    return [y.grad, x.grad, y.retains_grad]


@case
def kept_gradient_after_a_write_to_a_view(T: Any, x: Any) -> Any:
    y = x * 2
    y.retain_grad()
    y[0].mul_(3)
    (y * 5).sum().backward()
    return [y.grad, x.grad]


@case
def kept_gradient_of_a_view_that_is_not_used(T: Any, x: Any) -> Any:
    y = x * 2
    v = y[0:1]
    v.retain_grad()
    y.mul_(3)
    (y * 5).sum().backward()
    return [v.grad, x.grad]


@case
def kept_gradient_of_a_view_after_a_write_to_its_base(T: Any, x: Any) -> Any:
    y = x * 2
    v = y[0:1]
    v.retain_grad()
    y.mul_(3)
    (v * 5).sum().backward()
    return [v.grad, x.grad]


@case
def kept_gradient_of_a_view_after_a_write_to_it(T: Any, x: Any) -> Any:
    y = x * 2
    v = y[0:1]
    v.retain_grad()
    v.mul_(3)
    (v * 5).sum().backward()
    return [v.grad, x.grad]


@case
def hook_before_a_write(T: Any, x: Any) -> Any:
    y = x * 2
    y.register_hook(lambda g: g * 10)
    y.mul_(3)
    (y * 5).sum().backward()
    return [x.grad]


@case
def hook_on_a_view_before_a_write_to_its_base(T: Any, x: Any) -> Any:
    y = x * 2
    v = y[0:1]
    v.register_hook(lambda g: g * 10)
    y.mul_(3)
    (v * 5).sum().backward()
    return [x.grad]


@case
def kept_gradient_of_what_became_differentiable(T: Any, x: Any) -> Any:
    z = T.zeros(2, dtype=T.float64)
    z.add_(x)
    z.retain_grad()
    return gradient(z * 2, z)


@case
def writes_to_a_leaf_without_gradients(T: Any, x: Any) -> Any:
    with T.no_grad():
        x.add_(1)
        x.mul_(2)
    (x * x).sum().backward()
    return [x, x.grad]


@case
def detached_leaf(T: Any, x: Any) -> Any:
    y = x.detach()
    y.requires_grad_()
    (y * x).sum().backward()
    return [x.grad, y.grad]


@case
def gradient_that_wants_a_gradient(T: Any, x: Any) -> Any:
    x.grad = T.ones(2, dtype=T.float64)
    x.grad.requires_grad_()
    (x * x).sum().backward()
    return [x.grad]


@case
def gradients_accumulate_in_place(T: Any, x: Any) -> Any:
    (x * x).sum().backward()
    g = x.grad
    (x * x).sum().backward()
    return [g, x.grad is g]


@case
def given_up_gradient(T: Any, x: Any) -> Any:
    x.requires_grad_(False)
    return (x * 2).requires_grad


@case
def write_through_data(T: Any, x: Any) -> Any:
    y = x.clone()
    y.data.fill_(5)
    return [(y * y).sum(), T.autograd.grad((y * y).sum(), x)]


@case
def out_of_detached(T: Any, x: Any) -> Any:
    y = T.empty(2, dtype=T.float64)
    T.mul(x.detach(), 2, out=y)
    return y


@case
def leaf_is_gone(T: Any, x: Any) -> Any:
    y = x * 2
    del x
    y.sum().backward()
    return 1


@case
def iteration(T: Any, x: Any) -> Any:
    xs = [x]
    s = sum(v * v for v in xs[0])
    s.backward()
    return x.grad


@case
def unpacking(T: Any) -> Any:
    x = leaf(T, 1, 2, 3)
    a, b, c = x
    (a * b + c).backward()
    return x.grad


@case
def augmented_assignments(T: Any) -> Any:
    x = leaf(T, 1, 2, 3, 4).reshape(2, 2)
    y = x * 1
    y += T.ones(2)
    y[:, 0] -= y[:, 1].detach()
    y.sum().backward()
    return y


@case
def data_of_a_parameter(T: Any) -> Any:
    p = T.nn.Parameter(T.ones(3))
    p.data = p.data * 2
    p.data.add_(1)
    (p**2).sum().backward()
    return [p, p.grad]


@case
def gradient_with_a_graph(T: Any) -> Any:
    x = leaf(T, 2.0)
    y = x**2
    y.backward(create_graph=True)
    g = x.grad.clone()
    x.grad = None
    g.backward()
    return [g, x.grad]


@case
def cast_to_another_dtype(T: Any) -> Any:
    x = T.ones(2, requires_grad=True)
    y = x.to(T.float64)
    return gradient(y, x)


@case
def expanded(T: Any, x: Any) -> Any:
    h = x.expand(3, 2)
    return gradient(h * h, x)


@case
def sorted_values(T: Any) -> Any:
    x = leaf(T, 3, 1, 2)
    v, _ = x.sort()
    return gradient(v * T.tensor([1.0, 10.0, 100.0], dtype=T.float64), x)


@case
def results_that_are_not_saved(T: Any) -> Any:
    """Their gradients are computed from the inputs, so that the results may be written over."""
    made = {
        "div": lambda x: (x * 2) / x, "rdiv": lambda x: 3 / x, "erfinv": lambda x: x.erfinv(),
        "mul": lambda x: x * x, "sin": lambda x: x.sin(), "log": lambda x: x.log(),
        "atan2": lambda x: T.atan2(x, x * x), "lerp": lambda x: T.lerp(x, x * 3, x),
        "cumsum": lambda x: x.cumsum(0), "abs": lambda x: x.abs(),
    }  # fmt: skip
    found = {}
    for name, fn in made.items():
        x = T.tensor([0.3, 0.7], dtype=T.float64, requires_grad=True)
        fn(x).mul_(2).sum().backward()
        found[name] = x.grad
    return found
