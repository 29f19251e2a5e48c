"""Hooks and custom functions in the history of what a call returns, which run after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import flambeau as fb
from flambeau import nn
from tests.core.capture.harness import Case, Cases, Program, Step, numbers

cases = Cases()


@pytest.mark.parametrize("case", cases, ids=lambda case: case.name)
def test_equal_to_eager(case: Case) -> None:
    case.check()


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3))


def differentiated(step: Step, *state: Any, **more: Any) -> Program:
    """A step whose first result is differentiated after the call, by the caller."""

    def after(i: int, result: Any, args: Any) -> None:
        first = result[0] if isinstance(result, tuple) else result
        first.square().sum().backward()

    return Program(step, state, after=after, **more)


class Scaled(fb.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: fb.Tensor, by: float) -> Any:
        ctx.save_for_backward(x)
        ctx.by, ctx.sizes, ctx.twice = by, [*x.shape], x * 2
        return x * by

    @staticmethod
    def backward(ctx: Any, grad: fb.Tensor) -> Any:
        (x,) = ctx.saved_tensors
        assert ctx.sizes == list(x.shape)
        return grad * ctx.by + ctx.twice - x, None


class Both(fb.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: fb.Tensor, y: fb.Tensor) -> Any:
        total, index = x + y, x.argmax(1)
        ctx.save_for_backward(total, x)
        ctx.mark_non_differentiable(index)
        ctx.set_materialize_grads(False)
        ctx.total = total
        return total, x * y, index

    @staticmethod
    def backward(ctx: Any, one: Any, two: Any, _: Any) -> Any:
        assert two is None
        total, x = ctx.saved_tensors
        return one * total, one * x


class Written(fb.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: fb.Tensor) -> Any:
        ctx.mark_dirty(x)
        return x.mul_(2)

    @staticmethod
    def backward(ctx: Any, grad: fb.Tensor) -> Any:
        return grad * 2


class Stored(fb.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: fb.Tensor) -> Any:
        ctx.held = {"kept", object()}
        return x * 2

    @staticmethod
    def backward(ctx: Any, grad: fb.Tensor) -> Any:
        return grad * len(ctx.held)


@cases(replays=4)
def a_custom_function() -> Program:
    model = network()
    return differentiated(lambda x: Scaled.apply(model(x), 0.5), model)


@cases(replays=4)
def a_custom_function_of_several_results() -> Program:
    model = network()
    return differentiated(lambda x: Both.apply(model(x), model(x + 1)), model)


@cases(replays=4)
def a_custom_function_that_writes() -> Program:
    model = network()
    return differentiated(lambda x: Written.apply(model(x) * 1) + 1, model)


@cases(eager="holds a set made in each call")
def a_custom_function_that_holds_something_else() -> Program:
    model = network()
    return differentiated(lambda x: Stored.apply(model(x)), model)


@cases(replays=4)
def gradients_of_gradients_of_a_custom_function() -> Program:
    model = network()

    def after(i: int, result: fb.Tensor, args: Any) -> None:
        (first,) = fb.autograd.grad(result.square().sum(), model[0].weight, create_graph=True)
        first.square().sum().backward()

    return Program(lambda x: Scaled.apply(model(x), 0.5), (model,), after=after)


def hooked(register: Callable[[fb.Tensor, fb.Tensor], Any]) -> Program:
    """``register(h, x)`` on what is computed of ``x``; ``h`` stays inside."""
    model = network()

    def step(x: fb.Tensor) -> fb.Tensor:
        h = model[0](x)
        register(h, x)
        return model[2](h.sin())

    return differentiated(step, model)


@cases(replays=4)
def a_hook_on_a_value() -> Program:
    return hooked(lambda h, x: h.register_hook(lambda g: g * 2))


@cases(replays=4)
def a_hook_that_reads_an_argument() -> Program:
    return hooked(lambda h, x: h.register_hook(lambda g: g * x))


@cases(replays=4)
def a_hook_that_reads_a_value_of_the_call() -> Program:
    def register(h: fb.Tensor, x: fb.Tensor) -> None:
        mask = h.detach() > 0
        h.register_hook(lambda g: g * mask)

    return hooked(register)


@cases(replays=4)
def a_hook_that_reads_the_value_that_it_is_on() -> Program:
    return hooked(lambda h, x: h.register_hook(lambda g: g * h.detach()))


@cases(replays=4)
def hooks_that_share_a_count() -> Program:
    def register(h: fb.Tensor, x: fb.Tensor) -> None:
        count = 0

        def more(g: fb.Tensor) -> fb.Tensor:
            nonlocal count
            count += 1
            return g * count

        h.register_hook(more)
        h.register_hook(lambda g: g + count)

    return hooked(register)


@cases(replays=4)
def hooks_on_a_node() -> Program:
    def register(h: fb.Tensor, x: fb.Tensor) -> None:
        h.grad_fn.register_hook(lambda inputs, outputs: tuple(None if g is None else g * 2 for g in inputs))
        h.grad_fn.register_prehook(lambda outputs: (outputs[0] * 3,))

    return hooked(register)


@cases(eager="holds a list made in each call")
def a_hook_that_fills_a_list_of_the_call() -> Program:
    model = network()

    def step(x: fb.Tensor) -> Any:
        seen: list[Any] = []
        h = model(x)
        h.register_hook(lambda g: seen.append(g.sum().item()))
        return h, seen

    return differentiated(step, model)


@cases(replays=4)
def a_hook_that_fills_a_list_of_before() -> Program:
    model, seen = network(), []

    def record(g: fb.Tensor) -> None:
        seen.append(g.sum().item())

    def step(x: fb.Tensor) -> fb.Tensor:
        h = model(x)
        h.register_hook(record)
        return h

    return differentiated(step, model, lambda: list(seen))


@cases(replays=4)
def a_kept_gradient() -> Program:
    model = network()

    def step(x: fb.Tensor) -> Any:
        h = model(x)
        h.retain_grad()
        return h.square(), h

    return differentiated(step, model)


@cases(replays=4)
def hooks_on_a_leaf_of_the_call() -> Program:
    def step(x: fb.Tensor) -> Any:
        w = (x * 1).detach().requires_grad_()
        w.register_hook(lambda g: g * 2)
        w.register_post_accumulate_grad_hook(lambda p: p.grad.add_(1))
        return w * 3, w

    return differentiated(step)


@cases(eager="a hook, registered at .*, on ViewBackward0, a view")
def a_hook_on_a_view() -> Program:
    model = network()

    def step(x: fb.Tensor) -> fb.Tensor:
        v = model(x).view(-1)
        v.register_hook(lambda g: g * 2)
        return v

    return differentiated(step, model)


@cases(replays=4)
def backward_hooks_of_modules() -> Program:
    model = network()
    model[0].register_full_backward_pre_hook(lambda m, outputs: (outputs[0] * 2,))
    model[1].register_full_backward_hook(lambda m, inputs, outputs: (inputs[0] * 3,))
    return differentiated(lambda x: model(x), model)


@cases(eager="a hook is registered at .* on a tensor of shape")
def a_hook_on_a_parameter() -> Program:
    model = network()

    def step(x: fb.Tensor) -> fb.Tensor:
        model[0].weight.register_hook(lambda g: g * 2)
        return model(x)

    return differentiated(step, model)


@cases(eager="a hook is registered at .* on a tensor of shape", inputs=lambda i: numbers(i, 4, 6).requires_grad_())
def a_hook_on_an_argument() -> Program:
    def step(x: fb.Tensor) -> fb.Tensor:
        x.register_post_accumulate_grad_hook(lambda p: p.grad.mul_(2))
        return x * 3

    return differentiated(step)


@cases(why="a hook on a node of before, which then has another one in each call")
def a_hook_on_a_history_of_before() -> Program:
    w = numbers(0, 4, 6).requires_grad_()
    h = w * 2

    def step(x: fb.Tensor) -> fb.Tensor:
        h.register_hook(lambda g: g * 2)
        return x * h

    def after(i: int, result: fb.Tensor, args: Any) -> None:
        result.sum().backward(retain_graph=True)

    return Program(step, (w,), after=after)


@cases(eager="a hook is registered at .* on MulBackward0")
def a_hook_on_the_history_of_an_argument() -> Program:
    leaves: list[fb.Tensor] = []

    def inputs(i: int) -> fb.Tensor:
        leaves.append(numbers(i, 4, 6).requires_grad_())
        return leaves[-1] * 2

    def step(x: fb.Tensor) -> fb.Tensor:
        x.register_hook(lambda g: g * 2)
        return x * 3

    return differentiated(step, lambda: [leaf.grad for leaf in leaves], inputs=inputs)
