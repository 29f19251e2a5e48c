"""Native threads for generated code: the chunks of a job are taken one by one, by whoever comes.

The caller works too, and waits only for chunks that were begun: a thread that is late, since a neighbour or a quota
has its core, finds nothing left and costs nothing. Who waits spins for a moment and then sleeps in the kernel.

The state is memory that lasts as long as the process, of 64-bit words; each group has cache lines of its own:

* ``CLAIMS``: the number of the job in the upper half, how many of its chunks nobody has taken yet in the lower;
* ``JOB``: its function, its packed values, how many chunks it has, how many threads may work on it;
* ``PENDING``: how many of its chunks are not finished; ``JOBS``: its number, which idle threads watch;
* ``BUSY``: 1 while a caller uses the pool; ``STARTED``: how many threads there are, the caller with them;
* ``SPINS``: how often who waits looks before it sleeps;
* ``SEATS``: for each thread, that of the caller first, what it sleeps on (see ``systems``) and its number.

Why a late thread never runs a chunk with another job's function: it reads ``CLAIMS``, then ``JOB``, and then takes a
chunk by compare-and-swap, from the value of ``CLAIMS`` that it read. A value with chunks left is there only until those
are taken, and never again, since jobs are numbered. So if the swap succeeds, a chunk of that job was left all the time
in between; and ``JOB`` is written only when none is left and all are finished. (A number returns after 2³² jobs, more
than an hour of empty ones: a thread would have to stand still that long between two instructions, and go on within the
one job of the same number, with as many chunks left.) Reads come after what they must see and before what may overwrite
them, on any processor: the swap releases, so that the reads of ``JOB`` stay before it, and the caller that writes
``JOB`` anew has acquired from ``PENDING`` what every thread that took a chunk released there.
"""

from __future__ import annotations

import _thread
import atexit
import ctypes
import os
import threading
import time
from typing import Final

from flambeau.backends.llvm import atomics
from flambeau.backends.llvm import target as targets
from flambeau.backends.llvm.compiler import compiler_for
from flambeau.backends.llvm.ir import Function, Operand, Value
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.systems import System, system_for
from flambeau.backends.llvm.types import I64, PTR
from flambeau.core import config
from flambeau.core.locks import fork_safe

#: Two lines of the cache: processors fetch them in pairs.
_LINE: Final = 128
CLAIMS, JOB, PENDING, JOBS, BUSY, STARTED, SEATS = (i * _LINE for i in range(7))
SPINS: Final = STARTED + 8
_SEAT: Final = 2 * _LINE
_SIZE: Final = SEATS + config.MAX_THREADS * _SEAT
_NUMBER: Final = 8  # of the thread, in its seat
#: Seconds for which who waits spins: waking a thread takes ten times as long as looking.
_SPIN: Final = 90e-6
#: The cell where generated code finds the pool: the state, null before a second thread is wanted, and the function
#: that says how many threads are wanted, null when the interpreter ends.
_STATE, _WANTED = 0, 8


# -- generated code --------------------------------------------------------------------------------
def define(module: Module, system: System, cell: int) -> None:
    """Write the functions of the pool whose cell is at an address."""
    spin = _spin(module)
    wait = _wait(module, system, spin)
    work = _work(module, system)
    worker = _worker(module, system, wait, work)
    _open(module, system, cell)
    _grow(module, system, worker)
    parallel_for = _parallel_for(module, cell, _spread(module, system, wait, work))
    _parallel(module, _wanted(module, cell), parallel_for)


def _spin(module: Module) -> Function:
    """Look at a word until it is another than ``value``, at most so many times."""
    f = Function(module, "spin", [PTR, I64, I64])
    word, value, times = f.args
    left = f.variable(I64, times)
    with f.loop() as leave:
        leave(atomics.load(f, word).ne(value) | (left.now <= 0))
        atomics.pause(f)
        left.set(left.now - 1)
    f.ret()
    return f


