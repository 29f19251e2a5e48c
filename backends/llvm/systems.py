"""What the pool of threads asks of an operating system: to start a thread, to sleep until woken, to wake.

A thread sleeps on its seat, a piece of shared memory of its own whose first word is 1 while it sleeps. Whoever wakes
it sets the word to 0 before.
"""

from __future__ import annotations

import ctypes
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

from flambeau.backends.llvm import atomics
from flambeau.backends.llvm.ir import Function, Value
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import I8, I16, I32, I64, PTR, VOID, Type

#: Bytes of a thread's stack, the same everywhere: macOS would give half a megabyte.
_STACK: Final = 4 << 20
_NAME: Final = "flambeau"
#: The number of Linux's system call.
_SYS_FUTEX: Final = {"x86_64": 202, "aarch64": 98, "riscv64": 98}
_FUTEX_WAIT_PRIVATE, _FUTEX_WAKE_PRIVATE = 128, 129
#: Where a seat has its mutex and its condition variable; the largest are those of macOS, 64 and 48 bytes.
_MUTEX, _CONDITION = 64, 128

#: The address of a function of the system by its name; AttributeError where there is none.
Find = Callable[[str], int]


def here(name: str) -> int:
    """The address of a function in this process."""
    for library in _libraries():
        if hasattr(library, name):
            return ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0
    raise AttributeError(f"this system has no function {name}")


def _libraries() -> list[ctypes.CDLL]:
    if sys.platform == "win32":
        return [ctypes.WinDLL("kernel32"), ctypes.WinDLL("KernelBase")]  # the latter has WaitOnAddress
    return [ctypes.CDLL(None)]


class System(ABC):
    """Writes calls of an operating system's functions."""

    def __init__(self, target: Target, find: Find = here):
        self.target, self.find = target, find

    def call(self, f: Function, name: str, *args: Value | int, result: Type = I32) -> Value:
        """Call a function of the system; numbers are 64 bits wide."""
        values = [a if isinstance(a, Value) else f.constant(I64, a) for a in args]
        return f.call(f.outside(name, self.find(name)), *values, result=result)

    def has(self, name: str) -> bool:
        """Whether there is such a function."""
        try:
            return bool(self.find(name))
        except AttributeError:
            return False

    @abstractmethod
    def starting(self, f: Function, run: Value) -> AbstractContextManager[Callable[[Value], Value]]:
        """A context whose value starts a thread with ``run(seat)``, and says whether that failed."""

    @abstractmethod
    def christen(self, f: Function) -> None:
        """Give the thread that runs this a name for debuggers and ``top``."""

    @abstractmethod
    def prepare(self, f: Function, seat: Value) -> None:
        """Make a seat fit to sleep on, once."""

    @abstractmethod
    def sleep(self, f: Function, seat: Value) -> None:
        """Return when the word of a seat is no longer 1, or earlier."""

    @abstractmethod
    def wake(self, f: Function, seat: Value) -> None:
        """Wake who sleeps on a seat; nothing where nobody does."""


class Posix(System):
    """Threads of POSIX, which get no signals but those of their own faults: the others are for Python's threads."""

    @contextmanager
    def starting(self, f: Function, run: Value) -> Iterator[Callable[[Value], Value]]:
        linux = "linux" in self.target.triple
        wanted, before, attributes, ident = (f.buffer(256) for _ in range(4))
        how = f.constant(I32, 2 if linux else 3)  # SIG_SETMASK
        self.call(f, "sigfillset", wanted)
        for fault in (4, 7 if linux else 10, 8, 11):  # SIGILL, SIGBUS, SIGFPE, SIGSEGV
            self.call(f, "sigdelset", wanted, f.constant(I32, fault))
        self.call(f, "pthread_sigmask", how, wanted, before)
        self.call(f, "pthread_attr_init", attributes)
        self.call(f, "pthread_attr_setstacksize", attributes, _STACK)
        yield lambda seat: self.call(f, "pthread_create", ident, attributes, run, seat).ne(0)
        self.call(f, "pthread_attr_destroy", attributes)
        self.call(f, "pthread_sigmask", how, before, f.constant(PTR, 0))

    def christen(self, f: Function) -> None:
        if not self.has("pthread_setname_np"):
            return
        name = f.table(I8, [*_NAME.encode(), 0])
        if "linux" in self.target.triple:
            self.call(f, "pthread_setname_np", self.call(f, "pthread_self", result=I64), name)
        elif "apple" in self.target.triple:
            self.call(f, "pthread_setname_np", name)


