"""Gradients in all ways: inside, outside, of gradients; hooks; functions with a backward of their own."""

from __future__ import annotations

import pytest

import flambeau as fb
from flambeau import nn
from tests.core.capture.harness import Case, Cases, Program, numbers, program, train

cases = Cases()


def wanted(i: int) -> fb.Tensor:
    return numbers(i, 4, 6).requires_grad_()


def loss_backward(i: int, result: fb.Tensor, args: tuple) -> None:
    if isinstance(result, fb.Tensor) and result.requires_grad:
        result.sum().backward()


@cases(why="backward is outside: the result must carry its graph", inputs=wanted)
def backward_outside_to_an_argument() -> Program:
    return program(lambda x: x.sin() * 2, after=loss_backward)


@cases(why="backward is outside: the result must carry its graph")
def backward_outside_to_a_model() -> Program:
    model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 2))
    optimizer = fb.optim.SGD(model.parameters(), lr=0.1)

    def after(i: int, result: fb.Tensor, args: tuple) -> None:
        optimizer.zero_grad()
        result.square().mean().backward()
        optimizer.step()

    return program(model, model, optimizer, after=after)


@cases(why="a model inside a graph that goes on before and after it")
def backward_through_to_what_was_before() -> Program:
    first, model = nn.Linear(6, 6), nn.Linear(6, 6)
    return program(model, first, model, after=loss_backward, inputs=lambda i: first(numbers(i, 4, 6)))


@cases(why="a result that is kept and differentiated two calls later")
def backward_outside_later() -> Program:
    model, kept = nn.Linear(6, 6), []

    def after(i: int, result: fb.Tensor, args: tuple) -> None:
        kept.append(result)
        if i >= 2:
            kept[i - 2].sum().backward()

    return program(model, model, after=after)


@cases(why="gradients of gradients outside", inputs=wanted)
def double_backward_outside() -> Program:
    def after(i: int, result: fb.Tensor, args: tuple) -> None:
        (g,) = fb.autograd.grad(result.sum(), args[0], create_graph=True)
        g.square().sum().backward()

    return program(lambda x: x.sin() * x, after=after)


@cases(why="a result may be differentiated twice only with retain_graph", inputs=wanted)
def second_backward_outside() -> Program:
    outcomes: list[str] = []

    def after(i: int, result: fb.Tensor, args: tuple) -> None:
        result.sum().backward()
        try:
            result.sum().backward()
            outcomes.append("again")
        except RuntimeError:
            outcomes.append("freed")

    return program(lambda x: x.sin().exp(), outcomes, after=after)


@cases(why="the same with retain_graph=True", inputs=wanted)
def retained_outside() -> Program:
    def after(i: int, result: fb.Tensor, args: tuple) -> None:
        result.sum().backward(retain_graph=True)
        result.sum().backward()

    return program(lambda x: x.sin().exp(), after=after)


@cases(why="a result that requires gradients, written in place by the caller", inputs=wanted)
def result_written_before_backward() -> Program:
    def after(i: int, result: fb.Tensor, args: tuple) -> None:
        result.mul_(2)
        result.sum().backward()

    return program(lambda x: x.sin(), after=after)


@cases(why="a view of an argument that requires gradients", inputs=wanted)
def result_is_a_view_with_gradients() -> Program:
    return program(lambda x: x[1:].t(), after=loss_backward)


@cases(why="one result is detached, one not; one is an integer", inputs=wanted)
def results_of_which_some_require_gradients() -> Program:
    def step(x: fb.Tensor) -> tuple[fb.Tensor, ...]:
        y = x * 2
        return y, y.detach(), y.argmax(1), (y > 0).float()

    return program(step, after=lambda i, r, args: r[0].sum().backward())


@cases(why="the argument requires gradients in some calls", calls=10)
def argument_requires_gradients_sometimes() -> Program:
    return program(lambda x: x * 2, after=loss_backward, inputs=lambda i: numbers(i, 3).requires_grad_(i % 2 == 0))


@cases(replays=4, inputs=wanted)
def backward_inside_to_an_argument() -> Program:
    def step(x: fb.Tensor) -> fb.Tensor:
        loss = (x * x).sum()
        loss.backward()
        return loss.detach()

    return program(step)


@cases(replays=4)
def autograd_grad() -> Program:
    model = nn.Linear(6, 6)

    def step(x: fb.Tensor) -> tuple[fb.Tensor, ...]:
        return fb.autograd.grad(model(x).square().mean(), list(model.parameters()))

    return program(step, model)


@cases(replays=4)
def gradient_of_a_gradient_inside() -> Program:
    def loss(m: nn.Module, x: fb.Tensor) -> fb.Tensor:
        g = fb.autograd.grad(m(x).tanh().sum(), list(m.parameters()), create_graph=True)
        return g[0].square().sum()

    return train(nn.Linear(6, 6), None, loss)


@cases(replays=4)
def retained_inside() -> Program:
    model = nn.Linear(6, 6)

    def step(x: fb.Tensor) -> fb.Tensor:
        model.zero_grad()
        y = model(x).tanh()
        y.sum().backward(retain_graph=True)
        y.square().sum().backward()
        return y.detach()

    return program(step, model)


@cases(replays=4)
def backward_with_a_gradient() -> Program:
    model = nn.Linear(6, 6)

    def step(x: fb.Tensor) -> None:
        model.zero_grad()
        model(x).backward(x.sign())

    return program(step, model)


