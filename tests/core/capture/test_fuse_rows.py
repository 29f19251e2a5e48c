"""Kernels of rows, products and convolutions in groups: what a replay gives is what the kernels give."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau.core import config
from flambeau.core.capture import graph
from flambeau.core.capture.captured import Captured
from flambeau.core.capture.fuse import Fused
from flambeau.core.capture.trace import Node
from flambeau.nn import functional as F


@pytest.fixture(autouse=True)
def machine_code() -> Iterator[None]:
    with config.override(cpu_code="host"):
        yield


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[Node]:
    """The nodes of the last replay that was made; every group is kept."""
    found: list[Node] = []

    def all_of(nodes: list[Node]) -> list[Node]:
        found[:] = nodes
        return nodes

    monkeypatch.setattr(graph, "worthwhile", all_of)
    return found


def numbers(seed: int, *shape: int) -> fb.Tensor:
    return fb.tensor(np.random.default_rng(seed).standard_normal(shape).astype("f"))


def results(fn: Callable[..., Any], *args: fb.Tensor, fusion: bool = True) -> list[Any]:
    captured = Captured(fn, fusion=fusion)
    for _ in range(6):
        found = captured(*args)
    assert captured.counts.replayed
    return [x.detach().float().numpy() for x in (found if isinstance(found, tuple) else (found,))]


def check(fn: Callable[..., Any], *args: fb.Tensor, tolerance: float = 1e-5) -> None:
    for a, b in zip(results(fn, *args), results(fn, *args, fusion=False), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, tolerance, tolerance * float(np.nanmax(np.abs(b))))


def groups(nodes: list[Node]) -> list[str]:
    return [
        " ".join([*([n.group.head.name] if n.group.head else []), *[s.name for s in n.group.steps if s.operands]])
        for n in nodes
        if isinstance(n, Fused) and n.group is not None
    ]  # fmt: skip


def rows() -> tuple[fb.Tensor, ...]:
    """Two operands, a weight and a bias."""
    return numbers(1, 96, 64), numbers(2, 96, 64), numbers(3, 64), numbers(4, 64)


ROWS: dict[str, Callable[..., Any]] = {
    "residual and layer_norm": lambda x, y, w, b: (x + y, F.layer_norm(x + y, (64,), w, b)),
    "mask and softmax": lambda x, y, w, b: F.softmax(x * 0.125 + y, dim=-1),
    "log_softmax": lambda x, y, w, b: F.log_softmax(x - y, dim=-1) * y,
    "rms_norm": lambda x, y, w, b: F.rms_norm(x * y, (64,), w) + x,
    "norm by hand": lambda x, y, w, b: (
        (x - x.mean(-1, keepdim=True)) / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    ),
    "largest": lambda x, y, w, b: (x + y).amax(-1, keepdim=True) - x,
    "sums": lambda x, y, w, b: ((x * y).sum(-1), (x * y).sum(1, keepdim=True) * y),
    "all of it": lambda x, y, w, b: ((x * y).sum() if x.ndim == 1 else (x * y).mean((0, 1)), x * y),
    "cast and norm": lambda x, y, w, b: F.layer_norm(x.to(fb.bfloat16).float() * y, (64,)),
}


@pytest.mark.parametrize("name", ROWS)
def test_rows(name: str, kept: list[Node]) -> None:
    check(ROWS[name], *rows())


def test_a_residual_and_its_norm_are_one_node(kept: list[Node]) -> None:
    results(ROWS["residual and layer_norm"], *rows())
    assert len(groups(kept)) == 1
    assert len([n for n in kept if n.op is not None or isinstance(n, Fused)]) == 1


def test_gradients_of_softmax_join_their_neighbours(kept: list[Node]) -> None:
    def step(x: fb.Tensor, y: fb.Tensor) -> Any:
        x = x.detach().requires_grad_()
        (F.softmax(x * 0.5, dim=-1) * y).sum().backward()
        return x.grad

    check(step, *rows()[:2])


def test_a_sum_without_its_axis_is_read_as_it_is(kept: list[Node]) -> None:
    square = numbers(5, 80, 80)
    check(lambda x: x / (x * x).sum(-1) + x, square)


def test_axes_that_are_not_the_last_stay_kernels(kept: list[Node]) -> None:
    check(lambda x, y: F.softmax(x + y, dim=0) * (x * y).sum(0, keepdim=True), *rows()[:2])
    assert all("sum" not in text and "exp" not in text for text in groups(kept))


def test_rows_that_are_written_to(kept: list[Node]) -> None:
    def step(x: fb.Tensor, y: fb.Tensor) -> Any:
        z = x.clone()
        z.mul_(y)
        z.sub_(z.mean(-1, keepdim=True))
        return z, F.softmax(z, dim=-1)

    check(step, *rows()[:2])


# -- heads -----------------------------------------------------------------------------------------
def operands() -> tuple[fb.Tensor, ...]:
    """Of products: a factor, a weight, a bias; of convolutions: images, filters."""
    products = numbers(10, 150, 128), numbers(6, 256, 128), numbers(7, 256)
    return *products, numbers(8, 4, 8, 24, 24), numbers(9, 16, 8, 3, 3)


HEADS: dict[str, Callable[..., Any]] = {
    "linear relu": lambda x, w, b, *_: F.relu(F.linear(x, w, b)),
    "linear kept": lambda x, w, b, *_: (lambda y: (y, F.gelu(y)))(F.linear(x, w, b)),
    "matmul add": lambda x, w, *_: x @ w.T + x @ w.T * 2.0,
    "conv": lambda x, w, b, images, filters: F.relu(F.conv2d(images, filters, padding=1)) + x.sum(),
}


@pytest.mark.parametrize("name", HEADS)
def test_heads_keep_their_bits(name: str, kept: list[Node]) -> None:
    given = operands()
    one, other = results(HEADS[name], *given), results(HEADS[name], *given, fusion=False)
    assert [a.tobytes() for a in one] == [b.tobytes() for b in other]


def test_a_product_and_its_activation_are_one_node(kept: list[Node]) -> None:
    results(HEADS["linear relu"], *operands())
    assert groups(kept) == ["linear relu"]


def test_memory_of_an_operand_that_is_written_comes_behind_the_product(kept: list[Node]) -> None:
    def step(x: fb.Tensor, weight: fb.Tensor) -> Any:
        w = weight.clone()
        y = F.linear(x, w)
        w.mul_(2.0)
        return F.relu(y), w

    one, other = (results(step, *operands()[:2], fusion=f) for f in (True, False))
    assert [a.tobytes() for a in one] == [b.tobytes() for b in other]


def test_a_product_that_nothing_elementwise_reads_soon_does_not_wait(kept: list[Node]) -> None:
    def step(x: fb.Tensor, weight: fb.Tensor) -> Any:
        y = F.linear(x, weight)
        z = x
        for _ in range(20):
            z = z.flip(0)
        return F.relu(y) + z.sum()

    results(step, *operands()[:2])
    assert not any(text.startswith("linear") for text in groups(kept))


def test_a_group_that_the_backend_does_not_make_leaves_its_elementwise_nodes_together(kept: list[Node]) -> None:
    def step(x: fb.Tensor, weight: fb.Tensor, turned: fb.Tensor) -> Any:
        return F.relu(F.linear(x, weight) * 3.0 + turned.T) - 1.0

    given = (*operands()[:2], numbers(11, 256, 150))
    one, other = (results(step, *given, fusion=f) for f in (False, True))
    assert [a.tobytes() for a in one] == [b.tobytes() for b in other]
    assert groups(kept) == ["mul add relu sub"]


def test_a_residual_behind_a_product_goes_with_its_norm(kept: list[Node]) -> None:
    def step(x: fb.Tensor, weight: fb.Tensor, bias: fb.Tensor) -> Any:
        y = F.linear(x, weight, bias) + bias
        return y, F.layer_norm(y, (256,))

    for a, b in zip(*(results(step, *operands()[:3], fusion=f) for f in (False, True)), strict=True):
        np.testing.assert_allclose(a, b, 1e-5, 1e-5)
    (text,) = groups(kept)
    assert text.startswith("add mean sub")
