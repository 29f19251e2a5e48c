"""Ratios of a run as bars with whiskers, one picture for a suite."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from benchmarks.measure import Row
from benchmarks.report import Run

TICKS = [digit * 10.0**power for power in range(-4, 5) for digit in (1, 2, 5)]
COLOURS = ("#2a6f97", "#e07a5f", "#81b29a", "#6d597a")


def available() -> bool:
    return importlib.util.find_spec("matplotlib") is not None


def draw(folder: Path, run: Run) -> list[Path]:
    """Write ``SUITE.png`` for every suite that was measured beside another; the files."""
    folder.mkdir(parents=True, exist_ok=True)
    suites = dict.fromkeys(row.suite for row in run.rows)
    compared = {suite: [r for r in run.rows if r.suite == suite and r.other is not None] for suite in suites}
    return [_picture(folder / f"{suite}.png", suite, rows, run.facts) for suite, rows in compared.items() if rows]


def _picture(path: Path, suite: str, rows: list[Row], facts: dict[str, Any]) -> Path:
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullLocator

    names = list(dict.fromkeys(row.name for row in rows))
    counts = sorted({row.threads for row in rows})
    height = 0.8 / len(counts)
    figure = Figure(figsize=(9, 1.6 + len(names) * (0.1 + 0.08 * len(counts))), layout="constrained")
    axes = figure.subplots()
    for k, threads in enumerate(counts):
        chosen = [(row, ratio) for row in rows if row.threads == threads and (ratio := row.ratio) is not None]
        places = [names.index(row.name) + (k - (len(counts) - 1) / 2) * height for row, _ in chosen]
        middles = [ratio.median for _, ratio in chosen]
        whiskers = [[r.median - r.low for _, r in chosen], [r.high - r.median for _, r in chosen]]
        axes.barh(
            places, [m - 1 for m in middles], height, left=1, xerr=whiskers, color=COLOURS[k % len(COLOURS)],
            error_kw={"elinewidth": 0.8, "capsize": 1.5}, label=f"{threads} thread{'s' * (threads > 1)}",
        )  # fmt: skip
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    first, last = axes.get_xlim()
    axes.set_xticks([t for t in TICKS if first <= t <= last], minor=False)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="x", linewidth=0.4)
    axes.set_axisbelow(True)
    other = "the best of the others" if any(row.peers for row in rows) else "PyTorch"
    axes.set_xlabel(f"flambeau over {other}, below 1 flambeau takes less; whiskers are quartiles", fontsize=9)
    axes.set_title(f"{suite}: {facts['processor']}, commit {facts['commit']}", fontsize=10)
    if len(counts) > 1:
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=130)
    return path
