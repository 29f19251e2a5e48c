"""Winograd's transforms: a tile of an image, of a filter and of results, to 6 × 6 numbers and back.

m results of a filter of r taps need m + r - 1 products instead of m * r: input and filter are polynomials that are
multiplied by their values at points. A. Lavin and S. Gray, Fast Algorithms for Convolutional Neural Networks (2016);
the points are pairs about zero, near those of B. Barabasz et al., Error Analysis and Improving the Accuracy of
Winograd Convolution for Deep Neural Networks (2020): they halve the error of the usual 0, ±1, ±2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Final, NamedTuple

from flambeau.backends.llvm.ir import Function, Value

Matrix = tuple[tuple[float, ...], ...]

#: Where the polynomials are evaluated, but for infinity: zero and two pairs.
POINTS: Final = (Fraction(0), Fraction(5, 8), Fraction(-5, 8), Fraction(3, 2), Fraction(-3, 2))
#: Values of a polynomial: the side of a transformed tile.
SIDE: Final = len(POINTS) + 1


class Matrices(NamedTuple):
    """What an algorithm for ``results`` results of a filter multiplies its vectors with, from the left."""

    output: Matrix
    filter: Matrix


def matrices(results: int) -> Matrices:
    """Those of ``results`` results, of a filter of 7 - ``results`` taps; :data:`INPUT` is the third.

    >>> [len(m) for m in matrices(4)], [len(m[0]) for m in matrices(4)]
    ([4, 6], [6, 3])
    """
    taps = SIDE + 1 - results
    output = [[p**i for p in POINTS] + [Fraction(i == results - 1)] for i in range(results)]
    norms = [_norm(i) for i in range(len(POINTS))]
    filter_ = [[p**j / n for j in range(taps)] for p, n in zip(POINTS, norms, strict=True)]
    filter_.append([Fraction(j == taps - 1) for j in range(taps)])
    return Matrices(_floats(output), _floats(filter_))


def _norm(i: int) -> Fraction:
    """The value at point i of the polynomial that is zero at the others."""
    found = Fraction(1)
    for j, p in enumerate(POINTS):
        if j != i:
            found *= POINTS[i] - p
    return found


def _polynomial(roots: Sequence[Fraction]) -> list[Fraction]:
    """The coefficients, of ``SIDE`` powers, of the polynomial with these roots."""
    found = [Fraction(1)]
    for root in roots:
        found = [(found[k - 1] if k else 0) - root * (found[k] if k < len(found) else 0) for k in range(len(found) + 1)]
    return found + [Fraction(0)] * (SIDE - len(found))


def _floats(rows: Sequence[Sequence[Fraction]]) -> Matrix:
    return tuple([tuple([float(x) for x in row]) for row in rows])


#: What the tile of an image is multiplied with: the same for every number of results.
INPUT: Final = _floats([*(_polynomial([p for p in POINTS if p != own]) for own in POINTS), _polynomial(POINTS)])

Transform = Callable[[Function, Matrix, Sequence[Value]], list[Value]]


def spread(f: Function, matrix: Matrix, x: Sequence[Value]) -> list[Value]:
    """``matrix @ x``, of vectors. Rows of a pair of points differ in the sign of their odd terms, summed once."""
    middle: list[Value] = []
    for row in matrix[1:-1:2]:
        even = _sum(f, row[::2], x[::2])
        odd = _sum(f, row[1::2], x[1::2])
        middle += [even + odd, even - odd]
    return [_sum(f, matrix[0], x), *middle, _sum(f, matrix[-1], x)]


def gathered(f: Function, matrix: Matrix, x: Sequence[Value]) -> list[Value]:
    """``matrix @ x`` where columns of a pair of points differ in the sign of their odd rows."""
    pairs = list(zip(x[1:-1:2], x[2:-1:2], strict=True))
    joined = [[a + b for a, b in pairs], [a - b for a, b in pairs]]
    return [_sum(f, (row[0], *row[1:-1:2], row[-1]), [x[0], *joined[i % 2], x[-1]]) for i, row in enumerate(matrix)]


def _sum(f: Function, factors: Sequence[float], x: Sequence[Value]) -> Value:
    """The sum of vectors times numbers, the last of which are added first."""
    found: Value | None = None
    for factor, value in sorted(zip(factors, x, strict=True), key=lambda term: abs(term[0]) != 1):
        if factor == 0:
            continue
        if found is None:
            found = value if factor == 1 else value * factor
        elif abs(factor) == 1:
            found = found + value if factor > 0 else found - value
        else:
            found = f.muladd(value, factor, found)
    assert found is not None
    return found


def both_ways(f: Function, transform: Transform, matrix: Matrix, grid: Sequence[Sequence[Value]]) -> list[list[Value]]:
    """``matrix @ grid @ matrix.T``, of vectors."""
    columns = [transform(f, matrix, column) for column in zip(*grid, strict=True)]
    return [transform(f, matrix, row) for row in zip(*columns, strict=True)]
