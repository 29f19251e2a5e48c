"""Modes around and inside a step: gradients, inference, autocast, defaults; transforms."""

from __future__ import annotations

from typing import Any

import pytest

import flambeau as fb
from flambeau import nn
from tests.core.capture.harness import Case, Cases, Program, numbers, program, train

cases = Cases()


@cases(replays=4)
def no_grad_inside() -> Program:
    model = nn.Linear(6, 6)

    def step(x: fb.Tensor) -> fb.Tensor:
        with fb.no_grad():
            return model(x)

    return program(step, model)


@cases(replays=4)
def inference_mode_inside() -> Program:
    model = nn.Linear(6, 6)

    def step(x: fb.Tensor) -> fb.Tensor:
        with fb.inference_mode():
            return model(x)

    return program(step, model, after=lambda i, result, args: result.is_inference())


@cases(replays=4)
def grad_enabled_inside_no_grad() -> Program:
    model = nn.Linear(6, 6)

    @fb.no_grad()
    def step(x: fb.Tensor) -> fb.Tensor:
        y = model(x)
        with fb.enable_grad():
            model.zero_grad()
            model(x + y).sum().backward()
        return y

    return program(step, model)


def around(modes: tuple, **more: object) -> Program:
    """A step under another mode in each call: the mode is part of the kind of a call."""
    model = nn.Linear(6, 6)
    entered: list = []

    def before(i: int) -> None:
        entered.append(modes[i % len(modes)]())
        entered[-1].__enter__()

    def after(i: int, result: fb.Tensor, args: tuple) -> None:
        entered.pop().__exit__(None, None, None)

    return program(lambda x: model(x) * 2, model, before=before, after=after)


@cases(replays=3, calls=14, why="two kinds of calls, one of which gives results with a graph")
def no_grad_around_each_second_call() -> Program:
    return around((fb.no_grad, fb.enable_grad))


@cases(replays=3, calls=14, why="two kinds of calls")
def inference_mode_around_each_second_call() -> Program:
    return around((fb.inference_mode, fb.no_grad))


@cases(replays=3, calls=14, why="two kinds of calls")
def autocast_around_each_second_call() -> Program:
    def casting() -> fb.autocast:
        return fb.autocast("cpu", dtype=fb.bfloat16)

    case = around((casting, fb.no_grad))
    case.inputs = lambda i: numbers(i, 4, 6)
    step = case.step
    case.step = lambda x: step(x).detach()
    return case


@cases(replays=4)
def autocast_inside() -> Program:
    def loss(m: nn.Module, x: fb.Tensor) -> fb.Tensor:
        with fb.autocast("cpu", dtype=fb.bfloat16):
            y = m(m(x))
        return y.float().square().mean()

    return train(nn.Linear(6, 6), None, loss)


@cases(why="a block of autocast around all calls, whose cast of a parameter was made before any", replays=4)
def autocast_around_all_calls() -> Program:
    model = nn.Linear(6, 6)
    block = fb.autocast("cpu", dtype=fb.bfloat16)

    def before(i: int) -> None:
        block.__enter__()
        model(numbers(i, 4, 6))

    def step(x: fb.Tensor) -> fb.Tensor:
        model.zero_grad()
        loss = model(x).float().square().mean()
        loss.backward()
        with fb.no_grad():
            for p in model.parameters():
                p.sub_(p.grad, alpha=0.1)
        return loss.detach()

    def after(i: int, result: Any, args: tuple[Any, ...]) -> None:
        block.__exit__(None, None, None)

    return program(step, model, before=before, after=after)


@cases(why="autocast's dtype is another one from the sixth call on")
def autocast_dtype_changed() -> Program:
    model, kind = nn.Linear(6, 6), [fb.bfloat16]

    def step(x: fb.Tensor) -> fb.Tensor:
        with fb.autocast("cpu", dtype=kind[0]):
            return model(x).detach()

    return program(step, model, before=lambda i: kind.__setitem__(0, fb.bfloat16 if i < 5 else fb.float16))


@cases(why="the dtype for blocks of autocast is set anew before the sixth call", calls=10)
def autocast_dtype_set_between() -> Program:
    model = nn.Linear(6, 6)

    def step(x: fb.Tensor) -> fb.Tensor:
        with fb.autocast("cpu"):
            return model(x).detach()

    def before(i: int) -> None:
        fb.set_autocast_dtype("cpu", fb.bfloat16 if i < 5 else fb.float16)

    return program(step, model, before=before)


