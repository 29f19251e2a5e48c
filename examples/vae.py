"""A variational autoencoder learns to draw digits: `python examples/vae.py`. Kingma & Welling, arXiv:1312.6114."""

from __future__ import annotations

import numpy as np
from tools import digits, options, set_weights

import flambeau as torch
from flambeau import nn, optim
from flambeau.nn import functional as F

HIDDEN, LATENT = 128, 8


class VAE(nn.Module):
    """Images (N, 64) to a Gaussian over codes (N, 8), and codes to the logits of pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, 2 * LATENT))
        self.decoder = nn.Sequential(nn.Linear(LATENT, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, 64))

    def forward(self, x: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        code = mean + noise * torch.exp(0.5 * log_variance)
        return self.decoder(code), mean, log_variance


def negative_elbo(
    logits: torch.Tensor, x: torch.Tensor, mean: torch.Tensor, log_variance: torch.Tensor
) -> torch.Tensor:
    """What reconstruction and code cost, in nats an image."""
    reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
    divergence = -0.5 * torch.sum(1 + log_variance - mean.square() - log_variance.exp())
    return (reconstruction + divergence) / len(x)


def show(image: torch.Tensor) -> str:
    """An 8 x 8 image in shades of text."""
    rows = image.reshape(8, 8).mul(4).round().clamp(0, 4).to(torch.int64).tolist()
    return "\n".join("".join(" .:*#"[shade] * 2 for shade in row) for row in rows)


def main(quick: bool = False, device: str = "cpu") -> list[float]:
    """Train, draw two digits, and return the loss of each epoch."""
    images = torch.from_numpy(digits()[0]).flatten(1).to(device)
    model = set_weights(VAE()).to(device)
    optimizer = optim.Adam(model.parameters(), lr=2e-3)
    rng = np.random.default_rng(0)
    losses = []
    for epoch in range(2 if quick else 40):
        batches = images.split(128)
        total = 0.0
        for x in batches:
            noise = torch.from_numpy(rng.standard_normal((len(x), LATENT), dtype=np.float32)).to(device)
            logits, mean, log_variance = model(x, noise)
            loss = negative_elbo(logits, x, mean, log_variance)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() / len(batches)
        losses.append(total)
        if epoch % 5 == 0:
            print(f"epoch {epoch + 1:2}  {total:.3f} nats an image")
    with torch.no_grad():
        codes = torch.from_numpy(rng.standard_normal((2, LATENT), dtype=np.float32)).to(device)
        for image in model.decoder(codes).sigmoid().cpu():
            print(show(image), end="\n\n")
    return losses


if __name__ == "__main__":
    chosen = options(__doc__)
    main(chosen.quick, chosen.device)
