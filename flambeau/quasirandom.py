"""Sobol sequences: points that fill the unit cube more evenly than random ones.

>>> fb.quasirandom.SobolEngine(2).draw(3)
tensor([[0.0000, 0.0000],
        [0.5000, 0.5000],
        [0.7500, 0.2500]])
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from flambeau.core.dtype import DTypeLike, get_default_dtype, int64
from flambeau.core.exchange import from_numpy
from flambeau.core.generator import Generator, default_generator
from flambeau.core.ops.random import randint
from flambeau.core.tensor import Tensor

__all__ = ["SobolEngine"]

Ints = NDArray[np.int64]
_BITS = 30


@cache
def _table() -> str:
    """The bits of Joe and Kuo's table, as ``.ci/sobol.py`` packs them."""
    data = (Path(__file__).parent / "sobol.bin").read_bytes()
    return format(int.from_bytes(data, "big"), f"0{8 * len(data)}b")


def _directions(dimension: int) -> Ints:
    """The direction numbers of the first dimensions, (dimension, 30): the first has its highest bit alone.

    Bratley and Fox, ACM Trans. Math. Softw. 14 (1988): after the numbers that are given, each follows from those
    before it by the polynomial.
    """
    found = np.zeros((dimension, _BITS), np.int64)
    found[0] = 1
    bits, at = _table(), 0

    def take(count: int) -> int:
        nonlocal at
        at += count
        return int(bits[at - count : at], 2) if count else 0

    for row in found[1:]:
        degree = take(5)
        coefficients = take(degree - 1)
        first = [1, *((take(i) << 1) | 1 for i in range(1, degree))]
        row[:degree] = first
        for i in range(degree, _BITS):
            value = int(row[i - degree]) ^ (int(row[i - degree]) << degree)
            for k in range(1, degree):
                if coefficients >> (degree - 1 - k) & 1:
                    value ^= int(row[i - k]) << k
            row[i] = value
    return found << np.arange(_BITS - 1, -1, -1)


def _scrambled(directions: Ints, matrices: Ints) -> Ints:
    """Directions after random triangular matrices of bits, highest bit first. Matousek, J. Complexity 14 (1998)."""
    places = np.arange(_BITS - 1, -1, -1)
    bits = (directions[:, :, None] >> places) & 1
    turned = np.einsum("dij,dkj->dki", matrices, bits) & 1
    return np.asarray((turned << places).sum(-1), np.int64)


class SobolEngine:
    """Draws the points of a Sobol sequence in the unit cube, one after the other.

    Args:
        dimension: of the cube, 1 to 21201.
        scramble: turn the points by random matrices and shifts, which keeps how even they are; without it the same
            points come each time. Owen, J. Complexity 14 (1998).
        seed: of the scrambling; by default it goes on from the default generator.

    Raises:
        ValueError: for another dimension.

    The directions are those of Joe and Kuo, SIAM J. Sci. Comput. 30 (2008), the points those of PyTorch; scrambled ones
    differ from its, as every random number does.
    """

    MAXBIT: ClassVar[int] = _BITS
    MAXDIM: ClassVar[int] = 21201

    def __init__(self, dimension: int, scramble: bool = False, seed: int | None = None):
        if not 1 <= dimension <= self.MAXDIM:
            raise ValueError(f"Supported range of dimensionality for SobolEngine is [1, {self.MAXDIM}]")
        self.dimension, self.scramble, self.seed = dimension, scramble, seed
        directions = _directions(dimension)
        shift = np.zeros(dimension, np.int64)
        if scramble:
            g = default_generator if seed is None else Generator().manual_seed(seed)
            drawn = randint(2, (dimension, _BITS), generator=g, dtype=int64, device="cpu").numpy()
            shift = drawn @ (1 << np.arange(_BITS))
            square = (dimension, _BITS, _BITS)
            lower = np.tril(randint(2, square, generator=g, dtype=int64, device="cpu").numpy(), -1)
            directions = _scrambled(directions, lower + np.eye(_BITS, dtype=np.int64))
        self.sobolstate, self.shift = from_numpy(directions), from_numpy(shift)
        self.reset()

    def reset(self) -> SobolEngine:
        """Begin again at the first point."""
        self.quasi, self.num_generated = self.shift.clone(), 0
        return self

    def _next(self, count: int) -> Ints:
        """The next points after the present one, as integers (count, dimension); the last becomes the present one."""
        if count < 0:
            raise RuntimeError(f"SobolEngine: cannot go {count} points on")
        done = self._steps()
        numbers = np.arange(done, done + count)
        lowest = ~numbers & (numbers + 1)  # the lowest bit that is 0, as a power of 2
        which = np.log2(lowest.astype(np.float64)).astype(np.int64)
        turns: Ints = self.sobolstate.numpy().T[which]
        if count:
            turns = turns.copy()
            turns[0] ^= self.quasi.numpy()
            turns = np.bitwise_xor.accumulate(turns)
            self.quasi = from_numpy(turns[-1].copy())
        return turns

    def _steps(self) -> int:
        return max(self.num_generated - 1, 0)

    def draw(self, n: int = 1, out: Tensor | None = None, dtype: DTypeLike | None = None) -> Tensor:
        """The next ``n`` points, (n, dimension), in the default dtype or ``dtype``; into ``out`` if it is given."""
        first = [self.quasi.numpy()[None]] if self.num_generated == 0 else []
        points = np.concatenate([*first, self._next(n - len(first))])
        self.num_generated += n
        scaled = from_numpy(points / float(1 << _BITS))
        result = scaled.to(dtype or (out.dtype if out is not None else get_default_dtype()))
        if out is None:
            return result
        return out.resize_(tuple(result.shape)).copy_(result)

    def draw_base2(self, m: int, out: Tensor | None = None, dtype: DTypeLike | None = None) -> Tensor:
        """The next ``2**m`` points, after which the number of all must be a power of 2, or ValueError."""
        total = self.num_generated + 2**m
        if total & (total - 1):
            raise ValueError(
                f"The balance properties of Sobol' points require n to be a power of 2. {self.num_generated} points "
                f"have been generated, then: n={self.num_generated}+2**{m}={total}. Reset the engine, or call draw()"
            )
        return self.draw(2**m, out, dtype)

    def fast_forward(self, n: int) -> SobolEngine:
        """Leave out the next ``n`` points."""
        self._next(n if self.num_generated else n - 1)
        self.num_generated += n
        return self

    def __repr__(self) -> str:
        more = ["scramble=True"] if self.scramble else []
        more += [f"seed={self.seed}"] if self.seed is not None else []
        return f"SobolEngine({', '.join([f'dimension={self.dimension}', *more])})"
