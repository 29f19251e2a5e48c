"""The twins find what differs."""

from __future__ import annotations

import numpy as np
import pytest

import flambeau as fb
from flambeau import nn
from tests.core.capture.harness import Program, program, twins


@pytest.mark.parametrize("planted", ["outputs", "gradients", "state", "numbers", "sharing"])
def test_the_twins_notice_what_differs(planted: str) -> None:
    """A Captured that is wrong in one thing, after three calls, is found out by it."""

    class Wrong:
        reasons: tuple[str, ...] = ()

        def __init__(self, fn: object) -> None:
            self.fn, self.calls, self.counts = fn, 0, None

        def __call__(self, x: fb.Tensor) -> tuple[fb.Tensor, fb.Tensor]:
            self.calls += 1
            y, z = self.fn(x)
            if self.calls > 3:
                y, z = self.spoil(y, z)
            return y, z

        def spoil(self, y: fb.Tensor, z: fb.Tensor) -> tuple[fb.Tensor, fb.Tensor]:
            with fb.no_grad():
                match planted:
                    case "outputs":
                        y[0, 0] = np.nextafter(np.float32(y[0, 0].item()), np.float32(9))
                    case "gradients":
                        model.weight.grad = None
                    case "state":
                        model.bias.neg_()
                    case "numbers":
                        fb.rand(1)
                    case "sharing":
                        z = z.clone()
            return y, z

    def make() -> Program:
        nonlocal model
        model = nn.Linear(6, 6)

        def step(x: fb.Tensor) -> tuple[fb.Tensor, fb.Tensor]:
            y = model(x)
            y.sum().backward()
            y = y.detach()
            return y, y[1]

        return program(step, model)

    model = nn.Linear(6, 6)
    report = twins(make, capture=Wrong)
    assert report.differences and report.differences[0].startswith("call 3"), report.differences
    word = {"outputs": "values", "gradients": "grad", "state": "values", "numbers": "surroundings", "sharing": "memory"}
    assert word[planted] in report.differences[0]
