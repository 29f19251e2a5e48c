"""What a checkout is worked on with: pinned tools, hooks that agree with them, pages whose links lead somewhere."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.docs.guide import DOCS

ROOT = DOCS.parent
HOOKS = (ROOT / ".pre-commit-config.yaml").read_text()
DEV = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["dev"]
PINNED = {m[1]: m[2] for line in DEV if (m := re.match(r"([\w-]+)(?:\[\w+\])?==(.+)", line))}
LINKS = [(page, link) for page in ("CONTRIBUTING.md", "CHANGELOG.md")
         for link in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text()) if "://" not in link]  # fmt: skip


def test_the_tools_are_pinned_and_the_hooks_have_the_same() -> None:
    assert {"ruff", "mypy", "pyright"} <= set(PINNED)
    wanted = re.findall(r"additional_dependencies: \[(.+)\]", HOOKS)
    assert wanted
    assert set(wanted) == {f"ruff=={PINNED['ruff']}"}


def test_the_quick_tests_exist() -> None:
    files = re.findall(r"^ +- (tests/\S+)$", HOOKS, re.M)
    assert len(files) > 5
    assert not [name for name in files if not (ROOT / name).is_file()]


@pytest.mark.parametrize(("page", "link"), LINKS)
def test_links(page: str, link: str) -> None:
    assert Path(ROOT, link).exists(), f"{page} links to {link}"
