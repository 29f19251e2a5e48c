"""Steps of optimizers against their papers' formulas, for some steps, in every layout."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from flambeau.core import dtype as dt
from tests.backends.steps import BETA1, BETA2, DECAY, EPS, LR, Adam, Sgd

pytestmark = pytest.mark.device("opencl")

BOOLS = (False, True)
CLOSE = {dt.float16: 5e-3, dt.bfloat16: 5e-2, dt.float32: 1e-5, dt.float64: 1e-12}


def values(rng, size, dtype):
    return rng.uniform(0.5, 2, size).astype(dtype.numpy)


@pytest.mark.parametrize("dtype", dt.FLOATS, ids=lambda d: d.name)
@pytest.mark.parametrize(("momentum", "dampening", "nesterov"), [(0, 0, False), (0.9, 0.1, False), (0.9, 0, True)])
def test_sgd_step(bench, rng, dtype, momentum, dampening, nesterov):
    for decay, maximize, size in itertools.product((0.0, DECAY), BOOLS, (7, 20_001)):
        start = values(rng, size, dtype)
        expected = Sgd(start, momentum, dampening, nesterov, decay, maximize)
        param, buffers = bench.put(start), [bench.put(np.zeros(size, dtype.numpy))] if momentum else []
        for step in range(3):
            grad = values(rng, size, dtype)
            expected.step(grad)
            numbers = (LR, decay, momentum, dampening if step else 0)
            lists = [param], [bench.put(grad)], buffers
            bench.op("sgd_step", dtype)(*lists, *numbers, nesterov=nesterov, maximize=maximize)
        np.testing.assert_allclose(bench.get(param).astype(float), expected.value, rtol=CLOSE[dtype], atol=CLOSE[dtype])


@pytest.mark.parametrize("dtype", dt.FLOATS, ids=lambda d: d.name)
@pytest.mark.parametrize("amsgrad", BOOLS)
def test_adam_step(bench, rng, dtype, amsgrad):
    for decay, decoupled, maximize, size in itertools.product((0.0, DECAY), BOOLS, BOOLS, (7, 20_001)):
        start = values(rng, size, dtype)
        zeros = np.zeros(size, dtype.numpy)
        param, state = bench.put(start), [[bench.put(zeros)], [bench.put(zeros)], [bench.put(zeros)] * amsgrad]
        expected = Adam(start, decay, decoupled, amsgrad, maximize)
        for step in range(1, 4):
            grad = values(rng, size, dtype)
            expected.step(grad)
            lists = [param], [bench.put(grad)], *state
            options = dict(decoupled=decoupled, maximize=maximize)
            bench.op("adam_step", dtype)(*lists, LR, BETA1, BETA2, EPS, decay, step, **options)
        np.testing.assert_allclose(bench.get(param).astype(float), expected.value, rtol=CLOSE[dtype], atol=CLOSE[dtype])


def test_layouts_that_differ_and_have_gaps(bench, rng):
    """Every pair of layouts of parameter and gradient; what lies between the elements stays."""

    def laid_out(host):
        storage = bench.put(np.repeat(np.stack([host, -host]), 2, axis=-1))
        strides = (1, host.shape[0])
        turned = bench.put(np.ascontiguousarray(host.T))
        return [
            bench.put(host), turned.viewed(host.shape, strides, 0),
            storage.viewed(host.shape, (2 * host.shape[1], 2), 0),
        ]  # fmt: skip

    param, grad = rng.normal(size=(2, 5, 6))
    for i, j in itertools.product(range(3), range(3)):
        target, slope, buffer = laid_out(param)[i], laid_out(grad)[j], laid_out(np.ones((5, 6)))[j]
        options = dict(nesterov=False, maximize=False)
        bench.op("sgd_step", dt.float64)([target], [slope], [buffer], LR, 0.0, 0.5, 0.0, **options)
        np.testing.assert_allclose(bench.get(target), param - LR * (0.5 + grad))
        np.testing.assert_allclose(bench.get(buffer), 0.5 + grad)
        if i == 2:
            whole = target.viewed((2, 5, 12), (60, 12, 1), 0)
            rest = bench.get(whole)
            np.testing.assert_array_equal(rest[0, :, 1::2], param)
            np.testing.assert_array_equal(rest[1], np.repeat(-param, 2, axis=-1))


def test_no_elements(bench):
    empty = bench.put(np.zeros((0, 3), np.float32))
    bench.op("sgd_step", dt.float32)([empty], [empty], [], LR, 0.0, 0.0, 0.0, nesterov=False, maximize=False)
    assert bench.get(empty).shape == (0, 3)
