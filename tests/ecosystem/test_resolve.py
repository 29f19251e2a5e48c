"""pip is content with flambeau's wheel named torch."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.ecosystem.__main__ import make
from tests.ecosystem.resolve import ASKED, foreign, found


def test_what_belongs_to_pytorch() -> None:
    names = {"torchvision": "1", "torch": "2", "nvidia-cublas": "3", "triton": "3", "pytorch-lightning": "2"}
    assert foreign(names) == ["nvidia-cublas", "torch", "triton"]


@pytest.mark.ecosystem
def test_pip_brings_no_other_torch(tmp_path: Path) -> None:
    python = make(tmp_path / "env", [], record=False)
    for asked in ASKED:
        new = found(python, asked, tmp_path / "report.json")
        assert set(asked) - {"torch==2.13.0"} <= set(new)
        assert foreign(new) == []
    subprocess.run([str(python), "-m", "pip", "check"], check=True)
