"""Edge cases that torch's op database has: gradients of what is drawn, indices of nothing, turns of logarithms."""

from __future__ import annotations

import math

import pytest

import flambeau as fb
import flambeau.compat.torch._ops as compat
from flambeau.nn import functional as F


def test_what_is_drawn_has_a_gradient_of_zeros() -> None:
    p = fb.tensor([0.5, 1.0], requires_grad=True)
    for drawn in (fb.bernoulli(p), fb.normal(p, p), fb.normal(0.0, p), fb.poisson(p)):
        (grad,) = fb.autograd.grad(drawn.sum(), p)
        assert grad.tolist() == [0.0, 0.0]


def test_an_index_of_nothing_has_any_dtype_and_rank() -> None:
    x, nothing = fb.arange(5.0), fb.zeros(2, 0, dtype=fb.uint8)
    assert tuple(fb.gather(x, 0, nothing).shape) == (2, 0)
    assert x.scatter(0, nothing, 1.0).tolist() == x.tolist()
    assert x.scatter_reduce(0, nothing, fb.zeros(2, 0), "sum").tolist() == x.tolist()


def test_the_second_derivative_of_a_scattered_product_beside_a_zero() -> None:
    src = fb.tensor([0.0, 3.0], requires_grad=True)
    out = fb.tensor([2.0]).scatter_reduce(0, fb.tensor([0, 0]), src, "prod")
    (grad,) = fb.autograd.grad(out.sum(), src, create_graph=True)
    assert grad.tolist() == [6.0, 0.0]
    assert fb.autograd.grad(grad.sum(), src)[0].tolist() == [2.0, 2.0]


def test_turns_of_running_logarithms_go_on() -> None:
    """Each is near the larger of the element and the sum before, which is what torch adds to."""
    x = fb.tensor([0 + 3j, -9 - 3j, 0 + 4j, 9 + 9j])
    found = fb.logcumsumexp(x, 0).imag.tolist()
    assert found == pytest.approx([3.0, 3.0000, 3.5, 9.0], abs=1e-3)


def test_dtype_and_out_must_agree() -> None:
    wide = fb.empty(2, dtype=fb.float64)
    for call in (
        lambda: fb.zeros(2, dtype=fb.float32, out=wide),
        lambda: fb.arange(2, dtype=fb.float32, out=wide),
        lambda: fb.cumsum(fb.ones(2), 0, dtype=fb.float32, out=wide),
        lambda: F.gelu(fb.ones(2), out=wide),
    ):
        with pytest.raises(RuntimeError):
            call()
    assert fb.zeros(2, out=wide) is wide
    out = fb.empty(2)
    assert F.softplus(fb.zeros(2), out=out) is out and out.tolist() == pytest.approx([math.log(2)] * 2)


def test_dense_constructors_take_the_layout_of_dense_tensors_alone() -> None:
    assert fb.randn(2, layout=fb.strided, pin_memory=False).layout is fb.strided
    assert fb.normal(0.0, 1.0, (2,), requires_grad=True).requires_grad
    with pytest.raises(NotImplementedError):
        fb.rand(2, layout=fb.sparse_coo)
    with pytest.raises(ValueError):
        fb.signal.windows.hann(3, layout=fb.sparse_coo)
    image = fb.zeros(1, 2, 3, 3).contiguous(memory_format=fb.channels_last)
    assert fb.rand_like(image).stride() == image.stride()
    assert fb.rand_like(image, memory_format=fb.contiguous_format).is_contiguous()


def test_sparse_gradients_by_frequency_are_an_error_of_the_backward_pass() -> None:
    weight = fb.ones(3, 2, requires_grad=True)
    out = F.embedding(fb.tensor([1]), weight, scale_grad_by_freq=True, sparse=True)
    with pytest.raises(RuntimeError, match="scale_grad_by_freq"):
        out.sum().backward()


def test_ops_that_torch_has_under_aten_alone() -> None:
    aten = compat.ops.aten
    rows = fb.tensor([[0.0, 0.0], [-math.inf, -math.inf]])
    assert aten._safe_softmax(rows, -1).tolist() == [[0.5, 0.5], [0.0, 0.0]]
    assert aten.native_dropout_backward(fb.ones(2), fb.tensor([True, False]), 2.0).tolist() == [2.0, 0.0]
    image = fb.tensor([[[1.0, 5.0], [2.0, 3.0]]])
    best, places = F.max_pool2d(image, 2, return_indices=True)
    back = aten.max_pool2d_with_indices_backward(best, image, [2, 2], [2, 2], [0, 0], [1, 1], False, places)
    assert back.tolist() == [[[0.0, 5.0], [0.0, 0.0]]]


def test_the_hash_of_one_number_along_its_only_dim() -> None:
    x = fb.tensor(2.5)
    assert fb.hash_tensor(x, 0, keepdim=True).item() == fb.hash_tensor(x).item()
