"""The suite ``compiled``: training steps that each framework compiles, and what compiling takes.

flambeau compiles the whole step, torch.compile the network with the loss, jax.jit the whole step; flambeau and PyTorch
run eagerly too. All of them take turns in one process for each workload and number of threads. JAX takes the number of
its threads from the environment as it starts, which is why these processes are new ones: with ``NPROC=1`` one thread
does all work, while ``XLA_FLAGS=--xla_cpu_multi_thread_eigen=false`` leaves a pool as large as the machine. A step on
one thread that keeps more than one core busy is a failure.

On OpenCL, where there is a device, the compiled step is beside the eager one. Times of compiling are of new processes.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from benchmarks import frameworks
from benchmarks.measure import Program, Row, interleaved, timed
from benchmarks.models import TOLERANCE
from benchmarks.processes import said
from benchmarks.suite import PAUSE, Settings, difference
from benchmarks.workloads import WORKLOADS, Training

#: By workload: the most that the compiled step may take of the time of the best of the peers.
LIMITS: Final = {"mlp": 0.5, "lenet": 0.7, "resnet18": 0.8, "gpt": 0.7, "gpt_wide": 0.8, "lstm": 0.5}
#: The same on OpenCL, of the time of the eager step.
OPENCL_LIMITS: Final = {f"{name}, OpenCL": 0.7 for name in ("mlp", "gpt", "lstm")}
TIMES: Final = {f"{name}, compile time": name for name in WORKLOADS}
#: The suites of the rows, each with a table of its own.
STEPS, OPENCL, COMPILING = "compiled", "compiled, OpenCL", "compile time"
#: Whose losses are compared; flambeau replays from the fourth on.
COMPARED: Final = 6
#: Calls in which a step is compiled, and those after, of which their time is known without that.
FIRST, STEADY = 6, 5
CORES = 1.15  # that one thread keeps busy at most


# -- the sides ---------------------------------------------------------------------------------------
def _eager(name: str, training: Training) -> Program:
    return training.step


def _whole(name: str, training: Training) -> Program:
    """All of flambeau's step in one recording, or an error that says why not."""
    update = training.T.compile(training.update, fullgraph=True)
    return lambda: update(training.x, training.target).item()


def _network(name: str, training: Training) -> Program:
    """The network and the loss by torch.compile, backward too; the optimizer is PyTorch's as it is."""
    loss = training.T.compile(training.loss)
    return lambda: training.update(training.x, training.target, loss).item()


def _in_jax(name: str, training: Training) -> Program:
    step: Program = importlib.import_module("benchmarks.in_jax").Training(name, training).step
    return step


class Side(NamedTuple):
    """What a side needs to be installed, the framework that its weights begin on, and how its step is made."""

    package: str
    framework: str
    made: Callable[[str, Training], Program]


OURS, EAGER, TORCH, TORCH_COMPILED, JAX = "flambeau, compiled", "flambeau", "PyTorch", "torch.compile", "jax.jit"
SIDES: Final = {
    OURS: Side("flambeau", "flambeau", _whole),
    EAGER: Side("flambeau", "flambeau", _eager),
    TORCH: Side("torch", "torch", _eager),
    TORCH_COMPILED: Side("torch", "torch", _network),
    JAX: Side("jax", "flambeau", _in_jax),
}
#: With the best of which the compiled step is compared.
PEERS: Final = (TORCH, TORCH_COMPILED, JAX)
#: What compiling takes is measured of these, of some a second time.
COMPILERS: Final = {
    OURS: OURS, f"{OURS}, again": OURS, TORCH_COMPILED: TORCH_COMPILED, f"{TORCH_COMPILED}, again": TORCH_COMPILED,
    JAX: JAX,
}  # fmt: skip


def installed() -> list[str]:
    """The sides whose packages are there."""
    return [name for name, side in SIDES.items() if importlib.util.find_spec(side.package)]


# -- in processes of their own -----------------------------------------------------------------------
def _step(side: str, workload: str, sizes: dict[str, int] | None, device: str) -> Program:
    framework = importlib.import_module(SIDES[side].framework)
    return SIDES[side].made(workload, Training(framework, WORKLOADS[workload], sizes, device))


def _set_threads(sides: Sequence[str], threads: int) -> None:
    needed = dict.fromkeys(SIDES[side].framework for side in sides)
    frameworks.set_threads([importlib.import_module(name) for name in needed], threads)


def turns(
    workload: str,
    sides: Sequence[str],
    threads: int,
    rounds: int,
    seconds: float,
    sizes: dict[str, int] | None = None,
    device: str = "cpu",
) -> dict[str, list[float]]:
    """Seconds a step of each side in each round; RuntimeError for losses that are not those of the first side, and for
    a step on one thread that takes more than one core. torch.compile has no rounds where its losses are others.
    """  # fmt: skip
    _set_threads(sides, threads)
    steps = {side: _step(side, workload, sizes, device) for side in sides}
    losses = {side: [step() for _ in range(COMPARED)] for side, step in steps.items()}
    for side in sides[1:]:
        if difference(losses[sides[0]], losses[side], TOLERANCE):
            if side == TORCH_COMPILED:  # PyTorch's affair, where it is not what PyTorch gives without
                del steps[side]
                continue
            raise RuntimeError(f"the losses are {losses[sides[0]]}, and those of {side} {losses[side]}")
    for side, step in steps.items() if threads == 1 else ():
        if (cores := busy(step)) > CORES:
            raise RuntimeError(f"{side} keeps {cores:.2f} cores busy on one thread")
    pause = PAUSE if threads > 1 else 0.0
    times = interleaved(list(steps.values()), rounds, seconds=seconds, pause=pause)
    found = dict(zip(steps, times, strict=True))
    return {side: found.get(side, []) for side in sides}


