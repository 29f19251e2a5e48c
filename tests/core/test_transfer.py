"""Moving tensors between devices: values, gradients, dtypes that only one of them has."""

from __future__ import annotations

import numpy as np
import pytest

import flambeau as fb


@pytest.fixture
def strict():
    """A device of its own memory, without float64."""
    return fb.device("strict:0")


def test_there_and_back(strict):
    x = fb.tensor([[1.0, 2.0], [3.0, 4.0]]).T
    there = x.to(strict)
    assert there.device is strict and there.is_contiguous()
    assert there.cpu().tolist() == x.tolist()
    assert there.to(strict) is there and there.to("strict", fb.float32) is there
    x[0, 0] = 9
    assert there.cpu()[0, 0].item() == 1


def test_gradients_return_to_where_they_come_from(strict):
    x = fb.tensor([1.0, 2.0], requires_grad=True)
    (x.to(strict) * 3).cpu().sum().backward()
    assert x.grad.device.type == "cpu" and x.grad.tolist() == [3, 3]
    assert fb.func.grad(lambda v: (v.to(strict) ** 2).cpu().sum())(x.detach()).tolist() == [2, 4]
    assert fb.func.vmap(lambda v: v.to(strict))(fb.ones(2, 3)).device is strict


def test_a_dtype_that_the_other_device_lacks_is_cast_first(strict):
    x = fb.tensor([1.5], dtype=fb.float64)
    assert x.to(strict, fb.float32).cpu().tolist() == [1.5]
    assert fb.ones(1, device=strict).to("cpu", fb.float64).dtype is fb.float64
    with pytest.raises(RuntimeError, match=r"device 'strict:?0?' does not support flambeau.float64.*float32"):
        x.to(strict)


def test_low_precision_moves_bit_for_bit(strict):
    x = fb.tensor(np.array([1.5, -0.0, 65504.0], np.float16))
    assert x.to(strict).cpu().numpy().tobytes() == x.numpy().tobytes()


def test_a_device_without_data_takes_the_shape():
    x = fb.ones(2, 3, requires_grad=True)
    there = x.to("meta")
    assert there.shape == (2, 3) and there.requires_grad
    with pytest.raises(RuntimeError, match="meta tensor"):
        there.detach().cpu()


def test_copy_between_devices(strict):
    x = fb.zeros(3, device=strict)
    x.copy_(fb.tensor([1.0, 2.0, 3.0]))
    assert x.cpu().tolist() == [1, 2, 3]
    y = fb.zeros(3)
    y.copy_(x)
    assert y.tolist() == [1, 2, 3]
    w = fb.ones(3, requires_grad=True)
    x.copy_(w * 2)
    x.cpu().sum().backward()
    assert w.grad.tolist() == [2, 2, 2]
