"""Layers, losses and optimizers on a backend that has kernels of its own for few of them: bodies do the rest."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau import nn, optim
from flambeau.nn import functional as F


class Everything(nn.Module):
    """A layer of most kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.images = nn.Sequential(
            nn.Conv2d(1, 4, 3, stride=2, padding=1),
            nn.BatchNorm2d(4),
            nn.GELU(),
            nn.MaxPool2d(2),
            nn.ConvTranspose2d(4, 2, 2, stride=2),
            nn.GroupNorm(2, 2),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.2),
        )
        self.table = nn.Embedding(7, 8)
        self.rnns = nn.ModuleList([nn.LSTM(8, 4, bidirectional=True), nn.GRU(8, 8), nn.RNN(8, 8)])
        self.attention = nn.TransformerEncoderLayer(8, 2, 16, 0.1)
        self.norm, self.head = nn.RMSNorm(8), nn.Linear(16, 5)

    def forward(self, images: Any, ids: Any) -> Any:
        x = self.table(ids)
        for rnn in self.rnns:
            x = rnn(x)[0]
        x = self.norm(self.attention(x)).mean(0)
        return self.head(fb.cat([self.images(images), x], 1))


def losses(device: str, optimizer: str) -> list[float]:
    fb.manual_seed(0)
    net = Everything().to(device)
    images, ids = fb.randn(6, 1, 8, 8).to(device), (fb.arange(24).reshape(4, 6) % 7).to(device)
    target = (fb.arange(6) % 5).to(device)
    chosen = getattr(optim, optimizer)(net.parameters(), lr=0.01)
    found = []
    for _ in range(3):
        chosen.zero_grad()
        scores = net(images, ids)
        loss = F.cross_entropy(scores, target, label_smoothing=0.1) + F.smooth_l1_loss(scores, scores.detach() * 0.5)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        chosen.step()
        found.append(loss.item())
    return found


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW", "RMSprop"])
def test_the_same_losses_as_on_the_cpu(optimizer: str) -> None:
    np.testing.assert_allclose(losses("strict", optimizer), losses("cpu", optimizer), rtol=2e-4)


def test_shapes_without_data() -> None:
    net = Everything().to("meta")
    scores = net(fb.empty(6, 1, 8, 8, device="meta"), fb.zeros(4, 6, dtype=fb.int64, device="meta"))
    assert scores.shape == (6, 5)
    assert str(scores.device) == "meta"
