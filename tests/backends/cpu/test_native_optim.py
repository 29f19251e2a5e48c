"""Lists of arrays that change in one call: the bits of numpy's steps, at every width and for any number of threads."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau.backends.cpu.native import lists, optim, update
from flambeau.backends.llvm import compiler, cpython
from flambeau.backends.llvm.compiler import Compiler
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import ELSEWHERE, Target, host, runnable
from flambeau.backends.xp import optim as xp_optim
from flambeau.core import config
from flambeau.core import dtype as dt
from flambeau.core.expr import Rule
from tests.backends.cpu.arrays import kernel, tolerance, values, wide

pytestmark = pytest.mark.skipif(compiler.unavailable() is not None, reason="no machine code")
every_width = pytest.mark.parametrize("target", runnable(), ids=lambda t: t.name)
SHAPES = ((5,), (3, 7), (), (0,), (200_001,), (1,), (65_536,), (2, 3, 17))
SUM = Rule(("p", "g"), ("a",), (("p", "p + a * g"),))
HYPER = (1e-2, 0.9, 0.999, 1e-8, 0.1, 3.0)


@pytest.fixture(autouse=True)
def with_machine_code() -> Iterator[None]:
    with config.override(cpu_code="host"):
        yield


def rows(dtype: dt.DType, count: int, low: float = -3.0) -> list[list[Any]]:
    return [[np.array(values(s, dtype, 10 * i + k, low)) for k, s in enumerate(SHAPES)] for i in range(count)]


def copies(columns: list[list[Any]]) -> list[list[Any]]:
    return [[np.array(x) for x in column] for column in columns]


def numpy_step(make: Any, *operands: Any, **options: Any) -> None:
    xp_optim.kernel(make, np, np.array, lambda step, row: step(*row), *operands, **options)


def agree(found: list[list[Any]], expected: list[list[Any]], dtype: dt.DType) -> None:
    for a, b in zip(found, expected, strict=True):
        for x, y in zip(a, b, strict=True):
            if dtype.itemsize > 2:
                np.testing.assert_array_equal(x, y)
            else:
                np.testing.assert_allclose(wide(x), wide(y), 2 * tolerance(dtype), tolerance(dtype))


@every_width
@pytest.mark.parametrize("dtype", dt.FLOATS, ids=lambda d: d.name)
@pytest.mark.parametrize("amsgrad", [False, True])
def test_adam_has_the_bits_of_numpy(target: Target, dtype: dt.DType, amsgrad: bool) -> None:
    for decoupled, maximize in ((False, True), (True, False)):
        columns = rows(dtype, 5, 0.5)
        found = columns if amsgrad else [*columns[:4], []]
        expected = copies(found)
        served = optim.adam_step(target, *found, *HYPER, decoupled=decoupled, maximize=maximize)
        if not served:
            assert dtype is dt.float16 and not target.half
            agree(found, expected, dtype)
            return
        numpy_step(xp_optim.adam, *expected, *HYPER, decoupled=decoupled, maximize=maximize)
        agree(found, expected, dtype)


@every_width
@pytest.mark.parametrize("dtype", [dt.float32, dt.float64], ids=lambda d: d.name)
def test_sgd_has_the_bits_of_numpy(target: Target, dtype: dt.DType) -> None:
    cases = [(0.0, 0.0, False), (0.9, 0.0, True), (0.9, 0.25, False)]
    for momentum, dampening, nesterov in cases:
        for decay, maximize in ((0.0, True), (0.1, False)):
            columns = rows(dtype, 3)
            found = columns if momentum else [*columns[:2], []]
            expected, options = copies(found), dict(nesterov=nesterov, maximize=maximize)
            assert optim.sgd_step(target, *found, 0.1, decay, momentum, dampening, **options)
            numpy_step(xp_optim.sgd, *expected, 0.1, decay, momentum, dampening, **options)
            agree(found, expected, dtype)


def test_the_same_bits_for_any_number_of_threads() -> None:
    results = []
    for threads in (1, 3):
        with config.override(num_threads=threads):
            columns = rows(dt.float32, 4, 0.5)
            assert optim.adam_step(host(), *columns, [], *HYPER, decoupled=False, maximize=False)
            results.append((columns, update.total(host(), columns[0], "sum_squares")))
    agree(results[0][0], results[1][0], dt.float32)
    assert results[0][1] == results[1][1]


# -- what is not served ------------------------------------------------------------------------------
def refuses(params: list[Any], grads: list[Any]) -> None:
    before = copies([params, grads])
    assert not update.update(host(), SUM, [params, grads], [1.0])
    agree([params, grads], before, dt.float32)


def test_what_is_not_served_is_left_as_it_was() -> None:
    ones = partial(np.ones, dtype=np.float32)
    whole = ones(10)
    refuses([ones(4), ones((6, 2)).T], [ones(4), ones((2, 6))])
    refuses([ones(8)[::2]], [ones(4)])
    refuses([ones(8)[::-1]], [ones(8)])
    refuses([ones(4)], [ones(4).astype(np.float64)])
    refuses([ones(4)], [ones((4, 1))])
    refuses([ones(4)], [ones(1)])
    refuses([ones(4), ones(4)], [ones(4)])
    refuses([ones(4).astype(">f4")], [ones(4).astype(">f4")])
    refuses([np.ma.array(ones(4))], [ones(4)])
    refuses([whole, whole], [ones(10), ones(10)])  # twice: the rows have an order
    fixed = ones(4)
    fixed.flags.writeable = False
    refuses([fixed], [ones(4)])
    shifted = np.ones(17, np.uint8)[1:].view(np.float32)
    refuses([shifted], [ones(4)])
    assert update.update(host(), SUM, [[ones(4)], [fixed]], [1.0])  # what is only read may be read-only
    assert update.update(host(), SUM, [[], []], [1.0])


def test_a_number_beyond_float32_is_infinite() -> None:
    x = [np.ones(3, np.float32)]
    assert update.update(host(), SUM, [x, [np.ones(3, np.float32)]], [1e300])
    assert np.isinf(x[0]).all()


def test_parameters_in_other_orders_and_with_gaps() -> None:
    gapped = np.ones((40, 600), np.float32)
    params = [np.ones((90, 70), np.float32).T, gapped[:, ::2], np.ones((30, 40), np.float32)]
    grads = [np.full((70, 90), 2, np.float32), np.full((40, 300), 3, np.float32), np.full((40, 30), 4, np.float32).T]
    step = kernel("sgd_step", dt.float32)
    step(params, grads, [], 0.5, 0.0, 0.0, 0.0, nesterov=False, maximize=False)
    for param, value in zip(params, (0.0, -0.5, -1.0), strict=True):
        assert (param == value).all()
    assert (gapped[:, 1::2] == 1).all()
    momenta = [np.zeros_like(p) for p in params]
    step(params, grads, momenta, 0.5, 0.0, 0.9, 0.0, nesterov=False, maximize=False)
    for param, value in zip(params, (-1.0, -2.0, -3.0), strict=True):
        assert (param == value).all()


# -- pieces ------------------------------------------------------------------------------------------
def read(found: Any, width: int, room: int, kept: Any) -> tuple[Any, Any]:
    starts = kept[room * width :][: found + 1]
    return kept[: starts[-1] * width].reshape(-1, width), starts


@pytest.mark.skipif(cpython.unsuited() is not None, reason="an interpreter of another layout")
@pytest.mark.parametrize("room", [64, 300])
def test_the_lists_are_read_as_by_hand(room: int) -> None:
    columns = [[np.zeros(s, np.float64) for s in [*SHAPES, *[(n,) for n in range(30)], (140_000,)]] for _ in range(2)]
    told, dtype = lists.flags([True, False]), np.dtype(np.float64)
    found = lists.pieces(columns, told, dtype)
    assert found is not None
    kept = np.zeros(room * 4 + 1, np.int64)
    chunks = lists.gather_by_hand(columns, told, dtype, kept, room)
    assert chunks == found.chunks == 7
    table, starts = read(chunks, 3, room, kept)
    total = len(found.kept) // 4
    for a, b in zip(read(found.chunks, 3, total, found.kept), (table, starts), strict=True):
        np.testing.assert_array_equal(a, b)
    assert table[:, 2].sum() == sum(x.size for x in columns[0])
    assert table[:, 2].max() == lists.CHUNK


def test_more_pieces_than_there_is_room_for_at_first() -> None:
    x = [np.zeros(400 * lists.CHUNK, np.int8)]
    found = lists.pieces([x], lists.flags([True]), x[0].dtype)
    assert found is not None and found.chunks == 400
    assert lists.gather_by_hand([x], lists.flags([True]), x[0].dtype, np.zeros(9, np.int64), 3) == -400


# -- sums of all -------------------------------------------------------------------------------------
@every_width
@pytest.mark.parametrize("dtype", dt.FLOATS, ids=lambda d: d.name)
def test_totals(target: Target, dtype: dt.DType) -> None:
    arrays = rows(dtype, 1)[0]
    exact = np.concatenate([x.astype(np.float64).reshape(-1) for x in arrays])
    expected = {"sum_squares": (exact**2).sum(), "sum_sizes": np.abs(exact).sum(), "max_size": np.abs(exact).max()}
    for fold, value in expected.items():
        found = update.total(target, arrays, fold)
        if found is None:
            assert dtype is dt.float16 and not target.half
            return
        np.testing.assert_allclose(found, value, 1e-6 if dtype.itemsize < 8 else 1e-13)


def test_totals_of_nothing_of_nan_and_of_what_float32_cannot_square() -> None:
    empty, nan, great = [np.zeros(0, np.float32)], [np.full(3, np.nan, np.float32)], [np.full(4, 1e30, np.float32)]
    assert update.total(host(), empty, "sum_squares") == 0
    assert np.isnan(update.total(host(), [*great, *nan], "max_size"))
    assert np.isnan(update.total(host(), [*great, *nan], "sum_squares"))
    np.testing.assert_allclose(update.total(host(), great, "sum_squares"), 4e60, 1e-6)
    assert update.total(host(), [np.ones((3, 4), np.float32).T], "sum_squares") is None
    assert update.total(host(), [], "sum_squares") is None


def test_everything_compiles_for_other_processors() -> None:
    for target in ELSEWHERE:
        module = Module(target)
        lists.write_gather(module)
        for dtype in ("float32", "bfloat16"):
            for made in (update.write(target, SUM, dtype), update.write_total(target, "sum_squares", dtype)):
                assert Compiler(target).compile(made.module.text())
        assert Compiler(target).compile(module.text())


# -- optimizers whose rules are traced ----------------------------------------------------------------
OPTIMIZERS = {
    "NAdam": dict(decoupled_weight_decay=True, weight_decay=0.1), "RAdam": dict(weight_decay=0.1),
    "Adamax": dict(maximize=True), "RMSprop": dict(centered=True, momentum=0.9, weight_decay=0.1),
    "Adagrad": dict(lr_decay=0.1), "Adadelta": dict(weight_decay=0.1), "ASGD": dict(weight_decay=0.1, t0=2),
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_traced_optimizers_step_as_by_tensors(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cls, results, calls = getattr(fb.optim, name), [], []
    real = update.update
    monkeypatch.setattr(update, "update", lambda *args: calls.append(1) or real(*args))
    for traced in (True, False):
        monkeypatch.setattr(cls, "_traceable", traced)
        params = [fb.nn.Parameter(fb.tensor(values(s, dt.float32, k))) for k, s in enumerate([(99, 101), (7,), (3, 1)])]
        optimizer = cls(params, **OPTIMIZERS[name])
        for step in range(8):
            for k, p in enumerate(params):
                p.grad = None if k == 1 and step == 0 else fb.tensor(values(tuple(p.shape), dt.float32, 100 * step + k))
            versions = [p._version for p in params]
            optimizer.step()
            assert all(p._version > v for p, v in zip(params, versions, strict=True) if p.grad is not None)
        assert len(calls) >= 8
        state = [optimizer.state[p] for p in params]
        results.append((params, state))
    for p, q in zip(results[0][0], results[1][0], strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), 3e-5, 3e-6)
    for one, other in zip(results[0][1], results[1][1], strict=True):
        assert one.keys() == other.keys()
        assert all(one[k] == other[k] for k in one if not isinstance(one[k], fb.Tensor))
