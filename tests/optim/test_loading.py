"""State that is damaged: an error that names what is wrong, and the object as it was; seeded and small."""

from __future__ import annotations

import copy
import io
import math
import random
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

import flambeau as fb
from flambeau import nn, optim
from flambeau.optim import lr_scheduler as schedules
from tests.optim.rule_cases import SCHEDULES
from tests.optim.test_optimizer import NAMES, OPTIONS

ODD = [
    None,
    True,
    -1,
    7,
    0.5,
    math.nan,
    math.inf,
    2**63,
    10**5000,
    "x",
    "",
    [],
    {},
    [1],
    {"x": 1},
    (0.1, 0.2),
    fb.ones(3),
]
SEEDS = range(3)
ROUNDS = 60


def optimizer(name: str) -> Any:
    ps = [nn.Parameter(fb.ones(2, 3)), nn.Parameter(fb.ones(4))]
    made = getattr(optim, name)([{"params": ps[:1]}, {"params": ps[1:], "lr": 0.2}], lr=0.1, **OPTIONS.get(name, {}))
    for _ in range(2):
        stepped(made)
    return made


def stepped(made: Any) -> None:
    for group in made.param_groups:
        for p in group["params"]:
            p.grad = fb.ones_like(p)
    made.step()


def plain(value: Any) -> Any:
    """State that can be compared."""
    if isinstance(value, fb.Tensor):
        return value.dtype, value.tolist()
    if isinstance(value, dict):
        return [(k, plain(v)) for k, v in value.items()]
    return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def holders(value: Any) -> Iterator[Any]:
    if isinstance(value, (dict, list)) and value:
        yield value
        for member in value.values() if isinstance(value, dict) else value:
            yield from holders(member)


def mutated(state: Any, rng: random.Random) -> Any:
    """A copy of state with something replaced, removed, renamed, added or doubled."""
    state = copy.deepcopy(state)
    holder = rng.choice(list(holders(state)))
    key = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    change = rng.choice(["replace", "replace", "replace", "remove", "rename", "add", "double"])
    if change == "replace":
        holder[key] = rng.choice(ODD)
    elif change == "remove":
        del holder[key]
    elif change == "rename" and isinstance(holder, dict):
        holder[rng.choice([3, "x", "step", "optimizer", None, 10**5000, (1,)])] = holder.pop(key)
    elif change == "add" and isinstance(holder, dict):
        holder[rng.choice([5, "y", "params", -1])] = rng.choice(ODD)
    elif isinstance(holder, list):
        holder.append(holder[key])
    return state


def check_load(made: Any, state: Any, seen: Any) -> bool:
    """Load; whether it was taken. A refusal names the class and leaves the object as it was."""
    before = plain(seen(made))
    try:
        made.load_state_dict(state)
    except (TypeError, ValueError) as error:
        text = str(error)
        assert f"{type(made).__name__}.load_state_dict" in text or ".load_state_dict: " in text, text
        assert len(text) < 600, text
        assert plain(seen(made)) == before, text
        return False
    return True


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", NAMES)
def test_optimizers(name: str, seed: int) -> None:
    rng, good, refused = random.Random(f"{name} {seed}"), optimizer(name).state_dict(), 0
    for _ in range(ROUNDS):
        state = mutated(good, rng)
        made = optimizer(name)
        if check_load(made, state, lambda m: m.state_dict()):
            stepped(made)
        else:
            refused += 1
    assert refused > ROUNDS // 4
    assert check_load(optimizer(name), good, lambda m: m.state_dict())


ALL = {**SCHEDULES, "ReduceLROnPlateau": lambda s, o: s.ReduceLROnPlateau(o, min_lr=0.01)}


def schedule(name: str) -> Any:
    made = ALL[name](schedules, optimizer("SGD"))
    for _ in range(2):
        made.optimizer.step()
        made.step(*([1.0] if name == "ReduceLROnPlateau" else []))
    return made


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ALL)
def test_schedules(name: str, seed: int) -> None:
    rng, refused = random.Random(f"{name} {seed}"), 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        good = copy.deepcopy(schedule(name).state_dict())
        for _ in range(ROUNDS):
            made = schedule(name)
            refused += not check_load(made, mutated(good, rng), lambda m: m.state_dict())
            assert callable(made.step) and isinstance(made.optimizer, optim.Optimizer)
        assert refused > ROUNDS // 4
        assert check_load(schedule(name), good, lambda m: m.state_dict())


@pytest.mark.parametrize("wrong", [None, 5, [], "state", {}, {1: 2}, {"state": {}}, {"param_groups": []}])
def test_what_is_no_state_at_all(wrong: Any) -> None:
    for made in (optimizer("Adam"), schedule("StepLR"), schedule("SequentialLR"), schedule("LambdaLR")):
        with pytest.raises((TypeError, ValueError), match=rf"{type(made).__name__}\.load_state_dict: state_dict "):
            made.load_state_dict(wrong)


@pytest.mark.parametrize("name", ALL)
def test_the_state_of_schedules_can_be_saved(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first, file = schedule(name), io.BytesIO()
        fb.save(first.state_dict(), file)
        second = schedule(name)
        second.load_state_dict(fb.load(file))
        assert plain(second.state_dict()) == plain(first.state_dict())


def test_errors_name_the_place() -> None:
    good = optimizer("Adam").state_dict()

    def wrong(change: Any) -> str:
        state = copy.deepcopy(good)
        change(state)
        with pytest.raises((TypeError, ValueError)) as caught:
            optimizer("Adam").load_state_dict(state)
        return str(caught.value)

    assert "the state of parameter 0" in wrong(lambda s: s["state"][0].pop("exp_avg"))
    assert "lacks 'exp_avg'" in wrong(lambda s: s["state"][0].pop("exp_avg"))
    assert "'exp_avg' must be a tensor of shape (4,), got a tensor of shape (2,)" in wrong(
        lambda s: s["state"][1].update(exp_avg=fb.ones(2))
    )
    assert "param_groups[1]['lr'] must be a number, got 'x' (str)" in wrong(
        lambda s: s["param_groups"][1].update(lr="x")
    )
    assert "invalid lr: -1; it must be at least 0" in wrong(lambda s: s["param_groups"][1].update(lr=-1))
    assert "'step' must be a finite number" in wrong(lambda s: s["state"][0].update(step=math.nan))
    assert "parameter 0 (int) stands twice" in wrong(lambda s: s["param_groups"][1].update(params=[0]))


def test_keys_of_modules_that_are_no_texts() -> None:
    layer = nn.Linear(2, 2)
    good = layer.state_dict()
    for key in (0, None, (1, 2), 10**5000):
        for strict in (True, False):
            with pytest.raises(RuntimeError, match=r"keys must be paths such as 'layer.weight'; 1 are of type "):
                layer.load_state_dict({**good, key: fb.ones(1)}, strict=strict)
    with pytest.raises(RuntimeError, match=r"Missing key.*weight.*bias"):
        layer.load_state_dict({0: fb.ones(2, 2), 1: fb.ones(2)})
