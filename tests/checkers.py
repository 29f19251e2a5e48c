"""What type checkers say of a user's program."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = {
    "mypy": ("mypy", "--strict", "--config-file=", "--follow-imports=silent", "--no-error-summary", "use.py"),
    "pyright": ("pyright", "--pythonpath", sys.executable, "use.py"),
}


def check(checker: str, program: str, folder: Path) -> None:
    """The checker must find an error in each line that says ``# wrong``, and in no other."""
    if shutil.which(checker) is None:
        pytest.skip(f"{checker} is not installed")
    (folder / "use.py").write_text(program)
    (folder / "pyrightconfig.json").write_text(json.dumps({"extraPaths": [str(ROOT)]}))
    environment = os.environ | {"MYPYPATH": str(ROOT)}
    run = subprocess.run(COMMANDS[checker], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    found = {int(n) for n in re.findall(r"use\.py:(\d+):.*error", run.stdout)}
    wanted = {i for i, line in enumerate(program.splitlines(), 1) if "# wrong" in line}
    assert found == wanted, run.stdout + run.stderr