def _wait(module: Module, system: System, spin: Function) -> Function:
    """Return when a word is another than ``value``: spin so many times, then sleep on a seat.

    Either the sleeper sees that the word has changed, or who changed it sees the sleeper: both write theirs first,
    and look at the other's behind a fence.
    """
    f = Function(module, "wait", [PTR, I64, PTR, I64], internal=True)
    word, value, seat, spins = f.args
    f.call(spin, word, value, spins)
    with f.loop() as leave:
        leave(atomics.load(f, word).ne(value))
        atomics.store(f, 1, seat)
        f.fence()
        with f.when(atomics.load(f, word).eq(value)):
            system.sleep(f, seat)
        atomics.store(f, 0, seat)
    f.ret()
    return f


def _ring(f: Function, system: System, seat: Value) -> None:
    """Wake who sleeps on a seat; behind a fence, after the change that it waits for."""
    with f.when(atomics.load(f, seat).ne(0)), f.when(atomics.update(f, "xchg", seat, 0).ne(0)):
        system.wake(f, seat)


def _work(module: Module, system: System) -> Function:
    """Take chunks and run them until none is left; the last to finish wakes the caller."""
    f = Function(module, "work", [PTR, I64], internal=True)
    state, thread = f.args
    mine = f.variable(I64, 0)
    with f.loop() as leave:
        claims = atomics.load(f, state + CLAIMS)
        left = claims & 0xFFFFFFFF
        job, packed, chunks, threads = (atomics.load(f, state + (JOB + 8 * i)) for i in range(4))
        leave(left.eq(0) | (thread >= threads))
        with f.when(atomics.claim(f, state + CLAIMS, claims, claims - 1)):
            f.call(job.pointer(), packed.pointer(), chunks - left, thread)
            mine.set(mine.now + 1)
    with f.when(mine.now > 0):
        last = atomics.update(f, "sub", state + PENDING, mine.now).eq(mine.now)
        with f.when(last & (thread > 0)):
            f.fence()
            _ring(f, system, state + SEATS)
    f.ret()
    return f


def _worker(module: Module, system: System, wait: Function, work: Function) -> Function:
    """A thread's life, on its seat: wait for a job with another number, and work on it."""
    f = Function(module, "worker", [PTR], PTR)
    (seat,) = f.args
    thread = f.load(I64, seat + _NUMBER)
    state = seat + (-SEATS - thread * _SEAT)
    system.christen(f)
    seen = f.variable(I64, 0)
    with f.loop():
        wanted = thread < atomics.load(f, state + (JOB + 24))  # in the last job; one that was not sleeps at once
        spins = f.select(wanted, atomics.load(f, state + SPINS), 0)
        f.call(wait, state + JOBS, seen.now, seat, spins)
        seen.set(atomics.load(f, state + JOBS))
        f.call(work, state, thread)
    f.ret(0)
    return f


def _open(module: Module, system: System, cell: int) -> None:
    """Set up zeroed memory as a state with the caller's seat alone, and put it into the cell."""
    f = Function(module, "open", [PTR, I64])
    state, spins = f.args
    atomics.store(f, spins, state + SPINS)
    atomics.store(f, 1, state + STARTED)
    system.prepare(f, state + SEATS)
    atomics.store(f, state.address(), f.outside("cell", cell) + _STATE)
    f.ret()


def _grow(module: Module, system: System, worker: Function) -> None:
    """Start threads until there are ``count``, the caller with them, or the system gives no more."""
    f = Function(module, "grow", [PTR, I64])
    state, count = f.args
    with system.starting(f, Value(f, PTR, f"@{worker.symbol}")) as start, f.loop() as leave:
        number = atomics.load(f, state + STARTED)
        leave(number >= count)
        seat = state + SEATS + number * _SEAT
        system.prepare(f, seat)
        f.store(number, seat + _NUMBER)
        leave(start(seat))
        atomics.store(f, number + 1, state + STARTED)
    f.ret()


