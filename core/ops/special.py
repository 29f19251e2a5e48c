"""Special functions, comparisons within a tolerance, repairs: polygamma, logit, isclose, nan_to_num, isin."""

from __future__ import annotations

import functools
import math
import operator
from typing import Final

from flambeau.core import dtype as dt
from flambeau.core.autocast import autocasting
from flambeau.core.creation import arange, full_like, ones_like
from flambeau.core.declare import OpFunction, composite
from flambeau.core.dispatch import compute_dtype, expression_functions
from flambeau.core.dtype import Number
from flambeau.core.errors import ArgumentError, DTypeError, need_tensors, not_a_tensor
from flambeau.core.from_data import as_tensor
from flambeau.core.ops import storage
from flambeau.core.ops.arithmetic import clamp
from flambeau.core.ops.construct import from_parts as joined
from flambeau.core.ops.elementwise import (
    abs_p,
    atan2_p,
    conj_p,
    digamma_p,
    elementwise,
    floor_p,
    heaviside_p,
    isfinite_p,
    isinf_p,
    isnan_p,
    lgamma_p,
    logaddexp_p,
    logit_p,
    sgn_p,
    trigamma_p,
    unary,
    where,
)
from flambeau.core.ops.expand import broadcast_tensors
from flambeau.core.ops.scan import log_of_sum
from flambeau.core.ops.search import searchsorted
from flambeau.core.ops.shape import reshape, unsqueeze
from flambeau.core.ops.views import imag, real
from flambeau.core.out import deliver
from flambeau.core.public import public
from flambeau.core.record import OPS, alike, real_floating
from flambeau.core.tensor import Tensor

# -- gamma and zeta functions ------------------------------------------------------------------------
zeta_p: OpFunction[Tensor] = elementwise(
    "zeta(x: Tensor, y: Tensor) -> Tensor",
    vjp=dict(y=lambda g, x, y: -g * x * zeta_p(x + 1, y)),
    dtype=real_floating,
    public=False,
    doc="the Hurwitz zeta function: the sum over n from 0 of (n + other) to the power of -input",
    example="fb.special.zeta(fb.tensor([2.0]), fb.tensor([1.0])) -> tensor([1.6449])",
)


def _polygamma(x: Tensor, *, n: int) -> Tensor:
    from flambeau.core.expr import evaluate, parse  # parsed at first need
    from flambeau.core.special import polygamma as text  # likewise

    dtype = x._key.stored
    own = {"digamma": digamma_p, "trigamma": trigamma_p, "zeta": zeta_p, "floor": floor_p}
    found: Tensor = evaluate(parse(text(n), ("x",)), {"x": x}, {**expression_functions(dtype), **own}, dtype)
    return found


polygamma_p: OpFunction[Tensor] = composite(
    "polygamma(x: Tensor, *, n: int) -> Tensor",
    infer=lambda x, *, n: x,
    dtype=real_floating,
    public=False,
    vjp=dict(x=lambda g, x, n: g * polygamma_p(x, n=n + 1)),
    batch="same",
)(_polygamma)


