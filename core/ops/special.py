"""Special functions, comparisons within a tolerance, repairs: polygamma, logit, isclose, nan_to_num, isin."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, Final

from flambeau.core import dtype as dt
from flambeau.core.creation import full_like, ones_like
from flambeau.core.declare import composite
from flambeau.core.dispatch import compute_dtype
from flambeau.core.errors import DTypeError
from flambeau.core.from_data import as_tensor
from flambeau.core.ops import storage
from flambeau.core.ops.arithmetic import clamp
from flambeau.core.ops.construct import complex as joined
from flambeau.core.ops.elementwise import (
    abs,
    atan2,
    binary,
    conj,
    cos,
    digamma,
    floor,
    isfinite,
    isinf,
    isnan,
    lgamma,
    logit_,
    sgn,
    sin,
    trigamma,
    unary,
    where,
)
from flambeau.core.ops.elementwise import (
    logaddexp as real_logaddexp,
)
from flambeau.core.ops.scan import log_of_sum
from flambeau.core.ops.search import searchsorted
from flambeau.core.ops.shape import broadcast_tensors, reshape, unsqueeze
from flambeau.core.ops.views import imag, real
from flambeau.core.out import deliver
from flambeau.core.record import OPS, real_floating
from flambeau.core.tensor import Tensor

# -- gamma and zeta functions ------------------------------------------------------------------------
zeta = binary("zeta", None, dtype=real_floating, method=False, inplace=False)
zeta.op.doc = "Hurwitz's zeta function: the sum of ``(other + k) ** -input`` over k from 0."


def _cotangent_derivative(n: int) -> list[float]:
    """The coefficients of the polynomial in c = cot(t) that is the n-th derivative of cot(t): cot' = -(1 + cot**2)."""
    poly = [0.0, 1.0]
    for _ in range(n):
        slope = [k * c for k, c in enumerate(poly)][1:]
        poly = [0.0] * (len(slope) + 2)
        for k, c in enumerate(slope):
            poly[k] -= c
            poly[k + 2] -= c
    return poly


@composite(
    "polygamma(x: Tensor, *, n: int) -> Tensor",
    infer=lambda x, *, n: x,
    dtype=real_floating,
    method=False,
    vjp=dict(x=lambda g, x, n: g * polygamma(n + 1, x)),
    batch="same",
)
def polygamma_of(x: Any, *, n: int) -> Any:
    """By Hurwitz's zeta function for positive x, by the reflection formula elsewhere (DLMF 5.15.1 and 5.15.6)."""
    if n < 2:
        return trigamma(x) if n else digamma(x)
    negative = x <= 0
    size = math.factorial(n) * (1 if n % 2 else -1)
    safe = where(negative, 1 - x, x)
    direct = size * zeta(float(n + 1), safe)
    angle_ = math.pi * (x - floor(x))  # cot has period pi; at the poles it is infinite
    cot = cos(angle_) / sin(angle_)
    total: Any = 0.0
    for c in reversed(_cotangent_derivative(n)):
        total = total * cot + c
    reflected = (-1) ** n * direct - math.pi ** (n + 1) * total
    pole = negative & (x == floor(x))
    return where(pole, math.inf if n % 2 else -math.inf, where(negative, reflected, direct))


