"""catalyst: runners, callbacks, metrics and criteria of its own."""

from __future__ import annotations

import os
import tempfile
from typing import Any

import jobs
import torch
from accelerate.utils import DistributedType
from catalyst import dl, metrics, utils
from catalyst.contrib import losses
from jobs import even, job, tensor, whole
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

DistributedType.TPU = DistributedType.XLA  # Catalyst asks for it by the name that it had in older versions


def net(out: int = 3) -> Any:
    return even(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, out)))


def loaders() -> dict[str, Any]:
    def batches(seed: int) -> Any:
        return DataLoader(
            TensorDataset(tensor(32, 6, seed=seed).cpu(), whole(3, 32, seed=seed + 1).cpu()), batch_size=8
        )

    return {"train": batches(0), "valid": batches(4)}


def engine() -> Any:
    made = dl.CPUEngine()
    if jobs.DEVICE != "cpu":
        made.state.__dict__["device"] = torch.device(jobs.DEVICE)
    return made


def numbers(runner: Any) -> Any:
    return {k: {n: float(v) for n, v in m.items()} for k, m in runner.epoch_metrics.items()}


@job
def supervised() -> Any:
    """A SupervisedRunner with callbacks, a schedule and checkpoints, then predictions."""
    model = net()
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    with tempfile.TemporaryDirectory() as folder:
        runner = dl.SupervisedRunner(input_key="x", output_key="y_hat", target_key="y", loss_key="loss")
        runner.train(
            model=model, engine=engine(), criterion=nn.CrossEntropyLoss(), optimizer=optimizer, loaders=loaders(),
            scheduler=torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5), num_epochs=3, logdir=folder,
            valid_loader="valid", valid_metric="loss", minimize_valid_metric=True, verbose=False, seed=3,
            callbacks=[
                dl.AccuracyCallback(input_key="y_hat", target_key="y", num_classes=3, topk=(1, 2)),
                dl.PrecisionRecallF1SupportCallback(input_key="y_hat", target_key="y", num_classes=3),
                dl.EarlyStoppingCallback(patience=5, loader_key="valid", metric_key="loss", minimize=True),
            ],
        )  # fmt: skip
        files = sorted(f for _, _, found in os.walk(folder) for f in found if f.endswith(".pth"))
    outputs = [out["y_hat"] for out in runner.predict_loader(loader=loaders()["valid"], model=model)]
    return numbers(runner), files, torch.cat(outputs)


@job
def own_runner() -> Any:
    """A Runner with a loop body and meters of one's own."""

    class Coder(dl.Runner):
        def handle_batch(self, batch: Any) -> None:
            x, _ = batch
            x = x.to(jobs.DEVICE)
            out = self.model(x)
            loss = nn.functional.mse_loss(out, x)
            self.batch_metrics.update({"loss": loss, "far": (out - x).abs().max()})
            if self.is_train_loader:
                self.engine.backward(loss)
                self.optimizer.step()
                self.optimizer.zero_grad()

        def on_loader_start(self, runner: Any) -> None:
            super().on_loader_start(runner)
            self.meters = {k: metrics.AdditiveMetric(compute_on_call=False) for k in ("loss", "far")}

        def on_batch_end(self, runner: Any) -> None:
            super().on_batch_end(runner)
            for key, meter in self.meters.items():
                meter.update(self.batch_metrics[key].item(), self.batch_size)

        def on_loader_end(self, runner: Any) -> None:
            for key, meter in self.meters.items():
                self.loader_metrics[key] = meter.compute()[0]
            super().on_loader_end(runner)

    model = net(6)
    runner = Coder()
    runner.train(model=model, engine=engine(), optimizer=torch.optim.SGD(model.parameters(), 0.1), loaders=loaders(),
                 num_epochs=2, verbose=False, seed=3)  # fmt: skip
    return numbers(runner), model[0].weight


@job
def measures() -> Any:
    """Accuracy, AUC, confusion matrix, ranking and overlap metrics."""
    scores, labels = tensor(12, 3), whole(3, 12)
    accuracy, area = metrics.AccuracyMetric(topk=(1, 2), num_classes=3), metrics.AUCMetric()
    accuracy.update(scores, labels)
    area.reset(1, 12)
    area.update(scores.softmax(1), nn.functional.one_hot(labels, 3).float())
    matrix = metrics.ConfusionMatrixMetric(3)
    matrix.update(scores.argmax(1), labels)
    hits = [metrics.hitrate(scores, nn.functional.one_hot(labels, 3), [1, 2]),
            metrics.mrr(scores, nn.functional.one_hot(labels, 3), [1, 2]),
            metrics.ndcg(scores, nn.functional.one_hot(labels, 3), [2])]  # fmt: skip
    inside = metrics.iou(tensor(2, 3, 4, 4).sigmoid(), tensor(2, 3, 4, 4, seed=1).sigmoid().round(), class_dim=1)
    return accuracy.compute_key_value(), area.compute(), matrix.compute(), hits, inside


@job
def criteria() -> Any:
    """Losses of its own, with their gradients."""
    scores, labels = tensor(4, 3, grad=True), whole(3, 4)
    mask = (tensor(2, 2, 4, 4, seed=1) > 0).float()
    picture = tensor(2, 2, 4, 4, grad=True)
    found = {
        "focal": losses.FocalLossMultiClass()(scores, labels), "dice": losses.DiceLoss()(picture.sigmoid(), mask),
        "iou": losses.IoULoss()(picture.sigmoid(), mask), "huber": losses.HuberLossV0()(scores, scores.detach() + 2),
        "wing": losses.WingLoss()(scores, scores.detach() + 2),
    }  # fmt: skip
    sum(found.values()).backward()
    return found, scores.grad, picture.grad


@job
def pieces() -> Any:
    """Frozen layers, checkpoints packed and unpacked, an optimizer's momentum."""
    model = net()
    utils.set_requires_grad(model[0], False)
    found = [p.requires_grad for p in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), 0.3)
    checkpoint = utils.pack_checkpoint(model=model, optimizer=optimizer)
    other = even(net(), seed=3)
    utils.unpack_checkpoint(checkpoint, model=other)
    return found, sorted(checkpoint), other(tensor(2, 6)), utils.get_optimizer_momentum(optimizer)


if __name__ == "__main__":
    jobs.main("catalyst")