def _spread(module: Module, system: System, wait: Function, work: Function) -> Function:
    """Run all chunks of a job with the pool, which the caller has to itself."""
    f = Function(module, "spread", [PTR, PTR, PTR, I64, I64], internal=True)
    state, job, packed, chunks, threads = f.args
    number = atomics.load(f, state + JOBS) + 1
    for i, value in enumerate((job.address(), packed.address(), chunks, threads)):
        atomics.store(f, value, state + (JOB + 8 * i))
    atomics.store(f, chunks, state + PENDING)
    atomics.store(f, (number << 32) | chunks, state + CLAIMS)
    atomics.store(f, number, state + JOBS)
    f.fence()
    for other in f.range(1, f.minimum(threads, chunks)):
        _ring(f, system, state + SEATS + other * _SEAT)
    f.call(work, state, 0)
    with f.loop() as leave:
        pending = atomics.load(f, state + PENDING)
        leave(pending.eq(0))
        f.call(wait, state + PENDING, pending, state + SEATS, atomics.load(f, state + SPINS))
    atomics.store(f, 0, state + BUSY)
    f.ret()
    return f


def _parallel_for(module: Module, cell: int, spread: Function) -> Function:
    """Run all chunks with at most so many threads: alone where that is one, or where another caller has the pool."""
    f = Function(module, "parallel_for", [PTR, PTR, I64, I64])
    job, packed, chunks, threads = f.args
    state = atomics.load(f, f.outside("cell", cell) + _STATE).pointer()
    with f.when((threads > 1) & (chunks > 1) & (chunks < 1 << 32) & state.ne(0)):
        started = f.minimum(threads, atomics.load(f, state + STARTED))
        with f.when(atomics.claim(f, state + BUSY, 0, 1)):
            f.call(spread, state, job, packed, chunks, started)
            f.ret()
    for chunk in f.range(0, chunks):
        f.call(job, packed, chunk, f.constant(I64, 0))
    f.ret()
    return f


def _wanted(module: Module, cell: int) -> Function:
    """How many threads a job of so many chunks may have.

    One where the pool is in use, without asking Python: within a job, whose caller may hold Python's lock and wait for
    the thread that runs this.
    """
    f = Function(module, "wanted", [I64], I64)
    (chunks,) = f.args
    place = f.outside("cell", cell)
    state, function = atomics.load(f, place + _STATE), atomics.load(f, place + _WANTED)
    with f.when((chunks <= 1) | function.eq(0)):
        f.ret(1)
    with f.when(state.ne(0)), f.when(atomics.load(f, state.pointer() + BUSY).ne(0)):
        f.ret(1)
    f.ret(f.call(function.pointer(), result=I64))
    return f


def _parallel(module: Module, wanted: Function, parallel_for: Function) -> None:
    """Run all chunks with as many threads as are wanted now."""
    f = Function(module, "parallel", [PTR, PTR, I64])
    job, packed, chunks = f.args
    f.call(parallel_for, job, packed, chunks, f.call(wanted, chunks))
    f.ret()


