"""``python -m flambeau.distributed.plan``: the table of a model on many ranks."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from typing import Final

from flambeau.distributed.plan import Link, PlanError, Prediction, Setting
from flambeau.distributed.plan import plan as planned
from flambeau.distributed.plan.profile import Profile, measure
from flambeau.distributed.plan.recording import OPTIMIZERS
from flambeau.distributed.plan.workloads import WORKLOADS, workload_of

_BYTES: Final = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30}
_SECONDS: Final = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def _quantity(text: str, pattern: str, what: str) -> tuple[float, str]:
    found = re.fullmatch(rf"\s*([0-9.]+(?:e[+-]?[0-9]+)?)\s*{pattern}\s*", text, re.IGNORECASE)
    try:
        number = float(found[1]) if found else 0.0
    except ValueError:
        number = 0.0
    if not found or (number <= 0 and what != "latency"):
        raise argparse.ArgumentTypeError(f"{text!r} is no {what}")
    return number, found[2]


def size(text: str) -> float:
    """Bytes: ``80GiB``, ``16e9``.

    >>> size("2GiB")
    2147483648.0
    """
    number, unit = _quantity(text, "([kmgt]?i?)b?", "size, such as 80GiB")
    if unit.lower() not in _BYTES:
        raise argparse.ArgumentTypeError(f"{text!r} is no size, such as 80GiB")
    return number * _BYTES[unit.lower()]


def bandwidth(text: str) -> float:
    """Bytes per second: ``12.5GB/s``, or bits as ``100Gb/s``.

    >>> bandwidth("100Gb/s") == bandwidth("12.5 GB/s")
    True
    """
    number, unit = _quantity(text, "([kmgt]?i?b)/s", "bandwidth, such as 12.5GB/s or 100Gb/s")
    return number * _BYTES[unit[:-1].lower()] / (8 if unit.endswith("b") else 1)


def latency(text: str) -> float:
    """Seconds: ``5us``, ``1ms``.

    >>> latency("1.5ms")
    0.0015
    """
    number, unit = _quantity(text, "(s|ms|us|µs|ns)", "latency")
    return number * _SECONDS[unit.lower()]


def _whole(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


def _several(text: str) -> list[int]:
    return [_whole(part) for part in text.split(",")]


def parser() -> argparse.ArgumentParser:
    """What the command takes."""
    made = argparse.ArgumentParser(prog="python -m flambeau.distributed.plan", description=__doc__)
    add = made.add_argument
    add("model", help=f"{', '.join(WORKLOADS)}, or FILE.py:FUNCTION, which makes (model, inputs, target) of a batch")
    add("--ranks", type=_several, required=True, metavar="N[,N...]", help="how many ranks; one table for each")
    add("--bandwidth", type=bandwidth, required=True, help="between two ranks, such as 12.5GB/s or 100Gb/s")
    add("--latency", type=latency, required=True, help="of a message, such as 5us")
    add("--memory", type=size, help="what a rank has, such as 80GiB")
    add("--batch", type=_whole, default=8, help="samples for each rank (default: 8)")
    add("--microbatches", type=_whole, help="of a pipeline (default: the fastest number)")
    add("--tensor", type=_whole, metavar="RANKS", help="that share a layer (default: the fastest number)")
    add("--pipeline", type=_whole, metavar="STAGES", help="of a pipeline (default: the fastest number)")
    add("--optimizer", choices=sorted(OPTIMIZERS), default="adamw")
    add("--device", help="where the step is measured (default: the default device)")
    add("--repeats", type=_whole, default=5, help="steps that are measured (default: 5)")
    add("--no-overlap", action="store_true", help="ranks do not compute while they communicate")
    return made


def amount(number: float) -> str:
    """Bytes for people.

    >>> amount(123456789)
    '118 MiB'
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1024
    return f"{number:.3g} TiB" if number < 1000 else f"{number:,.0f} TiB"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.4g}"


def table(rows: Sequence[Prediction], samples: int, memory: float | None = None) -> str:
    """A table in Markdown of predictions for a step of so many ``samples`` in all."""
    head = ["way", "division", "step, ms", "computing, ms", "waiting, ms", "sent by a rank", "memory of a rank",
            "samples/s"]  # fmt: skip
    lines = [head, ["---", "---", *["---:"] * 6]]
    for r in rows:
        held = amount(r.memory) + (" (too much)" if memory is not None and r.memory > memory else "")
        lines.append([
            r.strategy, r.division, _ms(r.seconds), _ms(r.compute), _ms(r.waiting), amount(r.sent), held,
            f"{samples / r.seconds:,.0f}",
        ])  # fmt: skip
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def page(profile: Profile, given: argparse.Namespace) -> str:
    """All tables that were asked for."""
    link = Link(given.bandwidth, given.latency)
    parts = [
        f"{given.model}: {amount(profile.parameter_bytes)} of parameters, {given.batch} samples for each rank, "
        f"{_ms(profile.step(given.batch))} ms on one rank, {len(profile.kernels)} kernels"
    ]
    for ranks in given.ranks:
        setting = Setting(ranks, link, given.batch, not given.no_overlap, given.microbatches)
        rows = planned(profile, setting, given.memory, given.tensor, given.pipeline)
        title = f"{ranks} rank{'s' if ranks > 1 else ''}, {ranks * given.batch} samples"
        parts.append(f"{title}\n\n{table(rows, ranks * given.batch, given.memory)}")
    return "\n\n".join(parts)


def main(arguments: Sequence[str] | None = None, show: Callable[[str], object] = print) -> int:
    """Measure, predict, print; 2 where something cannot be planned."""
    given = parser().parse_args(arguments)
    try:
        make = workload_of(given.model)
        show(page(measure(make, given.batch, given.optimizer, given.repeats, given.device), given))
    except PlanError as error:
        print(f"plan: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
