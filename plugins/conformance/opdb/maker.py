"""Random host data for samples: by dtype, shape and domain, the same in every run."""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau.core import dtype as dt
from flambeau.core.dtype import DType

Array = np.ndarray[Any, Any]


class Maker:
    """Makes numpy arrays of one dtype. ``m(3, 4)`` is a (3, 4) array of moderate values.

    >>> m = Maker(dt.float32)
    >>> m(2, 3).shape, m.index(4, high=3).dtype
    ((2, 3), dtype('int64'))
    """

    def __init__(self, dtype: DType, seed: int = 0):
        self.dtype = dtype
        self.rng = np.random.default_rng(seed)

    @property
    def is_bool(self) -> bool:
        return self.dtype.category == dt.BOOL

    @property
    def is_integer(self) -> bool:
        return self.dtype.category == dt.INTEGER

    @property
    def is_float(self) -> bool:
        return self.dtype.category == dt.FLOATING

    @property
    def is_complex(self) -> bool:
        return self.dtype.category == dt.COMPLEX

    def __call__(
        self, *shape: int, low: float | None = None, high: float | None = None, dtype: DType | None = None
    ) -> Array:
        """Values in [low, high]: by default -2 to 2, whole numbers -6 to 6 (unsigned 0 to 9)."""
        d = self.dtype if dtype is None else dtype
        if d.category == dt.BOOL:
            return self.rng.integers(0, 2, shape).astype(bool)
        if d.category == dt.INTEGER:
            floor = 0 if not d.is_signed else -6 if low is None else int(np.ceil(low))
            ceiling = (6 if d.is_signed else 9) if high is None else int(np.floor(high))
            return self.rng.integers(floor, max(ceiling, floor) + 1, shape).astype(d.numpy)
        a, b = -2.0 if low is None else low, 2.0 if high is None else high
        values = self.rng.uniform(a, b, shape)
        if d.category == dt.COMPLEX:
            values = values + 1j * self.rng.uniform(a, b, shape)
        return np.asarray(values).astype(d.numpy)

    def distinct(self, *shape: int, low: float = -2.0, high: float = 2.0) -> Array:
        """Real values no two of which are equal or close (as far as the dtype has so many), in random order."""
        n = int(np.prod(shape))
        if self.is_bool:
            return self(*shape)
        if self.is_integer:
            first = 0 if not self.dtype.is_signed else -(n // 2)
            return self.rng.permutation(np.arange(first, first + n)).astype(self.dtype.numpy).reshape(shape)
        return self.rng.permutation(np.linspace(low, high, n)).astype(self.dtype.numpy).reshape(shape)

    def bools(self, *shape: int) -> Array:
        """A mask."""
        return self(*shape, dtype=dt.bool_)

    def index(self, *shape: int, high: int, low: int = 0) -> Array:
        """int64 values in [low, high)."""
        return self.rng.integers(low, high, shape).astype(np.int64)

    def permutation(self, n: int) -> Array:
        """The numbers below ``n`` in random order, int64."""
        return self.rng.permutation(n).astype(np.int64)

    def special(self, *shape: int) -> Array:
        """Floats among which are nan, both infinities and both zeros; for other dtypes the same as a call."""
        values = self(*shape)
        if self.is_float:
            flat = values.reshape(-1)
            for i, v in enumerate((np.nan, np.inf, -np.inf, 0.0, -0.0)):
                flat[i::7] = v
        return values
