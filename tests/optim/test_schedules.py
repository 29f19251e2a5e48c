"""Schedules: resuming, momentum, tensors as rates, the order of calls, errors."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

import flambeau as fb
from flambeau import nn, optim
from flambeau.optim import lr_scheduler as schedules
from tests.errors import check_error
from tests.optim.rule_cases import SCHEDULES


def optimizer(**options: Any) -> optim.SGD:
    ps = [nn.Parameter(fb.zeros(1)) for _ in range(2)]
    return optim.SGD([{"params": ps[:1]}, {"params": ps[1:], "lr": 0.2}], lr=0.5, momentum=0.9, **options)


def rates(schedule: Any, steps: int) -> list[Any]:
    found = []
    for _ in range(steps):
        schedule.optimizer.step()
        schedule.step()
        found.append((schedule.get_last_lr(), [g["momentum"] for g in schedule.optimizer.param_groups]))
    return found


@pytest.mark.parametrize("name", SCHEDULES)
def test_going_on_from_saved_state(name: str) -> None:
    make = SCHEDULES[name]
    whole = rates(make(schedules, optimizer()), 10)
    first = make(schedules, optimizer())
    rates(first, 4)
    second = make(schedules, optimizer())
    second.load_state_dict(first.state_dict())
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    assert rates(second, 6) == whole[4:]


def test_plateau_goes_on_from_saved_state() -> None:
    first = schedules.ReduceLROnPlateau(optimizer(), patience=1)
    for value in (1.0, 1.0, 1.0):
        first.step(value)
    assert first.get_last_lr() == pytest.approx([0.05, 0.02])
    second = schedules.ReduceLROnPlateau(optimizer(), patience=1)
    second.load_state_dict(first.state_dict())
    assert (second.best, second.num_bad_epochs) == (1.0, 0)


def test_groups_that_are_added_take_the_one_least_rate() -> None:
    added = {"params": [nn.Parameter(fb.zeros(1))], "lr": 1.0}
    schedule = schedules.ReduceLROnPlateau(optimizer(), patience=0, min_lr=0.3)
    schedule.optimizer.add_param_group(dict(added))
    for value in (1.0, 1.0, 1.0):
        schedule.step(value)
    assert schedule.get_last_lr() == [0.3, 0.2, 0.3]
    schedule = schedules.ReduceLROnPlateau(optimizer(), patience=0, min_lr=[0.3, 0.2])
    schedule.optimizer.add_param_group(dict(added))
    schedule.step(1.0)
    check_error(lambda: schedule.step(1.0), RuntimeError, ["ReduceLROnPlateau", "min_lr", "2", "3"])


def test_a_sequence_comes_to_schedules_of_schedules() -> None:
    """Where PyTorch has no answer: the inner ones begin as if made then."""
    made = optim.SGD([nn.Parameter(fb.zeros(1))], lr=1.0)
    inner = schedules.SequentialLR(made, [schedules.ConstantLR(made, 0.5, 9), schedules.StepLR(made, 1, 0.5)], [2])
    chain = schedules.ChainedScheduler([schedules.ConstantLR(made, 0.25, 2), schedules.ExponentialLR(made, 0.5)])
    whole = schedules.SequentialLR(made, [schedules.ConstantLR(made, 0.1, 9), inner, chain], [2, 6])
    found = [made.param_groups[0]["lr"]]
    for _ in range(9):
        made.step()
        whole.step()
        found.append(made.param_groups[0]["lr"])
    assert found == [0.1, 0.1, 0.5, 0.5, 1.0, 0.5, 0.25, 0.125, 0.25, 0.125]


def test_objects_as_functions_keep_their_state() -> None:
    class Half:
        def __init__(self) -> None:
            self.calls = 0

        def __call__(self, epoch: int) -> float:
            self.calls += 1
            return 0.5**epoch

    a = schedules.LambdaLR(optimizer(), [Half(), lambda e: 1.0])
    rates(a, 3)
    b = schedules.LambdaLR(optimizer(), [Half(), lambda e: 1.0])
    b.load_state_dict(a.state_dict())
    assert b.lr_lambdas[0].calls == 4  # type: ignore[attr-defined]


def test_rates_that_are_tensors_are_written_to() -> None:
    rate = fb.tensor(0.5)
    made = optim.SGD([nn.Parameter(fb.zeros(1))], lr=rate)
    schedule = schedules.ExponentialLR(made, 0.5)
    made.step()
    schedule.step()
    assert made.param_groups[0]["lr"] is rate
    assert rate.item() == 0.25


def test_the_wrong_order_warns() -> None:
    schedule = schedules.StepLR(optimizer(), 1)
    with pytest.warns(UserWarning, match=r"before `optimizer.step\(\)`"):
        schedule.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rates(schedules.StepLR(optimizer(), 1), 3)


def test_a_step_to_an_epoch() -> None:
    made = optimizer()
    schedule = schedules.StepLR(made, 2, 0.1)
    made.step()
    schedule.step(5)
    assert schedule.get_last_lr() == pytest.approx([0.5 * 0.01, 0.2 * 0.01])
    warm = schedules.CosineAnnealingWarmRestarts(optimizer(), 4, 2)
    made.step()
    warm.step(4.0)
    assert warm.get_last_lr() == pytest.approx([0.5, 0.2])
    with pytest.raises(ValueError, match="non-negative"):
        warm.step(-1)


def test_momentum_of_adam() -> None:
    made = optim.Adam([nn.Parameter(fb.zeros(1))], betas=(0.9, 0.99))
    schedules.OneCycleLR(made, 0.1, 10)
    assert made.param_groups[0]["betas"] == (0.95, 0.99)


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        (lambda o: schedules.StepLR(3, 1), TypeError, ["StepLR", "int", "Optimizer"]),
        (lambda o: schedules.StepLR(o, 1, last_epoch=3), KeyError, ["initial_lr", "last_epoch"]),
        (lambda o: schedules.LambdaLR(o, [lambda e: 1.0]), ValueError, ["lr_lambda", "2", "1"]),
        (lambda o: schedules.ConstantLR(o, 2.0), ValueError, ["ConstantLR", "2.0"]),
        (lambda o: schedules.LinearLR(o, 0.0), ValueError, ["LinearLR", "0.0"]),
        (lambda o: schedules.CosineAnnealingWarmRestarts(o, 0), ValueError, ["T_0", "0"]),
        (lambda o: schedules.CyclicLR(o, 0.1, 0.2, mode="square"), ValueError, ["CyclicLR", "'square'"]),
        (lambda o: schedules.CyclicLR(optim.Adagrad([nn.Parameter(fb.zeros(1))]), 0.1, 0.2), ValueError, ["momentum"]),
        (lambda o: schedules.OneCycleLR(o, 0.1), ValueError, ["total_steps"]),
        (lambda o: schedules.OneCycleLR(o, 0.1, 5, anneal_strategy="exp"), ValueError, ["'exp'"]),
        (lambda o: rates(schedules.OneCycleLR(o, 0.1, 3), 4), ValueError, ["tried to step 4 times", "3"]),
        (lambda o: schedules.ReduceLROnPlateau(o, factor=1.0), ValueError, ["factor", "1.0"]),
        (lambda o: schedules.ReduceLROnPlateau(o, "least"), ValueError, ["'least'"]),
        (lambda o: schedules.SequentialLR(o, [schedules.StepLR(o, 1)], [2]), ValueError, ["0 milestones", "got 1"]),
        (lambda o: schedules.ChainedScheduler([schedules.StepLR(optimizer(), 1)], o), ValueError,
         ["another optimizer"]),
        (lambda o: schedules.LRScheduler(o), NotImplementedError, ["get_lr"]),
    ],
)  # fmt: skip
def test_errors_say_what_is_wrong(wrong: Any, error: type[Exception], words: list[str]) -> None:
    check_error(lambda: wrong(optimizer()), error, words)


# -- averaged models -----------------------------------------------------------------------------------
def test_averages_are_saved_with_the_model() -> None:
    model = nn.Linear(2, 1)
    average = optim.swa_utils.AveragedModel(model)
    average.update_parameters(model)
    assert list(average.state_dict()) == ["n_averaged", "module.weight", "module.bias"]
    assert int(average.n_averaged) == 1


def test_batch_norms_are_computed_anew() -> None:
    fb.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm1d(2))
    data = [(fb.randn(8, 2) * 3 + 1, None) for _ in range(4)]
    model.eval()
    optim.swa_utils.update_bn(data, model)
    assert not model.training
    whole = fb.cat([x for x, _ in data])
    assert model[0].running_mean.tolist() == pytest.approx(whole.mean(0).tolist(), rel=1e-4)
    assert model[0].momentum == 0.1
