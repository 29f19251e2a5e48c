"""``python -m flambeau demo``: a small convolutional network learns to read real handwritten digits."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flambeau as fb
from flambeau import nn, optim
from flambeau.core.device import DeviceLike
from flambeau.core.errors import DeviceError
from flambeau.core.registry import resolve
from flambeau.nn import functional as F
from flambeau.utils.data import DataLoader, Subset, digits, random_split

BATCH = 32
LEARNING_RATE = 3e-3
TRAINING_SHARE = 0.75


class Result(NamedTuple):
    """What a run came to: the mean training loss of each epoch, the accuracy on held-out scans, the files."""

    losses: list[float]
    accuracy: float
    model: Path
    curve: Path | None  # None without matplotlib


class DigitsNet(nn.Module):
    """Two convolutions, one pooling, two linear layers; images (N, 1, 8, 8) to scores (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(),
        )  # fmt: skip
        self.head = nn.Sequential(nn.Linear(32 * 4 * 4, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 10))

    def forward(self, images: fb.Tensor) -> fb.Tensor:
        scores: fb.Tensor = self.head(self.features(images))
        return scores


def main(device: DeviceLike = None, epochs: int = 20, seed: int = 0, folder: str | Path = "flambeau-demo") -> Result:
    """Train, test, save, load again and compare; prints what it does.

    Args:
        device: where to train; the default device if None.
        epochs: passes over the training scans.
        seed: decides the split, the first weights, the order and the dropout: the same seed gives the
            same losses, to the bit.
        folder: takes the trained model and, with matplotlib, the learning curve.
    """
    if epochs < 1:
        raise ValueError(f"demo: epochs must be at least 1, got {epochs}")
    where = fb.get_default_device() if device is None else fb.device(device)
    if resolve(where).has("no_data"):
        raise DeviceError(f"demo: device '{where}' has shapes and no data, so nothing can be learnt on it")
    fb.manual_seed(seed)
    train, test = random_split(digits(), [TRAINING_SHARE, 1 - TRAINING_SHARE])
    model = DigitsNet().to(where)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = sum(p.numel() for p in model.parameters())
    print(f"device   {where} ({_backend(where)})")
    print(f"data     {len(train)} scans to learn from, {len(test)} to test on; UCI optical digits, CC BY 4.0")
    print(f"model    {weights} parameters")

    with _one_thread():
        start = time.perf_counter()
        losses, accuracies = _train(model, train, test, where, epochs)
        accuracy, predicted = _test(model, test, where)
        seconds = time.perf_counter() - start
    print(f"result   accuracy {accuracy:.4f} on held-out scans, {seconds:.1f} s, final loss {losses[-1]!r}")

    path = folder / "digits.safetensors"
    fb.save(model.state_dict(), path)
    again = DigitsNet().to(where)
    again.load_state_dict(fb.load(path))
    with _one_thread():
        predicted_again = _test(again, test, where)[1]
    if predicted_again != predicted:
        raise RuntimeError(f"demo: the model loaded from {path} predicts other digits than the one that was saved")
    print(f"saved    {path} (loaded again, it predicts the same)")
    return Result(losses, accuracy, path, _draw(losses, accuracies, folder / "learning-curve.png"))


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Matrices this small gain little from more, and lose much where other programs use the cores."""
    before = fb.get_num_threads()
    fb.set_num_threads(1)
    try:
        yield
    finally:
        fb.set_num_threads(before)


def _backend(device: fb.device) -> str:
    backend = resolve(device)
    return f"{backend.device_type} backend, {backend.properties(device.number).name}"


def _train(
    model: nn.Module, data: Subset[Any], test: Subset[Any], device: fb.device, epochs: int
) -> tuple[list[float], list[float]]:
    """The mean loss of each epoch, and the share of right answers to ``test`` after it."""
    from tqdm import tqdm  # lazy for start-up

    loader = DataLoader(data, batch_size=BATCH, shuffle=True)
    optimizer = optim.Adam(model.parameters(), lr=LEARNING_RATE)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)
    losses, accuracies = [], []
    steps = epochs * len(loader)
    # disable=None: where nobody looks, in a file or a pipe, there is no bar
    with tqdm(total=steps, unit="batch", desc="training", mininterval=1.0, disable=None) as bar:
        for epoch in range(epochs):
            model.train()
            total = 0.0
            for images, labels in loader:
                optimizer.zero_grad()
                loss = F.cross_entropy(model(images.to(device)), labels.to(device))
                loss.backward()
                optimizer.step()
                total += loss.item() * len(labels)
                bar.update()
            schedule.step()
            losses.append(total / len(data))
            accuracies.append(_test(model, test, device)[0])
            bar.write(f"epoch {epoch + 1:2d} loss {losses[-1]:.4f} accuracy {accuracies[-1]:.4f}")
    return losses, accuracies


def _test(model: nn.Module, data: Subset[Any], device: fb.device) -> tuple[float, list[int]]:
    """The share of right answers, and the answers."""
    model.eval()
    predicted: list[int] = []
    right = 0
    with fb.no_grad():
        for images, labels in DataLoader(data, batch_size=256, generator=fb.Generator()):
            answers = model(images.to(device)).argmax(1).cpu()
            right += (answers == labels).sum().item()
            predicted += answers.tolist()
    return right / len(data), predicted


def _draw(losses: Sequence[float], accuracies: Sequence[float], path: Path) -> Path | None:
    try:
        from matplotlib.figure import Figure  # an optional extra
        from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
    except ImportError:
        print("curve    not drawn: matplotlib is not installed (pip install matplotlib)")
        return None
    epochs = range(1, len(losses) + 1)
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    loss = axes.plot(epochs, losses, marker="o", label="training loss")
    axes.set(xlabel="epoch", ylabel="mean training loss", yscale="log", title="flambeau learns to read digits")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
    beside = axes.twinx()
    accuracy = beside.plot(epochs, accuracies, marker="s", color="tab:green", label="test accuracy")
    beside.set(ylabel="accuracy on held-out scans", ylim=(0, 1.02))
    axes.legend(handles=[*loss, *accuracy], loc="center right")
    figure.savefig(path)
    print(f"curve    {path}")
    return path
