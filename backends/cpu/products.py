"""Products with an addition on numpy: one kernel where the body would run an op for each of their steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from flambeau.backends.base import Declined, Kernel, KernelTable
from flambeau.backends.cpu.linalg import matmul
from flambeau.backends.xp import Array
from flambeau.core import dtype as dt

_FULL: Final = (dt.float32, dt.float64)
_WHOLE: Final = 2**63  # up to which a whole number is taken for a factor without a look at the dtype


def bind(table: KernelTable) -> None:
    products: dict[str, Callable[[Array, Array], Array]] = {
        "addmm": matmul, "baddbmm": matmul, "addbmm": _sum_of_products, "addmv": _with_vector, "addr": _outer,
    }  # fmt: skip
    for name, product in products.items():
        table.register(name, _plus(name, product), _FULL)


def _plus(name: str, product: Callable[[Array, Array], Array]) -> Kernel:
    """``beta * x + alpha * product(a, b)``, in the order of the op's body; with beta 0, x does not count."""

    def kernel(x: Array, a: Array, b: Array, beta: Any, alpha: Any) -> Array:
        if not (_is_factor(beta) and _is_factor(alpha)):
            raise Declined(name)  # a tensor, which may be of another dtype, or a number that has to be refused
        out = product(a, b)
        if alpha != 1:
            np.multiply(out, alpha, out)
        if beta == 0:
            return out
        return np.add(x if beta == 1 else np.multiply(x, beta), out, out)

    kernel.__name__ = name
    return kernel


def _is_factor(value: Any) -> bool:
    return value.__class__ is float or value.__class__ is int and -_WHOLE <= value <= _WHOLE


def _sum_of_products(a: Array, b: Array) -> Array:
    """The sum of the products of a batch, as one product."""
    count, n, k = a.shape
    return matmul(a.transpose(1, 0, 2).reshape(n, count * k), b.reshape(count * k, b.shape[2]))


def _with_vector(a: Array, b: Array) -> Array:
    return matmul(a, b[:, None])[:, 0]


def _outer(a: Array, b: Array) -> Array:
    return np.multiply(a[:, None], b)
