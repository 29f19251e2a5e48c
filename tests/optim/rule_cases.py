"""Cases of optimizers and learning rate schedules, in the torch API."""

from __future__ import annotations

import warnings
from typing import Any

from tests.recorded import Case, OnInputs, on_inputs

CASES: dict[str, Case] = {}
case = on_inputs(CASES)
#: PyTorch keeps these optimizers' factors in float32.
FLOAT32 = ("NAdam", "ASGD")


def _training(name: str, options: dict[str, Any], steps: int = 7) -> OnInputs:
    """Some steps on a loss that is not convex; the parameters and the state at the end."""

    def fn(T: Any, a: Any) -> Any:
        ps = [a.x(3, 4), a.x(4)]
        a.leaves.clear()
        x = a.x(6, 3, grad=False)
        optimizer = getattr(T.optim, name)([{"params": [ps[0]]}, {"params": [ps[1]], "lr": 0.03}], lr=0.1, **options)
        for _ in range(steps):
            optimizer.zero_grad()
            ((x @ ps[0] + ps[1]).tanh().square().sum() + 0.1 * (ps[1] * ps[1]).sum()).backward()
            optimizer.step()
        state = optimizer.state_dict()["state"]
        if name in FLOAT32:
            state = {k: {what: v.double() for what, v in of.items()} for k, of in state.items()}
        return [p.detach() for p in ps], state

    return fn


