"""Numbers that depend on the sizes of a program's inputs: the laws that :mod:`flambeau.core.capture.laws` looks for.

Where a recording asks of a law only whether it holds, an exported program writes it down: a :class:`Law` can be saved,
printed and worked out at any sizes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, combinations_with_replacement
from typing import Final, TypeAlias

Number: TypeAlias = int | float
#: Sizes by the name of their dimension.
Sizes: TypeAlias = Mapping[str, int]

_DIVISORS: Final = (2, 3, 4, 5, 6, 7, 8, 16, 32)
_FORMS: Final = ("linear", "over", "times", "over_root")


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

    ``linear`` is ``(sum of factor * feature + constant) // divisor``, which is whole; the other forms are floats:
    ``constant`` over, times, or over the root of the one feature.
    """

    form: str
    terms: tuple[tuple[int, Feature], ...]
    constant: Number
    divisor: int = 1

    def __post_init__(self) -> None:
        if self.form not in _FORMS:
            raise ValueError(f"a law is one of {', '.join(_FORMS)}, got {self.form!r}")

    @property
    def dims(self) -> set[str]:
        """The dimensions that it depends on."""
        return {d for _, feature in self.terms for d in feature.dims}

    def at(self, sizes: Sizes) -> Number:
        """The number at sizes."""
        if self.form == "linear":
            total = sum(factor * feature.at(sizes) for factor, feature in self.terms)
            return (total + int(self.constant)) // self.divisor
        m, c = float(self.terms[0][1].at(sizes)), float(self.constant)
        if self.form == "times":
            return c * m
        return c / m if self.form == "over" else c / math.sqrt(m)

    def __str__(self) -> str:
        if self.form != "linear":
            sign = {"over": "/", "times": "*", "over_root": "/sqrt"}[self.form]
            return f"{self.constant}{sign}({self.terms[0][1]})"
        parts = [f"{'' if k == 1 else '-' if k == -1 else f'{k}*'}{feature}" for k, feature in self.terms]
        if self.constant or not parts:
            parts.append(str(self.constant))
        text = " + ".join(parts).replace("+ -", "- ")
        return text if self.divisor == 1 else f"({text})//{self.divisor}"


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
    if type(first) is not int:
        return None
    whole = [int(n) for n in numbers]
    for feature in _features(dims):
        if found := _line(feature, points, whole):
            return found
    plain = [Feature(p) for p in _products(dims)]
    for one, other in combinations(plain, 2):
        if found := _plane(one, other, points, whole):
            return found
    return None


def _same(a: Number, b: Number) -> bool:
    return a == b and math.copysign(1, a) == math.copysign(1, b) or a != a and b != b


def _products(dims: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for count in (1, 2, 3):
        yield from combinations_with_replacement(dims, count)


def _features(dims: Sequence[str]) -> Iterator[Feature]:
    yield from (Feature(p) for p in _products(dims))
    for product in _products(dims):
        for divisor in _DIVISORS:
            yield from (Feature(product, more, divisor) for more in range(divisor))
            yield from (Feature(product, more, divisor) for more in range(-divisor, 0))


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
    first = float(numbers[0])
    if not math.isfinite(first):
        return None
    for product in _products(dims):
        for off in (0, -1, 1):
            feature = Feature(product, off)
            m = [feature.at(p) for p in points]
            if min(m) <= 0 or len(set(m)) < 3:
                continue
            for form, c in (("over", first * m[0]), ("times", first / m[0]), ("over_root", first * math.sqrt(m[0]))):
                for near in _near(c):
                    law = Law(form, ((1, feature),), near)
                    if all(_same(law.at(p), n) for p, n in zip(points, numbers, strict=True)):
                        return law
    return None


def _near(c: float) -> list[float]:
    """What a constant may be, where it is known after rounding: a whole number, or what was found."""
    whole = float(round(c))
    return [whole, c] if whole and abs(whole - c) < 1e-9 * abs(c) else [c]
