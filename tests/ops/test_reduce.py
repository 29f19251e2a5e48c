"""The public functions of reductions, scans and sorting: torch's signatures, results and gradients."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import flambeau as fb

NAN, INF = math.nan, math.inf


def values(t: Any) -> Any:
    return t.detach().numpy()


def gradient(fn: Any, data: Any) -> Any:
    """The gradient of the sum of ``fn(x)`` at ``data``."""
    x = fb.tensor(data, dtype=fb.float64, requires_grad=True)
    fn(x).sum().backward()
    return x.grad.tolist()


# -- sums and products -------------------------------------------------------------------------------
def test_both_names_of_each_argument() -> None:
    x = fb.ones(2, 3)
    for result in (x.sum(1), x.sum(dim=1), x.sum(axis=1), fb.sum(x, axis=-1), fb.sum(input=x, dim=(1,))):
        assert result.tolist() == [3.0, 3.0]
    assert x.sum(1, True).shape == x.sum(axis=1, keepdims=True).shape == (2, 1)
    assert x.sum(()).shape == ()  # as in torch: all


@pytest.mark.parametrize("dtype", [fb.bool, fb.uint8, fb.int32, fb.int64])
def test_integers_add_up_in_int64(dtype: Any) -> None:
    x = fb.ones(300).to(dtype)
    for fn in (fb.sum, fb.prod):
        assert fn(x).dtype is fb.int64
    assert fb.sum(x).item() == 300
    assert fb.cumsum(x, 0).dtype is fb.int64


def test_the_dtype_argument_casts_first() -> None:
    x = fb.tensor([1.5, 2.5])
    assert x.sum(dtype=fb.int32).item() == 3 and x.sum(dtype=fb.int32).dtype is fb.int32
    assert fb.tensor([1, 2]).mean(dtype=fb.float64).item() == 1.5
    assert x.prod(dtype=fb.complex64).dtype is fb.complex64
    assert x.cumsum(0, dtype=fb.int64).tolist() == [1, 3]


def test_low_precision_accumulates_in_float32() -> None:
    assert fb.ones(4096, dtype=fb.float16).sum().item() == 4096
    assert fb.ones(1000, dtype=fb.bfloat16).mean().item() == 1


def test_out_receives_the_result() -> None:
    out = fb.empty(3)
    assert fb.sum(fb.ones(2, 3), 0, out=out) is out
    assert out.tolist() == [2.0] * 3
    best, where = fb.empty(2), fb.empty(2, dtype=fb.int64)
    fb.max(fb.tensor([[1.0, 3.0], [4.0, 2.0]]), 1, out=(best, where))
    assert best.tolist() == [3.0, 4.0] and where.tolist() == [1, 0]


def test_prod_has_the_gradient_of_zeros() -> None:
    assert gradient(fb.prod, [2.0, 3.0, 4.0]) == [12.0, 8.0, 6.0]
    assert gradient(fb.prod, [2.0, 0.0, 4.0]) == [0.0, 8.0, 0.0]
    assert gradient(fb.prod, [0.0, 0.0, 4.0]) == [0.0, 0.0, 0.0]
    assert gradient(lambda x: x.prod(1), [[0.0, 5.0], [2.0, 3.0]]) == [[5.0, 0.0], [3.0, 2.0]]
    hessian = fb.func.hessian(fb.prod)(fb.tensor([0.0, 3.0, 4.0], dtype=fb.float64))
    assert hessian.tolist() == [[0.0, 4.0, 3.0], [4.0, 0.0, 0.0], [3.0, 0.0, 0.0]]


def test_scans_have_the_gradients_of_zeros_and_infinities() -> None:
    assert gradient(lambda x: x.cumprod(0), [2.0, 0.0, 4.0]) == [1.0, 10.0, 0.0]
    found = gradient(lambda x: x.logcumsumexp(0), [-INF, 0.0, 0.0])
    np.testing.assert_allclose(found, [0.0, 1.5, 0.5])


def test_scans_in_place() -> None:
    x = fb.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = x * 1
    assert y.cumsum_(0) is y and y.tolist() == [1, 3, 6]
    y.cumprod_(0)
    assert y.tolist() == [1, 3, 18]
    y.sum().backward()
    assert x.grad.tolist() == [32, 10, 3]


def test_mean_of_integers_says_what_it_takes() -> None:
    with pytest.raises(RuntimeError, match=r"mean.*int64.*float32"):
        fb.arange(3).mean()


# -- extremes ----------------------------------------------------------------------------------------
def test_max_of_all_shares_its_gradient_and_along_a_dim_gives_it_to_the_index() -> None:
    data = [[1.0, 3.0, 3.0], [2.0, 0.0, 3.0]]
    third = 1 / 3
    for fn in (fb.max, fb.amax):
        np.testing.assert_allclose(gradient(fn, data), [[0, third, third], [0, 0, third]])
    assert gradient(lambda x: x.max(1).values, data) == [[0, 1, 0], [0, 0, 1]]
    assert gradient(lambda x: x.amax(1), data) == [[0, 0.5, 0.5], [0, 0, 1]]
    assert gradient(lambda x: x.min(0)[0], data) == [[1, 0, 1], [0, 1, 0]]


def test_max_has_its_three_forms() -> None:
    x = fb.tensor([[1, 5], [7, 2]])
    assert fb.max(x).item() == 7
    result = x.max(dim=1, keepdim=True)
    assert result.values.tolist() == [[5], [7]] and result.indices.tolist() == [[1], [0]]
    assert fb.max(x, fb.tensor([3, 3])).tolist() == [[3, 5], [7, 3]]
    assert fb.min(x, 0).values.tolist() == [1, 2]


def test_nan_wins() -> None:
    x = fb.tensor([1.0, NAN, 3.0])
    assert math.isnan(x.max().item()) and math.isnan(x.min().item())
    assert x.argmax().item() == x.argmin().item() == 1
    assert math.isnan(x.median().item()) and x.nanmedian().item() == 1
    assert x.nansum().item() == 4 and x.nanmean().item() == 2
    assert x.sort().indices.tolist() == [0, 2, 1]
    assert x.cummax(0).values.isnan().tolist() == [False, True, True]


@pytest.mark.parametrize("dtype", [fb.uint8, fb.int8, fb.int64, fb.bool])
def test_smallest_of_whole_numbers(dtype: Any) -> None:
    """The order is reversed by a bit operation where a kernel is missing: no overflow at the ends."""
    low, high = (False, True) if dtype is fb.bool else (fb.iinfo(dtype).min, fb.iinfo(dtype).max)
    x = fb.tensor([high, low, high], dtype=dtype)
    assert fb.amin(x).item() == low and fb.argmin(x).item() == 1
    assert fb.aminmax(x) == (fb.amin(x), fb.amax(x))


def test_nothing_has_no_extreme() -> None:
    with pytest.raises(RuntimeError, match=r"max.*\(0, 3\).*give a dim"):
        fb.max(fb.zeros(0, 3))
    with pytest.raises(IndexError, match=r"size 0 along dim 0"):
        fb.argmax(fb.zeros(0, 3), 0)
    assert fb.amax(fb.zeros(0, 3), 1).shape == (0,)


# -- moments and norms -------------------------------------------------------------------------------
def test_the_forms_of_var() -> None:
    x = fb.tensor([[1.0, 2.0], [3.0, 6.0]], dtype=fb.float64)
    assert x.var().item() == np.var(values(x), ddof=1)
    assert x.var(False).item() == x.var(unbiased=False).item() == x.var(correction=0).item() == np.var(values(x))
    assert x.std(0, False, True).shape == (1, 2)
    spread, mean = fb.var_mean(x, dim=1, correction=0)
    assert spread.tolist() == [0.25, 2.25] and mean.tolist() == [1.5, 4.5]
    with pytest.raises(TypeError, match=r"unbiased or correction"):
        x.var(unbiased=True, correction=1)


def test_gradients_are_finite_where_nothing_varies() -> None:
    assert gradient(fb.std, [2.0, 2.0]) == [0.0, 0.0]
    assert gradient(fb.norm, [0.0, 0.0]) == [0.0, 0.0]
    assert gradient(lambda x: fb.norm(x, 1), [0.0, -2.0]) == [0.0, -1.0]
    assert gradient(lambda x: fb.norm(x, INF), [2.0, -2.0]) == [0.5, -0.5]


def test_norms() -> None:
    x = fb.tensor([[3.0, -4.0], [0.0, 5.0]])
    assert fb.norm(x[0]).item() == 5
    assert [fb.norm(x, p).item() for p in (0, 1, INF, -INF)] == [3.0, 12.0, 5.0, 0.0]
    assert fb.norm(x, dim=1, keepdim=True).tolist() == [[5.0], [5.0]]
    assert fb.norm(fb.tensor([3 + 4j])).item() == 5
    with pytest.raises(ValueError, match=r"'fro' or 'nuc', got 'x'"):
        fb.norm(x, "x")


# -- sorting -----------------------------------------------------------------------------------------
def test_sort_is_stable_both_ways() -> None:
    x = fb.tensor([2, 1, 2, 1])
    assert x.sort().indices.tolist() == [1, 3, 0, 2]
    assert x.argsort(descending=True).tolist() == [0, 2, 1, 3]
    assert fb.msort(fb.tensor([[3, 1], [1, 2]])).tolist() == [[1, 1], [3, 2]]


def test_topk_and_kthvalue() -> None:
    x = fb.tensor([[5.0, 1.0, 3.0], [2.0, 9.0, 4.0]])
    assert fb.topk(x, 2).values.tolist() == [[5.0, 3.0], [9.0, 4.0]]
    assert x.topk(1, dim=0, largest=False).indices.tolist() == [[1, 0, 0]]
    assert fb.kthvalue(x, 2).values.tolist() == [3.0, 4.0]
    assert gradient(lambda v: v.topk(2).values, [5.0, 1.0, 3.0]) == [1.0, 0.0, 1.0]
    with pytest.raises(RuntimeError, match=r"kthvalue.*k=4.*size 3"):
        fb.kthvalue(x, 4)


def test_median_and_mode() -> None:
    x = fb.tensor([[4.0, 1.0, 3.0, 2.0], [7.0, 7.0, 5.0, 5.0]])
    assert x.median().item() == 4  # of 1 2 3 4 5 5 7 7
    assert x.median(1).values.tolist() == [2.0, 5.0] and x.median(1).indices.tolist()[0] == 3
    assert x.mode(1).values.tolist() == [1.0, 5.0] and x.mode(1).indices.tolist() == [1, 3]
    assert math.isnan(fb.median(fb.empty(0)).item())


@pytest.mark.parametrize("interpolation", ["linear", "lower", "higher", "midpoint", "nearest"])
def test_quantile(interpolation: Any) -> None:
    data = np.random.default_rng(0).standard_normal((4, 7))
    x, levels = fb.tensor(data), [0.0, 0.2, 0.5, 1.0]
    found = fb.quantile(x, fb.tensor(levels, dtype=fb.float64), dim=1, interpolation=interpolation)
    np.testing.assert_allclose(values(found), np.quantile(data, levels, axis=1, method=interpolation), rtol=1e-12)
    assert x.quantile(0.3, keepdim=True, interpolation=interpolation).shape == (1, 1)
    data[1, 2] = NAN
    found = fb.nanquantile(fb.tensor(data), 0.4, dim=1, interpolation=interpolation)
    np.testing.assert_allclose(values(found), np.nanquantile(data, 0.4, axis=1, method=interpolation), rtol=1e-12)
    assert fb.quantile(fb.tensor(data), 0.4, 1).isnan().tolist() == [False, True, False, False]


def test_quantile_checks_its_level() -> None:
    with pytest.raises(ValueError, match=r"range \[0, 1\], got 2"):
        fb.quantile(fb.ones(3), 2.0)
    with pytest.raises(RuntimeError, match=r"float32 or float64.*int64"):
        fb.quantile(fb.arange(3), 0.5)


# -- 0-d and differences -----------------------------------------------------------------------------
def test_a_0d_tensor_has_one_axis() -> None:
    x = fb.tensor(3.0)
    for fn in (fb.cumsum, fb.cumprod, fb.logcumsumexp, fb.argsort, fb.sum, fb.amax, fb.argmax):
        assert fn(x, 0).shape == fn(x, -1).shape == ()
    for fn in (fb.sort, fb.cummax, fb.max, fb.median, fb.mode):
        assert fn(x, 0)[0].item() == 3 and fn(x, -1)[1].item() == 0
    assert fb.topk(x, 1).values.shape == ()
    for fn in (fb.cumsum, fb.sort, fb.max, fb.sum):
        with pytest.raises(IndexError, match=r"dim=1"):
            fn(x, 1)


def test_differences_and_areas() -> None:
    x = fb.tensor([1.0, 4.0, 9.0, 16.0])
    assert fb.diff(x, n=2).tolist() == [2.0, 2.0]
    assert fb.diff(x, prepend=fb.tensor([0.0])).tolist() == [1.0, 3.0, 5.0, 7.0]
    assert fb.diff(fb.tensor([True, False, False])).tolist() == [True, False]
    assert fb.trapezoid(x).item() == np.trapezoid([1, 4, 9, 16])
    assert fb.trapezoid(x, fb.tensor([0.0, 1.0, 3.0, 6.0])).item() == np.trapezoid([1, 4, 9, 16], [0, 1, 3, 6])
    assert fb.cumulative_trapezoid(x, dx=2.0).tolist() == [5.0, 18.0, 43.0]


@pytest.mark.parametrize("device", ["cpu", "strict"])
@pytest.mark.parametrize("name", ["sum", "mean", "prod", "var", "std", "amax", "logsumexp", "norm"])
def test_a_reduction_of_a_tensor_without_axes(name: str, device: str) -> None:
    x = fb.tensor(3.0, device=device)
    spread = name in ("var", "std")
    found = fb.logsumexp(x, 0) if name == "logsumexp" else getattr(x, name)(**({"correction": 0} if spread else {}))
    assert found.shape == () and found.item() == (0.0 if spread else 3.0)
