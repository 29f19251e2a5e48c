"""docs/performance.md from runs that were kept as JSON: every case, those that were not measured too."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from typing import Final

from benchmarks import frameworks, loading, memory, models, ops, overhead, report, startup, sweep
from benchmarks.measure import Row
from benchmarks.report import Run

PAGE: Final = frameworks.ROOT / "docs" / "performance.md"
INTRODUCTION: Final = """\
# Performance

flambeau beside PyTorch on the CPU. Both run the same program in one process, in turns; a ratio is flambeau's time (or
memory) over PyTorch's, the median of the ratios of the rounds, and behind it their quartiles. Below 1 flambeau takes
less. Results are compared before times are: a case whose results differ has no row of figures.

    pip install torch==2.13.0 matplotlib
    python -m benchmarks --json run.json --plots .
    python -m benchmarks.sweep --json sweep.json
    python -m benchmarks --page run.json sweep.json

The last command writes this page.
"""
#: By suite: its heading and what is to be known of its rows.
HEADINGS: Final = {
    "overhead": ("Small ops", "What an op costs beside its arithmetic: vectors of 8 elements, on one thread."),
    "loading": (
        "Data loading",
        f"Samples a second of {' × '.join(map(str, loading.SHAPE))}, {loading.SAMPLES:,} of them in an epoch: made one "
        "by one in Python, in batches of 32, or rows of a tensor, in batches of 64.",
    ),
    "models": (
        "Models",
        "Networks of `benchmarks/workloads.py`, from the same weights on the same data, with the losses that PyTorch "
        "gets: a step is forward, backward and optimizer.",
    ),
    "memory": (
        "Memory",
        f"What a process that trains for {memory.STEPS} steps had resident at most, imports included, and what of "
        "that came after the import.",
    ),
    "startup": ("Start", "From a new process, with the bytecode cached."),
}  # fmt: skip


def text(runs: Sequence[Run]) -> str:
    """The page. Rows of the same case come from the last run that has it; ValueError for no run."""
    if not runs:
        raise ValueError("a page takes the JSON of a run, got none")
    rows = {(row.suite, row.name, row.threads): row for run in runs for row in run.rows}
    found = list(rows.values())
    parts = [INTRODUCTION, *_machines(runs), _summary(found)]
    parts += _section("overhead", list(overhead.cases(importlib.import_module("flambeau"))), found)
    parts += ["## Ops\n", "float32 throughout; forward alone unless the row says otherwise.\n"]
    for heading, cases in ops.GROUPS.items():
        parts += [f"### {heading}\n", _table(list(cases), [row for row in found if row.suite == "ops"])]
    parts += _section("loading", list(loading.CASES), found)
    parts += _section("models", [*models.CASES, models.CROWDED], found)
    parts += _section("memory", list(memory.CASES), found)
    parts += _section("startup", [*startup.CASES, startup.NUMPY], found)
    parts += _swept(found)
    if failures := [failure for run in runs for failure in run.failures]:
        parts.append("## What failed\n\n" + "\n".join(f"* {_cell(failure)}" for failure in failures) + "\n")
    return "\n".join(parts)


def _machines(runs: Sequence[Run]) -> list[str]:
    seen = dict.fromkeys((frameworks.described(run.facts), run.facts.get("note", "")) for run in runs)
    return [f"Measured on: {line}.{f' The machine is {note}.' * bool(note)}\n" for line, note in seen]


def _summary(rows: list[Row]) -> str:
    """Geometric means, by suite or group and number of threads."""
    kinds: dict[str, list[Row]] = {}
    for suite in HEADINGS:
        kinds[HEADINGS[suite][0]] = [row for row in rows if row.suite == suite]
    for heading, cases in ops.GROUPS.items():
        kinds[heading] = [row for row in rows if row.suite == "ops" and row.name in cases]
    lines = ["| geometric means of the ratios | cases | threads | ratio |", "|---|--:|--:|--:|"]
    for heading, chosen in kinds.items():
        for threads in sorted({row.threads for row in chosen}):
            part = [row for row in chosen if row.threads == threads and row.ratio is not None]
            if (mean := report.mean(part)) is not None:
                lines.append(f"| {heading} | {len(part)} | {threads} | {mean:.2f} |")
    return "\n".join(lines) + "\n"


def _section(suite: str, names: list[str], rows: list[Row]) -> list[str]:
    heading, words = HEADINGS[suite]
    return [f"## {heading}\n", f"{words}\n", _table(names, [row for row in rows if row.suite == suite])]


def _table(names: Iterable[str], rows: list[Row]) -> str:
    """A line for every name, with the figures of each number of threads."""
    names = list(names)
    held = {(row.name, row.threads): row for row in rows}
    counts = sorted({row.threads for row in rows if row.name in names}) or [1]
    heads = [f"{what}, {_threads(n)}" if len(counts) > 1 else what for n in counts for what in _COLUMNS]
    lines = ["| | " + " | ".join(heads) + " |", "|---|" + "--:|" * len(heads)]
    for name in names:
        cells = [cell for n in counts for cell in _cells(held.get((name, n)))]
        lines.append(f"| {_cell(name)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


_COLUMNS = ("flambeau", "PyTorch", "ratio")


def _cells(row: Row | None) -> list[str]:
    if row is None:
        return ["not measured", "", ""]
    ours, theirs, ratio, spread = report.cells(row)
    return [ours, theirs, f"{ratio} ({spread})" if ratio else ""]


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _cell(words: str) -> str:
    return words.replace("|", "\\|").replace("\n", " ")


def _swept(rows: list[Row]) -> list[str]:
    """The sweep over all ops in short."""
    parts = [
        "## Every op\n",
        "Ops of the op database that PyTorch has too, at three sizes, on one thread: as many as there was time for.\n",
    ]
    lines = ["| size | ops | geometric mean of the ratios | the largest ratios |", "|---|--:|--:|---|"]
    for size in sweep.SIZES:
        chosen = [row for row in rows if row.suite == sweep.suite_of(size)]
        mean, worst = report.mean(chosen), ", ".join(f"{n} {r:.1f}" for n, r in sweep.worst(chosen, 8))
        lines.append(f"| {size} | {len(chosen)} | {'not measured' if mean is None else f'{mean:.2f}'} | {worst} |")
    return [*parts, "\n".join(lines) + "\n"]
