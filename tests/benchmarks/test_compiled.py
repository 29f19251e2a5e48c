"""Compiled training steps: their sides, the rows of them, and the networks and optimizers in JAX."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from benchmarks import compiled
from benchmarks.compiled import EAGER, JAX, OURS, SIDES, TORCH, TORCH_COMPILED, Side
from benchmarks.processes import said
from benchmarks.suite import Settings
from benchmarks.workloads import WORKLOADS, Training
from tests.benchmarks.benchmark_cases import SMALL

#: Options beside the workloads' own: by name the kind and what it is given.
OPTIMIZERS: dict[str, tuple[str, dict[str, float]]] = {
    "SGD": ("SGD", dict(lr=0.1, momentum=0.9, weight_decay=0.01)),
    "Adam": ("Adam", dict(lr=0.1, weight_decay=0.1)),
    "AdamW": ("AdamW", dict(lr=0.1, weight_decay=0.1)),
}
QUICK = ("mlp", "lstm")  # to compile in JAX
#: The losses of workloads, and weights after steps of optimizers.
PROGRAM = """\
import json, sys
import jax.numpy as jnp
import flambeau as fb
from benchmarks import in_jax
from benchmarks.workloads import WORKLOADS, Training

workloads, optimizers = json.loads(sys.argv[1])
found = {}
for name, sizes in workloads.items():
    training = in_jax.Training(name, Training(fb, WORKLOADS[name], sizes))
    found[name] = [training.step() for _ in range(3)]
for name, (kind, options, weights, gradients) in optimizers.items():
    p = {"w": jnp.array(weights)}
    state = in_jax.at_first(kind, p, options)
    for gradient in gradients:
        p, state = in_jax.OPTIMIZERS[kind](p, {"w": jnp.array(gradient)}, state, options)
    found[name] = p["w"].tolist()
print(json.dumps(found))
"""


def from_jax(workloads: Iterable[str], optimizers: dict[str, Any]) -> dict[str, Any]:
    """What PROGRAM gives in a process of its own, since JAX begins threads that the tests' process would keep."""
    if importlib.util.find_spec("jax") is None:
        pytest.skip("jax is not installed")
    found: dict[str, Any] = json.loads(
        said(PROGRAM, json.dumps([{name: SMALL[name] for name in workloads}, optimizers]), variables={})
    )
    return found


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    before = fb.get_num_threads()
    yield
    fb.set_num_threads(before)


def settings(*names: str, threads: tuple[int, ...] = (1,)) -> Settings:
    return Settings(rounds=3, seconds=0.0, threads=threads, modules=[fb], wanted=lambda name: name in names)


# -- JAX ---------------------------------------------------------------------------------------------
def optimized(kind: str, options: dict[str, float]) -> tuple[Any, list[Any]]:
    """The weights after steps on flambeau, and what the same takes in JAX."""
    rng = np.random.default_rng(0)
    weights, gradients = rng.standard_normal((2, 3), "f"), rng.standard_normal((3, 2, 3), "f")
    p = fb.nn.Parameter(fb.tensor(weights))
    optimizer = getattr(fb.optim, kind)([p], **options)
    held = {k: v for k, v in optimizer.param_groups[0].items() if k != "params"}
    for gradient in gradients:
        p.grad = fb.tensor(gradient)
        optimizer.step()
    return p.detach().numpy(), [kind, held, weights.tolist(), gradients.tolist()]


@pytest.fixture(scope="module")
def quick() -> dict[str, Any]:
    return from_jax(QUICK, {name: optimized(*case)[1] for name, case in OPTIMIZERS.items()})


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_losses_in_jax_are_flambeaus(name: str, quick: dict[str, Any]) -> None:
    training = Training(fb, WORKLOADS[name], SMALL[name])
    np.testing.assert_allclose(quick[name], [training.step() for _ in range(3)], rtol=1e-5)


