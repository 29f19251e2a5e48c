"""``python -m flambeau run``: a program that is written for PyTorch, in a Python where torch is flambeau."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from flambeau.compat.torch import hand_down


def run(program: Sequence[str], *, module: bool = False) -> int:  # noqa: RET503  # execv does not return
    """Run a script, or a module with ``module``, as ``python`` itself does: argv, tracebacks, exit status.

    ``program`` is its name and its arguments. The process is replaced where the system can; the options of the running
    Python, such as ``-W``, are given on. The result is an exit status, 2 when no program was named.
    """
    if not program:
        print("flambeau: run: a script or `-m MODULE` is missing", file=sys.stderr)
        return 2
    hand_down()
    command = [sys.executable, *_options(), *(["-m"] if module else []), *program]
    if os.name == "nt":  # there execv starts a second process, and returns to the shell at once
        return subprocess.run(command).returncode
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, command)


def _options() -> list[str]:
    """What stands between ``python`` and ``-m flambeau`` on the command line of this process."""
    given = sys.orig_argv[1:]
    return given[: given.index("-m")] if "-m" in given else []
