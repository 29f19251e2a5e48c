"""Orthogonal polynomials by their recurrences (NIST Handbook 18.9), in ops: they run on every device.

The degree is a number, or a tensor that broadcasts: then the recurrence runs to the largest degree. Degrees are cut to
whole numbers, a negative one gives 0. Unlike in torch the polynomials have gradients for ``input``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from flambeau.core.creation import full_like, ones_like, zeros_like
from flambeau.core.dispatch import compute_dtype
from flambeau.core.dtype import Number
from flambeau.core.errors import not_a_tensor
from flambeau.core.from_data import as_tensor
from flambeau.core.ops.elementwise import where
from flambeau.core.ops.expand import broadcast_tensors
from flambeau.core.record import OPS
from flambeau.core.tensor import Tensor
from flambeau.core.transforms.levels import bottom

#: p(1) of x, and p(k + 1) of (k, x, p(k), p(k - 1)).
Family = tuple[Callable[[Tensor], Tensor], Callable[[int, Tensor, Tensor, Tensor], Tensor]]


def _twice(k: int, x: Tensor, p: Tensor, before: Tensor) -> Tensor:
    return 2 * x * p - before


_FAMILIES: Final[dict[str, Family]] = {
    "chebyshev_polynomial_t": (lambda x: x, _twice),
    "chebyshev_polynomial_u": (lambda x: 2 * x, _twice),
    "chebyshev_polynomial_v": (lambda x: 2 * x - 1, _twice),
    "chebyshev_polynomial_w": (lambda x: 2 * x + 1, _twice),
    "hermite_polynomial_h": (lambda x: 2 * x, lambda k, x, p, before: 2 * x * p - 2 * k * before),
    "hermite_polynomial_he": (lambda x: x, lambda k, x, p, before: x * p - k * before),
    "laguerre_polynomial_l": (lambda x: 1 - x, lambda k, x, p, before: ((2 * k + 1 - x) * p - k * before) / (k + 1)),
    "legendre_polynomial_p": (lambda x: x, lambda k, x, p, before: ((2 * k + 1) * x * p - k * before) / (k + 1)),
}


def evaluate(name: str, x: Tensor | Number, n: Tensor | Number) -> Tensor:
    """The polynomial of a family of degree ``n`` at ``x``, in the floating dtype that the two promote to."""
    like = x if isinstance(x, Tensor) else n
    if not isinstance(like, Tensor):
        raise not_a_tensor(name, "input", x, "a tensor, or n must be one")
    for label, value in (("input", x), ("n", n)):
        if value.dtype.is_complex if isinstance(value, Tensor) else isinstance(value, complex):
            raise TypeError(f"{name}: not implemented for complex numbers, which {label} holds; give real ones")
    wide = compute_dtype(OPS["div"], (x, n))
    points = as_tensor(x, dtype=wide, device=like.device)
    if name.startswith("shifted_"):
        name, points = name.removeprefix("shifted_"), 2 * points - 1
    if not isinstance(n, Tensor):
        return _up_to(name, points, int(n.real))
    points, degrees = broadcast_tensors(points, n.detach())
    return _by_degree(name, points, degrees.trunc() if degrees.is_floating_point() else degrees)


def _up_to(name: str, x: Tensor, n: int) -> Tensor:
    if n < 0:
        return zeros_like(x)
    first, step = _FAMILIES[name]
    p, after = ones_like(x), first(x)
    for k in range(1, n + 1):
        p, after = after, step(k, x, after, p) if k < n else after
    return p


def _by_degree(name: str, x: Tensor, degrees: Tensor) -> Tensor:
    first, step = _FAMILIES[name]
    found = where(degrees == 0, ones_like(x), full_like(x, 0.0))
    seen = bottom(degrees)
    largest = int(seen.max().item()) if seen.numel() else 0
    p, after = ones_like(x), first(x)
    for k in range(1, largest + 1):
        p, after = after, step(k, x, after, p) if k < largest else after
        found = where(degrees == k, p, found)
    return found


# -- the functions of flambeau.special ----------------------------------------------------------------
def chebyshev_polynomial_t(input: Tensor | Number, n: Tensor | Number) -> Tensor:
    """The Chebyshev polynomial of the first kind, of degree ``n``.

    >>> fb.special.chebyshev_polynomial_t(fb.tensor([0.5, 2.0]), 2)
    tensor([-0.5000,  7.0000])
    """
    return evaluate("chebyshev_polynomial_t", input, n)


def chebyshev_polynomial_u(input: Tensor | Number, n: Tensor | Number) -> Tensor:
    """The Chebyshev polynomial of the second kind, of degree ``n``.

    >>> fb.special.chebyshev_polynomial_u(fb.tensor([0.5, 2.0]), 2)
    tensor([ 0., 15.])
    """
    return evaluate("chebyshev_polynomial_u", input, n)


def chebyshev_polynomial_v(input: Tensor | Number, n: Tensor | Number) -> Tensor:
    """The Chebyshev polynomial of the third kind, of degree ``n``.

    >>> fb.special.chebyshev_polynomial_v(fb.tensor([0.5, 2.0]), 2)
    tensor([-1., 11.])
    """
    return evaluate("chebyshev_polynomial_v", input, n)


def chebyshev_polynomial_w(input: Tensor | Number, n: Tensor | Number) -> Tensor:
    """The Chebyshev polynomial of the fourth kind, of degree ``n``.

    >>> fb.special.chebyshev_polynomial_w(fb.tensor([0.5, 2.0]), 2)
    tensor([ 1., 19.])
    """
    return evaluate("chebyshev_polynomial_w", input, n)


def shifted_chebyshev_polynomial_t(input: Tensor | Number, n: Tensor | Number) -> Tensor:
    """The Chebyshev polynomial of the first kind at 2 * input - 1, of degree ``n``.

    >>> fb.special.shifted_chebyshev_polynomial_t(fb.tensor([0.5, 2.0]), 2)
    tensor([-1., 17.])
    """
    return evaluate("shifted_chebyshev_polynomial_t", input, n)


def shifted_chebyshev_polynomial_u(input: Tensor | Number, n: Tensor | Number) -> Tensor:
    """The Chebyshev polynomial of the second kind at 2 * input - 1, of degree ``n``.

    >>> fb.special.shifted_chebyshev_polynomial_u(fb.tensor([0.5, 2.0]), 2)
    tensor([-1., 35.])
    """
    return evaluate("shifted_chebyshev_polynomial_u", input, n)


def shifted_chebyshev_polynomial_v(input: Tensor | Number, n: Tensor | Number) -> Tensor:
    """The Chebyshev polynomial of the third kind at 2 * input - 1, of degree ``n``.

    >>> fb.special.shifted_chebyshev_polynomial_v(fb.tensor([0.5, 2.0]), 2)
    tensor([-1., 29.])
    """
    return evaluate("shifted_chebyshev_polynomial_v", input, n)


def shifted_chebyshev_polynomial_w(input: Tensor | Number, n: Tensor | Number) -> Tensor:
    """The Chebyshev polynomial of the fourth kind at 2 * input - 1, of degree ``n``.

    >>> fb.special.shifted_chebyshev_polynomial_w(fb.tensor([0.5, 2.0]), 2)
    tensor([-1., 41.])
    """
    return evaluate("shifted_chebyshev_polynomial_w", input, n)


def hermite_polynomial_h(input: Tensor | Number, n: Tensor | Number) -> Tensor:
    """The physicist's Hermite polynomial, of degree ``n``.

    >>> fb.special.hermite_polynomial_h(fb.tensor([0.5, 2.0]), 2)
    tensor([-1., 14.])
    """
    return evaluate("hermite_polynomial_h", input, n)


def hermite_polynomial_he(input: Tensor | Number, n: Tensor | Number) -> Tensor:
    """The probabilist's Hermite polynomial, of degree ``n``.

    >>> fb.special.hermite_polynomial_he(fb.tensor([0.5, 2.0]), 2)
    tensor([-0.7500,  3.0000])
    """
    return evaluate("hermite_polynomial_he", input, n)


def laguerre_polynomial_l(input: Tensor | Number, n: Tensor | Number) -> Tensor:
    """The Laguerre polynomial, of degree ``n``.

    >>> fb.special.laguerre_polynomial_l(fb.tensor([0.5, 2.0]), 2)
    tensor([ 0.1250, -1.0000])
    """
    return evaluate("laguerre_polynomial_l", input, n)


def legendre_polynomial_p(input: Tensor | Number, n: Tensor | Number) -> Tensor:
    """The Legendre polynomial, of degree ``n``.

    >>> fb.special.legendre_polynomial_p(fb.tensor([0.5, 2.0]), 2)
    tensor([-0.1250,  5.5000])
    """
    return evaluate("legendre_polynomial_p", input, n)
