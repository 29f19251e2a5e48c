"""Elementwise ops with forms of their own: clamp, rounding division, fused additions, gcd, frexp."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

from flambeau.core import dtype as dt
from flambeau.core.autograd.inplace import in_place
from flambeau.core.declare import OpFunction, composite
from flambeau.core.dispatch import compute_dtype
from flambeau.core.dtype import Number
from flambeau.core.errors import ArgumentError, DTypeError, NumberError, not_a_tensor
from flambeau.core.ops import storage
from flambeau.core.ops.elementwise import (
    FLOATS,
    abs_p,
    binary,
    broadcast,
    cj,
    div_p,
    elementwise,
    floor_divide_p,
    fmod_p,
    pow_p,
    round_half_even_p,
    sub_p,
    trunc_p,
    where,
    zero,
)
from flambeau.core.out import deliver
from flambeau.core.public import public
from flambeau.core.record import (
    ELEMENTWISE,
    OPS,
    DTypeRule,
    floating,
    integral,
    must_fit,
    numeric,
    ordered,
)
from flambeau.core.tensor import Tensor


def writing(name: str, *args: Tensor | Number) -> Tensor:
    """The in-place form of op ``name``."""
    written: Tensor = in_place(OPS[name], args, {}, None)
    return written


# -- bounds ------------------------------------------------------------------------------------------
_BOUNDED: Final = ordered.but(exact=must_fit)
clamp_min_p = binary(
    "clamp_min",
    lambda g, x, y: where(x >= y, g, 0.0),
    lambda g, x, y: where(x < y, g, 0.0),
    "maximum(x, y)",
    dtype=_BOUNDED,
    tensors=["x"],
    inplace="function",
    doc="the larger of input and the bound; nan stays",
    example="fb.clamp_min(fb.tensor([-1.0, 2.0]), 0) -> tensor([0., 2.])",
)
clamp_max_p = binary(
    "clamp_max",
    lambda g, x, y: where(x <= y, g, 0.0),
    lambda g, x, y: where(x > y, g, 0.0),
    "where(x != x, x, where(y != y, y, where(x < y, x, y)))",
    dtype=_BOUNDED,
    tensors=["x"],
    inplace="function",
    doc="the smaller of input and the bound; nan stays",
    example="fb.clamp_max(fb.tensor([-1.0, 2.0]), 0) -> tensor([-1.,  0.])",
)
clamp_p = elementwise(
    "clamp(x: Tensor, low: Tensor, high: Tensor) -> Tensor",
    "let m = maximum(x, low); where(m != m, m, where(high != high, high, where(m < high, m, high)))",
    dtype=_BOUNDED, tensors=["x"], public=False, inplace=False,
    vjp=dict(
        x=lambda g, x, low, high: where((x >= low) & (x <= high), g, 0.0),
        low=lambda g, x, low, high: where((x < low) & (low < high), g, 0.0),
        high=lambda g, x, low, high: where((x > high) | (high < low), g, 0.0),
    ),
)  # fmt: skip


Bound = Tensor | Number | None


def _bounds(name: str, x: Tensor, low: Bound, high: Bound) -> tuple[str, tuple[Tensor | Number, ...]]:
    """Which record serves, and its operands."""
    if low is not None:
        return ("clamp_min", (x, low)) if high is None else ("clamp", (x, low, high))
    if high is not None:
        return "clamp_max", (x, high)
    raise ArgumentError(f"{name}: at least one of 'min' or 'max' must not be None")


def _beside(bound: Tensor | Number, other: Tensor | Number, x: Tensor) -> Tensor | Number:
    """A 0-d tensor as a bound beside a number counts as a number too: it raises the category, not the width."""
    if not isinstance(bound, Tensor) or isinstance(other, Tensor) or bound._array.shape:
        return bound
    category = max(bound.dtype.category, dt.INTEGER)
    return storage.cast_p(
        bound, x.dtype if category <= x.dtype.category else dt.scalar_dtype((0, 0, 0.0, 0j)[category])
    )


@public(aliases=("clip",), guard=False)
def clamp(input: Tensor, min: Bound = None, max: Bound = None, *, out: Tensor | None = None) -> Tensor:
    """The elements, those below ``min`` raised to it and those above ``max`` lowered to it; either may be None.

    The bounds are numbers or tensors that broadcast with ``input``; ValueError where there is none.

    >>> fb.tensor([-1.0, 0.5, 2.0]).clamp(0, 1)
    tensor([0.0000, 0.5000, 1.0000])
    """
    name, operands = _bounds("clamp", input, min, max)
    if name == "clamp":
        operands = (input, _beside(operands[1], operands[2], input), _beside(operands[2], operands[1], input))
    function = {"clamp_min": clamp_min_p, "clamp_max": clamp_max_p, "clamp": clamp_p}[name]
    return deliver("clamp", function(*operands), out)


@public(aliases=("clip_",), function=True)
def clamp_(self: Tensor, min: Bound = None, max: Bound = None) -> Tensor:
    """:func:`clamp` in place."""
    name, operands = _bounds("clamp_", self, min, max)
    return writing(name, *operands)


# -- fused additions ---------------------------------------------------------------------------------
def _check_value(name: str, operands: Sequence[Any]) -> None:
    """A number as ``value`` is of no higher category than the tensors, and fits in their dtype."""
    *tensors, value = operands
    if not isinstance(value, Tensor):
        target = compute_dtype(OPS["cat"], (tensors,))
        if not (dt.holds(target, value) and (target.is_complex or not isinstance(value, complex))):
            raise NumberError(f"{name}: value={value!r} cannot be converted to {target.name} without overflow")
        if target.category == dt.INTEGER and isinstance(operands, list):
            operands[3] = int(value.real)


def _no_whole_quotient(name: str, operands: Sequence[Any]) -> None:
    if all(_category(v) < dt.FLOATING for v in operands[1:3]):
        raise DTypeError(f"{name}: tensor1 and tensor2 are both whole numbers, whose quotient has no dtype of its own; "
                         "cast one of them with .to(dtype)")  # fmt: skip
    _check_value(name, operands)


def _category(v: Tensor | Number) -> int:
    return (v.dtype if isinstance(v, Tensor) else dt.scalar_dtype(v)).category


addcmul_p = elementwise(
    "addcmul(x: Tensor, tensor1: Tensor, tensor2: Tensor, value: Tensor = 1) -> Tensor",
    "x + value * tensor1 * tensor2",
    autocast="same|widest", dtype=numeric.but(check=_check_value, exact=must_fit),
    tensors=["x", "tensor1", "tensor2"],
    vjp=dict(
        x=lambda g: g,
        tensor1=lambda g, tensor2, value: g * cj(tensor2 * value),
        tensor2=lambda g, tensor1, value: g * cj(tensor1 * value),
        value=lambda g, tensor1, tensor2: g * cj(tensor1 * tensor2),
    ),
    doc="``input + value * tensor1 * tensor2``.",
    example="fb.addcmul(fb.ones(2), fb.tensor([1.0, 2.0]), fb.tensor([3.0, 4.0])) -> tensor([4., 9.])",
)  # fmt: skip
addcdiv_p = elementwise(
    "addcdiv(x: Tensor, tensor1: Tensor, tensor2: Tensor, value: Tensor = 1) -> Tensor",
    "x + value * (tensor1 / tensor2)",
    autocast="same|widest",
    dtype=DTypeRule("quotient", accepts=dt.FLOATS + dt.COMPLEXES, check=_no_whole_quotient, exact=must_fit),
    tensors=["x", "tensor1", "tensor2"],
    vjp=dict(
        x=lambda g: g,
        tensor1=lambda g, tensor2, value: g * cj(value / tensor2),
        tensor2=lambda g, tensor1, tensor2, value: -g * cj(value * tensor1 / (tensor2 * tensor2)),
        value=lambda g, tensor1, tensor2: g * cj(tensor1 / tensor2),
    ),
    doc="``input + value * tensor1 / tensor2``.",
    example="fb.addcdiv(fb.ones(2), fb.tensor([1.0, 2.0]), fb.tensor([4.0, 4.0])) -> tensor([1.2500, 1.5000])",
)  # fmt: skip


# -- division and powers -----------------------------------------------------------------------------
@composite(
    "div_trunc(x: Tensor, y: Tensor) -> Tensor",
    ELEMENTWISE,
    infer=broadcast,
    public=False,
    batch="aligned",
    dtype=numeric.but(accepts=dt.REALS),
    numbers=True,
    vjp=dict(x=zero, y=zero),
)
def div_trunc_p(x: Tensor | Number, y: Tensor | Number) -> Tensor:
    """The quotient rounded towards zero."""
    if any(v.is_floating_point() for v in (x, y) if isinstance(v, Tensor)):
        return trunc_p(div_p(x, y))
    whole = x if isinstance(x, Tensor) else y * 0 + (int(x) if isinstance(x, bool) else x)  # fmod wants a tensor
    return floor_divide_p(whole - fmod_p(whole, y), y)


_ROUNDED: Final = {"trunc": div_trunc_p, "floor": floor_divide_p}


def _rounded(mode: str) -> OpFunction[Tensor]:
    if not isinstance(mode, str) or mode not in _ROUNDED:
        raise ArgumentError(f"div: rounding_mode must be None, 'trunc' or 'floor', got {mode!r}")
    return _ROUNDED[mode]


@public(aliases=("divide",), guard=False)
def div(
    input: Tensor | Number, other: Tensor | Number, *, rounding_mode: str | None = None, out: Tensor | None = None
) -> Tensor:
    """The quotient: exact (integers give floats), or rounded towards zero ("trunc") or down ("floor").

    The two broadcast and promote; ValueError for another ``rounding_mode``.

    >>> fb.div(fb.tensor([-7, 7]), 2), fb.div(fb.tensor([-7, 7]), 2, rounding_mode="trunc")
    (tensor([-3.5000,  3.5000]), tensor([-3,  3]))
    """
    found = div_p(input, other) if rounding_mode is None else _rounded(rounding_mode)(input, other)
    return deliver("div", found, out)


@public(aliases=("divide_",))
def div_(self: Tensor, other: Tensor | Number, *, rounding_mode: str | None = None) -> Tensor:
    """:func:`div` in place."""
    return writing("div" if rounding_mode is None else _rounded(rounding_mode).op.name, self, other)


@public()
def float_power(input: Tensor | Number, exponent: Tensor | Number, *, out: Tensor | None = None) -> Tensor:
    """``input ** exponent`` in float64 (complex128 for complex operands).

    >>> fb.float_power(fb.tensor([2]), 3)
    tensor([8.], dtype=flambeau.float64)
    """
    complex_ = any(_category(v) == dt.COMPLEX for v in (input, exponent))
    wide = dt.complex128 if complex_ else dt.float64
    zero_ = 0j if complex_ else 0.0
    x, y = (storage.cast_p(v, wide) if isinstance(v, Tensor) else v + zero_ for v in (input, exponent))
    for v in (input, exponent):
        dt.check_int("float_power:", v)
    if isinstance(out, Tensor) and out.dtype is not wide:
        raise DTypeError(f"float_power: out must be of the result's dtype, {wide.name}, got {out.dtype.name}")
    return deliver("float_power", pow_p(x, y), out)


@public()
def float_power_(self: Tensor, exponent: Tensor | Number) -> Tensor:
    """:func:`float_power` in place, on a float64 or complex128 tensor; DTypeError on another."""
    found = float_power(self, exponent)
    if found.dtype is not self.dtype:
        raise DTypeError(f"float_power_: the result has dtype {found.dtype}, which the tensor's {self.dtype} is not")
    return writing("pow", self, exponent) if not isinstance(exponent, Tensor) else self.copy_(found)


@public(method=False)
def rsub(input: Tensor, other: Tensor | Number, *, alpha: Number = 1) -> Tensor:
    """``other - alpha * input``.

    >>> fb.rsub(fb.tensor([1.0]), 5)
    tensor([4.])
    """
    if not isinstance(input, Tensor):
        raise not_a_tensor("rsub", "input", input, "a tensor")
    return sub_p(other, input, alpha=alpha)


# -- rounding, the parts of a float ------------------------------------------------------------------
def _to_decimals(x: Tensor, decimals: int) -> Tensor:
    if not decimals:
        return round_half_even_p(x)
    if x.dtype.category != dt.FLOATING:
        raise DTypeError(f"round: decimals={decimals} needs a floating tensor, got {x.dtype}")
    if x.dtype in dt.LOW_PRECISION:  # the scaled value may not fit
        wide = storage.cast_p(x, dt.float32)
        return storage.cast_p(_to_decimals(wide, decimals), x.dtype)
    ten = 10.0**-decimals if decimals < 0 else 10.0**decimals
    return round_half_even_p(x / ten) * ten if decimals < 0 else round_half_even_p(x * ten) / ten


@public("round")
def rounded(input: Tensor, *, decimals: int = 0, out: Tensor | None = None) -> Tensor:
    """The nearest whole number, of two equally near ones the even one; to ``decimals`` decimal places.

    DTypeError where an integer or complex tensor is to have decimals.

    >>> fb.round(fb.tensor([0.5, 1.5, 2.345]), decimals=0)
    tensor([0., 2., 2.])
    """
    return deliver("round", _to_decimals(input, decimals), out)


@public(function=True)
def round_(self: Tensor, *, decimals: int = 0) -> Tensor:
    """:func:`round` in place."""
    return self.copy_(_to_decimals(self, decimals)) if decimals else writing("round_half_even", self)


nextafter_p = binary(
    "nextafter",
    lambda g, x, y: where(x == y, 0.0, g),
    zero,
    dtype=FLOATS,
    doc="the next number after input in the direction of other",
    example="fb.nextafter(fb.tensor([1.0]), fb.tensor([2.0])) > 1 -> tensor([True])",
)


ldexp_p: OpFunction[Tensor] = elementwise(
    "ldexp(x: Tensor, y: Tensor) -> Tensor",
    "x * exp2(y)",
    dtype=floating,
    tensors=["x", "y"],
    vjp=dict(x=lambda g, y: ldexp_p(g, cj(y)), y=lambda g, out: g * cj(out) * math.log(2.0)),
    inplace=True,
    public=False,
    doc="``input * 2**other``",
)


def _power(x: Tensor | Number, y: Tensor | Number) -> Tensor | Number:
    """Whole exponents count as floats: of the dtype of x where that has one, as in torch."""
    if not isinstance(y, Tensor) or y.dtype.category >= dt.FLOATING:
        return y
    floats = isinstance(x, Tensor) and x.dtype.category >= dt.FLOATING
    return storage.cast_p(y, x.dtype.to_real() if isinstance(x, Tensor) and floats else dt.get_default_dtype())


@public()
def ldexp(input: Tensor | Number, other: Tensor | Number, *, out: Tensor | None = None) -> Tensor:
    """``input * 2**other``.

    >>> fb.ldexp(fb.tensor([1.0, 3.0]), fb.tensor([2, -1]))
    tensor([4.0000, 1.5000])
    """
    return deliver("ldexp", ldexp_p(input, _power(input, other)), out)


@public(function=True)
def ldexp_(self: Tensor, other: Tensor | Number) -> Tensor:
    """:func:`ldexp` in place."""
    return writing("ldexp", self, _power(self, other))


_PARTS: Final = {
    dt.float32: (dt.int32, 23, 8),
    dt.float64: (dt.int64, 52, 11),
}  # bits of the fraction and of the exponent


@composite(
    "frexp(x: Tensor) -> (mantissa: Tensor, exponent: Tensor)",
    infer=lambda x: (x, x),
    dtype=DTypeRule("parts", result=("same", dt.int32), accepts=dt.FLOATS),
    vjp=dict(x=lambda g, exponent: ldexp(g[0], -exponent).to(g[0].dtype)),
    jvp=lambda tangents, primals, out: (ldexp(tangents[0], -out[1]).to(tangents[0].dtype), None),
    batch="same",
)
def frexp_p(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mantissas in [0.5, 1) by size and int32 exponents, so that ``input == mantissa * 2**exponent``.

    >>> fb.frexp(fb.tensor([8.0]))
    (tensor([0.5000]), tensor([4], dtype=flambeau.int32))
    """
    integer = _PARTS[x.dtype][0]
    _, fraction, width = _PARTS[x._key.stored]
    normal = abs_p(x) >= dt.finfo(x._key.stored).tiny
    bits = where(normal, x, x * 2.0 ** (fraction + 1))
    bits = storage.view_dtype_p(bits, dtype=integer)
    mask = ((1 << width) - 1) << fraction
    bias = (1 << (width - 1)) - 2
    has = (x != 0) & (abs_p(x) < float("inf"))
    exponent = ((bits & mask) >> fraction) - bias - where(normal, 0, fraction + 1)
    mantissa = storage.view_dtype_p((bits & ~mask) | (bias << fraction), dtype=x.dtype)
    return where(has, mantissa, x), storage.cast_p(where(has, exponent, 0), dtype=dt.int32)


