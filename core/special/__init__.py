"""Special functions as scalar expressions in the 24 minimum functions.

``EXPRESSIONS[name]`` is the expression of a function, over ``x``, or ``x`` and ``y``. Targets that have a function of
their own use that; everywhere else one generated kernel serves. In float64 the results are good to about 1e-14
relative, except beside zeros of a function that it shares with no simpler one (lgamma on the negative axis, say).

Where no source is named, a polynomial is the Chebyshev interpolant of the function on the interval where it is
used, computed with 60 digits by mpmath and written in monomials of the variable named beside it.
"""

from __future__ import annotations

import math
from typing import Final

from flambeau.core.expr import define
from flambeau.core.special import bessel, incomplete
from flambeau.core.special.series import LGAMMA, STIRLING, cotangent_derivative, horner, ratio

# atan(x) = x + x*z*P(z), z = x*x, for |x| <= tan(pi/8)
_ATAN: Final = (
    -0.3333333333333333, 0.19999999999999993, -0.14285714285711518, 0.11111111110754729, -0.0909090906700999,
    0.07692306736000173, -0.06666642020055166, 0.058819252531928636, -0.05258041554297779, 0.04719395030027433,
    -0.04104436265755082, 0.030635704112969498, -0.01391822929102443,
)  # fmt: skip
# tanh(x) = x + x*z*P(z), z = x*x, for |x| <= 0.625
_TANH: Final = (
    -0.3333333333333333, 0.13333333333333042, -0.05396825396789699, 0.021869488519008305, -0.008863235103240878,
    0.0035921217511549622, -0.0014557754120478055, 0.0005896606577757043, -0.0002375906496055562,
    9.257116129556769e-05, -3.12011014257974e-05, 6.485163482793113e-06,
)  # fmt: skip
_TANH_SINGLE: Final = (
    -0.33333328944134255, 0.13332769736976327, -0.05385090957851358, 0.020997178999074752, -0.006096714165908197,
)  # fmt: skip
# sinh(x) = x + x*z*P(z), z = x*x, for |x| <= 1
_SINH: Final = (
    0.16666666666666666, 0.008333333333333299, 0.00019841269841324198, 2.7557319191381816e-06,
    2.5052117695907823e-08, 1.6057679623801638e-10, 7.746178593018827e-13,
)  # fmt: skip
# psi(x) / (x - root) for 1 <= x <= 2, in x - 1.5; the root is given in two parts, the first exact in float32
_DIGAMMA: Final = (
    0.951055876031833, -0.4236274212814605, 0.2405424842407742, -0.14840492305390884, 0.09498872445494122,
    -0.061922133273064534, 0.04076083381242074, -0.02697579675613825, 0.0179072524394512, -0.011908218001568644,
    0.007926944646403797, -0.005279964873257405, 0.003519006401502276, -0.002345267632540769, 0.0015566317474486838,
    -0.0010376374098418604, 0.0007233266279287554, -0.0004821990530566789, 0.0002272331660987376,
    -0.00015148586836773365, 0.00025968482126430747, -0.00017312261802727394,
)  # fmt: skip
# psi(x) - log(x) + 1/(2x) = -P(w)*w, w = 1/x**2: B(2k) / 2k
_DIGAMMA_LARGE: Final = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12)
# I0(x) = P(t) and I1(x) = x/2*Q(t), t = x*x/4, for |x| <= 8; beyond, exp(-x)*sqrt(x)*I(x) in 16/x - 1
_I0: Final = (
    1.0, 1.0, 0.2500000000000001, 0.027777777777777565, 0.0017361111111113758, 6.944444444424399e-05,
    1.9290123457790406e-06, 3.936759885673581e-08, 6.151187413177668e-10, 7.594056846699174e-12,
    7.594079950279469e-14, 6.275862820937522e-16, 4.3600362269175774e-18, 2.5698743857514957e-20,
    1.35095827969477e-22, 4.940670282542572e-25, 3.6454386812677436e-27,
)  # fmt: skip
_I1: Final = (
    1.0, 0.5000000000000001, 0.08333333333333304, 0.0069444444444450686, 0.00034722222222153507,
    1.157407407453132e-05, 2.7557319204030443e-07, 4.920949921538654e-09, 6.834651294492253e-11,
    7.594078567160322e-13, 6.90345927367201e-15, 5.231992159979275e-17, 3.3410044697092935e-19,
    1.891028804078631e-21, 7.413211040554544e-24, 5.833651333188183e-26,
)  # fmt: skip
_I0_LARGE: Final = (
    0.4021765094450081, 0.003360551983667854, 0.00013621607439232746, 1.1143033791556743e-05, 1.4838475473607391e-06,
    2.973598432479169e-07, 8.87225351128584e-08, 3.932602459703109e-08, 2.1545177650836005e-08,
    7.553516470355896e-09, -6.729724111923548e-09, -1.3404241991980871e-08, -5.4685974495866e-09,
    7.540601378890834e-09, 7.58022133915272e-09, -3.4857887470034955e-09, -6.188265090497361e-09,
    1.497880830187091e-09, 3.881151253996067e-09, -5.562201990080394e-10, -1.7789375042917173e-09,
    1.4672236659214398e-10, 5.181936971288284e-10, -1.9216763724933513e-11, -7.06893851181878e-11,
)  # fmt: skip
_I1_LARGE: Final = (
    0.38939845902587233, -0.009749577193235728, -0.00021923576383430274, -1.5038547201176271e-05,
    -1.8349101134666435e-06, -3.483855609009937e-07, -1.0001323461066435e-07, -4.312935369971356e-08,
    -2.337059627111857e-08, -8.426622829598154e-09, 6.715795128085017e-09, 1.4029693589852716e-08,
    6.040877342160988e-09, -7.630751970065577e-09, -8.044231276166508e-09, 3.406636130196794e-09,
    6.4870195719816896e-09, -1.4171698018664596e-09, -4.047785403711858e-09, 5.146498826087142e-10,
    1.8513716745511988e-09, -1.342266320082222e-10, -5.388285995923524e-10, 1.7502497778701306e-11,
    7.347992441734663e-11,
)  # fmt: skip
# W. J. Cody, "Rational Chebyshev approximations for the error function", Math. Comp. 23 (1969): the coefficients
# of erf on [0, 0.5] in x*x, of exp(x*x)*erfc(x) on [0.5, 4] in x, and beyond in 1/x**2.
_ERF_NEAR: Final = (3.20937758913846947e03, 3.77485237685302021e02, 1.13864154151050156e02, 3.16112374387056560,
                    1.85777706184603153e-1)  # fmt: skip
