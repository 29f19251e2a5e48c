"""What becomes of a run: JSON, tables, pictures, and the page on performance."""

from __future__ import annotations

from pathlib import Path

import pytest

import flambeau
from benchmarks import (
    compiled,
    distributed,
    frameworks,
    loading,
    memory,
    models,
    ops,
    overhead,
    page,
    plots,
    report,
    startup,
    sweep,
)  # fmt: skip
from benchmarks.measure import Row
from benchmarks.report import Run
from benchmarks.suite import Settings

FACTS = {
    "date": "2026-01-02", "processor": "a processor", "cores": 2, "load": 0.5, "system": "Linux", "commit": "abc1234",
    "torch": "2.13.0", "numpy": "2.3", "python": "3.11", "note": "shared",
}  # fmt: skip
NAMES = {
    "overhead": list(overhead.cases(flambeau)),
    "ops": list(ops.CASES),
    "loading": list(loading.CASES),
    "models": list(models.CASES),
    "compiled": [*compiled.LIMITS, *compiled.OPENCL_LIMITS, *compiled.TIMES],
    "distributed": list(distributed.CASES),
    "memory": list(memory.CASES),
    "startup": [*startup.CASES, startup.NUMPY],
}
ROWS = [
    Row.of("ops", "exp", [[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]]),
    Row.of("ops", "exp", [[1.0, 1.0, 1.0], [4.0, 4.0, 4.0]], threads=2),
    Row.of("ops", "add", [[3.0, 3.0, 3.0]]),
    Row.of(sweep.suite_of("tiny"), "softmax", [[9.0] * 3, [1.0] * 3]),
]


PEERS = {"flambeau": (3.0,) * 3, "PyTorch": (5.0,) * 3, "torch.compile": (4.0,) * 3}
COMPILED = [
    Row(compiled.STEPS, "gpt", (2.0,) * 3, limit=0.7, peers=PEERS, rival="torch.compile"),
    Row(compiled.STEPS, "gpt", (1.0,) * 3, threads=2, limit=0.7, peers={"flambeau": (3.0,) * 3, "torch.compile": ()}),
    Row(
        compiled.OPENCL,
        "gpt, OpenCL",
        (2.0,) * 3,
        threads=2,
        limit=0.7,
        peers={"flambeau": (4.0,) * 3},
        rival="flambeau",
    ),
    Row(
        compiled.COMPILING, "gpt, compile time", (2.0,), peers={"flambeau, compiled, again": (1.0,), "jax.jit": (4.0,)}
    ),
]


def test_the_page_lists_every_case_with_its_figures_or_without() -> None:
    text = page.text([Run(FACTS, ROWS, ["softmax: it | differs"])])
    lines = text.splitlines()
    for suite, names in NAMES.items():
        for name in names:
            assert any(line.startswith(f"| {name} |") for line in lines), (suite, name)
    (exp,) = [line for line in lines if line.startswith("| exp |")]
    assert exp == "| exp | 2 s | 4 s | 0.50 (0.50 to 0.50) | 1 s | 4 s | 0.25 (0.25 to 0.25) |"
    (add,) = [line for line in lines if line.startswith("| add | 3 s")]
    assert add == "| add | 3 s |  |  | not measured |  |  |"
    assert "| Elementwise, 10 M elements | 1 | 1 | 0.50 |" in lines
    assert "| tiny | 1 | 9.00 | softmax 9.0 |" in lines and "| large | 0 | not measured |  |" in lines
    assert "a processor" in text and "abc1234" in text and "The machine is shared." in text
    assert "* softmax: it \\| differs" in lines


def test_compiled_steps_stand_beside_each_peer_with_the_best_of_them_in_bold() -> None:
    lines = page.text([Run(FACTS, COMPILED, [])]).splitlines()
    one, two = lines.index("### On 1 thread"), lines.index("### On 2 threads")
    heads = "| | flambeau, compiled | flambeau | PyTorch | torch.compile | jax.jit | ratio | limit |"
    assert lines[one + 2] == lines[two + 2] == heads
    first, second = (line for line in lines[one:] if line.startswith(("| gpt | 2 s", "| gpt | 1 s")))
    assert first == "| gpt | 2 s | 3 s | 5 s | **4 s** | not installed | 0.50 (0.50 to 0.50) | 0.7 |"
    assert second == "| gpt | 1 s | 3 s | not installed | other losses | not installed |  | 0.7 |"
    assert "| gpt, OpenCL | 2 s | **4 s** | 0.50 (0.50 to 0.50) | 0.7 |" in lines
    assert "| gpt, compile time | 2 s | 1 s | not installed | not installed | 4 s |" in lines
    assert "| Compiled training steps | 1 | 1 | 0.50 |" in lines
    assert "| Compiled training steps on OpenCL | 1 | 2 | 0.50 |" in lines


