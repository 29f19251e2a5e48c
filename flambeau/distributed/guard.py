"""What watches over each rank: however one fails, the job ends, with a message that names it, the error and the place.

:func:`watch_over` is called when a process has found its place. A rank that ends well waits for the others before MPI
is finalised, without keeping Python's threads from running; one that fails takes no leave, so that its launcher,
``mpiexec`` or the PMI server sees it gone and tells the others.

Under ``python -m flambeau launch`` this module is also the program of each rank: it runs that of the user.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import json
import os
import runpy
import signal
import socket
import sys
import sysconfig
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

__all__ = ["FAILURE_FILE", "failed", "give_up", "leave", "main", "watch_over"]

FAILURE_FILE = "LAUNCHED_BY_FLAMBEAU_REPORT"  # where a rank writes why it failed, for its launcher
_LONGEST_REASON = 1500  # bytes, which fit a line of the PMI server
_PDEATHSIG = 1  # of Linux's prctl


class _Rank:
    """This process as a rank of a job."""

    def __init__(self, rank: int, size: int, started: str, watch: tuple[str, int] | None):
        self.rank, self.size, self.started, self.pid = rank, size, started, os.getpid()
        self.over = False  # it failed, or MPI is finalised
        self.line: socket.socket | None = None
        if watch is not None:
            self.line = socket.create_connection(watch, 10)
            self.line.settimeout(None)
            self.line.sendall(f"cmd=watch rank={rank}\n".encode())
            threading.Thread(target=self._listen, name="flambeau-guard", daemon=True).start()

    def _listen(self) -> None:
        """End this process when the PMI server says that another is lost, or is gone itself."""
        assert self.line is not None
        with contextlib.suppress(OSError), self.line.makefile("r", encoding="utf-8", errors="replace") as lines:
            line = lines.readline()
            if self.over or os.getpid() != self.pid:
                return
            reason = "the process of rank 0 is gone"
            if line.startswith("cmd=lost"):
                given = dict(part.split("=", 1) for part in line.split(" ", 2) if "=" in part)
                reason = given.get("why", "").strip() or f"rank {given['rank']} is gone: killed, or ended by os._exit"
            _say(f"rank {self.rank} of {self.size} stops at {_place_of(_main_frame())}, as {reason}")
            os._exit(1)

    def tell(self, why: str) -> None:
        """Tell the others why this rank ends."""
        if self.line is not None:
            text = " ".join(why.split()).encode()[:_LONGEST_REASON].decode(errors="ignore")
            with contextlib.suppress(OSError):
                self.line.sendall(f"cmd=failed rank={self.rank} why={text}\n".encode())


_here: _Rank | None = None


def watch_over(rank: int, size: int, started: str, watch: tuple[str, int] | None = None) -> None:
    """Watch over this process, which is a rank of a job of ``size``, started as ``rendezvous`` says.

    Args:
        watch: where a PMI server is that nobody else listens to.
    """
    global _here
    if _here is not None and _here.pid == os.getpid():
        return
    _here = _Rank(rank, size, started, watch)
    sys.excepthook = _hook(sys.excepthook)
    sys.exit = _exit
    atexit.register(leave)


def _say(text: str) -> None:
    with contextlib.suppress(Exception):  # a closed stderr must not keep a rank from ending
        sys.stdout.flush()
        sys.stderr.write(f"flambeau.distributed: {text}\n")
        sys.stderr.flush()


def _main_frame() -> Any:
    return sys._current_frames().get(threading.main_thread().ident or 0)


def _place_of(frame: Any) -> str:
    """The innermost line of a user's code in a stack, where there is one."""
    paths = sysconfig.get_paths()
    others = str(Path(__file__).resolve().parents[1]), "<frozen", *(paths[n] for n in ("stdlib", "purelib", "platlib"))
    innermost = frame
    while frame is not None and frame.f_code.co_filename.startswith(others):
        frame = frame.f_back
    frame = frame or innermost
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}" if frame else "its end"


