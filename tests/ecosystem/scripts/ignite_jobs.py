"""ignite: engines, handlers and metrics."""

from __future__ import annotations

import os
import tempfile
from typing import Any

import jobs
import torch
from ignite import metrics
from ignite.engine import Engine, Events, create_supervised_evaluator, create_supervised_trainer
from ignite.handlers import (
    Checkpoint,
    CosineAnnealingScheduler,
    DiskSaver,
    EarlyStopping,
    EMAHandler,
    LinearCyclicalScheduler,
    TerminateOnNan,
    create_lr_scheduler_with_warmup,
)
from jobs import even, gradients, job, tensor, whole
from torch import nn


def batches(many: int = 4, seed: int = 0) -> Any:
    return [(tensor(8, 6, seed=seed + i), whole(3, 8, seed=seed + 20 + i)) for i in range(many)]


def net() -> Any:
    return even(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)))


@job
def training() -> Any:
    """Trainer and evaluator with metrics, events and accumulated gradients."""
    model, loss = net(), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    trainer = create_supervised_trainer(model, optimizer, loss, device=jobs.DEVICE, gradient_accumulation_steps=2)
    counted = {"accuracy": metrics.Accuracy(), "loss": metrics.Loss(loss), "f1": metrics.Fbeta(1.0),
               "matrix": metrics.ConfusionMatrix(3), "top": metrics.TopKCategoricalAccuracy(2)}  # fmt: skip
    evaluator = create_supervised_evaluator(model, counted, device=jobs.DEVICE)
    metrics.RunningAverage(output_transform=lambda x: x).attach(trainer, "running")
    seen: list[Any] = []

    @trainer.on(Events.ITERATION_COMPLETED(every=3))
    def note(engine: Any) -> None:
        seen.append([engine.state.iteration, engine.state.output, engine.state.metrics["running"]])

    @trainer.on(Events.EPOCH_COMPLETED)
    def judge(engine: Any) -> None:
        seen.append(dict(evaluator.run(batches(2, 9)).metrics))

    state = trainer.run(batches(), max_epochs=3)
    return seen, state.epoch, state.iteration, gradients(model)


@job
def handlers() -> Any:
    """Warm-up, averaged weights, early stopping, checkpoints written and read back."""
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trainer = create_supervised_trainer(model, optimizer, nn.CrossEntropyLoss(), device=jobs.DEVICE)
    rates: list[float] = []
    warm = create_lr_scheduler_with_warmup(CosineAnnealingScheduler(optimizer, "lr", 0.2, 0.01, 6), 0.0, 3, 0.2)
    trainer.add_event_handler(Events.ITERATION_STARTED, warm)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, TerminateOnNan())
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: rates.append(optimizer.param_groups[0]["lr"]))
    mean = EMAHandler(model, momentum=0.3)
    mean.attach(trainer, name="momentum", event=Events.ITERATION_COMPLETED)
    stop = EarlyStopping(1, lambda engine: -float(engine.state.epoch), trainer)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, stop)
    with tempfile.TemporaryDirectory() as folder:
        kept = Checkpoint({"model": model, "optimizer": optimizer, "trainer": trainer},
                          DiskSaver(folder, create_dir=True), n_saved=2)  # fmt: skip
        trainer.add_event_handler(Events.EPOCH_COMPLETED, kept)
        trainer.run(batches(), max_epochs=4)
        files = sorted(os.listdir(folder))
        other, fresh = net(), Engine(lambda engine, batch: None)
        state = torch.load(os.path.join(folder, files[-1]), map_location=jobs.DEVICE)
        adam = torch.optim.SGD(other.parameters(), 0.5)
        Checkpoint.load_objects({"model": other, "optimizer": adam, "trainer": fresh}, state)
    same = all(bool((a == b).all()) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    return rates, mean.ema_model[0].weight, files, same, fresh.state.epoch, adam.param_groups[0]["lr"]


@job
def schedules() -> Any:
    """Cyclical schedules, simulated."""
    cyclic = LinearCyclicalScheduler.simulate_values(8, param_name="lr", start_value=0.1, end_value=1.0, cycle_size=4)
    cosine = {"param_name": "lr", "start_value": 1.0, "end_value": 0.0, "cycle_size": 4}
    return cyclic, CosineAnnealingScheduler.simulate_values(6, **cosine)


@job
def measures() -> Any:
    """Metrics over two batches."""
    scores, labels = [tensor(12, 4, seed=i) for i in (0, 1)], [whole(4, 12, seed=i) for i in (2, 3)]
    found = {}
    for metric in (metrics.Accuracy(), metrics.Precision(), metrics.Recall(average=True), metrics.ConfusionMatrix(4),
                   metrics.TopKCategoricalAccuracy(3), metrics.MultiLabelConfusionMatrix(4),
                   metrics.ClassificationReport(), metrics.CohenKappa()):  # fmt: skip
        for score, label in zip(scores, labels, strict=True):
            given = (score, label)
            if isinstance(metric, metrics.MultiLabelConfusionMatrix):
                given = ((score > 0).long(), nn.functional.one_hot(label, 4))
            elif isinstance(metric, metrics.CohenKappa):
                given = (score.argmax(1), label)
            metric.update(given)
        found[type(metric).__name__] = metric.compute()
    for metric in (metrics.MeanSquaredError(), metrics.MeanAbsoluteError(), metrics.RootMeanSquaredError(),
                   metrics.MeanPairwiseDistance(), metrics.CosineSimilarity(), metrics.regression.R2Score(),
                   metrics.regression.PearsonCorrelation(), metrics.regression.MedianAbsoluteError()):  # fmt: skip
        rows = isinstance(metric, metrics.MeanPairwiseDistance | metrics.CosineSimilarity)
        for a, b in zip(scores, [tensor(12, 4, seed=5), tensor(12, 4, seed=6)], strict=True):
            metric.update((a, b) if rows else (a[:, 0], b[:, 0]))
        found[type(metric).__name__] = metric.compute()
    picture, other = tensor(2, 3, 16, 16).sigmoid(), tensor(2, 3, 16, 16, seed=1).sigmoid()
    for metric in (metrics.PSNR(1.0), metrics.SSIM(1.0, kernel_size=5)):
        metric.update((picture, other))
        found[type(metric).__name__] = metric.compute()
    both = metrics.Precision() * metrics.Recall() * 2 / (metrics.Precision() + metrics.Recall() + 1e-9)
    both.update((scores[0], labels[0]))
    return found, both.compute()


if __name__ == "__main__":
    jobs.main("ignite", "pytorch-ignite")
