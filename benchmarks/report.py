"""Rows as a table on the terminal and as JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import frameworks
from benchmarks.measure import Row, TooFewRounds, enough, geometric_mean
from benchmarks.suite import Settings, Suite


def rounds(text: str) -> int:
    """A number of rounds on the command line."""
    try:
        return enough(int(text))
    except TooFewRounds as error:
        raise argparse.ArgumentTypeError(str(error)) from None


# -- values ------------------------------------------------------------------------------------------
def shown(value: float, unit: str) -> str:
    """A median with the unit that suits its size."""
    if unit == "B":
        return f"{value / 2**20:.1f} MiB"
    if unit == "sample":
        return f"{1 / value:,.0f}/s"
    for factor, name in ((1e6, "µs"), (1e3, "ms")):
        if value * factor < 1000:
            return f"{value * factor:.3g} {name}" if value * factor < 100 else f"{value * factor:.0f} {name}"
    return f"{value:.3g} s"


def median(values: Sequence[float]) -> float:
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) / 2


def cells(row: Row) -> tuple[str, str, str, str]:
    """flambeau's median, PyTorch's or the rival's, their ratio and its quartiles, as texts."""
    ours, ratio = shown(median(row.ours), row.unit), row.ratio
    if row.other is None or ratio is None:
        return ours, "", "", ""
    middle, low, high = (f"{r:.2f}" if r < 10 else f"{r:.3g}" for r in ratio)
    return ours, shown(median(row.other), row.unit), middle, f"{low} to {high}"


def mean(rows: Iterable[Row]) -> float | None:
    """The geometric mean of the ratios; None where there are none."""
    ratios = [row.ratio.median for row in rows if row.ratio is not None]
    return geometric_mean(ratios) if ratios else None


# -- the terminal ------------------------------------------------------------------------------------
def line(row: Row) -> str:
    """A row, and below it each of its peers."""
    ours, theirs, ratio, spread = cells(row)
    limit = "" if row.limit is None or row.other is None else f"{row.limit:8.2f}{'  over' if row.exceeds else ''}"
    first = f"{row.name:60}{row.threads:>7}{ours:>12}{theirs:>12}{ratio:>8}{spread:>16}{limit}"
    return "\n".join([first, *(_peer(row, name) for name in row.peers)])


def _peer(row: Row, name: str) -> str:
    """With the ratio to it, where there is one to the rival."""
    if not row.peers[name]:
        return f"    {name:75}{'other losses':>12}"
    _, time, ratio, spread = cells(replace(row, rival=name if row.rival else ""))
    time = time or shown(median(row.peers[name]), row.unit)
    return f"    {name:75}{time:>12}{ratio:>8}{spread:>16}".rstrip()


def show(
    settings: Settings,
    suites: Mapping[str, Suite],
    mean_limits: Mapping[str, float] | None = None,
    keep: Callable[[list[Row]], None] = lambda rows: None,
) -> tuple[list[Row], int]:
    """Run suites and print their rows as they come: all rows, and the exit status, 1 for a limit that was exceeded
    and for results that are not PyTorch's. ``keep`` gets the rows so far after every suite.
    """
    enough(settings.rounds)
    print(frameworks.described(frameworks.facts()))
    if len(settings.modules) < 2:
        print(frameworks.WITHOUT_TORCH)
    print("medians; a ratio below 1 means that flambeau is faster (or takes less memory), with its quartiles")
    found: list[Row] = []
    over = False
    for name, suite in suites.items():
        print(f"\n{name:60}{'threads':>7}{'flambeau':>12}{'PyTorch':>12}{'ratio':>8}{'quartiles':>16}")
        rows = []
        for row in suite(settings):
            rows.append(row)
            print(line(row), flush=True)
        over |= any(row.exceeds for row in rows)
        for kind, threads in sorted({(row.suite, row.threads) for row in rows}):
            middle = mean(row for row in rows if (row.suite, row.threads) == (kind, threads))
            limit = (mean_limits or {}).get(kind)
            if middle is not None:
                missed = limit is not None and middle > limit
                over |= missed
                beside = "" if limit is None else f"{'':16}{limit:8.2f}{'  over' if missed else ''}"
                label = "geometric mean" if kind == name else f"geometric mean, {kind}"
                print(f"{label:60}{threads:>7}{'':24}{middle:8.2f}{beside}")
        found += rows
        keep(found)
    for text in settings.failures:
        print(f"failed: {text}", file=sys.stderr)
    return found, int(over or bool(settings.failures))


# -- JSON --------------------------------------------------------------------------------------------
@dataclass
class Run:
    """What was measured, where, and what failed."""

    facts: dict[str, Any]
    rows: list[Row]
    failures: list[str]


def write(path: Path, run: Run) -> None:
    rows = [json.dumps({k: _rounded(v) for k, v in asdict(row).items() if v not in ({}, "")}) for row in run.rows]
    head = f'"facts": {json.dumps(run.facts)},\n"failures": {json.dumps(run.failures)}'
    lines = ",\n".join(rows)
    path.write_text(f'{{{head},\n"rows": [\n{lines}\n]}}\n', encoding="utf-8")


def read(path: Path) -> Run:
    """ValueError for a file that :func:`write` did not write."""
    held = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(held, dict) or set(held) != {"facts", "failures", "rows"}:
        raise ValueError(f"{path} is no run of the benchmarks: python -m benchmarks --json {path} writes one")
    return Run(held["facts"], [_row(row) for row in held["rows"]], held["failures"])


def _row(held: dict[str, Any]) -> Row:
    theirs = held.pop("theirs")
    peers = {name: tuple(times) for name, times in held.pop("peers", {}).items()}
    return Row(ours=tuple(held.pop("ours")), theirs=None if theirs is None else tuple(theirs), peers=peers, **held)


def _rounded(value: Any) -> Any:
    """Times with the digits that mean something."""
    if isinstance(value, dict):
        return {name: _rounded(times) for name, times in value.items()}
    if isinstance(value, tuple):
        return [float(f"{v:.4g}") for v in value]
    return value
