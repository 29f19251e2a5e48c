"""A Lightning module learns to read digits through XLA, on the devices of the package for JAX:

    pip install lightning "jax[cpu]" ./plugins/jax
    python -m flambeau run examples/ecosystem/lightning_jax.py

Lightning takes any device by an accelerator of one's own, which is a few lines.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import lightning
import numpy as np
import torch
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.strategies import SingleDeviceStrategy
from shared import options
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", ".*does not have many workers.*")

DIGITS = Path(__file__).resolve().parents[2] / "flambeau" / "data" / "digits.npz"


class OneDevice(CPUAccelerator):
    """An accelerator that leaves the device to the strategy."""

    def setup_device(self, device: torch.device) -> None:
        """There is nothing to set up."""


class Reader(lightning.LightningModule):
    """Two convolutions and two layers, for images (N, 1, 8, 8)."""

    def __init__(self, rate: float = 3e-3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(32 * 16, 64), nn.ReLU(), nn.Linear(64, 10),
        )  # fmt: skip

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images)

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> torch.Tensor:
        images, labels = batch
        loss = F.cross_entropy(self(images), labels)
        self.log("loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> None:
        images, labels = batch
        self.log("accuracy", (self(images).argmax(1) == labels).float().mean(), batch_size=len(labels))

    def on_train_epoch_end(self) -> None:
        loss, accuracy = (self.trainer.callback_metrics[name].item() for name in ("loss", "accuracy"))
        print(f"epoch {self.current_epoch + 1:2}  loss {loss:.4f}  accuracy {accuracy:.4f}")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.hparams.rate)


def data(quick: bool) -> tuple[DataLoader, DataLoader]:
    """Scanned digits to learn from, in another order in each epoch, and others to test on."""
    with np.load(DIGITS) as file:
        images = torch.from_numpy((file["images"].reshape(-1, 1, 8, 8) / 16).astype(np.float32))
        labels = torch.from_numpy(file["labels"].astype(np.int64))
    count = 400 if quick else 1400  # a multiple of the batch: each shape is compiled once
    learn = TensorDataset(images[:count], labels[:count])
    test = TensorDataset(images[1400:1700], labels[1400:1700])
    return DataLoader(learn, batch_size=100, shuffle=True), DataLoader(test, batch_size=100)


def main(quick: bool = False, device: str = "cpu") -> tuple[float, float]:
    """Train, and return the accuracy before and after."""
    lightning.seed_everything(0, verbose=False)
    learn, test = data(quick)
    trainer = lightning.Trainer(
        accelerator=OneDevice(), strategy=SingleDeviceStrategy(torch.device(device)), max_epochs=3 if quick else 12,
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        num_sanity_val_steps=0,
    )  # fmt: skip
    model = Reader()
    (before,) = trainer.validate(model, test, verbose=False)
    trainer.fit(model, learn, test)
    after = trainer.callback_metrics
    first, last = before["accuracy"], after["accuracy"].item()
    print(f"on {trainer.strategy.root_device}: accuracy {first:.3f} before, {last:.3f} after training")
    return first, last


if __name__ == "__main__":
    chosen = options(__doc__, "jax")
    main(chosen.quick, chosen.device)
