"""Recurrent layers as machine code against numpy in float64, at every width, in all layouts, with nan and empty."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from flambeau.backends.cpu import recurrent as plain
from flambeau.backends.cpu.native import matmul, recurrent, steps
from flambeau.backends.cpu.native.recurrent import KERNELS
from flambeau.backends.llvm.compiler import Compiler
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import ELSEWHERE, Target, host, runnable
from tests.backends.cpu.fences import Fences, by_two_threads, needs_pages

TOLERANCE = {"float32": 5e-6, "float64": 1e-13}
#: Steps, rows and hidden units: of a cell, of few and many rows, and of tiles that are not full.
SIZES = ((3, 2, 5), (1, 4, 20), (3, 33, 64), (2, 7, 50))
every_width = pytest.mark.parametrize("target", runnable(), ids=lambda t: t.name)
every_dtype = pytest.mark.parametrize("dtype", TOLERANCE)
Operands = list[Any]


@pytest.fixture(params=[True, False], ids=["by steps", "all steps"])
def cuts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Layers as those too large for a core's caches, and as others."""
    if request.param:
        monkeypatch.setattr(recurrent, "_NEAR", 0)
        monkeypatch.setattr(recurrent, "_WORTH", 1)
    recurrent.plan.cache_clear()
    yield
    recurrent.plan.cache_clear()


def of(dtype: str, *shape: int, seed: int = 0) -> Any:
    rng = np.random.default_rng([seed, *shape])
    return (rng.standard_normal(shape) / (np.sqrt(shape[-1]) if len(shape) == 2 else 1)).astype(dtype)


def exact(name: str, operands: Operands, **params: Any) -> Any:
    """What numpy makes of the operands in float64."""
    with np.errstate(all="ignore"):
        wide = [None if x is None else x.astype(np.float64) for x in operands]
        return getattr(plain, name)(*wide, **params)


def check(target: Target, name: str, operands: Operands, **params: Any) -> list[Any]:
    """Results as near as their dtype allows; they are returned, as the exact ones round."""
    dtype = operands[0].dtype.name
    found, expected = KERNELS[name](target, *operands, **params), exact(name, operands, **params)
    assert found is not None
    both = ((found,), (expected,)) if isinstance(expected, np.ndarray) else (found, expected)
    for one, other in zip(*both, strict=True):
        assert one.shape == other.shape
        assert one.dtype.name == dtype
        size = np.nanmax(np.abs(other), initial=1)
        np.testing.assert_allclose(one, other, 0, TOLERANCE[dtype] * size)
    return [v.astype(dtype) for v in both[1]]


def lstm(dtype: str, steps: int, rows: int, hidden: int) -> Operands:
    states = [of(dtype, rows, hidden, seed=s) for s in range(2)]
    return [of(dtype, steps, rows, 4 * hidden), *states, of(dtype, 4 * hidden, hidden)]


def sequence(dtype: str, steps: int, rows: int, hidden: int, inputs: int, bias: bool) -> Operands:
    _, h0, c0, w_hh = lstm(dtype, steps, rows, hidden)
    x = of(dtype, rows, steps, inputs).transpose(1, 0, 2)  # as batch_first has it
    return [x, h0, c0, of(dtype, 4 * hidden, inputs), w_hh, of(dtype, 4 * hidden) if bias else None]


# -- values ----------------------------------------------------------------------------------------
@pytest.mark.usefixtures("cuts")
@every_width
@every_dtype
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_lstm_and_its_gradient(target: Target, dtype: str, sizes: tuple[int, int, int]) -> None:
    operands, outer = lstm(dtype, *sizes), [of(dtype, *sizes, seed=s) for s in (3, 4)]
    results = check(target, "lstm_layer", operands)
    check(target, "lstm_layer_grad", [*outer, *operands, *results])


@pytest.mark.usefixtures("cuts")
@every_width
@every_dtype
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_lstm_of_its_input_and_its_gradient(target: Target, dtype: str, sizes: tuple[int, int, int]) -> None:
    operands = sequence(dtype, *sizes, 70 if sizes[1] < 5 else 3, sizes[1] < 10)
    out, cells, kept = check(target, "lstm_sequence", operands, keep=True)
    x, h0, c0, _, w_hh, _ = operands
    of_out, of_cells = (of(dtype, *sizes, seed=s) for s in (3, 4))
    for pair in ((of_out, of_cells), (of_out, None), (None, of_cells)):
        check(target, "lstm_sequence_grad", [kept, *pair, x, h0, c0, w_hh, out, cells])