# -- the pool --------------------------------------------------------------------------------------
class Pool:
    """The threads of this process; a child of a fork makes its own when it needs some.

    They are started when more than one is wanted first, and sleep for the rest of the process where fewer are wanted
    later. A pool is never thrown away: they run its code.
    """

    def __init__(self, system: System | None = None):
        system = system or system_for(targets.chosen() or targets.host())
        self._cell = forever(_LINE)
        module = Module(system.target)
        define(module, system, self._cell)
        self._compiler = compiler_for(system.target)  # keeps the code
        found = self._compiler.load(module, ["spin", "open", "grow", "parallel_for", "wanted", "parallel"])
        whole, pointer = ctypes.c_int64, ctypes.c_void_p
        self._parallel_for = ctypes.CFUNCTYPE(None, pointer, ctypes.c_char_p, whole, whole)(found["parallel_for"])
        # these keep Python's lock, so that no fork falls into them
        self._spin = ctypes.PYFUNCTYPE(None, pointer, whole, whole)(found["spin"])
        self._open = ctypes.PYFUNCTYPE(None, pointer, whole)(found["open"])
        self._grow = ctypes.PYFUNCTYPE(None, pointer, whole)(found["grow"])
        self.addresses = found
        self.spread = found["parallel_for"]
        self._lock = fork_safe(threading.RLock())
        self._asked = 1
        self._spins = 0
        self._wanted = ctypes.CFUNCTYPE(whole)(self._answer)
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._wanted))  # code may be about to call it when Python ends
        self._put(_WANTED, ctypes.cast(self._wanted, pointer).value or 0)
        atexit.register(self._put, _WANTED, 0)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def run(self, job: int, packed: bytes, chunks: int, most: int = 1 << 32) -> None:
        """Run all chunks of the job at an address, on ``most`` threads at most; Python's lock is given up meanwhile."""
        self._parallel_for(job, packed, chunks, min(self.ready(), most))

    def ready(self) -> int:
        """How many threads may work here now, the setting ``num_threads``; they are started, if the system lets us."""
        threads: int = config.get("num_threads")
        if threads > self._asked:
            self._start(threads)
        return threads

    @property
    def started(self) -> int:
        """How many threads there are, callers counted as one."""
        state = self._state()
        return ctypes.c_int64.from_address(state + STARTED).value if state else 1

    def _state(self) -> int:
        return ctypes.c_int64.from_address(self._cell + _STATE).value

    def _put(self, place: int, value: int) -> None:
        ctypes.c_int64.from_address(self._cell + place).value = value

    def _start(self, threads: int) -> None:
        with self._lock:
            if not self._state():
                state = forever(_SIZE)
                self._open(state, self._spins or self._calibrated(state))
            self._grow(self._state(), threads)
            self._asked = max(self._asked, threads)  # also where it failed: it would fail again, at each call

    def _calibrated(self, state: int) -> int:
        """How many looks take the time for which who waits spins; processors differ by ten."""
        times, least = 1000, float("inf")
        for _ in range(5):
            start = time.perf_counter()
            self._spin(state, 0, times)
            least = min(least, time.perf_counter() - start)
        self._spins = max(1, int(_SPIN * times / least))
        return self._spins

    def _answer(self) -> int:
        """How many threads are wanted, for generated code, in which nothing can be raised."""
        try:
            return self.ready()
        except KeyboardInterrupt:
            _thread.interrupt_main()  # again, when that code has returned
        except Exception:
            pass  # a setting that is wrong; the next call from Python raises
        return 1

    def _forget(self) -> None:
        """In a child of a fork: the threads, and whoever used the pool, stayed with the parent."""
        self._put(_STATE, 0)
        self._asked = 1


def forever(size: int) -> int:
    """Zeroed memory that nothing frees, at the start of a cache line: threads use it until the process is gone."""
    calloc = ctypes.pythonapi.PyMem_RawCalloc
    calloc.restype, calloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t, ctypes.c_size_t)
    found = calloc(1, size + _LINE)
    if not found:
        raise MemoryError("no memory for the state of the threads")
    return -(-int(found) // _LINE) * _LINE


_pool: Pool | None = None
_lock = fork_safe(threading.RLock())


def pool() -> Pool:
    """The pool of this process."""
    global _pool
    if _pool is None:
        with _lock:
            _pool = _pool or Pool()
    return _pool


def wanted(f: Function, chunks: Operand) -> Value:
    """Write the call that says how many threads a job of so many chunks may have; it starts them at first use.

    It takes Python's lock for the moment: written where that is held, it waits for nobody.
    """
    function = f.outside("flambeau_wanted", pool().addresses["wanted"])
    return f.call(function, f.value(I64, chunks), result=I64)


def parallel(
    f: Function, job: Function | Value, packed: Value, chunks: Operand, threads: Operand | None = None
) -> None:
    """Write a call into ``f`` that runs all chunks of a job of the same module, or of one at an address.

    ``packed`` are its values in memory. Python's lock need not be held, and should not be for long work. ``threads``
    is what :func:`wanted` found; without it that is asked here, which takes Python's lock once more.
    """
    address = job if isinstance(job, Value) else Value(f, PTR, f"@{job.symbol}")
    count = f.value(I64, chunks)
    if threads is None:
        f.call(f.outside("flambeau_parallel", pool().addresses["parallel"]), address, packed, count)
    else:
        function = f.outside("flambeau_parallel_for", pool().addresses["parallel_for"])
        f.call(function, address, packed, count, f.value(I64, threads))
