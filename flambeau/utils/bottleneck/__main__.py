"""Runs a program under both profilers, and prints what they found."""

from __future__ import annotations

import cProfile
import os
import pstats
import sys
from typing import Any

from flambeau.profiler import profile
from flambeau.utils.collect_env import get_pretty_env_info

_USAGE = "usage: python -m flambeau.utils.bottleneck script.py [arguments]"


def _program(path: str) -> tuple[Any, dict[str, Any]]:
    with open(path, "rb") as file:
        code = compile(file.read(), path, "exec")
    return code, {"__file__": path, "__name__": "__main__", "__package__": None, "__cached__": None}


def main(arguments: list[str]) -> int:
    """The exit code; 2 without a script."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_USAGE, file=sys.stderr)
        return 0 if arguments else 2
    script = arguments[0]
    sys.argv = arguments
    sys.path.insert(0, os.path.dirname(os.path.abspath(script)))
    code, names = _program(script)
    python = cProfile.Profile()
    python.runctx(code, names_of_python := dict(names), names_of_python)
    with profile() as ops:
        exec(code, dict(names))  # the user's own program, as it was named on the command line
    print("-" * 40, "  Environment summary", "-" * 40, get_pretty_env_info(), sep="\n")
    print("-" * 40, "  cProfile output", "-" * 40, sep="\n")
    pstats.Stats(python, stream=sys.stdout).sort_stats("tottime").print_stats(15)
    print("-" * 40, "  ops, by time on the host", "-" * 40, sep="\n")
    print(ops.key_averages().table(sort_by="self_cpu_time_total", row_limit=15))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
