"""Training runs whose losses are the CPU's."""

from __future__ import annotations

import numpy as np

import flambeau as fb
from flambeau import nn
from flambeau.plugins.conformance import kit


class Network(nn.Module):
    """A convolution, normalisation, dropout, attention and a recurrent layer, small."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.norm, self.lstm = nn.LayerNorm(16), nn.LSTM(16, 8, batch_first=True)
        self.drop, self.out = nn.Dropout(0.2), nn.Linear(8, 5)

    def forward(self, x: fb.Tensor) -> fb.Tensor:
        rows = self.conv(x).flatten(2)  # (batch, 4, 16)
        mixed, _ = self.attention(rows, rows, rows, need_weights=False)
        states, _ = self.lstm(self.norm(rows + mixed))
        return self.out(self.drop(states[:, -1]))


def losses(target: str, steps: int = 6) -> list[float]:
    """The losses of the first steps of training on made data."""
    fb.manual_seed(0)
    rng = np.random.default_rng(0)
    model = Network().to(target)
    optimizer = fb.optim.AdamW(model.parameters(), lr=3e-3)
    x = fb.tensor(rng.standard_normal((12, 1, 8, 8)).astype(np.float32), device=target)
    y = fb.tensor(rng.integers(0, 5, 12), device=target)
    found = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        found.append(loss.item())
    return found


def test_training_matches_the_cpu(target: str) -> None:
    found, wanted = losses(target), losses("cpu")
    np.testing.assert_allclose(found, wanted, rtol=1e-3)
    assert found[-1] < found[0]


def test_state_dict_crosses_devices(target: str) -> None:
    fb.manual_seed(0)
    here = Network().to(target)
    there = Network()
    there.load_state_dict(here.state_dict())
    for (name, a), (_, b) in zip(here.state_dict().items(), there.state_dict().items(), strict=True):
        np.testing.assert_array_equal(kit.host(a), kit.host(b), err_msg=name)
