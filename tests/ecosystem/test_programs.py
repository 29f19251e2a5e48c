"""The programs in examples/ecosystem and the pages in docs/ecosystem run, in an environment with the packages."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.ecosystem.__main__ import ROOT, make

#: By program: the package that it needs, and what its last line is to say after a quick run.
PROGRAMS = {
    "transformers_finetune": ("transformers", r"before fine-tuning, (?P<reached>[\d.]+) after"),
    "lightning_jax": ("lightning", r"before, (?P<reached>[\d.]+) after training"),
    "pyro_posterior": ("pyro-ppl", r"off by at most (?P<reached>[\d.]+) standard deviations"),
    "torchvision_detector": ("torchvision", r"mAP (?P<reached>[\d.]+), overlap [\d.]+ after training"),
}
#: What the numbers must be above, or for Pyro below.
QUICK = {"transformers_finetune": 0.9, "lightning_jax": 0.6, "torchvision_detector": 0.0}
PAGES = {"transformers": "transformers", "lightning": "lightning", "pyro": "pyro-ppl", "torchvision": "torchvision"}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(os.environ.get("ECOSYSTEM") or tmp_path_factory.getbasetemp() / "ecosystem")
    return make(folder, sorted(package for package, _ in PROGRAMS.values()), record=False)


def output(python: Path, *arguments: str, **variables: str) -> str:
    hidden = ("FLAMBEAU_", "PYTHON", "VIRTUAL_ENV")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
    done = subprocess.run([str(python), *arguments], capture_output=True, text=True, timeout=600, cwd=ROOT,
                          env={**clean, **variables})  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.ecosystem
@pytest.mark.parametrize("program", sorted(PROGRAMS))
def test_a_program_learns(program: str, environment: Path) -> None:
    path = str(ROOT / "examples" / "ecosystem" / f"{program}.py")
    last = output(environment, "-m", "flambeau", "run", path, "--quick").splitlines()[-1]
    found = re.search(PROGRAMS[program][1], last)
    assert found is not None, last
    reached = float(found["reached"])
    assert reached < 1 if program == "pyro_posterior" else reached >= QUICK[program], last


@pytest.mark.ecosystem
@pytest.mark.parametrize("page", sorted(PAGES))
def test_a_page_prints_what_it_says(page: str, environment: Path) -> None:
    output(environment, "-c", f"from tests.docs.guide import run_page; run_page('ecosystem/{page}.md')")


def test_every_program_and_page_is_run() -> None:
    programs = {p.stem for p in (ROOT / "examples" / "ecosystem").glob("*.py")} - {"shared"}
    pages = {p.stem for p in (ROOT / "docs" / "ecosystem").glob("*.md")} - {"index"}
    assert programs == set(PROGRAMS) and pages == set(PAGES)
