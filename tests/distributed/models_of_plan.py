"""The workloads gpt, lenet and lstm in small, with the same values on every rank, and how one rank trains them."""

from __future__ import annotations

from collections.abc import Callable

import flambeau as fb
from flambeau import nn
from flambeau.distributed.plan.workloads import gpt, lenet, lstm
from flambeau.nn import functional as F

STEPS = 3
#: By name: the model, inputs and targets of 12 samples.
MODELS: dict[str, tuple[Callable[[], nn.Sequential], Callable[[], fb.Tensor], Callable[[], fb.Tensor]]] = {
    "gpt": (lambda: gpt(16, 6, 16, 2, 4), lambda: fb.randint(16, (12, 6)), lambda: fb.randint(16, (72,))),
    "lenet": (lambda: lenet(4, 10, 16), lambda: fb.randn(12, 1, 10, 10), lambda: fb.randint(10, (12,))),
    "lstm": (lambda: lstm(4, 8, 8), lambda: fb.randn(12, 5, 4), lambda: fb.randint(10, (12,))),
}


def made(name: str) -> tuple[nn.Sequential, fb.Tensor, fb.Tensor]:
    """The model, its input and the target, always the same."""
    model, inputs, targets = MODELS[name]
    fb.manual_seed(5)
    return model(), inputs(), targets()


def trained(model: nn.Module, x: fb.Tensor, target: fb.Tensor) -> list[float]:
    """The losses of steps on one batch; the model is trained by that."""
    optimizer = fb.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def close(found: list[float], expected: list[float]) -> None:
    """Losses agree to 1e-6, relative to their size."""
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert abs(a - b) <= 1e-6 * max(1.0, abs(b)), f"{found} is not {expected}"
