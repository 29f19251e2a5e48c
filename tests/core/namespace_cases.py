"""torch.autograd's smaller modules and the rest of torch.func: old names, switches, options, rearrange."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from tests.core.leaves import function, gradient, leaf, numbers
from tests.recorded import Case, collected


def submodule(T: Any, name: str) -> Any:
    return importlib.import_module(f"{T.__name__}.autograd.{name}")


def rearranged(T: Any, shape: tuple[int, ...], pattern: str, **lengths: int) -> Any:
    return T.func.rearrange(numbers(T, *shape), pattern, **lengths)


CASES: dict[str, Case] = {
    # -- old names
    "variable": lambda T: T.autograd.Variable(T.ones(2), requires_grad=True),
    "variable_detaches": lambda T: T.autograd.Variable(leaf(T, 1)),
    "variable_empty": lambda T: T.autograd.Variable(),
    "variable_list": lambda T: T.autograd.Variable([1.0]),
    "variable_isinstance": lambda T: [isinstance(v, T.autograd.Variable) for v in (T.ones(1), leaf(T, 1) * 2, 1.0)],
    "grad_variables": lambda T: T.autograd.backward(leaf(T, 1, 2) * 2, None, None, False, leaf(T, 1, 2)),
    "grad_variables_both": lambda T: T.autograd.backward(leaf(T, 1) * 2, leaf(T, 1), grad_variables=leaf(T, 1)),
    "only_inputs": lambda T: T.autograd.grad((x := leaf(T, 1, 2)) * 3, x, T.ones(2), None, False, True, True),
    "legacy_call": lambda T: function(T, forward=lambda ctx, x: x, backward=lambda ctx, g: g)()(T.ones(1)),
    "inplace_function": lambda T: submodule(T, "function").InplaceFunction(True).inplace,
    "to_save": lambda T: len(
        (ctx := submodule(T, "function").FunctionCtx()).save_for_backward(T.ones(1)) or ctx.to_save
    ),
    "node_class": lambda T: [
        isinstance((x := leaf(T, 1)).sin().grad_fn, (node := T.autograd.graph.Node)),
        isinstance(T.autograd.graph.get_gradient_edge(x).node, node),
        issubclass(type(x.sin().grad_fn), node),
        isinstance(x, node),
    ],
    "budget": lambda T: T.autograd.graph.region_activation_memory_budget(0.5),
    # -- switches
    "multithreading": lambda T: [
        (scope := T.autograd.set_multithreading_enabled(False)) and T.autograd.is_multithreading_enabled(),
        scope.__exit__(None, None, None),
        T.autograd.is_multithreading_enabled(),
    ],
    "view_replay": lambda T: type(T.autograd.is_view_replay_enabled()) is bool,
    # -- functional
    "jacobian_default": lambda T: T.autograd.functional.jacobian(lambda x: x**2, numbers(T, 3)),
    "jacobian_vectorized": lambda T: T.autograd.functional.jacobian(lambda x: x**2, numbers(T, 3), vectorize=True),
    "jacobian_forward": lambda T: T.autograd.functional.jacobian(
        lambda x: x**2, numbers(T, 3), vectorize=True, strategy="forward-mode"
    ),
    "hessian_default": lambda T: T.autograd.functional.hessian(lambda x: (x**3).sum(), numbers(T, 2)),
    "hessian_forward": lambda T: T.autograd.functional.hessian(
        lambda x: (x**3).sum(), numbers(T, 2), vectorize=True, outer_jacobian_strategy="forward-mode"
    ).detach(),
    "hessian_pair": lambda T: T.autograd.functional.hessian(
        lambda x, y: (x * y**2).sum(), (numbers(T, 2), numbers(T, 2))
    ),
    # -- gradcheck
    "gradcheck_constant": lambda T: T.autograd.gradcheck(lambda x: x.detach() ** 2, (leaf(T, 1, 2),)),
    "gradcheck_nothing": lambda T: T.autograd.gradcheck(lambda x: T.ones(2), (leaf(T, 1, 2),)),
    "gradcheck_expanded": lambda T: T.autograd.gradcheck(
        lambda x: x * x, (T.ones(1, dtype=T.float64).expand(3).requires_grad_(),)
    ),
    "gradcheck_no_mode": lambda T: T.autograd.gradcheck(T.sin, (leaf(T, 1),), check_backward_ad=False),
    "gradcheck_batched_forward": lambda T: T.autograd.gradcheck(T.sin, (leaf(T, 1),), check_batched_forward_grad=True),
    "gradcheck_forward_alone": lambda T: T.autograd.gradcheck(
        T.sin, (leaf(T, 1, 2),), check_forward_ad=True, check_backward_ad=False, check_undefined_grad=False
    ),
    "gradgradcheck_forward": lambda T: T.autograd.gradgradcheck(
        T.sin, (leaf(T, 1, 2),), check_fwd_over_rev=True, check_rev_over_rev=False, check_undefined_grad=False
    ),
    "numerical": lambda T: (
        submodule(T, "gradcheck")
        .get_numerical_jacobian(lambda xs: xs[0] * 2, (leaf(T, 1, 2),), eps=1e-6)[0]
        .round(decimals=6)
    ),
    "analytical": lambda T: submodule(T, "gradcheck").get_analytical_jacobian(((x := leaf(T, 1, 2)),), x**2),
    # -- func
    "functionalize": lambda T: T.func.functionalize(lambda x: x.clone().add_(1))(numbers(T, 2)),
    "functionalize_bad": lambda T: T.func.functionalize(lambda x: x, remove="bogus")(T.ones(1)),
    "no_statistics": lambda T: [
        (m.running_mean, m.num_batches_tracked, m.track_running_stats)
        for m in T.func.replace_all_batch_norm_modules_(T.nn.Sequential(T.nn.BatchNorm1d(2), T.nn.ReLU()))
        if isinstance(m, T.nn.BatchNorm1d)
    ],
    "jvp_strict": lambda T: T.func.jvp(lambda x: T.ones(2), (T.ones(2),), (T.ones(2),), strict=True),
    "jvp_norm_at_zero": lambda T: T.func.jvp(T.linalg.norm, (T.zeros(3),), (T.ones(3),)),
    "jvp_pinv_singular": lambda T: T.func.jvp(T.linalg.pinv, (T.zeros(2, 2),), (T.zeros(2, 2),)),
    # -- vmap of what is written, of bounds, of bags
    "vmap_diagonal_scatter": lambda T: T.func.vmap(lambda s: T.diagonal_scatter(numbers(T, 3, 3), s))(numbers(T, 2, 3)),
    "vmap_select_scatter": lambda T: T.func.vmap(lambda s: T.select_scatter(numbers(T, 3, 3), s, 0, 1))(
        numbers(T, 2, 3)
    ),
    "vmap_slice_scatter": lambda T: T.func.vmap(lambda s: T.slice_scatter(numbers(T, 3), s, 0, 1))(numbers(T, 2, 2)),
    "vmap_unfold": lambda T: T.func.vmap(lambda x: x.unfold(0, 1, 1))(numbers(T, 2)),
    "unfold_0d": lambda T: [numbers(T).unfold(0, n, 1) for n in (0, 1)],
    "vmap_linspace": lambda T: T.func.vmap(lambda s: T.linspace(s, 1.0, 3, dtype=T.float64))(numbers(T, 2)),
    "vmap_bag": lambda T: T.func.vmap(
        lambda w: T.nn.functional.embedding_bag(T.tensor([[1, 2], [0, 2]]), w, mode="sum", padding_idx=2)
    )(numbers(T, 2, 3, 2)),
    "vmap_nonzero_static": lambda T: T.func.vmap(lambda x: T.nonzero_static(x, size=3))(T.tensor([[0, 1], [2, 3]])),
    # -- rearrange
    "rearrange_move": lambda T: rearranged(T, (2, 3, 4), "a b c -> c a b"),
    "rearrange_join": lambda T: rearranged(T, (2, 3, 4), "a b c -> (a c) b"),
    "rearrange_split": lambda T: rearranged(T, (2, 6), "a (b c) -> c b a", b=2),
    "rearrange_rest": lambda T: rearranged(T, (2, 3, 4), "... c -> c ..."),
    "rearrange_rest_joined": lambda T: rearranged(T, (2, 3, 4), "a ... -> (...) a"),
    "rearrange_list": lambda T: T.func.rearrange([numbers(T, 2, 3)] * 4, "b h w -> h b w"),
    "rearrange_missing": lambda T: rearranged(T, (2, 3), "a b -> a"),
    "rearrange_twice": lambda T: rearranged(T, (2, 2), "a a -> a"),
    "rearrange_unknown": lambda T: rearranged(T, (6,), "(a b) -> a b"),
    "rearrange_extra": lambda T: rearranged(T, (2, 3), "a b -> b a", c=2),
    "rearrange_no_arrow": lambda T: rearranged(T, (2, 3), "a b"),
    "rearrange_number": lambda T: rearranged(T, (3, 2), "a 2 -> a"),
    "rearrange_nested": lambda T: rearranged(T, (6,), "((a b) c) -> a b c", a=1, b=2),
    "rearrange_few": lambda T: rearranged(T, (2, 3), "a b c -> c b a"),
    "rearrange_rest_inside": lambda T: rearranged(T, (2, 6), "a (...) -> a ..."),
}


@collected(CASES)
def jacobian_of_numpy(T: Any) -> Any:
    """A backward that no transform can look into."""
    sine = function(
        T,
        forward=lambda ctx, x: ctx.save_for_backward(x) or T.from_numpy(np.sin(x.detach().numpy())),
        backward=lambda ctx, g: T.from_numpy(g.numpy() * np.cos(ctx.saved_tensors[0].detach().numpy())),
    )
    return T.autograd.functional.jacobian(sine.apply, numbers(T, 3))


@collected(CASES)
def layout_of_gradients(T: Any) -> Any:
    """A gradient has the strides of its tensor."""
    found = []
    for x, other in (
        (T.zeros(3, 2).t(), T.ones(2, 3)),
        (T.zeros(2, 3), T.ones(3, 2).t()),
        (T.zeros(4)[::2], T.ones(2)),
    ):
        x = x.requires_grad_()
        found.append([tuple(gradient(x * other, x).stride()), x.grad])
    return found


@collected(CASES)
def callback_after_backward(T: Any) -> Any:
    order: list[str] = []
    queue = T.autograd.Variable._execution_engine.queue_callback
    x = leaf(T, 1)
    y = x * 2
    y.register_hook(lambda g: queue(lambda: order.append("done")) or order.append("hook"))
    x.register_hook(lambda g: order.append("leaf"))
    y.sum().backward()
    return order


@collected(CASES)
def callback_outside(T: Any) -> Any:
    T.autograd.Variable._execution_engine.queue_callback(lambda: None)


@collected(CASES)
def context_in_backward(T: Any) -> Any:
    seen = []

    def backward(ctx: Any, g: Any) -> Any:
        seen.append([ctx.name(), len(ctx.next_functions), ctx.metadata, len(ctx.saved_variables), ctx.needs_input_grad])
        return g * 2

    square = function(T, forward=lambda ctx, x: ctx.save_for_backward(x) or x * 2, backward=backward)
    x = leaf(T, 1)
    y = square.apply(x)
    return [gradient(y, x), seen, isinstance(y.grad_fn, submodule(T, "function").BackwardCFunction)]


@collected(CASES)
def to_save(T: Any) -> Any:
    ctx = submodule(T, "function").FunctionCtx()
    ctx.save_for_backward(T.ones(1))
    return len(ctx.to_save)


@collected(CASES)
def unwrap(T: Any) -> Any:
    held: list[Any] = []

    def look(x: Any) -> Any:
        held.append(T.func.debug_unwrap(x))
        return x

    T.func.vmap(T.func.vmap(look))(numbers(T, 2, 3))
    return held
