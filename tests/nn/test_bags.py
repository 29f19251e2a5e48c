"""Bags of rows: every mode against a loop over bags, forward and backward; time that grows with the rows alone."""

from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np
import pytest

import flambeau as fb
import flambeau.nn.functional as F

DEVICES = ["cpu", "strict", pytest.param("opencl", marks=pytest.mark.device("opencl"))]
CASES = [
    (mode, weighted, padding, last)
    for mode, weighted, padding, last in itertools.product(("sum", "mean", "max"), (False, True), (None, 0, -1), (0, 1))
    if mode == "sum" or not weighted
]


def loop(index: Any, weight: Any, offsets: Any, mode: str, scale: Any, padding: int | None) -> Any:
    rows = []
    for start, stop in itertools.pairwise([*offsets, len(index)]):
        kept = [i for i in range(start, stop) if padding is None or index[i] != padding % len(weight)]
        if not kept:
            rows.append(weight[:1].sum(0) * 0)
            continue
        bag = fb.stack([weight[int(index[i])] * scale[i] for i in kept])
        rows.append(bag.amax(0) if mode == "max" else bag.mean(0) if mode == "mean" else bag.sum(0))
    return fb.stack(rows)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("mode", "weighted", "padding", "last"), CASES)
def test_every_mode(mode: str, weighted: bool, padding: int | None, last: int, device: str) -> None:
    rng = np.random.default_rng(1)
    index, offsets = rng.integers(0, 7, 40), np.sort(rng.integers(0, 41, 9))
    offsets[0] = 0
    offsets[4] = offsets[3]  # an empty bag
    grad = fb.tensor(rng.standard_normal((9, 3)))
    results = []
    for ours in (True, False):
        w = fb.tensor(np.random.default_rng(2).standard_normal((7, 3)), requires_grad=True)
        s = fb.tensor(np.random.default_rng(3).standard_normal(40), requires_grad=True)
        dtype = fb.float32 if device == "strict" else fb.float64
        if ours:
            out = F.embedding_bag(
                fb.tensor(index, device=device), w.to(dtype).to(device),
                fb.tensor(np.append(offsets, 40) if last else offsets, device=device), mode=mode, padding_idx=padding,
                per_sample_weights=s.to(dtype).to(device) if weighted else None, include_last_offset=bool(last),
            ).cpu().double()  # fmt: skip
        else:
            out = loop(index, w, offsets, mode, s if weighted else fb.ones(40), padding)
        out.backward(grad)
        results.append([out.detach(), w.grad, *([s.grad] if weighted else [])])
    for found, wanted in zip(*results, strict=True):
        np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_the_time_grows_with_the_rows_and_not_with_their_square(mode: str) -> None:
    """Ten times as many bags take about ten times as long; all pairs took a hundred times."""

    def seconds(bags: int) -> float:
        weight, index = fb.rand(100, 4, requires_grad=True), fb.arange(10 * bags) % 100
        best = np.inf
        for _ in range(3):
            start = time.process_time()
            F.embedding_bag(index, weight, fb.arange(bags) * 10, mode=mode).sum().backward()
            best = min(best, time.process_time() - start)
        return best

    assert seconds(30_000) < 40 * seconds(3_000)
