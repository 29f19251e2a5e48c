"""Numbers that depend on the sizes of a program's inputs: the laws that :mod:`flambeau.core.capture.laws` looks for.

Where a recording asks of a law only whether it holds, an exported program writes it down: a :class:`Law` can be saved,
printed and worked out at any sizes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, combinations_with_replacement
from typing import Final, TypeAlias

Number: TypeAlias = int | float
#: Sizes by the name of their dimension.
Sizes: TypeAlias = Mapping[str, int]

_DIVISORS: Final = (2, 3, 4, 5, 6, 7, 8, 16, 32)
#: The forms of laws, and the float that those but the first make of a scale and a whole number.
FORMS: Final[Mapping[str, Callable[[float, int], float]]] = {
    "linear": lambda scale, m: m,
    "over": lambda scale, m: scale / m,
    "times": lambda scale, m: scale * m,
    "over_root": lambda scale, m: scale / math.sqrt(m),
    "root": lambda scale, m: scale * math.sqrt(m),
    "unbiased": lambda scale, m: m / (m - 1),
}
_MOST_KNOWN: Final = 16  #: laws of which products are tried
_SIGNS: Final = {"over": "/", "times": "*", "over_root": "/sqrt", "root": "*sqrt"}
#: The whole number of a float of each form whose scale is 1.
_WHOLE: Final[Mapping[str, Callable[[float], float]]] = {
    "over": lambda x: 1 / x,
    "times": lambda x: x,
    "over_root": lambda x: 1 / (x * x),
    "root": lambda x: x * x,
    "unbiased": lambda x: x / (x - 1),
}


@dataclass(frozen=True, slots=True)
class Feature:
    """``(d1 * d2 * ... + more) // divisor`` for dimensions by name."""

    dims: tuple[str, ...]
    more: int = 0
    divisor: int = 1

    def at(self, sizes: Sizes) -> int:
        return (math.prod(sizes[d] for d in self.dims) + self.more) // self.divisor

    def __str__(self) -> str:
        product = "*".join(self.dims)
        inside = f"{product} {'+' if self.more > 0 else '-'} {abs(self.more)}" if self.more else product
        bare = not self.more and len(self.dims) == 1
        return inside if self.divisor == 1 and not self.more else f"{inside if bare else f'({inside})'}//{self.divisor}"


@dataclass(frozen=True, slots=True)
class Law:
    """A number as a function of sizes.

    ``linear`` is the whole number ``m = (sum of factor * feature + constant) // divisor``. The other forms are floats:
    ``scale / m``, ``scale * m``, ``scale / sqrt(m)``, ``scale * sqrt(m)``, and ``m / (m - 1)``, by which a variance
    becomes unbiased. Where there are ``factors``, ``m`` is the product of these.
    """

    form: str
    terms: tuple[tuple[int, Feature], ...]
    constant: int = 0
    divisor: int = 1
    scale: float = 1.0
    factors: tuple[Law, ...] = ()

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ValueError(f"a law is one of {', '.join(FORMS)}, got {self.form!r}")

    @property
    def dims(self) -> set[str]:
        """The dimensions that it depends on."""
        return {d for _, feature in self.terms for d in feature.dims} | {d for law in self.factors for d in law.dims}

    @property
    def rounds(self) -> bool:
        """Whether a size is divided in it."""
        return self.divisor > 1 or any(f.divisor > 1 for _, f in self.terms) or any(f.rounds for f in self.factors)

    def at(self, sizes: Sizes) -> Number:
        """The number at sizes."""
        if self.factors:
            m = math.prod(int(law.at(sizes)) for law in self.factors)
        else:
            m = (sum(factor * feature.at(sizes) for factor, feature in self.terms) + self.constant) // self.divisor
        return m if self.form == "linear" else FORMS[self.form](self.scale, m)

    def __str__(self) -> str:
        parts = [f"{'' if k == 1 else '-' if k == -1 else f'{k}*'}{feature}" for k, feature in self.terms]
        if self.constant or not parts:
            parts.append(str(self.constant))
        text = " + ".join(parts).replace("+ -", "- ")
        m = text if self.divisor == 1 else f"({text})//{self.divisor}"
        if self.factors:
            m = "*".join(f"({law})" for law in self.factors)
        if self.form == "linear":
            return m
        if self.form == "unbiased":
            return f"({m})/({m} - 1)"
        return f"{self.scale}{_SIGNS[self.form]}({m})"


def of_dim(name: str) -> Law:
    """The size of a dimension itself."""
    return Law("linear", ((1, Feature((name,))),), 0)


def fit(points: Sequence[Sizes], numbers: Sequence[Number]) -> Law | Number | None:
    """The law that gives ``numbers`` at ``points``, the number itself where all are the same; None where none does.

    >>> from flambeau.export.laws import fit
    >>> print(fit([{"n": 2}, {"n": 3}, {"n": 7}], [5, 7, 15]))
    2*n + 1
    >>> fit([{"n": 2}, {"n": 3}, {"n": 7}], [4, 4, 4]), fit([{"n": 2}, {"n": 3}, {"n": 7}], [0, 1, 0])
    (4, None)
    """
    first = numbers[0]
    if any(type(n) is not type(first) for n in numbers):
        return None
    if all(_same(n, first) for n in numbers):
        return first
    dims = [d for d in points[0] if len({p[d] for p in points}) > 1]
    if type(first) is float:
        return _float_law(points, numbers, dims)
    return _whole_law(points, [int(n) for n in numbers], dims) if type(first) is int else None


