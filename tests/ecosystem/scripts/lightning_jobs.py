"""lightning: Trainer, its callbacks, loggers and checkpoints, and Fabric, on the CPU or the device of the jobs."""

from __future__ import annotations

import logging
import os
import tempfile
from typing import Any

import jobs
import lightning
import torch
from jobs import even, gradients, job, tensor, whole
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    GradientAccumulationScheduler,
    LearningRateMonitor,
    ModelCheckpoint,
    StochasticWeightAveraging,
    Timer,
)
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


def batches(many: int = 32, seed: int = 0, size: int = 8) -> Any:
    data = TensorDataset(tensor(many, 6, seed=seed).cpu(), whole(3, many, seed=seed + 1).cpu())
    return DataLoader(data, batch_size=size)


class Classifier(lightning.LightningModule):
    """Two layers, a loss, an accuracy, and a line of what the hooks saw."""

    def __init__(self, width: int = 8, rate: float = 0.1, optimizer: str = "SGD") -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = even(nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.BatchNorm1d(width), nn.Linear(width, 3)))
        self.seen: list[str] = []

    def forward(self, x: Any) -> Any:
        return self.net(x)

    def step(self, batch: Any, name: str) -> Any:
        x, y = batch
        out = self(x.to(self.device))
        loss = nn.functional.cross_entropy(out, y.to(self.device))
        right = (out.argmax(1) == y.to(self.device)).float().mean()
        self.log_dict({f"{name}_loss": loss, f"{name}_right": right}, on_step=False, on_epoch=True, batch_size=len(x))
        return loss

    def training_step(self, batch: Any, index: int) -> Any:
        return self.step(batch, "train")

    def validation_step(self, batch: Any, index: int) -> None:
        self.step(batch, "val")

    def test_step(self, batch: Any, index: int) -> None:
        self.step(batch, "test")

    def predict_step(self, batch: Any, index: int) -> Any:
        return self(batch[0].to(self.device)).softmax(1)

    def on_train_epoch_end(self) -> None:
        self.seen.append(f"epoch {self.current_epoch}, step {self.global_step}")

    def configure_optimizers(self) -> Any:
        made = getattr(torch.optim, self.hparams.optimizer)(self.parameters(), lr=self.hparams.rate)
        return [made], [torch.optim.lr_scheduler.StepLR(made, 1, gamma=0.5)]


class Anywhere(lightning.pytorch.accelerators.CPUAccelerator):
    """An accelerator of one's own, as Lightning lets one write it: like the CPU's, on the device of the jobs."""

    def setup_device(self, device: Any) -> None:
        assert device == torch.device(jobs.DEVICE)


class AnywhereInFabric(lightning.fabric.accelerators.CPUAccelerator):
    setup_device = Anywhere.setup_device


def trainer(folder: str, **more: Any) -> Any:
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False,
                             "enable_checkpointing": False}  # fmt: skip
    strategy = lightning.pytorch.strategies.SingleDeviceStrategy(torch.device(jobs.DEVICE))
    return lightning.Trainer(accelerator=Anywhere(), strategy=strategy, default_root_dir=folder, **(quiet | more))


def numbers(made: Any) -> dict[str, float]:
    return {k: float(v) for k, v in sorted(made.callback_metrics.items())}


@job
def fit() -> Any:
    """A Trainer fits, validates, tests and predicts."""
    with tempfile.TemporaryDirectory() as folder:
        made, model = trainer(folder, max_epochs=3), Classifier()
        made.fit(model, batches(), batches(16, 5))
        found = [numbers(made), model.seen, made.global_step]
        tested = made.test(model, batches(16, 7), verbose=False)
        return found, tested, torch.cat(made.predict(model, batches(16, 7))), model.net[3].weight


@job
def optimizers() -> Any:
    """Adam, AdamW, RMSprop and LBFGS under a Trainer."""
    found = {}
    for name in ("Adam", "AdamW", "RMSprop", "LBFGS"):
        with tempfile.TemporaryDirectory() as folder:
            steps = 2 if name == "LBFGS" else 4  # it magnifies the last digits
            made, model = trainer(folder, max_steps=steps), Classifier(rate=0.02, optimizer=name)
            made.fit(model, batches())
        found[name] = [numbers(made), model.net[0].weight.norm()]
    return found


@job
def options() -> Any:
    """Clipping, accumulation, limits, intervals."""
    with tempfile.TemporaryDirectory() as folder:
        made, model = trainer(folder, max_epochs=2, gradient_clip_val=0.1, accumulate_grad_batches=2,
                              limit_train_batches=3, limit_val_batches=1, val_check_interval=2,
                              num_sanity_val_steps=1, detect_anomaly=True,
                              deterministic=True), Classifier()  # fmt: skip
        made.fit(model, batches(), batches(16, 5))
        return numbers(made), model.seen, model.net[0].weight


@job
def callbacks() -> Any:
    """Every hook that a callback hears, early stopping, a timer, changing accumulation."""

    class Heard(Callback):
        def __init__(self) -> None:
            self.names: list[str] = []

        def __getattribute__(self, name: str) -> Any:
            if name.startswith("on_") and name not in self.names:
                self.names.append(name)
            return super().__getattribute__(name)

    with tempfile.TemporaryDirectory() as folder:
        heard, stop = Heard(), EarlyStopping("val_loss", patience=1, min_delta=10.0)
        made = trainer(folder, max_epochs=6, callbacks=[heard, stop, Timer(), GradientAccumulationScheduler({1: 2})])
        made.fit(Classifier(), batches(), batches(16, 5))
        return heard.names, stop.stopped_epoch, stop.best_score, made.current_epoch, numbers(made)


