"""A convolutional network with batch normalisation reads handwritten digits: `python examples/image_classifier.py`."""

from __future__ import annotations

from tools import digits, options, set_weights

import flambeau as torch
from flambeau import nn, optim
from flambeau.nn import functional as F
from flambeau.utils.data import DataLoader, TensorDataset


class Block(nn.Module):
    """Two convolutions with a way around them. He et al., arXiv:1512.03385."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(width), nn.BatchNorm2d(width)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = F.relu(self.norms[0](self.first(x)))
        return F.relu(x + self.norms[1](self.second(inner)))


def main(quick: bool = False, device: str = "cpu") -> list[float]:
    """Train, and return the mean loss of each epoch."""
    images, labels = (torch.from_numpy(a) for a in digits())
    train = TensorDataset(images[:1400], labels[:1400])
    model = set_weights(
        nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), Block(16), nn.MaxPool2d(2), Block(16), nn.AdaptiveAvgPool2d(1),
            nn.Flatten(), nn.Linear(16, 10),
        )
    ).to(device)  # fmt: skip
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
    epochs = 2 if quick else 12
    loader = DataLoader(train, batch_size=100)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.2, total_steps=epochs * len(loader))
    losses = []
    for epoch in range(epochs):
        model.train()
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x.to(device)), y.to(device), label_smoothing=0.05)
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() / len(loader)
        losses.append(total)
        model.eval()
        with torch.inference_mode():
            right = (model(images[1400:].to(device)).argmax(1).cpu() == labels[1400:]).float().mean().item()
        print(f"epoch {epoch + 1:2}  loss {total:.4f}  accuracy {right:.4f}")
    return losses


if __name__ == "__main__":
    chosen = options(__doc__)
    main(chosen.quick, chosen.device)
