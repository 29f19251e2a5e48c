"""A small GPT learns to add: `python examples/gpt.py`. Radford et al., "Language models are unsupervised multitask
learners", 2019, with rotary positions (Su et al., arXiv:2104.09864) and RMS norms (Zhang & Sennrich, arXiv:1910.07467).
"""

from __future__ import annotations

import numpy as np
from tools import options, set_weights

import flambeau as torch
from flambeau import nn, optim
from flambeau.nn import functional as F

SYMBOLS = "0123456789+=."
LENGTH = len("12+34=64.")  # the sum is written from its last digit, as one adds by hand


def rotate(x: torch.Tensor) -> torch.Tensor:
    """Turn pairs of features of (N, heads, T, features) by angles that grow with the position."""
    steps, half = x.shape[-2], x.shape[-1] // 2
    speed = 1000.0 ** (-torch.arange(half, device=x.device) / half)
    angle = torch.arange(steps, device=x.device)[:, None] * speed
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], dim=-1)


class Block(nn.Module):
    """Causal attention, then a layer of hidden units, each beside a way around it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList([nn.RMSNorm(width), nn.RMSNorm(width)])
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in self.qkv(self.norms[0](x)).chunk(3, -1))
        mixed = F.scaled_dot_product_attention(rotate(q), rotate(k), v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norms[1](x))


class GPT(nn.Module):
    """Symbols (N, T) to scores (N, T, symbols); the last layer shares the embedding's weights."""

    def __init__(self, width: int = 64, depth: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(SYMBOLS), width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.RMSNorm(width)

    def forward(self, symbols: torch.Tensor) -> torch.Tensor:
        return F.linear(self.norm(self.blocks(self.embedding(symbols))), self.embedding.weight)


def sums(rng: np.random.Generator, count: int) -> torch.Tensor:
    """Sums of two numbers below 100, as symbols (count, LENGTH + 1)."""
    texts = [f"{a:02}+{b:02}={f'{a + b:03}'[::-1]}." for a, b in rng.integers(0, 100, (count, 2)).tolist()]
    return torch.tensor([[SYMBOLS.index(c) for c in text] for text in texts])


def main(quick: bool = False, device: str = "cpu") -> list[float]:
    """Train, test on new sums, and return the loss of each step."""
    rng = np.random.default_rng(0)
    model = set_weights(GPT()).to(device)
    optimizer = optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.95))
    steps = 6 if quick else 900
    warm = optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=steps // 10)
    cool = optim.lr_scheduler.CosineAnnealingLR(optimizer, steps - steps // 10)
    schedule = optim.lr_scheduler.SequentialLR(optimizer, [warm, cool], milestones=[steps // 10])
    losses = []
    for step in range(steps):
        text = sums(rng, 64).to(device)
        scores, wanted = model(text[:, :-1]), text[:, 1:]
        loss = F.cross_entropy(scores[:, 5:].flatten(0, 1), wanted[:, 5:].flatten())  # what stands after the "="
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % 100 == 0:
            print(f"step {step:3}  loss {loss.item():.4f}")
    test = sums(rng, 200).to(device)
    written = test[:, :6]
    with torch.no_grad():
        for _ in range(3):
            written = torch.cat([written, model(written)[:, -1:].argmax(-1)], dim=1)
    right = (written == test[:, :9]).all(1).float().mean().item()
    print(f"{right:.0%} of 200 sums are right, such as {''.join(SYMBOLS[i] for i in written[0].tolist())}")
    return losses


if __name__ == "__main__":
    chosen = options(__doc__)
    main(chosen.quick, chosen.device)
