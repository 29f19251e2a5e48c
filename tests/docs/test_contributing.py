"""What a checkout is worked on with: pinned tools, hooks that agree with them, pages whose links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import RunPython
from tests.docs.guide import DOCS

ROOT = DOCS.parent
HOOKS = (ROOT / ".pre-commit-config.yaml").read_text()
DEV = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["dev"]
PINNED = {m[1]: m[2] for line in DEV if (m := re.match(r"([\w-]+)(?:\[\w+\])?==(.+)", line))}
QUICK = re.findall(r"^ {10}- (\S.*?)(?: #.*)?$", HOOKS, re.M)
LINKS = [(page, link) for page in ("CONTRIBUTING.md", "CHANGELOG.md")
         for link in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text()) if "://" not in link]  # fmt: skip


def test_the_tools_are_pinned_and_the_hooks_have_the_same() -> None:
    assert {"ruff", "mypy", "pyright"} <= set(PINNED)
    wanted = re.findall(r"additional_dependencies: \[(.+)\]", HOOKS)
    assert wanted
    assert set(wanted) == {f"ruff=={PINNED['ruff']}"}


def test_the_quick_tests_exist() -> None:
    assert len(QUICK) > 5
    files = {name.partition("::")[0] for name in QUICK if name.startswith("tests/")}
    assert not {name for name in files if not (ROOT / name).is_file()}


@pytest.mark.slow
def test_the_quick_tests_pass_by_themselves() -> None:
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", *QUICK], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(("page", "link"), LINKS)
def test_links(page: str, link: str) -> None:
    assert Path(ROOT, link).exists(), f"{page} links to {link}"


#: Puts what the page shows where it says, then uses it.
HOW_TOS = """
import doctest
import importlib

import numpy as np

import flambeau as fb
from flambeau.core import registry
from tests.docs.guide import blocks

pieces = dict(blocks("../CONTRIBUTING.md", "into"))
ops, opdb, cpu, optim = (importlib.import_module("flambeau." + p[:-3].replace("/", ".")) for p in pieces if "/" in p)
exec(pieces["core/ops/elementwise.py"], vars(ops))
exec(pieces["backends/cpu/elementwise.py"], vars(cpu))
exec(pieces["optim/elementwise.py"], vars(optim))
references = eval("{" + pieces["plugins/conformance/opdb/elementwise.py"] + "}", vars(opdb))

x = np.linspace(-4, 4, 9)
wanted = references["squareplus"](x)
np.testing.assert_allclose(ops.squareplus_p(fb.tensor(x, dtype=fb.float32)).numpy(), wanted, rtol=1e-6)
exec(pieces["bind"].strip(), vars(cpu) | {"table": registry.get_backend("cpu").kernels})
assert fb.autograd.gradcheck(ops.squareplus_p, fb.tensor(x, requires_grad=True))
np.testing.assert_allclose(cpu.squareplus(x, x), wanted, rtol=1e-14)

fb.squareplus = ops.squareplus_p
for shown in (ops.squareplus_p, optim.Lion):
    doctest.run_docstring_examples(shown, {"fb": fb, "Lion": optim.Lion})
"""


def test_the_how_tos_are_true(run_python: RunPython) -> None:
    ran = run_python("-c", HOW_TOS)
    assert ran.returncode == 0 and not ran.stdout, ran.stdout + ran.stderr
