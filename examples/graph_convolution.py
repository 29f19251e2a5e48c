"""Two labels are enough for a network to part a graph: `python examples/graph_convolution.py`.

Graph convolutions (Kipf & Welling, arXiv:1609.02907) on friends who split into two clubs: a graph of 34 members made
by the stochastic block model, with one member of each club known.
"""

from __future__ import annotations

import numpy as np
from tools import options, set_weights

import flambeau as torch
from flambeau import nn, optim
from flambeau.nn import functional as F

MEMBERS = 34


def friends() -> tuple[np.ndarray, np.ndarray]:
    """Edges (2, E), each friendship in both directions, and the club (MEMBERS,) of each member."""
    rng = np.random.default_rng(3)
    club = np.arange(MEMBERS) % 2
    likely = np.where(club[:, None] == club, 0.35, 0.04)
    known = np.triu(rng.random((MEMBERS, MEMBERS)) < likely, 1)
    known[np.arange(MEMBERS - 2), np.arange(2, MEMBERS)] = True  # nobody is alone
    a, b = np.nonzero(known)
    return np.stack([np.concatenate([a, b]), np.concatenate([b, a])]), club


class GraphConvolution(nn.Module):
    """Each node takes the weighted mean of itself and its neighbours, by 1/√(degree of one · degree of the other)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=False)

    def forward(self, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        x = self.linear(x)
        source, target = edges
        degree = torch.ones(len(x), device=x.device).index_add(0, target, torch.ones(len(target), device=x.device))
        scale = degree.rsqrt()
        messages = x[source] * (scale[source] * scale[target])[:, None]
        return (x * scale.square()[:, None]).index_add(0, target, messages)


class Network(nn.Module):
    """Features (N, F) and edges (2, E) to scores of the clubs (N, 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = GraphConvolution(MEMBERS, 16), GraphConvolution(16, 2)

    def forward(self, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        return self.second(torch.tanh(self.first(x, edges)), edges)


def main(quick: bool = False, device: str = "cpu") -> list[float]:
    """Train on two labels, and return the loss of each step."""
    edges, club = (torch.from_numpy(a).to(device) for a in friends())
    features = torch.eye(MEMBERS, device=device)
    model = set_weights(Network()).to(device)
    optimizer = optim.Adam(model.parameters(), lr=0.02, weight_decay=5e-4)
    known = torch.tensor([0, 1], device=device)
    losses = []
    for step in range(20 if quick else 200):
        scores = model(features, edges)
        loss = F.cross_entropy(scores[known], club[known])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step % 20 == 19:
            right = (scores.argmax(1) == club).sum().item()
            print(f"step {step + 1:3}  loss {loss.item():.4f}  {right} of {MEMBERS} members in their club")
    return losses


if __name__ == "__main__":
    chosen = options(__doc__)
    main(chosen.quick, chosen.device)
