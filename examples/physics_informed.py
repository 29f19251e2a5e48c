"""A network finds how heat spreads, from the equation alone: `python examples/physics_informed.py`.

Raissi, Perdikaris & Karniadakis, arXiv:1711.10561: u_t = u_xx / π² on [-1, 1] with u = 0 at both ends and
u(x, 0) = sin πx, whose solution is e⁻ᵗ sin πx. The loss holds derivatives of the network by its inputs, the second
among them, and is itself differentiated by the weights.
"""

from __future__ import annotations

import math

import numpy as np
from tools import options, set_weights

import flambeau as torch
from flambeau import nn, optim


def derivative(u: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """du/dx at each point, itself differentiable."""
    (gradient,) = torch.autograd.grad(u, x, torch.ones_like(u), create_graph=True)
    return gradient


def residual(model: nn.Module, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """How far the network is from the equation at each point."""
    u = model(torch.cat([x, t], dim=1))
    return derivative(u, t) - derivative(derivative(u, x), x) / math.pi**2


def main(quick: bool = False, device: str = "cpu") -> list[float]:
    """Train, compare with the solution, and return the loss of each step."""
    rng = np.random.default_rng(0)

    def points(count: int, low: float, high: float) -> torch.Tensor:
        return torch.from_numpy(rng.uniform(low, high, (count, 1)).astype(np.float32)).to(device)

    model = set_weights(nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1)))
    model.to(device)
    optimizer = optim.Adam(model.parameters(), lr=5e-3)
    steps = 8 if quick else 2500
    schedule = optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.01 ** (1 / steps))
    losses = []
    for step in range(steps):
        x, t = points(128, -1, 1).requires_grad_(), points(128, 0, 1).requires_grad_()
        start, moment = points(64, -1, 1), points(64, 0, 1)
        at_start = model(torch.cat([start, torch.zeros_like(start)], dim=1)) - torch.sin(math.pi * start)
        ends = [model(torch.cat([torch.full_like(moment, end), moment], dim=1)) for end in (-1.0, 1.0)]
        known = at_start.square().mean() + sum(e.square().mean() for e in ends)
        loss = residual(model, x, t).square().mean() + 10 * known
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % 250 == 0:
            print(f"step {step:3}  loss {loss.item():.6f}")
    x, t = torch.meshgrid(torch.linspace(-1, 1, 41), torch.linspace(0, 1, 11), indexing="ij")
    with torch.no_grad():
        found = model(torch.stack([x.flatten(), t.flatten()], dim=1).to(device)).cpu()[:, 0]
    error = (found - (torch.exp(-t) * torch.sin(math.pi * x)).flatten()).abs().max().item()
    print(f"farthest from the solution: {error:.4f}")
    return losses


if __name__ == "__main__":
    chosen = options(__doc__)
    main(chosen.quick, chosen.device)