@pytest.mark.slow
def test_losses_of_the_larger_networks_in_jax_are_flambeaus() -> None:
    for name, found in from_jax(WORKLOADS.keys() - set(QUICK), {}).items():
        training = Training(fb, WORKLOADS[name], SMALL[name])
        np.testing.assert_allclose(found, [training.step() for _ in range(3)], rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.slow
def test_optimizers_in_jax_are_flambeaus(name: str, quick: dict[str, Any]) -> None:
    np.testing.assert_allclose(quick[name], optimized(*OPTIMIZERS[name])[0], rtol=1e-5, atol=1e-6)


# -- turns -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n == "resnet18" else n for n in SMALL])
def test_the_compiled_step_takes_turns_with_the_eager_one(name: str) -> None:
    times = compiled.turns(name, [OURS, EAGER], 2, 3, 0.0, SMALL[name])
    assert list(times) == [OURS, EAGER]
    assert all(len(side) == 3 and min(side) > 0 for side in times.values())


def test_the_compiled_step_is_replayed() -> None:
    training = Training(fb, WORKLOADS["mlp"], SMALL["mlp"])
    made: list[Any] = []

    def kept(*arguments: Any, **options: Any) -> Any:
        made.append(fb.compile(*arguments, **options))
        return made[0]

    training.T = SimpleNamespace(nn=fb.nn, compile=kept)
    step = SIDES[OURS].made("mlp", training)
    for _ in range(compiled.COMPARED):
        step()
    assert made[0].explain().replayed == compiled.COMPARED - 3


def test_other_losses_give_no_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIDES, "other", Side("flambeau", "flambeau", lambda name, training: lambda: 1.0))
    with pytest.raises(RuntimeError, match=r"the losses are .*, and those of other \[1.0"):
        compiled.turns("mlp", [OURS, "other"], 1, 3, 0.0, SMALL["mlp"])


def test_torch_compile_with_other_losses_has_no_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIDES, TORCH_COMPILED, Side("flambeau", "flambeau", lambda name, training: lambda: 1.0))
    times = compiled.turns("mlp", [OURS, TORCH_COMPILED, EAGER], 2, 3, 0.0, SMALL["mlp"])
    assert {side: len(found) for side, found in times.items()} == {OURS: 3, TORCH_COMPILED: 0, EAGER: 3}


def test_more_than_a_core_on_one_thread_gives_no_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "busy", lambda step: 1.9)
    with pytest.raises(RuntimeError, match=r"compiled keeps 1[.]90 cores busy on one thread"):
        compiled.turns("mlp", [OURS], 1, 3, 0.0, SMALL["mlp"])
    assert compiled.turns("mlp", [OURS], 2, 3, 0.0, SMALL["mlp"])


def test_cores_that_are_busy_are_processor_time_over_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, used = iter([0.0, 0.01, 0.06, 0.06]), iter([1.0, 1.09])
    monkeypatch.setattr(compiled, "time", SimpleNamespace(perf_counter=clock.__next__, process_time=used.__next__))
    assert compiled.busy(lambda: None) == pytest.approx(0.09 / 0.06)


def test_compiling_takes_what_the_first_steps_take_beyond_later_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([5.0, *[2.0] * (compiled.FIRST - 1), *[1.0] * compiled.STEADY])
    monkeypatch.setattr(compiled, "timed", lambda step: next(times))
    assert compiled.compiling("mlp", OURS, 1, SMALL["mlp"]) == 4.0 + compiled.FIRST - 1


def test_processes_of_their_own_answer_or_say_what_is_wrong() -> None:
    arguments: dict[str, Any] = dict(workload="mlp", rounds=3, seconds=0.0, sizes=SMALL["mlp"])
    assert list(compiled.elsewhere(compiled.turns, 1, {}, sides=[OURS, EAGER], **arguments)) == [OURS, EAGER]
    with pytest.raises(RuntimeError, match="KeyError: 'nothing'"):
        compiled.elsewhere(compiled.turns, 1, {}, sides=["nothing"], **arguments)


@pytest.mark.slow
@pytest.mark.skipif(compiled.installed() != list(SIDES), reason="PyTorch or jax is not installed")
def test_all_sides_take_turns() -> None:
    arguments: dict[str, Any] = dict(workload="mlp", rounds=3, seconds=0.0, sizes=SMALL["mlp"])
    found = compiled.elsewhere(compiled.turns, 1, {}, sides=list(SIDES), **arguments)
    assert list(found) == list(SIDES)


