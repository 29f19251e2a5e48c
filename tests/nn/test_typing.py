"""What a type checker sees of a user's modules: a call is typed as ``forward`` is, and mistakes are found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import checkers

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
        assert_type(F.linear(x, x, bias=None), fb.Tensor)
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


@pytest.mark.slow
@pytest.mark.parametrize("checker", checkers.COMMANDS)
def test_a_call_is_typed_as_forward(checker: str, tmp_path: Path) -> None:
    checkers.check(checker, USE, tmp_path)