def test_data_parallel_steps_stand_beside_what_they_are_compared_with() -> None:
    name = next(iter(distributed.CASES))
    _, other, limit = distributed.CASES[name]
    row = Row("distributed", name, (1.0,) * 3, limit=limit, peers={other: (2.0,) * 3}, rival=other)
    assert f"| {name} | 1 s | **2 s** | 0.50 (0.50 to 0.50) | {limit:g} |" in page.text([Run(FACTS, [row], [])])


def test_a_page_takes_rows_of_several_runs_and_of_each_case_the_last() -> None:
    later = Run(FACTS, [Row.of("ops", "exp", [[8.0] * 3, [4.0] * 3])], [])
    assert "| exp | 8 s | 4 s | 2.00 (2.00 to 2.00) |" in page.text([Run(FACTS, ROWS, []), later])
    with pytest.raises(ValueError, match="JSON of a run"):
        page.text([])


def test_a_run_comes_back_from_json(tmp_path: Path) -> None:
    run = Run(FACTS, [*ROWS, *COMPILED], ["something"])
    report.write(tmp_path / "run.json", run)
    assert report.read(tmp_path / "run.json") == run
    lines = (tmp_path / "run.json").read_text().splitlines()
    assert ["peers" in line for line in lines if '"suite"' in line] == [False] * len(ROWS) + [True] * len(COMPILED)
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(ValueError, match="is no run of the benchmarks"):
        report.read(tmp_path / "other.json")


def test_suites_are_shown_with_means_limits_and_failures(capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(modules=[flambeau], failures=["an op: wrong"])
    kept: list[Row] = []
    rows, status = report.show(settings, {"ops": lambda _: iter(ROWS[:3])}, keep=kept.extend)
    shown = capsys.readouterr()
    assert rows == kept == ROWS[:3] and status == 1 and "failed: an op: wrong" in shown.err
    assert frameworks.WITHOUT_TORCH in shown.out and "geometric mean" in shown.out
    assert report.show(Settings(modules=[flambeau] * 2), {"ops": lambda _: iter(ROWS[:2])}, {"ops": 0.6})[1] == 0
    assert report.show(Settings(modules=[flambeau] * 2), {"ops": lambda _: iter(ROWS[:2])}, {"ops": 0.3})[1] == 1


def test_peers_are_shown_below_with_the_ratios_to_them(capsys: pytest.CaptureFixture[str]) -> None:
    first, *peers = report.line(COMPILED[0]).splitlines()
    assert first.split() == ["gpt", "1", "2", "s", "4", "s", "0.50", "0.50", "to", "0.50", "0.70"]
    assert [line.split() for line in peers] == [
        ["flambeau", "3", "s", "0.67", "0.67", "to", "0.67"], ["PyTorch", "5", "s", "0.40", "0.40", "to", "0.40"],
        ["torch.compile", "4", "s", "0.50", "0.50", "to", "0.50"],
    ]  # fmt: skip
    assert report.line(COMPILED[3]).splitlines()[1].split() == ["flambeau,", "compiled,", "again", "1", "s"]
    assert report.line(COMPILED[1]).splitlines()[2].split() == ["torch.compile", "other", "losses"]
    report.show(Settings(modules=[flambeau] * 2), {"compiled": lambda _: iter(COMPILED)})
    assert "geometric mean, compiled, OpenCL" in capsys.readouterr().out


def test_pictures_are_of_what_was_compared(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    alone = Row.of("startup", "import", [[1.0] * 3])
    drawn = plots.draw(tmp_path, Run(FACTS, [*ROWS[:3], alone, *COMPILED[:2]], []))
    assert drawn == [tmp_path / "ops.png", tmp_path / "compiled.png"]
    assert (tmp_path / "ops.png").stat().st_size > 5000
