"""What a type checker sees of a user's modules: a call is typed as ``forward`` is, and mistakes are found."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
USE = """
from typing import assert_type
import flambeau as fb
from flambeau import nn
from flambeau.nn import functional as F

class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool = nn.Conv2d(1, 4, 3), nn.MaxPool2d(2)
        self.rnn, self.head = nn.LSTM(2, 3), nn.Sequential(nn.Linear(4, 2), nn.ReLU())

    def forward(self, x: fb.Tensor, scale: float = 1.0) -> tuple[fb.Tensor, int]:
        out, (h, c) = self.rnn(F.relu(self.conv(x)))
        assert_type(h, fb.Tensor)
        assert_type(F.max_pool2d(x, 2), fb.Tensor)
        assert_type(F.max_pool2d(x, 2, return_indices=True), tuple[fb.Tensor, fb.Tensor])
        assert_type(F.conv2d(x, x), fb.Tensor)
        return self.head(h) * scale, 1

net = Net()
assert_type(net(fb.ones(2)), tuple[fb.Tensor, int])
assert_type(net.to("cpu").eval(), Net)
assert_type(nn.Linear(4, 2)(fb.ones(3, 4)), fb.Tensor)
assert_type(nn.Linear(4, 2).weight, nn.Parameter)
assert_type(nn.ELU(alpha=2.0)(fb.ones(2)), fb.Tensor)
assert_type(nn.ELU().alpha, float)
assert_type(nn.CrossEntropyLoss(label_smoothing=0.1)(fb.ones(2), fb.ones(2)), fb.Tensor)
assert_type(nn.ZeroPad2d(1)(fb.ones(2)), fb.Tensor)
net("x")  # wrong
net(fb.ones(2), scale="x")  # wrong
net.to(3.5)  # wrong
nn.Linear(4, 2)("x")  # wrong
nn.Linear(4, 2).nothing()  # wrong
nn.Linear(4, 2).nothing = 3  # wrong
nn.Linear("a", 2)  # wrong
nn.Conv2d(1, 2)  # wrong
nn.ELU(alfa=2.0)  # wrong
nn.CrossEntropyLoss(labels=1)  # wrong
nn.GaussianNLLLoss(True)  # wrong
F.conv2d(fb.ones(1))  # wrong
nn.init.uniform_(3)  # wrong
"""
COMMANDS = {
    "mypy": ("mypy", "--strict", "--config-file=", "--follow-imports=silent", "--no-error-summary", "use.py"),
    "pyright": ("pyright", "--pythonpath", sys.executable, "use.py"),
}


@pytest.mark.parametrize("checker", COMMANDS)
def test_a_call_is_typed_as_forward(checker: str, tmp_path: Path) -> None:
    if shutil.which(checker) is None:
        pytest.skip(f"{checker} is not installed")
    (tmp_path / "use.py").write_text(USE)
    (tmp_path / "flambeau").mkdir()
    houses = [ROOT / name for name in ("core", "backends", "plugins", "nn", "optim", "utils")]
    for path in {p.name: p for p in (*houses, *(ROOT / "flambeau").iterdir()) if p.exists()}.values():
        (tmp_path / "flambeau" / path.name).symlink_to(path)
    environment = os.environ | {"MYPYPATH": str(tmp_path), "PYTHONPATH": str(tmp_path)}
    run = subprocess.run(COMMANDS[checker], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    found = {int(n) for n in re.findall(r"use\.py:(\d+):.*error", run.stdout)}
    wanted = {i for i, line in enumerate(USE.splitlines(), 1) if "# wrong" in line}
    assert found == wanted, run.stdout + run.stderr
