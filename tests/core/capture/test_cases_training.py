"""Steps of training as they are written: forward, backward, optimizer, and what people put between."""

from __future__ import annotations

import copy

import pytest

import flambeau as fb
from flambeau import nn, optim
from tests.core.capture.harness import Case, Cases, Program, numbers, train

cases = Cases()


def linear(*between: nn.Module) -> nn.Sequential:
    """6 to 6 features, with other layers between two linear ones."""
    return nn.Sequential(nn.Linear(6, 6), *between, *([nn.Linear(6, 6)] if between else []))


@cases(replays=4)
def momentum() -> Program:
    model = linear()
    return train(model, optim.SGD(model.parameters(), lr=0.1, momentum=0.9))


@cases(replays=4)
def zero_grad_to_zeros() -> Program:
    model = linear()
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def step(x: fb.Tensor) -> fb.Tensor:
        optimizer.zero_grad(set_to_none=False)
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return Program(step, (model, optimizer))


@cases(replays=4)
def zero_grad_at_the_end() -> Program:
    model = linear()
    optimizer = optim.Adam(model.parameters())

    def step(x: fb.Tensor) -> float:
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return Program(step, (model, optimizer))


@cases(replays=4)
def gradients_accumulate_over_calls() -> Program:
    model = linear()
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def step(x: fb.Tensor) -> fb.Tensor:
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return Program(step, (model, optimizer))


@cases(replays=3, calls=10, why="the gradient is None in each third call only, which is another kind of call")
def gradients_dropped_each_third_call() -> Program:
    model = linear()

    def step(x: fb.Tensor) -> fb.Tensor:
        loss = model(x).square().mean()
        loss.backward()
        return loss.detach()

    return Program(step, (model,), before=lambda i: model.zero_grad() if i % 3 == 0 else None)


@cases(why="a step each second call by a Python counter")
def accumulation_by_a_counter() -> Program:
    model = linear()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    count = [0]

    def step(x: fb.Tensor) -> fb.Tensor:
        loss = model(x).square().mean()
        loss.backward()
        count[0] += 1
        if count[0] % 2 == 0:
            optimizer.step()
            optimizer.zero_grad()
        return loss.detach()

    return Program(step, (model, optimizer, count))


@cases(replays=4)
def micro_batches() -> Program:
    model = linear()
    optimizer = optim.Adam(model.parameters())

    def step(x: fb.Tensor) -> list[fb.Tensor]:
        optimizer.zero_grad()
        losses = []
        for part in x.chunk(2):
            loss = model(part).square().mean() / 2
            loss.backward()
            losses.append(loss.detach())
        optimizer.step()
        return losses

    return Program(step, (model, optimizer))


@cases(replays=4)
def gradients_clipped_by_norm() -> Program:
    model = linear()
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def step(x: fb.Tensor) -> tuple[fb.Tensor, fb.Tensor]:
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
        return loss.detach(), norm

    return Program(step, (model, optimizer))


@cases(replays=4)
def gradients_clipped_by_value() -> Program:
    model = linear()
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def step(x: fb.Tensor) -> None:
        optimizer.zero_grad()
        model(x).square().mean().backward()
        nn.utils.clip_grad_value_(model.parameters(), 0.01)
        optimizer.step()

    return Program(step, (model, optimizer))


@cases(why="it is set to another tensor between calls")
def grad_set_by_hand_between() -> Program:
    model = linear()

    def before(i: int) -> None:
        model[0].weight.grad = numbers(i, 6, 6)

    def step(x: fb.Tensor) -> fb.Tensor:
        loss = model(x).sum()
        loss.backward()
        return loss.detach()

    return Program(step, (model,), before=before)


@cases(replays=4)
def grad_set_by_hand_inside() -> Program:
    model = linear()
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def step(x: fb.Tensor) -> None:
        with fb.no_grad():
            model[0].weight.grad = x.t() @ x
            model[0].bias.grad = x.sum(0)
        optimizer.step()

    return Program(step, (model, optimizer))


@cases(why="the weight's memory is another one before each call")
def data_replaced_between() -> Program:
    model = linear()

    def before(i: int) -> None:
        model[0].weight.data = numbers(i, 6, 6)

    return train(model, before=before)


@cases(why="the weight's memory is another one at the end of each call")
def data_replaced_inside() -> Program:
    model = linear()

    def then() -> None:
        model[0].bias.data = model[0].bias.data * 1

    return train(model, then=then)


@cases(replays=4)
def written_under_no_grad_between() -> Program:
    model = linear()

    def before(i: int) -> None:
        with fb.no_grad():
            model[0].weight.mul_(0.5)
            model[0].bias.fill_(i)

    return train(model, before=before)


@cases(replays=2, calls=12, why="frozen from the fifth call on, which is another kind of call")
def frozen_between() -> Program:
    model = linear(nn.Tanh())

    def before(i: int) -> None:
        model[0].weight.requires_grad_(i < 5)

    return train(model, optim.SGD(model.parameters(), lr=0.1, momentum=0.9), before=before)


@cases(why="a layer is replaced before the sixth call")
def layer_replaced_between() -> Program:
    model = linear(nn.Tanh())

    def before(i: int) -> None:
        if i == 5:
            model[1] = nn.Sigmoid()

    return train(model, before=before)


