"""The pool of native threads: each chunk once, by threads that really work, whatever else the process does."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from flambeau.backends.llvm import systems, threads
from flambeau.backends.llvm.compiler import Compiler, load
from flambeau.backends.llvm.ir import Function
from flambeau.backends.llvm.jobs import jobs
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import ELSEWHERE, Target, host, runnable
from flambeau.backends.llvm.types import I64, PTR
from flambeau.core import config
from tests.backends.llvm.told_jobs import SYSTEMS, counted, counting, job, meeting, met, nesting, pool_of
from tests.backends.test_forks import in_child

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


@pytest.fixture(params=SYSTEMS)
def pool(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[threads.Pool]:
    monkeypatch.setattr(threads, "_pool", pool_of(request.param))
    with config.override(num_threads=2):
        yield pool_of(request.param)


# -- what is done ----------------------------------------------------------------------------------
def test_each_chunk_is_done_once(pool: threads.Pool) -> None:
    for round in range(100):
        for chunks in (0, 1, 2, 3, 7, 64, 500 + round):
            assert counted(chunks) <= {0, 1}


def test_many_tiny_jobs(pool: threads.Pool) -> None:
    counts, numbers = np.zeros(2, "i8"), np.full(2, -1)
    tiny = job(counting)
    for _ in range(20_000):
        tiny(2, counts.ctypes.data, numbers.ctypes.data, 0)
    assert counts.tolist() == [20_000, 20_000]


@pytest.mark.parametrize("count", [2, 3, 5])
def test_every_thread_works(pool: threads.Pool, count: int) -> None:
    with config.override(num_threads=count):
        for _ in range(5):
            assert met(count) == list(range(count))


def test_sleeping_threads_wake(pool: threads.Pool) -> None:
    for _ in range(20):
        time.sleep(0.005)
        assert met(2) == [0, 1]


def test_the_number_of_threads_may_change(pool: threads.Pool) -> None:
    """Those that are too many take no chunks, awake or asleep."""
    for count in (4, 2, 3, 1, 6, 2):
        with config.override(num_threads=count):
            assert met(count) == list(range(count))
            for pause in (0, 0.002) * 5:
                time.sleep(pause)
                assert counted(100, 300) <= set(range(count))
    assert pool.started >= 6


def test_several_python_threads_at_once(pool: threads.Pool) -> None:
    wrong: list[Any] = []

    def work(seed: int) -> None:
        with config.override(num_threads=3):
            try:
                for i in range(400):
                    if not counted((seed * 31 + i * 7) % 40, i % 50) <= {0, 1, 2}:
                        wrong.append(i)
            except AssertionError as error:
                wrong.append(error)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(5)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong
    assert met(2) == [0, 1]  # the pool was given back


def test_who_finds_it_in_use_waits_for_nobody(pool: threads.Pool) -> None:
    """The job of the first lasts until the second, which has the pool's threads no more, has done its own."""
    missing, numbers, found = np.array([3]), np.full(2, -1), []

    def first() -> None:
        with config.override(num_threads=2):
            job(meeting)(2, missing.ctypes.data, numbers.ctypes.data)

    thread = threading.Thread(target=first)
    thread.start()
    while missing[0] > 1:  # until both its chunks have begun
        time.sleep(0)
    found = counted(50)
    missing[0] = 0
    thread.join()
    assert found == {0} and sorted(numbers.tolist()) == [0, 1]


def test_a_job_inside_a_job_is_done_by_the_thread_that_runs_into_it(pool: threads.Pool) -> None:
    (nest,) = jobs(nesting(Module(host())))
    for chunks in (1, 2, 9):
        counts, numbers = np.zeros((chunks, 5), "i8"), np.full((chunks, 5), -1)
        nest(chunks, counts.ctypes.data, numbers.ctypes.data)
        assert (counts == 1).all() and (chunks == 1 or (numbers == 0).all())


def test_a_job_inside_a_job_never_waits_for_pythons_lock(pool: threads.Pool) -> None:
    """Which the caller of the outer one keeps, here."""
    module = Module(host())
    nest = nesting(module)
    f = Function(module, "start", [PTR, I64])
    threads.parallel(f, nest, f.args[0], f.args[1])
    f.ret()
    start = ctypes.PYFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(load(module, ["start"])["start"])
    for _ in range(100):
        counts, numbers = np.zeros((9, 5), "i8"), np.full((9, 5), -1)
        values = np.array([counts.ctypes.data, numbers.ctypes.data])
        start(values.ctypes.data, 9)
        assert (counts == 1).all()


