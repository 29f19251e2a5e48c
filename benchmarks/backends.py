"""What each backend costs to write, in lines and kernels, and to run, beside the CPU's in one process.

    pip install wgpu "jax[cpu]" "mlx[cpu]" ./plugins/jax ./plugins/mlx ./plugins/webgpu
    python -m benchmarks.backends [--devices cpu opencl jax ...] [--rounds 7] [--seconds 8] [--page]

Devices that are not there are left out. All devices take turns; a ratio is a device's time over that of the CPU's
backend, the median of those of the rounds. Everything here runs on the processor, so that the ratios say what the way
to a kernel costs and how far the kernels are from those made for the processor; of a GPU they say nothing. ``--page``
writes docs/results/backends.md.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import flambeau as fb
from benchmarks import frameworks
from benchmarks.measure import Spread, interleaved, paired
from benchmarks.models import TOLERANCE
from benchmarks.suite import difference
from benchmarks.workloads import WORKLOADS, Training
from flambeau.core import dtype as dt
from flambeau.core import registry
from flambeau.core.device import device as Device
from flambeau.plugins import coverage
from flambeau.plugins.conformance import opdb

PAGE: Final = frameworks.ROOT / "docs" / "results" / "backends.md"
COMPARED: Final = ("mlp", "lenet", "gpt", "lstm")
STEPS: Final = 3  # whose losses must agree before anything is timed


class Source(NamedTuple):
    """Where the code of a backend stands: what is its own, and what it shares with others."""

    own: str
    shared: tuple[str, ...] = ()
    text: str = ""


LAUNCHED: Final = ("backends/launched", "backends/dialect")
SOURCES: Final = {
    "cpu": Source("backends/cpu", ("backends/llvm", "backends/xp"), "numpy, and machine code through llvmlite"),
    "opencl": Source("backends/opencl", LAUNCHED, "PyOpenCL; kernels in the C dialect"),
    "cuda": Source("backends/cuda", (*LAUNCHED, "backends/xp"), "CuPy; the same kernels"),
    "strict": Source("backends/strict", (), "the contract's least, for tests"),
    "narrow": Source("backends/narrow", (), "no 64-bit numbers, for tests"),
    "jax": Source("plugins/jax/flambeau_jax", (), "a package of its own, on JAX"),
    "mlx": Source("plugins/mlx/flambeau_mlx", (), "a package of its own, on MLX"),
    "webgpu": Source("plugins/webgpu/flambeau_webgpu", (), "a package of its own, on wgpu; kernels in WGSL"),
}


def lines(folder: str) -> int:
    """Of Python, in the files of a folder of the checkout and those below it."""
    return sum(len(file.read_text().splitlines()) for file in (frameworks.ROOT / folder).rglob("*.py"))


def served(name: str) -> Counter[str]:
    """How many ops on float32 a device serves by a kernel, by a body of other ops, in part and not at all."""
    target = Device(name, 0)
    found = (coverage.cover(op, dt.float32, target) for op in opdb.load().values())
    return Counter(cover.state for cover in found if cover is not None)


def reason(name: str) -> str | None:
    """Why a device is not there; None where it is."""
    try:
        return registry.get_backend(name).unavailable_reason()
    except (ValueError, RuntimeError) as error:  # of a device type that nobody registered
        return str(error).splitlines()[0]


# -- what is timed -----------------------------------------------------------------------------------
Program = Callable[[], object]


def _add(size: int, times: int) -> Callable[[str], Program]:
    """Additions that wait for one another; a number is read, since lazy devices leave out what nobody reads."""

    def made(name: str) -> Program:
        x = fb.ones(size, device=name)

        def program() -> float:
            y = x
            for _ in range(times):
                y = y + x
            return float(y[-1].item())

        return program

    return made


def _training(workload: str) -> Callable[[str], Program]:
    return lambda name: Training(fb, WORKLOADS[workload], None, name).step


CASES: Final[Mapping[str, Callable[[str], Program]]] = {
    **{f"training step, {name}": _training(name) for name in COMPARED},
    "add of 10 M": _add(10_000_000, 1),
    "100 adds of 8": _add(8, 100),
}


def ratios(case: str, devices: Sequence[str], rounds: int, seconds: float) -> dict[str, tuple[float, Spread | None]]:
    """By device the median of the seconds, and the ratio to the first device; RuntimeError where losses differ."""
    programs = [CASES[case](name) for name in devices]
    if case.startswith("training"):
        losses = [[program() for _ in range(STEPS)] for program in programs]
        for name, found in zip(devices, losses, strict=True):
            if off := difference(found, losses[0], TOLERANCE):
                raise RuntimeError(f"{case} on {name}: losses {off}")
    times = interleaved(programs, rounds, seconds=seconds)
    middle = [sorted(side)[len(side) // 2] for side in times]
    return {
        name: (middle[i], paired(times[i], times[0]) if i else None) for i, name in enumerate(devices)
    }  # fmt: skip


# -- the page ----------------------------------------------------------------------------------------
def page(devices: Sequence[str], rows: Mapping[str, Mapping[str, tuple[float, Spread | None]]]) -> str:
    """The text of docs/results/backends.md."""
    columns = "device", "what it is made of", "lines of its own", "shared", "kernels", "by bodies", "in part", "missing"
    written = ["| " + " | ".join(columns) + " |", "|---|---|" + "--:|" * (len(columns) - 2)]
    for name in devices:
        source, count = SOURCES[name], served(name)
        states = (coverage.NATIVE, coverage.COMPOSITE, coverage.PARTIAL)
        absent = count[coverage.MISSING] + count[coverage.FALLBACK]
        shared = sum(map(lines, source.shared))
        numbers = [lines(source.own), shared or "", *(count[s] for s in states), absent]
        written.append(f"| {name} | {source.text} | " + " | ".join(map(str, numbers)) + " |")
    ran = ["| | " + " | ".join(devices) + " |", "|---|" + "--:|" * len(devices)]
    for case, found in rows.items():
        ran.append(f"| {case} | " + " | ".join(_cell(*found[name]) for name in devices) + " |")
    usage = (__doc__ or "").split("\n\n")
    return "\n".join([
        "# Backends compared", "", usage[0], "", usage[1], "", usage[2].split("``--page``")[0].strip(), "",
        f"Measured on: {frameworks.described(frameworks.facts())}.", "",
        "## To write", "",
        "Lines of Python without tests, blank lines and docstrings among them, and how each serves the ops of the op "
        "database on float32: a kernel of its own, the body that every op has, or a body of which it lacks a part.", "",
        *written, "",
        "## To run", "",
        "The median of a round's time, and its ratio to the CPU's backend.", "", *ran, "",
    ])  # fmt: skip


def _cell(seconds: float, ratio: Spread | None) -> str:
    text = f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} µs"
    return text if ratio is None else f"{text} ({ratio.median:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.backends", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--devices", nargs="+", default=list(SOURCES), choices=list(SOURCES))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--page", action="store_true", help=f"write {Path(PAGE).relative_to(frameworks.ROOT)}")
    given = parser.parse_args()
    missing = {name: why for name in given.devices if (why := reason(name)) is not None}
    for name, why in missing.items():
        print(f"without {name}: {why}")
    devices = ["cpu", *(name for name in given.devices if name not in missing and name != "cpu")]
    rows = {}
    for case in CASES:
        rows[case] = ratios(case, devices, given.rounds, given.seconds)
        print(case, *(f"{name} {_cell(*found)}" for name, found in rows[case].items()), sep="  ", flush=True)
    text = page(devices, rows)
    if given.page:
        PAGE.write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
