"""Steps of optimizers against their papers' formulas, for some steps, small and in chunks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from tests.backends.cpu.arrays import close, kernel, tolerance, values, wide
from tests.backends.steps import BETA1, BETA2, DECAY, EPS, LR, Adam, Sgd

BOOLS = (False, True)


@pytest.mark.parametrize("dtype", dt.FLOATS, ids=lambda d: d.name)
@pytest.mark.parametrize("size", [7, 140_000])
@pytest.mark.parametrize(("momentum", "dampening", "nesterov"), [(0, 0, False), (0.9, 0.1, False), (0.9, 0, True)])
def test_sgd_step(dtype: DType, size: int, momentum: float, dampening: float, nesterov: bool) -> None:
    for decay, maximize in itertools.product((0.0, DECAY), BOOLS):
        param = values((size,), dtype)
        expected = Sgd(wide(param), momentum, dampening, nesterov, decay, maximize)
        buffer = np.zeros_like(param) if momentum else None
        for step in range(3):
            grad = values((size,), dtype, step)
            expected.step(wide(grad))
            damped = dampening if step else 0
            lists = [param], [grad], [] if buffer is None else [buffer]
            kernel("sgd_step", dtype)(*lists, LR, decay, momentum, damped, nesterov=nesterov, maximize=maximize)
        close(param, expected.value, 9 * tolerance(dtype), 9 * tolerance(dtype))


@pytest.mark.parametrize("dtype", dt.FLOATS, ids=lambda d: d.name)
@pytest.mark.parametrize("size", [7, 140_000])
@pytest.mark.parametrize("amsgrad", BOOLS)
def test_adam_step(dtype: DType, size: int, amsgrad: bool) -> None:
    for decay, decoupled, maximize in itertools.product((0.0, DECAY), BOOLS, BOOLS):
        param = values((size,), dtype)
        state = [[np.zeros_like(param)], [np.zeros_like(param)], [np.zeros_like(param)] if amsgrad else []]
        expected = Adam(wide(param), decay, decoupled, amsgrad, maximize)
        for step in range(1, 4):
            grad = values((size,), dtype, step, low=0.5)
            expected.step(wide(grad))
            options = dict(decoupled=decoupled, maximize=maximize)
            kernel("adam_step", dtype)([param], [grad], *state, LR, BETA1, BETA2, EPS, decay, step, **options)
        close(param, expected.value, 9 * tolerance(dtype), 9 * tolerance(dtype))


def test_several_parameters_at_once() -> None:
    params = [values((n,), dt.float64, n) for n in (3, 1, 200_000)]
    grads, buffers = [values(p.shape, dt.float64, 1) for p in params], [np.ones_like(p) for p in params]
    expected = [p - LR * (0.5 + g) for p, g in zip(params, grads, strict=True)]
    kernel("sgd_step")(params, grads, buffers, LR, 0.0, 0.5, 0.0, nesterov=False, maximize=False)
    for param, value in zip(params, expected, strict=True):
        close(param, value)


def test_parameters_with_gaps() -> None:
    for size in (10, 300_000):
        storage = values((2 * size,), dt.float64)
        param, grad = storage[::2], values((size,), dt.float64, 1)
        expected, between = param - LR * grad, storage[1::2].copy()
        kernel("sgd_step")([param], [grad], [], LR, 0.0, 0.0, 0.0, nesterov=False, maximize=False)
        close(param, expected)
        assert (storage[1::2] == between).all()
