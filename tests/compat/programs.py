"""Programs that run in a Python of their own, where torch is flambeau."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Python with these arguments, and these variables in its environment."""
    environment = {n: v for n, v in os.environ.items() if n != "PYTHONPATH"} | {"PYTHONPATH": str(ROOT)} | variables
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment)


def answers(program: str, **variables: str) -> list[str]:
    """What a program prints, line by line; `install()` has been called."""
    done = run("-c", f"import flambeau.compat.torch; flambeau.compat.torch.install()\n{program}", **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
