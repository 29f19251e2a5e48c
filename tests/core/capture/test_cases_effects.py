"""What a step does beside computing: errors, prints, warnings, clocks, random numbers of Python and numpy."""

from __future__ import annotations

import contextlib
import random
import time
import warnings
from collections.abc import Iterator

import numpy as np
import pytest

import flambeau as fb
from flambeau import nn
from tests.core.capture.harness import Case, Cases, Program, numbers, program, train

cases = Cases()


@cases(raises=True, why="a step that raises before it did anything")
def raises_at_once() -> Program:
    def step(x: fb.Tensor) -> fb.Tensor:
        raise ValueError("nothing was done")

    return program(step)


@cases(raises=True, why="a step that raises each third call, after a write")
def raises_after_a_write() -> Program:
    state, count = fb.zeros(4, 6), [0]

    def step(x: fb.Tensor) -> fb.Tensor:
        state.add_(x)
        count[0] += 1
        if count[0] % 3 == 0:
            raise ValueError(f"call {count[0]}")
        return state.mul_(0.5).clone()

    return program(step, state, count)


@cases(raises=True, why="a step that raises on a value", calls=10)
def raises_on_a_value() -> Program:
    state = fb.zeros(4, 6)

    def step(x: fb.Tensor) -> fb.Tensor:
        state.add_(x)
        if x.sum() > 3:
            raise ValueError(f"too much: {x.sum().item():.4f}")
        return state.mul_(0.5).clone()

    return program(step, state)


@cases(raises=True, why="an op's own error, in backward's middle of the step")
def op_raises() -> Program:
    model = nn.Linear(6, 6)

    def step(x: fb.Tensor) -> fb.Tensor:
        model.zero_grad()
        model(x).sum().backward()
        return x @ x

    return program(step, model)


@cases(raises=True, why="the argument's shape is wrong in the sixth call")
def wrong_shape_once() -> Program:
    return train(nn.Linear(6, 6), inputs=lambda i: numbers(i, 4, 5 if i == 5 else 6))


@cases(raises=True, why="an index out of range, by value, in the sixth call")
def index_out_of_range_once() -> Program:
    table = nn.Embedding(5, 3)
    return program(table, table, inputs=lambda i: fb.tensor([0, 4 if i != 5 else 5]))


@cases(replays=4)
def error_caught_inside() -> Program:
    def step(x: fb.Tensor) -> fb.Tensor:
        try:
            return x @ x
        except RuntimeError:
            return x * 2
        finally:
            x.add_(1)

    return program(step)


@cases(replays=4)
def own_context_manager() -> Program:
    state = fb.zeros(())

    @contextlib.contextmanager
    def counted() -> Iterator[fb.Tensor]:
        state.add_(1)
        try:
            yield state
        finally:
            state.mul_(2)

    def step(x: fb.Tensor) -> fb.Tensor:
        with counted() as n:
            return x * n

    return program(step, state)


@cases(replays=4)
def generators_inside() -> Program:
    def parts(x: fb.Tensor) -> Iterator[fb.Tensor]:
        for row in x:
            yield row * 2
            row.add_(1)

    return program(lambda x: (sum(parts(x)), fb.stack(list(parts(x)))))


@cases(why="a generator that lives over calls")
def generator_over_calls() -> Program:
    factors = iter(range(1, 100))
    return program(lambda x: x * next(factors))


@cases(eager="print")
def prints() -> Program:
    def step(x: fb.Tensor) -> fb.Tensor:
        print("step of", tuple(x.shape))
        return x * 2

    return program(step)


@cases(why="the printed text holds values")
def prints_values() -> Program:
    def step(x: fb.Tensor) -> fb.Tensor:
        print("loss", x.sum().item(), x[0])
        return x * 2

    return program(step)


@cases(why="a warning in each call")
def warns() -> Program:
    def step(x: fb.Tensor) -> fb.Tensor:
        warnings.warn("x may be small", UserWarning, stacklevel=2)
        return x * 2

    return program(step)


@cases(eager="random")
def python_random() -> Program:
    def step(x: fb.Tensor) -> fb.Tensor:
        return x * random.random()

    return program(step)


@cases(eager="random")
def numpy_random() -> Program:
    generator = np.random.default_rng(3)
    return program(lambda x: x * float(generator.random()), generator)


@cases(eager="random")
def numpy_noise() -> Program:
    generator = np.random.default_rng(3)
    return program(lambda x: x + fb.tensor(generator.random(6, dtype="f")), generator)


@cases(why="a clock that is looked at, and whose time only goes by")
def clock() -> Program:
    def step(x: fb.Tensor) -> fb.Tensor:
        start = time.perf_counter()
        y = x * 2
        assert time.perf_counter() >= start
        return y

    return program(step)


@cases(why="a made-up clock whose time is used")
def clock_used() -> Program:
    now = [0.0]

    def tick() -> float:
        now[0] += 0.5
        return now[0]

    return program(lambda x: x * tick(), now)


@cases(why="a random layer is left out, by Python's numbers", calls=10)
def stochastic_depth() -> Program:
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))

    def loss(m: nn.Module, x: fb.Tensor) -> fb.Tensor:
        for layer in m:
            if random.random() < 0.7:
                x = layer(x)
        return x.square().mean() + m[0].bias.sum()

    return train(model, None, loss)


@cases(why="a cache filled in the first call")
def cache_of_the_programs_own() -> Program:
    cache: dict[int, fb.Tensor] = {}

    def step(x: fb.Tensor) -> fb.Tensor:
        if len(x) not in cache:
            cache[len(x)] = fb.arange(len(x)).float()
        return x * cache[len(x)][:, None]

    return program(step, cache)


@pytest.mark.parametrize("case", cases, ids=lambda case: case.name)
def test_equal_to_eager(case: Case) -> None:
    case.check()
