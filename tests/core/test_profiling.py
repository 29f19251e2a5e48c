"""The profiler: what it counts, by which names, and what it writes."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

import flambeau as fb
from flambeau import nn
from flambeau.backends.strict import backend as strict


def rows(p: fb.profiler.profile, by: str = "op") -> dict[str, fb.profiler.Row]:
    return {row.name: row for row in p.rows(by)}


def test_rows_by_op_count_calls_and_bytes() -> None:
    x = fb.ones(4, 8)
    with fb.profiler.profile() as p:
        y = (x * 2 + x).sum()
        x.T  # noqa: B018 - a view moves no bytes
    found = rows(p)
    assert y.item() == 96
    assert [found[n].calls for n in ("mul", "add", "sum", "permute")] == [1, 1, 1, 1]
    assert found["mul"].bytes == 4 + 2 * 128  # the number, x and the result
    assert found["add"].bytes == 3 * 128 and found["sum"].bytes == 128 + 4
    assert found["permute"].bytes == 0
    assert all(row.microseconds > 0 for row in found.values())


def test_operands_of_other_dtypes_count_with_their_own_size() -> None:
    condition, x = fb.tensor([True, False, True, True]), fb.ones(4, dtype=fb.float64)
    with fb.profiler.profile() as p:
        fb.where(condition, x, x)
        x > 0  # noqa: B015
    found = rows(p)
    assert found["where"].bytes == 4 + 3 * 32
    assert found["gt"].bytes == 32 + 8 + 4


def test_rows_by_device_and_dtype() -> None:
    x, there = fb.ones(3, dtype=fb.float64), fb.ones(3, device="strict:1")
    with fb.profiler.profile() as p:
        x + x
        there + there
        there * there
    assert {n: r.calls for n, r in rows(p, "device").items()} == {"cpu": 1, "strict:1": 2}
    assert {n: r.calls for n, r in rows(p, "dtype").items()} == {"float64": 1, "float32": 2}
    with pytest.raises(ValueError, match="by must be 'op', 'device', 'module' or 'dtype', got 'size'"):
        p.rows("size")


def test_rows_by_module_carry_the_path() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.ReLU(), nn.Linear(4, 2)))
    x = fb.ones(5, 3)
    with fb.profiler.profile() as p:
        model(x).sum()
    modules = rows(p, "module")
    assert list(modules) == ["Sequential.0", "Sequential.1.0", "Sequential.1.1", "(top)"]
    assert [e.op for e in p.events if e.module == "Sequential.1.0"] == ["relu"]
    shapes = next(e.shapes for e in p.events if e.module == "Sequential.1.1" and len(e.shapes) > 1)
    assert shapes[0] == (5, 4)


def test_backward_is_watched() -> None:
    w = fb.ones(3, 3, requires_grad=True)
    with fb.profiler.profile() as p:
        (w @ w).sum().backward()
    assert rows(p)["matmul"].calls == 3


def test_a_fallback_shows_where_it_ran() -> None:
    from flambeau.core import config

    x = fb.eye(3, device="strict")
    with config.override(fallback="allow"), fb.profiler.profile() as p:
        fb.linalg.cholesky(x)
    assert "cholesky" in [e.op for e in p.events if e.device == "cpu"]


def test_table_lists_the_longest_first() -> None:
    x = fb.ones(300, 300)
    with fb.profiler.profile() as p:
        x + 1
        x @ x
    header, first, second = p.table().splitlines()
    assert header.split() == ["op", "calls", "time/us", "share", "mean/us", "bytes"]
    longest = max(p.rows(), key=lambda r: r.microseconds)
    assert first.split()[:2] == [longest.name, "1"]
    shares = [float(line.split()[3].rstrip("%")) for line in (first, second)]
    assert sum(shares) == pytest.approx(100, abs=0.2)
    assert len({len(line) for line in (header, first, second)}) == 1
    limited = p.table(limit=1).splitlines()
    assert limited[1].split()[3] == first.split()[3], "the share is of all events, not of those listed"


def test_an_empty_profile_has_an_empty_table() -> None:
    with fb.profiler.profile() as p:
        pass
    assert p.rows() == [] and len(p.table().splitlines()) == 1


def test_chrome_trace_is_valid(tmp_path: Path) -> None:
    model, x = nn.Linear(3, 4), fb.ones(2, 3)
    with fb.profiler.profile() as p:
        model(x)
        fb.ones(2, device="strict") + 1
    p.export_chrome_trace(tmp_path / "trace.json")
    trace = json.loads((tmp_path / "trace.json").read_text(encoding="utf-8"))
    events = trace["traceEvents"]
    names = {e["pid"]: e["args"]["name"] for e in events if e["ph"] == "M"}
    complete = [e for e in events if e["ph"] == "X"]
    assert sorted(names.values()) == ["cpu", "strict:0"]
    assert len(complete) == len(p.events) and {e["ph"] for e in events} == {"M", "X"}
    assert all(e["dur"] >= 0 and e["ts"] >= 0 and e["tid"] == threading.get_ident() for e in complete)
    assert [e["ts"] for e in complete] == sorted(e["ts"] for e in complete)
    assert {names[e["pid"]] for e in complete if e["name"] == "add"} == {"strict:0"}
    inside = [e for e in complete if e["args"]["module"] == "Linear"]
    assert inside and [2, 3] in inside[0]["args"]["shapes"]


def test_nested_profiles_each_see_the_kernels_inside_them() -> None:
    x = fb.ones(3)
    with fb.profiler.profile() as outer:
        x + 1
        with fb.profiler.profile() as inner:
            x * 2
        x - 1
    assert [e.op for e in inner.events] == ["mul"]
    assert [e.op for e in outer.events] == ["add", "mul", "sub"]
    x + 1
    assert len(outer.events) == 3


def test_a_profile_inside_itself_counts_once_and_can_go_on() -> None:
    x = fb.ones(3)
    p = fb.profiler.profile()
    with p:
        with p:
            x + 1
        x * 2
    x - 1
    with p:
        x / 2
    assert [e.op for e in p.events] == ["add", "mul", "div"]
    assert p.events[2].start > p.events[1].start


def test_as_a_decorator() -> None:
    p = fb.profiler.profile()

    @p
    def double(x: fb.Tensor) -> fb.Tensor:
        return x * 2

    double(double(fb.ones(2)))
    assert rows(p)["mul"].calls == 2


def test_threads_are_watched_where_they_enter() -> None:
    p = fb.profiler.profile()
    inside, go_on = threading.Barrier(3), threading.Barrier(3)

    def work(enter: bool) -> None:
        x = fb.ones(3)
        inside.wait(10)
        if enter:
            with p:
                x * 2
                go_on.wait(10)
        else:
            x / 2
            go_on.wait(10)
        x - 1

    workers = [threading.Thread(target=work, args=(enter,)) for enter in (True, False)]
    for w in workers:
        w.start()
    x = fb.ones(3)
    with p:
        inside.wait(10)
        x + 1
        go_on.wait(10)
        for w in workers:
            w.join(10)
        x + 2
    assert sorted(e.op for e in p.events) == ["add", "add", "mul"]
    assert {e.thread for e in p.events if e.op == "mul"} == {workers[0].ident}


def test_errors_pass_through_and_the_profile_ends() -> None:
    x, longer = fb.ones(3), fb.ones(4)
    with pytest.raises(RuntimeError), fb.profiler.profile() as p:
        x + longer
    x + 1
    assert p.events == []


def test_synchronize_waits_for_the_device_and_its_late_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[int] = []
    monkeypatch.setattr(strict.instance(), "synchronize", lambda index=0: waited.append(index))
    x = fb.ones(3, device="strict:1")
    with fb.profiler.profile():
        x + x
    assert waited == [1]
    with fb.profiler.profile(synchronize=False) as p:
        x + x
    assert waited == [1] and len(p.events) == 1


def test_results_do_not_change() -> None:
    x = fb.randn(4, 4, requires_grad=True)

    def loss() -> fb.Tensor:
        y = x.exp().softmax(1)
        z = y.clone()
        z.mul_(2).add_(y)
        return z.square().sum()

    plain = loss()
    (expected,) = fb.autograd.grad(plain, x)
    with fb.profiler.profile():
        watched = loss()
        (found,) = fb.autograd.grad(watched, x)
    assert watched.item() == plain.item() and found.tolist() == expected.tolist()
