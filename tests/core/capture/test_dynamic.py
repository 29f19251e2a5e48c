"""Calls of many sizes: equal to eager to the bit, with one function for all sizes, or recordings for each of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

import flambeau as fb
from flambeau import nn, optim
from flambeau.core.capture.captured import Captured
from flambeau.core.capture.template import Sized
from flambeau.nn import functional as F
from tests.core.capture.harness import Program, Report, numbers, train, twins
from tests.core.capture.test_workloads import GPT, LSTM, labels, lenet, mlp

#: The first of a kind takes four calls, the second size two recordings, each other one.
SIZES = [4, 4, 4, 4, 6, 6, 6, 7, 7, 9, 9, 5, 5, 12, 7, 12, 5, 4]


def of_sizes(make: Callable[[], Any], inputs: Callable[..., Any], sizes: list[Any] = SIZES, **how: Any) -> Report:
    """Twins over calls of these sizes; groups of kernels are made at one size only, and take long to make."""
    return twins(make, lambda i: inputs(i, sizes[i]), len(sizes), **{"fusion": False, **how})


def apart(captured: Captured) -> list[str]:
    """Why sizes have recordings of their own."""
    return [g.apart for g in captured.graphs if g.apart]


def shared(captured: Captured) -> int:
    """How many sizes share a function."""
    return sum(isinstance(g, Sized) for g in captured.graphs)


def check(report: Report, sizes: list[Any] = SIZES) -> None:
    """One function served all sizes but the first, each from its second or third call on."""
    assert not report.differences, str(report)
    assert report.warned == [] and report.refused == "", str(report)
    assert apart(report.captured) == [], str(report)
    assert shared(report.captured) == len(set(sizes)) - 1, str(report)


Step = Callable[..., Any]
PROGRAMS: dict[str, Step] = {}


def program(step: Step) -> Step:
    PROGRAMS[step.__name__] = step
    return step


@program
def mean(x: fb.Tensor) -> Any:
    return x.mean(), x.mean(0), x.var(0), x.std(), x.sum() / x.shape[0]


@program
def positions(x: fb.Tensor) -> Any:
    n = x.shape[0]
    return x + fb.arange(n, dtype=fb.float32)[:, None], fb.linspace(0, 1, n), fb.full((n, 2), 3.0), fb.eye(n)


@program
def cat_split_pad(x: fb.Tensor) -> Any:
    y = fb.cat([x, x * 2, fb.zeros(2, x.shape[1])])
    return y.split([x.shape[0], x.shape[0] + 2]), F.pad(x, (0, 1, 2, x.shape[0])), fb.stack([x, x]), y.chunk(2)


@program
def masks(x: fb.Tensor) -> Any:
    n = x.shape[0]
    mask = fb.ones(n, n, dtype=fb.bool).tril()
    scores = (x @ x.T).masked_fill(~mask, float("-inf"))
    return scores.softmax(-1), fb.where(x > 0, x, x.new_zeros(x.shape)), fb.triu(x @ x.T)


@program
def attention(x: fb.Tensor) -> Any:
    q = x.view(1, -1, 2, 3).transpose(1, 2)
    return F.scaled_dot_product_attention(q, q, q, is_causal=True), F.scaled_dot_product_attention(q, q, q)


@program
def draws(x: fb.Tensor) -> Any:
    return F.dropout(x, 0.5), fb.randn(x.shape[0]), fb.rand_like(x), fb.randperm(x.shape[0]), fb.randn(3)


@program
def derived(x: fb.Tensor) -> Any:
    n = x.shape[0]
    return x[: n // 2], x[n // 2 :], x * math.sqrt(n), x / len(x), x * (1 / n), x[-1], x.numel(), (n, list(x.shape))


@program
def views(x: fb.Tensor) -> Any:
    y = x.clone()
    y[1:] += x[:-1]
    y.view(-1)[::2].mul_(2)
    return y, x.T.reshape(-1), x.flatten().unfold(0, 3, 2), x.unsqueeze(1).expand(-1, 3, -1), x.roll(1, 0), x.flip(0)


@program
def writes_to_arguments(x: fb.Tensor) -> Any:
    x[0].mul_(2)
    x.add_(x.shape[0])
    return x, x[1:], x.sum()


@program
def sorting(x: fb.Tensor) -> Any:
    v, i = x.sort(0)
    return v, i, x.topk(2, 0), x.argmax(), x.cumsum(0), x.flatten().median(), x[x.shape[0] - 1 :], x.gather(0, i)


@program
def kept_by_the_autograd(x: fb.Tensor) -> Any:
    x = x.clone().requires_grad_()
    return (x * x).mean(), (x.T @ x).tanh().sum(), x.view(-1)[1:] * 2


@program
def windows(x: fb.Tensor) -> Any:
    y = x.view(1, 1, -1)
    w = fb.ones(1, 1, 3)
    pooled = F.max_pool1d(y, 2), F.avg_pool1d(y, 3, 2)
    return F.conv1d(y, w, stride=2, padding=1), pooled, F.interpolate(y, scale_factor=2)


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_of_many_sizes_equal_eager(name: str) -> None:
    check(of_sizes(lambda: PROGRAMS[name], lambda i, n: numbers(i, n, 6)))


@pytest.mark.parametrize("name", ["mlp", pytest.param("lenet", marks=pytest.mark.slow)])
def test_training_with_batches_of_many_sizes(name: str) -> None:
    make, shape = {"mlp": (mlp, (12,)), "lenet": (lenet, (1, 10, 10))}[name]

    def training() -> Program:
        model = make()
        optimizer = optim.AdamW(model.parameters(), lr=1e-2)

        def step(x: fb.Tensor, target: fb.Tensor) -> fb.Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), target)
            loss.backward()
            optimizer.step()
            return loss.detach()

        return Program(step, (model, optimizer))

    check(of_sizes(training, lambda i, n: (numbers(i, n, *shape), labels(i, n, classes=5))))


def gpt() -> Program:
    model = GPT(t=12)
    optimizer = optim.AdamW(model.parameters(), lr=1e-2)

    def step(x: fb.Tensor, target: fb.Tensor) -> fb.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), target)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return Program(step, (model, optimizer))


def texts(i: int, size: tuple[int, int]) -> Any:
    return labels(i, *size, classes=11), labels(i + 1, size[0] * size[1], classes=11)


def test_gpt_of_many_batches_and_lengths() -> None:
    sizes = [(2, 6)] * 4 + [(3, 6)] * 3 + [(3, 4)] * 3 + [(5, 4), (5, 4), (4, 3), (4, 3), (6, 2), (6, 2)]
    report = of_sizes(gpt, texts, sizes)
    check(report, sizes)
    assert report.counts.replayed >= 6, str(report)


@pytest.mark.slow
def test_other_kernels_at_other_sizes_are_other_recordings() -> None:
    """From 256 numbers on cross_entropy is one kernel of its own, and two below."""
    sizes = [(2, 6)] * 4 + [(3, 6)] * 3 + [(5, 5)] * 4 + [(6, 6)] * 3 + [(4, 5), (4, 5), (7, 6), (7, 6), (8, 9), (8, 9)]
    report = of_sizes(gpt, texts, sizes)
    assert not report.differences, str(report)
    (why,) = apart(report.captured)
    assert "cross_entropy runs at test_dynamic.py" in why and "log_softmax runs" in why
    assert shared(report.captured) == 5


@pytest.mark.slow
def test_lstm_over_batches_and_lengths() -> None:
    sizes = [(4, 5)] * 4 + [(3, 5)] * 3 + [(3, 7)] * 3 + [(6, 4), (6, 4), (2, 9), (2, 9)]
    check(of_sizes(lambda: train(LSTM()), lambda i, n: numbers(i, *n, 4), sizes), sizes)


@pytest.mark.parametrize(
    "device", ["strict", pytest.param("opencl:0", marks=[pytest.mark.device("opencl"), pytest.mark.slow])]
)
def test_training_on_devices(device: str) -> None:
    sizes = [4, 4, 4, 4, 6, 6, 6, 7, 7, 5, 5, 4]
    check(of_sizes(lambda: train(nn.Linear(6, 3).to(device)), lambda i, n: numbers(i, n, 6).to(device), sizes), sizes)


def test_replays_of_a_size_begin_with_its_second_call() -> None:
    report = of_sizes(lambda: lambda x: x.view(-1) * len(x), lambda i, n: numbers(i, n, 6))
    assert report.counts.eager == 1
    assert report.counts.recorded in (8, 9), str(report)  # two, two, one of each more, and one where a kernel is made
    assert report.counts.replayed == len(SIZES) - 1 - report.counts.recorded
