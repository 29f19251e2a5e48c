"""The suite ``loading``: epochs of a DataLoader over a dataset in Python, and over tensors, beside PyTorch.

Both use what their DataLoader is with its defaults: PyTorch forks its workers, flambeau's start by forkserver. Before
a case is timed its samples are compared with PyTorch's.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from benchmarks import frameworks
from benchmarks.cases import Case, Inputs, built
from benchmarks.measure import Program, Row
from benchmarks.suite import Settings, measured

SAMPLES, SHAPE = 4000, (3, 64, 64)


class Images:
    """A dataset whose samples are made one by one in Python. It goes to workers, and so knows the module by name."""

    def __init__(self, module: str, count: int):
        self.module, self.count = module, count
        self.kept = np.random.default_rng(0).integers(0, 256, (64, *SHAPE), np.uint8)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> tuple[Any, int]:
        image = self.kept[i % len(self.kept)].astype(np.float32)
        image /= 255
        return importlib.import_module(self.module).from_numpy(image), i % 10


def _images(m: Inputs) -> Any:
    return Images(m.T.__name__, m.n(SAMPLES))


def _tensors(m: Inputs) -> Any:
    count = m.n(SAMPLES)
    return m.T.utils.data.TensorDataset(m.normal(count, *SHAPE), m.below(10, count))


def _epochs(dataset: Any, batch: int, workers: int = 0) -> Case:
    def make(m: Inputs) -> Program:
        options = dict(num_workers=workers, persistent_workers=True) if workers else {}
        loader = m.T.utils.data.DataLoader(dataset(m), batch_size=batch, **options)

        def program() -> Any:
            """One epoch: how many samples came, and the sum of their labels."""
            count = total = 0
            for images, labels in loader:
                count += len(images)
                total += int(labels.sum())
            return [count, total]

        return program

    return Case(make, unit="sample", per=SAMPLES)


CASES: Final = {
    "Python dataset": _epochs(_images, 32),
    "Python dataset, 2 persistent workers": _epochs(_images, 32, workers=2),
    "TensorDataset": _epochs(_tensors, 64),
}
LIMITS: Final = {"Python dataset": 1 / 1.2, "Python dataset, 2 persistent workers": 1.0, "TensorDataset": 1 / 1.2}


def rows(settings: Settings) -> Iterator[Row]:
    """On one thread, whatever the settings say: what loads is processes."""
    frameworks.set_threads(settings.modules, 1)
    for name in settings.chosen(CASES):
        case = CASES[name]
        if programs := built(settings, name, case):
            yield measured(settings, "loading", name, programs, per=case.per, unit=case.unit, limit=LIMITS[name])