@pytest.mark.usefixtures("cuts")
def test_nothing_is_kept_unless_it_is_asked_for_and_the_bits_are_the_same() -> None:
    for sizes in ((5, 33, 64), (2, 3, 70)):
        operands = sequence("float32", *sizes, 9, True)
        kept, plainly = (KERNELS["lstm_sequence"](host(), *operands, keep=k) for k in (True, False))
        assert kept is not None and plainly is not None
        assert plainly[2].shape == (0, sizes[1], 4 * sizes[2])
        for one, other in zip(kept[:2], plainly[:2], strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.usefixtures("cuts")
@every_width
@every_dtype
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_gru_and_its_gradient(target: Target, dtype: str, sizes: tuple[int, int, int]) -> None:
    count, rows, hidden = sizes
    operands = [of(dtype, count, rows, 3 * hidden), of(dtype, rows, hidden), of(dtype, 3 * hidden, hidden)]
    operands.append(of(dtype, 3 * hidden) if rows < 10 else None)
    (out,) = check(target, "gru_layer", operands)
    check(target, "gru_layer_grad", [of(dtype, *sizes, seed=3), *operands, out])


@pytest.mark.usefixtures("cuts")
@every_width
@every_dtype
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_plain_and_its_gradient(target: Target, dtype: str, sizes: tuple[int, int, int], nonlinearity: str) -> None:
    _, rows, hidden = sizes
    operands = [of(dtype, *sizes), of(dtype, rows, hidden), of(dtype, hidden + 1, hidden)[:-1]]
    (out,) = check(target, "rnn_layer", operands, nonlinearity=nonlinearity)
    check(target, "rnn_layer_grad", [of(dtype, *sizes, seed=3), *operands[1:], out], nonlinearity=nonlinearity)


def test_gates_at_the_ends_of_their_range() -> None:
    """Sigmoid and tanh are 0 or 1 there, and no infinity becomes nan on the way."""
    gates = np.zeros((1, 1, 4 * 6), "f4").reshape(1, 1, 4, 6)
    gates[..., 0, :] = gates[..., 1, :] = gates[..., 3, :] = [np.inf, -np.inf, 1e30, -1e30, 89, -104]
    gates[..., 2, :] = [np.inf, 1, -1e30, 1, -np.inf, np.nan]
    zeros, ones = np.zeros((1, 6), "f4"), np.ones((1, 6), "f4")
    found = KERNELS["lstm_layer"](host(), gates.reshape(1, 1, -1), zeros, ones, np.zeros((24, 6), "f4"))
    assert found is not None
    np.testing.assert_allclose(found[1][0, 0], [2, 0, 0, 0, 0, np.nan], atol=1e-37)


def test_relu_keeps_nan_and_infinity() -> None:
    gates = np.array([np.nan, np.inf, -np.inf, -1, 2], "f4").reshape(1, 1, 5)
    h0, weight = np.zeros((1, 5), "f4"), np.zeros((5, 5), "f4")
    out = KERNELS["rnn_layer"](host(), gates, h0, weight, nonlinearity="relu")
    np.testing.assert_array_equal(out[0, 0], [np.nan, np.inf, 0, 0, 2])
    found = KERNELS["rnn_layer_grad"](host(), np.ones_like(gates), h0, weight, out, nonlinearity="relu")
    np.testing.assert_array_equal(found[0][0, 0], [np.nan, 1, 0, 0, 1])


# -- operands --------------------------------------------------------------------------------------
def _laid(x: Any) -> list[Any]:
    """The values of an operand as they may stand in memory."""
    gapped = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)
    gapped[..., ::2] = x
    return [np.array(x, order="F"), np.ascontiguousarray(x[::-1])[::-1], gapped[..., ::2]]


@pytest.mark.parametrize("name", ["lstm_layer", "lstm_layer_grad", "lstm_sequence", "lstm_sequence_grad"])
def test_operands_in_all_layouts(name: str) -> None:
    sizes = (3, 5, 20)
    operands, outer = lstm("float32", *sizes), [of("float32", *sizes, seed=s) for s in (3, 4)]
    params: dict[str, Any] = {}
    if "sequence" in name:
        operands, params = sequence("float32", *sizes, 6, True), {"keep": True}
    if name == "lstm_layer_grad":
        operands = [*outer, *operands, *exact("lstm_layer", operands)]
    if name == "lstm_sequence_grad":
        x, h0, c0, _, w_hh, _ = operands
        out, cells, kept = exact("lstm_sequence", operands, **params)
        operands, params = [kept, *outer, x, h0, c0, w_hh, out, cells], {}
    operands = [x.astype("float32") for x in operands]
    for i, x in enumerate(operands):
        for other in _laid(x):
            check(host(), name, [*operands[:i], other, *operands[i + 1 :]], **params)


