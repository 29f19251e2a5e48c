"""Random numbers: a replay draws what an eager call would have drawn, and leaves generators where it would."""

from __future__ import annotations

import pytest

import flambeau as fb
from flambeau import nn
from tests.core.capture.harness import Case, Cases, Program, numbers, program, train

cases = Cases()


@cases(replays=4)
def dropout() -> Program:
    model = nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.3), nn.Linear(6, 6))
    return train(model, fb.optim.Adam(model.parameters()))


@cases(replays=4)
def dropout_in_place_and_of_channels() -> Program:
    model = nn.Sequential(nn.Dropout2d(0.5), nn.Conv2d(2, 2, 1), nn.Dropout(0.5, inplace=True), nn.AlphaDropout(0.3))
    return train(model, inputs=lambda i: numbers(i, 2, 2, 3, 3))


@cases(replays=4)
def uniform_and_normal() -> Program:
    return train(nn.Linear(6, 6), None, lambda m, x: (m(x) * fb.rand(4, 6) + fb.randn(4, 1)).sum())


@cases(replays=4)
def all_kinds_of_draws() -> Program:
    def step(x: fb.Tensor) -> tuple[fb.Tensor, ...]:
        return (
            fb.rand_like(x),
            fb.randn_like(x),
            fb.randint(0, 9, (3,)),
            fb.randperm(7),
            fb.bernoulli(x.sigmoid()),
            fb.multinomial(x.softmax(1), 2),
            fb.normal(x, 0.5),
            fb.poisson(x.exp()),
        )

    return program(step)


@cases(replays=4)
def draws_in_place() -> Program:
    state = fb.zeros(4, 6)

    def step(x: fb.Tensor) -> fb.Tensor:
        x.normal_(1.0, 2.0)
        state.uniform_(-1, 1)
        return x + state + fb.empty(6).exponential_() + fb.empty(4, 1).bernoulli_(0.3) + fb.empty(6).random_(0, 5)

    return program(step, state)


@cases(replays=4)
def permuted_batch() -> Program:
    return train(nn.Linear(6, 6), None, lambda m, x: (m(x)[fb.randperm(4)] * x).sum())


@cases(replays=4)
def draws_between_the_calls_too() -> Program:
    return program(lambda x: x + fb.rand(4, 6), before=lambda i: fb.rand(i))


@cases(replays=4)
def seeded_between() -> Program:
    return program(lambda x: x + fb.rand(4, 6), before=lambda i: fb.manual_seed(i // 2))


@cases(why="manual_seed inside: each call draws the same")
def seeded_inside() -> Program:
    def step(x: fb.Tensor) -> fb.Tensor:
        fb.manual_seed(3)
        return x + fb.rand(4, 6)

    return program(step)


@cases(why="the seed is another one in each call")
def seeded_by_a_counter() -> Program:
    count = [0]

    def step(x: fb.Tensor) -> fb.Tensor:
        count[0] += 1
        fb.manual_seed(count[0])
        return x + fb.rand(4, 6)

    return program(step)


@cases(replays=4)
def generator_closed_over() -> Program:
    generator = fb.Generator().manual_seed(7)
    return program(lambda x: x + fb.rand(4, 6, generator=generator) + fb.rand(6), generator)


@cases(replays=4)
def generator_seeded_between() -> Program:
    generator = fb.Generator()
    return program(
        lambda x: x + fb.randn(4, 6, generator=generator), generator, before=lambda i: generator.manual_seed(i)
    )


@cases(why="another generator from the sixth call on")
def generator_replaced() -> Program:
    held = [fb.Generator().manual_seed(1)]

    def before(i: int) -> None:
        if i == 5:
            held[0] = fb.Generator().manual_seed(2)

    return program(lambda x: x + fb.rand(6, generator=held[0]), held, before=before)


@cases(why="a generator made inside")
def generator_made_inside() -> Program:
    return program(lambda x: x + fb.rand(6, generator=fb.Generator().manual_seed(4)))


@cases(why="a generator as an argument")
def generator_as_an_argument() -> Program:
    generator = fb.Generator().manual_seed(7)
    return program(lambda x, g: x + fb.rand(6, generator=g), generator, inputs=lambda i: (numbers(i, 4, 6), generator))


@cases(why="fork_rng: the stream goes on as if nothing had been drawn")
def fork_rng() -> Program:
    def step(x: fb.Tensor) -> fb.Tensor:
        with fb.random.fork_rng():
            y = x + fb.rand(6)
        return y + fb.rand(6)

    return program(step)


@cases(why="the state is kept and put back")
def state_put_back() -> Program:
    def step(x: fb.Tensor) -> fb.Tensor:
        state = fb.get_rng_state()
        y = x + fb.rand(6)
        fb.set_rng_state(state)
        return y - fb.rand(6)

    return program(step)


@cases(why="the seed is read")
def initial_seed() -> Program:
    return program(lambda x: x + fb.initial_seed() % 7, before=lambda i: fb.manual_seed(i // 5))


@cases(why="weights drawn inside")
def layer_made_inside() -> Program:
    return program(lambda x: nn.Linear(6, 2)(x).detach())


@cases(why="noise injected by a distribution")
def distributions() -> Program:
    def step(x: fb.Tensor) -> tuple[fb.Tensor, fb.Tensor]:
        d = fb.distributions.Normal(x, x.abs() + 1)
        y = d.rsample()
        return y, d.log_prob(y) + fb.distributions.Categorical(logits=x).sample()[:, None]

    return program(step)


@pytest.mark.parametrize("case", cases, ids=lambda case: case.name)
def test_equal_to_eager(case: Case) -> None:
    case.check()