# -- whole numbers -----------------------------------------------------------------------------------
def _whole(name: str) -> Callable[[Callable[..., Tensor]], OpFunction[Tensor]]:
    return composite(
        f"{name}(x: Tensor, y: Tensor) -> Tensor",
        ELEMENTWISE,
        infer=broadcast,
        dtype=integral.but(accepts=dt.INTS),
        tensors=["x", "y"],
        differentiable=False,
        batch="aligned",
        inplace="function",
    )


@_whole("gcd")
def gcd_p(x: Tensor, y: Tensor) -> Tensor:
    """The greatest common divisor, not negative; of 0 and n, n. By Euclid; Lame's theorem bounds the steps.

    >>> fb.gcd(fb.tensor([12, 18]), fb.tensor(8))
    tensor([4, 2])
    """
    a, b = abs_p(x), abs_p(y)
    for _ in range(a.dtype.bits * 3 // 2):
        done = b == 0
        a, b = where(done, a, b), where(done, b, fmod_p(a, where(done, 1, b)))
    return a


@_whole("lcm")
def lcm_p(x: Tensor, y: Tensor) -> Tensor:
    """The least common multiple, not negative; 0 where an operand is 0.

    >>> fb.lcm(fb.tensor([4, 6]), fb.tensor(10))
    tensor([20, 30])
    """
    divisor = gcd_p(x, y)
    return abs_p(floor_divide_p(x, where(divisor == 0, 1, divisor)) * y)
