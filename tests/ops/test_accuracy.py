"""Sums of many numbers: the error is that of some roundings, whatever is summed, along which axis, and where."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau as fb
import flambeau.nn.functional as F

DEVICES = ["cpu", "strict", pytest.param("opencl", marks=pytest.mark.device("opencl"))]
EPS = 2.0**-24
N = 300_000


def grad(run: Callable[[Any], Any], x: Any, *shape: int) -> Any:
    """The gradient of the sum of ``run(w)`` for ones of ``shape``."""
    w = fb.ones(*shape, dtype=x.dtype, device=x.device, requires_grad=True)
    run(w).sum().backward()
    return w.grad


def zeros(x: Any, *shape: int) -> Any:
    return fb.zeros(*shape, dtype=x.dtype, device=x.device)


def alternating(x: Any) -> Any:
    return fb.arange(len(x), device=x.device) % 2


def halves(x: Any) -> Any:
    return np.stack([x[::2].sum(0), x[1::2].sum(0)])


def standard(x: Any, axis: int) -> Any:
    return (x - x.mean(axis, keepdims=True)) / np.sqrt(x.var(axis, keepdims=True) + 1e-5)


#: Of columns (N, 3) and rows (3, N): what is computed, and how numpy says it in float64.
BOTH: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    **{
        f"{name} {axis}": (
            lambda x, name=name, axis=axis: getattr(x, name)(axis),
            lambda x, name=name, axis=axis: getattr(x, name.removeprefix("nan"))(axis),
        )
        for name in ("sum", "mean", "nansum", "cumsum")
        for axis in (0, 1)
    },
    "sum": (lambda x: x.sum(), lambda x: x.sum()),
    "norm 0": (lambda x: fb.linalg.vector_norm(x, dim=0), lambda x: np.sqrt((x * x).sum(0))),
    "norm 1": (lambda x: fb.linalg.vector_norm(x, dim=1), lambda x: np.sqrt((x * x).sum(1))),
    "logsumexp 0": (lambda x: x.logsumexp(0), lambda x: np.log(np.exp(x).sum(0))),
    "logcumsumexp 0": (lambda x: x.logcumsumexp(0), lambda x: np.log(np.exp(x).cumsum(0))),
    "logcumsumexp 1": (lambda x: x.logcumsumexp(1), lambda x: np.log(np.exp(x).cumsum(1))),
    "softmax 0": (lambda x: x.softmax(0), lambda x: np.exp(x) / np.exp(x).sum(0)),
    "sum_to_size": (lambda x: x.sum_to_size(1, x.shape[1]), lambda x: x.sum(0, keepdims=True)),
    "gradient of a broadcast": (lambda x: grad(lambda w: x * w, x, x.shape[1]), lambda x: x.sum(0)),
    "index_add": (lambda x: zeros(x, 2, x.shape[1]).index_add(0, alternating(x), x), halves),
    "index_put": (lambda x: zeros(x, 2, x.shape[1]).index_put((alternating(x),), x, accumulate=True), halves),
    "embedding": (lambda x: grad(lambda w: F.embedding(alternating(x), w) * x, x, 2, x.shape[1]), halves),
    "scatter_add": (
        lambda x: zeros(x, len(x), 1).scatter_add(1, fb.zeros(*x.shape, dtype=fb.int64, device=x.device), x),
        lambda x: x.sum(1, keepdims=True),
    ),
    "mse": (lambda x: F.mse_loss(x, x * 0), lambda x: (x * x).mean()),
    "flipped": (lambda x: x.flip(0).t().sum(1), lambda x: x.sum(0)),
    "strided": (lambda x: x[::2, ::2].sum(), lambda x: x[::2, ::2].sum()),
}
#: Of columns alone.
COLUMNS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "product": (lambda x: x.t() @ x, lambda x: x.T @ x),
    "weight of linear": (
        lambda x: grad(lambda w: F.linear(x, w), x, 2, 3),
        lambda x: np.broadcast_to(x.sum(0), (2, 3)),
    ),
    "bias of linear": (
        lambda x: grad(lambda b: F.linear(x, fb.ones(2, 3, dtype=x.dtype, device=x.device), b), x, 2),
        lambda x: np.full(2, float(len(x))),
    ),
    "bias of layer_norm": (lambda x: grad(lambda b: F.layer_norm(x, (3,), None, b) * x, x, 3), lambda x: x.sum(0)),
    "weight of rms_norm": (
        lambda x: grad(lambda w: F.rms_norm(x, (3,), w) * x, x, 3),
        lambda x: (x / np.sqrt((x * x).mean(1, keepdims=True) + np.finfo("f4").eps) * x).sum(0),
    ),
    "bias of batch_norm": (
        lambda x: grad(lambda b: F.batch_norm(x, None, None, None, b, training=True) * x, x, 3),
        lambda x: x.sum(0),
    ),
    "nll": (
        lambda x: F.nll_loss(x, fb.zeros(len(x), dtype=fb.int64, device=x.device)),
        lambda x: -x[:, 0].mean(),
    ),
    "dot": (lambda x: x.reshape(-1) @ x.reshape(-1), lambda x: (x * x).sum()),
    "bincount": (
        lambda x: fb.bincount(fb.zeros(len(x), dtype=fb.int64, device=x.device), x[:, 0].contiguous()),
        lambda x: x[:, :1].sum(0),
    ),
    "mean of bags": (
        lambda x: F.embedding_bag(fb.arange(len(x), device=x.device), x, fb.tensor([0], device=x.device), mode="mean"),
        lambda x: x.mean(0, keepdims=True),
    ),
    "avg_pool": (lambda x: F.avg_pool1d(x.t()[None].contiguous(), len(x)), lambda x: x.mean(0)[None, :, None]),
    "weight of conv": (
        lambda x: grad(lambda w: F.conv1d(x.t()[:, None].contiguous(), w), x, 1, 1, 1),
        lambda x: x.sum().reshape(1, 1, 1),
    ),
}
#: Where an accelerator adds one by one, at random times: errors of that, not of a few roundings.
LOOSE = {
    ("opencl", name) for name in ("index_add", "index_put", "embedding", "scatter_add", "bincount", "mean of bags")
}


def check(device: str, name: str, shape: tuple[int, int], run: Any, reference: Any) -> None:
    x = (0.9 + 0.2 * np.random.default_rng(3).random(shape)).astype(np.float32)
    found = run(fb.tensor(x).to(device)).detach().cpu().numpy()
    wanted = reference(x.astype(np.float64))
    limit = 4e-5 if (device, name) in LOOSE else 40 * EPS
    np.testing.assert_allclose(found, wanted, rtol=limit, atol=40 * EPS if "log" in name else 0)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", [(N, 3), (3, N), (N // 16, 17)], ids=str)
@pytest.mark.parametrize("name", BOTH)
def test_sums(name: str, shape: tuple[int, int], device: str) -> None:
    check(device, name, shape, *BOTH[name])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", COLUMNS)
def test_sums_of_columns(name: str, device: str) -> None:
    check(device, name, (N, 3), *COLUMNS[name])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [fb.float16, fb.bfloat16], ids=str)
@pytest.mark.parametrize("axis", [0, 1, None])
def test_low_precision_is_added_in_float32(axis: int | None, dtype: Any, device: str) -> None:
    x = fb.tensor(np.random.default_rng(3).random((20_000, 7)).astype(np.float32)).to(dtype)
    found = (x.to(device).mean() if axis is None else x.to(device).mean(axis)).cpu()
    wanted = fb.tensor(np.asarray(x.double().numpy().mean(axis))).to(dtype)
    assert (found.double() - wanted.double()).abs().max().item() <= fb.finfo(dtype).eps


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("axis", [0, 1])
def test_the_variance_of_data_far_from_zero(axis: int, device: str) -> None:
    x = np.random.default_rng(3).random((2_000, 500)).astype(np.float32) + np.float32(1000)
    found = fb.tensor(x).to(device).var(axis).cpu().numpy()
    np.testing.assert_allclose(found, x.astype(np.float64).var(axis, ddof=1), rtol=1e-4)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["group_norm", "instance_norm", "batch_norm", "layer_norm"])
def test_norms_of_data_far_from_zero(name: str, device: str) -> None:
    """A mean of numbers near 30000 has a rounding of 0.001."""
    x = (30_000 + 2 * np.random.default_rng(3).standard_normal((8, 4, 100, 300))).astype(np.float32)
    t, x8 = fb.tensor(x).to(device), x.astype(np.float64)
    run, axes = {
        "group_norm": (lambda: F.group_norm(t, 4), (2, 3)),
        "instance_norm": (lambda: F.instance_norm(t), (2, 3)),
        "batch_norm": (lambda: F.batch_norm(t, None, None, training=True), (0, 2, 3)),
        "layer_norm": (lambda: F.layer_norm(t, (4, 100, 300)), (1, 2, 3)),
    }[name]
    wanted = (x8 - x8.mean(axes, keepdims=True)) / np.sqrt(x8.var(axes, keepdims=True) + 1e-5)
    assert np.abs(run().cpu().numpy() - wanted).max() < 0.002


def test_a_running_sum_is_as_good_as_torchs() -> None:
    assert fb.full((4_000_000,), 0.1).cumsum(0)[-1].item() == np.float32(4_000_000 * float(np.float32(0.1)))
