"""Gradients of slices add up in what the first of them has made."""

from __future__ import annotations

from typing import Any

import pytest

import flambeau as fb
from flambeau.core.autograd import engine


def parts(x: fb.Tensor) -> fb.Tensor:
    """Slices that overlap, leave holes, and take a place; the sum of all of ``x`` comes in between."""
    a, b, c = x.split(2, 1)
    return (a * b).sum() + (c * c).sum() + (x * 3).sum() + (x[1:, ::2] ** 2).sum() + x[-1].sum() + x[2, 3] * 5


def expected(x: fb.Tensor) -> fb.Tensor:
    """Its gradient, by finite differences of a polynomial of degree two: exact but for rounding."""
    found = fb.zeros_like(x)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            step = fb.zeros_like(x)
            step[i, j] = 1.0
            found[i, j] = (parts(x + step) - parts(x - step)) / 2
    return found


@pytest.mark.parametrize("node", ["leaf", "result"])
@pytest.mark.parametrize("graph", [{}, {"retain_graph": True}, {"create_graph": True}])
def test_overlapping_slices(node: str, graph: dict[str, bool]) -> None:
    x = fb.randn(3, 6, dtype=fb.float64, requires_grad=True)
    y = x if node == "leaf" else x * 1
    out = parts(y)
    (first,) = fb.autograd.grad(out, x, **graph)
    assert fb.allclose(first, expected(x.detach()))
    if graph:
        (again,) = fb.autograd.grad(out, x)
        assert fb.equal(again, first)


def test_the_zeros_of_the_whole_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    added = engine._add_to_part

    def counted(*arguments: Any) -> None:
        made.append(arguments)
        added(*arguments)

    monkeypatch.setattr(engine, "_add_to_part", counted)
    x = fb.ones(4, 9, requires_grad=True)
    a, b, c = (x * 1).split(3, 1)
    (a.sum() + 2 * b.sum() + 3 * c.sum()).backward()
    assert len(made) == 2 and x.grad is not None and x.grad[0].tolist() == [1.0] * 3 + [2.0] * 3 + [3.0] * 3


def test_hooks_on_slices_and_on_the_whole_see_their_gradients() -> None:
    x = fb.ones(2, 6, requires_grad=True)
    y = x * 1
    seen: list[Any] = []
    y.register_hook(lambda g: seen.append(g.tolist()))
    a, b, c = y.split(2, 1)
    b.register_hook(lambda g: g * 10)
    (a.sum() + b.sum() + c.sum()).backward()
    assert seen == [[[1.0, 1.0, 10.0, 10.0, 1.0, 1.0]] * 2] and x.grad is not None and x.grad.tolist() == seen[0]


def test_a_gradient_that_a_hook_has_kept_does_not_change() -> None:
    x = fb.ones(6, requires_grad=True)
    kept: list[fb.Tensor] = []
    y = x * 1
    for part in y.split(2):
        part.register_hook(kept.append)
        (part * 2).sum().backward(retain_graph=True)
    (y[:4].sum() + y[2:].sum()).backward()
    assert [g.tolist() for g in kept] == [[2.0, 2.0]] * 3
    assert x.grad is not None and x.grad.tolist() == [3.0, 3.0, 4.0, 4.0, 3.0, 3.0]


def test_a_bias_takes_its_sum_over() -> None:
    weight, bias = fb.ones(3, 2, requires_grad=True), fb.zeros(3, requires_grad=True)
    for shape in ((4, 2), (1, 2), (2, 5, 2), (2,)):
        g = fb.ones(*shape[:-1], 3)
        bias.grad = None
        fb.nn.functional.linear(fb.ones(*shape), weight, bias).backward(g)
        assert bias.grad is not None and bias.grad.tolist() == [float(g.numel() // 3)] * 3
        bias.grad.add_(1)  # its own memory: not the gradient that came
        assert g.unique().tolist() == [1.0]


def test_relu_passes_nan_and_stops_zero() -> None:
    x = fb.tensor([-1.0, -0.0, 0.0, 2.0, float("nan"), float("inf")], dtype=fb.float64, requires_grad=True)
    (g,) = fb.autograd.grad(fb.relu(x).sum(), x, create_graph=True)
    assert g.tolist() == [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    y = fb.tensor([-1.0, 2.0, 3.0], dtype=fb.float64, requires_grad=True)
    assert fb.autograd.gradcheck(fb.relu, (y,)) and fb.autograd.gradgradcheck(fb.relu, (y,))
