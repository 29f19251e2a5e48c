"""The suite ``models``: training steps and inference of the six workloads, beside PyTorch, whose losses must agree."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import frameworks
from benchmarks.measure import Row
from benchmarks.processes import busy_core
from benchmarks.suite import Settings, difference, measured
from benchmarks.workloads import WORKLOADS, Training

STEPS = 3  # whose losses are compared
TOLERANCE = 2e-3
PHASES = ("training step", "inference")


def named(workload: str, phase: str) -> str:
    return f"{workload}, {phase}"


CASES = {named(workload, phase): (workload, phase) for workload in WORKLOADS for phase in PHASES}
#: A training step on all cores, one of which another process keeps busy.
CROWDED = "gpt, training step beside a busy core"


def rows(settings: Settings) -> Iterator[Row]:
    yield from _alone(settings)
    for _ in settings.chosen({CROWDED: None}):
        sides = _agreeing(settings, "gpt")
        cores = frameworks.cores()
        frameworks.set_threads(settings.modules, cores)
        with busy_core():
            yield measured(settings, "models", CROWDED, [side.step for side in sides], threads=cores)


def _alone(settings: Settings) -> Iterator[Row]:
    for workload in dict.fromkeys(CASES[name][0] for name in settings.chosen(CASES)):
        sides = _agreeing(settings, workload)
        for name in settings.chosen(CASES) if sides else ():
            if CASES[name][0] == workload:
                training = CASES[name][1] == PHASES[0]
                for side in sides:
                    side.model.train(training)
                programs = [side.step if training else side.infer for side in sides]
                for threads in settings.threads:
                    frameworks.set_threads(settings.modules, threads)
                    yield measured(settings, "models", name, programs, threads=threads)


def _agreeing(settings: Settings, name: str) -> list[Training]:
    """The workload on each framework, if the losses agree; none, and a failure in words, if not."""
    sides, losses = [], []
    for module in settings.modules:
        try:
            sides.append(Training(module, WORKLOADS[name]))
            losses.append([sides[-1].step() for _ in range(STEPS)])
        except Exception as error:
            settings.failures.append(f"{name} on {module.__name__}: {type(error).__name__}: {error}")
            return []
    if len(losses) > 1 and difference(losses[0], losses[1], TOLERANCE):
        settings.failures.append(f"{name}: the losses are {losses[0]}, and PyTorch's {losses[1]}")
        return []
    return sides