def polygamma(n: int, input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The n-th derivative of the digamma function.

    >>> fb.polygamma(1, fb.tensor([1.0]))
    tensor([1.6449])
    """
    n = operator.index(n)
    if n < 0:
        raise ValueError(f"polygamma: n must not be negative, got {n}")
    return deliver("polygamma", polygamma_of(input, n=n), out)


def _polygamma_method(self: Tensor, n: int) -> Tensor:
    """The n-th derivative of the digamma function."""
    return polygamma(n, self)


i0e: Any = unary("i0e", lambda g, x, out: g * (i1e(x) - sgn(x) * out), dtype=real_floating, method=False, inplace=False)
i1e: Any = unary(
    "i1e",
    lambda g, x, out: g * (i0e(x) - out * (sgn(x) + _reciprocal(x)) - where(x == 0, 0.5, 0.0)),
    dtype=real_floating,
    method=False,
    inplace=False,
)


def _reciprocal(x: Any) -> Any:
    return where(x == 0, 0.0, 1 / where(x == 0, 1.0, x))


def polygamma_in_place(self: Tensor, n: int) -> Tensor:
    """:func:`polygamma` in place."""
    return self.copy_(polygamma(n, self))


def mvlgamma(input: Tensor, p: int, *, out: Tensor | None = None) -> Tensor:
    """The logarithm of the multivariate gamma function of dimension ``p``, for input > (p - 1) / 2.

    >>> fb.mvlgamma(fb.tensor([3.0]), 1)
    tensor([0.6931])
    """
    if p < 1:
        raise ValueError(f"mvlgamma: p must be at least 1, got {p}")
    found = sum((lgamma(input - 0.5 * j) for j in range(1, p)), lgamma(input))
    return deliver("lgamma", found + 0.25 * p * (p - 1) * math.log(math.pi), out)


def mvlgamma_(self: Tensor, p: int) -> Tensor:
    """:func:`mvlgamma` in place."""
    return self.copy_(mvlgamma(self, p))


def conj_physical_(self: Tensor) -> Tensor:
    """The complex conjugate, in place."""
    return self.copy_(conj(self)) if self.is_complex() else self


def logit(input: Tensor, eps: float | None = None, *, out: Tensor | None = None) -> Tensor:
    """``log(input / (1 - input))``, of the input clamped to [eps, 1 - eps] where ``eps`` is given.

    >>> fb.logit(fb.tensor([0.5]))
    tensor([0.])
    """
    x = input if eps is None else clamp(input, eps, 1 - eps)
    return deliver("logit_of", logit_(x), out)


def logaddexp(input: Any, other: Any, *, out: Tensor | None = None) -> Tensor:
    """``log(exp(input) + exp(other))`` without overflow, of real or complex numbers.

    >>> fb.logaddexp(fb.tensor([0.0]), fb.tensor([0.0]))
    tensor([0.6931])
    """
    pair = (input, other)
    if not any(v._key.dtype.category == dt.COMPLEX if isinstance(v, Tensor) else isinstance(v, complex) for v in pair):
        return real_logaddexp(input, other) if out is None else real_logaddexp(input, other, out=out)
    wanted = compute_dtype(OPS["add"], pair)
    like = input if isinstance(input, Tensor) else other
    x, y = (storage.cast(v, wanted) if isinstance(v, Tensor) else like.new_tensor(v, dtype=wanted) for v in pair)
    return deliver("logaddexp", log_of_sum(*broadcast_tensors(x, y)), out)


# -- repairs -----------------------------------------------------------------------------------------
def nan_to_num(
    input: Tensor,
    nan: float | None = 0.0,
    posinf: float | None = None,
    neginf: float | None = None,
    *,
    out: Tensor | None = None,
) -> Tensor:
    """nan replaced by ``nan``, infinities by ``posinf`` and ``neginf`` (None: the dtype's largest and smallest).

    >>> fb.nan_to_num(fb.tensor([float("nan"), 1.0]))
    tensor([0., 1.])
    """
    if input.is_complex():
        parts = (nan_to_num(part(input), nan, posinf, neginf) for part in (real, imag))
        return deliver("add", joined(*parts), out)
    if not input.is_floating_point():
        return deliver("clone", storage.clone(input, "K"), out)
    limits = dt.finfo(input.dtype)
    high, low = (limits.max if posinf is None else posinf), (limits.min if neginf is None else neginf)
    inf = isinf(input)
    found = where(isnan(input), 0.0 if nan is None else nan, where(inf & (input > 0), high, where(inf, low, input)))
    return deliver("add", found, out)


def nan_to_num_(
    self: Tensor, nan: float | None = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    """:func:`nan_to_num` in place."""
    return self.copy_(nan_to_num(self, nan, posinf, neginf))


# -- complex numbers ---------------------------------------------------------------------------------
def angle(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The angle of a complex number in radians; of a real one 0 or pi.

    >>> fb.angle(fb.tensor([1.0, -1.0]))
    tensor([0.0000, 3.1416])
    """
    if input.is_complex():
        found = atan2(imag(input), real(input))
    else:
        x = input if input.is_floating_point() else storage.cast(input, dt.get_default_dtype())
        found = where(x < 0, math.pi, where(isnan(x), x, 0.0))
    return deliver("atan2", found, out)


def isreal(input: Tensor) -> Tensor:
    """Where the imaginary part is 0; everywhere for a real tensor.

    >>> fb.isreal(fb.tensor([1 + 0j, 1j]))
    tensor([ True, False])
    """
    if input.is_complex():
        return imag(input) == 0
    return ones_like(input, dtype=dt.bool_)


# -- comparisons -------------------------------------------------------------------------------------
def _classified(record: Callable[..., Any], whole: bool, combine: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """A test of floats for every dtype: complex numbers by their parts, ``whole`` for whole numbers."""

    def test(input: Tensor) -> Tensor:
        if input.is_floating_point():
            found = record(input)
        elif input.is_complex():
            found = combine(record(real(input)), record(imag(input)))
        else:
            found = full_like(input, whole, dtype=dt.bool_)
        return found

    test.__name__ = test.__qualname__ = record.op.name  # type: ignore[attr-defined]
    return test


is_infinite = _classified(isinf, False, lambda a, b: a | b)
is_infinite.__doc__ = """Where an element, or a part of it, is positive or negative infinity.

>>> fb.isinf(fb.tensor([1.0, float("inf")]))
tensor([False,  True])
"""
is_finite = _classified(isfinite, True, lambda a, b: a & b)
is_finite.__doc__ = """Where an element is neither infinite nor nan.

>>> fb.isfinite(fb.tensor([1.0, float("nan")]))
tensor([ True, False])
"""


def _infinite(name: str, value: float, sign: str) -> Callable[..., Tensor]:
    def test(input: Tensor) -> Tensor:
        if input.is_complex():
            raise DTypeError(f"{name}: not implemented for {input.dtype.name}, whose infinities have no sign")
        return input == value

    test.__name__ = test.__qualname__ = name
    test.__doc__ = f"""Where an element is {sign} infinity.

    >>> fb.{name}(fb.tensor([1.0, float("{value}")]))
    tensor([False,  True])
    """
    return test


isposinf = _infinite("isposinf", math.inf, "positive")
isneginf = _infinite("isneginf", -math.inf, "negative")


def isclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Tensor:
    """Where ``abs(input - other) <= atol + rtol * abs(other)``, infinities equal, nan only if ``equal_nan``.

    >>> fb.isclose(fb.tensor([1.0]), fb.tensor([1.1]))
    tensor([False])
    """
    if rtol < 0 or atol < 0:
        raise ValueError(f"isclose: rtol and atol must not be negative, got rtol={rtol} and atol={atol}")
    close: Any = input == other
    if equal_nan:
        close = close | (isnan(input) & isnan(other))
    if not rtol and not atol:
        return close
    if input.dtype is dt.bool_ and other.dtype is dt.bool_:
        return close
    error = abs(input - other)
    return close | (is_finite(error) & (error <= atol + abs(rtol * other)))


def allclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    """Whether :func:`isclose` holds everywhere.

    >>> fb.allclose(fb.tensor([1.0]), fb.tensor([1.0 + 1e-7]))
    True
    """
    return bool(isclose(input, other, rtol, atol, equal_nan).all())


def equal(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape and the same elements.

    >>> fb.equal(fb.ones(2), fb.ones(2))
    True
    """
    if tuple(input._array.shape) != tuple(other._array.shape):
        return False
    return bool((input == other).all())


def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Tensor:
    """Where an element of ``elements`` is one of ``test_elements``; where it is not, if ``invert``.

    >>> fb.isin(fb.tensor([1, 2, 3]), fb.tensor([2, 5]))
    tensor([False,  True, False])
    """
    like = elements if isinstance(elements, Tensor) else test_elements
    if not isinstance(like, Tensor):
        raise TypeError(
            f"isin: elements or test_elements must be a tensor, "
            f"got {type(elements).__name__} and {type(test_elements).__name__}"
        )
    x, among = (v if isinstance(v, Tensor) else as_tensor(v, device=like.device) for v in (elements, test_elements))
    among = reshape(among, (among.numel(),))
    if among.numel() <= 16:
        found = (unsqueeze(x, x.ndim) == among).any(-1)
    else:
        ordered = among.sort().values
        place = clamp(ordered_place(ordered, x), max=among.numel() - 1)
        found = ordered[place] == x
    return ~found if invert else found


def ordered_place(ordered: Tensor, x: Tensor) -> Any:
    """Where each element of ``x`` would be inserted."""
    common = dt.promote_types(ordered.dtype, x.dtype)
    return searchsorted(ordered.to(common), x.to(common))


def same(input: Tensor) -> Tensor:
    """The tensor itself: conjugates are computed at once here, never left to be done.

    >>> fb.resolve_conj(fb.tensor([1j]))
    tensor([0.+1.j])
    """
    return input


def _never(input: Tensor) -> bool:
    """False: no tensor is conjugated or negated lazily, and none is marked by inference mode.

    >>> fb.is_conj(fb.tensor([1j]))
    False
    """
    return False


FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "polygamma": polygamma, "logaddexp": logaddexp, "logit": logit, "nan_to_num": nan_to_num, "angle": angle,
    "isreal": isreal, "isinf": is_infinite, "isfinite": is_finite, "isposinf": isposinf, "isneginf": isneginf,
    "isclose": isclose, "allclose": allclose, "equal": equal, "isin": isin, "resolve_conj": same, "resolve_neg": same,
    "is_conj": _never, "is_neg": _never, "is_inference": _never, "conj_physical": conj, "mvlgamma": mvlgamma,
}  # fmt: skip
METHODS: Final[dict[str, Any]] = {
    **{n: f for n, f in FUNCTIONS.items() if n != "isin"}, "polygamma": _polygamma_method, "nan_to_num_": nan_to_num_,
    "polygamma_": polygamma_in_place, "mvlgamma_": mvlgamma_, "conj_physical_": conj_physical_,
}  # fmt: skip
