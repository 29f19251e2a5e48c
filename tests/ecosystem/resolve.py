"""What pip installs for packages that require torch, where the wheel of ``torch-wheel`` is the torch that is there.

    python -m tests.ecosystem.resolve ENVIRONMENT [--install]

ENVIRONMENT is a folder, made new: flambeau from this checkout, and its wheel named torch. For each of ``ASKED`` pip
says what it would install; another torch among it, or what PyTorch's own wheels bring, is a failure. With ``--install``
it is installed too. ``pip check`` must find nothing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from tests.ecosystem.__main__ import make

#: What a user asks pip for. torchvision goes with one version of torch, so pip is told which one stays.
ASKED = (
    ["transformers", "lightning", "pyro-ppl"],
    ["torchvision", "torchaudio", "timm", "accelerate", "peft", "torch==2.13.0"],
)
#: Distributions of PyTorch itself: none may come.
ITS_OWN = ("torch", "triton", "pytorch-triton", "nvidia-", "cuda-")


def found(python: Path, asked: list[str], report: Path) -> dict[str, str]:
    """The versions of what pip would install."""
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--dry-run"]
    subprocess.run([*pip, "--report", str(report), *asked], check=True)
    listed = [entry["metadata"] for entry in json.loads(report.read_text())["install"]]
    return {entry["name"].lower(): entry["version"] for entry in listed}


def foreign(names: dict[str, str]) -> list[str]:
    """Those that belong to PyTorch."""
    return sorted(n for n in names if n in ITS_OWN or n.startswith(tuple(p for p in ITS_OWN if p.endswith("-"))))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("environment", type=Path)
    parser.add_argument("--install", action="store_true")
    given = parser.parse_args()
    python = make(given.environment, [], record=False)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
    failed = False
    for asked in ASKED:
        new = found(python, asked, given.environment / "report.json")
        wrong = foreign(new)
        failed |= bool(wrong)
        shown = ", ".join(f"{n} {new[n]}" for n in asked if n in new)
        print(f"pip install {' '.join(asked)}\n    {shown}; {len(new)} in all; PyTorch's: {wrong or 'none'}")
        if given.install:
            subprocess.run([*pip, "install", "--quiet", *asked], check=True)
    check = subprocess.run([*pip, "check"], capture_output=True, text=True)
    version = subprocess.run([*pip, "show", "torch"], capture_output=True, text=True).stdout.splitlines()[1]
    print(f"torch: {version}\npip check: {check.stdout.strip()}")
    return int(failed or check.returncode != 0)


if __name__ == "__main__":
    sys.exit(main())