_ERF_NEAR_BELOW: Final = (2.84423683343917062e03, 1.28261652607737228e03, 2.44024637934444173e02,
                          2.36012909523441209e01, 1.0)  # fmt: skip
_ERFC_MID: Final = (1.23033935479799725e03, 2.05107837782607147e03, 1.71204761263407058e03, 8.81952221241769090e02,
                    2.98635138197400131e02, 6.61191906371416295e01, 8.88314979438837594, 5.64188496988670089e-1,
                    2.15311535474403846e-8)  # fmt: skip
_ERFC_MID_BELOW: Final = (1.23033935480374942e03, 3.43936767414372164e03, 4.36261909014324716e03,
                          3.29079923573345963e03, 1.62138957456669019e03, 5.37181101862009858e02,
                          1.17693950891312499e02, 1.57449261107098347e01, 1.0)  # fmt: skip
_ERFC_FAR: Final = (6.58749161529837803e-4, 1.60837851487422766e-2, 1.25781726111229246e-1, 3.60344899949804439e-1,
                    3.05326634961232344e-1, 1.63153871373020978e-2)  # fmt: skip
_ERFC_FAR_BELOW: Final = (2.33520497626869185e-3, 6.05183413124413191e-2, 5.27905102951428412e-1,
                          1.87295284992346725, 2.56852019228982242, 1.0)  # fmt: skip
