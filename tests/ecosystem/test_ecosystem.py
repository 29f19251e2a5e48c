"""Packages that are written for PyTorch give on flambeau what they give on PyTorch.

They are installed into the environment that the variable ECOSYSTEM names, a folder, or into a new one.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.ecosystem.__main__ import REQUIREMENTS, compare, make, run


@pytest.mark.ecosystem
@pytest.mark.parametrize("package", sorted(REQUIREMENTS))
def test_a_package_answers_as_on_pytorch(package: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = Path(os.environ.get("ECOSYSTEM") or tmp_path_factory.getbasetemp() / "ecosystem")
    report = run(make(folder, [package], record=False), package, "cpu", [])
    assert report["answers"], report["errors"]
    assert compare(report) == {}