def test_gradients_that_are_broadcast() -> None:
    sizes = (3, 5, 20)
    operands = lstm("float32", *sizes)
    results = check(host(), "lstm_layer", operands)
    one = np.broadcast_to(np.float32(0.5), sizes)
    check(host(), "lstm_layer_grad", [one, one, *operands, *results])


@pytest.mark.parametrize("sizes", [(2, 0, 3), (2, 3, 0)], ids=str)
def test_empty_operands_are_numpys(sizes: tuple[int, int, int]) -> None:
    operands = lstm("float32", *sizes)
    assert KERNELS["lstm_layer"](host(), *operands) is None
    out, cells = plain.lstm_layer(*operands)
    assert out.shape == cells.shape == sizes
    found = plain.lstm_layer_grad(out, cells, *operands, out, cells)
    assert [v.shape for v in found] == [x.shape for x in operands]


def test_what_does_not_fit_is_numpys() -> None:
    gates, h0, c0, weight = lstm("float32", 2, 3, 4)
    for operands in (
        (gates, h0, c0, weight[:-1]), (gates[0], h0, c0, weight), (gates, h0[:2], c0, weight),
        (gates, h0, c0.astype("f8"), weight), tuple(v.astype("f2") for v in (gates, h0, c0, weight)),
        tuple(v.astype(">f4") for v in (gates, h0, c0, weight)),
    ):  # fmt: skip
        assert KERNELS["lstm_layer"](host(), *operands) is None


# -- memory, threads, other processors ----------------------------------------------------------------
def _all_of(sizes: tuple[int, int, int]) -> list[Any]:
    operands = lstm("float32", *sizes)
    results = KERNELS["lstm_layer"](host(), *operands)
    assert results is not None
    outer = [of("float32", *sizes, seed=s) for s in (3, 4)]
    gru = [of("float32", sizes[0], sizes[1], 3 * sizes[2]), operands[1], of("float32", 3 * sizes[2], sizes[2]), None]
    out = KERNELS["gru_layer"](host(), *gru)
    more = KERNELS["lstm_sequence"](host(), *sequence("float32", *sizes, 9, True), keep=True)
    grads = KERNELS["lstm_layer_grad"](host(), *outer, *operands, *results)
    return [*results, *grads, out, *KERNELS["gru_layer_grad"](host(), outer[0], *gru, out), *more]


@pytest.mark.usefixtures("cuts")
@needs_pages
@pytest.mark.parametrize("at_end", [True, False])
def test_nothing_outside_the_operands_is_touched(monkeypatch: pytest.MonkeyPatch, at_end: bool) -> None:
    fences = Fences(at_end)
    for sizes in ((2, 9, 21), (3, 3, 70)):
        operands = [fences.of(x) for x in lstm("float32", *sizes)]
        outer = [fences.of(of("float32", *sizes, seed=s)) for s in (3, 4)]
        given = [None if x is None else fences.of(x) for x in sequence("float32", *sizes, 9, True)]
        with monkeypatch.context() as patch:
            fences.stand_in(patch)
            patch.setattr(matmul, "product", lambda *operands: None)  # numpy's own empty arrays would be fenced
            results = KERNELS["lstm_layer"](host(), *operands)
            assert results is not None
            assert KERNELS["lstm_layer_grad"](host(), *outer, *operands, *results) is not None
            assert KERNELS["lstm_sequence"](host(), *given, keep=True) is not None


@pytest.mark.usefixtures("cuts")
def test_chunks_by_two_threads_in_another_order_make_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matmul, "product", lambda *operands: None)  # its workspace is for one thread
    expected = _all_of((3, 70, 70))
    counts = by_two_threads(monkeypatch)
    found = _all_of((3, 70, 70))
    assert max(counts) > 1
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_cuts_depend_on_the_shape_alone_and_leave_nothing_out() -> None:
    for gates, rows, hidden in ((4, 32, 128), (3, 5, 7), (4, 300, 1024), (1, 1, 2000)):
        found = recurrent.plan(48, 4, gates, rows, hidden)
        groups = -(-hidden // found.units)
        assert found.chunks == -(-rows // found.rows) * groups
        assert found.by_steps or groups == 1


@pytest.mark.parametrize("target", ELSEWHERE, ids=lambda t: t.name)
def test_code_for_other_processors(target: Target) -> None:
    for mode, fused in (("lstm", False), ("lstm_kept", True), ("gru", False), ("relu", False)):
        module = Module(target)
        steps.define_forward(module, "float32", mode, 4, fused)
        Compiler(target).compile(module.text())
        module = Module(target)
        steps.define_backward(module, "float64", mode, 4)
        Compiler(target).compile(module.text())