# Single precision: erf(x) = x*P(x*x) to 1, then 1 - exp(-Q(x - 1)); both in one exp and no division.
_ERF_SINGLE: Final = (
    1.1283791658483509, -0.37612626666720334, 0.11283594715160218, -0.026854212010626412, 0.005189087423433974,
    -0.000801686428716587, 7.875875062685488e-05,
)  # fmt: skip
_ERF_SINGLE_FAR: Final = (
    1.8496057990114039, 2.6389550079813393, 0.843194912171782, 0.04133194298969157, -0.009754206766857652,
    0.0018210530701098062, -0.00022709200099786347, 1.3587932222766934e-05,
)  # fmt: skip
# M. J. Wichura, "Algorithm AS 241: The percentage points of the normal distribution", Applied Statistics 37 (1988).
_QUANTILE: Final = (3.3871328727963666080, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
                    4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4,
                    2.5090809287301226727e3)  # fmt: skip
_QUANTILE_BELOW: Final = (1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
                          2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4,
                          5.2264952788528545610e3)  # fmt: skip
_QUANTILE_MID: Final = (1.42343711074968357734, 4.63033784615654529590, 5.76949722146069140550,
                        3.64784832476320460504, 1.27045825245236838258, 2.41780725177450611770e-1,
                        2.27238449892691845833e-2, 7.74545014278341407640e-4)  # fmt: skip
_QUANTILE_MID_BELOW: Final = (1.0, 2.05319162663775882187, 1.67638483018380384940, 6.89767334985100004550e-1,
                              1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4,
                              1.05075007164441684324e-9)  # fmt: skip
_QUANTILE_FAR: Final = (6.65790464350110377720, 5.46378491116411436990, 1.78482653991729133580,
                        2.96560571828504891230e-1, 2.65321895265761230930e-2, 1.24266094738807843860e-3,
                        2.71155556874348757815e-5, 2.01033439929228813265e-7)  # fmt: skip
_QUANTILE_FAR_BELOW: Final = (1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
                              7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7,
                              2.04426310338993978564e-15)  # fmt: skip
# The Euler-Maclaurin formula: B(2k) / (2k)!
_EULER_MACLAURIN: Final = (1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160, -691 / 1307674368000,
                           1 / 74724249600, -3617 / 10670622842880000)  # fmt: skip


def _bessel(near: str, far: str, odd: bool, scaled: bool) -> str:
    """I0 or I1, times exp(-abs(x)) when ``scaled``; exp in halves does not overflow before the result does."""
    near = f"{near} * exp(-a)" if scaled else near
    far = f"{far} / sqrt(b)" if scaled else f"(h * ({far} / sqrt(b))) * h"
    half = "" if scaled else "let h = exp(0.5 * b); "
    sign = "copysign(r, x)" if odd else "r"
    return (
        "let a = abs(x); let n = minimum(a, 8); let t = 0.25 * n * n; let b = maximum(a, 8); let y = 16 / b - 1; "
        f"{half}let r = a if a == inf and {not scaled} else ({near} if a <= 8 else {far}); {sign}"
    )


def _lgamma() -> str:
    """Shift a small x into [1.5, 2.5], where a polynomial serves; Stirling from 8 on; reflection below 0."""
    down = "".join(f"let p{i} = p{i - 1} * (q - {i}) if q - {i} >= 1.5 else p{i - 1}; " for i in range(1, 7))
    return (
        "let a = abs(x); let small = a < 8; let q = where(small, a, 2); let g = maximum(a, 8); "
        f"let p0 = q * (q + 1) if q < 0.5 else (q if q < 1.5 else 1); {down}"
        "let z = q if q < 0.5 else (q - 1 if q < 1.5 else q - floor(q - 1.5) - 2); "
        f"let near = z * {horner('z', LGAMMA)} + where(q < 1.5, -log(p0), log(p6)); "
        f"let w = 1 / (g * g); let far = (g - 0.5) * log(g) - g + 0.9189385332046727 + {horner('w', STIRLING)} / g; "
        "let positive = inf if a == inf else (near if small else far); "
        "let f = a - floor(a); let s = sin(pi * minimum(f, 1 - f)); "
        "let negative = inf if s == 0 else 1.1447298858494002 - log(abs(x * s)) - positive; "
        "inf if a == inf else (negative if x < 0 else positive)"
    )


