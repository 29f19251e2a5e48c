"""The suite ``memory``: the most memory that training steps of each workload take, in processes of their own.

Of each there is the peak of the process, and what of it came after the import of the framework.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Row, enough
from benchmarks.processes import answer
from benchmarks.suite import Settings
from benchmarks.workloads import WORKLOADS, Training

STEPS = 3
ROUNDS = 3  # it hardly varies
WHAT = ("peak", "peak beyond the import")
CASES = {f"{workload}, {what}": (workload, what) for workload in WORKLOADS for what in WHAT}
CODE = "import sys; from benchmarks.memory import child; print(*child(*sys.argv[1:]))"


def peak() -> int:
    """Bytes that this process had resident at most. Linux's own count, where there is one: ru_maxrss of a process
    begins there with what its parent had when it started it.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def child(module: str, workload: str, threads: str) -> tuple[int, int]:
    """Train in this process: its peak, and what the training added to that of the import."""
    T = importlib.import_module(module)
    T.set_num_threads(int(threads))
    before = peak()
    training = Training(T, WORKLOADS[workload])
    for _ in range(STEPS):
        training.step()
    return peak(), max(peak() - before, 1)


def rows(settings: Settings) -> Iterator[Row]:
    """With the first number of threads alone."""
    threads, count = settings.threads[0], min(enough(settings.rounds), ROUNDS)
    names = settings.chosen(CASES)
    with tempfile.TemporaryDirectory() as cache:
        for workload in dict.fromkeys(CASES[name][0] for name in names):
            arguments = [(module.__name__, workload, str(threads)) for module in settings.modules]
            found = [[answer(CODE, *a, cache=cache) for _ in range(count)] for a in arguments]
            for i, what in enumerate(WHAT):
                sides = [[numbers[i] for numbers in side] for side in found]
                if (name := f"{workload}, {what}") in names:
                    yield Row.of("memory", name, sides, unit="B", threads=threads)
