"""Steps of optimizers and schedules, told to a recorder: numbers that change from step to step are the host's."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau import optim
from flambeau.core import events
from flambeau.core.tensor import Tensor
from flambeau.optim import lr_scheduler
from tests.optim.rule_cases import _OPTIONS
from tests.telling import Checker, told

OPTIONS: dict[str, list[dict[str, Any]]] = _OPTIONS | {
    "SparseAdam": [{}, {"maximize": True}],
    "Muon": [{}, {"nesterov": False, "weight_decay": 0.3}, {"adjust_lr_fn": "match_rms_adamw"}],
    "RMSprop": [*_OPTIONS["RMSprop"], {"lr": 0.1}],
}
CASES = [pytest.param(name, o, id=f"{name} {o}") for name, several in OPTIONS.items() for o in several]


def _made(name: str, options: dict[str, Any]) -> tuple[Any, list[Tensor]]:
    """An optimizer of two groups whose parameters have gradients; of one only from the second step on."""
    shapes = [(3, 4), (4, 2), (2, 2)]
    ps = [fb.linspace(-1, 1, m * n).reshape(m, n).clone().requires_grad_() for m, n in shapes]
    options = {"lr": 0.1} | options
    made = getattr(optim, name)([{"params": ps[:2]}, {"params": ps[2:], "lr": 0.03}], **options)
    return made, ps


def _gradients(name: str, ps: list[Tensor], step: int) -> None:
    for i, p in enumerate(ps):
        values = fb.linspace(-0.7, 1.1 + step, p.numel()).reshape(*p.shape).clone()
        late = i == 1 and not step
        p.grad = None if late else values.to_sparse(1) if name == "SparseAdam" else values


def _arrays(optimizer: Any, ps: list[Tensor]) -> Iterator[Tensor]:
    """All tensors that are there before a step."""
    for p in ps:
        parts = [p.grad._indices(), p.grad._values()] if p.grad is not None and p.grad.is_sparse else [p.grad]
        yield from (t for t in (p, *parts, *optimizer.state[p].values()) if isinstance(t, Tensor))


def _plain(optimizer: Any) -> bool:
    """Whether neither options nor state have got numbers of the recorder."""
    stored = [*optimizer.param_groups, *optimizer.state.values()]
    flat = [w for s in stored for v in s.values() for w in (v if isinstance(v, (tuple, list)) else (v,))]
    return not any(events.is_told(v) for v in flat if isinstance(v, (int, float)))


@pytest.mark.parametrize(("name", "options"), CASES)
def test_steps_are_told_and_do_the_same(name: str, options: dict[str, Any]) -> None:
    (ours, ps), (theirs, qs) = _made(name, options), _made(name, options)
    for step in range(3):
        for made, params in ((ours, ps), (theirs, qs)):
            _gradients(name, params, step)
            for group, lr in zip(made.param_groups, (0.1, 0.03), strict=True):
                group["lr"] = lr / (step + 1)
        with told(*_arrays(ours, ps)) as heard:
            ours.step()
        theirs.step()
        assert _plain(ours) and set(heard.looks) <= {"index"}  # as Muon's count of iterations is
        assert ours._step_count == theirs._step_count == step + 1
        for p, q in zip(ps, qs, strict=True):
            np.testing.assert_array_equal(p.detach().numpy(), q.detach().numpy())
            assert {k: v for k, v in ours.state[p].items() if not isinstance(v, Tensor)} == {
                k: v for k, v in theirs.state[q].items() if not isinstance(v, Tensor)
            }


#: What changes every number that a rule reads, a little.
def _changed(group: dict[str, Any]) -> None:
    for name, value in group.items():
        if name in ("params", "ns_steps") or isinstance(value, bool):
            continue
        if isinstance(value, (tuple, list)) and not any(v is None for v in value):
            group[name] = tuple(v * (1 - 1e-3) for v in value)
        elif isinstance(value, float) or (isinstance(value, int) and value):
            group[name] = value * (1 - 1e-3)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_numbers_that_change_are_those_of_the_host(name: str, options: dict[str, Any]) -> None:
    """No plain number that a kernel gets differs between the third step and the fourth, in which all options differ."""
    if name == "RAdam":
        options = options | {"betas": (0.9, 0.7)}  # of which the variance stays unknown
    made, ps = _made(name, options)
    heard: list[Checker] = []
    for step in range(4):
        _gradients(name, ps, 1)
        if step == 3:
            for group in made.param_groups:
                _changed(group)
        with told(*_arrays(made, ps)) as checker:
            made.step()
        heard.append(checker)
    assert heard[2].events == heard[3].events
    assert heard[2].scalars == heard[3].scalars
    assert "host" in heard[3].events


def _hook(*args: object) -> None:
    """Does nothing."""


def _loaded(made: Any) -> None:
    made.load_state_dict(copy.deepcopy(made.state_dict()))


RELIED: dict[str, Callable[[Any], Any]] = {
    "hook before": lambda made: made.register_step_pre_hook(_hook),
    "hook after": lambda made: made.register_step_post_hook(_hook),
    "hook before each": lambda made: optim.optimizer.register_optimizer_step_pre_hook(_hook),
    "hook after each": lambda made: optim.optimizer.register_optimizer_step_post_hook(_hook),
    "group": lambda made: made.add_param_group({"params": [fb.ones(2, requires_grad=True)]}),
    "parameter": lambda made: made.param_groups[1]["params"].append(fb.ones(2, requires_grad=True)),
    "flag": lambda made: made.param_groups[1].update(maximize=True),
    "none": lambda made: made.param_groups[0].update(foreach=False),
    "flag of all": lambda made: made.defaults.update(differentiable=True),
    "loaded": _loaded,
    "unpickled": lambda made: made.__setstate__(copy.deepcopy(made.__getstate__())),
}


@pytest.mark.parametrize("change", RELIED)
@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_what_a_step_relies_on(name: str, change: str) -> None:
    """Its hooks, groups, flags and where its state is; none of its numbers."""
    made, ps = _made(name, {})
    _gradients(name, ps, 1)
    with told(*_arrays(made, ps)) as heard:
        made.step()
    assert heard.relied and heard.holds()
    made.step()
    made.param_groups[0]["lr"] /= 2
    assert heard.holds()
    handle = RELIED[change](made)
    assert not heard.holds()
    if "hook" in change:
        handle.remove()
        assert heard.holds()


def test_one_call_of_the_host_for_a_group() -> None:
    """However many parameters there are."""
    for name in ("SGD", "Adam", "NAdam", "RAdam", "ASGD", "RMSprop"):
        calls = []
        for count in (1, 9):
            ps = [fb.ones(2, requires_grad=True) for _ in range(count)]
            for p in ps:
                p.grad = fb.ones(2)
            made = getattr(optim, name)(ps)
            with told(*ps, *(p.grad for p in ps)) as heard:
                made.step()
            calls.append(heard.events.count("host"))
        assert calls[0] == calls[1] <= 5, name


def test_options_that_are_tensors() -> None:
    p, lr = fb.ones(2, requires_grad=True), fb.tensor(0.5)
    p.grad, made = fb.ones(2), optim.SGD([p], lr=lr)
    with told(p, p.grad, lr) as heard:
        made.step()
    assert p.tolist() == [0.5, 0.5] and heard.events.count("host") == 2 and not heard.looks


def test_options_set_by_a_rule_are_those_of_the_group() -> None:
    class Shrinking(optim.Optimizer):
        def __init__(self, params: Any, lr: float):
            super().__init__(params, {"lr": lr, "turns": 0})

        def update(self, group: dict[str, Any]) -> None:
            group["seen"] = True
            for p in group["params"]:
                p.sub_(p.grad, alpha=group["lr"])

    p = fb.ones(2, requires_grad=True)
    p.grad, made = fb.ones(2), Shrinking([p], 0.25)
    with told(p, p.grad) as heard:
        made.step()
    assert made.param_groups[0]["seen"] and p.tolist() == [0.75, 0.75]
    assert not [v for _, v in heard.scalars if v == 0.25]


def test_a_parameter_that_stands_twice_takes_two_steps() -> None:
    p = fb.ones(2, requires_grad=True)
    p.grad = fb.ones(2)
    with pytest.warns(UserWarning, match="duplicate"):
        made = optim.Adam([p, p])
    made.step()
    assert made.state[p]["step"] == 2


def test_lbfgs_is_refused() -> None:
    p = fb.ones(2, requires_grad=True)
    made = optim.LBFGS([p])

    def closure() -> Any:
        made.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    with told(p, refusing=True) as heard:
        made.step(closure)
    assert "LBFGS" in heard.refused[0]


# -- schedules -------------------------------------------------------------------------------------------
SCHEDULES: dict[str, Callable[[Any], Any]] = {
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda e: 0.9**e),
    "MultiplicativeLR": lambda o: lr_scheduler.MultiplicativeLR(o, lambda e: 0.9),
    "StepLR": lambda o: lr_scheduler.StepLR(o, 1),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [1, 2]),
    "ConstantLR": lambda o: lr_scheduler.ConstantLR(o, total_iters=2),
    "LinearLR": lambda o: lr_scheduler.LinearLR(o),
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.9),
    "PolynomialLR": lambda o: lr_scheduler.PolynomialLR(o),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 5),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 3),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.1, 3),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=9),
    "ReduceLROnPlateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=0),
    "SequentialLR": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.ConstantLR(o, 0.5), lr_scheduler.ExponentialLR(o, 0.9)], [2]),
    "ChainedScheduler": lambda o: lr_scheduler.ChainedScheduler(
        [lr_scheduler.ConstantLR(o, 0.5), lr_scheduler.ExponentialLR(o, 0.9)]),
    "SWALR": lambda o: optim.swa_utils.SWALR(o, 0.01, 4),
}  # fmt: skip


def test_every_schedule_is_here() -> None:
    known = {n for n in dir(lr_scheduler) if n.endswith(("LR", "Scheduler")) or "Annealing" in n}
    assert {n for n in known if not n.startswith("_")} - {"LRScheduler"} <= {*SCHEDULES, "ReduceLROnPlateau"}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_steps_by_one_call_of_the_host(name: str) -> None:
    (ours, ps), (theirs, qs) = _made("SGD", {"momentum": 0.9}), _made("SGD", {"momentum": 0.9})
    mine, wanted = SCHEDULES[name](ours), SCHEDULES[name](theirs)
    heard: list[Checker] = []
    for step in range(4):
        for params in (ps, qs):
            _gradients("SGD", params, 1)
            params[0].grad.mul_(1 + step % 2)  # type: ignore[union-attr]
        measure = fb.tensor(1.0 + step)
        arguments = (measure,) if name == "ReduceLROnPlateau" else ()
        with told(measure, *_arrays(ours, ps)) as checker:
            ours.step()
            mine.step(*arguments)
        theirs.step()
        wanted.step(*arguments)
        heard.append(checker)
        assert not checker.looks and _plain(ours)
        assert [g["lr"] for g in ours.param_groups] == [g["lr"] for g in theirs.param_groups]
        for p, q in zip(ps, qs, strict=True):
            np.testing.assert_array_equal(p.detach().numpy(), q.detach().numpy())
    assert heard[2].events == heard[3].events and heard[2].scalars == heard[3].scalars
    assert heard[3].events[-1] == "host"


# -- averages, scaled gradients ----------------------------------------------------------------------------
@pytest.mark.parametrize("average", [None, optim.swa_utils.get_ema_multi_avg_fn(0.9)])
def test_averaged_models(average: Any) -> None:
    model = fb.nn.Linear(2, 3)
    ours, theirs = (optim.swa_utils.AveragedModel(model, multi_avg_fn=average) for _ in range(2))
    heard: list[Checker] = []
    for _ in range(4):
        with fb.no_grad():
            model.weight.add_(1)
        tensors = [*model.state_dict().values(), *ours.state_dict().values()]
        with told(*tensors) as checker:
            ours.update_parameters(model)
        theirs.update_parameters(model)
        heard.append(checker)
        assert not checker.looks
    np.testing.assert_array_equal(ours.module.weight.detach().numpy(), theirs.module.weight.detach().numpy())
    assert heard[2].scalars == heard[3].scalars


def test_a_scaler_of_gradients() -> None:
    (ours, ps), (theirs, qs) = _made("SGD", {}), _made("SGD", {})
    mine, wanted = (fb.amp.GradScaler("cpu", init_scale=4.0, growth_interval=2) for _ in range(2))
    for step in range(6):
        for made, params, scaler in ((ours, ps, mine), (theirs, qs, wanted)):
            factor = fb.tensor(float("inf") if step == 3 else 0.5)
            kept = [] if scaler._scale is None else [scaler._scale]
            made.zero_grad()

            def run(made: Any = made, params: Any = params, scaler: Any = scaler, factor: Any = factor) -> None:
                scaler.scale(sum((p * p).sum() for p in params) * factor).backward()
                scaler.step(made)
                scaler.update()

            if made is ours:
                with told(factor, *params, *kept) as heard:
                    run()
                assert not heard.looks and "host" in heard.events
            else:
                run()
        assert mine.get_scale() == wanted.get_scale()
        assert mine._get_growth_tracker() == wanted._get_growth_tracker()
    for p, q in zip(ps, qs, strict=True):
        np.testing.assert_array_equal(p.detach().numpy(), q.detach().numpy())
    assert copy.deepcopy(mine).get_scale() == wanted.get_scale()


def test_counts_that_come_apart_raise_when_a_step_runs_again() -> None:
    ps = [fb.ones(2, requires_grad=True) for _ in range(2)]
    made, calls = optim.Adam(ps), []
    for p in ps:
        p.grad = fb.ones(2)
    with told(*ps, *(p.grad for p in ps)) as heard:
        host = heard.host
        heard.host = lambda fn, args: (calls.append((fn, args)), host(fn, args))[1]  # type: ignore[method-assign]
        made.step()
    for fn, args in calls:
        fn(*args)
    assert [made.state[p]["step"] for p in ps] == [2, 2] and made._step_count == 2
    made.state[ps[0]]["step"] = 7.0
    with pytest.raises(RuntimeError, match="taken other numbers"):
        [fn(*args) for fn, args in calls]


def test_a_rule_that_keeps_no_count() -> None:
    class Halving(optim.elementwise.ElementwiseOptimizer):
        zeros = ("seen",)

        def __init__(self, params: Any):
            super().__init__(params, {"lr": 0.5})

        def one(self, p: Any, g: Any, state: Any, group: Any) -> None:
            state["last"] = state.pop("step")
            p.sub_(g, alpha=group["lr"])

    p = fb.ones(2, requires_grad=True)
    p.grad, made = fb.ones(2), Halving([p])
    for _ in range(2):
        made.step()
    assert p.tolist() == [0, 0] and {*made.state[p]} == {"seen", "last"} and made.state[p]["last"] == 1
