"""Reductions as machine code against numpy in float64: axes, layouts, sizes around a register's, nan, every width."""

from __future__ import annotations

import itertools
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flambeau as fb
from flambeau.backends.cpu.native import args, folds
from flambeau.backends.cpu.native.args import KERNELS as ARGS
from flambeau.backends.cpu.native.lanes import served
from flambeau.backends.cpu.native.reduce import KERNELS as REDUCE
from flambeau.backends.llvm.target import ELSEWHERE, Target, host, runnable
from tests.backends.cpu.arrays import layouts

DTYPES = ("float32", "float64", "float16", "bfloat16")
TOLERANCE = {"float32": 2e-6, "float64": 1e-12, "float16": 1e-3, "bfloat16": 8e-3}
every_width = pytest.mark.parametrize("target", runnable(), ids=lambda t: t.name)


def of(dtype: str, shape: tuple[int, ...], seed: int = 0) -> Any:
    rng = np.random.default_rng([seed, *shape])
    return rng.uniform(-2, 3, shape).astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)


def norm(x: Any, ord: float, axis: Any, keepdims: bool) -> Any:
    size = np.abs(x)
    if np.isinf(ord):
        return (size.max if ord > 0 else size.min)(axis, keepdims=keepdims)
    return (size**ord).sum(axis, keepdims=keepdims) ** (1 / ord)


REFERENCES = {
    "sum": (REDUCE["sum"], lambda x, **kw: x.sum(**kw)),
    "mean": (REDUCE["mean"], lambda x, **kw: x.mean(**kw)),
    "max": (REDUCE["max"], lambda x, **kw: x.max(**kw)),
    "min": (REDUCE["min"], lambda x, **kw: x.min(**kw)),
    "any": (REDUCE["any"], lambda x, **kw: x.any(**kw)),
    "all": (REDUCE["all"], lambda x, **kw: x.all(**kw)),
    "var": (lambda t, x, **kw: REDUCE["var"](t, x, correction=1, **kw), lambda x, **kw: x.var(ddof=1, **kw)),
    "std": (lambda t, x, **kw: REDUCE["std"](t, x, correction=0, **kw), lambda x, **kw: x.std(**kw)),
    "logsumexp": (REDUCE["logsumexp"], lambda x, **kw: np.log(np.exp(x).sum(**kw))),
    **{
        f"norm {ord}": (
            lambda t, x, ord=ord, **kw: REDUCE["vector_norm"](t, x, ord=ord, **kw),
            lambda x, ord=ord, **kw: norm(x, ord, **kw),
        )
        for ord in (1.0, 2.0, np.inf, -np.inf)
    },
}


def agrees(target: Target, name: str, x: Any, axis: tuple[int, ...], keepdims: bool) -> None:
    """What the kernel finds is what numpy finds in float64, unless there is nothing to reduce."""
    native, reference = REFERENCES[name]
    found = native(target, x, axis=axis, keepdims=keepdims)
    if found is None:
        assert not served(x, target) or all(x.shape[a] == 1 for a in axis) or 0 in x.strides
        return
    wide = x.astype(np.float64)
    expected = np.asarray(reference(wide, axis=axis, keepdims=keepdims))
    assert found.shape == expected.shape
    assert found.dtype == (np.bool_ if name in ("any", "all") else x.dtype)
    tolerance = TOLERANCE[x.dtype.name]
    scale = tolerance * (np.abs(wide).sum(axis, keepdims=keepdims) if name == "sum" else 1.0)
    assert (np.abs(found.astype(np.float64) - expected) <= tolerance * np.abs(expected) + scale).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", REFERENCES)
def test_over_all_axes_in_all_layouts(name: str, dtype: str) -> None:
    for shape in ((7,), (1, 5), (17, 33), (2, 3, 4), (5, 64, 17), (2, 3, 4, 5)):
        for view in layouts(of(dtype, shape)):
            for count in range(1, len(shape) + 1):
                for axis in itertools.combinations(range(len(shape)), count):
                    agrees(host(), name, view, axis, bool(count % 2))


@every_width
@pytest.mark.parametrize("name", ["sum", "max", "var", "logsumexp"])
def test_at_every_width(target: Target, name: str) -> None:
    for dtype, shape in itertools.product(DTYPES, [(1, 1), (15, 16), (63, 65), (8, 129), (300, 3), (50000, 2)]):
        x = of(dtype, shape)
        for axis in ((0,), (1,), (0, 1)):
            agrees(target, name, x, axis, False)


