"""Numbers of a recording as functions of the sizes of its arguments: whether one law gives them at all sizes.

A law is looked for among few: ``a*f + b`` for whole numbers, where ``f`` is a size, a product of two or three sizes, or
a size divided by a small number and rounded down, as the lengths of strided windows are; a sum of two such terms; and
``c/m``, ``c*m`` and ``c/sqrt(m)`` for floats, where ``m`` is a size, or a product of sizes, at most one off. Numbers at
sizes that are known fix a law, and it counts where it foretells the number at one more size, to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, combinations_with_replacement
from typing import TypeAlias

Sizes: TypeAlias = tuple[int, ...]
Number: TypeAlias = int | float
Feature: TypeAlias = tuple[int, ...]  # a function of the sizes, at each of the known ones and the new one

_MOST_SIZES = 6  #: how many sizes that change are looked at
_DIVISORS = (2, 3, 4, 8)


def foretold(known: Sequence[tuple[Sizes, Number]], sizes: Sizes, number: Number) -> bool:
    """Whether a law that numbers at known sizes fix gives ``number`` at ``sizes``.

    >>> from flambeau.core.capture.laws import foretold
    >>> foretold([((2, 5), 11), ((3, 5), 16)], (7, 5), 36), foretold([((2, 5), 11), ((3, 5), 16)], (7, 5), 37)
    (True, False)
    >>> foretold([((3,), 1 / 3), ((6,), 1 / 6)], (7,), 1 / 7)
    True
    """
    numbers = [n for _, n in known]
    if any(type(n) is not type(number) for n in numbers):
        return False
    if all(_same(n, number) for n in numbers):
        return True
    columns = _columns([*(s for s, _ in known), sizes])
    if type(number) is float:
        return any(_float_fits(law, numbers, number) for law in _float_laws(columns, numbers))
    if type(number) is not int:
        return False
    wanted = [*map(int, numbers), number]
    if any(_line(f, wanted) for f in _features(columns)):
        return True
    plain = [*columns, *_products(columns)]
    return any(_plane(f, g, wanted) for f, g in combinations(plain, 2))


def _same(a: Number, b: Number) -> bool:
    return a == b and math.copysign(1, a) == math.copysign(1, b) or a != a and b != b


def _columns(points: Sequence[Sizes]) -> list[Feature]:
    """The sizes that change, each once."""
    columns = dict.fromkeys(zip(*points, strict=True))
    return [c for c in columns if len(set(c)) > 1][:_MOST_SIZES]


def _products(columns: Sequence[Feature]) -> list[Feature]:
    pairs = [tuple(a * b for a, b in zip(f, g, strict=True)) for f, g in combinations_with_replacement(columns, 2)]
    triples = [tuple(a * b * c for a, b, c in zip(*fgh, strict=True)) for fgh in combinations(columns, 3)]
    return [*pairs, *triples]


def _features(columns: Sequence[Feature]) -> Iterator[Feature]:
    yield from columns
    yield from _products(columns)
    for column in columns:
        for divisor in _DIVISORS:
            for more in range(divisor):
                yield tuple((n + more) // divisor for n in column)


def _line(f: Feature, numbers: Sequence[int]) -> bool:
    """Whether a multiple of a feature and a constant, which the known numbers fix, give the new one too."""
    other = next((i for i in range(1, len(numbers) - 1) if f[i] != f[0]), None)
    if other is None:
        return False
    run, rise = f[other] - f[0], numbers[other] - numbers[0]
    return all((n - numbers[0]) * run == rise * (x - f[0]) for x, n in zip(f, numbers, strict=True))


def _plane(f: Feature, g: Feature, numbers: Sequence[int]) -> bool:
    """The same of a sum of multiples of two features and a constant."""
    steps = [(x - f[0], y - g[0], n - numbers[0]) for x, y, n in zip(f, g, numbers, strict=True)]
    for (fi, gi, ni), (fj, gj, nj) in combinations(steps[1:-1], 2):
        size = fi * gj - fj * gi
        if size:
            a, b = ni * gj - nj * gi, fi * nj - fj * ni
            return all(n * size == x * a + y * b for x, y, n in steps)
    return False


# -- floats ------------------------------------------------------------------------------------------
FloatLaw: TypeAlias = tuple[Callable[[float], float], Feature]


def _float_laws(columns: Sequence[Feature], numbers: Sequence[Number]) -> Iterator[FloatLaw]:
    first = float(numbers[0])
    if not math.isfinite(first):
        return
    for feature in (*columns, *_products(columns)):
        for off in (0, -1, 1):
            m = tuple(f + off for f in feature)
            if min(m) <= 0:
                continue
            root = math.sqrt(m[0])
            for c in _near(first * float(m[0])):
                yield lambda x, c=c: c / x, m  # type: ignore[misc]
            for c in _near(first / float(m[0])):
                yield lambda x, c=c: c * x, m  # type: ignore[misc]
            for c in _near(first * root):
                yield lambda x, c=c: c / math.sqrt(x), m  # type: ignore[misc]


def _near(c: float) -> list[float]:
    """What a constant may be, where it is known after rounding: a whole number, or what was found."""
    whole = float(round(c))
    return [whole, c] if whole and abs(whole - c) < 1e-9 * abs(c) else [c]


def _float_fits(law: FloatLaw, numbers: Sequence[Number], new: Number) -> bool:
    formula, feature = law
    if len(set(feature[:-1])) < 2:
        return False
    found = [formula(float(m)) for m in feature]
    return all(_same(a, b) for a, b in zip(found, (*numbers, new), strict=True))
