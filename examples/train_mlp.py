"""A small network learns the sine: `python examples/train_mlp.py [device]`."""

from __future__ import annotations

import math
import sys

import flambeau as fb
from flambeau import nn, optim
from flambeau.nn import functional as F


def main(device: str = "cpu", steps: int = 600) -> float:
    """Train, and return the largest error on [-3, 3]."""
    fb.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 1)).to(device)
    optimizer = optim.Adam(model.parameters(), lr=0.02)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    x = fb.linspace(-3, 3, 200, device=device).unsqueeze(1)
    y = fb.sin(x)
    for step in range(steps):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step:3}  loss {loss.item():.6f}")
    with fb.no_grad():
        at = fb.tensor([[math.pi / 2]], device=device)
        print(f"sin(π/2) ≈ {model(at).item():.3f} on {device}")
        largest: float = (model(x) - y).abs().max().item()
    return largest


if __name__ == "__main__":
    print(f"largest error {main(sys.argv[1] if len(sys.argv) > 1 else 'cpu'):.4f}")