@every_width
def test_the_same_bits_at_every_width(target: Target) -> None:
    x = of("float32", (1031, 257))
    for axis in ((0,), (1,), (0, 1)):
        found, expected = (REDUCE["sum"](t, x, axis=axis, keepdims=False) for t in (target, host()))
        assert found is not None and expected is not None
        assert found.tobytes() == expected.tobytes()


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    steps=st.lists(st.sampled_from([1, 1, 2, -1, 0]), min_size=4, max_size=4),
    data=st.data(),
)
def test_strided_operands(shape: list[int], steps: list[int], data: Any) -> None:
    x = of("float32", tuple(shape)[:3] if np.prod(shape) > 1 << 18 else tuple(shape))
    x = x.transpose(data.draw(st.permutations(range(x.ndim))))
    for i, step in enumerate(steps[: x.ndim]):
        part = (slice(None),) * i
        x = np.broadcast_to(x[(*part, slice(0, 1))], x.shape) if step == 0 else x[(*part, slice(None, None, step))]
    axis = tuple(sorted(data.draw(st.sets(st.integers(0, x.ndim - 1), min_size=1))))
    for name in ("sum", "max", "var"):
        agrees(host(), name, x, axis, False)
    for found, expected in ((ARGS["argmax"], np.argmax), (ARGS["argmin"], np.argmin)):
        place = found(host(), x, axis=axis[0], keepdims=False)
        if place is not None:
            assert np.array_equal(place, expected(x, axis[0]))


def test_products() -> None:
    x = (1 + of("float32", (37, 50)) / 50).astype(np.float32)
    for axis in ((0,), (1,), (0, 1)):
        found = REDUCE["prod"](host(), x, axis=axis, keepdims=False)
        np.testing.assert_allclose(found, x.astype("f8").prod(axis), 1e-6)


# -- accuracy --------------------------------------------------------------------------------------
@pytest.mark.parametrize("shape", [(4_000_000,), (3_000_000, 3), (3, 1_500_000), (2000, 2000), (1_000_000, 2, 2)])
@pytest.mark.parametrize("kernel", ["native", "numpy"])
def test_millions_of_float32_are_added_right(shape: tuple[int, ...], kernel: str) -> None:
    x = np.full(shape, np.float32(0.1))
    for axis in [(i,) for i in range(len(shape))] + [tuple(range(len(shape)))]:
        if x.shape[axis[0]] == 1:
            continue
        count = np.prod([shape[a] for a in axis])
        if kernel == "native":
            total, mean = (f(host(), x, axis=axis, keepdims=False) for f in (REDUCE["sum"], REDUCE["mean"]))
        else:
            total, mean = (_numpy(name)(x, axis=axis, keepdims=False) for name in ("sum", "mean"))
        assert total is not None and mean is not None
        np.testing.assert_allclose(total.astype("f8"), float(np.float32(0.1)) * count, 1e-6)
        np.testing.assert_allclose(mean.astype("f8"), float(np.float32(0.1)), 1e-6)


def _numpy(name: str) -> Any:
    """The kernel that stands below the native one."""
    from tests.backends.cpu.arrays import kernel

    return kernel(name, fb.float32).__wrapped__


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_variance_of_numbers_far_from_zero(dtype: str) -> None:
    x = (1e4 + np.random.default_rng(0).standard_normal((500, 1000))).astype(dtype)
    for axis in ((0,), (1,), (0, 1)):
        found = REDUCE["var"](host(), x, axis=axis, correction=0, keepdims=False)
        np.testing.assert_allclose(found, x.astype("f8").var(axis), 1e-6)


