"""Nested tensors where PyTorch has no gradients to compare with: as their sequences by themselves have them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import flambeau as fb

LENGTHS = (2, 3, 1)
REDUCTIONS: dict[str, tuple[Callable[[Any], Any], Callable[[list[Any]], Any]]] = {
    "sum": (lambda x: x.sum(1), lambda rows: fb.stack([r.sum(0) for r in rows])),
    "mean": (lambda x: x.mean(1), lambda rows: fb.stack([r.mean(0) for r in rows])),
    "amax_kept": (lambda x: x.amax(1, keepdim=True), lambda rows: fb.stack([r.amax(0, True) for r in rows])),
    "sum_of_all": (lambda x: x.sum(), lambda rows: fb.cat(rows).sum()),
    "batch_too": (lambda x: x.mean((0, 1)), lambda rows: fb.cat(rows).mean(0)),
    "last": (lambda x: x.sum(-1).values(), lambda rows: fb.cat(rows).sum(-1)),
    "softmax": (lambda x: x.softmax(1).values(), lambda rows: fb.cat([r.softmax(0) for r in rows])),
    "halves": (lambda x: x.chunk(2, -1)[1].values(), lambda rows: fb.cat(rows)[:, 2:]),
}


def made() -> list[fb.Tensor]:
    return [(fb.arange(4.0 * n).reshape(n, 4) * 1.7).sin().requires_grad_() for n in LENGTHS]


@pytest.mark.parametrize("name", REDUCTIONS)
def test_gradients_are_those_of_the_sequences(name: str) -> None:
    nested, by_row = REDUCTIONS[name]
    rows, others = made(), made()
    found = nested(fb.nested.as_nested_tensor([r * 1 for r in rows], layout=fb.jagged))
    wanted = by_row([r * 1 for r in others])
    weights = (fb.arange(float(wanted.numel())) + 1).cos().reshape(tuple(wanted.shape))
    (found * weights).sum().backward()
    (wanted * weights).sum().backward()
    assert fb.allclose(found, wanted)
    for row, other in zip(rows, others, strict=True):
        assert fb.allclose(row.grad, other.grad)


def test_gradients_add_up_and_a_module_learns() -> None:
    x = fb.nested.nested_tensor([fb.ones(n, 4) for n in LENGTHS], layout=fb.jagged, requires_grad=True)
    layer = fb.nn.Linear(4, 2)
    for _ in range(2):
        layer(x).sum().backward()
    once = layer.weight.detach().sum(0)
    assert all(fb.allclose(g, 2 * once.expand(n, 4)) for g, n in zip(x.grad.unbind(), LENGTHS, strict=True))
    assert fb.allclose(layer.weight.grad, fb.full((2, 4), 2.0 * sum(LENGTHS)))


def test_causal_attention_is_that_of_each_sequence() -> None:
    rows = [r.detach() for r in made()]
    x = fb.nested.nested_tensor(rows, layout=fb.jagged).unflatten(-1, (2, 2)).transpose(1, 2)
    attend = fb.nn.functional.scaled_dot_product_attention
    for found, row in zip(attend(x, x, x, is_causal=True).unbind(), rows, strict=True):
        heads = row.reshape(-1, 2, 2).transpose(0, 1)
        assert fb.allclose(found, attend(heads, heads, heads, is_causal=True))