def _digamma() -> str:
    """One polynomial on [1, 2], asymptotics from 10 on, recurrences between; reflection below 0."""
    up = " + ".join(f"1 / (m + {i})" for i in range(8))
    return (
        "let a = 1 - x if x < 0 else x; let c = minimum(where(a < 1, a + 1, a), 2); let t = c - 1.5; "
        f"let low = ((c - 1.4616321325302124) - 1.2438149938918909e-08) * {horner('t', _DIGAMMA)} "
        "- where(a < 1, 1 / a, 0); "
        "let m = where(a < 10, maximum(a, 2), 2); let g = where(a < 10, m + 8, a); let w = 1 / (g * g); "
        f"let far = log(g) - 0.5 / g - w * {horner('w', _DIGAMMA_LARGE)}; "
        f"let high = far - ({up}) if a < 10 else far; let positive = low if a <= 2 else high; "
        "let f = x - trunc(x); let r = where(f < -0.5, f + 1, f); let mirrored = positive - pi / tan(pi * r); "
        "where(x == 0, -copysign(inf, x), where(x < 0, where(r == 0, nan, mirrored), positive))"
    )


def _zeta() -> str:
    """Hurwitz's zeta function of x and y > 0 by the Euler-Maclaurin formula after ten terms.

    For x beyond 4 (y + 10) the correction is nothing beside the first term, so there x is held back in it.
    """
    terms = " + ".join(f"pow(y + {i}, -x)" if i else "pow(y, -x)" for i in range(10))
    factors = "let f1 = c / n; "
    for k in range(1, len(_EULER_MACLAURIN)):
        factors += f"let f{k + 1} = f{k} * ((c + {2 * k - 1}) / n) * ((c + {2 * k}) / n); "
    correction = " + ".join(f"{c!r} * f{k}" for k, c in enumerate(_EULER_MACLAURIN, 1))
    return (
        f"let n = y + 10; let c = minimum(x, 4 * n); {factors}"
        f"let sum = {terms} + pow(n, 1 - x) / (x - 1) + pow(n, -x) * (0.5 + {correction}); "
        "let rest = where(y == trunc(y), inf, nan) if y <= 0 else (0 if y == inf else sum); "
        "inf if x == 1 else (nan if x < 1 else rest)"
    )


def polygamma(n: int) -> str:
    """The n-th derivative of digamma, over ``x``, by Hurwitz's zeta function for positive x.

    Elsewhere by the reflection formula (DLMF 5.15.1 and 5.15.6); cot has period pi, and is infinite at the poles.
    """
    if n < 2:
        return "trigamma(x)" if n else "digamma(x)"
    size, pole = math.factorial(n) * (1.0 if n % 2 else -1.0), "inf" if n % 2 else "-inf"
    return (
        f"let direct = {size!r} * zeta({n + 1}, 1 - x if x <= 0 else x); let t = pi * (x - floor(x)); "
        f"let c = cos(t) / sin(t); let other = {math.pi ** (n + 1)!r} * {horner('c', cotangent_derivative(n))}; "
        f"{pole} if x <= 0 and x == floor(x) else ({'-' if n % 2 else ''}direct - other if x <= 0 else direct)"
    )


def _quantile(near: str, mid: str) -> str:
    """``r``: one of three quotients of polynomials, in ``c``, ``m`` and ``g``, with a single division."""
    above = (horner("c", _QUANTILE), horner("m", _QUANTILE_MID), horner("g", _QUANTILE_FAR))
    below = (horner("c", _QUANTILE_BELOW), horner("m", _QUANTILE_MID_BELOW), horner("g", _QUANTILE_FAR_BELOW))
    chosen = [f"({n} if {near} else ({m} if {mid} else {f}))" for n, m, f in (above, below)]
    return f"let r = {chosen[0]} / {chosen[1]}; "


