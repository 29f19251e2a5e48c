"""A picture takes on the texture of another one: `python examples/style.py`.

Style as the correlations of features (Gatys, Ecker & Bethge, arXiv:1508.06576), here of random filters of several
sizes (Ustyuzhaninov et al., arXiv:1606.00021), so nothing is downloaded; the picture is found by L-BFGS, which wants
float64.
"""

from __future__ import annotations

import numpy as np
from tools import options, set_weights

import flambeau as torch
from flambeau import nn, optim
from flambeau.nn import functional as F

SIZE, FILTERS = 32, 16


def stripes() -> torch.Tensor:
    """The style (1, 3, SIZE, SIZE): slanting waves of colour."""
    y, x = np.mgrid[:SIZE, :SIZE]
    waves = [0.5 + 0.5 * np.sin((x + y) * 0.9 + shade) for shade in (0.0, 1.0, 2.5)]
    return torch.from_numpy(np.stack(waves)[None].astype(np.float64))


def disc() -> torch.Tensor:
    """The content (1, 3, SIZE, SIZE): a bright disc on a dark ground."""
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE / 2
    inside = 1 / (1 + np.exp(np.hypot(x, y) - SIZE / 4))
    return torch.from_numpy(np.stack([inside, 0.6 * inside, 0.2 + 0 * inside])[None].astype(np.float64))


class Filters(nn.Module):
    """Pictures to what random filters of three sizes see, each (N, FILTERS, SIZE, SIZE)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(3, FILTERS, k, padding=k // 2, padding_mode="reflect") for k in (3, 5, 7))

    def forward(self, picture: torch.Tensor) -> list[torch.Tensor]:
        return [F.relu(layer(picture)) for layer in self.layers]


def gram(features: torch.Tensor) -> torch.Tensor:
    """How the filters go together (FILTERS, FILTERS), wherever they do."""
    flat = features.flatten(2)[0]
    return flat @ flat.mT / flat.shape[1]


def main(quick: bool = False, device: str = "cpu") -> list[float]:
    """Paint, and return the loss after each round of L-BFGS."""
    filters = set_weights(Filters()).to(device, torch.float64).requires_grad_(False)
    style, content = [gram(f) for f in filters(stripes().to(device))], disc().to(device)
    picture = content.clone().requires_grad_()
    optimizer = optim.LBFGS([picture], max_iter=5, history_size=10, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        seen = filters(picture)
        loss = 10 * sum(F.mse_loss(gram(a), b) for a, b in zip(seen, style, strict=True))
        blurred = [F.avg_pool2d(p, 8) for p in (picture, content)]
        loss = loss + F.mse_loss(*blurred)
        loss.backward()
        return loss

    losses = []
    for step in range(2 if quick else 40):
        losses.append(optimizer.step(closure).item())
        if step % 5 == 0:
            print(f"round {step:2}  loss {losses[-1]:.6f}")
    brightness = picture.detach().mean(1)[0, ::2].clamp(0, 1).mul(4).round().to(torch.int64).cpu()
    print("\n".join("".join(" .:*#"[shade] for shade in row) for row in brightness.tolist()))
    return losses


if __name__ == "__main__":
    chosen = options(__doc__)
    main(chosen.quick, chosen.device)
