"""What ``import flambeau`` takes beside ``import numpy`` and ``import torch``: new processes in turns, medians.

    python -m benchmarks.startup [--rounds 11]

PyTorch is measured where it is installed. The disk is warm and bytecode is cached, as it is from the second import on.
The exit status is 1 when flambeau exceeds the limit that the project holds itself to.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

LIMIT = 0.25  # seconds
ROOT = Path(__file__).resolve().parent.parent


def seconds(module: str, cache: str) -> float:
    """Wall-clock seconds of one import in a new process."""
    code = f"import time; start = time.perf_counter(); import {module}; print(time.perf_counter() - start)"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment.update(PYTHONPYCACHEPREFIX=cache, PYTHONPATH=str(ROOT))
    return float(subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True).stdout)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    rounds = parser.parse_args().rounds
    modules = [m for m in ("numpy", "flambeau", "torch") if importlib.util.find_spec(m)]
    times: dict[str, list[float]] = {m: [] for m in modules}
    with tempfile.TemporaryDirectory() as cache:
        for module in modules:
            seconds(module, cache)  # fills the cache
        for _ in range(rounds):
            for module in modules:
                times[module].append(seconds(module, cache))
    for module in modules:
        limit = f"   limit {LIMIT:.2f} s" if module == "flambeau" else ""
        print(f"import {module:<10}{statistics.median(times[module]):6.3f} s, best {min(times[module]):6.3f} s{limit}")
    return int(statistics.median(times["flambeau"]) > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
