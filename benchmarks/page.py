"""docs/performance.md from runs that were kept as JSON: every case, those that were not measured too."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from typing import Final

from benchmarks import compiled, distributed, frameworks, loading, memory, models, ops, overhead, report, startup, sweep
from benchmarks.measure import Row
from benchmarks.report import Run

PAGE: Final = frameworks.ROOT / "docs" / "performance.md"
INTRODUCTION: Final = """\
# Performance

flambeau beside PyTorch on the CPU. Both run the same program in one process, in turns; a ratio is flambeau's time (or
memory) over PyTorch's, the median of the ratios of the rounds, and behind it their quartiles. Below 1 flambeau takes
less. Results are compared before times are: a case whose results differ has no row of figures.

    pip install torch==2.13.0 jax==0.10.2 matplotlib
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
    compiled.STEPS: (
        "Compiled training steps",
        "The same steps where each framework compiles what it can. flambeau's `fb.compile` has all of a step in it: "
        "forward, backward and optimizer. torch.compile has the network and the loss, with their backward; the step of "
        "PyTorch's optimizer is its own. jax.jit has all of a step that is written for JAX (`benchmarks/in_jax.py`), "
        "in memory that it may reuse. These, and flambeau and PyTorch without a compiler, take turns in one process. "
        "The ratio is to the best of PyTorch, torch.compile and jax.jit, whose time is in bold; where losses are not "
        "those of PyTorch without a compiler there is no time. The limit is what the "
        "project holds itself to. JAX has as many threads as the environment's `NPROC` says when it starts, and that "
        "a step on one thread keeps but one core busy is checked.",
    ),
    compiled.OPENCL: (
        "Compiled training steps on OpenCL",
        "All of a step in `fb.compile`, beside the same step without, on the first OpenCL device.",
    ),
    compiled.COMPILING: (
        "Time of compiling",
        f"What the first {compiled.FIRST} steps of a new process take beyond as many later ones, measured once: with "
        "nothing kept on disk, and again in another process with what the first kept there. What is loaded at first "
        "use is in it, the import itself is not.",
    ),
    "distributed": (
        "Data parallel training",
        f"A step of DistributedDataParallel over {distributed.RANKS} ranks with one thread each, which share the batch "
        "that one rank has alone, in turns in one job. The other is one rank without it, or PyTorch's over gloo. Two "
        "ranks need two idle cores.",
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
    parts += _compiled(found)
    parts += [*_words("distributed"), _beside(list(distributed.CASES), rows=found)]
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
    return [*_words(suite), _table(names, [row for row in rows if row.suite == suite])]


def _words(suite: str) -> list[str]:
    heading, words = HEADINGS[suite]
    return [f"## {heading}\n", f"{words}\n"]


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


def _compiled(rows: list[Row]) -> list[str]:
    """Tables of the compiled steps, one for each number of threads, of those on OpenCL, and of what compiling takes."""
    parts = _words(compiled.STEPS)
    for threads in sorted({row.threads for row in rows if row.suite == compiled.STEPS}) or [1]:
        chosen = [row for row in rows if row.suite == compiled.STEPS and row.threads == threads]
        parts += [f"### On {_threads(threads)}\n", _peers(list(compiled.LIMITS), chosen, compiled.SIDES, compared=True)]
    for suite, names, sides in (
        (compiled.OPENCL, compiled.OPENCL_LIMITS, (compiled.OURS, compiled.EAGER)),
        (compiled.COMPILING, compiled.TIMES, compiled.COMPILERS),
    ):
        chosen = [row for row in rows if row.suite == suite]
        parts += [*_words(suite), _peers(list(names), chosen, sides, compared=suite == compiled.OPENCL)]
    return parts


def _peers(names: list[str], rows: list[Row], sides: Iterable[str], *, compared: bool) -> str:
    """A line for every name with the time of each side, flambeau's first; their ratio too where they are compared."""
    held = {row.name: row for row in rows}
    ours, *others = sides
    heads = [ours, *others, *(["ratio", "limit"] if compared else [])]
    lines = ["| | " + " | ".join(heads) + " |", "|---|" + "--:|" * len(heads)]
    for name in names:
        row = held.get(name)
        if row is None:
            cells = ["not measured", *[""] * (len(heads) - 1)]
        else:
            mine, _, ratio, spread = report.cells(row)
            cells = [mine, *(_peer(row, side) for side in others)]
            cells += [f"{ratio} ({spread})" if ratio else "", f"{row.limit:g}"] if compared else []
        lines.append(f"| {_cell(name)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _beside(names: list[str], rows: list[Row]) -> str:
    """A line for every name with the times of flambeau and of what it is compared with."""
    held = {row.name: row for row in rows if row.suite == "distributed"}
    lines = ["| | flambeau | the other | ratio | limit |", "|---|--:|--:|--:|--:|"]
    for name in names:
        row = held.get(name)
        cells = _cells(row) if row is None else [*_cells(row)[:1], _peer(row, row.rival), _cells(row)[2]]
        lines.append(f"| {_cell(name)} | " + " | ".join([*cells, f"{distributed.CASES[name][2]:g}"]) + " |")
    return "\n".join(lines) + "\n"


def _peer(row: Row, side: str) -> str:
    """A side's median, in bold if the ratio is to it."""
    if side not in row.peers:
        return "not installed"
    if not row.peers[side]:
        return "other losses"
    time = report.shown(report.median(row.peers[side]), row.unit)
    return f"**{time}**" if side == row.rival else time


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
