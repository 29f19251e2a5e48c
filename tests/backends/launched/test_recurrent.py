"""A layer of an LSTM against its formulas, and its gradient against derivatives by a complex step."""

from __future__ import annotations

import numpy as np
import pytest

from flambeau.core import dtype as dt

pytestmark = pytest.mark.device("opencl")

CLOSE = {dt.float32: 1e-5, dt.float64: 2e-14}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def layer(gates, h, c, weight):
    outs, cells = [], []
    for step in gates:
        i, f, g, o = np.split(step + h @ weight.T, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        outs.append(h)
        cells.append(c)
    return np.array(outs), np.array(cells)


def operands(rng, steps, rows, hidden):
    shapes = [(steps, rows, 4 * hidden), (rows, hidden), (rows, hidden), (4 * hidden, hidden)]
    return [rng.normal(size=s) for s in shapes]


@pytest.mark.parametrize("dtype", CLOSE, ids=lambda d: d.name)
@pytest.mark.parametrize("sizes", [(1, 1, 1), (3, 2, 5), (4, 33, 64), (2, 0, 3)], ids=str)
def test_layer(bench, rng, dtype, sizes):
    values = [v.astype(dtype.numpy) for v in operands(rng, *sizes)]
    got = bench.op("lstm_layer", dtype)(*map(bench.put, values))
    expected = layer(*(v.astype(float) for v in values))
    for a, b in zip(got, expected, strict=True):
        assert a.dtype is dtype
        np.testing.assert_allclose(bench.get(a), b, rtol=CLOSE[dtype], atol=CLOSE[dtype])


def test_small_numbers_keep_their_digits(bench):
    """tanh is exact near 0: the candidate of a cell decides the output's digits."""
    gates = np.zeros((1, 1, 20), np.float32)
    gates[0, 0, 10:15] = [1e-30, -1e-12, 1e-4, 0.3, -0.6]
    zeros = np.zeros((1, 5), np.float32)
    _, cells = bench.op("lstm_layer", dt.float32)(*map(bench.put, (gates, zeros, zeros, np.zeros((20, 5), np.float32))))
    np.testing.assert_allclose(bench.get(cells)[0, 0], 0.5 * np.tanh(gates[0, 0, 10:15].astype(float)), rtol=3e-7)


@pytest.mark.parametrize("dtype", CLOSE, ids=lambda d: d.name)
@pytest.mark.parametrize("sizes", [(1, 1, 1), (3, 2, 3)], ids=str)
def test_gradient(bench, rng, dtype, sizes):
    values = [v.astype(dtype.numpy) for v in operands(rng, *sizes)]
    outer = [rng.normal(size=(*sizes[:2], sizes[2])).astype(dtype.numpy) for _ in range(2)]
    result = [v.astype(dtype.numpy) for v in layer(*values)]
    got = bench.op("lstm_layer_grad", dtype)(*(bench.put(v) for v in (*outer, *values, *result)))
    for k, gradient in enumerate(got):
        expected = np.zeros(values[k].shape)
        for place in np.ndindex(expected.shape):
            moved = [v.astype(complex) for v in values]
            moved[k][place] += 1e-30j
            expected[place] = sum((a * b).sum() for a, b in zip(layer(*moved), outer, strict=True)).imag / 1e-30
        np.testing.assert_allclose(bench.get(gradient), expected, rtol=50 * CLOSE[dtype], atol=50 * CLOSE[dtype])


def test_strided_operands_and_no_rows(bench, rng):
    gates, h, c, weight = operands(rng, 3, 4, 5)
    turned = bench.op("permute", dt.float64)(bench.put(np.ascontiguousarray(weight.T)), axes=(1, 0))
    tall = bench.op("permute", dt.float64)(bench.put(np.ascontiguousarray(gates.transpose(1, 0, 2))), axes=(1, 0, 2))
    out, cells = bench.op("lstm_layer", dt.float64)(tall, bench.put(h), bench.put(c), turned)
    expected = layer(gates, h, c, weight)
    np.testing.assert_allclose(bench.get(out), expected[0], rtol=1e-12)
    plain = bench.op("lstm_layer_grad", dt.float64)(
        *(bench.put(v) for v in (*expected, gates, h, c, weight, *expected))
    )
    got = bench.op("lstm_layer_grad", dt.float64)(out, cells, tall, bench.put(h), bench.put(c), turned, out, cells)
    for a, b in zip(got, plain, strict=True):
        np.testing.assert_allclose(bench.get(a), bench.get(b), rtol=1e-11, atol=1e-13)
    empty = [bench.put(v) for v in operands(rng, 2, 0, 3)]
    state = bench.put(np.zeros((2, 0, 3)))
    found = bench.op("lstm_layer_grad", dt.float64)(state, state, *empty, state, state)
    assert [bench.get(v).shape for v in found] == [(2, 0, 12), (0, 3), (0, 3), (12, 3)]
    assert not bench.get(found[3]).any()
