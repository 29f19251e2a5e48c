"""Measurements that take a process of their own, with the bytecode cached."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from benchmarks.frameworks import ROOT


def answer(code: str, *arguments: str, cache: str) -> list[float]:
    """The numbers that a new Python process prints for a program, as :func:`said` has it.

    Bytecode is kept in the folder ``cache``.
    """
    return [float(number) for number in said(code, *arguments, variables={"PYTHONPYCACHEPREFIX": cache}).split()]


def said(code: str, *arguments: str, variables: Mapping[str, str]) -> str:
    """What a new Python process prints for a program, with more ``variables`` in its environment; RuntimeError with its
    error output if it fails.
    """
    return run("-c", code, *arguments, variables=variables)


def run(*arguments: str, variables: Mapping[str, str]) -> str:
    """What a new Python process with these arguments prints; otherwise as :func:`said`."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment.update(variables, PYTHONPATH=str(ROOT))
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"a process of the benchmarks ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


@contextmanager
def busy_core() -> Iterator[subprocess.Popen[bytes]]:
    """Meanwhile another process, this one, does nothing but keep a core busy."""
    neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield neighbour
    finally:
        neighbour.kill()
        neighbour.wait()