@cases(replays=4)
def backward_for_some_inputs() -> Program:
    model = nn.Linear(6, 6)

    def step(x: fb.Tensor) -> None:
        model.weight.grad = None
        model(x).sum().backward(inputs=[model.weight])

    return program(step, model)


@cases(replays=4)
def retain_grad_of_an_activation() -> Program:
    model = nn.Linear(6, 6)

    def step(x: fb.Tensor) -> fb.Tensor:
        model.zero_grad()
        h = model(x)
        h.retain_grad()
        h.square().sum().backward()
        return h.grad

    return program(step, model)


@cases(why="a graph kept over calls by a closure (truncated backpropagation)")
def graph_over_two_calls() -> Program:
    model, hidden = nn.Linear(6, 6), [None]

    def step(x: fb.Tensor) -> fb.Tensor:
        model.zero_grad()
        before = hidden[0]
        h = model(x if before is None else x + before).tanh()
        loss = h.square().mean() if before is None else (h - before).square().mean()
        loss.backward(retain_graph=True)
        hidden[0] = model(x).detach().requires_grad_()
        return loss.detach()

    return program(step, model)


@cases(why="anything may be in a tensor's hook")
def tensor_hooks_inside() -> Program:
    seen: list[fb.Tensor] = []

    def loss(m: nn.Module, x: fb.Tensor) -> fb.Tensor:
        h = m(x)
        h.register_hook(lambda g: g * 2)
        h.register_hook(lambda g: seen.append(g.norm()))
        return h.square().mean()

    return train(nn.Linear(6, 6), None, loss, seen)


@cases(why="a hook on a parameter in some calls", calls=10)
def parameter_hook_added_and_removed() -> Program:
    model, handles = nn.Linear(6, 6), []

    def before(i: int) -> None:
        if i == 4:
            handles.append(model.weight.register_hook(lambda g: g * 2))
        if i == 8:
            handles[0].remove()

    return train(model, before=before)


@cases(why="a hook after accumulation that steps, and drops the gradient")
def post_accumulate_hook() -> Program:
    model = nn.Linear(6, 6)

    def update(p: fb.Tensor) -> None:
        with fb.no_grad():
            p.sub_(p.grad, alpha=0.1)
        p.grad = None

    for p in model.parameters():
        p.register_post_accumulate_grad_hook(update)

    def step(x: fb.Tensor) -> fb.Tensor:
        loss = model(x).square().mean()
        loss.backward()
        return loss.detach()

    return program(step, model)


@cases(why="hooks of modules, there all the time")
def module_hooks() -> Program:
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))
    model[0].register_forward_pre_hook(lambda m, args: (args[0] * 2,))
    model[0].register_forward_hook(lambda m, args, out: out + 1)
    model[1].register_full_backward_hook(lambda m, g_in, g_out: (g_in[0] * 3,))
    return train(model)


@cases(why="a module's hooks come and go", calls=12)
def module_hooks_added_and_removed() -> Program:
    model, handles = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6)), []

    def before(i: int) -> None:
        if i == 4:
            handles.append(model[0].register_forward_hook(lambda m, args, out: out * 2))
        if i == 6:
            handles.append(model[1].register_full_backward_hook(lambda m, g_in, g_out: (g_in[0] * 3,)))
        if i in (8, 10):
            handles.pop().remove()

    return train(model, before=before)


@cases(why="a hook for all modules, in some calls", calls=10)
def global_module_hook() -> Program:
    model, handles = nn.Linear(6, 6), []

    def before(i: int) -> None:
        if i == 4:
            handles.append(nn.modules.module.register_module_forward_hook(lambda m, args, out: out * 2))
        if i == 8:
            handles[0].remove()

    return train(model, before=before)


class Doubled(fb.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: fb.Tensor, factor: float) -> fb.Tensor:
        ctx.save_for_backward(x)
        ctx.factor = factor
        return x * factor

    @staticmethod
    def backward(ctx: object, g: fb.Tensor) -> tuple[fb.Tensor, None]:
        (x,) = ctx.saved_tensors
        return g * ctx.factor + x * 0.1, None


@cases(replays=4)
def function_with_its_own_backward() -> Program:
    return train(nn.Linear(6, 6), None, lambda m, x: Doubled.apply(m(x), 2.0).square().mean())


@cases(why="the custom function's backward is outside", inputs=wanted)
def function_with_its_own_backward_outside() -> Program:
    return program(lambda x: Doubled.apply(x, 2.0), after=loss_backward)


@cases(replays=4)
def saved_tensors_hooks() -> Program:
    def loss(m: nn.Module, x: fb.Tensor) -> fb.Tensor:
        with fb.autograd.graph.saved_tensors_hooks(lambda t: t * 2, lambda t: t / 2):
            return m(x).sin().sum()

    return train(nn.Linear(6, 6), None, loss)


@cases(replays=4)
def checkpoint() -> Program:
    model = nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.5), nn.Linear(6, 6))

    def loss(m: nn.Module, x: fb.Tensor) -> fb.Tensor:
        return fb.utils.checkpoint.checkpoint(m, x, use_reentrant=False).sum()

    return train(model, None, loss)


@cases(why="anomaly mode")
def anomaly_mode() -> Program:
    def loss(m: nn.Module, x: fb.Tensor) -> fb.Tensor:
        with fb.autograd.detect_anomaly(check_nan=False):
            return m(x).square().mean()

    return train(nn.Linear(6, 6), None, loss)


@pytest.mark.parametrize("case", cases, ids=lambda case: case.name)
def test_equal_to_eager(case: Case) -> None:
    case.check()
