"""One program for PyTorch and flambeau: only the import differs.

`python examples/either_framework.py` runs on flambeau, `python examples/either_framework.py torch` on PyTorch, and
`... both` on each in turn, from the same weights and the same data, and compares the losses.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import numpy as np


def two_spirals(count: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """Points on two spirals, and which of the two each is on."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 2
    turn = np.sqrt(rng.random(count)) * 3 * np.pi
    points = np.stack([turn * np.cos(turn + np.pi * labels), turn * np.sin(turn + np.pi * labels)], axis=1)
    return (points / 10).astype(np.float32), labels.astype(np.int64)


def main(torch: Any, epochs: int = 60) -> list[float]:
    """Train a classifier and return the loss of each epoch; `torch` is the framework's module."""
    nn, F = torch.nn, torch.nn.functional
    points, labels = two_spirals()

    class Net(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.hidden = nn.ModuleList([nn.Linear(2, 32), nn.Linear(32, 32)])
            self.norm = nn.LayerNorm(32)
            self.scores = nn.Linear(32, 2)

        def forward(self, x: Any) -> Any:
            for layer in self.hidden:
                x = torch.tanh(layer(x))
            return self.scores(self.norm(x))

    model = Net()
    rng = np.random.default_rng(1)  # the two have random numbers of their own: take numpy's
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.from_numpy(rng.normal(0, 0.5, tuple(p.shape)).astype(np.float32)))

    data = torch.utils.data.TensorDataset(torch.from_numpy(points), torch.from_numpy(labels))
    loader = torch.utils.data.DataLoader(data, batch_size=32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)
    losses = []
    for _ in range(epochs):
        model.train()
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            total += loss.item() * len(y)
        schedule.step()
        losses.append(total / len(labels))

    model.eval()
    with torch.no_grad():
        right = (model(torch.from_numpy(points)).argmax(dim=1) == torch.from_numpy(labels)).float().mean().item()
    print(f"{torch.__name__:9} {torch.__version__:12} loss {losses[0]:.4f} to {losses[-1]:.4f}, accuracy {right:.3f}")
    return losses


if __name__ == "__main__":
    wanted = sys.argv[1] if len(sys.argv) > 1 else "flambeau"
    names = ["torch", "flambeau"] if wanted == "both" else [wanted]
    runs = [main(importlib.import_module(name)) for name in names]
    if len(runs) == 2:
        print(f"the losses differ by at most {max(abs(a - b) for a, b in zip(*runs, strict=True)):.1e}")