_OPTIONS: dict[str, list[dict[str, Any]]] = {
    "SGD": [{}, {"momentum": 0.9}, {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1},
            {"momentum": 0.8, "nesterov": True}, {"maximize": True, "weight_decay": 0.2}],
    "Adam": [{}, {"betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1}, {"amsgrad": True}, {"maximize": True}],
    "AdamW": [{}, {"weight_decay": 0.3, "amsgrad": True}],
    "NAdam": [{}, {"weight_decay": 0.1, "momentum_decay": 0.01}, {"weight_decay": 0.1, "decoupled_weight_decay": True}],
    "RAdam": [{}, {"weight_decay": 0.1}, {"weight_decay": 0.1, "decoupled_weight_decay": True}],
    "Adamax": [{}, {"weight_decay": 0.1}],
    "RMSprop": [{}, {"momentum": 0.9, "centered": True, "weight_decay": 0.1}],
    "Adagrad": [{}, {"lr_decay": 0.1, "initial_accumulator_value": 0.2, "weight_decay": 0.1}],
    "Adadelta": [{}, {"rho": 0.7, "weight_decay": 0.1}],
    "Rprop": [{}, {"etas": (0.3, 1.5), "step_sizes": (0.01, 0.2)}],
    "Adafactor": [{}, {"beta2_decay": -0.5, "eps": (1e-3, 0.1), "weight_decay": 0.1}, {"d": 2.0, "maximize": True},
                  {"foreach": True}],
    "ASGD": [{}, {"t0": 3, "lambd": 0.01, "weight_decay": 0.1}],
}  # fmt: skip
for _name, _all in _OPTIONS.items():
    for _chosen in _all:
        case(f"{_name} {_chosen}", _training(_name, _chosen))
case("RAdam long", _training("RAdam", {"betas": (0.9, 0.7)}, 12))


def _lbfgs(search: str | None) -> OnInputs:
    def fn(T: Any, a: Any) -> Any:
        p = a.x(2)
        a.leaves.clear()
        optimizer = T.optim.LBFGS([p], lr=0.5 if search is None else 1.0, max_iter=8, line_search_fn=search)

        def closure() -> Any:
            optimizer.zero_grad()
            loss = (1 - p[0]) ** 2 + 5 * (p[1] - p[0] ** 2) ** 2
            loss.backward()
            return loss

        losses = [optimizer.step(closure).detach() for _ in range(3)]
        return p.detach(), losses

    return fn


case("LBFGS", _lbfgs(None))
case("LBFGS strong_wolfe", _lbfgs("strong_wolfe"))


# -- schedules -----------------------------------------------------------------------------------------
def _schedule(make: Any, steps: int = 14, optimizer: str = "SGD", measure: Any = None) -> OnInputs:
    """The rates (and momenta) of a schedule's steps."""

    def fn(T: Any, a: Any) -> Any:
        ps = [a.x(2), a.x(2)]
        a.leaves.clear()
        options = {"momentum": 0.9} if optimizer == "SGD" else {}
        chosen = getattr(T.optim, optimizer)([{"params": ps[:1]}, {"params": ps[1:], "lr": 0.2}], lr=0.5, **options)
        rows = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            schedule = make(T.optim.lr_scheduler, chosen)
            for i in range(steps):
                rows += [[g["lr"], *([g["momentum"]] if "momentum" in g else g["betas"])] for g in chosen.param_groups]
                chosen.step()
                schedule.step(*(() if measure is None else (measure(i),)))
        return T.tensor([v for row in rows for v in row])

    return fn


SCHEDULES: dict[str, Any] = {
    "LambdaLR": lambda s, o: s.LambdaLR(o, [lambda e: 0.9**e, lambda e: 1 / (1 + e)]),
    "MultiplicativeLR": lambda s, o: s.MultiplicativeLR(o, lambda e: 0.95),
    "StepLR": lambda s, o: s.StepLR(o, 3, 0.5),
    "MultiStepLR": lambda s, o: s.MultiStepLR(o, [2, 5, 5, 9], 0.5),
    "ConstantLR": lambda s, o: s.ConstantLR(o, 0.3, 4),
    "LinearLR": lambda s, o: s.LinearLR(o, 0.2, 0.8, 6),
    "ExponentialLR": lambda s, o: s.ExponentialLR(o, 0.9),
    "PolynomialLR": lambda s, o: s.PolynomialLR(o, 8, 2.0),
    "CosineAnnealingLR": lambda s, o: s.CosineAnnealingLR(o, 5, 0.01),
    "CosineAnnealingWarmRestarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 3, 2, 0.01),
    "CyclicLR": lambda s, o: s.CyclicLR(o, 0.01, [0.5, 0.3], 3, 2),
    "CyclicLR triangular2": lambda s, o: s.CyclicLR(o, 0.01, 0.5, 2, mode="triangular2"),
    "CyclicLR exp_range": lambda s, o: s.CyclicLR(o, 0.01, 0.5, 2, mode="exp_range", gamma=0.9),
    "OneCycleLR": lambda s, o: s.OneCycleLR(o, [1.0, 0.4], 15),
    "OneCycleLR linear": lambda s, o: s.OneCycleLR(
        o, 1.0, epochs=5, steps_per_epoch=3, anneal_strategy="linear", three_phase=True
    ),
    "SequentialLR": lambda s, o: s.SequentialLR(o, [s.ConstantLR(o, 0.1, 3), s.ExponentialLR(o, 0.9)], [4]),
    "ChainedScheduler": lambda s, o: s.ChainedScheduler([s.ConstantLR(o, 0.1, 3), s.ExponentialLR(o, 0.9)]),
}
for _name, _make in SCHEDULES.items():
    case(_name, _schedule(_make))
case("OneCycleLR adam", _schedule(SCHEDULES["OneCycleLR"], optimizer="Adam"))
case(
    "ReduceLROnPlateau",
    _schedule(
        lambda s, o: s.ReduceLROnPlateau(o, factor=0.5, patience=1, cooldown=1, min_lr=0.05),
        measure=lambda i: 1.0 if i < 3 else 0.9999,
    ),
)
case(
    "ReduceLROnPlateau max",
    _schedule(
        lambda s, o: s.ReduceLROnPlateau(o, "max", patience=0, threshold=0.1, threshold_mode="abs", min_lr=[0.01, 0.1]),
        measure=lambda i: 0.05 * i,
    ),
)


#: Schedules of which ``last_epoch`` is n, for an optimizer whose state says the same.
RESUMED: dict[str, Any] = {
    "LambdaLR": lambda s, o, n: s.LambdaLR(o, lambda e: 1 / (1 + e), n),
    "MultiplicativeLR": lambda s, o, n: s.MultiplicativeLR(o, lambda e: 0.95 + 0.001 * e, n),
    "StepLR": lambda s, o, n: s.StepLR(o, 3, 0.5, n),
    "MultiStepLR": lambda s, o, n: s.MultiStepLR(o, [2, 5, 5, 9], 0.5, n),
    "ConstantLR": lambda s, o, n: s.ConstantLR(o, 0.3, 4, n),
    "LinearLR": lambda s, o, n: s.LinearLR(o, 0.2, 0.8, 6, n),
    "ExponentialLR": lambda s, o, n: s.ExponentialLR(o, 0.9, n),
    "PolynomialLR": lambda s, o, n: s.PolynomialLR(o, 8, 2.0, n),
    "CosineAnnealingLR": lambda s, o, n: s.CosineAnnealingLR(o, 5, 0.01, n),
    "CosineAnnealingWarmRestarts": lambda s, o, n: s.CosineAnnealingWarmRestarts(o, 3, 2, 0.01, n),
    "CyclicLR": lambda s, o, n: s.CyclicLR(o, 0.01, [0.5, 0.3], 3, 2, last_epoch=n),
    "OneCycleLR": lambda s, o, n: s.OneCycleLR(o, [1.0, 0.4], 30, last_epoch=n),
    "SequentialLR": lambda s, o, n: s.SequentialLR(
        o, [s.LinearLR(o, 0.1, 1.0, 3, n), s.CosineAnnealingWarmRestarts(o, 3, 2, last_epoch=n)], [3], n
    ),
    "SequentialLR from 0": lambda s, o, n: s.SequentialLR(
        o, [s.LinearLR(o, 0.1, 1.0, 3, n), s.CosineAnnealingLR(o, 3, last_epoch=n)], [0], n
    ),
    "SequentialLR of others": lambda s, o, n: s.SequentialLR(
        o, [s.ChainedScheduler([s.ConstantLR(o, 0.1, 3, n), s.ExponentialLR(o, 0.9, n)]), s.StepLR(o, 2, 0.5, n)],
        [4], n,
    ),
    "SequentialLR nested": lambda s, o, n: s.SequentialLR(
        o, [s.SequentialLR(o, [s.ConstantLR(o, 0.1, 3, n), s.StepLR(o, 2, 0.5, n)], [2], n), s.StepLR(o, 2, 0.5, n)],
        [4], n,
    ),
    "ChainedScheduler": lambda s, o, n: s.ChainedScheduler([
        s.ConstantLR(o, 0.1, 3, n), s.ExponentialLR(o, 0.9, n), s.CosineAnnealingLR(o, 4, last_epoch=n)
    ]),
}  # fmt: skip


def _resumed(make: Any, tensors: bool = False) -> Any:
    """The rates (and momenta) after each epoch n, and of the steps of a schedule that is made anew there."""

    def optimizer(T: Any) -> Any:
        rates = [T.tensor(r, dtype=T.float64) if tensors else r for r in (0.5, 0.2)]
        groups = [{"params": [T.zeros(2, requires_grad=True)], "lr": rate} for rate in rates]
        return T.optim.SGD(groups, lr=0.1, momentum=0.9)

    def steps(schedule: Any, count: int) -> Any:
        for _ in range(count):
            schedule.optimizer.step()
            schedule.step()
            yield [float(g[k]) for g in schedule.optimizer.param_groups for k in ("lr", "momentum")]

    def fn(T: Any) -> Any:
        rows = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for n in (0, 1, 2, 3, 5, 8):
                first = make(T.optim.lr_scheduler, optimizer(T), -1)
                list(steps(first, n))
                second = optimizer(T)
                second.load_state_dict(first.optimizer.state_dict())
                schedule = make(T.optim.lr_scheduler, second, n)
                rows.append([[float(v) for v in schedule.get_last_lr()], *steps(schedule, 4)])
        return rows

    return fn


for _name, _make in RESUMED.items():
    CASES[f"{_name} resumed"] = _resumed(_make)
CASES["CosineAnnealingLR of tensors resumed"] = _resumed(RESUMED["CosineAnnealingLR"], tensors=True)


def _averaged(T: Any, a: Any, **options: Any) -> Any:
    """An averaged model after a few steps with SWALR."""
    utils = T.optim.swa_utils
    model = a.module(T.nn.Linear(3, 2))
    a.leaves.clear()
    functions = {"avg_fn": utils.get_ema_avg_fn(0.8)} if options else {}
    average, x = utils.AveragedModel(model, **functions), a.x(5, 3, grad=False)
    optimizer = T.optim.SGD(model.parameters(), lr=0.3)
    schedule = utils.SWALR(optimizer, 0.05, 3)
    rates = []
    for _ in range(6):
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()
        schedule.step()
        average.update_parameters(model)
        rates.append(optimizer.param_groups[0]["lr"])
    return average(x).detach(), average.n_averaged, T.tensor(rates)


case("AveragedModel", _averaged)
case("AveragedModel ema", lambda T, a: _averaged(T, a, ema=True))

ROUNDED = {name: 1e-6 for name in CASES if name.startswith(FLOAT32)}
