"""All optimizers and schedulers in and around a step."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

import flambeau as fb
from flambeau import nn, optim
from flambeau.optim import lr_scheduler as schedules
from tests.core.capture.harness import Case, Cases, Program, numbers, train

cases = Cases()

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "ASGD": {},
    "Adadelta": {},
    "Adafactor": {},
    "Adagrad": {"lr_decay": 0.1},
    "Adam": {},
    "AdamW": {"amsgrad": True},
    "Adamax": {},
    "Muon": {},
    "NAdam": {},
    "RAdam": {},
    "RMSprop": {"momentum": 0.9, "centered": True},
    "Rprop": {},
    "SGD": {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
}


def with_optimizer(name: str, options: dict[str, Any]) -> Program:
    model = nn.Sequential(nn.Linear(6, 6, bias=name != "Muon"), nn.Tanh(), nn.Linear(6, 2, bias=name != "Muon"))
    return train(model, getattr(optim, name)(model.parameters(), lr=0.01, **options))


for name, options in OPTIMIZERS.items():
    cases.add(name, partial(with_optimizer, name, options), replays=4)


@cases(replays=4)
def maximize_and_foreach() -> Program:
    model = nn.Linear(6, 6)
    return train(model, optim.Adam(model.parameters(), lr=0.01, maximize=True, foreach=False, weight_decay=0.1))


@cases(why="an optimizer that reads the loss to decide how to go on")
def LBFGS() -> Program:
    model = nn.Linear(6, 2)
    optimizer = optim.LBFGS(model.parameters(), lr=0.1, max_iter=3)

    def step(x: fb.Tensor) -> fb.Tensor:
        def closure() -> fb.Tensor:
            optimizer.zero_grad()
            loss = model(x).square().mean()
            loss.backward()
            return loss

        return optimizer.step(closure).detach()

    return Program(step, (model, optimizer))


@cases(why="sparse gradients")
def SparseAdam() -> Program:
    table = nn.Embedding(9, 4, sparse=True)
    optimizer = optim.SparseAdam(table.parameters(), lr=0.1)
    return train(table, optimizer, lambda m, i: m(i).square().sum(), inputs=lambda i: fb.tensor([i, 2, i, 8]))


@cases(replays=4)
def step_with_a_closure() -> Program:
    model = nn.Linear(6, 6)
    optimizer = optim.Adagrad(model.parameters(), lr=0.1)

    def step(x: fb.Tensor) -> fb.Tensor:
        def closure() -> fb.Tensor:
            optimizer.zero_grad()
            loss = model(x).square().mean()
            loss.backward()
            return loss

        return optimizer.step(closure).detach()

    return Program(step, (model, optimizer))


@cases(replays=4)
def rate_is_a_tensor() -> Program:
    model, rate = nn.Linear(6, 6), fb.tensor(0.1)
    optimizer = optim.Adam(model.parameters(), lr=rate, foreach=False)
    return train(model, optimizer, before=lambda i: rate.fill_(0.1 / (i + 1)))


@cases(replays=4)
def capturable() -> Program:
    model = nn.Linear(6, 6)
    return train(model, optim.Adam(model.parameters(), capturable=True))


@cases(replays=4)
def groups_of_parameters_with_options_of_their_own() -> Program:
    model = nn.Linear(6, 6)
    groups = [{"params": [model.weight], "lr": 0.1}, {"params": [model.bias], "momentum": 0.5}]
    optimizer = optim.SGD(groups, lr=0.01, weight_decay=0.1)

    def before(i: int) -> None:
        optimizer.param_groups[i % 2]["lr"] *= 0.9

    return train(model, optimizer, before=before)


def clear(optimizer: optim.Optimizer, args: Any, kwargs: Any) -> None:
    optimizer.param_groups[0]["params"][1].grad.zero_()


@cases(why="a hook may be any Python")
def hooks_of_the_optimizer() -> Program:
    model, seen = nn.Linear(6, 6), []
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    optimizer.register_step_pre_hook(clear)
    optimizer.register_step_post_hook(lambda o, a, k: seen.append(len(seen)))
    return train(model, optimizer, lambda m, x: m(x).square().mean(), seen)


@cases(why="a hook is there in some calls")
def hook_of_the_optimizer_removed() -> Program:
    model, handles = nn.Linear(6, 6), []
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def before(i: int) -> None:
        if i == 0:
            handles.append(optimizer.register_step_pre_hook(clear))
        if i == 5:
            handles[0].remove()

    return train(model, optimizer, before=before)


Schedule = Callable[[optim.Optimizer], Any]
SCHEDULES: dict[str, Schedule] = {
    "ChainedScheduler": lambda o: schedules.ChainedScheduler(
        [schedules.ConstantLR(o, 0.5, total_iters=3), schedules.ExponentialLR(o, 0.9)], optimizer=o
    ),
    "ConstantLR": lambda o: schedules.ConstantLR(o, 0.5, total_iters=4),
    "CosineAnnealingLR": lambda o: schedules.CosineAnnealingLR(o, 6),
    "CosineAnnealingWarmRestarts": lambda o: schedules.CosineAnnealingWarmRestarts(o, 3),
    "CyclicLR": lambda o: schedules.CyclicLR(o, 0.01, 0.1, step_size_up=2),
    "ExponentialLR": lambda o: schedules.ExponentialLR(o, 0.9),
    "LambdaLR": lambda o: schedules.LambdaLR(o, lambda epoch: 1 / (1 + epoch)),
    "LinearLR": lambda o: schedules.LinearLR(o, 0.1, total_iters=5),
    "MultiStepLR": lambda o: schedules.MultiStepLR(o, [2, 5]),
    "MultiplicativeLR": lambda o: schedules.MultiplicativeLR(o, lambda epoch: 0.95),
    "OneCycleLR": lambda o: schedules.OneCycleLR(o, 0.1, total_steps=20),
    "PolynomialLR": lambda o: schedules.PolynomialLR(o, 6),
    "SequentialLR": lambda o: schedules.SequentialLR(
        o, [schedules.ConstantLR(o, 0.5, total_iters=3), schedules.ExponentialLR(o, 0.9)], milestones=[4]
    ),
    "StepLR": lambda o: schedules.StepLR(o, 2),
}


def scheduled(make: Schedule, inside: bool) -> Program:
    model = nn.Linear(6, 6)
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    schedule = make(optimizer)
    loss = lambda m, x: m(x).square().mean()  # noqa: E731
    if inside:
        return train(model, optimizer, loss, schedule, then=schedule.step)
    return train(model, optimizer, loss, schedule, after=lambda i, result, args: schedule.step())


for name, schedule in SCHEDULES.items():
    cases.add(f"{name}_outside", partial(scheduled, schedule, False), replays=4)
    cases.add(f"{name}_inside", partial(scheduled, schedule, True), replays=4)


@cases(replays=4)
def ReduceLROnPlateau_outside() -> Program:
    model = nn.Linear(6, 6)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    schedule = schedules.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
    return train(
        model, optimizer, lambda m, x: m(x).square().mean(), schedule, after=lambda i, loss, args: schedule.step(loss)
    )


@cases(why="it reads the loss")
def ReduceLROnPlateau_inside() -> Program:
    model = nn.Linear(6, 6)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    schedule = schedules.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)

    def step(x: fb.Tensor) -> fb.Tensor:
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        schedule.step(loss.detach())
        return loss.detach()

    return Program(step, (model, optimizer, schedule), inputs=lambda i: numbers(i, 4, 6) * (1 + i % 3))


@pytest.mark.parametrize("case", cases, ids=lambda case: case.name)
def test_equal_to_eager(case: Case) -> None:
    case.check()
