"""Products with an addition: the kernels that stand for compositions, against numpy in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from flambeau.core.errors import ShapeError
from tests.backends.cpu.arrays import FULL, kernel, layouts, same, tolerance, values

every_dtype = pytest.mark.parametrize("dtype", FULL, ids=lambda d: d.name)
Shape = tuple[int, ...]
#: The op, the shapes of its operands, and the product in numpy.
PRODUCTS: list[tuple[str, Shape, Shape, Any]] = [
    ("addmm", (3, 4), (4, 5), np.matmul),
    ("addmv", (3, 4), (4,), np.matmul),
    ("addr", (3,), (5,), np.outer),
    ("baddbmm", (2, 3, 4), (2, 4, 5), np.matmul),
    ("addbmm", (2, 3, 4), (2, 4, 5), lambda a, b: np.matmul(a, b).sum(0)),
    ("addmm", (3, 0), (0, 5), np.matmul),
    ("addbmm", (0, 3, 4), (0, 4, 5), lambda a, b: np.matmul(a, b).sum(0)),
]


@every_dtype
@pytest.mark.parametrize(("name", "left", "right", "product"), PRODUCTS)
@pytest.mark.parametrize(("beta", "alpha"), [(1, 1), (0, 1), (2, -0.5), (0.5, 3), (1, 0), (-1.5, 1)])
def test_products_with_an_addition(
    dtype: DType, name: str, left: Shape, right: Shape, product: Any, beta: float, alpha: float
) -> None:
    a, b = values(left, dtype, 1), values(right, dtype, 2)
    exact = product(a.astype("f8"), b.astype("f8"))
    for shape in (exact.shape, exact.shape[-1:], (1,) * exact.ndim, ()):
        x = values(shape, dtype, 3)
        expected = alpha * exact + (beta * x.astype("f8") if beta else 0)
        before = x.copy()
        for p, q in zip(layouts(a), layouts(b), strict=False):
            found = kernel(name, dtype)(x, p, q, beta, alpha)
            assert found.dtype == dtype.numpy
            np.testing.assert_allclose(found, expected, 0, 20 * tolerance(dtype) * max(1, np.abs(exact).max(initial=0)))
        same(x, before)


@pytest.mark.parametrize(("name", "left", "right", "product"), PRODUCTS[:5])
def test_a_factor_that_is_a_tensor_gives_the_same_bits(name: str, left: Shape, right: Shape, product: Any) -> None:
    a, b = (fb.tensor(values(s, dt.float32, i)) for i, s in enumerate((left, right)))
    x = fb.tensor(values(product(a.numpy(), b.numpy()).shape, dt.float32, 3))
    function = getattr(fb, name)
    found = function(x, a, b, beta=0.3, alpha=1.7)
    same(found.numpy(), function(x, a, b, beta=fb.tensor(0.3), alpha=fb.tensor(1.7)).numpy())


def test_without_beta_the_input_does_not_count() -> None:
    a = fb.ones(2, 2)
    assert fb.addmm(fb.full((2, 2), math.nan), a, a, beta=0).tolist() == [[2.0, 2.0], [2.0, 2.0]]


@pytest.mark.parametrize("factor", [10**30, 2**2000, True, 1j])
def test_factors_that_are_no_plain_numbers_are_told_as_by_the_composition(factor: Any) -> None:
    a = fb.ones(2, 2)
    if factor is True:
        assert fb.addmm(a, a, a, alpha=factor).tolist() == [[3.0, 3.0], [3.0, 3.0]]
    else:
        with pytest.raises((TypeError, ValueError, OverflowError)):
            fb.addmm(a, a, a, alpha=factor)


@pytest.mark.parametrize(("shapes", "text"), [
    (((2, 2), (2, 3), (2, 2)), "the sizes of mat1"), (((3, 2), (2, 3), (3, 2)), "does not broadcast"),
    (((2, 2), (2, 3, 1), (3, 2)), "mat1 must be 2-d"),
])  # fmt: skip
def test_shapes_that_do_not_fit_are_told(shapes: tuple[Shape, Shape, Shape], text: str) -> None:
    with pytest.raises(ShapeError, match=text):
        fb.addmm(*(fb.ones(*s) for s in shapes))
