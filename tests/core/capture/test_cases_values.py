"""Values that the program reads: arithmetic, branches, loops, texts, sizes, indices."""

from __future__ import annotations

import math

import numpy as np
import pytest

import flambeau as fb
from flambeau import nn
from tests.core.capture.harness import Case, Cases, Program, numbers, program, train

cases = Cases()


def small(i: int) -> fb.Tensor:
    return numbers(i, 4, 6) * 0.1


@cases(replays=4)
def item_as_a_factor() -> Program:
    return train(nn.Linear(6, 6), None, lambda m, x: (m(x) * m(x).abs().max().item()).sum())


@cases(replays=4)
def item_in_arithmetic() -> Program:
    def loss(m: nn.Module, x: fb.Tensor) -> fb.Tensor:
        y = m(x).square().mean()
        s = y.item()
        return y * (1 / (s + 1.0)) - s**2 + 3 % (1 + abs(s))

    return train(nn.Linear(6, 6), None, loss)


@cases(replays=2, calls=12)
def item_in_a_branch() -> Program:
    def loss(m: nn.Module, x: fb.Tensor) -> fb.Tensor:
        y = m(x).sum()
        s = y.item()
        return y * y * s if s > 0 else -2 * y

    return train(nn.Linear(6, 6), None, loss)


@cases(replays=2, calls=12)
def branch_on_a_tensor() -> Program:
    def loss(m: nn.Module, x: fb.Tensor) -> fb.Tensor:
        y = m(x).sum()
        return y * y if y > 0 else -2 * y

    return train(nn.Linear(6, 6), None, loss)


@cases(replays=2, calls=12)
def early_return() -> Program:
    model = nn.Linear(6, 6)

    def step(x: fb.Tensor) -> fb.Tensor | None:
        y = model(x)
        if y.sum() > 0:
            return None
        return y.detach() * 2

    return program(step, model)


@cases(replays=2, calls=14)
def while_loop_on_a_value() -> Program:
    def loss(m: nn.Module, x: fb.Tensor) -> fb.Tensor:
        y, n = m(x), 0
        while y.abs().max().item() > 1.0 and n < 3:
            y, n = y * 0.5, n + 1
        return y.square().mean() + n

    return train(nn.Linear(6, 6), None, loss)


@cases(replays=2, calls=12)
def while_loop_on_the_loss() -> Program:
    model = nn.Linear(6, 6)
    optimizer = fb.optim.SGD(model.parameters(), lr=0.1)

    def step(x: fb.Tensor) -> int:
        n = 0
        loss = model(x).square().mean()
        while loss > 0.5 and n < 5:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss, n = model(x).square().mean(), n + 1
        return n

    return program(step, model)


@cases(why="a number in a text must be this call's own")
def item_in_an_f_string() -> Program:
    return program(lambda x: f"{x.sum().item():.3f} and {x.max():.2f}")


@cases(why="a number in str and repr")
def item_in_str() -> Program:
    return program(lambda x: (str(x.sum().item()), repr(x.max().item()), "%.3f" % x.min().item()))  # noqa: UP031


@cases(why="math functions take a float's own bits")
def item_in_math() -> Program:
    return program(lambda x: x * math.sqrt(x.abs().sum().item()) + math.floor(x.sum().item()))


@cases(why="builtins on numbers that were read")
def item_in_builtins() -> Program:
    def step(x: fb.Tensor) -> fb.Tensor:
        a, b = x.sum().item(), x.max().item()
        return x * max(a, b) + min(a, 0.0) + round(b, 1) + abs(a) + sum([a, b]) + divmod(a, 2.0)[1] + pow(b, 2)

    return program(step)


@cases(why="a number that is a key, in a set, compared and hashed")
def item_as_a_key() -> Program:
    def step(x: fb.Tensor) -> fb.Tensor:
        n = int(x.argmax().item())
        return x * {0: 1.5, 1: 2.5}.get(n, 4.0) + (n in {1, 2, 3}) + len({n, 2})

    return program(step)


@cases(why="an index that was read")
def item_as_an_index() -> Program:
    def step(x: fb.Tensor) -> fb.Tensor:
        n = x[0].argmax().item()
        return x[:, n] + [1.0, 2.0, 3.0, 4.0, 5.0, 6.0][n] + x[0, n:].sum()

    return program(step)


@cases(why="a size that was read")
def item_as_a_size() -> Program:
    def step(x: fb.Tensor) -> tuple[fb.Tensor, ...]:
        n = int((x > 0).sum())
        return fb.zeros(n), fb.arange(n), x.reshape(-1)[:n], x.reshape(-1).split([n, 24 - n])[1].sum()

    return program(step)


@cases(why="a loop of as many rounds as a value says")
def item_in_range() -> Program:
    def step(x: fb.Tensor) -> fb.Tensor:
        for _ in range(x[0].argmax().item()):
            x = x * 1.5
        return x

    return program(step)


@cases(why="values as lists")
def tolist() -> Program:
    def step(x: fb.Tensor) -> fb.Tensor:
        a, b, *_ = x[0].tolist()
        return x * a + b if a > b else x - max(x.tolist()[1])

    return program(step)


@cases(why="int(), bool(), float(), complex()")
def conversions() -> Program:
    def step(x: fb.Tensor) -> tuple[fb.Tensor, int, bool, float, complex]:
        s = x.sum()
        return x * int(s * 10) + bool(s > 0) + float(s), int(s), bool(s > 0), float(s), complex(s)

    return program(step)


