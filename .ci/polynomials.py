"""Writes backends/llvm/maths/coefficients.py: the polynomials of the vector functions.

    pip install mpmath
    python .ci/polynomials.py

Each is the Chebyshev interpolant of a function on the interval where it is used, computed with 60 digits and written
in monomials; such an interpolant is within a small factor of the best polynomial of its degree (L. N. Trefethen,
"Approximation Theory and Approximation Practice", chapter 16). Beside them stand the binary digits of 2/pi.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mpmath import mp, mpf

mp.dps = 60
TARGET = Path(__file__).parent.parent / "backends" / "llvm" / "maths" / "coefficients.py"
NEAR = mpf(10) ** -12  # below, the quotients that vanish at 0 are taken there

#: Where the variable (a - k) / (a + k) of a tail is 0.
ERFC_CENTRE, GELU_CENTRE = 2, 3
#: Where erf in float32 goes from one polynomial to the other.
ERF_NEAR = 0.927734375


def interpolant(function: Callable[[Any], Any], low: Any, high: Any, degree: int) -> list[Any]:
    """The coefficients, the constant first."""
    low, high = mpf(low), mpf(high)
    nodes = [
        (low + high) / 2 + (high - low) / 2 * mp.cos(mp.pi * (2 * i + 1) / (2 * degree + 2)) for i in range(degree + 1)
    ]
    powers = mp.matrix([[x**i for i in range(degree + 1)] for x in nodes])
    return list(mp.lu_solve(powers, mp.matrix([function(x) for x in nodes])))


def erfcx(x: Any) -> Any:
    return mp.exp(x * x) * mp.erfc(x)


def of_square(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """(function(x) / x - 1) / z of z = x * x."""
    return lambda z: (function(mp.sqrt(z)) / mp.sqrt(z) - 1) / z


def tail(function: Callable[[Any], Any], centre: int) -> Callable[[Any], Any]:
    """(a + k) function(a) of t = (a - k) / (a + k)."""

    def transformed(t: Any) -> Any:
        a = centre * (1 + t) / (1 - t)
        return (a + centre) * function(a)

    return transformed


def at(a: float, centre: int) -> Any:
    return (mpf(a) - centre) / (mpf(a) + centre)


def polynomials() -> dict[str, tuple[str, list[Any]]]:
    """Name: (what it is, coefficients)."""
    half = mp.log(2) / 2 * mpf("1.002")  # rounding of the multiple of log(2) leaves a little more
    quarter = (mp.pi / 4 * mpf("1.0001")) ** 2
    s = (mp.sqrt(2) - 1) / (mp.sqrt(2) + 1)
    exp = "(exp(r) - 1 - r) / r**2"
    log = "(log(1 + m) - m + m**2 / 2) / m**3"
    found: dict[str, tuple[str, Callable[[Any], Any], Any, Any, int]] = {
        "EXP_SINGLE": (exp, lambda r: (mp.expm1(r) - r) / r**2, -half, half * mpf("1.0001"), 5),
        "EXP": (exp, lambda r: (mp.expm1(r) - r) / r**2, -half, half * mpf("1.0001"), 10),
        "LOG_SINGLE": (
            log, lambda m: (mp.log1p(m) - m + m**2 / 2) / m**3, 1 / mp.sqrt(2) - 1, mp.sqrt(2) - 1, 8,
        ),
        "LOG": ("(2 atanh(s) / s - 2) / z", lambda z: 2 * of_square(mp.atanh)(z), NEAR, s**2, 7),
        "LOG_REST": (
            "(atanh(s) / s - 1 - z / 3) / z**2", lambda z: (of_square(mp.atanh)(z) - mpf(1) / 3) / z, NEAR, s**2, 7,
        ),
        "TANH_SINGLE": ("(tanh(x) / x - 1) / z to x = 0.625", of_square(mp.tanh), NEAR, 0.625**2, 5),
        "TANH": ("(tanh(x) / x - 1) / z to x = 0.625", of_square(mp.tanh), NEAR, 0.625**2, 12),
        "ERF_SINGLE": (
            f"erf(x) / x - 1 to x = {ERF_NEAR}", lambda z: mp.erf(mp.sqrt(z)) / mp.sqrt(z) - 1, NEAR,
            mpf(ERF_NEAR) ** 2, 5,
        ),
        "ERF_FAR_SINGLE": (
            f"log(erfc(a)) / a + 1 from a = {ERF_NEAR} to 4", lambda a: mp.log(mp.erfc(a)) / a + 1, ERF_NEAR, 4, 6,
        ),
        "ERF": ("erf(x) / x - 1 to x = 1", lambda z: mp.erf(mp.sqrt(z)) / mp.sqrt(z) - 1, NEAR, 1, 14),
        "ERFC_SINGLE": ("(a + k) exp(a**2) erfc(a)", tail(erfcx, ERFC_CENTRE), -1, at(10.5, ERFC_CENTRE), 10),
        "ERFC": ("(a + k) exp(a**2) erfc(a)", tail(erfcx, ERFC_CENTRE), -1, at(28, ERFC_CENTRE), 24),
        "GELU_SINGLE": (
            "(a + k) exp(a**2 / 2) erfc(a / sqrt(2)) / 2", tail(lambda a: erfcx(a / mp.sqrt(2)) / 2, GELU_CENTRE),
            -1, at(15, GELU_CENTRE), 11,
        ),
        "GELU": (
            "(a + k) exp(a**2 / 2) erfc(a / sqrt(2)) / 2", tail(lambda a: erfcx(a / mp.sqrt(2)) / 2, GELU_CENTRE),
            -1, at(40, GELU_CENTRE), 24,
        ),
        "SIN_SINGLE": ("(sin(r) / r - 1) / z", of_square(mp.sin), NEAR, quarter, 3),
        "SIN": ("(sin(r) / r - 1) / z", of_square(mp.sin), NEAR, quarter, 6),
        "COS_SINGLE": ("(cos(r) - 1 + z / 2) / z**2", _cos, NEAR, quarter, 3),
        "COS": ("(cos(r) - 1 + z / 2) / z**2", _cos, NEAR, quarter, 6),
        "ATAN": ("(atan(x) / x - 1) / z to x = tan(pi / 8)", of_square(mp.atan), NEAR, mp.tan(mp.pi / 8) ** 2, 12),
        "ASIN": ("(asin(x) / x - 1) / z to x = 0.5", of_square(mp.asin), NEAR, 0.25, 13),
        "SINH": ("(sinh(x) / x - 1) / z to x = 1", of_square(mp.sinh), NEAR, 1, 7),
    }  # fmt: skip
    return {name: (what, interpolant(*fit)) for name, (what, *fit) in found.items()}


def _cos(z: Any) -> Any:
    return (mp.cos(mp.sqrt(z)) - 1 + z / 2) / z**2


def digits(words: int) -> list[int]:
    """The binary digits of 2/pi behind the point, 64 a word, after a word of zeros; as signed integers."""
    with mp.workdps(500):
        whole = int(mp.floor(mp.ldexp(2 / mp.pi, 64 * words)))
    found = [0, *(whole >> 64 * (words - 1 - i) & (1 << 64) - 1 for i in range(words))]
    return [w - (1 << 64) if w >> 63 else w for w in found]


def parts(value: Any, bits: list[int]) -> list[float]:
    """A number as a sum whose terms have so many bits, towards 0; the last is rounded."""
    found = []
    for count in bits:
        step = mp.ldexp(1, int(mp.floor(mp.log(value, 2))) - count + 1)
        term = mp.floor(value / step) * step
        found.append(float(term))
        value -= term
    return [*found, float(value)]


def listed(name: str, values: list[Any]) -> str:
    return f"{name}: Final = (\n" + "".join(f"    {v!r},\n" for v in values) + ")"


def main() -> None:
    lines = [
        '"""Written by .ci/polynomials.py: coefficients, the constant first; z is the square of the variable."""\n',
        "from __future__ import annotations\n",
        "from typing import Final\n",
        "#: t = (a - k) / (a + k) is the variable of the tails.",
        f"ERFC_CENTRE: Final = {float(ERFC_CENTRE)}",
        f"GELU_CENTRE: Final = {float(GELU_CENTRE)}",
        "#: Where erf in float32 goes from one polynomial to the other.",
        f"ERF_NEAR: Final = {ERF_NEAR}\n",
    ]
    for name, (what, values) in polynomials().items():
        lines += [f"#: {what}", listed(name, [float(v) for v in values])]
        if name.startswith(("ERFC", "GELU")):
            first = parts(values[0], [24 if name.endswith("SINGLE") else 53])
            lines += ["#: its constant as a sum", listed(f"{name}_START", first)]
    lines += [
        "#: pi/2 as a sum: multiples of the first three up to 2**20 are exact",
        listed("HALF_PI", parts(mp.pi / 2, [33, 33, 33])),
    ]
    lines += ["#: Logarithms as sums: products of the first with exponents and with numbers of 21 bits are exact"]
    lines += [
        listed(name, parts(value, [32]))
        for name, value in {
            "LOG2_E": 1 / mp.log(2),
            "LOG10_E": 1 / mp.log(10),
            "LOG10_2": mp.log10(2),
        }.items()
    ]
    lines += [
        "#: The binary digits of 2/pi behind the point, 64 a word, after a word of zeros",
        listed("TWO_OVER_PI", digits(20)),
    ]
    TARGET.write_text("\n".join(lines) + "\n")
    print(TARGET)


if __name__ == "__main__":
    main()
