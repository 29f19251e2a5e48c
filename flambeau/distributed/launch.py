"""``python -m flambeau launch``: start the ranks of a job, watch them, and end all when one fails."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import IO

from flambeau.distributed.pmi import Server, remove_shared_memory
from flambeau.distributed.stores.server import StoreServer


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m flambeau launch")
    parser.add_argument("--nproc-per-node", "--nproc_per_node", type=int, default=1)
    parser.add_argument("-m", "--module", action="store_true")
    parser.add_argument("program", nargs=argparse.REMAINDER)
    given = parser.parse_args(arguments)
    size = given.nproc_per_node
    lost: list[int] = []
    store = StoreServer()
    pmi = Server(size, lost=lambda rank, code: lost.append(rank))
    threads = str(max(1, (os.cpu_count() or 1) // size))
    ranks = []
    for rank in range(size):
        env = dict(os.environ) | {
            "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size),
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True",
            "TORCHELASTIC_RUN_ID": pmi.name, "FLAMBEAU_JOB": pmi.name, "PMI_PORT": f"127.0.0.1:{pmi.port}",
            "PMI_ID": str(rank), "PYTHONUNBUFFERED": "1",
        }  # fmt: skip
        env.setdefault("OMP_NUM_THREADS", threads)
        env.setdefault("FLAMBEAU_NUM_THREADS", threads)
        command = [sys.executable, *(["-m"] if given.module else []), *given.program]
        process = subprocess.Popen(
            command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        for stream, out in ((process.stdout, sys.stdout.buffer), (process.stderr, sys.stderr.buffer)):
            threading.Thread(target=_copy, args=(rank, stream, out)).start()
        ranks.append(process)
    status = 0
    try:
        while any(process.poll() is None for process in ranks) and not status:
            time.sleep(0.02)
            for rank, process in enumerate(ranks):
                if process.poll():
                    print(f"flambeau launch: rank {rank} ended with {process.poll()}", file=sys.stderr)
                    status = 1
    finally:
        for process in ranks:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
    pmi.close()
    store.close()
    remove_shared_memory(pmi.name)
    return status


def _copy(rank: int, stream: IO[bytes], out: IO[bytes]) -> None:
    for line in stream:
        out.write(b"[rank %d] " % rank + line)
        out.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
