"""The regularized incomplete gamma functions as expressions.

Beside a = x, for a of 30 and more, the uniform asymptotic expansion of N. M. Temme (SIAM J. Math. Anal. 10, 1979),
below it the power series, above it Legendre's continued fraction (NIST Handbook 8.11.4 and 8.9.2), and for small a
and x the complement of the series without what cancels (W. Gautschi, ACM TOMS 5, 1979).
"""

from __future__ import annotations

from typing import Final

from flambeau.core.special.series import LGAMMA, STIRLING, horner

# The polynomials in eta that Temme's expansion has for the powers of 1/a, computed with 50 digits by mpmath.
_TEMME: Final = (
    (-0.3333333333333333, 0.08333333333333333, -0.014814814814814815, 0.0011574074074074073,
     0.0003527336860670194, -0.0001787551440329218, 3.919263178522438e-05, -2.185448510679992e-06,
     -1.85406221071516e-06, 8.296711340953087e-07, -1.7665952736826078e-07, 6.707853543401498e-09,
     1.0261809784240309e-08, -4.382036018453353e-09, 9.14769958223679e-10, -2.5514193994946248e-11,
     -5.830772132550426e-11, 2.4361948020667415e-11, -5.0276692801141755e-12, 1.1004392031956135e-13,
     3.371763262400985e-13, -1.392388722418162e-13, 2.8534893807047445e-14, -5.139111834242572e-16,
     -1.9752288294349442e-15, 8.099521156704561e-16),
    (-0.001851851851851852, -0.003472222222222222, 0.0026455026455026454, -0.0009902263374485596,
     0.00020576131687242798, -4.018775720164609e-07, -1.8098550334489977e-05, 7.64916091608111e-06,
     -1.6120900894563446e-06, 4.647127802807434e-09, 1.378633446915721e-07, -5.752545603517705e-08,
     1.1951628599778148e-08, -1.7543241719747647e-11, -1.0091543710600413e-09, 4.162792991842583e-10,
     -8.56390702649298e-11, 6.067215101604758e-14, 7.1624989648114856e-12, -2.933186643771437e-12,
     5.996696365683689e-13, -2.1671786527323313e-16, -4.978339972369262e-14, 2.0291628823713425e-14),
    (0.004133597883597883, -0.0026813271604938273, 0.0007716049382716049, 2.0093878600823047e-06,
     -0.0001073665322636516, 5.2923448829120125e-05, -1.2760635188618728e-05, 3.423578734096138e-08,
     1.3721957309062934e-06, -6.298992138380055e-07, 1.4280614206064242e-07, -2.0477098421990866e-10,
     -1.409252991086752e-08, 6.228974084922022e-09, -1.3670488396617114e-09, 9.428356159014678e-13,
     1.2872252400089318e-10, -5.5645956134363323e-11, 1.197593554636698e-11, -4.1689782251838634e-15,
     -1.0940640427884595e-12, 4.662239946390136e-13),
    (0.0006494341563786008, 0.00022947209362139917, -0.0004691894943952557, 0.00026772063206283885,
     -7.561801671883977e-05, -2.396505113867297e-07, 1.1082654115347302e-05, -5.6749528269915965e-06,
     1.4230900732435883e-06, -2.7861080291528143e-11, -1.6958404091930278e-07, 8.099464905388083e-08,
     -1.9111168485973655e-08, 2.3928620439808118e-12, 2.0620131815488797e-09, -9.460496661855133e-10,
     2.1541049775774907e-10, -1.388823336813903e-14, -2.1894761681963938e-11, 9.790998951171684e-12),
    (-0.0008618882909167117, 0.0007840392217200666, -0.0002990724803031902, -1.4638452578843418e-06,
     6.641498215465122e-05, -3.968365047179435e-05, 1.1375726970678419e-05, 2.507497226237533e-10,
     -1.6954149536558305e-06, 8.907507532205309e-07, -2.292934834000805e-07, 2.956794137544049e-11,
     2.8865829742708783e-08, -1.4189739437803219e-08, 3.4463580499464896e-09, -2.3024517174528067e-13,
     -3.9409233028046403e-10, 1.86023389685045e-10),
    (-0.00033679855336635813, -6.972813758365857e-05, 0.0002772753244959392, -0.00019932570516188847,
     6.797780477937208e-05, 1.419062920643967e-07, -1.3594048189768693e-05, 8.018470256334202e-06,
     -2.291481176508095e-06, -3.252473551298454e-10, 3.4652846491085265e-07, -1.8447187191171344e-07,
     4.8240967037894184e-08, -1.7989466721743514e-14, -6.306194500013523e-09, 3.162417628774568e-09),
    (0.0005313079364639922, -0.0005921664373536939, 0.0002708782096718045, 7.902353232660328e-07,
     -8.153969367561969e-05, 5.61168275310625e-05, -1.8329116582843375e-05, -3.0796134506033047e-09,
     3.465155368803609e-06, -2.0291327396058603e-06, 5.788792863149004e-07, 2.338630673826657e-13,
     -8.828600746330484e-08, 4.7435958880408125e-08),
    (0.00034436760689237765, 5.171790908260592e-05, -0.00033493161081142234, 0.0002812695154763237,
     -0.00010976582244684731, -1.2741009095484485e-07, 2.7744451511563645e-05, -1.8263488805711332e-05,
     5.7876949497350525e-06, 4.93875893393627e-10, -1.0595367014026043e-06),
    (-0.0006526239185953094, 0.0008394987206720873, -0.000438297098541721, -6.969091458420552e-07,
     0.00016644846642067547, -0.00012783517679769218, 4.629953263691304e-05),
    (-0.0005967612901927463, -7.204895416020011e-05, 0.0006782308837667328, -0.0006401475260262758,
     0.00027750107634328704),
)  # fmt: skip

