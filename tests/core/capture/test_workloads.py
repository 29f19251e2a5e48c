"""Six small workloads: steps of training with a changing rate, replayed, equal to eager to the bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau import nn, optim
from flambeau.nn import functional as F
from tests.core.capture.harness import Program, numbers, twins

STEPS = {"cpu": 20, "strict": 9, "opencl:0": 9}


def labels(seed: int, *shape: int, classes: int) -> fb.Tensor:
    return fb.tensor(np.random.default_rng(seed).integers(0, classes, shape))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 5))


def lenet() -> nn.Module:
    first = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU(), nn.MaxPool2d(2))
    return nn.Sequential(first, nn.Flatten(), nn.Linear(54, 16), nn.ReLU(), nn.Linear(16, 5), nn.LogSoftmax(1))


class Block(nn.Module):
    def __init__(self, i: int, o: int, stride: int) -> None:
        super().__init__()
        self.c1, self.b1 = nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o)
        self.c2, self.b2 = nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)
        self.short = (
            nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o)) if i != o else nn.Identity()
        )

    def forward(self, x: fb.Tensor) -> fb.Tensor:
        y = F.relu(self.b1(self.c1(x)))
        return F.relu(self.b2(self.c2(y)) + self.short(x))


def resnet() -> nn.Module:
    blocks = nn.Sequential(Block(4, 4, 1), Block(4, 8, 2))
    stem = nn.Sequential(nn.Conv2d(3, 4, 3, 1, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
    return nn.Sequential(stem, blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))


class GPTBlock(nn.Module):
    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.heads, self.l1, self.l2 = heads, nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.o = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.up, self.down = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def forward(self, x: fb.Tensor) -> fb.Tensor:
        b, t, d = x.shape
        parts = self.qkv(self.l1(x)).split(d, dim=2)
        q, k, v = (z.view(b, t, self.heads, d // self.heads).transpose(1, 2) for z in parts)
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o(a.transpose(1, 2).contiguous().view(b, t, d))
        return x + self.down(F.gelu(self.up(self.l2(x))))


class GPT(nn.Module):
    def __init__(self, d: int = 8, layers: int = 2, heads: int = 2, t: int = 6, vocabulary: int = 11) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, d), nn.Embedding(t, d)
        self.blocks = nn.ModuleList([GPTBlock(d, heads) for _ in range(layers)])
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, vocabulary, bias=False)

    def forward(self, i: fb.Tensor) -> fb.Tensor:
        x = self.tokens(i) + self.places(fb.arange(i.shape[1], device=i.device))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)).flatten(0, 1)


class LSTM(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.f = nn.LSTM(4, 6, batch_first=True), nn.Linear(6, 5)

    def forward(self, x: fb.Tensor) -> fb.Tensor:
        return self.f(self.rnn(x)[0][:, -1])


Batch = Callable[[int], tuple[fb.Tensor, fb.Tensor]]
Make = tuple[Callable[[], nn.Module], Callable[..., fb.Tensor], Callable[[Any], optim.Optimizer], Batch]


def text(batch: int, t: int) -> Batch:
    return lambda i: (labels(i, batch, t, classes=11), labels(i + 1, batch * t, classes=11))


def pictures(*shape: int) -> Batch:
    return lambda i: (numbers(i, *shape), labels(i, shape[0], classes=5))


WORK: dict[str, Make] = {
    "mlp": (mlp, F.cross_entropy, lambda p: optim.SGD(p, lr=0.05), pictures(6, 12)),
    "lenet": (lenet, F.nll_loss, lambda p: optim.Adam(p, lr=1e-2), pictures(3, 1, 10, 10)),
    "resnet": (
        resnet,
        F.cross_entropy,
        lambda p: optim.SGD(p, lr=0.01, momentum=0.9, weight_decay=5e-4),
        pictures(2, 3, 6, 6),
    ),
    "gpt": (GPT, F.cross_entropy, lambda p: optim.AdamW(p, lr=1e-2), text(2, 6)),
    "gpt_wide": (lambda: GPT(12, 3, 3, 4), F.cross_entropy, lambda p: optim.AdamW(p, lr=1e-2), text(3, 4)),
    "lstm": (LSTM, F.cross_entropy, lambda p: optim.Adam(p, lr=1e-2), pictures(3, 4, 4)),
}


def training(name: str, device: str) -> Program:
    make, loss_of, optimizer_of, batch = WORK[name]
    model = make().to(device)
    optimizer = optimizer_of(model.parameters())
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.05, total_steps=20)

    def step(x: fb.Tensor, target: fb.Tensor) -> fb.Tensor:
        optimizer.zero_grad()
        loss = loss_of(model(x), target)
        loss.backward()
        optimizer.step()
        return loss.detach()

    def inputs(i: int) -> tuple[fb.Tensor, ...]:
        return tuple(part.to(device) for part in batch(i))

    return Program(step, (model, optimizer, schedule), inputs=inputs, after=lambda i, loss, args: schedule.step())


def _workloads() -> list[Any]:
    """All on the CPU, and the two smallest on each device; the others are slow there."""
    found = []
    for name in WORK:
        for device in STEPS:
            marks = [pytest.mark.device("opencl")] if device == "opencl:0" else []
            if device != "cpu" and name not in ("mlp", "lstm"):
                marks.append(pytest.mark.slow)
            found.append(pytest.param(name, device, marks=marks))
    return found


@pytest.mark.parametrize(("name", "device"), _workloads())
def test_replays_of_training_equal_eager(name: str, device: str) -> None:
    report = twins(lambda: training(name, device), calls=STEPS[device])
    assert not report.differences, str(report)
    assert report.counts.replayed >= STEPS[device] - 5, str(report)  # kernels become others once they are called often
    assert report.captured.reasons == report.warned == [], str(report)


@pytest.mark.parametrize("name", WORK)
def test_replays_of_inference_equal_eager(name: str) -> None:
    make, _, _, batch = WORK[name]

    def program() -> Program:
        model = make().eval()

        def step(x: fb.Tensor) -> fb.Tensor:
            with fb.no_grad():
                return model(x)

        return Program(step, (model,), inputs=lambda i: batch(i)[:1])

    report = twins(program, calls=8)
    assert not report.differences, str(report)
    assert report.counts.replayed >= 3 and report.warned == [], str(report)
