"""Jobs that tell which threads did which chunks, and a pool for each way to sleep; no pytest, which imports slowly."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

import numpy as np

from flambeau.backends.llvm import atomics, systems, threads
from flambeau.backends.llvm.jobs import Job, JobFunction, jobs
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import host
from flambeau.backends.llvm.types import I64, PTR

SYSTEMS = {"own": systems.system_for} if sys.platform == "win32" else {
    "own": systems.system_for, "condition": systems.Condition,
}  # fmt: skip


@cache
def pool_of(system: str) -> threads.Pool:
    return threads.Pool(SYSTEMS[system](host()))


def counting(module: Module) -> JobFunction:
    """Adds 1 to the chunk's element of the first array, and writes its thread into the second, after some work."""
    f = JobFunction(module, "count", [PTR, PTR, I64])
    counts, numbers, work = f.values
    for _ in f.range(0, work):
        atomics.pause(f)
    f.store(f.load(I64, counts, f.chunk) + 1, counts, f.chunk)
    f.store(f.thread, numbers, f.chunk)
    f.ret()
    return f


def meeting(module: Module) -> JobFunction:
    """No chunk ends before all are begun, each in a thread of its own; some seconds later they give up."""
    f = JobFunction(module, "meet", [PTR, PTR])
    missing, numbers = f.values
    f.store(f.thread, numbers, f.chunk)
    atomics.update(f, "sub", missing, 1)
    patience = f.variable(I64, 1 << 28)
    with f.loop() as leave:
        leave((atomics.load(f, missing) <= 0) | (patience.now < 0))
        atomics.pause(f)
        patience.set(patience.now - 1)
    with f.when(patience.now < 0):
        f.store(f.constant(I64, -1), numbers, f.chunk)
    f.ret()
    return f


@cache
def job(make: Any) -> Job:
    (made,) = jobs(make(Module(host())))
    return made


def counted(chunks: int, work: int = 0) -> set[int]:
    """The numbers of the threads that did the chunks, each once."""
    counts, numbers = np.zeros(chunks, "i8"), np.full(chunks, -1)
    job(counting)(chunks, counts.ctypes.data, numbers.ctypes.data, work)
    assert (counts == 1).all()
    return set(numbers.tolist())


def met(count: int) -> list[int]:
    """The numbers of the threads that did ``count`` chunks at the same time."""
    missing, numbers = np.array([count]), np.full(count, -1)
    job(meeting)(count, missing.ctypes.data, numbers.ctypes.data)
    return sorted(numbers.tolist())


def nesting(module: Module) -> JobFunction:
    """Each chunk runs a job of five chunks, which count."""
    inner = counting(module)
    f = JobFunction(module, "nest", [PTR, PTR])
    packed = f.buffer(24)
    for i, place in enumerate(f.values):
        f.store(place + f.chunk * 40, packed, i)
    f.store(f.constant(I64, 5), packed, 2)
    threads.parallel(f, inner, packed, 5)
    f.ret()
    return f
