"""Ranks that a program starts itself."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from flambeau.distributed import spawn
from tests.distributed.jobs import run_bounded

pytest.importorskip("mpi4py")

PROGRAM = """
import os, signal, sys, time
import flambeau as fb, flambeau.distributed as dist
from flambeau.multiprocessing.spawn import ProcessException

def work(rank, how):
    dist.init_process_group()
    x = fb.ones(2)
    dist.all_reduce(x)
    assert (rank, x.tolist()) == (dist.get_rank(), [2.0, 2.0])
    if rank == 1:
        if how == "raise":
            raise ValueError("boom")
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "exit":
            sys.exit(3)
        if how == "_exit":
            os._exit(0)
    if how != "well":
        dist.all_reduce(x)

if __name__ == "__main__":
    method, *hows = sys.argv[1:]
    for how in hows:
        started = dist.spawn(work, (how,), nprocs=2, join=False, start_method=method)
        pids = started.pids()
        try:
            while not started.join(10):
                pass
            print(how, "ended", flush=True)
        except ProcessException as error:
            print(how, type(error).__name__, str(error).strip().splitlines()[-1], flush=True)
        for pid in pids:
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                continue
            print("process", pid, "is left")
"""

SAID = {
    "well": "well ended",
    "raise": "raise ProcessRaisedException ValueError: boom",
    "kill": "kill ProcessExitedException process 1 terminated with signal SIGKILL",
    "exit": "exit ProcessExitedException process 1 terminated with exit code 3",
    "_exit": "_exit ProcessExitedException process 1 terminated with exit code 0 before it left the job (os._exit)",
}


@pytest.mark.parametrize(
    "method", [pytest.param("fork", marks=pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")),
               pytest.param("spawn", marks=pytest.mark.slow)],
)  # fmt: skip
def test_spawn(tmp_path: Path, method: str) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    ran = run_bounded([sys.executable, str(tmp_path / "program.py"), method, *SAID], 120)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == list(SAID.values()), ran.stderr


def test_wrong_calls() -> None:
    with pytest.raises(ValueError, match="nprocs must be at least 1, got 0"):
        spawn(print, nprocs=0)