def _describe(error: BaseException) -> tuple[str, str]:
    """What an exception says, and the line of the user's code that it came from."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    text = "".join(traceback.format_exception_only(error)).strip()
    return text, _place_of(frames[-1] if frames else None)


def _hook(before: Callable[..., Any]) -> Callable[..., Any]:
    """An excepthook that ends the job after the traceback was printed."""

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        before(kind, error, trace)
        if _here is not None and _here.pid == os.getpid():
            failed(error)

    return hook


def failed(error: BaseException | None = None, status: int = 1) -> NoReturn:
    """End this rank, which failed, and with it the job; the traceback was printed."""
    if isinstance(error, KeyboardInterrupt):
        status = 130
    what, where = _describe(error) if error is not None else (f"exited with status {status}", "")
    _report(what, where)
    rank = os.environ.get("RANK", "?") if _here is None else _here.rank
    why = f"rank {rank} failed: {what}" + (f" at {where}" if where else "")
    if _here is not None:
        _here.over = True
        if _here.started != "launcher":  # which says so itself
            _say(why)
        _here.tell(why)
        if _here.started == "mpi":
            _abort(status)
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)  # atexit would wait for the others in MPI


def _abort(status: int) -> None:
    from flambeau.distributed.mpi import load  # lazy: a rank may end before it communicates

    load().COMM_WORLD.Abort(status)


def _report(what: str, where: str) -> None:
    file = os.environ.get(FAILURE_FILE)
    if file is not None:
        with contextlib.suppress(OSError):
            Path(file).write_text(json.dumps({"error": what[:_LONGEST_REASON], "where": where}))


class _Exit(SystemExit):
    """What ``sys.exit`` raises in a rank.

    Python runs atexit's functions without saying how a program ends. But the exception dies first: below a frame where
    it was caught, otherwise at the bottom of the stack, and then the program ends with its status.
    """

    def __del__(self) -> None:
        if self.code and sys._getframe(0).f_back is None and threading.current_thread() is threading.main_thread():
            failed(status=self.code if isinstance(self.code, int) else 1)


def _exit(status: Any = None, /) -> NoReturn:
    """``sys.exit``, whose status the guard sees."""
    raise _Exit(status)


def give_up() -> None:
    """This rank failed, and who started it will say so: it takes no leave."""
    if _here is not None:
        _here.over = True


def leave() -> None:
    """Wait for the other ranks, and finalise MPI. Does nothing in a process that is no rank, or that failed."""
    if _here is None or _here.over or _here.pid != os.getpid() or "mpi4py.MPI" not in sys.modules:
        return
    from flambeau.distributed.mpi import load  # lazy: a rank may end before it communicates

    mpi = load()
    if mpi.Is_finalized():
        return
    farewell = mpi.COMM_WORLD.Ibarrier()
    pause = 1e-4
    while not farewell.Test():  # MPI_Finalize would wait too, but spin, with Python's lock
        time.sleep(pause)
        pause = min(2 * pause, 0.01)
    _here.over = True
    mpi.Finalize()


def _end_with(launcher: int) -> None:
    """The kernel ends this process when its launcher dies in whatever way, where it can (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)
    if os.name != "nt" and os.getppid() != launcher:
        os._exit(1)


def _run(program: list[str], module: bool) -> None:
    sys.argv = program
    if module:
        sys.path.insert(0, os.getcwd())
        runpy.run_module(program[0], run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, str(Path(program[0]).resolve().parent))
        runpy.run_path(program[0], run_name="__main__")


def main() -> None:
    """Run the user's program: the arguments are the launcher's process, ``-m module`` or a script, and its own."""
    _, launcher, *program = sys.argv
    _end_with(int(launcher))
    sys.path.pop(0)  # of this module's start
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    module = program[0] == "-m"
    try:
        _run(program[1:] if module else program, module)
    except SystemExit as end:
        if end.code:
            if not isinstance(end.code, int):
                print(end.code, file=sys.stderr)
            failed(status=end.code if isinstance(end.code, int) else 1)
    except BaseException as error:
        _print_traceback(error)
        failed(error)
    leave()


def _print_traceback(error: BaseException) -> None:
    """The traceback without the lines of this module and of runpy."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename in (__file__, runpy.__file__, "<frozen runpy>"):
        trace = trace.tb_next
    traceback.print_exception(type(error), error, trace or error.__traceback__)
