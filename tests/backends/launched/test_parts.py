"""Copies that join arrays and put space around them, against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flambeau.backends.dialect.parts import padded
from flambeau.core import dtype as dt

pytestmark = pytest.mark.device("opencl")

WIDTHS = [
    ((5,), ((2, 1),)),
    ((7,), ((-2, 3),)),
    ((7,), ((-4, -3),)),
    ((3, 4), ((0, 0), (1, 2))),
    ((3, 4), ((2, -1), (0, 0))),
    ((2, 3, 5), ((1, 0), (0, 2), (-1, 1))),
    ((2, 3, 4, 70), ((0, 0), (0, 0), (1, 1), (3, 3))),
    ((0, 3), ((2, 1), (1, 0))),
    ((3, 2), ((-1, -2), (1, 1))),
    ((4,), ((-6, 5),)),
    ((), ()),
]  # fmt: skip


def _expected(x: Any, widths: Any, value: Any) -> Any:
    cut = tuple(slice(max(-a, 0), max(n - max(-b, 0), 0)) for n, (a, b) in zip(x.shape, widths, strict=True))
    shape = tuple(n + a + b for n, (a, b) in zip(x.shape, widths, strict=True))
    out = np.full(shape, value, x.dtype)
    inside = tuple(slice(max(a, 0), max(n - max(b, 0), 0)) for n, (a, b) in zip(shape, widths, strict=True))
    out[inside] = x[cut]
    return out


@pytest.mark.parametrize(("shape", "widths"), WIDTHS)
def test_pad(bench: Any, rng: Any, shape: Any, widths: Any) -> None:
    x = np.asarray(rng.normal(size=shape)).astype(np.float32)
    got = bench.op("pad", dt.float32)(bench.put(x), widths=widths, value=-2.5)
    np.testing.assert_array_equal(bench.get(got), _expected(x, widths, -2.5))


@pytest.mark.parametrize("dtype", dt.ALL, ids=lambda d: d.name)
def test_pad_of_each_dtype(bench: Any, rng: Any, dtype: dt.DType) -> None:
    x = rng.integers(0, 2, (3, 5)).astype(dtype.numpy)
    value = 1 - 2j if dtype.category == dt.COMPLEX else 1
    got = bench.get(bench.op("pad", dtype)(bench.put(x), widths=((1, 0), (2, 3)), value=value))
    np.testing.assert_array_equal(got, _expected(x, ((1, 0), (2, 3)), value))


def test_pad_of_any_strides(bench: Any, rng: Any) -> None:
    x = rng.normal(size=(6, 8)).astype(np.float32)
    put = bench.put(x)
    turned = put.viewed((4, 6), (-2, 8), 7)
    host = np.ascontiguousarray(x[:, ::-1][:, ::2].T)
    for widths in (((1, 2), (2, 0)), ((0, 0), (1, 1)), ((-1, 1), (0, 0))):
        got = bench.op("pad", dt.float32)(turned, widths=widths, value=9)
        np.testing.assert_array_equal(bench.get(got), _expected(host, widths, 9))


def test_axes_without_space_are_one() -> None:
    assert padded((2, 3, 4), (12, 4, 1), ((1, 1), (0, 0), (0, 0))).outside == (48,)
    assert padded((2, 3, 4), (12, 4, 1), ((0, 0), (0, 0), (1, 0))).outside == (6, 5)
    assert padded((2, 3), (1, 2), ((1, 0), (0, 0))).outside == (3, 3)


def test_pad_of_many_axes(bench: Any, rng: Any) -> None:
    x = rng.normal(size=(1, 2) * 7).astype(np.float32)
    widths = ((1, 0), (0, 1)) * 7
    with_few = bench.get(bench.op("pad", dt.float32)(bench.put(x), widths=widths, value=3))
    np.testing.assert_array_equal(with_few, _expected(x, widths, 3))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_cat(bench: Any, rng: Any, axis: int) -> None:
    hosts = []
    for n in (3, 0, 1, 5):
        shape = [4, 2, 6]
        shape[axis] = n
        hosts.append(rng.normal(size=shape).astype(np.float32))
    put = [bench.put(h) for h in hosts]
    got = bench.op("cat", dt.float32)(*put, bench.put(np.zeros(0, np.float32)), axis=axis)
    np.testing.assert_array_equal(bench.get(got), np.concatenate(hosts, axis))


def test_cat_of_any_strides(bench: Any, rng: Any) -> None:
    x = rng.normal(size=(6, 8)).astype(np.float32)
    put = bench.put(x)
    views = [put.viewed((8, 6), (1, 8), 0), put.viewed((4, 6), (2, 8), 1), put.viewed((2, 6), (0, 0), 5)]
    got = bench.op("cat", dt.float32)(*views, axis=0)
    expected = np.concatenate([x.T, x.T[1::2], np.full((2, 6), x[0, 5])])
    np.testing.assert_array_equal(bench.get(got), expected)


def test_copies_between_strides_are_one_launch(bench: Any, rng: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    device = bench.backend.device(0)
    x = rng.normal(size=(2, 3, 4, 5, 6)).astype(np.float32)
    put = bench.put(x)
    turned = put.viewed((6, 3, 2, 5, 4), (1, 120, 360, 6, 30), 0)
    launches = []
    launch = device.launch
    monkeypatch.setattr(device, "launch", lambda *args: (launches.append(args), launch(*args)))
    got = bench.backend.dense(turned)
    assert len(launches) == 1
    np.testing.assert_array_equal(bench.get(got), x.transpose(4, 1, 0, 3, 2))
