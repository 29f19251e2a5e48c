"""What the ranks of the tests of launchers run: each says what it sees, and then ends as it is told.

``python launched.py HOW``; rank 1 goes another way than rank 0.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from datetime import timedelta

import flambeau as fb
import flambeau.distributed as dist

SEEN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "OMP_NUM_THREADS", "TQDM_DISABLE")


def work(how: str, timeout: float = 20) -> None:
    """Take part in a job, and end as told."""
    dist.init_process_group(timeout=timedelta(seconds=timeout))
    rank, x = dist.get_rank(), fb.ones(3)
    dist.all_reduce(x)
    seen = {name: os.environ.get(name) for name in SEEN}
    print(json.dumps({"rank": rank, "sum": x.tolist(), "pid": os.getpid(), **seen}), flush=True)
    dist.barrier()  # all have said it
    if rank == 1:
        end(how)
    if how == "mismatch":
        dist.all_reduce(fb.ones(3 if rank == 0 else 4))
    if how == "order":
        dist.all_reduce(x) if rank == 0 else dist.broadcast(x, 0)
    if how not in ("well", "caught"):
        dist.all_reduce(x)
    dist.barrier()


def end(how: str) -> None:
    """End rank 1, or hold it up."""
    if how == "raise":
        raise ValueError("boom")
    if how == "exit":
        sys.exit(3)
    if how == "message":
        sys.exit("no data")
    if how == "caught":
        try:
            sys.exit(3)
        except SystemExit:
            print("went on", flush=True)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how in ("_exit", "_exit well"):
        os._exit(5 if how == "_exit" else 0)
    if how == "straggle":
        time.sleep(60)
    if how == "interrupt":
        raise KeyboardInterrupt


if __name__ == "__main__":
    work(sys.argv[1], *map(float, sys.argv[2:]))
