"""The gradient of each example of a batch, in one pass: vmap over grad, and how large they are."""

from __future__ import annotations

import flambeau as fb
from flambeau import nn
from flambeau.func import functional_call, grad, vmap
from flambeau.nn import functional as F
from flambeau.utils.data import digits


def main(count: int = 16) -> float:
    """Compare with one backward per example; return the largest difference."""
    fb.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    images, labels = digits()[:count]
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def loss(parameters: dict[str, fb.Tensor], image: fb.Tensor, label: fb.Tensor) -> fb.Tensor:
        scores = functional_call(model, parameters, (image.unsqueeze(0),))
        return F.cross_entropy(scores, label.unsqueeze(0))

    gradients = vmap(grad(loss), in_dims=(None, 0, 0))(parameters, images, labels)
    norms = fb.stack([g.flatten(1).norm(dim=1) for g in gradients.values()]).norm(dim=0)
    print("shapes", {name: tuple(g.shape) for name, g in gradients.items()})
    print(f"norms from {norms.min().item():.3f} to {norms.max().item():.3f}")

    largest = 0.0
    for i in range(count):
        model.zero_grad()
        F.cross_entropy(model(images[i : i + 1]), labels[i : i + 1]).backward()
        for name, p in model.named_parameters():
            largest = max(largest, (gradients[name][i] - p.grad).abs().max().item())
    return largest


if __name__ == "__main__":
    print(f"one by one, the gradients differ by at most {main():.1e}")
