"""Run packages that are written for PyTorch, unmodified, on flambeau, and compare with PyTorch's answers.

    python -m tests.ecosystem ENVIRONMENT [package ...] [--device opencl] [--processes 2] [--record]

ENVIRONMENT is a folder; where it is not there, a virtual environment is made: flambeau from this checkout, its wheel
named torch, and from PyPI the packages (all, where none is named). ``--record`` installs PyTorch in place of flambeau,
and writes its answers to answers/; torchtext, whose library loads on no PyTorch of today, is recorded alone. The
report is a table, and with ``--report FILE`` JSON, which ``python -m tests.ecosystem.page FILE`` enters into the page
of results.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import venv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
#: What pip is asked for, by script, at the version whose answers were recorded.
REQUIREMENTS: dict[str, list[str]] = json.loads((HERE / "requirements.json").read_text())
TORCH = "torch==2.13.0"
#: What answers are recorded with in place of it.
OLDER = {"torchtext": ["torch==2.3.1", "numpy<2"]}

#: The devices that are packages of their own, in plugins/, and what these stand on.
LIBRARIES = {"jax": "jax[cpu]>=0.7", "mlx": "mlx[cpu]>=0.32", "webgpu": "wgpu>=0.32"}


def make(folder: Path, packages: list[str], record: bool, device: str = "cpu") -> Path:
    """The Python of the environment, with what the packages need."""
    python = folder / "bin" / "python"
    done = folder / "installed.json"
    have = json.loads(done.read_text()) if done.exists() else []
    if not have:
        venv.create(folder, with_pip=True, clear=True)
    constraints = folder / "constraints.txt"
    torch = OLDER.get(packages[0], [TORCH]) if record else [TORCH]
    constraints.write_text("\n".join(torch))  # a package that is bound to another torch comes in an older version
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "-c", str(constraints)]
    if not have and record:
        subprocess.run([*pip, *torch, "numpy"], check=True)
    elif not have:
        subprocess.run([*pip, "-e", f"{ROOT}[opencl]"], check=True)
        subprocess.run([str(python), "-m", "flambeau", "torch-wheel", "--out", str(folder)], check=True)
        subprocess.run([*pip, *map(str, folder.glob("torch-*.whl"))], check=True)
    for name, library in LIBRARIES.items():
        if device.startswith(name) and f"flambeau-{name}" not in have:
            source = folder / f"flambeau-{name}"  # building leaves files beside the sources
            shutil.copytree(ROOT / "plugins" / name, source, dirs_exist_ok=True)
            subprocess.run([*pip, library, str(source)], check=True)
            have = [*have, f"flambeau-{name}"]
    needed = [r for p in packages if p not in have for r in REQUIREMENTS[p]]
    if needed:
        subprocess.run([*pip, *needed], check=True)
    done.write_text(json.dumps(sorted({*have, *packages})))
    return python


def run(python: Path, package: str, device: str, jobs: list[str], timeout: float = 1800) -> dict[str, Any]:
    """The report of a script, in the environment of ``python``."""
    hidden = ("FLAMBEAU_", "PYTHON", "VIRTUAL_ENV")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
    command = [str(python), str(HERE / "scripts" / f"{package.replace('-', '_')}_jobs.py"), "--device", device, *jobs]
    report: dict[str, Any] = {"package": package, "device": device, "answers": {}, "seconds": {}}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=clean, cwd=HERE)
    except subprocess.TimeoutExpired:
        return report | {"errors": {"script": f"not done after {timeout:.0f} s"}}
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return report | {"errors": {"import": done.stderr[-3000:]}}
    return report | json.loads(lines[-1])


def differences(found: Any, wanted: Any, relative: float, absolute: float, where: str = "") -> list[str]:
    """Where two answers differ."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        names = [f"{where}: has {sorted(found)} instead of {sorted(wanted)}"] if set(found) != set(wanted) else []
        return names + [d for k in wanted.keys() & found.keys()
                        for d in differences(found[k], wanted[k], relative, absolute, f"{where}.{k}")]  # fmt: skip
    if isinstance(wanted, list) and isinstance(found, list):
        if len(wanted) != len(found):
            return [f"{where}: {len(found)} things instead of {len(wanted)}"]
        return [d for i, (f, w) in enumerate(zip(found, wanted, strict=True))
                for d in differences(f, w, relative, absolute, f"{where}[{i}]")]  # fmt: skip
    if isinstance(wanted, float) or isinstance(found, float):
        try:
            same = math.isclose(found, wanted, rel_tol=relative, abs_tol=absolute) or found == wanted
        except TypeError:
            same = False
        return [] if same or (found != found and wanted != wanted) else [f"{where}: {found!r} instead of {wanted!r}"]
    return [] if found == wanted else [f"{where}: {found!r} instead of {wanted!r}"]


def compare(report: dict[str, Any]) -> dict[str, list[str]]:
    """What is wrong with each job of a report, by the recorded answers."""
    recorded = json.loads((HERE / "answers" / f"{report['package']}.json").read_text())
    wrong: dict[str, list[str]] = {name: [error] for name, error in report["errors"].items()}
    for name, answer in report["answers"].items():
        if found := differences(answer, recorded["answers"][name], 2e-3, 2e-5):
            wrong[name] = found
    return wrong


def commit() -> str:
    """Of flambeau."""
    asked = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    return subprocess.run(asked, capture_output=True, text=True).stdout.strip() or "?"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.ecosystem", description=__doc__.split("\n")[0])
    parser.add_argument("environment", type=Path)
    parser.add_argument("packages", nargs="*", default=[])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--job", action="append", default=[], help="run this job alone; again for more")
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--report", type=Path)
    parser.add_argument("--processes", type=int, default=1, help="how many packages run at once")
    asked = parser.parse_args()
    packages = asked.packages or sorted(REQUIREMENTS)
    if unknown := sorted(set(packages) - set(REQUIREMENTS)):
        parser.error(f"no script for {', '.join(unknown)}; there are {', '.join(sorted(REQUIREMENTS))}")
    if asked.record and len(packages) > 1 and OLDER.keys() & set(packages):
        parser.error(f"record {', '.join(OLDER)} alone, in an environment of its own")
    python = make(asked.environment, packages, asked.record, asked.device)
    reports, failed = [], 0
    pool = ThreadPoolExecutor(asked.processes)
    runs = pool.map(lambda package: run(python, package, asked.device, asked.job), packages)
    for package, report in zip(packages, runs, strict=True):
        if asked.record:
            if report["errors"]:
                print(json.dumps(report["errors"], indent=1).replace("\\n", "\n"))
                return 1
            kept = {k: report[k] for k in ("package", "version", "torch", "answers")}
            (HERE / "answers" / f"{package}.json").write_text(json.dumps(kept, indent=1) + "\n")
            wrong: dict[str, list[str]] = {}
        else:
            wrong = compare(report)
        jobs = {*report["answers"], *report["errors"]}
        failed += len(wrong)
        report |= {"wrong": wrong, "commit": commit()}
        reports.append(report)
        right = f"{len(jobs) - len(wrong)} of {len(jobs)} jobs"
        print(f"{package:16} {report.get('version', '?'):10} {asked.device:8} {right}")
        for name, texts in wrong.items():
            print(f"    {name}: " + "\n        ".join(texts[0].splitlines()[-12:]), *texts[1:5], sep="\n        ")
    if asked.report:
        asked.report.write_text(json.dumps(reports, indent=1) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
