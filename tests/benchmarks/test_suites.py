"""The suites on flambeau alone, with few cases: their rows, and what they say of a case that fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from benchmarks import distributed, frameworks, grown, loading, memory, models, ops, overhead, processes, startup, sweep
from benchmarks.cases import Case, forward
from benchmarks.measure import Row
from benchmarks.suite import Settings
from flambeau.core import dtype as dt
from flambeau.plugins.conformance import opdb
from flambeau.plugins.conformance.opdb import Maker


def settings(*names: str) -> Settings:
    return Settings(rounds=3, seconds=0.0, modules=[fb], wanted=lambda name: name in names)


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    before = fb.get_num_threads()
    yield
    fb.set_num_threads(before)


def facts(rows: Iterator[Row]) -> list[tuple[str, str, int, int]]:
    return [(row.suite, row.name, row.threads, len(row.ours)) for row in rows if row.theirs is None]


def test_overhead_and_ops_give_rows_of_the_cases_that_are_asked_for() -> None:
    assert facts(overhead.rows(settings("add", "relu"))) == [("overhead", "add", 1, 3), ("overhead", "relu", 1, 3)]
    asked = settings("matmul 64")
    asked.threads = (1, 2)
    assert facts(ops.rows(asked)) == [("ops", "matmul 64", 1, 3), ("ops", "matmul 64", 2, 3)]


def test_loading_gives_rows_by_the_sample_with_their_limits() -> None:
    (row,) = loading.rows(settings("TensorDataset"))
    assert (row.suite, row.threads, row.unit, len(row.ours)) == ("loading", 1, "sample", 3)
    assert row.limit == loading.LIMITS["TensorDataset"] and loading.LIMITS.keys() == loading.CASES.keys()


def test_memory_is_of_the_process_and_of_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, beyond = memory.child("flambeau", "mlp", str(fb.get_num_threads()))
    assert whole >= beyond >= 1 and whole > 2**24
    monkeypatch.setattr(memory, "answer", lambda code, *arguments, cache: [30.0, 10.0])
    peaks = {row.name: row for row in memory.rows(settings(*(f"mlp, {what}" for what in memory.WHAT)))}
    assert {name: (row.ours, row.unit) for name, row in peaks.items()} == {
        "mlp, peak": ((30.0,) * 3, "B"),
        "mlp, peak beyond the import": ((10.0,) * 3, "B"),
    }


def test_a_step_beside_a_busy_core_is_measured_with_a_neighbour() -> None:
    (fact,) = facts(models.rows(settings(models.CROWDED)))
    assert fact == ("models", models.CROWDED, frameworks.cores(), 3)
    with processes.busy_core() as neighbour:
        assert neighbour.poll() is None
    assert neighbour.poll() is not None


@pytest.mark.slow
def test_data_parallel_training_is_measured_in_a_job_of_two_ranks() -> None:
    name = "lstm, DDP on one rank"
    (row,) = distributed.rows(settings(name))
    assert (row.suite, row.name, len(row.ours), row.rival) == ("distributed", name, 3, distributed.BARE)
    times = distributed.turns("lstm", [distributed.BARE, distributed.SHARED], 3, 0.0)
    assert all(len(side) == 3 and min(side) > 0 for side in times.values())


def test_start_is_measured_in_processes_of_its_own() -> None:
    assert facts(startup.rows(settings(startup.NUMPY))) == [("startup", startup.NUMPY, 1, 3)]
    for statements in startup.CASES.values():
        exec(statements, {"T": fb})


def test_a_process_that_fails_says_what_it_said(tmp_path: Path) -> None:
    assert processes.answer("import sys; print(*sys.argv[1:])", "1.5", "2", cache=str(tmp_path)) == [1.5, 2.0]
    with pytest.raises(RuntimeError, match=r"ended with 1:(.|\n)*ZeroDivisionError"):
        processes.answer("1 / 0", cache=str(tmp_path))


def test_a_late_import_is_told_from_one_in_time() -> None:
    assert startup.late([Row.of("startup", startup.IMPORT, [[0.1, 0.9, 0.9]])])
    assert not startup.late([Row.of("startup", startup.IMPORT, [[0.1, 0.1, 0.9]])])


def test_a_case_that_fails_or_differs_is_a_failure_and_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def raising(m: Any, x: Any) -> Any:
        raise RuntimeError("not here")

    class Other:
        """flambeau, but what it exponentiates is off."""

        __name__, nn, from_numpy = "other", fb.nn, staticmethod(lambda x: fb.from_numpy(x * 1.1))

    added: dict[str, Case] = {"raising": forward(raising, (3,)), "exp": forward(lambda m, x: x.exp(), (3,))}
    monkeypatch.setattr(ops, "CASES", added)
    asked = settings("raising", "exp")
    asked.modules = [fb, Other()]
    assert not list(ops.rows(asked))
    assert asked.failures[0] == "raising on flambeau: RuntimeError: not here"
    assert asked.failures[1].startswith("exp: ") and "apart" in asked.failures[1]


def test_samples_grow_to_the_size_that_is_asked_for() -> None:
    loaded = opdb.load()
    for name in ("add", "sum", "softmax", "matmul", "gather", "inv", "layer_norm", "index_select"):
        samples = loaded[name].samples
        assert samples is not None
        found = next(grown.candidates([samples], dt.float32, 1 << 14), None)
        assert found is not None and 1 << 10 <= grown.elements(found) <= 1 << 14, name
        plain = grown.plainest(samples, Maker(dt.float32))
        assert plain is not None and 1 < grown.elements(plain) <= 64, name


def test_grown_arrays_keep_their_kind() -> None:
    m = grown.GrownMaker(dt.float32, grown.WAYS[0], 10, 10_000)
    assert m(3, 1, 4).shape == (30, 1, 40)
    values = m.distinct(3, 4)
    assert values.shape == (30, 40) and len(np.unique(values)) == 1200
    index = m.index(5, high=4)
    assert index.shape == (50,) and 4 < index.max() < 40 and index.min() >= 0
    assert sorted(m.permutation(3)) == list(range(30)) and m.bools(2).dtype == bool
    assert m(300, 400).shape == (300, 400) and len(m.capped) == 1


def test_the_sweeps_own_samples_do_on_flambeau() -> None:
    loaded = opdb.load()
    for name, samples in sweep.OWN.items():
        assert name in loaded, name
        (sample,) = samples(Maker(dt.float32))
        path = sweep.ELSEWHERE.get(name) or next(
            p for p in (name, f"nn.functional.{name}", f"special.{name}") if callable(sweep.resolved(fb, p))
        )
        result = sweep.by_path(fb, loaded[name], path, sample)()
        assert result.numel() > 0, name


def test_the_worst_come_first() -> None:
    rows = [Row.of("s", name, [[r] * 3, [1.0] * 3]) for name, r in (("a", 1.0), ("b", 3.0), ("c", 2.0))]
    assert sweep.worst(rows, 2) == [("b", 3.0), ("c", 2.0)]
