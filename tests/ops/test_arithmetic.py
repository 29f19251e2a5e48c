"""Clamp, division by rounding mode, the parts of floats, tolerant comparisons: forms, edges, gradients, errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import special

import flambeau as fb

INF, NAN = float("inf"), float("nan")
EDGES = np.array([-3.0, -0.5, -0.0, 0.0, 0.5, 2.7, NAN, INF, -INF])
WHOLE = np.array([-7, 7, 6, -6, 5, 0])
BY = np.array([2, -2, 4, -4, -1, 3])


def t(a: Any) -> Any:
    return fb.tensor(a)


def equal(found: Any, wanted: Any) -> None:
    np.testing.assert_array_equal(found.numpy(), wanted)


# -- bounds ------------------------------------------------------------------------------------------
def test_clamp_between_numbers_tensors_and_nothing():
    equal(t(EDGES).clamp(-1, 1), np.clip(EDGES, -1, 1))
    equal(fb.clip(t(EDGES), max=0.3), np.minimum(EDGES, 0.3))
    equal(t(EDGES).clamp(min=0), np.maximum(EDGES, 0))
    low, high = np.full(9, -1.0), np.linspace(-2, 2, 9)
    equal(t(EDGES).clamp(t(low), t(high)), np.minimum(np.maximum(EDGES, low), high))
    assert t([1, 5, -3]).clamp(0, 2).tolist() == [1, 2, 0]
    assert t([1, 5, -3]).clamp(0.5).dtype is fb.float32
    assert t([1.0]).clamp(NAN).isnan().item()
    x = t([-1.0, 0.5, 2.0])
    assert x.clamp_(0, 1) is x and x.tolist() == [0, 0.5, 1]
    assert x.clip_(max=0.25).tolist() == [0, 0.25, 0.25]
    out = fb.empty(3)
    assert fb.clamp(t([-1.0, 0.5, 2.0]), 0, 1, out=out) is out and out.tolist() == [0, 0.5, 1]
    with pytest.raises(ValueError, match="clamp: at least one of 'min' or 'max'"):
        fb.clamp(x)


def test_gradients_of_clamp():
    x, low, high = (
        t(v).double().requires_grad_() for v in ([-2.0, 0.5, 3.0, 1.0], [-1.0, 0.0, 0.0, 2.0], [1.0, 1.0, 2.0, 1.5])
    )
    assert fb.autograd.gradcheck(fb.clamp, (x, low, high))
    x.clamp(-2, 3).sum().backward()
    assert x.grad.tolist() == [1, 1, 1, 1]  # the bounds themselves pass


# -- division and powers -----------------------------------------------------------------------------
@pytest.mark.parametrize(("x", "y"), [(WHOLE, BY), (WHOLE * 0.75, BY * 0.5), (WHOLE.astype("i1"), BY.astype("i1"))])
def test_division_by_rounding_mode(x: Any, y: Any) -> None:
    equal(fb.div(t(x), t(y)), (x / y).astype("f4") if x.dtype.kind == "i" else x / y)
    equal(fb.div(t(x), t(y), rounding_mode="trunc"), np.trunc(x / y).astype(x.dtype))
    equal(t(x).div(t(y), rounding_mode="floor"), np.floor(x / y).astype(x.dtype))
    changed = t(x)
    assert changed.div_(t(y), rounding_mode="floor") is changed
    equal(changed, np.floor(x / y).astype(x.dtype))


def test_division_says_what_it_takes():
    with pytest.raises(ValueError, match="div: rounding_mode must be None, 'trunc' or 'floor', got 'up'"):
        fb.div(t([1.0]), 2, rounding_mode="up")
    with pytest.raises(RuntimeError, match=r"div_: result type float32 can't be cast"):
        t([1]).div_(2)


def test_powers_in_double_precision():
    found = fb.float_power(t([2, 3]), 2)
    assert found.dtype is fb.float64 and found.tolist() == [4, 9]
    assert fb.float_power(2, t([0.5])).item() == 2**0.5
    assert fb.float_power(t([1j]), 2).dtype is fb.complex128
    assert fb.rsub(t([1.0]), 3, alpha=2).tolist() == [1]


# -- rounding and the parts of a float ---------------------------------------------------------------
def test_rounding():
    values = np.array([1.25, -2.5, 3.5, 123.456, 0.5])
    for decimals in (0, 1, 2, -1, -2):
        np.testing.assert_allclose(fb.round(t(values), decimals=decimals).numpy(), np.round(values, decimals), 1e-15)
    x = t(values)
    assert x.round_() is x and x.tolist() == [1, -2, 4, 123, 0]
    assert t([1, 2]).round().tolist() == [1, 2]
    with pytest.raises(TypeError, match=r"round: decimals=1 needs a floating tensor, got flambeau.int64"):
        fb.round(t([1]), decimals=1)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_frexp_and_back(dtype: str) -> None:
    tiny = np.finfo(dtype).smallest_subnormal
    x = np.array([0.0, -0.0, 1.0, -1.5, 1e-7, 3e4, tiny, 12 * tiny], dtype)
    mantissa, exponent = fb.frexp(t(x))
    wanted = np.frexp(x)
    equal(mantissa, wanted[0])
    equal(exponent, wanted[1])
    assert exponent.dtype is fb.int32
    equal(fb.ldexp(mantissa.double(), exponent), x.astype("f8"))
    special_values = fb.frexp(t(np.array([INF, -INF, NAN], dtype)))[0]
    assert special_values.tolist()[:2] == [INF, -INF] and special_values[2].isnan()


def test_gradients_of_the_parts():
    x = t([0.3, -5.0, 80.0]).double().requires_grad_()
    assert fb.autograd.gradcheck(lambda v: fb.frexp(v)[0], (x,))
    assert fb.autograd.gradcheck(lambda v: fb.ldexp(v, t([1, 2, -3])), (x,))
    assert fb.autograd.gradcheck(fb.ldexp, (x, t([0.5, 1.0, 2.0]).double().requires_grad_()))


# -- whole numbers -----------------------------------------------------------------------------------
def test_in_place_forms_under_other_names():
    x = t([1, 2])
    assert x.bitwise_left_shift_(3).tolist() == [8, 16] and x.bitwise_right_shift_(2).tolist() == [2, 4]
    assert x.bitwise_left_shift(1).tolist() == [4, 8] and x.logical_not_().tolist() == [0, 0] and x.dtype is fb.int64
    y = t([0.5, 0.75])
    assert y.true_divide_(2).tolist() == [0.25, 0.375]
    np.testing.assert_allclose(y.logit_().numpy(), special.logit([0.25, 0.375]), 1e-6)


def test_divisors_and_multiples_by_kernel_and_by_body():
    x, y = t([12, 0, -18, 3 << 40, 7, 0]), t([18, 5, 0, 9 << 20, 13, 0])
    for gcd in (fb.gcd, fb.gcd.op.body):
        assert gcd(x, y).tolist() == [6, 5, 18, 3 << 20, 1, 0]
    for lcm in (fb.lcm, fb.lcm.op.body):
        assert lcm(t([4, -6, 0]), t([6, 4, 3])).tolist() == [12, 12, 0]
    with pytest.raises(TypeError, match="gcd: not implemented for float32"):
        fb.gcd(t([1.0]), t([2.0]))


# -- special functions -------------------------------------------------------------------------------
@pytest.mark.parametrize("n", range(5))
def test_polygamma(n: int) -> None:
    x = np.concatenate([np.linspace(-4.3, 8, 40), [0.5, 30.0, 1e3]])
    np.testing.assert_allclose(fb.polygamma(n, t(x)).numpy(), special.polygamma(n, x), 1e-12)
    inside = t([-1.4, 0.3, 2.5]).double().requires_grad_()
    assert fb.autograd.gradcheck(lambda v: v.polygamma(n), (inside,))


def test_poles_of_polygamma():
    assert fb.polygamma(3, t([0.0, -1.0])).tolist() == [INF, INF]
    assert fb.polygamma(2, t([0.0, -1.0])).tolist() == [-INF, -INF]
    with pytest.raises(ValueError, match="polygamma: n must not be negative, got -1"):
        fb.polygamma(-1, t([1.0]))


def test_logit():
    x = np.array([0.1, 0.5, 0.9])
    np.testing.assert_allclose(fb.logit(t(x)).numpy(), special.logit(x))
    np.testing.assert_allclose(fb.logit(t(x), 0.2).numpy(), special.logit(np.clip(x, 0.2, 0.8)))
    assert fb.logit(t([0.0, 1.0])).tolist() == [-INF, INF]
    y = t(x).requires_grad_()
    fb.logit(y, 0.2).sum().backward()
    np.testing.assert_allclose(y.grad.numpy(), [0, 4, 0])


def test_repairs():
    equal(fb.nan_to_num(t(EDGES)), np.nan_to_num(EDGES))
    equal(t(EDGES).nan_to_num(1, 2, 3), np.nan_to_num(EDGES, nan=1, posinf=2, neginf=3))
    assert fb.nan_to_num(t([complex(NAN, INF)]), 0, 5).tolist() == [5j]
    assert fb.nan_to_num(t([3])).tolist() == [3]
    x = t(EDGES)
    assert x.nan_to_num_(0, 0, 0) is x and x.isfinite().all()


def test_angles():
    equal(fb.angle(t(EDGES)), np.where(np.isnan(EDGES), NAN, np.where(EDGES < 0, np.pi, 0)))
    z = np.array([1 + 2j, -1 - 1j, 0j, -2 + 0j])
    np.testing.assert_allclose(fb.angle(t(z)).numpy(), np.angle(z))
    assert fb.autograd.gradcheck(fb.angle, (t(z[:2]).requires_grad_(),))
    assert fb.polar(t([2.0]), t([0.0])).tolist() == [2]
    assert fb.isreal(t([1j, 1 + 0j])).tolist() == [False, True] and fb.isreal(t([1.0])).tolist() == [True]


# -- comparisons -------------------------------------------------------------------------------------
def test_closeness():
    for x, y in ((EDGES, EDGES + 1e-9), (EDGES, -EDGES), (np.array([1e-9, 1.0]), np.array([0.0, 1.001]))):
        for equal_nan in (False, True):
            equal(fb.isclose(t(x), t(y), equal_nan=equal_nan), np.isclose(x, y, 1e-5, 1e-8, equal_nan))
    assert fb.isclose(t([10, 11]), t([10, 12]), rtol=0.1).tolist() == [True, True]
    assert fb.isclose(t([True]), t([True])).item() and fb.isclose(t([1.0]), t([1.0]), 0, 0).item()
    assert fb.allclose(t([1.0]), t([1.0 + 1e-7])) and not t([1.0]).allclose(t([1.1]))
    with pytest.raises(ValueError, match="isclose: rtol and atol must not be negative, got rtol=-1"):
        fb.isclose(t([1.0]), t([1.0]), rtol=-1)


def test_finite_and_infinite_in_every_dtype():
    equal(t(EDGES).isfinite(), np.isfinite(EDGES))
    z = t([complex(1, INF), complex(NAN, 1), 1j])
    assert fb.isinf(z).tolist() == [True, False, False] and z.isfinite().tolist() == [False, False, True]
    assert t([1, 2]).isfinite().all() and not fb.isinf(t([1, 2])).any()
    assert fb.isposinf(t([INF, -INF])).tolist() == [True, False] == (~fb.isneginf(t([INF, -INF]))).tolist()


def test_equality_of_whole_tensors():
    assert fb.equal(t([1, 2]), t([1, 2])) and not fb.equal(t([1, 2]), t([1, 3])) and not fb.equal(t([1]), t([1, 1]))
    assert not fb.equal(t([NAN]), t([NAN]))


@pytest.mark.parametrize("count", [5, 200])
def test_isin(count: int) -> None:
    rng = np.random.default_rng(0)
    x, among = rng.integers(0, 300, (4, 5)), rng.integers(0, 300, count)
    equal(fb.isin(t(x), t(among)), np.isin(x, among))
    equal(fb.isin(t(x), t(among), invert=True), ~np.isin(x, among))
    assert fb.isin(t([1, 7]), 7).tolist() == [False, True] and fb.isin(7, t([1, 7])).item()
    assert fb.isin(t([1.5, 2.0]), t(among[:1] * 0 + 2)).tolist() == [False, True]
    with pytest.raises(TypeError, match="isin: elements or test_elements must be a tensor, got int and int"):
        fb.isin(1, 2)


# -- fused additions ---------------------------------------------------------------------------------
FUSED: list[Callable[..., Any]] = [
    lambda x, a, b: fb.addcmul(x, a, b, value=0.5), lambda x, a, b: fb.addcdiv(x, a, b, value=2), fb.lerp,
    lambda x, a, b: fb.lerp(x, a, 0.3), lambda x, a, b: fb.addcmul(x, a, b),
]  # fmt: skip


@pytest.mark.parametrize("i", range(len(FUSED)))
def test_gradients_of_fused_additions(i: int) -> None:
    rng = np.random.default_rng(i)
    leaves = tuple(t(rng.uniform(0.5, 2, shape)).requires_grad_() for shape in ((2, 3), (3,), (2, 1)))
    assert fb.autograd.gradcheck(FUSED[i], leaves) and fb.autograd.gradgradcheck(FUSED[i], leaves)


def test_fused_additions_in_place():
    x = fb.ones(3)
    x.addcmul_(t([1.0, 2.0, 3.0]), t([2.0, 2.0, 2.0]), value=0.5).addcdiv_(fb.ones(3), t([1.0, 2.0, 4.0]))
    assert x.tolist() == [3, 3.5, 4.25]
    assert fb.lerp(t([0.0, 10.0]), t([10.0, 20.0]), 0.25).tolist() == [2.5, 12.5]


@pytest.mark.parametrize("name", ["floor_divide", "remainder", "fmod"])
@pytest.mark.parametrize("dtype", [fb.uint8, fb.int32, fb.int64])
def test_integers_are_not_divided_by_zero(name, dtype):
    """As in torch on the host; floats give infinities and nan."""
    x = fb.ones(3, dtype=dtype)
    for divisor in (0, fb.tensor([1, 0, 2], dtype=dtype)):
        with pytest.raises(ZeroDivisionError, match="divided by 0"):
            getattr(fb, name)(x, divisor)
        with pytest.raises(RuntimeError, match="divided by 0"):
            getattr(x, f"{name}_")(divisor)
    assert x.tolist() == [1, 1, 1]
    assert not fb.floor_divide(fb.ones(1), 0.0).isfinite()


def test_integers_have_no_negative_powers():
    with pytest.raises(RuntimeError, match="negative integer powers"):
        fb.tensor([1, 2]) ** -1
    assert (fb.tensor([1, 2]) ** fb.tensor([-1, -1])).tolist() == [1, 0]
