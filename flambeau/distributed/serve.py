"""The PMI server in a process of its own: ``python -m flambeau.distributed.serve SIZE``.

It prints its port, and ends with the process that started it: when its input is at the end.
"""

from __future__ import annotations

import os
import signal
import sys

from flambeau.distributed.pmi import Server, remove_shared_memory

_LEAVE = 5.0  # seconds that the other ranks have to take leave after rank 0


def main() -> None:
    """Serve."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server = Server(int(sys.argv[1]), host="0.0.0.0")
    print(server.port, flush=True)
    sys.stdin.buffer.read()
    server.drain(_LEAVE)
    server.close()
    remove_shared_memory(server.name)


if __name__ == "__main__":
    main()
    os._exit(0)
