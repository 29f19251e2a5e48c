"""Factors, triangular systems, solutions and inverses as machine code, against numpy in float64 at every width."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from flambeau.backends.base import LinAlgError
from flambeau.backends.cpu.native import systems as native
from flambeau.backends.llvm.compiler import compiler_for
from flambeau.backends.llvm.target import ELSEWHERE, Target, runnable
from flambeau.backends.xp import linalg as bodies
from flambeau.core import config
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from tests.backends.cpu.arrays import FULL, kernel, layouts, values
from tests.backends.cpu.fences import Fences, by_two_threads, needs_pages, written_only

Array = Any
TARGETS = runnable()
every_width = pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
every_dtype = pytest.mark.parametrize("dtype", FULL, ids=lambda d: d.name)
TOLERANCE = {dt.float32: 2e-5, dt.float64: 1e-13}
SHAPES = [(3, 3), (2, 3, 3), (5, 4, 7), (5, 7, 4), (1, 1), (70, 65), (2, 3, 20, 20), (0, 3, 3)]
#: Shapes of matrices and of right-hand sides.
SYSTEMS = [
    ((3, 3), (3, 2)), ((2, 3, 3), (2, 3, 1)), ((4, 1, 5, 5), (3, 5, 20)), ((17, 17), (2, 17, 3)), ((64, 64), (64, 33)),
    ((2, 65, 65), (65, 7)), ((150, 150), (150, 1)),
]  # fmt: skip


@pytest.fixture(autouse=True)
def machine_code() -> Iterator[None]:
    with config.override(cpu_code="host"):
        yield


def well_posed(shape: tuple[int, ...], dtype: DType, seed: int = 0) -> Array:
    """Matrices whose diagonal outweighs what stands beside it, so that both triangles solve well, too."""
    n = shape[-1]
    found = values(shape, dt.float64, seed, -1.0, 1.0) / n + 2 * np.eye(n)
    return np.asarray(found.astype(dtype.numpy))


def near(found: Array, expected: Array, dtype: DType, times: float = 1.0) -> None:
    assert found.dtype == dtype.numpy and found.shape == expected.shape
    scale = times * max(1.0, np.abs(expected).max(initial=0.0))
    np.testing.assert_allclose(found, expected, 0, TOLERANCE[dtype] * scale)


@every_width
@every_dtype
@pytest.mark.parametrize("shape", SHAPES)
def test_factors_give_the_matrix_with_its_rows_exchanged(target: Target, dtype: DType, shape: tuple[int, ...]) -> None:
    for x in layouts(values(shape, dtype, 3)):
        if not x.size:
            assert native.lu_factor(target, x) is None
            continue
        found = native.lu_factor(target, x)
        assert found is not None
        lu, pivots = found
        k = min(shape[-2:])
        assert pivots.dtype == np.int64 and pivots.shape == (*shape[:-2], k) and lu.dtype == dtype.numpy
        low = np.tril(lu[..., :k], -1).astype("f8") + np.eye(shape[-2], k)
        assert np.abs(low).max() <= 1
        expected = x.astype("f8").reshape(-1, *shape[-2:])
        for matrix, places in zip(expected, pivots.reshape(-1, k), strict=True):
            for i, j in enumerate(places):
                matrix[[i, j]] = matrix[[j, i]]
        near((low @ np.triu(lu[..., :k, :])).astype(dtype.numpy), expected.reshape(shape), dtype, 10)


@every_width
def test_pivots_are_those_of_numpy_where_elements_are_equal_zero_or_nan(target: Target) -> None:
    for x in (
        [[1.0, 2.0], [-1.0, 3.0]],
        [[0.0, 1.0], [0.0, 2.0]],
        [[1.0, 2.0], [np.nan, 3.0]],
        [[np.inf, 1.0], [2, 3]],
    ):
        a = np.array(x)
        found, expected = native.lu_factor(target, a), bodies.lu_factor(np, a)
        assert found is not None
        np.testing.assert_array_equal(found[1], expected[1])
        np.testing.assert_array_equal(found[0], expected[0])


@every_width
@every_dtype
@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize(("left", "right"), [s for s in SYSTEMS if s[0][-1] <= 64])
def test_substitution(target: Target, dtype: DType, upper: bool, unit: bool, left: Any, right: Any) -> None:
    b = values(right, dtype, 2)
    shape = (*np.broadcast_shapes(left[:-2], right[:-2]), *right[-2:])
    for a in layouts(well_posed(left, dtype)):
        x = np.array(np.broadcast_to(b, shape), order="C")
        assert native.substitute(target, a, x, upper=upper, unitriangular=unit)
        wide = np.triu(a.astype("f8"), unit) if upper else np.tril(a.astype("f8"), -unit)
        near(x, np.linalg.solve(wide + np.eye(left[-1]) * unit, np.broadcast_to(b.astype("f8"), shape)), dtype)


@every_dtype
@pytest.mark.parametrize(("left", "right"), SYSTEMS)
def test_triangular_systems_and_choleskys_of_any_size(dtype: DType, left: Any, right: Any) -> None:
    a, b = well_posed(left, dtype), values(right, dtype, 2)
    for factor in layouts(a):
        for upper in (False, True):
            triangle = (np.triu if upper else np.tril)(factor.astype("f8"))
            for unit in (False, True):
                wide = triangle if not unit else (np.triu if upper else np.tril)(triangle, 1 if upper else -1)
                wide = wide + np.eye(left[-1]) * unit
                expected = np.linalg.solve(*_broadcast(wide, b.astype("f8")))
                near(kernel("solve_triangular", dtype)(factor, b, upper=upper, unitriangular=unit), expected, dtype, 5)
            turned = triangle.swapaxes(-1, -2)
            whole = turned @ triangle if upper else triangle @ turned
            expected = np.linalg.solve(*_broadcast(whole, b.astype("f8")))
            near(kernel("cholesky_solve", dtype)(b, factor, upper=upper), expected, dtype, 5)


def _broadcast(a: Array, b: Array) -> tuple[Array, Array]:
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return np.broadcast_to(a, (*batch, *a.shape[-2:])), np.broadcast_to(b, (*batch, *b.shape[-2:]))


def test_a_zero_on_the_diagonal_divides() -> None:
    a, b = np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([[1.0, 0.0], [0.0, 0.0]])
    found = kernel("solve_triangular")(a, b, upper=False)
    np.testing.assert_array_equal(found, [[np.inf, np.nan], [-np.inf, np.nan]])


@every_width
@every_dtype
@pytest.mark.parametrize(("left", "right"), [
    ((8, 3, 3), (8, 3, 2)), ((600, 3, 3), (600, 3, 1)), ((9, 16, 16), (16, 33)), ((8, 1, 4, 4), (1, 3, 4, 5)),
    ((8, 1, 1), (8, 1, 1)),
])  # fmt: skip
def test_solutions_and_inverses_of_many_small_matrices(target: Target, dtype: DType, left: Any, right: Any) -> None:
    b = values(right, dtype, 2)
    for a in layouts(well_posed(left, dtype)[..., ::-1, :]):  # each pivot stands in another row
        found, turned = native.solve(target, a, b), native.inv(target, a)
        assert found is not None and turned is not None
        near(found, np.linalg.solve(*_broadcast(a.astype("f8"), b.astype("f8"))), dtype)
        near(turned, np.linalg.inv(a.astype("f8")), dtype)


@every_dtype
def test_a_singular_matrix_among_many_is_named(dtype: DType) -> None:
    a = well_posed((9, 3, 3), dtype)
    a[4] = 0
    with pytest.raises(LinAlgError, match="matrix 4 of the batch"):
        kernel("inv", dtype)(a)
    with pytest.raises(LinAlgError, match="matrix 4 of the batch"):
        kernel("solve", dtype)(a, values((9, 3, 2), dtype))


def test_what_is_not_served_is_left_to_numpy() -> None:
    a, b = well_posed((8, 3, 3), dt.float32), values((8, 3, 2), dt.float32)
    for bad in (a[:0], a.astype(">f4"), a.astype(np.complex64)):
        assert native.lu_factor(TARGETS[0], bad) is None
        assert native.solve(TARGETS[0], bad, b) is None
        assert not native.substitute(TARGETS[0], bad, b, upper=True, unitriangular=False)
    assert native.solve(TARGETS[0], a[:4], b[:4]) is None  # few
    assert native.inv(TARGETS[0], well_posed((8, 17, 17), dt.float32)) is None  # large
    assert native.inv(TARGETS[0], a[:, :2]) is None


def _all(of: Callable[[Array], Array] = lambda x: x) -> list[Array]:
    a, b = of(well_posed((40, 15, 15), dt.float32)), of(values((40, 15, 5), dt.float32))
    x = of(b.copy())
    assert native.substitute(TARGETS[0], a, x, upper=True, unitriangular=False)
    factors, found = native.lu_factor(TARGETS[0], a), native.solve(TARGETS[0], a, b)
    assert factors is not None and found is not None
    return [x, *factors, found]


@needs_pages
@pytest.mark.parametrize("at_end", [True, False])
def test_nothing_outside_of_the_operands_is_touched(monkeypatch: pytest.MonkeyPatch, at_end: bool) -> None:
    expected = _all()
    fence = Fences(at_end)
    fence.stand_in(monkeypatch)
    for found, want in zip(_all(fence.of), expected, strict=True):
        np.testing.assert_array_equal(found, want)


def test_chunks_in_any_order_and_in_several_threads_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = _all()
    monkeypatch.setattr(native, "_CHUNK", 1)
    counts = by_two_threads(monkeypatch)
    for found, want in zip(_all(), expected, strict=True):
        np.testing.assert_array_equal(found, want)
    assert counts == [40, 40, 40]


@pytest.mark.parametrize("target", ELSEWHERE, ids=lambda t: t.name)
def test_they_compile_for_other_processors(monkeypatch: pytest.MonkeyPatch, target: Target) -> None:
    texts = written_only(monkeypatch, native)
    native._factors.__wrapped__(target, "float32")
    native._solution.__wrapped__(target, "float64")
    native._substitution.__wrapped__(target, "float32", True, False)
    assert len(texts) == 3
    for text in texts:
        assert compiler_for(target).object_code(text)
