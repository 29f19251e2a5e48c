"""Makes the calls, in processes of their own with a limit of memory: a call may hang, or end its process."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 6.0  # seconds that a call may take
MEMORY = 6 << 30
CRASH, SLOW = "crash", "slow"
Row = dict[str, Any]


class TooLong(BaseException):
    """A call ran past the limit."""


def _stop(*_: object) -> None:
    raise TooLong


def work(seed: int, first: int, last: int, only: str) -> None:
    """The worker: one line of JSON before each call, and one after it."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    os.chdir(tempfile.mkdtemp(prefix="fuzz-"))
    from tests.fuzz.calls import draw

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGALRM, _stop)
    warnings.simplefilter("ignore")
    for index in range(first, last):
        drawn = draw(seed, index, lambda path: only in path)
        print(json.dumps({"begins": index, "call": str(drawn)}), file=answers, flush=True)
        row = one(drawn)
        damage = _damage()
        if damage:
            row = {"verdict": CRASH, "what": f"nothing works after it: {damage}"}
        print(json.dumps({"index": index, "call": str(drawn), **row}), file=answers, flush=True)
        if damage:
            os._exit(0)


def one(drawn: Any) -> Row:
    """Make a call and judge it."""
    from tests.fuzz.verdict import RETURNED, judge

    began = time.perf_counter()
    signal.setitimer(signal.ITIMER_REAL, LIMIT)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            found = drawn.target.fn(*drawn.args, **drawn.kwargs)
            if hasattr(found, "__iter__") and type(found).__module__.startswith("flambeau.utils.data"):
                list(itertools.islice(found, 3))
        row: Row = {"verdict": RETURNED, "what": type(found).__name__}
    except TooLong:
        row = {"verdict": SLOW, "what": f"more than {LIMIT} s"}
    except BaseException as error:  # whatever it is, it is what is asked for
        try:
            row = {"verdict": judge(error, drawn.target), "what": f"{type(error).__name__}: {error}"[:400]}
        except Exception as second:
            row = {"verdict": "raw", "what": f"{type(error).__name__} without a text: {second}"}
        row["where"] = _where(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        _restore()
    if row["verdict"] != SLOW and time.perf_counter() - began > LIMIT:
        row["verdict"] = SLOW
    return row


def _where(error: BaseException) -> str:
    import traceback

    frames = traceback.extract_tb(error.__traceback__)[-2:]
    return " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames))


def _restore() -> None:
    """What a call may have set for those after it."""
    import flambeau as fb

    fb.set_default_dtype(fb.float32)
    fb.set_default_device("cpu")
    fb.set_grad_enabled(True)
    fb.set_detect_anomaly(False)


def _damage() -> str:
    """Why the simplest calls fail now."""
    import flambeau as fb

    try:
        return "" if (fb.ones(2) + 1).sum().item() == 4 else "1 + 1 is not 2"
    except Exception as error:
        return str(error)


def run(seed: int, calls: int, only: str = "") -> Iterator[Row]:
    """Every call's row; a worker that hangs or dies is begun again behind the call that did it."""
    first = 0
    while first < calls:
        began = first
        command = [sys.executable, "-m", "tests.fuzz", "--worker", str(seed), str(first), str(calls), only]
        with tempfile.TemporaryFile() as errors:
            worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, cwd=ROOT, text=False)
            last: Row = {"begins": first - 1, "call": ""}
            for row in _rows(worker):
                if "index" in row:
                    yield row
                    first = row["index"] + 1
                else:
                    last = row
            assert worker.stdout is not None
            worker.stdout.close()
            hung = False
            try:
                worker.wait(5)
            except subprocess.TimeoutExpired:
                hung = True
                worker.kill()
                worker.wait()
            if first >= calls:
                return
            if last["begins"] < first and began < first:
                continue  # it ended behind a call that did damage
            if last["begins"] < first:
                errors.seek(0)
                raise RuntimeError(f"the worker did not begin: {errors.read().decode()[-2000:]}")
        yield {"index": first, "call": last["call"], "verdict": SLOW if hung else CRASH,
               "what": f"the process ended with {worker.returncode}"}  # fmt: skip
        first += 1


def _rows(worker: subprocess.Popen[bytes]) -> Iterator[Row]:
    """Lines of the worker until it ends, or is silent for too long."""
    assert worker.stdout is not None
    descriptor, rest = worker.stdout.fileno(), b""
    while select.select([descriptor], [], [], 60)[0]:
        data = os.read(descriptor, 1 << 16)
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        yield from map(json.loads, lines)