_I: Final = "let i = sqrt(where(x == 0, -1, -1)); "  # the imaginary unit

#: Where complex numbers need a formula of their own: the ones below compare, or count signs.
COMPLEX: Final[dict[str, str]] = {
    "exp2": "exp(0.6931471805599453 * x)",
    "expm1": "let u = exp(x); x if u == 1 else u - 1",
    "log1p": "let u = 1 + x; x if u == 1 else log(u)",
    "log2": "log(x) * 1.4426950408889634",
    "log10": "log(x) * 0.4342944819032518",
    "asin": f"{_I}-i * log(i * x + sqrt(1 - x) * sqrt(1 + x))",
    "acos": f"{_I}0.5 * pi + i * log(i * x + sqrt(1 - x) * sqrt(1 + x))",
    "atan": f"{_I}0.5 * i * (log(1 - i * x) - log(1 + i * x))",
    "asinh": "log(x + sqrt(x * x + 1))",
    "acosh": "log(x + sqrt(x + 1) * sqrt(x - 1))",
    "atanh": "0.5 * (log(1 + x) - log(1 - x))",
    "sinh": "0.5 * (exp(x) - exp(-x))",
    "cosh": "0.5 * (exp(x) + exp(-x))",
    "tanh": "1 - 2 / (exp(2 * x) + 1)",
}

