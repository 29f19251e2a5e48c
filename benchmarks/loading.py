"""Cases of data loading: an epoch of a DataLoader over a dataset in Python, and over tensors."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from benchmarks.cases import Case, Inputs
from benchmarks.measure import Program

SAMPLES, BATCH, SHAPE = 4000, 32, (3, 64, 64)


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


def _epochs(dataset: Any, workers: int) -> Case:
    def make(m: Inputs) -> Program:
        options = dict(num_workers=workers, persistent_workers=True) if workers else {}
        loader = m.T.utils.data.DataLoader(dataset(m), batch_size=BATCH, **options)

        def program() -> Any:
            """One epoch: how many samples came, and the sum of their labels."""
            count = total = 0
            for images, labels in loader:
                count += len(images)
                total += int(labels.sum())
            return [count, total]

        return program

    return Case(make, unit="sample", per=SAMPLES)


def cases() -> dict[str, Case]:
    return {
        "Python dataset": _epochs(_images, 0),
        "Python dataset, 2 persistent workers": _epochs(_images, 2),
        "TensorDataset": _epochs(_tensors, 0),
    }
