"""The formulas for operations count as PyTorch's do, of shapes and of tensors."""

from __future__ import annotations

from typing import Any

import pytest

import flambeau as fb
from flambeau.utils import flop_counter as flops


def test_products() -> None:
    assert flops.mm_flop((2, 3), (3, 4)) == flops.mm_flop(fb.ones(2, 3), fb.ones(3, 4)) == 48
    assert flops.addmm_flop((4,), (2, 3), (3, 4)) == 48
    assert flops.bmm_flop((5, 2, 3), (5, 3, 4)) == flops.baddbmm_flop((1,), (5, 2, 3), (5, 3, 4)) == 240
    with pytest.raises(AssertionError):
        flops.mm_flop((2, 3), (4, 5))


def test_convolutions() -> None:
    assert flops.conv_flop_count([2, 3, 8, 8], [5, 3, 3, 3], [2, 5, 6, 6]) == 19440
    assert flops.conv_flop_count([2, 3, 8, 8], [3, 5, 3, 3], [2, 5, 10, 10], transposed=True) == 34560
    options: Any = (None, 1, 0, 1)
    assert flops.conv_flop([2, 3, 8, 8], [5, 3, 3, 3], *options, False, out_val=fb.ones(2, 5, 6, 6)) == 19440


@pytest.mark.parametrize(
    ("grad", "x", "w", "transposed", "expected"),
    [
        ([2, 5, 6, 6], [2, 3, 8, 8], [5, 3, 3, 3], False, 38880),
        ([2, 5, 10, 10], [2, 3, 8, 8], [3, 5, 3, 3], True, 69120),
    ],
)
def test_gradients_of_convolutions(grad: Any, x: Any, w: Any, transposed: bool, expected: int) -> None:
    options: Any = (None, 1, 0, 1, transposed, 0, 1, [True, True, False])
    assert flops.conv_backward_flop(grad, x, w, *options, out_val=(x, w, None)) == expected


def test_attention() -> None:
    q, k, v = [2, 4, 5, 6], [2, 4, 7, 6], [2, 4, 7, 8]
    assert flops.sdpa_flop_count(q, k, v) == flops.sdpa_flop(q, k, v) == 7840
    backward = flops.sdpa_backward_flop_count([2, 4, 5, 8], q, k, v)
    assert backward == flops.sdpa_backward_flop([2, 4, 5, 8], q, k, v) == 19040
    with pytest.raises(AssertionError):
        flops.sdpa_flop_count(q, k, [2, 4, 6, 8])


def test_attention_and_its_gradients_are_counted() -> None:
    q, k, v = (fb.ones(*s, requires_grad=True) for s in ((2, 4, 5, 6), (2, 4, 7, 6), (2, 4, 7, 8)))
    with flops.FlopCounterMode(display=False) as counter:
        fb.nn.functional.scaled_dot_product_attention(q, k, v).sum().backward()
    assert counter.get_total_flops() == 7840 + 19040


def test_a_formula_of_shapes_takes_tensors() -> None:
    seen = flops.shape_wrapper(lambda x, *, out_shape, scale: (x, out_shape, scale))  # type: ignore[arg-type,return-value]
    assert seen(fb.ones(2), out_val=fb.ones(3), scale=1) == ((2,), (3,), 1)  # type: ignore[comparison-overlap]
