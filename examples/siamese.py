"""One network looks at two digits and tells whether they are the same: `python examples/siamese.py`.

Hadsell, Chopra & LeCun, "Dimensionality reduction by learning an invariant mapping", 2006. It is tested on digits that
it never saw while it learnt.
"""

from __future__ import annotations

import numpy as np
from tools import digits, options, set_weights

import flambeau as torch
from flambeau import nn, optim
from flambeau.nn import functional as F

UNSEEN = (6, 7)  # these digits come up in the test alone


class Embedding(nn.Module):
    """Images (N, 1, 8, 8) to points (N, 8), near each other for the same digit."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.PReLU(), nn.AvgPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.GroupNorm(4, 32), nn.PReLU(), nn.Flatten(), nn.Linear(32 * 16, 8),
        )  # fmt: skip

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images)


def contrastive_loss(points: torch.Tensor, labels: torch.Tensor, margin: float = 2.0) -> torch.Tensor:
    """Pull all pairs of the same digit together, push others apart until they are ``margin`` away."""
    first, second = torch.triu_indices(len(points), len(points), offset=1, device=points.device)
    distance = F.pairwise_distance(points[first], points[second])
    same = labels[first] == labels[second]
    return distance.square()[same].mean() + F.relu(margin - distance).square()[~same].mean()


def pairs(labels: np.ndarray, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Places of two images each, half of them of the same digit."""
    first = rng.integers(0, len(labels), count)
    second = rng.integers(0, len(labels), count)
    for i in range(0, count, 2):
        second[i] = rng.choice(np.flatnonzero(labels == labels[first[i]]))
    return first, second


def main(quick: bool = False, device: str = "cpu") -> list[float]:
    """Train, test on digits that were not there, and return the loss of each step."""
    images, labels = digits()
    known = ~np.isin(labels, UNSEEN)
    rng = np.random.default_rng(0)
    model = set_weights(Embedding()).to(device)
    steps = 8 if quick else 600
    optimizer = optim.NAdam(model.parameters(), lr=3e-3, weight_decay=1e-4)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)

    def embed(images: np.ndarray) -> torch.Tensor:
        return model(torch.from_numpy(images).to(device))

    losses = []
    seen, names = images[known], labels[known]
    for step in range(steps):
        chosen = rng.integers(0, len(names), 64)
        loss = contrastive_loss(embed(seen[chosen]), torch.from_numpy(names[chosen]).to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % 100 == 0:
            print(f"step {step:3}  loss {loss.item():.4f}")
    first, second = pairs(labels[~known], 300, rng)
    with torch.no_grad():
        near = F.pairwise_distance(embed(images[~known][first]), embed(images[~known][second])) < 1
    same = torch.from_numpy(labels[~known][first] == labels[~known][second]).to(device)
    print(f"{(near == same).float().mean().item():.0%} of 300 pairs of digits never seen before are told right")
    return losses


if __name__ == "__main__":
    chosen = options(__doc__)
    main(chosen.quick, chosen.device)
