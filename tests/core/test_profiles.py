"""PyTorch's API of the profiler: schedules, named parts, averages and traces."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any, get_args

import pytest

import flambeau as fb
from flambeau.profiler import (
    ProfilerAction,
    ProfilerActivity,
    profile,
    record_function,
    schedule,
    supported_activities,
    tensorboard_trace_handler,
)  # fmt: skip


def test_schedules() -> None:
    plan = schedule(wait=1, warmup=1, active=2, repeat=2, skip_first=1)
    letters = {a: a.name[0] for a in ProfilerAction} | {ProfilerAction.RECORD_AND_SAVE: "S"}
    assert "".join(letters[plan(i)] for i in range(12)) == "NNWRSNWRSNNN"
    with pytest.raises(ValueError, match="active must be 1 or more"):
        schedule(wait=0, warmup=0, active=0)


def test_only_the_steps_of_the_plan_are_recorded() -> None:
    ready: list[tuple[int, int]] = []

    def note(p: Any) -> None:
        ready.append((p.step_num, sum(e.op == "exp" for e in p.events)))

    with profile(schedule=schedule(wait=1, warmup=1, active=2, repeat=2), on_trace_ready=note) as p:
        for _ in range(9):
            fb.ones(2).exp()
            p.step()
    assert ready == [(3, 2), (7, 2)]


def test_named_parts_hold_what_runs_inside() -> None:
    with profile(activities=[ProfilerActivity.CPU], with_stack=True) as p, record_function("outer"):
        fb.ones(2).exp()
        with record_function("inner"):
            fb.ones(2).sin()
    events = p.events()
    by_name = {e.name: e for e in events}
    assert by_name["inner"].cpu_parent is by_name["outer"] and by_name["aten::sin"].cpu_parent is by_name["inner"]
    averages = p.key_averages()
    outer = next(a for a in averages if a.key == "outer")
    assert outer.count == 1 and outer.cpu_time_total > outer.self_cpu_time_total >= 0
    assert averages.self_cpu_time_total == pytest.approx(by_name["outer"].cpu_time_total)
    assert any("test_profiles.py" in place for place in by_name["aten::exp"].stack)
    assert ProfilerActivity.CPU in supported_activities()


def test_tables() -> None:
    with profile() as p:
        for _ in range(3):
            fb.ones(2, 3).exp()
    table = p.key_averages().table(sort_by="cpu_time_total", row_limit=1)
    assert table.count("aten::") == 1 and "Self CPU time total:" in table
    shaped = p.key_averages(group_by_input_shape=True).table()
    assert "[[2, 3]]" in shaped and "# of Calls" in shaped
    with pytest.raises(ValueError, match="sort_by must be a name"):
        p.key_averages().table(sort_by="nothing")


def test_traces(tmp_path: Path) -> None:
    with profile(on_trace_ready=tensorboard_trace_handler(str(tmp_path), "me"), with_stack=True) as p:
        p.add_metadata("run", "first")
        p.add_metadata_json("settings", '{"rate": [0.5, 1]}')
        with record_function("mine"):
            fb.ones(2).exp()
    (file,) = tmp_path.iterdir()
    trace = json.loads(file.read_text())
    assert trace["run"] == "first" and trace["settings"] == {"rate": [0.5, 1]}
    assert {"mine", "exp"} <= {e["name"] for e in trace["traceEvents"]}
    p.export_stacks(tmp_path / "stacks")
    assert ";exp " in (tmp_path / "stacks").read_text()


def test_kineto_profile_is_started_and_stopped() -> None:
    p = fb.profiler._KinetoProfile(activities=[ProfilerActivity.CPU], record_shapes=True)
    p.start()
    fb.ones(2, 3).exp()
    p.stop()
    fb.ones(2).sin()
    found = {a.key: a.count for a in p.key_averages(group_by_input_shape=True)}
    assert found["aten::exp"] == 1 and "aten::sin" not in found


def test_profiles_of_other_tools_are_refused(tmp_path: Path) -> None:
    from flambeau.autograd.profiler import load_nvprof, parse_nvprof_trace

    for read in (load_nvprof, parse_nvprof_trace):
        with pytest.raises(RuntimeError, match="files of nvprof are not read"):
            read(str(tmp_path / "trace"))


def test_the_latest_value_of_a_statistic() -> None:
    values = fb.monitor.Stat("rate", [fb.monitor.Aggregation.VALUE], datetime.timedelta(hours=1), max_samples=2)
    values.add(1.0)
    values.add(0.25)
    assert values.get() == {fb.monitor.Aggregation.VALUE: 0.25}


def test_data_of_events_are_plain_values() -> None:
    event = fb.monitor.Event("start", datetime.datetime.now(), {"step": 1, "rate": 0.5, "text": "a", "on": True})
    assert {type(v) for v in event.data.values()} == set(get_args(fb.monitor.data_value_t))