@cases(why="the default dtype is another one from the sixth call on", calls=10)
def default_dtype_changed() -> Program:
    def before(i: int) -> None:
        fb.set_default_dtype(fb.float32 if i < 5 else fb.float64)

    return program(lambda x: (x * 2, fb.zeros(2), fb.arange(3) / 2, fb.tensor(0.5)), before=before)


@cases(why="the default device is another one from the sixth call on", calls=10)
def default_device_changed() -> Program:
    def before(i: int) -> None:
        fb.set_default_device("cpu" if i < 5 else "strict")

    return program(lambda x: (x.cpu() * 2, fb.zeros(2), fb.tensor(0.5)), before=before)


@cases(why="the step itself changes a mode of the thread")
def mode_left_changed() -> Program:
    def step(x: fb.Tensor) -> fb.Tensor:
        fb.set_grad_enabled(not fb.is_grad_enabled())
        return x * 2

    return program(step)


@cases(why="a dispatch or function mode of the user's own sees each op")
def function_mode_inside() -> Program:
    seen: list[str] = []

    class Seen(fb.overrides.TorchFunctionMode):
        def __torch_function__(self, fn: object, types: tuple, args: tuple = (), kwargs: dict | None = None) -> object:
            seen.append(getattr(fn, "__name__", "?"))
            return fn(*args, **(kwargs or {}))

    def step(x: fb.Tensor) -> fb.Tensor:
        with Seen():
            return x * 2 + 1

    return program(step, seen)


@cases(why="a profiler around some calls")
def profiled() -> Program:
    profile = fb.profiler.profile()

    def before(i: int) -> None:
        if i == 5:
            profile.__enter__()

    def after(i: int, result: object, args: tuple) -> None:
        if i == 5:
            profile.__exit__(None, None, None)

    return program(lambda x: x * 2 + 1, before=before, after=after)


@cases(replays=4)
def vmap() -> Program:
    def loss(m: nn.Module, x: fb.Tensor) -> fb.Tensor:
        return fb.func.vmap(lambda row: m(row).square().sum())(x).mean()

    return train(nn.Linear(6, 6), None, loss)


@cases(replays=4)
def vmap_with_random_numbers() -> Program:
    def step(x: fb.Tensor) -> fb.Tensor:
        return fb.func.vmap(lambda row: row + fb.rand(6), randomness="different")(x)

    return program(step)


@cases(replays=4)
def gradients_of_each_sample() -> Program:
    model = nn.Linear(6, 2)
    weights = {k: p.detach() for k, p in model.named_parameters()}

    def loss(w: dict, row: fb.Tensor) -> fb.Tensor:
        return fb.func.functional_call(model, w, (row,)).square().sum()

    return program(lambda x: fb.func.vmap(fb.func.grad(loss), in_dims=(None, 0))(weights, x), weights)


@cases(replays=4)
def forward_mode() -> Program:
    return program(lambda x: fb.func.jvp(fb.sin, (x,), (fb.ones_like(x),)))


@cases(replays=4)
def jacobians() -> Program:
    def f(x: fb.Tensor) -> fb.Tensor:
        return (x * x).sum(1).sin()

    return program(lambda x: (fb.func.jacrev(f)(x), fb.func.jacfwd(f)(x), fb.func.hessian(lambda r: f(r).sum())(x[:1])))


@cases(why="a Captured's step under a transform: it is called with tensors of a level")
def transformed_from_outside() -> Program:
    from flambeau.core.capture.captured import Captured

    inner = Captured(lambda row: row.sin() * 2)
    return program(lambda x: fb.func.vmap(inner)(x))


@cases(why="forward-mode duals as arguments")
def dual_arguments() -> Program:
    from flambeau.autograd import forward_ad

    def step(x: fb.Tensor) -> tuple[fb.Tensor, ...]:
        with forward_ad.dual_level():
            return tuple(forward_ad.unpack_dual(forward_ad.make_dual(x, x * 2).sin()))

    return program(step)


@pytest.mark.parametrize("case", cases, ids=lambda case: case.name)
def test_equal_to_eager(case: Case) -> None:
    case.check()
