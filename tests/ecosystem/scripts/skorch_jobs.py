"""skorch: networks as scikit-learn's estimators."""

from __future__ import annotations

import os
import tempfile
from typing import Any

import jobs
import numpy as np
import torch
from jobs import even, job, rng
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNet, NeuralNetBinaryClassifier, NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import Checkpoint, EarlyStopping, EpochScoring, GradientNormClipping, LRScheduler
from skorch.dataset import ValidSplit
from torch import nn


class Net(nn.Module):
    """Two layers whose first numbers are the same everywhere."""

    def __init__(self, width: int = 8, out: int = 3, softmax: bool = True) -> None:
        super().__init__()
        self.layers = even(nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, out)))
        self.last = nn.Softmax(-1) if softmax else nn.Identity()

    def forward(self, X: Any) -> Any:
        return self.last(self.layers(X))


def data(many: int = 48) -> Any:
    x = rng(2).standard_normal((many, 6)).astype(np.float32)
    return x, (x[:, 0] > 0).astype(np.int64) + (x[:, 1] > 0.5)


def settings(**more: Any) -> dict[str, Any]:
    return {"max_epochs": 4, "lr": 0.2, "device": jobs.DEVICE, "verbose": 0, "batch_size": 8,
            "iterator_train__shuffle": False, "train_split": ValidSplit(4, stratified=False)} | more  # fmt: skip


@job
def classifier() -> Any:
    """fit, history, predict, predict_proba, score."""
    x, y = data()
    net = NeuralNetClassifier(Net, **settings())
    net.fit(x, y)
    lines = [{k: r[k] for k in ("train_loss", "valid_loss", "valid_acc")} for r in net.history]
    return lines, net.predict(x[:6]), net.predict_proba(x[:3]), net.score(x, y)


@job
def regressor() -> Any:
    """fit and partial_fit of a regressor under Adam."""
    x, y = data()
    net = NeuralNetRegressor(Net, module__out=1, module__softmax=False, optimizer=torch.optim.Adam, **settings(lr=0.02))
    net.fit(x, y[:, None].astype(np.float32)).partial_fit(x, y[:, None].astype(np.float32))
    return net.history[:, "train_loss"], net.predict(x[:4])


@job
def binary() -> Any:
    """A binary classifier with its probabilities."""
    x, y = data()
    net = NeuralNetBinaryClassifier(Net, module__out=1, module__softmax=False, **settings())
    net.fit(x, (y > 0).astype(np.float32))
    return net.history[:, "valid_loss"], net.predict_proba(x[:4]), net.predict(x[:8])


@job
def grid() -> Any:
    """A pipeline inside a search, and cross validation."""
    x, y = data()
    line = Pipeline([("scale", StandardScaler()), ("net", NeuralNetClassifier(Net, **settings(train_split=None)))])
    found = GridSearchCV(line, {"net__lr": [0.01, 0.3], "net__module__width": [4, 8]}, cv=2, scoring="accuracy")
    found.fit(x, y)
    scores = cross_val_score(NeuralNetClassifier(Net, **settings()), x, y, cv=2)
    return found.best_params_, found.cv_results_["mean_test_score"], scores


@job
def callbacks() -> Any:
    """Early stopping, clipping, scoring, schedules, checkpoints read back."""
    x, y = data()
    with tempfile.TemporaryDirectory() as folder:
        net = NeuralNetClassifier(
            Net,
            callbacks=[EarlyStopping(patience=2, threshold=10.0), GradientNormClipping(0.3),
                       EpochScoring("f1_macro", lower_is_better=False, name="f1"),
                       LRScheduler("StepLR", step_size=1, gamma=0.5), Checkpoint(dirname=folder)],
            **settings(max_epochs=6, optimizer=torch.optim.SGD, optimizer__momentum=0.9),
        )  # fmt: skip
        net.fit(x, y)
        files = sorted(os.listdir(folder))
        again = NeuralNetClassifier(Net, **settings()).initialize()
        again.load_params(checkpoint=Checkpoint(dirname=folder))
    return len(net.history), net.history[:, "f1"], net.history[:, "event_lr"], files, again.predict_proba(x[:3])


@job
def saved() -> Any:
    """Parameters, optimizer and history saved, loaded and trained on."""
    x, y = data()
    net = NeuralNetClassifier(Net, optimizer=torch.optim.Adam, **settings()).fit(x, y)
    with tempfile.TemporaryDirectory() as folder:
        names = {k: os.path.join(folder, v) for k, v in (("f_params", "p.pt"), ("f_optimizer", "o.pt"),
                                                         ("f_history", "h.json"))}  # fmt: skip
        net.save_params(**names)
        back = NeuralNetClassifier(Net, optimizer=torch.optim.Adam, **settings()).initialize()
        back.load_params(**names)
    same = np.array_equal(back.predict_proba(x), net.predict_proba(x))
    back.partial_fit(x, y, epochs=1)
    return same, back.history[-1, "train_loss"]


@job
def own_loss() -> Any:
    """A network with a loss of its own and groups of parameters."""

    class Weighted(NeuralNet):
        def get_loss(self, y_pred: Any, y_true: Any, *args: Any, **kwargs: Any) -> Any:
            plain = super().get_loss(y_pred, y_true, *args, **kwargs)
            return plain + 0.01 * sum(p.square().sum() for p in self.module_.parameters())

    x, y = data()
    net = Weighted(Net, nn.CrossEntropyLoss, module__softmax=False, criterion__label_smoothing=0.1,
                   optimizer__param_groups=[("layers.0.*", {"lr": 0.05})], **settings())  # fmt: skip
    return net.fit(x, y).history[:, "train_loss"], net.forward(x[:2]), [g["lr"] for g in net.optimizer_.param_groups]


if __name__ == "__main__":
    jobs.main("skorch")
