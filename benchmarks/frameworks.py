"""The two frameworks, their threads, and the facts of the machine that they run on."""

from __future__ import annotations

import datetime
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
WITHOUT_TORCH = "PyTorch is not installed, so these are figures of flambeau alone; pip install torch==2.13.0 compares"


def torch_or_none() -> Any:
    """PyTorch where it is installed."""
    return importlib.import_module("torch") if importlib.util.find_spec("torch") else None


def modules() -> list[Any]:
    """flambeau, and PyTorch where it is installed."""
    torch = torch_or_none()
    return [importlib.import_module("flambeau"), *([] if torch is None else [torch])]


def set_threads(frameworks: Sequence[Any], count: int) -> None:
    for framework in frameworks:
        framework.set_num_threads(count)


def cores() -> int:
    """How many the process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def facts() -> dict[str, Any]:
    """The machine, the commit and the versions behind the figures of a run."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": _processor(),
        "cores": cores(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "system": platform.system(),
        "commit": _commit(),
        "torch": _version("torch"),
        "jax": _version("jax"),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def _version(package: str) -> str | None:
    return importlib.metadata.version(package) if importlib.util.find_spec(package) else None


def described(found: dict[str, Any]) -> str:
    """Those facts as a line."""
    torch = f"PyTorch {found['torch']}" if found["torch"] else "no PyTorch"
    jax = f"jax {found['jax']}, " if found.get("jax") else ""  # of which older runs say nothing
    busy = "" if found["load"] is None else f", load average {found['load']:.1f} at the start"
    return (
        f"{found['processor']}, {found['cores']} hardware threads, {found['system']}{busy}; commit {found['commit']}, "
        f"{torch}, {jax}numpy {found['numpy']}, Python {found['python']}, {found['date']}"
    )


def _processor() -> str:
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    """The commit of the checkout, with a word where files differ from it."""
    head, changed = _git("rev-parse", "--short", "HEAD"), _git("status", "--porcelain", "--untracked-files=no")
    return "unknown" if head is None else f"{head} and changes" if changed else head


def _git(*command: str) -> str | None:
    try:
        return subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
