"""What it takes to import packages written for PyTorch, where torch is PyTorch and where it is flambeau.

    python -m benchmarks.imports [--python PYTHON] [--rounds 7]

PYTHON is an environment that has PyTorch, the packages and flambeau's requirements; packages that it lacks are left
out. Both run in it, in new processes in turns, so that everything but torch is the same; torch's own import comes
before the clock starts. Seconds are medians of the process's CPU time, on which other work on the machine has little
influence, and of wall-clock time. The exit status is 1 when a ratio of CPU times exceeds the limit that the project
holds itself to.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

LIMIT = 1.3  # times what it takes with PyTorch
ROOT = Path(__file__).resolve().parent.parent
STATEMENTS = (
    "import transformers",
    "from transformers import AutoModel, Trainer",
    "import lightning",
    "import pyro",
    "import torchvision",
    "import timm",
)
KINDS = ("PyTorch", "flambeau")
CODE = """\
import importlib.util, sys, time
if sys.argv[1] == "flambeau":
    sys.path.insert(0, sys.argv[3])
    from flambeau.compat.torch import install
    install(children=False)
import torch
assert hasattr(torch, "compile") and (type(torch).__name__ == "Namespace") == (sys.argv[1] == "flambeau")
if importlib.util.find_spec(sys.argv[2].split()[1]) is None:
    sys.exit(3)
wall, cpu = time.perf_counter(), time.process_time()
exec(sys.argv[2])
print(time.process_time() - cpu, time.perf_counter() - wall)
"""


def seconds(python: str, kind: str, statement: str, cache: str) -> tuple[float, float] | None:
    """CPU and wall-clock seconds of one statement in a new process; None where the package is not there."""
    hidden = ("PYTHON", "FLAMBEAU_", "VIRTUAL_ENV")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(hidden)} | {"PYTHONPYCACHEPREFIX": cache}
    command = [python, "-c", CODE, kind, statement, str(ROOT)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=cache)
    if done.returncode == 3:
        return None
    if done.returncode:
        raise SystemExit(f"{statement} with {kind}:\n{done.stderr}")
    cpu, wall = done.stdout.split()[-2:]
    return float(cpu), float(wall)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", action="append", help="a statement to measure; again for more")
    asked = parser.parse_args()
    worst = 0.0
    print(f"{'':45}{'PyTorch':>16}{'flambeau':>18}   ratio (limit {LIMIT})")
    with tempfile.TemporaryDirectory() as cache:
        for statement in asked.only or STATEMENTS:
            times: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
            for _ in range(asked.rounds + 1):  # the first fills the caches
                for kind in KINDS:
                    found = seconds(asked.python, kind, statement, cache)
                    times[kind] += [] if found is None else [found]
            if not times["flambeau"]:
                continue
            cpu, wall = ({k: statistics.median(t[i] for t in times[k][1:]) for k in KINDS} for i in (0, 1))
            ratio = cpu["flambeau"] / cpu["PyTorch"]
            worst = max(worst, ratio)
            shown = "".join(f"{cpu[k]:8.3f} ({wall[k]:6.3f})" + "  " for k in KINDS)
            print(f"{statement:45}{shown} {ratio:5.2f}", flush=True)
    print("seconds of CPU time (of wall-clock time)")
    return int(worst > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
