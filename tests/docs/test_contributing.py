"""What a checkout is worked on with: pinned tools, hooks that agree with them, pages whose links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

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
    assert not [name for name in QUICK if name.startswith("tests/") and not (ROOT / name).is_file()]


@pytest.mark.slow
def test_the_quick_tests_are_quick() -> None:
    before = os.times()
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", *QUICK], cwd=ROOT, capture_output=True, text=True)
    after = os.times()
    assert done.returncode == 0, done.stdout
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    assert spent < 10, f"{spent:.1f} s of one core, whatever else it had to do"


@pytest.mark.parametrize(("page", "link"), LINKS)
def test_links(page: str, link: str) -> None:
    assert Path(ROOT, link).exists(), f"{page} links to {link}"