def _whole_law(points: Sequence[Sizes], whole: Sequence[int], dims: Sequence[str]) -> Law | None:
    for feature in _features(dims):
        if found := _line(feature, points, whole):
            return found
    plain = [Feature(p) for p in _products(dims)]
    for one, other in combinations(plain, 2):
        if found := _plane(one, other, points, whole):
            return found
    return None


def fit_product(points: Sequence[Sizes], numbers: Sequence[Number], known: Sequence[Law]) -> Law | None:
    """A law whose whole number is a product of others that are known, up to four of them; None where there is none.

    >>> from flambeau.export.laws import fit, fit_product
    >>> points = [{"n": 5}, {"n": 6}, {"n": 9}, {"n": 12}]
    >>> half = fit(points, [2, 3, 4, 6])
    >>> print(half, "and", fit_product(points, [4, 9, 16, 36], [half]))
    n//2 and (n//2)*(n//2)
    """
    columns = {law: [int(law.at(p)) for p in points] for law in known[:_MOST_KNOWN]}
    for form in FORMS:
        if (form == "linear") is not all(type(n) is int for n in numbers):
            continue
        try:
            whole = [round(n if form == "linear" else _WHOLE[form](float(n))) for n in numbers]
        except (ArithmeticError, ValueError):
            continue
        for count in range(1, 5):
            for laws in combinations_with_replacement(columns, count):
                if all(math.prod(columns[law][i] for law in laws) == n for i, n in enumerate(whole)):
                    made = Law(form, (), factors=laws)
                    if all(_same(made.at(p), n) for p, n in zip(points, numbers, strict=True)):
                        return made
    return None


def _same(a: Number, b: Number) -> bool:
    return a == b and math.copysign(1, a) == math.copysign(1, b) or a != a and b != b


def _products(dims: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for count in (1, 2, 3):
        yield from combinations_with_replacement(dims, count)


def _features(dims: Sequence[str]) -> Iterator[Feature]:
    yield from (Feature(p) for p in _products(dims))
    for dim in dims:
        for divisor in _DIVISORS:
            yield from (Feature((dim,), more, divisor) for more in range(divisor))
            yield from (Feature((dim,), more, divisor) for more in range(1 - divisor, 0))


def _line(f: Feature, points: Sequence[Sizes], numbers: Sequence[int]) -> Law | None:
    """``a*f + b`` where that gives all numbers; more points than a line needs must be there."""
    x = [f.at(p) for p in points]
    if len(set(x)) < 3:
        return None
    other = next(i for i in range(1, len(x)) if x[i] != x[0])
    run, rise = x[other] - x[0], numbers[other] - numbers[0]
    if not rise or not all((n - numbers[0]) * run == rise * (v - x[0]) for v, n in zip(x, numbers, strict=True)):
        return None
    return _linear([(rise, f)], numbers[0] * run - rise * x[0], run)


def _plane(f: Feature, g: Feature, points: Sequence[Sizes], numbers: Sequence[int]) -> Law | None:
    """``a*f + b*g + c`` where that gives all numbers."""
    if len(points) < 4:
        return None
    x, y = [f.at(p) for p in points], [g.at(p) for p in points]
    steps = [(v - x[0], w - y[0], n - numbers[0]) for v, w, n in zip(x, y, numbers, strict=True)]
    for (fi, gi, ni), (fj, gj, nj) in combinations(steps[1:], 2):
        size = fi * gj - fj * gi
        if size:
            a, b = ni * gj - nj * gi, fi * nj - fj * ni
            if a and b and all(n * size == v * a + w * b for v, w, n in steps):
                return _linear([(a, f), (b, g)], numbers[0] * size - a * x[0] - b * y[0], size)
            return None
    return None


def _linear(terms: list[tuple[int, Feature]], constant: int, divisor: int) -> Law:
    common = math.gcd(divisor, constant, *(k for k, _ in terms)) * (1 if divisor > 0 else -1)
    return Law("linear", tuple((k // common, f) for k, f in terms), constant // common, divisor // common)


def _float_law(points: Sequence[Sizes], numbers: Sequence[Number], dims: Sequence[str]) -> Law | None:
    xs = [float(n) for n in numbers]
    if not all(math.isfinite(x) and x for x in xs):
        return None
    for form, inverse in _WHOLE.items():
        whole = [round(inverse(x)) if x != 1.0 or form != "unbiased" else 0 for x in xs]
        found = _whole_law(points, whole, dims) if min(whole) > 0 else None
        if found is not None:
            law = replace(found, form=form)
            if all(_same(law.at(p), x) for p, x in zip(points, xs, strict=True)):
                return law
    return _scaled_law(points, xs, dims)


def _scaled_law(points: Sequence[Sizes], xs: Sequence[float], dims: Sequence[str]) -> Law | None:
    """The same of simple products of sizes, with another scale than 1."""
    for product in _products(dims):
        for off in (0, -1, 1):
            m = [Feature(product, off).at(p) for p in points]
            if min(m) <= 0 or len(set(m)) < 3:
                continue
            for form, c in (("over", xs[0] * m[0]), ("times", xs[0] / m[0]), ("over_root", xs[0] * math.sqrt(m[0]))):
                for scale in _near(c):
                    law = Law(form, ((1, Feature(product)),), off, 1, scale)
                    if all(_same(law.at(p), x) for p, x in zip(points, xs, strict=True)):
                        return law
    return None


def _near(c: float) -> list[float]:
    """What a constant may be, where it is known after rounding: a whole number, or what was found."""
    whole = float(round(c))
    return [whole, c] if whole and abs(whole - c) < 1e-9 * abs(c) else [c]