@cases(why="and, or, not, if in one expression")
def boolean_operators() -> Program:
    return program(lambda x: x if x.sum() > 0 and not x.max() > 2 or x.min() < -2 else -x)


@cases(why="any, all, equal, allclose, is_nonzero decide")
def questions() -> Program:
    def step(x: fb.Tensor) -> fb.Tensor:
        if (x > 2).any() or (x > -1).all():
            return x + 1
        if fb.equal(x[0].sign(), x[1].sign()) or fb.allclose(x[0], x[1], atol=2):
            return x - 1
        return x * 2

    return program(step)


@cases(raises=True, why="an assert on a value")
def assertion() -> Program:
    def step(x: fb.Tensor) -> fb.Tensor:
        assert x.sum() > -3, f"the sum is {x.sum().item()}"
        return x * 2

    return program(step)


@cases(why="a step left out where the loss is not finite")
def skipped_on_nan() -> Program:
    model = nn.Linear(6, 6)
    optimizer = fb.optim.SGD(model.parameters(), lr=0.1)

    def step(x: fb.Tensor) -> fb.Tensor:
        optimizer.zero_grad()
        loss = model(x).square().mean()
        if not fb.isfinite(loss):
            return loss.detach()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return program(step, model, inputs=lambda i: numbers(i, 4, 6) * (math.nan if i % 4 == 3 else 1))


@cases(why="the shape of nonzero's result")
def nonzero() -> Program:
    def loss(m: nn.Module, x: fb.Tensor) -> fb.Tensor:
        return m(x)[(x[:, 0] > 0).nonzero().reshape(-1)].sum()

    return train(nn.Linear(6, 6), None, loss)


@cases(why="the shape of a selection by mask")
def mask() -> Program:
    return train(nn.Linear(6, 6), None, lambda m, x: m(x)[x > 0].square().sum() + m(x).masked_select(x > 0.5).sum())


@cases(why="the shape of unique's results")
def unique() -> Program:
    return program(lambda x: fb.unique((x * 2).round(), return_counts=True, return_inverse=True))


@cases(why="the length of bincount, one_hot and repeat_interleave")
def lengths_by_values() -> Program:
    def step(i: fb.Tensor) -> tuple[fb.Tensor, ...]:
        return fb.bincount(i), nn.functional.one_hot(i), i.repeat_interleave(i)

    return program(step, inputs=lambda n: fb.tensor([1, 0, n % 3 + 1, 2]))


@cases(why="a one-element mask that is sometimes empty")
def sometimes_empty() -> Program:
    def step(x: fb.Tensor) -> fb.Tensor:
        picked = x[x > 1.8]
        return picked.mean() if picked.numel() else x.mean()

    return program(step)


@cases(why="values leave as numpy and come back")
def through_numpy() -> Program:
    def step(x: fb.Tensor) -> fb.Tensor:
        y = (x * 2).numpy()
        return fb.from_numpy(np.sort(y, axis=1)) + fb.tensor(y.mean())

    return program(step)


@cases(why="a gradient as numpy")
def gradient_as_numpy() -> Program:
    model = nn.Linear(6, 6)

    def step(x: fb.Tensor) -> float:
        model.zero_grad()
        model(x).sum().backward()
        return float(np.abs(model.weight.grad.numpy()).max())

    return program(step, model)


@cases(why="the read follows a write in place")
def read_after_a_write() -> Program:
    state = fb.zeros(4, 6)

    def step(x: fb.Tensor) -> tuple[float, float]:
        before = state[0, 0].item()
        state.add_(x)
        return before, state[0, 0].item()

    return program(step, state)


@cases(why="a branch before writes, one after, both of state")
def branches_between_writes() -> Program:
    state = fb.zeros(4, 6)

    def step(x: fb.Tensor) -> fb.Tensor:
        state.add_(x)
        if state.sum() > 0:
            state.mul_(0.5)
        state.sub_(1)
        if state.min() < -2:
            state.zero_()
        return state.clone()

    return program(step, state)


@cases(why="draws on both sides of a branch", calls=12)
def branch_with_random_numbers() -> Program:
    def step(x: fb.Tensor) -> fb.Tensor:
        y = x + fb.rand(4, 6)
        return y * fb.randn(4, 6) if y.sum() > 12 else y + fb.rand(1) + fb.rand(1)

    return program(step)


@cases(why="many branches: each call is another path", calls=10)
def a_path_of_its_own_for_each_call() -> Program:
    def step(x: fb.Tensor) -> fb.Tensor:
        for v in x.reshape(-1)[:8]:
            x = x + 1 if v > 0 else x * 2
        return x

    return program(step)


@cases(why="a dynamic loss scale, as in mixed precision", inputs=small)
def loss_scale() -> Program:
    model = nn.Linear(6, 6)
    optimizer = fb.optim.SGD(model.parameters(), lr=0.1)
    scaler = fb.amp.GradScaler("cpu", init_scale=64.0, growth_interval=2)

    def step(x: fb.Tensor) -> fb.Tensor:
        optimizer.zero_grad()
        loss = model(x).square().mean()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss.detach()

    return program(step, model, lambda: scaler.state_dict())


@pytest.mark.parametrize("case", cases, ids=lambda case: case.name)
def test_equal_to_eager(case: Case) -> None:
    case.check()
