"""Special functions as expressions: accuracy against SciPy and mpmath's values, and every special value."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special as sp

from flambeau.core import dtype as dt
from flambeau.core.expr import evaluate, lower, parse
from flambeau.core.expr.arrays import _Compiled
from flambeau.core.special import EXPRESSIONS, operands
from tests.core.test_expr import numpy_functions

#: What each function is compared with, and how many rounding errors it may be off where SciPy is right.
REFERENCES = {
    "ceil": (np.ceil, 0), "trunc": (np.trunc, 0), "round": (np.rint, 0), "frac": (lambda x: x - np.trunc(x), 0),
    "sign": (lambda x: np.where(x > 0, 1.0, np.where(x < 0, -1.0, 0.0)), 0), "signbit": (np.signbit, 0),
    "copysign": (np.copysign, 0), "isnan": (np.isnan, 0), "isinf": (np.isinf, 0), "isfinite": (np.isfinite, 0),
    "nextafter": (np.nextafter, 0), "exp2": (np.exp2, 4), "expm1": (np.expm1, 4), "log1p": (np.log1p, 4),
    "log2": (np.log2, 4), "log10": (np.log10, 4), "logaddexp": (np.logaddexp, 800), "logaddexp2": (np.logaddexp2, 800),
    "hypot": (np.hypot, 4), "tan": (np.tan, 4), "atan": (np.arctan, 4), "asin": (np.arcsin, 4), "acos": (np.arccos, 4),
    "atan2": (np.arctan2, 4), "sinh": (np.sinh, 4), "cosh": (np.cosh, 4), "tanh": (np.tanh, 4),
    "asinh": (np.arcsinh, 4), "acosh": (np.arccosh, 4), "atanh": (np.arctanh, 4), "erf": (sp.erf, 4),
    "erfc": (sp.erfc, 8), "erfinv": (sp.erfinv, 6), "lgamma": (sp.gammaln, 30), "digamma": (sp.digamma, 60),
    "zeta": (sp.zeta, 30), "trigamma": (lambda x: sp.polygamma(1, x), 30), "i0": (sp.i0, 6), "i0e": (sp.i0e, 6),
    "i1": (sp.i1, 10), "i1e": (sp.i1e, 10),
}  # fmt: skip
DTYPES = (dt.float32, dt.float64)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def run(name, dtype, *ins):
    """Through the numpy printer, with nothing native: the primitives alone."""
    program = lower(parse(EXPRESSIONS[name], operands(name)), (dtype,) * len(ins))
    return _Compiled(name, program)(*ins)


def arguments(name, dtype, rng):
    info = np.finfo(dtype.numpy)
    x = np.concatenate([
        rng.normal(size=500), rng.uniform(-1, 1, 500), rng.uniform(0, 30, 500), 10.0 ** rng.uniform(-30, 30, 500),
        -(10.0 ** rng.uniform(-30, 30, 100)), 1 + 10.0 ** rng.uniform(-12, 0, 100),
        1 - 10.0 ** rng.uniform(-12, 0, 100),
        [0.0, -0.0, 1, -1, 0.5, -0.5, 1.5, 2.5, -1.5, 3.5, 8, 10, 1000, 80, -88, 700, -745, np.inf, -np.inf, np.nan],
        [info.max, -info.max, info.tiny, -info.tiny],
    ]).astype(dtype.numpy)  # fmt: skip
    if len(operands(name)) == 1:
        return (x[~(x < 0)] if name == "trigamma" else x,)
    if name == "zeta":  # SciPy takes for ever over some negative y, and this one is for y > 0
        grid = np.meshgrid(
            [1, 1.125, 2, 3.5, 10, 50, 1000, 0.5, np.inf, np.nan], [0, 0.01, 0.5, 1, 2, 7.5, 60, 1e6, np.inf]
        )
        return tuple(axis.ravel().astype(dtype.numpy) for axis in grid)
    special = np.array([0.0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 2.5], dtype.numpy)
    return (
        np.concatenate([x, np.repeat(special, len(special))]),
        np.concatenate([rng.permutation(x), np.tile(special, len(special))]),
    )


def trusted(name, ins):
    """Where the reference is right to the last digits and the function well conditioned."""
    x = ins[0].astype(float)
    with np.errstate(all="ignore"):
        if name == "lgamma":  # SciPy loses digits beside the zeros 1 and 2
            return (x > 0) & (np.abs(x - 1) > 0.3) & (np.abs(x - 2) > 0.3) & (x > 1e-200)
        if name in ("digamma", "trigamma"):
            return (x > 0) & (np.abs(x - 1.4616321449683622) > 0.1)
        if name in ("logaddexp", "logaddexp2"):
            return np.abs(REFERENCES[name][0](*(v.astype(float) for v in ins))) > 1e-2
        if name == "erfc":
            return x < 2
        if name in ("i0", "i1", "i1e"):  # SciPy's infinities are nan, and it loses the sign of zero
            return ~np.isinf(x) & (x != 0)
        if name == "zeta":
            return np.isfinite(x) & (ins[1] > 0)
        if name == "erfinv":
            return (x != 0) & (np.abs(x) < 1 - 1e-9)
    return np.ones(x.shape, bool)


def test_every_expression_has_a_reference():
    assert set(REFERENCES) == set(EXPRESSIONS)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.name)
@pytest.mark.parametrize("name", EXPRESSIONS)
def test_against_scipy(name, dtype, rng):
    ins = arguments(name, dtype, rng)
    reference, allowed = REFERENCES[name]
    got = run(name, dtype, *ins)
    with np.errstate(all="ignore"):
        exact = name in ("nextafter", "signbit")
        expected = reference(*(v if exact else v.astype(float) for v in ins))
        if got.dtype == bool:
            np.testing.assert_array_equal(got, expected)
            return
        assert got.dtype == dtype.numpy
        expected = expected.astype(dtype.numpy)
        sure = trusted(name, ins)
        special = sure & ~(np.isfinite(expected) & np.isfinite(got))
        np.testing.assert_array_equal(got[special], expected[special])
        zeros = sure & (expected == 0)
        np.testing.assert_array_equal(np.signbit(got[zeros]), np.signbit(expected[zeros]))
        eps, tiny = np.finfo(dtype.numpy).eps, np.finfo(dtype.numpy).tiny
        normal = sure & np.isfinite(expected) & np.isfinite(got)
        error = np.abs(got - expected)[normal] / np.maximum(np.abs(expected[normal]), tiny)
    assert error.max() <= allowed * eps


#: Values to 17 digits by mpmath where SciPy's own are off or the conditioning is poor.
EXACT = {
    "lgamma": [(1 - 2.0**-40, 5.249745890089625e-13), (0.25, 1.2880225246980774),
               (2 + 2.0**-40, 3.8452011276491285e-13),
               (1e-300, 690.77552789821371), (-0.5, 1.2655121234846454), (-2.5, -0.056243716497674054),
               (-0.0, np.inf), (-3.0, np.inf), (-np.inf, np.inf), (np.inf, np.inf)],
    "digamma": [(1.5, 0.036489973978576520), (1.25, -0.22745353337626541), (-0.5, 0.036489973978576520),
                (0.0, -np.inf), (-0.0, np.inf), (-1.0, np.nan), (1e-3, -1000.5755719318103)],
    "trigamma": [(1.0, 1.6449340668482264), (-0.5, 8.9348022005446793), (0.25, 17.197329154507110)],
    "erfc": [(27.0, 5.2370489814e-319), (10.0, 2.0884875837625448e-45), (-10.0, 2.0), (0.5, 0.47950012218695346)],
    "i0": [(np.inf, np.inf), (-np.inf, np.inf), (713.0, 6.705128263671e307)],
    "i1": [(np.inf, np.inf), (-np.inf, -np.inf), (-0.0, -0.0)],
    "erfinv": [(1.0, np.inf), (-1.0, -np.inf), (1.5, np.nan), (0.99999, 3.1234132743408749), (-0.0, -0.0)],
}  # fmt: skip


@pytest.mark.parametrize("name", EXACT)
def test_known_values(name):
    x, expected = np.array(EXACT[name]).T
    got = run(name, dt.float64, x)
    np.testing.assert_allclose(got, expected, rtol=3e-12, atol=1e-320)
    np.testing.assert_array_equal(np.signbit(got[expected == 0]), np.signbit(expected[expected == 0]))


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.name)
@pytest.mark.parametrize("name", EXPRESSIONS)
def test_the_evaluator_agrees_with_the_printer(name, dtype, rng):
    ins = arguments(name, dtype, rng)
    env = dict(zip(operands(name), ins, strict=True))
    with np.errstate(all="ignore"):
        interpreted = evaluate(parse(EXPRESSIONS[name], operands(name)), env, numpy_functions(), dtype)
    np.testing.assert_allclose(run(name, dtype, *ins), interpreted, rtol=8 * np.finfo(dtype.numpy).eps)


def test_powers_of_two_and_ten_are_exact():
    k = np.arange(-1074, 1024)
    assert (run("log2", dt.float64, 2.0**k) == k).all()
    assert (run("log10", dt.float64, 10.0 ** np.arange(23)) == np.arange(23)).all()
