"""Two networks play against each other until one draws digits: `python examples/gan.py`.

Goodfellow et al., arXiv:1406.2661, with the convolutions of Radford et al., arXiv:1511.06434.
"""

from __future__ import annotations

import numpy as np
from tools import digits, options, set_weights

import flambeau as torch
from flambeau import nn, optim
from flambeau.nn import functional as F
from flambeau.nn.utils.parametrizations import spectral_norm

NOISE = 16


def generator() -> nn.Module:
    """Noise (N, 16, 1, 1) to images (N, 1, 8, 8) in [-1, 1]."""
    return nn.Sequential(
        nn.ConvTranspose2d(NOISE, 32, 2), nn.BatchNorm2d(32), nn.ReLU(),
        nn.ConvTranspose2d(32, 16, 4, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.ConvTranspose2d(16, 1, 4, stride=2, padding=1), nn.Tanh(),
    )  # fmt: skip


def discriminator() -> nn.Module:
    """Images to the logit of being real."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, stride=2, padding=1), nn.LeakyReLU(0.2),
        spectral_norm(nn.Conv2d(16, 32, 4, stride=2, padding=1)), nn.LeakyReLU(0.2),
        nn.Flatten(), nn.Linear(32 * 2 * 2, 1),
    )  # fmt: skip


def apart(a: torch.Tensor, b: torch.Tensor) -> float:
    """How far two sets of images are from each other: the Fréchet distance of normal pixels that know of no others."""
    (a_mean, a_deviation), (b_mean, b_deviation) = ((x.flatten(1).mean(0), x.flatten(1).std(0)) for x in (a, b))
    return ((a_mean - b_mean).square() + (a_deviation - b_deviation).square()).sum().item()


def main(quick: bool = False, device: str = "cpu") -> list[float]:
    """Play, and return the losses of the discriminator, one for each epoch."""
    rng = np.random.default_rng(0)

    def noise(count: int) -> torch.Tensor:
        return torch.from_numpy(rng.standard_normal((count, NOISE, 1, 1), dtype=np.float32)).to(device)

    images = (torch.from_numpy(digits()[0]) * 2 - 1).to(device)
    draws, judges = set_weights(generator(), 0).to(device), discriminator()
    for vector in judges[2].parametrizations.weight[0].buffers():  # the power iteration's start, otherwise random
        vector.copy_(F.normalize(torch.ones_like(vector), dim=0))
    judges = set_weights(judges, 1).to(device)
    d_step = optim.Adam(judges.parameters(), lr=2e-3, betas=(0.5, 0.999))
    g_step = optim.Adam(draws.parameters(), lr=2e-3, betas=(0.5, 0.999))
    with torch.no_grad():
        print(f"drawn digits are {apart(images, draws(noise(500))):.2f} from real ones")
    losses = []
    for epoch in range(1 if quick else 25):
        d_total = g_total = 0.0
        batches = images.split(100)[: 4 if quick else None]
        for real in batches:
            fake = draws(noise(len(real)))
            on_real, on_fake = judges(real), judges(fake.detach())
            d_loss = F.softplus(-on_real).mean() + F.softplus(on_fake).mean()
            d_step.zero_grad()
            d_loss.backward()
            d_step.step()

            g_loss = F.softplus(-judges(fake)).mean()
            g_step.zero_grad()
            g_loss.backward()
            g_step.step()
            d_total, g_total = d_total + d_loss.item() / len(batches), g_total + g_loss.item() / len(batches)
        losses.append(d_total)
        print(f"epoch {epoch + 1:2}  discriminator {d_total:.4f}  generator {g_total:.4f}")
    with torch.no_grad():
        print(f"drawn digits are {apart(images, draws(noise(500))):.2f} from real ones")
    return losses


if __name__ == "__main__":
    chosen = options(__doc__)
    main(chosen.quick, chosen.device)
