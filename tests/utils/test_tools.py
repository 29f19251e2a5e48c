"""Timers, facts about the environment, the names of extensions in C++, and other tools that programs of PyTorch use."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import flambeau as fb
from flambeau.utils import checkpoint, collect_env, cpp_extension, deterministic
from flambeau.utils.benchmark import Timer


def clock(*seconds: float) -> Any:
    """A clock by which the runs of a statement take these times, the last one again and again."""
    state = SimpleNamespace(now=0.0, reads=0)

    def read() -> float:
        if state.reads % 2:
            state.now += seconds[min(state.reads // 2, len(seconds) - 1)]
        state.reads += 1
        return state.now

    return read


def test_adaptive_autorange_stops_once_the_spread_is_small() -> None:
    steady = Timer("pass", timer=clock(*[0.0] * 5, 0.02)).adaptive_autorange(min_run_time=0.01)
    assert steady.number_per_run == 1 and steady.times == pytest.approx([0.02] * 4) and not steady.has_warnings
    seen: list[tuple[int, float]] = []
    uneven = [0.0] * 5 + [0.02, 0.02, 0.05, 0.02, 0.05, 0.02, 0.05] + [0.02] * 20
    settled = Timer("pass", timer=clock(*uneven)).adaptive_autorange(callback=lambda n, t: seen.append((n, t)))
    assert len(settled.times) > 4 and settled.meets_confidence(0.1) and seen[0] == (1, pytest.approx(0.02))
    never = Timer("pass", timer=clock(*[0.0] * 5, 0.02, *[0.02, 0.08] * 20)).adaptive_autorange(max_run_time=0.5)
    assert sum(never.times) == pytest.approx(0.5, abs=0.1) and not never.meets_confidence(0.1)


def test_instructions_are_not_counted() -> None:
    with pytest.raises(RuntimeError, match="blocked_autorange measures time"):
        Timer("pass").collect_callgrind(number=1)


def test_what_commands_wrote() -> None:
    answers = {"good": (0, "gcc (X) 12.3\nsecond", ""), "bad": (1, "out", "error")}
    run = answers.__getitem__
    assert collect_env.run_and_read_all(run, "good") == "gcc (X) 12.3\nsecond"
    assert collect_env.run_and_return_first_line(run, "good") == "gcc (X) 12.3"
    assert collect_env.run_and_parse_first_match(run, "good", r"(\d+)\.(\d+)") == "12"
    assert collect_env.run_and_parse_first_match(run, "good", r"clang (\d+)") is None
    for reader in (collect_env.run_and_read_all, collect_env.run_and_return_first_line):
        assert reader(run, "bad") is None
    assert collect_env.run_and_parse_first_match(run, "bad", "(out)") is None
    assert collect_env.run_and_read_all(collect_env.run, [sys.executable, "-c", "print(2 + 3)"]) == "5"


def test_check_release_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect_env, "_text_of", lambda path: 'NAME="Some"\nPRETTY_NAME="Some Linux 3 (old)"\n')
    assert collect_env.check_release_file() == "Some Linux 3 (old)"
    monkeypatch.setattr(collect_env, "_text_of", lambda path: "")
    assert collect_env.check_release_file() is None


def test_pretty_str() -> None:
    facts = collect_env.get_env_info()._replace(flambeau_version="9.9", gcc_version=None, os="one\ntwo")
    lines = collect_env.pretty_str(facts).splitlines()
    assert lines[0] == "Flambeau version: 9.9" and "Gcc version: Could not collect" in lines
    assert lines[lines.index("Os:") + 1 :][:2] == ["  one", "  two"]


@pytest.mark.parametrize("name", ["CppExtension", "CUDAExtension", "SyclExtension", "load_inline"])
def test_extensions_are_refused(name: str) -> None:
    with pytest.raises(RuntimeError, match=rf"{name}\('mine'\): flambeau has no C\+\+ interface.*flambeau.library"):
        getattr(cpp_extension, name)("mine", ["mine.cpp"])


def test_what_a_setup_script_asks_before_it_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cpp_extension.include_paths() == cpp_extension.include_paths("cuda") == cpp_extension.library_paths() == []
    assert cpp_extension.get_compiler_abi_compatibility_and_version("c++") == (False, "0.0.0")
    with pytest.raises(RuntimeError, match="BuildExtension: flambeau has no"):
        cpp_extension.BuildExtension.with_options(use_ninja=False)()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeError, match="Ninja is required to load C\\+\\+ extensions"):
        cpp_extension.verify_ninja_availability()


def test_verify_ninja_availability(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ninja").write_text("#!/bin/sh\n")
    (tmp_path / "ninja").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    cpp_extension.verify_ninja_availability()


def test_fill_uninitialized_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    assert deterministic.fill_uninitialized_memory is True
    monkeypatch.setattr(deterministic, "fill_uninitialized_memory", False)
    with pytest.raises(RuntimeError, match="expected a bool, but got int"):
        deterministic.fill_uninitialized_memory = 1  # type: ignore[assignment]
    assert deterministic.fill_uninitialized_memory is False


def test_rename_privateuse1_backend() -> None:
    with pytest.raises(RuntimeError, match="register one called 'mine'"):
        fb.utils.rename_privateuse1_backend("mine")


def test_a_policy_is_told_by_a_selective_checkpoint_context() -> None:
    told: list[Any] = []

    def policy(ctx: checkpoint.SelectiveCheckpointContext, op: Any, *args: Any, **params: Any) -> Any:
        told.append((type(ctx), ctx.is_recompute, None if ctx.op_output is None else ctx.op_output.tolist()))
        return checkpoint.CheckpointPolicy.MUST_SAVE

    x = fb.zeros(1, requires_grad=True)
    contexts = lambda: checkpoint.create_selective_checkpoint_contexts(policy)  # noqa: E731
    checkpoint.checkpoint(lambda t: t.exp(), x, use_reentrant=False, context_fn=contexts).sum().backward()
    first = next(entry for entry in told if not entry[1])
    assert {entry[0] for entry in told} == {checkpoint.SelectiveCheckpointContext} and x.grad is not None
    assert first[2] == [1.0] and all(entry[2] is None for entry in told if entry[1])
