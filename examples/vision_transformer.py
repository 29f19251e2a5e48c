"""A transformer reads digits as sixteen patches: `python examples/vision_transformer.py`.

Dosovitskiy et al., arXiv:2010.11929.
"""

from __future__ import annotations

import numpy as np
from tools import digits, options, set_weights

import flambeau as torch
from flambeau import nn, optim
from flambeau.nn import functional as F

PATCH, WIDTH = 2, 32


class VisionTransformer(nn.Module):
    """Images (N, 1, 8, 8) to scores (N, 10), read off a token that belongs to no patch."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, WIDTH, PATCH, stride=PATCH)
        self.token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.places = nn.Parameter(torch.zeros(1, 1 + (8 // PATCH) ** 2, WIDTH))
        layer = nn.TransformerEncoderLayer(
            WIDTH, nhead=4, dim_feedforward=64, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, num_layers=2, norm=nn.LayerNorm(WIDTH), enable_nested_tensor=False)
        self.scores = nn.Linear(WIDTH, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        patches = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(images), -1, -1), patches], dim=1) + self.places
        return self.scores(self.encoder(tokens)[:, 0])


def main(quick: bool = False, device: str = "cpu") -> list[float]:
    """Train, and return the mean loss of each epoch."""
    images, labels = (torch.from_numpy(a) for a in digits())
    count = 400 if quick else 1400
    model = set_weights(VisionTransformer()).to(device)
    epochs = 2 if quick else 40
    optimizer = optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * count // 100)
    rng = np.random.default_rng(0)
    losses = []
    for epoch in range(epochs):
        total = 0.0
        for chosen in torch.from_numpy(rng.permutation(count)).split(100):
            noise = torch.from_numpy(rng.standard_normal((len(chosen), 1, 8, 8), dtype=np.float32))
            x, y = images[chosen] + 0.2 * noise, labels[chosen]
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x.to(device)), y.to(device))
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() / (count // 100)
        losses.append(total)
        with torch.no_grad():
            right = (model(images[1400:].to(device)).argmax(1).cpu() == labels[1400:]).float().mean().item()
        print(f"epoch {epoch + 1:2}  loss {total:.4f}  accuracy {right:.4f}")
    return losses


if __name__ == "__main__":
    chosen = options(__doc__)
    main(chosen.quick, chosen.device)
