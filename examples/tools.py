"""What the programs in this folder share: their options, real data, and first weights for any framework."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

DIGITS = Path(__file__).resolve().parents[1] / "flambeau" / "data" / "digits.npz"


def options(description: str) -> argparse.Namespace:
    """``--quick`` and ``--device`` from the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it runs")
    parser.add_argument("--device", default="cpu", help="where to compute (default: cpu)")
    return parser.parse_args()


def digits() -> tuple[np.ndarray, np.ndarray]:
    """1,797 handwritten digits: images (N, 1, 8, 8) in [0, 1], and labels (N,)."""
    with np.load(DIGITS) as file:
        images, labels = file["images"], file["labels"]
    return (images.reshape(-1, 1, 8, 8) / 16).astype(np.float32), labels.astype(np.int64)


def set_weights(model: Any, seed: int = 0) -> Any:  # Any: a module of whichever framework runs the program
    """Give every parameter numbers of numpy's, so that two frameworks start from the same, and return the model.

    Matrices are scaled by 1/√fan-in, biases are small, scales of normalisations stay 1.
    """
    rng = np.random.default_rng(seed)
    for name, p in sorted(model.named_parameters(), key=lambda named: named[0]):
        shape = tuple(p.shape)
        values = rng.standard_normal(shape)
        if len(shape) > 1:
            values /= np.sqrt(np.prod(shape[1:]))
        elif name.endswith("weight"):
            values = np.ones(shape)
        else:
            values *= 0.01
        p.data.copy_(p.new_tensor(values.astype(np.float32)))
    return model
