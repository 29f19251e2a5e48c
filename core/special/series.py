"""Texts of polynomials and of their quotients, of which special functions are made, and two series of gamma."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

#: lgamma(2 + z) = z*P(z) for |z| <= 0.5
LGAMMA: Final = (
    0.42278433509846713, 0.3224670334241132, -0.06735230105319809, 0.02058080842778463, -0.007385551028674025,
    0.0028905103307344045, -0.0011927539116998527, 0.0005096695250241955, -0.00022315475858818615,
    9.94575066878814e-05, -4.4926233820610826e-05, 2.0507291996563825e-05, -9.439526202058818e-06,
    4.374223481082048e-06, -2.0389077825677104e-06, 9.584207048594987e-07, -4.508168225446838e-07,
    2.0193835401136915e-07, -9.558178101635195e-08, 6.472569840064724e-08, -3.085985478390577e-08,
)  # fmt: skip
#: Stirling's series: B(2k) / (2k (2k-1)), in 1/x**2
STIRLING: Final = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156, -3617 / 122400)


def horner(variable: str, coefficients: Sequence[float]) -> str:
    """The text of a polynomial, coefficients from the constant one up.

    >>> horner("z", (1.0, 2.0, 3.0))
    '(1.0 + z * (2.0 + z * 3.0))'
    """
    text = repr(coefficients[-1])
    for c in reversed(coefficients[:-1]):
        text = f"({c!r} + {variable} * {text})"
    return text


def ratio(variable: str, above: Sequence[float], below: Sequence[float]) -> str:
    """The text of one polynomial over another.

    >>> ratio("z", (1.0, 2.0), (3.0, 4.0))
    '(1.0 + z * 2.0) / (3.0 + z * 4.0)'
    """
    return f"{horner(variable, above)} / {horner(variable, below)}"


def cotangent_derivative(n: int) -> list[float]:
    """The coefficients of the polynomial in c = cot(t) that is the n-th derivative of cot(t): cot' = -(1 + cot**2)."""
    poly = [0.0, 1.0]
    for _ in range(n):
        slope = [k * c for k, c in enumerate(poly)][1:]
        poly = [0.0] * (len(slope) + 2)
        for k, c in enumerate(slope):
            poly[k] -= c
            poly[k + 2] -= c
    return poly