# -- rows --------------------------------------------------------------------------------------------
TIMES = {OURS: 1.0, EAGER: 2.0, TORCH: 4.0, TORCH_COMPILED: 3.0, JAX: 5.0}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is asked of other processes, which answer with TIMES."""
    found: list[dict[str, Any]] = []

    def answer(function: Any, threads: int, environment: dict[str, str], **arguments: Any) -> Any:
        found.append({"threads": threads, "environment": environment, **arguments})
        if function is compiled.compiling:
            return TIMES[arguments["side"]]
        return {side: [TIMES[side]] * 3 for side in arguments["sides"]}

    monkeypatch.setattr(compiled, "elsewhere", answer)
    monkeypatch.setattr(compiled, "opencl_reason", lambda: None)
    monkeypatch.setattr(compiled, "installed", lambda: list(SIDES))
    return found


def test_the_ratio_is_to_the_best_of_the_peers(asked: list[dict[str, Any]]) -> None:
    wanted = settings("mlp", threads=(1, 2))
    wanted.modules = [fb, SimpleNamespace(__name__="torch")]
    one, two = compiled.rows(wanted)
    assert (one.suite, one.name, one.threads, two.threads) == (compiled.STEPS, "mlp", 1, 2)
    assert (one.rival, one.limit, list(one.peers)) == (TORCH_COMPILED, 0.5, [EAGER, TORCH, TORCH_COMPILED, JAX])
    assert one.ratio is not None and one.ratio.median == pytest.approx(1 / 3) and not one.exceeds
    assert [call["threads"] for call in asked] == [1, 2] and asked[0]["sides"] == list(SIDES)


def test_what_is_not_installed_is_left_out(asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    (row,) = compiled.rows(settings("mlp"))
    assert list(row.peers) == [EAGER, JAX] and row.rival == JAX
    monkeypatch.setattr(compiled, "installed", lambda: [OURS, EAGER])
    (row,) = compiled.rows(settings("mlp"))
    assert list(row.peers) == [EAGER] and row.rival == "" and row.ratio is None and not row.exceeds


def test_on_opencl_the_ratio_is_to_the_eager_step(asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    (row,) = compiled.rows(settings("gpt, OpenCL"))
    assert (row.suite, row.name, row.rival, row.limit) == (compiled.OPENCL, "gpt, OpenCL", EAGER, 0.7)
    assert asked[0]["device"] == "opencl:0" and asked[0]["workload"] == "gpt"
    monkeypatch.setattr(compiled, "opencl_reason", lambda: "no platform")
    assert not list(compiled.rows(settings("gpt, OpenCL")))


def test_compiling_is_measured_with_an_empty_folder_and_again(asked: list[dict[str, Any]]) -> None:
    wanted = settings("lstm, compile time")
    wanted.modules = [fb, SimpleNamespace(__name__="torch")]
    (row,) = compiled.rows(wanted)
    assert (row.suite, row.ours, row.ratio) == (compiled.COMPILING, (1.0,), None)
    assert row.peers == {
        f"{OURS}, again": (1.0,), TORCH_COMPILED: (3.0,), f"{TORCH_COMPILED}, again": (3.0,), JAX: (5.0,),
    }  # fmt: skip
    folders = [call["environment"]["FLAMBEAU_CACHE_DIR"] for call in asked]
    assert folders[0] == folders[1] != folders[2] == folders[3] != folders[4]


def test_a_process_that_fails_is_a_failure_and_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a process ended with 1:\nTraceback\nValueError: not here")

    monkeypatch.setattr(compiled, "elsewhere", answer)
    wanted = settings("mlp", "mlp, compile time", threads=(2,))
    assert not list(compiled.rows(wanted))
    assert wanted.failures == ["mlp, 2 threads: ValueError: not here", "mlp, compile time: ValueError: not here"]


def test_limits_are_of_workloads() -> None:
    assert compiled.LIMITS.keys() == WORKLOADS.keys() and all(math.isfinite(v) for v in compiled.LIMITS.values())
