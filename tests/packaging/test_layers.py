"""The contracts of import-linter name every module that they are about (import-linter itself runs in CI)."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS = {
    c["id"]: c for c in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
}


@pytest.mark.parametrize(
    ("contract", "house", "allowed"),
    [
        ("backends", "core", {"config", "device", "dtype", "expr", "random"}),
        ("core", "backends", {"base", "layout"}),
    ],
)
def test_each_module_is_allowed_or_forbidden(contract: str, house: str, allowed: set[str]) -> None:
    there = {p.stem for p in (ROOT / house).iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()} - {
        "__init__"
    }
    prefix = f"flambeau.{house}."
    forbidden = {m.removeprefix(prefix) for m in CONTRACTS[contract]["forbidden_modules"] if m.startswith(prefix)}
    assert forbidden == there - allowed, "bring [tool.importlinter] in pyproject.toml up to date"


def test_the_layers_above_are_forbidden_to_those_below() -> None:
    above = {"flambeau.nn", "flambeau.optim", "flambeau.plugins", "flambeau.utils"}
    for name in ("backends", "core"):
        assert above <= set(CONTRACTS[name]["forbidden_modules"])