class Futex(Posix):
    """Linux: a thread sleeps on the word itself."""

    def prepare(self, f: Function, seat: Value) -> None:
        """Nothing: a word of 0 is ready."""

    def _futex(self, f: Function, seat: Value, op: int, value: int) -> None:
        nothing = f.constant(PTR, 0)
        number = _SYS_FUTEX[self.target.arch]
        self.call(f, "syscall", number, seat, op, value, nothing, nothing, 0, result=I64)

    def sleep(self, f: Function, seat: Value) -> None:
        self._futex(f, seat, _FUTEX_WAIT_PRIVATE, 1)

    def wake(self, f: Function, seat: Value) -> None:
        self._futex(f, seat, _FUTEX_WAKE_PRIVATE, 1)


class Condition(Posix):
    """macOS and the rest: a mutex and a condition variable in each seat."""

    def prepare(self, f: Function, seat: Value) -> None:
        self.call(f, "pthread_mutex_init", seat + _MUTEX, f.constant(PTR, 0))
        self.call(f, "pthread_cond_init", seat + _CONDITION, f.constant(PTR, 0))

    def sleep(self, f: Function, seat: Value) -> None:
        self.call(f, "pthread_mutex_lock", seat + _MUTEX)
        with f.loop() as leave:
            leave(atomics.load(f, seat).ne(1))
            self.call(f, "pthread_cond_wait", seat + _CONDITION, seat + _MUTEX)
        self.call(f, "pthread_mutex_unlock", seat + _MUTEX)

    def wake(self, f: Function, seat: Value) -> None:
        self.call(f, "pthread_mutex_lock", seat + _MUTEX)  # not between the other's look at the word and its sleep
        self.call(f, "pthread_cond_signal", seat + _CONDITION)
        self.call(f, "pthread_mutex_unlock", seat + _MUTEX)


class Windows(System):
    """Windows 8 and later: a thread sleeps on the word itself."""

    @contextmanager
    def starting(self, f: Function, run: Value) -> Iterator[Callable[[Value], Value]]:
        nothing, reserve_only = f.constant(PTR, 0), f.constant(I32, 0x10000)

        def start(seat: Value) -> Value:
            handle = self.call(f, "CreateThread", nothing, _STACK, run, seat, reserve_only, nothing, result=PTR)
            failed = handle.eq(0)
            with f.unless(failed):
                self.call(f, "CloseHandle", handle)
            return failed

        yield start

    def christen(self, f: Function) -> None:
        if self.has("SetThreadDescription"):
            name = f.table(I16, [*_NAME.encode(), 0])
            self.call(f, "SetThreadDescription", self.call(f, "GetCurrentThread", result=PTR), name)

    def prepare(self, f: Function, seat: Value) -> None:
        """Nothing: a word of 0 is ready."""

    def sleep(self, f: Function, seat: Value) -> None:
        forever = f.constant(I32, -1)
        self.call(f, "WaitOnAddress", seat, f.table(I64, [1]), 8, forever)

    def wake(self, f: Function, seat: Value) -> None:
        self.call(f, "WakeByAddressSingle", seat, result=VOID)


def system_for(target: Target, find: Find = here) -> System:
    """The system of a target."""
    if "windows" in target.triple:
        return Windows(target, find)
    if "linux" in target.triple and target.arch in _SYS_FUTEX:
        return Futex(target, find)
    return Condition(target, find)
