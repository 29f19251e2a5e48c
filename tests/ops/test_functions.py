"""What functions that are no ops of their own reject, and what they do beyond PyTorch."""

from __future__ import annotations

from typing import Any

import pytest

import flambeau as fb


def test_resize_keeps_the_elements() -> None:
    grown = fb.arange(6).resize_(2, 5)
    assert grown.flatten()[:6].tolist() == list(range(6))
    with pytest.raises(RuntimeError, match="resize_: cannot resize a tensor that requires grad"):
        fb.ones(2, requires_grad=True).resize_(3)


def test_a_keyword_and_its_other_name_are_one_argument() -> None:
    with pytest.raises(TypeError, match="cumsum: axis and dim are one argument"):
        fb.ones(2).cumsum(dim=0, axis=0)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: fb.cov(x, aweights=fb.ones(2)), "one number for each of the 4 observations"),
        (lambda x: fb.gradient(x, edge_order=3), "edge_order must be 1 or 2"),
        (lambda x: fb.gradient(x[:, :1], dim=1), "needs at least 2 elements"),
        (lambda x: fb.histogram(x, 0), "bins must be at least 1"),
        (lambda x: fb.renorm(x[0], 2, 0, 1.0), "at least 2 dimensions"),
        (lambda x: fb.unravel_index(fb.tensor([12]), (3, 4)), r"in \[0, 12\)"),
        (lambda x: x.sum_to_size(2, 4), "does not expand"),
        (lambda x: x.set_(fb.ones(2, dtype=fb.int32)), "set_: source must have the dtype"),
        (lambda x: fb.mvlgamma(x, 0), "p must be at least 1"),
    ],
)
def test_wrong_calls(call: Any, words: str) -> None:
    with pytest.raises((RuntimeError, ValueError), match=words):
        call(fb.ones(3, 4))