@pytest.mark.parametrize("ask", [True, False], ids=["asked-before", "asked-inside"])
def test_generated_code_uses_it_too(pool: threads.Pool, ask: bool) -> None:
    module = Module(host())
    meet = meeting(module)
    f = Function(module, "start", [PTR, I64])
    packed, chunks = f.args
    count = threads.wanted(f, chunks) if ask else None
    threads.parallel(f, meet, packed, chunks, count)
    f.ret()
    start = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(load(module, ["start"])["start"])
    for number in (1, 2, 3):
        with config.override(num_threads=number):
            missing, numbers = np.array([number]), np.full(number, -1)
            values = np.array([missing.ctypes.data, numbers.ctypes.data])
            start(values.ctypes.data, number)
            assert sorted(numbers.tolist()) == list(range(number))
            assert start(values.ctypes.data, 0) is None
    with config.override(num_threads=1):
        missing, numbers = np.array([0]), np.full(9, -1)  # nobody to wait for
        values = np.array([missing.ctypes.data, numbers.ctypes.data])
        start(values.ctypes.data, 9)
        assert set(numbers.tolist()) == {0}


# -- the operating system --------------------------------------------------------------------------
def test_work_goes_on_where_no_thread_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under a limit of processes: pthread_create says EAGAIN, here from the third thread on."""
    if sys.platform == "win32":
        pytest.skip("counts calls of pthread_create")
    tries: list[int] = []
    kind = ctypes.PYFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 4)
    create = kind(systems.here("pthread_create"))

    @kind
    def some(*args: int) -> int:
        tries.append(1)
        return create(*args) if len(tries) < 3 else errno.EAGAIN

    def find(name: str) -> int:
        return (ctypes.cast(some, ctypes.c_void_p).value or 0) if name == "pthread_create" else systems.here(name)

    pool = threads.Pool(systems.system_for(host(), find))
    monkeypatch.setattr(threads, "_pool", pool)
    with config.override(num_threads=8):
        for _ in range(3):
            assert counted(50, 300) <= {0, 1, 2}
            assert met(3) == [0, 1, 2]
    assert pool.started == 3 and len(tries) == 3


@pytest.mark.parametrize("target", runnable(), ids=lambda t: t.name)
def test_it_works_as_code_for_each_width(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_pool", threads.Pool(systems.system_for(target)))
    with config.override(num_threads=2):
        assert met(2) == [0, 1] and counted(100) <= {0, 1}


@pytest.mark.parametrize("target", ELSEWHERE, ids=lambda t: t.name)
def test_it_compiles_elsewhere(target: Target) -> None:
    module = Module(target)
    threads.define(module, systems.system_for(target, lambda name: 1), 1)
    other = Module(target)
    threads.define(other, systems.system_for(target, lambda name: 2), 2)
    assert module.text() == other.text()  # no address stands in it
    code = Compiler(target).compile(module.text())
    wanted = {"apple": b"pthread_cond_wait", "windows": b"WaitOnAddress"}.get(target.name, b"syscall")
    assert wanted in code and (b"sigfillset" in code) == (target.name != "windows")


def task_status() -> list[dict[str, str]]:
    """What Linux says of each thread of this process."""
    found = []
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/status") as file:
            found.append({line.partition(":")[0]: line.partition(":")[2].strip() for line in file})
    return found


@linux
def test_threads_have_a_name_and_take_no_signals(pool: threads.Pool) -> None:
    met(2)
    own = [task for task in task_status() if task["Name"] == "flambeau"]
    assert own
    for task in own:
        blocked = int(task["SigBlk"], 16)
        for taken in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGUSR1):
            assert blocked >> (taken - 1) & 1
        assert not blocked >> (signal.SIGSEGV - 1) & 1  # faulthandler sees it
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])  # here they come


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers of signals")
def test_signals_come_all_the_time(pool: threads.Pool) -> None:
    heard = []
    before = signal.signal(signal.SIGALRM, lambda *_: heard.append(counted(4)))
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        start = time.monotonic()
        while len(heard) < 50 and time.monotonic() < start + 20:
            assert counted(50, 100) <= {0, 1}
            assert met(2) == [0, 1]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(heard) >= 50


def test_an_interrupt_is_kept_where_generated_code_asks(pool: threads.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(pool, "ready", interrupted)
    with pytest.raises(KeyboardInterrupt):
        assert pool._answer() == 1
        time.sleep(5)


# -- forks -----------------------------------------------------------------------------------------
def child_is_right() -> bool:
    return met(2) == [0, 1] and all(counted(60, 20) <= {0, 1} for _ in range(50))


@forks
def test_a_child_makes_threads_of_its_own(pool: threads.Pool) -> None:
    for _ in range(3):
        assert met(2) == [0, 1]
        assert in_child(lambda: child_is_right() and in_child(child_is_right) == 0) == 0
    assert met(2) == [0, 1]


@forks
def test_a_child_of_a_busy_process_is_right(pool: threads.Pool) -> None:
    """Another thread of the parent is always in the middle of a job."""
    over = threading.Event()

    def work() -> None:
        with config.override(num_threads=2):
            while not over.is_set():
                counted(200, 200)

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    try:
        assert [in_child(child_is_right) for _ in range(8)] == [0] * 8
    finally:
        over.set()
        for worker in workers:
            worker.join()
    assert met(2) == [0, 1]


# -- processes of their own ------------------------------------------------------------------------
def python(program: str) -> subprocess.Popen[str]:
    """A process that runs a program with two threads and the functions of ``told_jobs``."""
    preface = """
        import faulthandler, os, signal, textwrap, threading, time
        from flambeau.backends.llvm import threads
        from flambeau.core import config
        from tests.backends.llvm.told_jobs import *
        faulthandler.enable()
        config.set(num_threads=2)
    """
    text = textwrap.dedent(preface) + textwrap.dedent(program)
    command, pipe = [sys.executable, "-c", text], subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)


ENDS = {
    "spinning": "import atexit; atexit.register(counted, 300); assert met(2) == [0, 1]",
    "asleep": "assert met(2) == [0, 1]; time.sleep(0.05)",
    "long_job": """
        def long(): counted(1000, 10_000_000)
        assert met(2) == [0, 1]
        threading.Thread(target=long, daemon=True).start(); time.sleep(0.1)
    """,
    "short_jobs": """
        (nest,) = jobs(nesting(Module(host())))
        def tiny():
            while True: counted(3)
        def nested():
            counts, numbers = np.zeros((9, 5), "i8"), np.full((9, 5), -1)
            while True: nest(9, counts.ctypes.data, numbers.ctypes.data)
        for work in (tiny, nested, tiny): threading.Thread(target=work, daemon=True).start()
        time.sleep(0.1)
    """,
}


@forks
def test_a_process_ends_whatever_its_threads_do() -> None:
    """One process that imports, which is slow, and forks the others; each of those ends as a program does."""
    program = f"""
        children = {{}}
        for case in [(system, name) for system in SYSTEMS for name in {list(ENDS)}]:
            children[os.fork()] = case
            if 0 in children:
                signal.alarm(150)
                threads._pool = pool_of(case[0])
                exec(textwrap.dedent({ENDS}[case[1]]))
                break
        else:
            found = {{case: os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child, case in children.items()}}
            assert set(found.values()) == {{0}}, found
    """
    process = python(program)
    assert process.communicate(timeout=300)[1] == "" and process.returncode == 0


@linux
def test_one_thread_starts_none() -> None:
    program = """
        def names():
            return [open(f"/proc/self/task/{task}/comm").read().strip() for task in os.listdir("/proc/self/task")]
        with config.override(num_threads=1):
            assert counted(100) == {0}
        assert threads.pool().started == 1
        assert "flambeau" not in names()
        assert met(2) == [0, 1] and threads.pool().started == 2
        assert names().count("flambeau") == 1
    """
    process = python(program)
    assert process.communicate(timeout=300)[1] == "" and process.returncode == 0


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
def test_an_interrupted_job_ends_first() -> None:
    program = """
        counts, numbers = np.zeros(400, "i8"), np.full(400, -1)
        job(counting)
        try:
            print("begun", flush=True)
            job(counting)(400, counts.ctypes.data, numbers.ctypes.data, 50_000)
            time.sleep(60)
        except KeyboardInterrupt:
            print(counts.sum(), met(2), flush=True)
    """
    process = python(program)
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=300)
    assert (out, errors) == ("400 [0, 1]\n", "")


def test_busy_neighbours_do_not_stop_it(pool: threads.Pool) -> None:
    burn = "import os, time\nend = time.monotonic() + 60\nwhile time.monotonic() < end and os.getppid() != 1: pass"
    neighbours = [subprocess.Popen([sys.executable, "-c", burn]) for _ in range(os.cpu_count() or 1)]
    try:
        for _ in range(300):
            assert counted(20, 50) <= {0, 1}
        for _ in range(5):
            assert met(2) == [0, 1]
    finally:
        for neighbour in neighbours:
            neighbour.kill()
            neighbour.wait()