_TERMS: Final = 62  # of the power series, enough for a below 30
_LEVELS: Final = 56  # of the continued fraction, enough from y = 1.1 on
_FROM: Final = 30  # the a from which Temme's expansion serves, for y in (0.45 a, 2 a)


def _prefix() -> str:
    """``t`` = y**x exp(-y) / gamma(x + 1), by way of ``phi`` = m - log(y/x), m = y/x - 1; ``l`` is lgamma(1 + x)."""
    series = horner("z", [1 / (2 * k + 3) for k in range(17)])
    return (
        "let m = (y - x) / x; let r = m / (2 + m); let z = r * r; "
        f"let phi = m * r - 2 * r * z * {series} if abs(m) < 0.5 else m - log(y / x); "
        f"let b = minimum(x, 0.5); let l = b * {horner('b', LGAMMA)} - log1p(b) if x <= 0.5 else lgamma(1 + x); "
        f"let g = maximum(x, 10); let v = 1 / (g * g); "
        f"let large = exp(-x * phi - {horner('v', STIRLING)} / g) * 0.3989422804014327 / sqrt(g); "
        "let t = large if x >= 10 else exp(x * log(y) - y - l); "
    )


def _series() -> str:
    """``low`` = t * (1 + y/(x + 1) * (1 + y/(x + 2) * ...)): the lower function."""
    steps = "".join(
        f"let s{k} = 1 + y / (x + {k}) * {f's{k + 1}' if k < _TERMS else '1'}; " for k in range(_TERMS, 0, -1)
    )
    return f"{steps}let low = t * s1; "


def _fraction() -> str:
    """``up`` = x t / (y - x + 1 - (1 - x)/(y - x + 3 - 2 (2 - x)/...)): the upper function.

    Level k is k + sqrt(k y) + (y - x)/2 + 1/4 + O(1/sqrt(k)), with which the last one starts.
    """
    steps = "".join(
        f"let f{k} = d + {2 * k + 1} - {k + 1} * ({k + 1} - x) / f{k + 1}; " for k in range(_LEVELS - 1, -1, -1)
    )
    return f"let d = y - x; let f{_LEVELS} = {_LEVELS}.25 + sqrt({_LEVELS} * y) + 0.5 * d; {steps}let up = x * t / f0; "


def _small() -> str:
    """``rest``: the upper function for small x and y, from the series of exp."""
    sum_ = "".join(f" + c{n} / (x + {n})" for n in range(1, 19))
    powers = "let c1 = -y; " + "".join(f"let c{n} = c{n - 1} * (-y) / {n}; " for n in range(2, 19))
    return f"{powers}let o = x * log(y) - l; let rest = -expm1(o) - exp(o) * x * ({sum_[3:]}); "


def _temme(upper: bool) -> str:
    """``mid``: either of the functions where x and y are large and near each other."""
    rows = [horner("eta", row) for row in _TEMME]
    total = rows[-1]
    for row in reversed(rows[:-1]):
        total = f"({row} + {total} / x)"
    sign = "" if upper else "-"
    return (
        "let eta = copysign(sqrt(2 * phi), m); "
        f"let mid = 0.5 * erfc({sign}eta * sqrt(0.5 * x)) "
        f"{sign or '+'} exp(-x * phi) * 0.3989422804014327 / sqrt(x) * {total}; "
    )


def _incomplete(upper: bool) -> str:
    """Of x (the shape) and y; each function is computed where it is the smaller, and is else 1 less the other."""
    tail = "(rest if y <= 1.1 else up)"
    if upper:
        beside = "where(y <= 0.5, -0.4 / log(y) < x, 1.1 * y < x)"
        chosen = f"(1 - low if {beside} else rest) if y <= 1.1 else (1 - low if y < x else up)"
    else:
        chosen = f"1 - {tail} if y > 1 and y > x else low"
    zero, one = (1, 0) if upper else (0, 1)
    ends = f"(nan if y == 0 else {one}) if x == 0 else ({zero} if y == 0 else ({one} if y == inf else (f)))"
    return (
        f"{_prefix()}{_series()}{_fraction()}{_small()}{_temme(upper)}"
        f"let f = mid if x >= {_FROM} and m > -0.55 and m < 1 else ({chosen}); "
        f"((nan if y == inf else {zero}) if x == inf else {ends}) if x >= 0 and y >= 0 else nan"
    )


#: The functions by name, over ``x``, the shape, and ``y``.
EXPRESSIONS: Final[dict[str, str]] = {"igamma": _incomplete(upper=False), "igammac": _incomplete(upper=True)}
