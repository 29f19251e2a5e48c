"""Calls that a replay can't repeat: output, files, clocks, random numbers of Python's, threads, processes."""

from __future__ import annotations

import datetime
import io
import os
import random
import sys
from collections.abc import Callable
from types import FrameType, ModuleType
from typing import Any

from flambeau.core.capture.guard_files import LIBRARY, SKIP, kind_of_frame, shown

_OF_SYSTEM = frozenset(
    {"urandom", "getrandom", "system", "fork", "forkpty", "posix_spawn", "posix_spawnp", "execv", "execve", "kill"}
    | {"open", "read", "write", "remove", "unlink", "mkdir", "rmdir", "rename", "replace", "truncate", "ftruncate"}
    | {"symlink", "link", "chdir", "putenv", "unsetenv"}
)
#: C functions by the module that they stand in; None: all of them.
_FUNCTIONS: dict[str, frozenset[str] | None] = {
    "builtins": frozenset({"print", "input", "open"}),
    "io": frozenset({"open"}),
    "_io": frozenset({"open"}),
    "time": None,
    os.name: _OF_SYSTEM,
    "_warnings": frozenset({"warn", "warn_explicit"}),
    "_thread": frozenset({"start_new_thread", "start_new", "start_joinable_thread"}),
    "_socket": None,
    "_posixsubprocess": None,
    "_uuid": None,
    "_queue": None,
}
_CLOCKS = frozenset({"now", "utcnow", "today"})
_OF_FILES = frozenset(["read", "readline", "readlines", "readinto", "write", "writelines", "seek", "truncate", "flush"])
_PUBLIC = {"_warnings": "warnings", "_io": "io", "posix": "os", "nt": "os", "builtins": "", "_thread": "_thread"}
#: Files of the standard library all of whose functions are such calls; those of the second line hand work to others.
_LIBRARIES = (
    "/socket.py", "/subprocess.py", "/secrets.py",
    "/futures/thread.py", "/futures/process.py", "/multiprocessing/pool.py", "/queue.py", "/queues.py",
)  # fmt: skip


def name_of_effect(function: Any) -> str | None:  # Any: any C function
    """What to call a C function that can't be repeated; None: it can."""
    owner, name = getattr(function, "__self__", None), function.__name__
    if owner.__class__ is ModuleType:
        module = owner.__name__
        listed = _FUNCTIONS.get(module, ())
        if listed is not None and name not in listed:
            return None
        module = _PUBLIC.get(module, module)
        return name if module in ("", "io") else f"{module}.{name}"
    if isinstance(owner, random._random.Random):  # type: ignore[attr-defined]
        return f"random.{name}"
    if isinstance(owner, io.IOBase) and not isinstance(owner, (io.StringIO, io.BytesIO)) and name in _OF_FILES:
        standard = next((n for n in ("stdout", "stderr", "stdin") if owner is getattr(sys, n)), None)
        return f"sys.{standard}.{name}" if standard else f"{type(owner).__name__}.{name}"
    if isinstance(owner, type) and issubclass(owner, datetime.date) and name in _CLOCKS:
        return f"{owner.__name__}.{name}"
    if type(owner).__module__ in ("_socket", "socket", "ssl", "_ssl"):
        return f"socket.{name}"
    return None


#: The code that reads one variable of the environment, and that which reads all of them.
ONE_OF_ENVIRONMENT = os._Environ.__getitem__.__code__
ALL_OF_ENVIRONMENT = frozenset(getattr(os._Environ, name).__code__ for name in ("__iter__", "__len__", "__repr__"))


def is_library_of_effects(filename: str) -> bool:
    """Whether every function of this file of the standard library is one."""
    return filename.replace(os.sep, "/").endswith(_LIBRARIES)


def told(frame: FrameType, name: str) -> str | None:
    """The words for a call of ``name`` in ``frame``: what the program's own line calls; None where flambeau asks."""
    outer = None
    at: FrameType | None = frame
    while at is not None and kind_of_frame(at) == LIBRARY:
        outer, at = at, at.f_back
    if at is None or kind_of_frame(at) == SKIP:
        return None
    if outer is not None:
        name = f"{outer.f_globals.get('__name__', '?')}.{outer.f_code.co_qualname}"
    return f"{name}() at {shown(at)}"


class Draws:
    """The states of random numbers that no call shows: what they were, so that a draw from them is found."""

    def __init__(self) -> None:
        self.states: dict[str, tuple[Callable[[], Any], Any]] = {}
        self._python = hash(random.getstate())
        if "numpy.random" in sys.modules:
            self.add("random numbers of numpy", _numpy_state)

    def add(self, name: str, state: Callable[[], Any]) -> None:
        """Follow one more."""
        self.states.setdefault(name, (state, state()))

    def of_python(self) -> bool:
        """Whether Python's own were drawn from, of which most calls are seen, too."""
        return hash(random.getstate()) != self._python

    def found(self) -> list[str]:
        """Which others were drawn from, each once."""
        drawn = [name for name, (state, was) in self.states.items() if state() != was]
        for name in drawn:
            del self.states[name]
        return drawn


def _numpy_state() -> Any:
    state = sys.modules["numpy.random"].get_state(legacy=False)
    if state["bit_generator"] != "MT19937":
        return repr(state)
    return state["state"]["pos"], hash(state["state"]["key"].tobytes()), state["has_gauss"], state["gauss"]


def state_of_generator(value: Any) -> Callable[[], Any] | None:  # Any: anything
    """Gives the state of a generator of random numbers of Python's or numpy's; None for anything else."""
    if isinstance(value, random.Random):
        return None if isinstance(value, random.SystemRandom) else lambda: hash(value.getstate())
    if type(value).__module__.startswith("numpy.random"):
        bits = getattr(value, "bit_generator", getattr(value, "_bit_generator", value))
        return (lambda: repr(bits.state)) if hasattr(bits, "state") else None
    return None
