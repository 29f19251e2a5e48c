"""flambeau beside PyTorch on the CPU, the two measured in turns in one run.

    python -m benchmarks [overhead] [ops] [loading] [models] [compiled] [distributed] [memory] [startup]
                         [--threads 1,all] ...
    python -m benchmarks --page RUN.json [SWEEP.json]

The first runs suites, all of them if none is named, and prints medians and their ratios, each with the quartiles of
the ratios of the rounds. --json keeps a run, --plots draws it. Results are compared too: the exit status is 1 when
flambeau's are not PyTorch's, and when a limit that the project holds itself to is exceeded. The second writes
docs/performance.md. ``pip install torch==2.13.0`` first: without PyTorch there are figures of flambeau alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

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
)
from benchmarks.measure import Row
from benchmarks.suite import Settings, Suite

SUITES: dict[str, Suite] = {
    "overhead": overhead.rows,
    "ops": ops.rows,
    "loading": loading.rows,
    "models": models.rows,
    "compiled": compiled.rows,
    "distributed": distributed.rows,
    "memory": memory.rows,
    "startup": startup.rows,
}


def threads(text: str) -> tuple[int, ...]:
    """``1,all`` as numbers, each once."""
    try:
        counts = [frameworks.cores() if part == "all" else int(part) for part in text.split(",")]
    except ValueError:
        counts = [0]
    if min(counts) < 1:
        raise argparse.ArgumentTypeError(f"takes numbers of threads from 1, or all, with commas between; got {text!r}")
    return tuple(dict.fromkeys(counts))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=", ".join(SUITES))
    parser.add_argument("--threads", type=threads, default=threads("1,all"), help="of ops, models and compiled: 1,all")
    parser.add_argument("--rounds", type=report.rounds, default=21, help="of each case at most: 21")
    parser.add_argument("--seconds", type=float, default=3.0, help="after which a case begins no new round: 3")
    parser.add_argument("-k", dest="part", default="", metavar="TEXT", help="only the cases with this in their names")
    parser.add_argument("--note", default="", help="what else is to be known of the machine")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the run")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="draw the ratios; needs matplotlib")
    parser.add_argument("--page", type=Path, nargs="+", metavar="FILE", help="write docs/performance.md from runs")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.suites if name not in SUITES]:
        parser.error(f"there is no suite {', '.join(unknown)}; there are {', '.join(SUITES)}")
    if options.page:
        page.PAGE.write_text(page.text([report.read(path) for path in options.page]), encoding="utf-8")
        return 0
    if options.plots and not plots.available():
        parser.error("--plots needs matplotlib: pip install matplotlib")
    settings = Settings(options.rounds, options.seconds, options.threads, lambda name: options.part in name)
    suites = {name: suite for name, suite in SUITES.items() if name in options.suites or not options.suites}
    facts = frameworks.facts() | {"note": options.note}

    def keep(rows: list[Row]) -> None:
        if options.json:
            report.write(options.json, report.Run(facts, rows, settings.failures))

    rows, status = report.show(settings, suites, {} if options.part else overhead.MEAN_LIMITS, keep)
    if options.plots:
        for path in plots.draw(options.plots, report.Run(facts, rows, settings.failures)):
            print(path)
    return status or int(startup.late(rows))


if __name__ == "__main__":
    sys.exit(main())
