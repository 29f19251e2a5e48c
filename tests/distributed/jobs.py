"""Jobs of several processes for tests: ``run_ranks`` runs a program on n ranks, ``run_cases`` all cases of a module.

A job costs about a second to start, so a test file starts one, in a fixture of the module's scope::

    @pytest.fixture(scope="module")
    def cases() -> Cases:
        return run_cases(2, "tests.distributed.collective_programs")

    @pytest.mark.parametrize("name", case_names("tests.distributed.collective_programs"))
    def test_case(cases: Cases, name: str) -> None:
        cases.check(name)
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from flambeau.utils.files import lock

ROOT = Path(__file__).resolve().parents[2]
#: A folder that the processes of one run of pytest have in common, where there are several.
shared: Path | None = None
_LINE = re.compile(r"^\[rank (\d+)\] (.*)$")


@dataclass(frozen=True)
class Job:
    """A job that ended: its exit status, what each rank printed and returned, and all of the error output."""

    status: int
    out: list[list[str]]
    returned: list[Any]
    err: str

    def check(self) -> Job:
        """This job, which must have ended well."""
        assert self.status == 0, f"the job ended with {self.status}\n{self.err}"
        return self


def run_ranks(
    size: int, program: str, *arguments: str, timeout: float = 60, environment: dict[str, str] | None = None,
    options: Sequence[str] = (),
) -> Job:  # fmt: skip
    """Run a program on ``size`` ranks.

    Args:
        program: ``"module:function"``, whose result on each rank (what JSON can hold) is in ``Job.returned``, or the
        text of
            a program, which returns what it leaves in ``result``.
        arguments: given to the function, or in ``sys.argv[1:]`` of the program.
        timeout: seconds; the job is killed after them and AssertionError raised.
        environment: set beside the environment of this process.
        options: more options of ``launch``.
    """
    with tempfile.TemporaryDirectory() as folder:
        if "\n" in program or not re.fullmatch(r"[\w.]+:\w+", program):
            Path(folder, "program.py").write_text(program)
            program = str(Path(folder, "program.py"))
        command = [
            sys.executable, "-m", "flambeau", "launch", "--nproc-per-node", str(size), *options,
            "-m", "tests.distributed.jobs", folder, program, *arguments,
        ]  # fmt: skip
        ran = run_bounded(command, timeout, environment)
        returned = [_read(Path(folder, f"{rank}.json")) for rank in range(size)]
    out: list[list[str]] = [[] for _ in range(size)]
    for line in ran.stdout.splitlines():
        if match := _LINE.match(line):
            out[int(match[1])].append(match[2])
    return Job(ran.returncode, out, returned, ran.stderr)


def environment() -> dict[str, str]:
    """The environment of this process, in which the repository is found."""
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])}


def run_bounded(
    command: Sequence[str], timeout: float, variables: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command in the root of the repository; AssertionError, and its end, where it takes too long."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment() | (variables or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.terminate()  # the launcher then ends its ranks
        try:
            out, err = process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
        raise AssertionError(f"{command} took more than {timeout} s\n{out}\n{err}") from None
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def reports(out: str) -> list[dict[str, Any]]:
    """What the ranks of ``launched.py`` printed of themselves, by rank; some launchers mix lines."""
    return sorted((json.loads(text) for text in re.findall(r'\{"rank".*?\}', out)), key=lambda report: report["rank"])


def _read(file: Path) -> Any:
    return json.loads(file.read_text()) if file.exists() else None


@dataclass(frozen=True)
class Cases:
    """What the cases of a module did: for each, on each rank, "" or a traceback."""

    job: Job

    def check(self, name: str) -> None:
        """The case passed on every rank."""
        for rank, errors in enumerate(self.job.returned):
            assert errors is not None, f"rank {rank} did not end\n{self.job.err}"
            assert name in errors, f"rank {rank} did not come to {name}\n{self.job.err}"
            assert not errors[name], f"rank {rank}\n{errors[name]}"


def run_cases(size: int, module: str, timeout: float = 120, environment: dict[str, str] | None = None) -> Cases:
    """Run every function ``case_...`` of a module in its order on ``size`` ranks, in one job. ``setup`` runs first.

    Of several processes of one run of pytest the first that comes runs the job, and the others read what it left.
    """

    def job() -> Job:
        program = "tests.distributed.jobs:report_cases"
        return run_ranks(size, program, module, timeout=timeout, environment=environment)

    if shared is None:
        return Cases(job())
    left = shared / f"{module}-{size}.json"
    with (shared / f"{module}-{size}.lock").open("w") as handle:
        lock(handle.fileno(), wait=True)
        if not left.exists():
            left.write_text(json.dumps(asdict(job())))
    return Cases(Job(**json.loads(left.read_text())))


def case_names(module: str) -> list[str]:
    """The cases of a module in their order, read without importing it."""
    tree = ast.parse((ROOT / (module.replace(".", "/") + ".py")).read_text())
    return [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("case_")]


def report_cases(module: str) -> dict[str, str]:
    """Run the cases of a module in this rank: "" or the traceback of each."""
    loaded = importlib.import_module(module)
    if hasattr(loaded, "setup"):
        loaded.setup()
    errors = {}
    for name in case_names(module):
        try:
            getattr(loaded, name)()
            errors[name] = ""
        except (Exception, pytest.fail.Exception):  # what pytest.raises raises is none of the first
            errors[name] = traceback.format_exc()
    return errors


def _main() -> None:
    """In each rank: run the program and write what it returns."""
    folder, program, *arguments = sys.argv[1:]
    sys.argv = [program, *arguments]
    if program.endswith(".py"):
        spec = importlib.util.spec_from_file_location("__main__", program)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["__main__"] = module
        spec.loader.exec_module(module)
        result = getattr(module, "result", None)
    else:
        name, _, function = program.partition(":")
        result = getattr(importlib.import_module(name), function)(*arguments)
    Path(folder, f"{os.environ['RANK']}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    _main()
