"""The Kullback-Leibler divergence of two distributions: the registry of its formulas by pairs of classes."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, Final, TypeVar

from flambeau.core.tensor import Tensor
from flambeau.distributions.distribution import Distribution

__all__ = ["kl_divergence", "register_kl"]

Formula = Callable[[Any, Any], Tensor]
F = TypeVar("F", bound=Formula)
Pair = tuple[type, type]

_KL_REGISTRY: Final[dict[Pair, Formula]] = {}
_KL_MEMOIZE: Final[dict[Pair, Formula | None]] = {}


def register_kl(type_p: type, type_q: type) -> Callable[[F], F]:
    """Enter the decorated ``fn(p, q)`` as the divergence of distributions of these classes and their subclasses.

    A class need not be derived from :class:`Distribution`: it may be one that only some of them are derived from.
    TypeError for what is no class.

    >>> class Mine(fb.distributions.Normal):
    ...     pass
    >>> @fb.distributions.register_kl(Mine, Mine)
    ... def nothing(p, q):
    ...     return fb.zeros(())
    >>> fb.distributions.kl_divergence(Mine(0.0, 1.0), Mine(1.0, 1.0))
    tensor(0.)
    """
    for name, kind in (("type_p", type_p), ("type_q", type_q)):
        if not isinstance(kind, type):
            raise TypeError(f"Expected {name} to be a class of distributions but got {kind!r}")

    def enter(fn: F) -> F:
        _KL_REGISTRY[type_p, type_q] = fn
        _KL_MEMOIZE.clear()
        return fn

    return enter


def _before(first: Pair, second: Pair, order: tuple[int, int]) -> int:
    """Whether a pair is more special (-1) than another, its classes looked at in ``order``."""
    for i in order:
        if first[i] is not second[i] and issubclass(first[i], second[i]):
            return -1
        if first[i] is not second[i] and issubclass(second[i], first[i]):
            return 1
        if first[i] is not second[i]:
            return 0
    return 0


def _most_special(matches: list[Pair], order: tuple[int, int]) -> Pair:
    def compare(first: Pair, second: Pair) -> int:
        return _before(first, second, order)

    return min(matches, key=functools.cmp_to_key(compare))


def _dispatch_kl(type_p: type, type_q: type) -> Formula | None:
    """The formula of the most special pair of superclasses, by the first class, then by the second."""
    matches = [(p, q) for p, q in _KL_REGISTRY if issubclass(type_p, p) and issubclass(type_q, q)]
    if not matches:
        return None
    left, right = _most_special(matches, (0, 1)), _most_special(matches, (1, 0))
    if _KL_REGISTRY[left] is not _KL_REGISTRY[right]:
        warnings.warn(
            f"Ambiguous kl_divergence({type_p.__name__}, {type_q.__name__}). "
            f"Please register_kl({left[0].__name__}, {right[1].__name__})",
            RuntimeWarning,
            stacklevel=3,
        )
    return _KL_REGISTRY[left]


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    """The mean under ``p`` of log p(x) - log q(x), of the shape of the batch.

    NotImplementedError where no formula is registered for the two classes.

    >>> normal = fb.distributions.Normal
    >>> fb.distributions.kl_divergence(normal(0.0, 1.0), normal(1.0, 1.0))
    tensor(0.5000)
    """
    pair = type(p), type(q)
    if pair not in _KL_MEMOIZE:
        _KL_MEMOIZE[pair] = _dispatch_kl(*pair)
    formula = _KL_MEMOIZE[pair]
    if formula is None:
        raise NotImplementedError(
            f"No KL(p || q) is implemented for p type {pair[0].__name__} and q type {pair[1].__name__}"
        )
    return formula(p, q)