@cases(why="a parameter is replaced before the sixth call")
def parameter_replaced_between() -> Program:
    model = linear(nn.Tanh())

    def before(i: int) -> None:
        if i == 5:
            model[0].weight = nn.Parameter(numbers(7, 6, 6))

    return train(model, before=before)


@cases(replays=4)
def model_loaded_between() -> Program:
    model = linear()
    state = copy.deepcopy(model.state_dict())

    def before(i: int) -> None:
        if i % 2:
            model.load_state_dict(state)

    return train(model, before=before)


@cases(why="load_state_dict(assign=True) replaces the parameters")
def model_loaded_by_assignment_between() -> Program:
    model = linear()
    state = copy.deepcopy(model.state_dict())

    def before(i: int) -> None:
        if i == 5:
            model.load_state_dict(copy.deepcopy(state), assign=True)

    return train(model, before=before)


@cases(why="load_state_dict of an optimizer replaces its state")
def optimizer_loaded_between() -> Program:
    model = linear()
    optimizer = optim.Adam(model.parameters())
    saved: list[dict[str, object]] = []

    def before(i: int) -> None:
        if i == 2:
            saved.append(copy.deepcopy(optimizer.state_dict()))
        if i == 5:
            optimizer.load_state_dict(saved[0])

    return train(model, optimizer, before=before)


@cases(why="one more parameter group from the fifth call on")
def group_added_between() -> Program:
    model, late = linear(), nn.Linear(6, 6)
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def before(i: int) -> None:
        if i == 4:
            optimizer.add_param_group({"params": late.parameters(), "lr": 0.01})

    return train(model, optimizer, lambda m, x: late(m(x)).square().mean(), late, before=before)


@cases(replays=4)
def rate_set_by_hand() -> Program:
    model = linear()
    optimizer = optim.Adam(model.parameters())

    def before(i: int) -> None:
        optimizer.param_groups[0]["lr"] = 0.1 / (i + 1)

    return train(model, optimizer, before=before)


@cases(why="options other than the rate may be guards")
def momentum_set_by_hand() -> Program:
    model = linear()
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def before(i: int) -> None:
        optimizer.param_groups[0]["momentum"] = 0.9 - 0.1 * (i // 4)
        optimizer.param_groups[0]["weight_decay"] = 0.1 * (i // 5)

    return train(model, optimizer, before=before)


@cases(why="betas of each group, set by hand")
def betas_set_by_hand() -> Program:
    model = linear()
    optimizer = optim.AdamW([{"params": [p]} for p in model.parameters()])

    def before(i: int) -> None:
        optimizer.param_groups[1]["betas"] = (0.9 - 0.1 * (i // 4), 0.99)

    return train(model, optimizer, before=before)


@cases(replays=4)
def two_optimizers() -> Program:
    a, b = linear(), linear()
    first, second = optim.Adam(a.parameters()), optim.SGD(b.parameters(), lr=0.1)

    def step(x: fb.Tensor) -> tuple[fb.Tensor, fb.Tensor]:
        first.zero_grad()
        one = b(a(x)).square().mean()
        one.backward()
        first.step()
        second.zero_grad()
        two = (b(a(x).detach()) - 1).square().mean()
        two.backward()
        second.step()
        return one.detach(), two.detach()

    return Program(step, (a, b, first, second))


@cases(replays=4)
def exponential_moving_average_of_weights() -> Program:
    model = linear()
    average = copy.deepcopy(model).requires_grad_(False)

    def then() -> None:
        with fb.no_grad():
            for p, q in zip(average.parameters(), model.parameters(), strict=True):
                p.lerp_(q, 0.1)

    return train(model, None, lambda m, x: m(x).square().mean(), average, then=then)


@cases(why="AveragedModel counts in a buffer and asks it in Python")
def averaged_model() -> Program:
    model = linear()
    average = optim.swa_utils.AveragedModel(model)
    then = lambda: average.update_parameters(model)  # noqa: E731
    return train(model, None, lambda m, x: m(x).square().mean(), average, then=then)


@cases(replays=4)
def several_ops_of_sorting() -> Program:
    def loss(m: nn.Module, x: fb.Tensor) -> fb.Tensor:
        y = m(x)
        picked = y.sort(1).values[:, 3].sum() + y.topk(3).values.sum()
        return fb.cdist(y, y).sum() * 1e-3 + picked + fb.zeros(4, 6).scatter_add(1, y.argsort(1), y).square().sum()

    return train(linear(), None, loss)


@cases(replays=4)
def linear_algebra() -> Program:
    def loss(m: nn.Module, x: fb.Tensor) -> fb.Tensor:
        w = m[0].weight
        return fb.linalg.inv(w.T @ w + fb.eye(6)).sum() + fb.linalg.svdvals(m(x)).sum()

    return train(linear(), None, loss)


@cases(replays=4)
def gradient_penalty() -> Program:
    def loss(m: nn.Module, x: fb.Tensor) -> fb.Tensor:
        x = x.clone().requires_grad_()
        (g,) = fb.autograd.grad(m(x).tanh().sum(), x, create_graph=True)
        return (g.norm(2, dim=1) - 1).square().mean()

    return train(linear(nn.Tanh()), None, loss)


@pytest.mark.parametrize("case", cases, ids=lambda case: case.name)
def test_equal_to_eager(case: Case) -> None:
    case.check()
