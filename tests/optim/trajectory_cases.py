"""Fifty steps of the optimizers and of the learning rate schedules, in the torch API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.optim.option_cases import parameter
from tests.recorded import Case

CASES: dict[str, Case] = {}
STEPS = 50


def _trajectory(
    make: Callable[[Any, list[Any]], Any], schedule: Callable[[Any, Any], Any] | None = None, by_loss: bool = False
) -> Case:
    """The parameters after the steps, and every learning rate on the way."""

    def fn(T: Any) -> Any:
        weight, bias = parameter(T, 3, 4), parameter(T, 4)
        x = (T.arange(18.0, dtype=T.float64).reshape(6, 3) * 0.3).cos()
        optimizer = make(T, [weight, bias])
        scheduler = schedule(T, optimizer) if schedule else None
        rates = []
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss = (x @ weight + bias).tanh().square().sum() + 0.1 * (bias * bias).sum()
            loss.backward()
            optimizer.step()
            if scheduler is not None:
                scheduler.step(*([loss.item()] if by_loss else []))
                rates.append([float(g["lr"]) for g in optimizer.param_groups])
        return [weight, bias, rates]

    return fn


_OPTIONS: dict[str, list[dict[str, Any]]] = {
    "SGD": [
        {}, {"momentum": 0.9}, {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1},
        {"momentum": 0.9, "nesterov": True}, {"maximize": True}, {"foreach": True}, {"fused": True},
    ],
    "Adam": [
        {}, {"amsgrad": True}, {"maximize": True, "weight_decay": 0.1}, {"betas": (0.5, 0.9), "eps": 1e-3},
        {"foreach": True}, {"fused": True}, {"decoupled_weight_decay": True, "weight_decay": 0.1},
    ],
    "AdamW": [{}, {"amsgrad": True, "weight_decay": 0.3}, {"maximize": True}, {"fused": True}],
    "RMSprop": [{}, {"momentum": 0.9}, {"centered": True, "momentum": 0.5, "weight_decay": 0.1}, {"maximize": True}],
    "RAdam": [{}, {"decoupled_weight_decay": True, "weight_decay": 0.1}],
    "Adamax": [{}],
    "Adagrad": [{}, {"lr_decay": 0.1, "initial_accumulator_value": 0.3}],
    "Adadelta": [{}],
    "Rprop": [{}],
}  # fmt: skip
for _name, _all in _OPTIONS.items():
    for _chosen in _all:
        CASES[f"{_name} {_chosen}"] = _trajectory(
            lambda T, ps, n=_name, o=_chosen: getattr(T.optim, n)(ps, lr=0.01, **o)  # type: ignore[misc]
        )

_SCHEDULES: dict[str, dict[str, Any]] = {
    "StepLR": {"step_size": 7, "gamma": 0.5},
    "MultiStepLR": {"milestones": [5, 20, 20], "gamma": 0.3},
    "ExponentialLR": {"gamma": 0.9},
    "CosineAnnealingLR": {"T_max": 17, "eta_min": 1e-4},
    "LambdaLR": {"lr_lambda": lambda epoch: 0.95**epoch},
    "MultiplicativeLR": {"lr_lambda": lambda epoch: 0.97},
    "ConstantLR": {"factor": 0.3, "total_iters": 5},
    "LinearLR": {"start_factor": 0.1, "total_iters": 9},
    "PolynomialLR": {"total_iters": 20, "power": 2.0},
    "CosineAnnealingWarmRestarts": {"T_0": 6, "T_mult": 2},
    "CyclicLR": {
        "base_lr": 0.001, "max_lr": 0.02, "step_size_up": 6, "mode": "triangular2", "cycle_momentum": False,
    },
    "OneCycleLR": {"max_lr": 0.05, "total_steps": 60},
}  # fmt: skip


def _two_rates(T: Any, parameters: list[Any]) -> Any:
    return T.optim.Adam([{"params": [parameters[0]]}, {"params": [parameters[1]], "lr": 0.03}], lr=0.01)


def _descent(T: Any, parameters: list[Any]) -> Any:
    return T.optim.SGD(parameters, lr=0.1)


for _name, _chosen in _SCHEDULES.items():
    CASES[_name] = _trajectory(
        _two_rates,
        lambda T, o, n=_name, k=_chosen: getattr(T.optim.lr_scheduler, n)(o, **k),  # type: ignore[misc]
    )
CASES["ReduceLROnPlateau"] = _trajectory(
    _descent,
    lambda T, o: T.optim.lr_scheduler.ReduceLROnPlateau(o, patience=1, threshold=0.1, cooldown=1),
    by_loss=True,
)
CASES["SequentialLR"] = _trajectory(
    _descent,
    lambda T, o: T.optim.lr_scheduler.SequentialLR(
        o, [T.optim.lr_scheduler.ConstantLR(o, 0.1, 5), T.optim.lr_scheduler.ExponentialLR(o, 0.9)], milestones=[5]
    ),
)
CASES["ChainedScheduler"] = _trajectory(
    _descent,
    lambda T, o: T.optim.lr_scheduler.ChainedScheduler(
        [T.optim.lr_scheduler.ConstantLR(o, 0.1, 5), T.optim.lr_scheduler.ExponentialLR(o, 0.9)]
    ),
)