EXPRESSIONS: Final[dict[str, str]] = {
    # rounding and signs
    "ceil": "-floor(-x)",
    "trunc": "where(x < 0, -floor(-x), floor(x))",
    "round": "let f = floor(x); let d = x - f; let odd = f - 2 * floor(0.5 * f); "
             "let r = f if d < 0.5 else (f + 1 if d > 0.5 else f + odd); "
             "x if d != d else (x * 0 if r == 0 else r)",
    "frac": "x - trunc(x)",
    "sign": "where(x > 0, 1, where(x < 0, -1, 0))",
    "signbit": "bitcast_int(x) < 0",
    "copysign": "where(signbit(x) != signbit(y), -x, x)",
    "isnan": "x != x",
    "isinf": "abs(x) == inf",
    "isfinite": "abs(x) < inf",
    "nextafter": "let step = to_int(where((x < y) == (x > 0), 1, -1)); "
                 "x + y if x != x or y != y else (y if x == y else ("
                 "copysign(bitcast_float(1), y) if x == 0 else bitcast_float(bitcast_int(x) + step)))",
    # exponentials and logarithms; expm1 and log1p after W. Kahan: the rounding of exp(x) or 1+x cancels
    "exp2": "pow(2, x)",
    "expm1": "let u = exp(x); let m = u - 1; x if u == 1 else (m if m == -1 or u == inf else m * (x / log(u)))",
    "log1p": "let u = 1 + x; x if u == 1 else (u if u == inf else log(u) * (x / (u - 1)))",
    "log2": "let y = where(x < tiny, x * 2**(mantissa + 1), x); let b = bitcast_int(y); "
            "let k0 = (b >> mantissa) - bias; let m0 = bitcast_float(b - (k0 << mantissa)); let high = m0 > 1.4142135; "
            "let m = where(high, 0.5 * m0, m0); let k = where(high, k0 + 1, k0) - where(x < tiny, mantissa + 1, 0); "
            "k + log(m) * 1.4426950408889634 if x > 0 and x < inf else log(x)",
    "log10": "let r = log(x) * 0.4342944819032518; let n = floor(r + 0.5); n if pow(10, n) == x else r",
    "logaddexp": "let m = maximum(x, y); m + log1p(exp(where(x == y, 0, -abs(x - y))))",
    "logaddexp2": "let m = maximum(x, y); m + 1.4426950408889634 * log1p(exp2(where(x == y, 0, -abs(x - y))))",
    "hypot": "let a = abs(x); let b = abs(y); let m = maximum(a, b); let r = minimum(a, b) / m; "
             "inf if a == inf or b == inf else (m if m == 0 else m * sqrt(1 + r * r))",
    # trigonometry
    "tan": "sin(x) / cos(x)",
    "atan": "let a = abs(x); let turned = a > 2.414213562373095; let mid = a > 0.41421356237309503; "
            "let t = where(turned, -1 / a, where(mid, (a - 1) / (a + 1), a)); let z = t * t; "
            f"let r = t + t * z * {horner('z', _ATAN)} + where(turned, 0.5 * pi, where(mid, 0.25 * pi, 0)); "
            "copysign(r, x)",
    "asin": "atan(x / sqrt((1 - x) * (1 + x)))",
    "acos": "2 * atan(sqrt((1 - x) / (1 + x)))",
    "atan2": "let a = abs(x); let b = abs(y); let big = maximum(a, b); let small = minimum(a, b); "
             "let t = atan(where(big == 0, 0, where(small == inf, 1, small / big))); "
             "let u = where(a > b, 0.5 * pi - t, t); "
             "copysign(where(signbit(y), pi - u, u), x) if x == x and y == y else x + y",
    "sinh": f"let a = abs(x); let z = x * x; let h = exp(0.5 * a); let u = exp(minimum(a, 80)); "
            f"x + x * z * {horner('z', _SINH)} if a <= 1 "
            "else copysign(0.5 * (u - 1 / u) if a <= 80 else (0.5 * h) * h, x)",
    "cosh": "let a = abs(x); let h = exp(0.5 * a); let u = exp(minimum(a, 80)); "
            "0.5 * (u + 1 / u) if a <= 80 else (0.5 * h) * h",
    "tanh": "let a = abs(x); let z = x * x; let r = 1 - 2 / (exp(2 * a) + 1); "
            f"let p = {horner('z', _TANH)} if eps < 1e-10 else {horner('z', _TANH_SINGLE)}; "
            "copysign(a + a * z * p if a <= 0.625 else r, x)",
    "asinh": "let a = abs(x); let near = log1p(a + a * a / (1 + sqrt(a * a + 1))); "
             "let r = log(a) + 0.6931471805599453 if a > 1e9 else near; "
             "copysign(r, x)",
    "acosh": "let t = x - 1; let r = log(x) + 0.6931471805599453 if x > 1e9 else log1p(t + sqrt(2 * t + t * t)); "
             "nan if x < 1 else r",
    "atanh": "let a = abs(x); copysign(0.5 * log1p(2 * a / (1 - a)), x)",
    # the error function; exp(-x*x) in two parts, of which the first is exact, keeps erfc's relative accuracy
    "erf": f"let a = abs(x); let z = x * x; let t = minimum(a, 4) - 1; "
           f"let single = x * {horner('z', _ERF_SINGLE)} if a <= 1 "
           f"else copysign(1 - exp(-{horner('t', _ERF_SINGLE_FAR)}), x); "
           f"let double = x * ({ratio('z', _ERF_NEAR, _ERF_NEAR_BELOW)}) if a <= 0.5 else copysign(1 - erfc(a), x); "
           "double if eps < 1e-10 else (single if x == x else x)",
    "erfc": f"let a = abs(x); let n = minimum(a, 0.5); let z = n * n; let m = minimum(a, 4); let g = maximum(a, 4); "
            f"let w = 1 / (g * g); let c = minimum(a, 40); let s = floor(16 * c) / 16; "
            "let gauss = exp(-s * s) * exp(-((c - s) * (c + s))); "
            f"let near = 1 - x * ({ratio('z', _ERF_NEAR, _ERF_NEAR_BELOW)}); "
            f"let mid = gauss * ({ratio('m', _ERFC_MID, _ERFC_MID_BELOW)}); "
            f"let far = gauss * (0.5641895835477563 - w * ({ratio('w', _ERFC_FAR, _ERFC_FAR_BELOW)})) / g; "
            "let r = mid if a <= 4 else far; near if a <= 0.5 else (2 - r if x < 0 else (r if x == x else x))",
    "erfinv": "let a = abs(x); let q = 0.5 * x; let c = 0.180625 - q * q; let l = sqrt(-log(0.5 * (1 - a))); "
              "let m = l - 1.6; let g = l - 5; let is_near = a <= 0.85; "
              f"{_quantile('is_near', 'l <= 5 or eps > 1e-10')}"
              "0.7071067811865476 * (q * r) if is_near else copysign(inf if a == 1 else 0.7071067811865476 * r, x)",
    # gamma and its relatives
    "lgamma": _lgamma(),
    "digamma": _digamma(),
    "zeta": _zeta(),
    "trigamma": "let a = 1 - x if x < 0.5 else x; let f = x - trunc(x); "
                "let s = pi / sin(pi * where(f < -0.5, f + 1, f)); "
                "let z = zeta(2, a); s * s - z if x < 0.5 else z",
    # modified Bessel functions
    "i0": _bessel(horner("t", _I0), horner("y", _I0_LARGE), odd=False, scaled=False),
    "i0e": _bessel(horner("t", _I0), horner("y", _I0_LARGE), odd=False, scaled=True),
    "i1": _bessel(f"0.5 * a * {horner('t', _I1)}", horner("y", _I1_LARGE), odd=True, scaled=False),
    "i1e": _bessel(f"0.5 * a * {horner('t', _I1)}", horner("y", _I1_LARGE), odd=True, scaled=True),
    # the normal distribution
    "erfcx": f"let n = minimum(x, 0.5); let c = maximum(n, -40); let s = -floor(-16 * c) / 16; "
             "let gauss = exp(s * s) * exp((c - s) * (c + s)); let a = maximum(x, 0.5); let m = minimum(a, 4); "
             "let g = maximum(a, 4); let w = 1 / (g * g); "
             f"let mid = {ratio('m', _ERFC_MID, _ERFC_MID_BELOW)}; "
             f"let far = (0.5641895835477563 - w * ({ratio('w', _ERFC_FAR, _ERFC_FAR_BELOW)})) / g; "
             "gauss * erfc(n) if x < 0.5 else (x if x != x else (mid if a <= 4 else far))",
    "ndtr": "let c = minimum(maximum(x, -40), -1); let s = -floor(-16 * c) / 16; "
            "let gauss = exp(-0.5 * s * s) * exp(-0.5 * (c - s) * (c + s)); "
            "0.5 * gauss * erfcx(-0.7071067811865476 * c) if x < -1 else 0.5 * erfc(-0.7071067811865476 * x)",
    "ndtri": "let q = x - 0.5; let c = 0.180625 - q * q; let l = sqrt(-log(minimum(x, 1 - x))); "
             f"let m = l - 1.6; let g = minimum(l, 40) - 5; let is_near = abs(q) <= 0.425; "
             f"{_quantile('is_near', 'l <= 5')}let far = inf if l == inf else r; "
             "q * r if is_near else (-far if q < 0 else far)",
    "log_ndtr": "let a = -0.7071067811865476 * x; let t = maximum(a, 0); "
                "log(0.5 * erfcx(t)) - t * t if x < -1 else log1p(-ndtr(-x))",
    **bessel.EXPRESSIONS,
    **incomplete.EXPRESSIONS,
}  # fmt: skip

_BINARY: Final = frozenset({
    "copysign", "nextafter", "logaddexp", "logaddexp2", "hypot", "atan2", "zeta", "igamma", "igammac",
})  # fmt: skip


def operands(name: str) -> tuple[str, ...]:
    """The operands of a special function: ``("x",)`` or ``("x", "y")``."""
    return ("x", "y") if name in _BINARY else ("x",)


for _name, _source in EXPRESSIONS.items():
    define(_name, _source, operands(_name))