def busy(program: Program, seconds: float = 0.05) -> float:
    """How many cores a program keeps busy: the time of all threads over that of the clock, after a first call."""
    program()
    start, used = time.perf_counter(), time.process_time()
    while time.perf_counter() - start < seconds:
        program()
    return (time.process_time() - used) / (time.perf_counter() - start)


def compiling(workload: str, side: str, threads: int, sizes: dict[str, int] | None = None) -> float:
    """Seconds that the first steps in this process take beyond as many later ones."""
    _set_threads([side], threads)
    step = _step(side, workload, sizes, "cpu")
    first = sum(timed(step) for _ in range(FIRST))
    return max(first - FIRST * statistics.median(timed(step) for _ in range(STEADY)), 0.0)


_CODE = """\
import json, sys
from benchmarks import compiled
print(json.dumps(getattr(compiled, sys.argv[1])(**json.loads(sys.argv[2]))))
"""


def elsewhere(function: Callable[..., Any], threads: int, environment: dict[str, str], **arguments: Any) -> Any:
    """What a function of this module gives in a new process; RuntimeError with the last line that the process said."""
    given = json.dumps({"threads": threads, **arguments})
    answer = said(_CODE, function.__name__, given, variables={"NPROC": str(threads), **environment})
    return json.loads(answer.splitlines()[-1])


# -- the rows ----------------------------------------------------------------------------------------
def rows(settings: Settings) -> Iterator[Row]:
    sides = [side for side in installed() if SIDES[side].package == "jax" or _among(settings, SIDES[side].package)]
    for workload in settings.chosen(LIMITS):
        for threads in settings.threads:
            if times := _turns(settings, workload, workload, sides, threads):
                best = min((s for s in PEERS if times.get(s)), key=lambda s: statistics.median(times[s]), default="")
                yield _row(STEPS, workload, times, best, threads, LIMITS[workload])
    yield from _on_opencl(settings)
    yield from _compile_times(settings, sides)


def _among(settings: Settings, package: str) -> bool:
    return any(module.__name__ == package for module in settings.modules)


def _on_opencl(settings: Settings) -> Iterator[Row]:
    names = settings.chosen(OPENCL_LIMITS)
    if names and opencl_reason() is None:
        for name in names:
            workload, threads = name.partition(",")[0], frameworks.cores()
            if times := _turns(settings, name, workload, [OURS, EAGER], threads, device="opencl:0"):
                yield _row(OPENCL, name, times, EAGER, threads, OPENCL_LIMITS[name])


def opencl_reason() -> str | None:
    """Why there is no OpenCL device; None where there is one."""
    reason: str | None = importlib.import_module("flambeau.core.registry").get_backend("opencl").unavailable_reason()
    return reason


def _turns(
    settings: Settings, name: str, workload: str, sides: list[str], threads: int, **rest: Any
) -> dict[str, list[float]]:
    """Of :func:`turns` in a new process; none, and a failure in words, where it fails."""
    arguments = dict(workload=workload, sides=sides, rounds=settings.rounds, seconds=settings.seconds, **rest)
    try:
        found: dict[str, list[float]] = elsewhere(turns, threads, {}, **arguments)
    except RuntimeError as error:
        settings.failures.append(f"{name}, {threads} thread{'s' * (threads > 1)}: {str(error).splitlines()[-1]}")
        return {}
    return found


def _row(suite: str, name: str, times: dict[str, list[float]], rival: str, threads: int, limit: float) -> Row:
    peers = {side: tuple(times[side]) for side in times if side != OURS}
    return Row(suite, name, tuple(times[OURS]), threads=threads, limit=limit, peers=peers, rival=rival)


def _compile_times(settings: Settings, sides: list[str]) -> Iterator[Row]:
    """Of one process each, with the first number of threads."""
    threads = settings.threads[0]
    for name in settings.chosen(TIMES):
        try:
            found = {label: t for side in sides for label, t in _compile_time(TIMES[name], side, threads)}
        except RuntimeError as error:
            settings.failures.append(f"{name}: {str(error).splitlines()[-1]}")
        else:
            ours = found.pop(OURS)
            yield Row(COMPILING, name, (ours,), threads=threads, peers={label: (t,) for label, t in found.items()})


def _compile_time(workload: str, side: str, threads: int) -> Iterator[tuple[str, float]]:
    """Of a side that compiles with nothing kept on disk and, of those that keep something, of another process then."""
    with tempfile.TemporaryDirectory() as folder:
        kept = {"FLAMBEAU_CACHE_DIR": folder, "TORCHINDUCTOR_CACHE_DIR": folder}
        for label in (label for label, of in COMPILERS.items() if of == side):
            yield label, elsewhere(compiling, threads, kept, workload=workload, side=side)