@job
def averaged() -> Any:
    """Stochastic weight averaging with batch norm."""
    with tempfile.TemporaryDirectory() as folder:
        model = Classifier()
        made = trainer(folder, max_epochs=4, callbacks=[StochasticWeightAveraging(0.05, 0.5, annealing_epochs=1)])
        made.fit(model, batches())
        return numbers(made), model.net[0].weight, model.net[2].running_mean


@job
def checkpoints() -> Any:
    """The best of three is kept, read back whole and as a state to go on from."""
    with tempfile.TemporaryDirectory() as folder:
        kept = ModelCheckpoint(folder, "{epoch}-{val_right:.2f}", monitor="val_loss", save_top_k=2, save_last=True)
        made, model = trainer(folder, max_epochs=3, callbacks=[kept], enable_checkpointing=True), Classifier()
        made.fit(model, batches(), batches(16, 5))
        files = sorted(os.listdir(folder))
        back = Classifier.load_from_checkpoint(os.path.join(folder, "last.ckpt"), map_location=jobs.DEVICE)
        same = bool((back.net[0].weight.cpu() == model.net[0].weight.cpu()).all())
        state = torch.load(os.path.join(folder, "last.ckpt"), weights_only=False, map_location="cpu")
        again, second = trainer(folder, max_epochs=5), Classifier()
        again.fit(second, batches(), batches(16, 5), ckpt_path=os.path.join(folder, "last.ckpt"), weights_only=False)
        return files, kept.best_model_score, same, dict(back.hparams), sorted(state), second.seen, numbers(again)


@job
def logs() -> Any:
    """What the CSV logger and the learning rate monitor write."""
    with tempfile.TemporaryDirectory() as folder:
        made = trainer(folder, max_epochs=2, logger=CSVLogger(folder, "run"), log_every_n_steps=1,
                       callbacks=[LearningRateMonitor("epoch")])  # fmt: skip
        made.fit(Classifier(), batches(), batches(16, 5))
        with open(os.path.join(made.logger.log_dir, "metrics.csv")) as file:
            lines = [line.strip().split(",") for line in file]
        return [[float(x) if x[:1].isdigit() else x for x in line] for line in lines]


@job
def summary() -> Any:
    """The summary of a model: layers, parameters, sizes."""
    model = Classifier().to(jobs.DEVICE)
    model.example_input_array = tensor(2, 6)
    found = lightning.pytorch.utilities.model_summary.ModelSummary(model, max_depth=2)
    return found.layer_names, found.param_nums, found.in_sizes, found.out_sizes, found.total_parameters


class Duel(lightning.LightningModule):
    """Two optimizers, stepped by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.a, self.b = even(nn.Linear(6, 4)), even(nn.Linear(4, 3), seed=1)

    def training_step(self, batch: Any, index: int) -> None:
        x, y = batch
        first, second = self.optimizers()
        for optimizer in (first, second):
            self.toggle_optimizer(optimizer)
            loss = nn.functional.cross_entropy(self.b(self.a(x.to(self.device)).tanh()), y.to(self.device))
            optimizer.zero_grad()
            self.manual_backward(loss)
            self.clip_gradients(optimizer, 0.5, "norm")
            optimizer.step()
            self.untoggle_optimizer(optimizer)
        self.log("loss", loss)

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.a.parameters(), 0.05), torch.optim.SGD(self.b.parameters(), 0.1)


@job
def by_hand() -> Any:
    """Two optimizers that are stepped by hand."""
    with tempfile.TemporaryDirectory() as folder:
        made, model = trainer(folder, max_epochs=2), Duel()
        made.fit(model, batches())
        return numbers(made), model.a.weight, model.b.weight


class Numbers(lightning.LightningDataModule):
    def setup(self, stage: str) -> None:
        self.ready = stage

    def train_dataloader(self) -> Any:
        return batches()

    def val_dataloader(self) -> Any:
        return [batches(8, 5), batches(8, 6)]


class Two(Classifier):
    def validation_step(self, batch: Any, index: int, dataloader_idx: int = 0) -> None:  # type: ignore[override]
        self.step(batch, "val")


@job
def data() -> Any:
    """A data module with two validation sets."""
    with tempfile.TemporaryDirectory() as folder:
        made, model, source = trainer(folder, max_epochs=1), Two(), Numbers()
        made.fit(model, datamodule=source)
        return numbers(made), source.ready


@job
def fabric() -> Any:
    """The training loop is one's own."""
    strategy = lightning.fabric.strategies.SingleDeviceStrategy(torch.device(jobs.DEVICE))
    fabric = lightning.Fabric(accelerator=AnywhereInFabric(), strategy=strategy)
    fabric.seed_everything(3, verbose=False)
    model = even(nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)))
    wrapped, optimizer = fabric.setup(model, torch.optim.AdamW(model.parameters(), 0.05))
    losses = []
    for x, y in fabric.setup_dataloaders(batches()):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(wrapped(x), y)
        fabric.backward(loss)
        fabric.clip_gradients(wrapped, optimizer, max_norm=1.0)
        optimizer.step()
        losses.append(loss.item())
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "state.ckpt")
        fabric.save(path, {"model": wrapped, "optimizer": optimizer, "step": 4})
        nn.init.zeros_(model[0].weight)
        rest = fabric.load(path, {"model": wrapped, "optimizer": optimizer})
    return losses, gradients(model), rest, model[0].weight


if __name__ == "__main__":
    jobs.main("lightning")
