"""The Timer: runs a statement often enough to tell how long it takes."""

from __future__ import annotations

import enum
import textwrap
import time
import timeit
from collections.abc import Callable
from typing import Any, NoReturn

import flambeau
from flambeau.core.accelerator import is_available, synchronize
from flambeau.utils.benchmark.common import Measurement, TaskSpec, set_torch_threads

__all__ = ["Language", "Timer", "timer"]


class Language(enum.Enum):
    """What a statement is written in."""

    PYTHON = 0
    CPP = 1


def timer() -> float:
    """Seconds, when all that an accelerator has to do is done.

    >>> fb.utils.benchmark.timer() > 0
    True
    """
    if is_available():
        synchronize()
    return time.perf_counter()


class Timer:
    """Times a statement, as Python's own, with one thread, after a warm-up, and in repeated blocks.

    Args:
        stmt, setup: what to time and what goes before it; ``flambeau`` and ``torch`` (the same) are there.
        global_setup: of C++, which there is none of.
        timer: a clock in seconds.
        globals: more names for the statement.
        label, sub_label, description, env: what tables say of it.
        num_threads: of the cpu backend.
        language: "python".

    >>> Timer("x + 1", setup="x = flambeau.ones(3)").timeit(5).number_per_run
    5
    """

    def __init__(
        self, stmt: str = "pass", setup: str = "pass", global_setup: str = "", timer: Callable[[], float] = timer,
        globals: dict[str, Any] | None = None, label: str | None = None, sub_label: str | None = None,
        description: str | None = None, env: str | None = None, num_threads: int = 1,
        language: Language | str = Language.PYTHON,
    ):  # fmt: skip
        if not isinstance(stmt, str) or not isinstance(setup, str):
            raise ValueError("Timer: Currently only a `str` stmt and setup is supported.")
        if language not in (Language.PYTHON, "py", "python") or global_setup:
            raise RuntimeError("Timer: statements are of Python; there is no C++ to compile")
        names = {"flambeau": flambeau, "torch": flambeau} | dict(globals or {})
        stmt, setup = (textwrap.dedent(text).strip("\n") for text in (stmt, setup))
        self._timer = timeit.Timer(stmt, setup, timer, names)
        self._task_spec = TaskSpec(stmt, setup, "", label, sub_label, description, env, num_threads)

    def _seconds(self, number: int) -> float:
        return max(self._timer.timeit(number), 1e-9)

    def timeit(self, number: int = 1_000_000) -> Measurement:
        """The time of so many runs, after some to warm up."""
        with set_torch_threads(self._task_spec.num_threads):
            self._seconds(max(number // 100, 2))
            return Measurement(number, [self._seconds(number)], self._task_spec)

    def repeat(self, repeat: int = -1, number: int = -1) -> NoReturn:
        """Not there; ``blocked_autorange`` repeats."""
        raise NotImplementedError("Timer.repeat: See `Timer.blocked_autorange.`")

    def autorange(self, callback: Callable[[int, float], NoReturn] | None = None) -> NoReturn:
        """Not there; ``blocked_autorange`` finds the number of runs."""
        raise NotImplementedError("Timer.autorange: See `Timer.blocked_autorange.`")

    def _block(self, min_run_time: float) -> int:
        """How many runs make a block in which the clock itself takes a thousandth of the time."""
        overhead = sorted(self._seconds(0) for _ in range(5))[2]
        number = 1
        while True:
            taken = self._seconds(number)
            if overhead / taken <= 1e-4 and taken >= min_run_time / 1000 or taken > min_run_time:
                return number
            number *= 10

    def _threaded(self, min_run_time: float, enough: Callable[[list[float], float, int], bool]) -> Measurement:
        with set_torch_threads(self._task_spec.num_threads):
            number = self._block(min_run_time)
            times: list[float] = []
            total = 0.0
            while not enough(times, total, number):
                times.append(self._seconds(number))
                total += times[-1]
            return Measurement(number, times, self._task_spec)

    def blocked_autorange(
        self, callback: Callable[[int, float], NoReturn] | None = None, min_run_time: float = 0.2
    ) -> Measurement:
        """Blocks of runs until they take ``min_run_time`` seconds together."""

        def enough(times: list[float], total: float, number: int) -> bool:
            if callback is not None and times:
                callback(number, times[-1])
            return total >= min_run_time

        return self._threaded(min_run_time, enough)

    def adaptive_autorange(
        self, threshold: float = 0.1, *, min_run_time: float = 0.01, max_run_time: float = 10.0,
        callback: Callable[[int, float], NoReturn] | None = None,
    ) -> Measurement:  # fmt: skip
        """Blocks of runs until the distance of their quartiles is below a share of the median."""

        def enough(times: list[float], total: float, number: int) -> bool:
            if callback is not None and times:
                callback(number, times[-1])
            if total >= max_run_time:
                return True
            found = Measurement(number, times, self._task_spec)
            return len(times) > 3 and total >= min_run_time and found.meets_confidence(threshold)

        return self._threaded(min_run_time, enough)

    def collect_callgrind(self, number: int = 100, **others: object) -> NoReturn:
        """RuntimeError: instructions of Python are not counted by valgrind here."""
        raise RuntimeError("Timer.collect_callgrind: valgrind is not used; blocked_autorange measures time")