@public(method=False)
def polygamma(n: int, input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The n-th derivative of the digamma function; ValueError for a negative ``n``.

    >>> fb.polygamma(1, fb.tensor([1.0]))
    tensor([1.6449])
    """
    n = operator.index(n)
    if n < 0:
        raise ArgumentError(f"polygamma: n must not be negative, got {n}")
    if n > 170:
        raise ArgumentError(f"polygamma: n must be at most 170, got {n}: no float holds its factorial")
    return deliver("polygamma", polygamma_p(input, n=n), out)


@public("polygamma", function=False, inplace=True)
def _polygamma_method(self: Tensor, n: int) -> Tensor:
    """The n-th derivative of the digamma function."""
    return polygamma(n, self)


i0e_p = unary(
    "i0e",
    lambda g, x, out: g * (i1e_p(x) - sgn_p(x) * out),
    dtype=real_floating,
    public=False,
    inplace=False,
    doc="i0(input) * exp(-abs(input))",
    example="fb.special.i0e(fb.tensor([0.0, 1.0])) -> tensor([1.0000, 0.4658])",
)
i1e_p: OpFunction[Tensor] = unary(
    "i1e",
    lambda g, x, out: g * (i0e_p(x) - out * (sgn_p(x) + _reciprocal(x)) - where(x == 0, 0.5, 0.0)),
    dtype=real_floating,
    public=False,
    inplace=False,
    doc="i1(input) * exp(-abs(input))",
    example="fb.special.i1e(fb.tensor([0.0, 1.0])) -> tensor([0.0000, 0.2079])",
)


def _reciprocal(x: Tensor) -> Tensor:
    return where(x == 0, 0.0, 1 / where(x == 0, 1.0, x))


@public(inplace=True)
@autocasting("same")
def mvlgamma(input: Tensor, p: int, *, out: Tensor | None = None) -> Tensor:
    """The logarithm of the multivariate gamma function of dimension ``p``, for input > (p - 1) / 2.

    >>> fb.mvlgamma(fb.tensor([3.0]), 1)
    tensor([0.6931])
    """
    if p < 1:
        raise ArgumentError(f"mvlgamma: p must be at least 1, got {p}")
    wide = input.dtype if input.dtype.category >= dt.FLOATING else dt.get_default_dtype()
    halves = (arange(p, dtype=dt.float32, device=input.device) * 0.5).to(wide)
    found = lgamma_p(input.unsqueeze(-1) - halves).sum(dim=-1)
    return deliver("mvlgamma", found + 0.25 * p * (p - 1) * math.log(math.pi), out)


@public(function=True)
def conj_physical_(self: Tensor) -> Tensor:
    """The complex conjugate, in place."""
    return self.copy_(conj_p(self))


@public(inplace="function")
def logit(input: Tensor, eps: float | None = None, *, out: Tensor | None = None) -> Tensor:
    """``log(input / (1 - input))``, of the input clamped to [eps, 1 - eps] where ``eps`` is given.

    >>> fb.logit(fb.tensor([0.5]))
    tensor([0.])
    """
    x = input if eps is None else clamp(input, eps, 1 - eps)
    return deliver("logit", logit_p(x), out)


def _is_complex(value: Tensor | Number) -> bool:
    return value._key.dtype.category == dt.COMPLEX if isinstance(value, Tensor) else isinstance(value, complex)


@public()
def logaddexp(input: Tensor | Number, other: Tensor | Number, *, out: Tensor | None = None) -> Tensor:
    """``log(exp(input) + exp(other))`` without overflow, of real or complex numbers.

    >>> fb.logaddexp(fb.tensor([0.0]), fb.tensor([0.0]))
    tensor([0.6931])
    """
    if not (_is_complex(input) or _is_complex(other)):
        return deliver("logaddexp", logaddexp_p(input, other), out)
    pair = (input, other)
    wanted = compute_dtype(OPS["add"], pair)
    like = input if isinstance(input, Tensor) else other
    device = like._key.device if isinstance(like, Tensor) else None
    x, y = (as_tensor(v, dtype=wanted, device=device) for v in pair)
    return deliver("logaddexp", log_of_sum(*broadcast_tensors(x, y)), out)


# -- repairs -----------------------------------------------------------------------------------------
@public(inplace="function")
def nan_to_num(
    input: Tensor, nan: float | None = 0.0, posinf: float | None = None, neginf: float | None = None, *, out: Tensor |
    None = None,
) -> Tensor:  # fmt: skip
    """nan replaced by ``nan``, infinities by ``posinf`` and ``neginf`` (None: the dtype's largest and smallest).

    >>> fb.nan_to_num(fb.tensor([float("nan"), 1.0]))
    tensor([0., 1.])
    """
    for name, value in (("nan", nan), ("posinf", posinf), ("neginf", neginf)):
        if isinstance(value, complex):
            raise TypeError(f"nan_to_num: {name} must be a float, got {value!r}")
    if input.is_complex():
        parts = (nan_to_num(part(input), nan, posinf, neginf) for part in (real, imag))
        return deliver("nan_to_num", joined(*parts), out)
    if not input.is_floating_point():
        return deliver("nan_to_num", storage.clone_p(input, "K"), out)
    limits = dt.finfo(input._key.stored)
    high, low = (limits.max if posinf is None else posinf), (limits.min if neginf is None else neginf)
    inf = isinf_p(input)
    found = where(isnan_p(input), 0.0 if nan is None else nan, where(inf & (input > 0), high, where(inf, low, input)))
    return deliver("nan_to_num", found, out)


# -- complex numbers ---------------------------------------------------------------------------------
@public()
def angle(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The angle of a complex number in radians; of a real one 0 or pi.

    >>> fb.angle(fb.tensor([1.0, -1.0]))
    tensor([0.0000, 3.1416])
    """
    if input.is_complex():
        found = atan2_p(imag(input), real(input))
    else:
        x = input if input.is_floating_point() else storage.cast_p(input, dt.get_default_dtype())
        found = where(x < 0, math.pi, where(isnan_p(x), floor_p(x), 0.0))
    return deliver("angle", found, out)


@public()
def isreal(input: Tensor) -> Tensor:
    """Where the imaginary part is 0; everywhere for a real tensor.

    >>> fb.isreal(fb.tensor([1 + 0j, 1j]))
    tensor([ True, False])
    """
    if input.is_complex():
        return imag(input) == 0
    return ones_like(input, dtype=dt.bool_)


# -- comparisons -------------------------------------------------------------------------------------
def _by_parts(record: OpFunction[Tensor], x: Tensor, whole: bool) -> tuple[Tensor, ...]:
    """A test of floats: of a complex tensor its two parts', of whole numbers ``whole``."""
    if x.is_floating_point():
        return (record(x),)
    return (record(real(x)), record(imag(x))) if x.is_complex() else (full_like(x, whole, dtype=dt.bool_),)


@public()
def isinf(input: Tensor) -> Tensor:
    """Where an element, or a part of it, is positive or negative infinity.

    >>> fb.isinf(fb.tensor([1.0, float("inf")]))
    tensor([False,  True])
    """
    return functools.reduce(operator.or_, _by_parts(isinf_p, input, False))


@public()
def isfinite(input: Tensor) -> Tensor:
    """Where an element is neither infinite nor nan.

    >>> fb.isfinite(fb.tensor([1.0, float("nan")]))
    tensor([ True, False])
    """
    return functools.reduce(operator.and_, _by_parts(isfinite_p, input, True))


def _is_infinity(name: str, x: Tensor, value: float) -> Tensor:
    if x.is_complex():
        raise DTypeError(f"{name}: not implemented for {x.dtype.name}, whose infinities have no sign")
    return x == value


@public(out=True)
def isposinf(input: Tensor) -> Tensor:
    """Where an element is positive infinity; DTypeError for a complex tensor.

    >>> fb.isposinf(fb.tensor([1.0, float("inf")]))
    tensor([False,  True])
    """
    return _is_infinity("isposinf", input, math.inf)


@public(out=True)
def isneginf(input: Tensor) -> Tensor:
    """Where an element is negative infinity; DTypeError for a complex tensor.

    >>> fb.isneginf(fb.tensor([1.0, float("-inf")]))
    tensor([False,  True])
    """
    return _is_infinity("isneginf", input, -math.inf)


_same_dtype: Final = alike("input and other")


@public(inplace=True)
def heaviside(input: Tensor, values: Tensor, *, out: Tensor | None = None) -> Tensor:
    """0 below zero, ``values`` at zero, 1 above; all tensors are of one dtype.

    >>> fb.heaviside(fb.tensor([-1.0, 0.0, 1.0]), fb.tensor(0.5))
    tensor([0.0000, 0.5000, 1.0000])
    """
    found = heaviside_p(input, values)
    if isinstance(out, Tensor):
        alike("input and out")("heaviside", (found, out))
    return deliver("heaviside", found, out)


@public()
def isclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Tensor:
    """Where ``abs(input - other) <= atol + rtol * abs(other)``, infinities equal, nan only if ``equal_nan``.

    >>> fb.isclose(fb.tensor([1.0]), fb.tensor([1.1]))
    tensor([False])
    """
    need_tensors("isclose", input=input, other=other)
    if rtol < 0 or atol < 0:
        raise ArgumentError(f"isclose: rtol and atol must not be negative, got rtol={rtol} and atol={atol}")
    _same_dtype("isclose", (input, other))
    close = input == other
    if equal_nan:
        close = close | (isnan_p(input) & isnan_p(other))
    if not rtol and not atol:
        return close
    if input.dtype is dt.bool_ and other.dtype is dt.bool_:
        return close
    error = abs_p(input - other)
    return close | (isfinite(error) & (error <= atol + abs_p(rtol * other)))


@public()
def allclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    """Whether :func:`isclose` holds everywhere.

    >>> fb.allclose(fb.tensor([1.0]), fb.tensor([1.0 + 1e-7]))
    True
    """
    return bool(isclose(input, other, rtol, atol, equal_nan).all())


@public()
def equal(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape and the same elements.

    >>> fb.equal(fb.ones(2), fb.ones(2))
    True
    """
    if tuple(input._array.shape) != tuple(other._array.shape):
        return False
    return bool((input == other).all())


def _operand(value: Number, like: Tensor) -> Tensor:
    """A number as a tensor; an int beyond int64 as the float next to it."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        value = float(value)
    return as_tensor(value, device=like.device)


@public(method=False, out=True)
def isin(
    elements: Tensor | Number, test_elements: Tensor | Number, *, assume_unique: bool = False, invert: bool = False
) -> Tensor:
    """Where an element of ``elements`` is one of ``test_elements``; where it is not, if ``invert``.

    One of the two may be a number. ``assume_unique`` changes nothing.

    >>> fb.isin(fb.tensor([1, 2, 3]), fb.tensor([2, 5]))
    tensor([False,  True, False])
    """
    like = elements if isinstance(elements, Tensor) else test_elements
    if not isinstance(like, Tensor):
        raise TypeError(
            f"isin: elements or test_elements must be a tensor, "
            f"got {type(elements).__name__} and {type(test_elements).__name__}"
        )
    for label, v in (("elements", elements), ("test_elements", test_elements)):
        dt.check_int(f"isin: {label}", v)
        kind = v.dtype if isinstance(v, Tensor) else dt.scalar_dtype(v)
        if kind.category in (dt.BOOL, dt.COMPLEX):
            raise DTypeError(f"isin: {label} must hold integers or floats, got {kind.name}")
    x, among = (v if isinstance(v, Tensor) else _operand(v, like) for v in (elements, test_elements))
    among = reshape(among, (among.numel(),))
    if among.numel() <= 16:
        found = (unsqueeze(x, x.ndim) == among).any(-1)
    else:
        ordered = among.sort().values
        common = dt.promote_types(ordered.dtype, x.dtype)
        place = clamp(searchsorted(ordered.to(common), x.to(common)), max=among.numel() - 1)
        found = ordered[place] == x
    return ~found if invert else found


@public(aliases=("resolve_neg",))
def resolve_conj(input: Tensor) -> Tensor:
    """The tensor itself: conjugates are computed at once here, never left to be done.

    >>> fb.resolve_conj(fb.tensor([1j]))
    tensor([0.+1.j])
    """
    if not isinstance(input, Tensor):
        raise not_a_tensor("resolve_conj", "input", input, "a tensor")
    return input


@public(aliases=("is_neg",))
def is_conj(input: Tensor) -> bool:
    """False: no tensor is conjugated or negated lazily.

    >>> fb.is_conj(fb.tensor([1j]))
    False
    """
    if not isinstance(input, Tensor):
        raise not_a_tensor("is_conj", "input", input, "a tensor")
    return False
