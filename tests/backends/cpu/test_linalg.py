"""Products of matrices, decompositions and Fourier transforms against numpy, and by what defines them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from flambeau.backends.base import LinAlgError
from flambeau.core import config
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from tests.backends.cpu.arrays import close, kernel, layouts, same, tolerance, values, wide

EXACT = (dt.float64, dt.complex128)
PRODUCTS = [
    ((3, 4), (4, 5)), ((2, 3, 4), (4, 5)), ((3, 4), (2, 4, 5)), ((2, 3, 4), (2, 4, 5)), ((5, 1, 3, 4), (2, 4, 5)),
    ((0, 3, 4), (4, 2)), ((3, 0), (0, 2)), ((2, 3, 0), (2, 0, 4)), ((2, 0, 4), (4, 3)), ((1, 4), (4, 1)),
]  # fmt: skip


@pytest.mark.parametrize("dtype", [*dt.FLOATS, *dt.COMPLEXES], ids=lambda d: d.name)
@pytest.mark.parametrize(("left", "right"), PRODUCTS)
def test_matmul(dtype: DType, left: tuple[int, ...], right: tuple[int, ...]) -> None:
    x, y = values(left, dtype, 1), values(right, dtype, 2)
    expected = wide(x) @ wide(y)
    for a, b in itertools.product(layouts(x), layouts(y)):
        found = kernel("matmul", dtype)(a, b)
        assert found.dtype == dtype.numpy
        close(found, expected, 9 * tolerance(dtype), 9 * tolerance(dtype))


def test_matmul_of_expanded_operands() -> None:
    row = values((1, 3, 1, 4), dt.float64)
    x, y = np.broadcast_to(row, (2, 3, 5, 4)), values((3, 4, 2), dt.float64)
    close(kernel("matmul")(x, y), np.ascontiguousarray(x) @ y)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_matmul_of_a_large_batch_over_threads(count: int) -> None:
    x, y = values((40, 1, 60, 70), dt.float64), values((3, 70, 65), dt.float64)
    with config.override(num_threads=count):
        close(kernel("matmul")(x, y), x @ y, 1e-11)


@pytest.mark.parametrize("dtype", dt.INTS, ids=lambda d: d.name)
@pytest.mark.parametrize("high", [5, 2**31, 2**62])
def test_integers_multiply_modulo_their_width(dtype: DType, high: int) -> None:
    info, rng = np.iinfo(dtype.numpy), np.random.default_rng(0)
    x = rng.integers(max(info.min, -high), min(info.max, high), (60, 70), dtype.numpy)
    y = rng.integers(max(info.min, -high), min(info.max, high), (70, 50), dtype.numpy)
    found = kernel("matmul", dtype)(x, y)
    assert found.dtype == dtype.numpy
    same(found, np.matmul(x, y))


@pytest.mark.parametrize("dtype", dt.FLOATS, ids=lambda d: d.name)
@pytest.mark.parametrize("shape", [(5, 4), (2, 3, 4), (4,), (0, 4), (200, 4)])
def test_linear(dtype: DType, shape: tuple[int, ...]) -> None:
    x, weight, bias = values(shape, dtype, 1), values((60, 4), dtype, 2), values((60,), dtype, 3)
    expected = wide(x) @ wide(weight).T
    for view, w in zip(layouts(x), itertools.cycle(layouts(weight)), strict=False):
        close(kernel("linear", dtype)(view, w, None), expected, 9 * tolerance(dtype), 9 * tolerance(dtype))
        close(kernel("linear", dtype)(view, w, bias), expected + wide(bias), 9 * tolerance(dtype), 9 * tolerance(dtype))
    same(weight, values((60, 4), dtype, 2))


# -- decompositions --------------------------------------------------------------------------------
def adjoint(x: Any) -> Any:
    return x.conj().swapaxes(-1, -2)


def matrices(dtype: Any) -> Any:
    """Square ones: of one size and of a batch, in several layouts."""
    for shape in ((5, 5), (2, 40, 40), (3, 1, 1), (0, 0), (0, 3, 3)):
        yield from layouts(values(shape, dtype, len(shape)))


@pytest.mark.parametrize("dtype", EXACT, ids=lambda d: d.name)
def test_cholesky(dtype: DType) -> None:
    for a in matrices(dtype):
        x = a @ adjoint(a) + np.eye(a.shape[-1])
        low = kernel("cholesky", dtype)(np.tril(x), upper=False)
        same(low, np.tril(low))
        close(low @ adjoint(low), x)
        close(kernel("cholesky", dtype)(np.triu(x), upper=True), adjoint(low))


@pytest.mark.parametrize("dtype", EXACT, ids=lambda d: d.name)
@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (2, 4, 4)])
def test_qr_and_svd(dtype: DType, shape: tuple[int, ...]) -> None:
    for x in layouts(values(shape, dtype)):
        for mode, full in (("reduced", False), ("complete", True)):
            q, r = kernel("qr", dtype)(x, mode=mode)
            close(q @ r, x)
            close(
                adjoint(q) @ q, np.broadcast_to(np.eye(q.shape[-1]), (*x.shape[:-2], *q.shape[-1:] * 2)) + 0 * x.flat[0]
            )
            same(r, np.triu(r))
            u, s, vh = kernel("svd", dtype)(x, full=full)
            k = min(shape[-2:])
            close((u[..., :k] * s[..., None, :]) @ vh[..., :k, :], x)
            assert u.shape[-1] == (shape[-2] if full else k)
        close(kernel("svdvals", dtype)(x), s)


@pytest.mark.parametrize("dtype", EXACT, ids=lambda d: d.name)
def test_eigenvalues(dtype: DType) -> None:
    for a in matrices(dtype):
        x = a + adjoint(a)
        for upper, triangle in ((False, np.tril), (True, np.triu)):
            w, v = kernel("eigh", dtype)(triangle(x), upper=upper)
            assert w.dtype == np.float64
            close(x @ v, v * w[..., None, :])
        w, v = kernel("eig", dtype)(a)
        assert w.dtype == v.dtype == np.complex128
        close(a @ v, v * w[..., None, :])


@pytest.mark.parametrize("dtype", EXACT, ids=lambda d: d.name)
@pytest.mark.parametrize("shape", [(5, 5), (2, 40, 40), (4, 6), (6, 4), (0, 0)])
def test_lu_factor(dtype: DType, shape: tuple[int, ...]) -> None:
    for x in layouts(values(shape, dtype)):
        lu, pivots = kernel("lu_factor", dtype)(x)
        k = min(shape[-2:])
        low, up = np.tril(lu[..., :k], -1) + np.eye(shape[-2], k), np.triu(lu[..., :k, :])
        assert np.abs(low).max(initial=0) <= 2**0.5 + 1e-12  # complex pivots are compared by the sum of their parts
        expected = x.copy()
        for at in np.ndindex(shape[:-2]):
            for i, j in enumerate(pivots[at]):
                expected[at][[i, j]] = expected[at][[j, i]]
        close(low @ up, expected)


def test_lu_factor_of_a_singular_matrix() -> None:
    lu, _ = kernel("lu_factor")(np.array([[0.0, 1.0], [0.0, 2.0]]))
    assert np.isfinite(lu).all()


@pytest.mark.parametrize("dtype", EXACT, ids=lambda d: d.name)
def test_systems(dtype: DType) -> None:
    for a in matrices(dtype):
        a = a + 4 * np.eye(a.shape[-1])
        b = values((*a.shape[:-1], 3), dtype, 9)
        close(a @ kernel("solve", dtype)(a, b), b, 1e-9, 1e-9)
        close(a @ kernel("inv", dtype)(a), np.broadcast_to(np.eye(a.shape[-1]), a.shape) + 0 * a, 1e-9, 1e-9)
        close(kernel("det", dtype)(a), np.linalg.det(a))
        sign, log = kernel("slogdet", dtype)(a)
        close(sign * np.exp(log), np.linalg.det(a))


@pytest.mark.parametrize("dtype", EXACT, ids=lambda d: d.name)
@pytest.mark.parametrize(("upper", "unitriangular"), list(itertools.product((False, True), repeat=2)))
def test_triangular_systems(dtype: DType, upper: bool, unitriangular: bool) -> None:
    for a in (*matrices(dtype), values((70, 70), dtype)):
        n = a.shape[-1]
        a = a / max(n, 1) + np.eye(n)
        b = values((*a.shape[:-1], 2), dtype, 9)
        read = np.triu(a) if upper else np.tril(a)
        if unitriangular:
            read = read - read * np.eye(n) + np.eye(n)
        close(read @ kernel("solve_triangular", dtype)(a, b, upper=upper, unitriangular=unitriangular), b, 1e-9, 1e-9)


def test_a_triangular_system_for_a_batch_of_right_hand_sides() -> None:
    a, b = np.tril(np.ones((3, 3))), values((4, 3, 2), dt.float64)
    close(a @ kernel("solve_triangular")(a, b, upper=False), b)


BATCH = np.stack([np.eye(3), np.ones((3, 3))])
FAILURES = [
    ("cholesky", (-np.eye(2),), r"the matrix of shape \(2, 2\) has no factor: the input is not positive-definite"),
    ("cholesky", (BATCH,), r"matrix 1 of .* has no factor: the input is not positive-definite"),
    ("inv", (BATCH,), r"inv: matrix 1 of the batch of shape \(2, 3, 3\) is singular"),
    ("solve", (BATCH, BATCH), r"solve: matrix 1 of the batch of shape \(2, 3, 3\) is singular"),
    ("solve", (np.zeros((2, 2)), np.zeros((2, 1))), r"solve: the matrix of shape \(2, 2\) is singular"),
    ("det", (np.zeros((2, 3)),), r"det: the last two dimensions must be equal, got shape \(2, 3\)"),
    ("svd", (np.full((2, 2), np.nan),), "svd: the matrix .* failed to converge"),
    ("cholesky", (np.full((2, 2), np.nan),), "cholesky: .* the input is not positive-definite"),
]


@pytest.mark.parametrize(("name", "operands", "text"), FAILURES)
def test_failures_name_the_matrix(name: str, operands: Any, text: str) -> None:
    with pytest.raises(LinAlgError, match=text):
        kernel(name)(*operands)