# -- nan, ties, infinities -------------------------------------------------------------------------
@every_width
@pytest.mark.parametrize("shape", [(40, 50), (3, 70_000), (70_000, 3)])
def test_nan_wins_and_the_first_of_equals(target: Target, shape: tuple[int, ...]) -> None:
    x = np.round(of("float32", shape))
    x[shape[0] // 2, shape[1] // 3] = np.nan
    x[shape[0] // 2 + 1, shape[1] // 3] = np.nan
    for axis in (0, 1):
        for native, place, reference in (
            (REDUCE["max"], ARGS["argmax"], np.max),
            (REDUCE["min"], ARGS["argmin"], np.min),
        ):
            np.testing.assert_array_equal(native(target, x, axis=(axis,)), reference(x, axis))
            expected = (np.argmax if reference is np.max else np.argmin)(x, axis)
            np.testing.assert_array_equal(place(target, x, axis=axis, keepdims=False), expected)
    flat = x.reshape(-1)
    assert ARGS["argmax"](target, flat, axis=0, keepdims=False) == np.argmax(flat)
    assert np.isnan(REDUCE["max"](target, x, axis=None))


@pytest.mark.parametrize("name", ["max", "min"])
def test_nan_is_found_at_any_place(name: str) -> None:
    x = of("float32", (3, 200))
    for i in range(x.size):
        row, column = divmod(i, 200)
        with_nan = x.copy()
        with_nan[row, column] = np.nan
        found = REDUCE[name](host(), with_nan, axis=(1,))
        assert found is not None and np.isnan(found).tolist() == [r == row for r in range(3)]
        assert np.isnan(REDUCE[name](host(), with_nan, axis=None))


def test_operands_of_one_shape_share_nothing_but_the_plan() -> None:
    first, second = of("float32", (70, 90)), of("float32", (70, 90), 1)
    misaligned = np.zeros(first.nbytes + 1, np.uint8)[1:].view("f4").reshape(70, 90)
    kept = REDUCE["sum"](host(), first, axis=(1,))
    assert kept is not None
    before = kept.copy()
    for x in (second, first[::-1], first, np.flip(second)):
        agrees(host(), "sum", x, (1,), False)
    assert REDUCE["sum"](host(), misaligned, axis=(1,)) is None
    assert REDUCE["sum"](host(), first.view(np.memmap), axis=(1,)) is None
    assert np.array_equal(kept, before)


@pytest.mark.parametrize("fill", [np.inf, -np.inf, np.nan, -0.0])
def test_rows_of_one_value(fill: float) -> None:
    x = np.full((40, 70), fill, "f4")
    for axis in (0, 1):
        for native in (REDUCE["sum"], REDUCE["max"], REDUCE["min"], REDUCE["logsumexp"]):
            found = native(host(), x, axis=(axis,), keepdims=False)
            assert found is not None
            expected = fill if fill else np.log(70.0 if axis else 40.0) if native is REDUCE["logsumexp"] else 0.0
            np.testing.assert_allclose(found, np.full(found.shape, expected), 1e-6)
        for place in (ARGS["argmax"], ARGS["argmin"]):
            found = place(host(), x, axis=axis, keepdims=False)
            assert found is not None and not found.any()


def test_what_is_not_served() -> None:
    small = np.zeros((3, 0), "f4")
    for x, axis in ((small, (1,)), (np.zeros((4, 1), "f4"), (1,)), (np.zeros((4, 3), ">f4"), (0,))):
        assert REDUCE["sum"](host(), x, axis=axis, keepdims=False) is None
    assert REDUCE["vector_norm"](host(), np.zeros((4, 3), "f4"), ord=3.0, axis=(0,), keepdims=False) is None
    assert ARGS["argmax"](host(), np.zeros((), "f4"), axis=0, keepdims=False) is None
    odd = np.frombuffer(bytearray(4 * 6 + 1), "f4", 6, 1)
    assert REDUCE["sum"](host(), odd, axis=(0,), keepdims=False) is None


def test_a_broadcast_operand_of_any_size_is_not_copied() -> None:
    huge = np.broadcast_to(of("float32", (3, 1)), (3, 1 << 40))
    assert REDUCE["sum"](host(), huge, axis=(1,), keepdims=False) is None
    assert ARGS["argmax"](host(), huge, axis=1, keepdims=False) is None
    wide = np.broadcast_to(of("float32", (1, 70)), (300, 70))
    np.testing.assert_allclose(REDUCE["sum"](host(), wide, axis=(1,)), wide.astype("f8").sum(1), 1e-6)


def test_the_operand_may_be_read_only() -> None:
    x = of("float32", (300, 400))
    x.flags.writeable = False
    agrees(host(), "sum", x, (0,), False)


@pytest.mark.parametrize("target", ELSEWHERE, ids=lambda t: t.name)
def test_elsewhere_it_compiles(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    from flambeau.backends.llvm.compiler import Compiler

    made = []
    for module in (folds, args):
        monkeypatch.setattr(module, "jobs", lambda *fs: [made.append(Compiler(target).compile(fs[0].module.text()))])
    folds.rows.__wrapped__(target, "float16", "float32", "max", True)
    folds.columns.__wrapped__(target, "bfloat16", "float64", "spread")
    args._rows.__wrapped__(target, "float64", "min", False)
    args._columns.__wrapped__(target, "float32", "max")
    assert len(made) == 4
