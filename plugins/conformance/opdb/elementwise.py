"""Samples, references and error inputs of the elementwise ops.

Their samples are made by rule (:func:`automatic`) from the number of operands and where each is defined;
the tables below say what differs from -2 to 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from flambeau.core import dtype as dt
from flambeau.core.record import ELEMENTWISE, OPS, Op
from flambeau.plugins.conformance.opdb import (
    Failure,
    Maker,
    Sample,
    error_rows,
    errors,
    references,
    sample_rows,
    samples,
)

Array = np.ndarray[Any, Any]


# -- where operands are defined ----------------------------------------------------------------------
def nonzero(m: Maker, shape: tuple[int, ...]) -> Array:
    """Values of both signs away from zero."""
    size = m(*shape, low=0.5, high=2) if m.is_float else m(*shape, low=1, high=5)
    size = np.maximum(size, 1).astype(size.dtype) if m.is_integer else size
    return size if m.is_bool or not m.dtype.is_signed else (size * np.where(m.bools(*shape), 1, -1)).astype(size.dtype)


def exponents(m: Maker, shape: tuple[int, ...]) -> Array:
    """Exponents: of either sign for floating bases, whole and not negative for integers."""
    return m(*shape, low=0, high=3) if m.is_integer else m(*shape)


_UNIT, _POSITIVE, _ANY = (-0.9, 0.9), (0.2, 3.0), (-2.0, 2.0)

#: By op: the domain of every operand, or a list of one for each.
DOMAINS: Final[dict[str, Any]] = {
    "log": _POSITIVE, "log2": _POSITIVE, "log10": _POSITIVE, "sqrt": _POSITIVE, "rsqrt": _POSITIVE,
    "log1p": (-0.8, 3.0), "asin": _UNIT, "acos": _UNIT, "atanh": _UNIT, "erfinv": _UNIT, "acosh": (1.2, 4.0),
    "lgamma": _POSITIVE, "digamma": _POSITIVE, "trigamma": _POSITIVE, "logit": (0.1, 0.9), "tan": (-1.2, 1.2),
    "reciprocal": nonzero, "div": [_ANY, nonzero], "idiv": [(-6.0, 6.0), nonzero], "fmod": [(-6.0, 6.0), nonzero],
    "remainder": [(-6.0, 6.0), nonzero], "floor_divide": [(-6.0, 6.0), nonzero],
    "pow": [(0.3, 3.0), exponents], "shl": [_ANY, (0.0, 4.0)], "shr": [(-60.0, 60.0), (0.0, 4.0)],
    "hypot": [nonzero, _ANY], "atan2": [nonzero, nonzero], "xlogy": [_ANY, _POSITIVE], "copysign": [nonzero, nonzero],
    "heaviside": [nonzero, _ANY], "addcdiv": [_ANY, _ANY, nonzero, _ANY], "div_trunc": [(-9.0, 9.0), nonzero],
    "bessel_y0": _POSITIVE, "bessel_y1": _POSITIVE, "modified_bessel_k0": _POSITIVE,
    "modified_bessel_k1": _POSITIVE, "scaled_modified_bessel_k0": _POSITIVE, "scaled_modified_bessel_k1": _POSITIVE,
    "entr": _POSITIVE, "ndtri": (0.1, 0.9), "xlog1py": [_ANY, (-0.8, 3.0)], "erfcx": (-1.5, 6.0),
}  # fmt: skip


def operand(m: Maker, domain: Any, shape: tuple[int, ...]) -> Array:
    """An array of a shape inside a domain."""
    if callable(domain):
        return np.asarray(domain(m, shape))
    return m(*shape) if domain is _ANY else m(*shape, low=domain[0], high=domain[1])


def automatic(op: Op) -> Callable[[Maker], Iterator[Sample]]:
    """The samples of an elementwise op without params: plain, broadcast, with a number, 0-d, empty, special values."""
    operands = op.schema.operands
    given = DOMAINS.get(op.name, _ANY)
    domains = given if isinstance(given, list) else [given] * len(operands)

    def arrays(m: Maker, *shapes: tuple[int, ...]) -> list[Array]:
        return [
            m.bools(*shape) if op.kind_of(a) == "bool" else operand(m, d, shape)
            for a, d, shape in zip(operands, domains, shapes, strict=True)
        ]

    def generate(m: Maker) -> Iterator[Sample]:
        n = len(operands)
        yield Sample(*arrays(m, *[(3, 4)] * n))
        yield Sample(*arrays(m, *[()] * n))
        yield Sample(*arrays(m, *[(2, 0)] * n))
        if n > 1:
            yield Sample(*arrays(m, (2, 1, 3), *[(4, 1)] * (n - 1)))
            if op.schema.operands[-1].name not in op.tensors:
                yield Sample(*arrays(m, (3,), *[(3,)] * (n - 2), ())[:-1], 2)
        elif given is _ANY:
            yield Sample.rough(m.special(9))

    return generate


for _op in list(OPS.values()):
    if _op.family is ELEMENTWISE and not _op.schema.params and _op.samples is None:
        _op.samples = automatic(_op)


sample_rows({
    "conj sgn": lambda m: [(m(3, 4),), (nonzero(m, (4,)) if not m.is_complex else m(4),), (m(),)],
    "frexp": lambda m: [(nonzero(m, (3, 4)),), Sample.rough(m.special(9)), (m(),)],
})  # fmt: skip


@samples("igamma", "igammac")
def _shapes_and_ends(m: Maker) -> Iterator[Sample]:
    """Rough: there is no gradient for the first operand."""
    yield Sample.rough(m(3, 4, low=0.2, high=8), m(3, 4, low=0, high=12))
    yield Sample.rough(m(3, 1, low=25, high=60), m(4, low=25, high=60))
    yield Sample.rough(m(low=0.2, high=3), m(low=0, high=3))
    yield Sample.rough(m(2, 0), m(2, 0))


@samples("zeta")
def _exponents_and_starts(m: Maker) -> Iterator[Sample]:
    """Rough for the same reason."""
    yield Sample.rough(m(3, 4, low=1.5, high=4), m(3, 4, low=0.2, high=3))
    yield Sample.rough(m(2, 1, 3, low=1.5, high=4), m(4, 1, low=0.2, high=3))
    yield Sample.rough(m(3, low=1.5, high=4), 2)
    yield Sample.rough(m(low=1.5, high=4), m(low=0.2, high=3))
    yield Sample.rough(m(2, 0), m(2, 0))


@samples("ldexp")
def _scaled(m: Maker) -> Iterator[Sample]:
    real = m.dtype.to_real() if m.dtype.category >= dt.FLOATING else dt.float32
    yield Sample(m(3, 4), m(3, 4, low=-2, high=2, dtype=real))
    yield Sample(m(3, 1), m(4, low=-2, high=2, dtype=real))


@samples("polygamma")
def _polygammas(m: Maker) -> Iterator[Sample]:
    for n in (0, 1, 2, 4):
        yield Sample(m(3, 2, low=0.5, high=4), n)


# -- references --------------------------------------------------------------------------------------
def scipy_special(name: str) -> Callable[..., Any]:
    """A function of scipy.special, imported when it is called."""

    def run(*args: Any) -> Any:
        from scipy import special  # optional: the extra dev has it

        return getattr(special, name)(*args)

    return run


def _shift(fn: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, y: fn(x, np.asarray(y).astype(x.dtype))


def _polygamma(n: int) -> Callable[..., Any]:
    return lambda x: scipy_special("polygamma")(n, x)


def _bessel(name: str) -> Callable[..., Any]:
    """With the limits at the infinities, where scipy gives nan."""
    return lambda x: np.where(np.isinf(x), x if name == "i1" else np.inf, scipy_special(name)(x))


def _scaled_bessel(name: str) -> Callable[..., Any]:
    """The same for the scaled ones, whose limit is 0."""
    return lambda x: np.where(np.isinf(x), 0.0, scipy_special(name)(x))


def _limits(name: str, *ends: float) -> Callable[..., Any]:
    """A function of scipy.special with its limits at -inf and inf, if they differ from scipy's."""
    return lambda x: np.where(np.isinf(x), np.where(x < 0, *ends), scipy_special(name)(x))


def _airy(x: Array) -> Array:
    found: Array = np.where(np.isinf(x), np.where(x < 0, np.nan, 0.0), scipy_special("airy")(x)[0])
    return found


def _sgn(x: Array) -> Array:
    size = np.abs(x)
    return np.where((size == 0) | (size != size) & (x.dtype.kind == "f"), 0, x / np.where(size == 0, 1, size))


references({
    "neg": np.negative, "abs": np.abs, "exp": np.exp, "log": np.log, "sqrt": np.sqrt, "sin": np.sin, "cos": np.cos,
    "floor": np.floor, "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.true_divide,
    "idiv": np.floor_divide, "fmod": np.fmod, "pow": np.power, "maximum": np.maximum, "lt": np.less, "eq": np.equal,
    "bitwise_and": np.bitwise_and, "bitwise_or": np.bitwise_or, "bitwise_xor": np.bitwise_xor,
    "shl": _shift(np.left_shift), "shr": _shift(np.right_shift), "where": np.where,
    "positive": lambda x: x, "sign": lambda x: x if x.dtype == bool else np.nan_to_num(np.sign(x)),
    "reciprocal": lambda x: 1 / x, "rsqrt": lambda x: 1 / np.sqrt(x), "square": lambda x: x * x,
    "remainder": np.remainder, "floor_divide": np.floor_divide, "minimum": np.minimum,
    "fmax": np.fmax, "fmin": np.fmin, "hypot": np.hypot, "copysign": np.copysign,
    "lerp": lambda x, end, weight: (1 - weight) * x + weight * end,
    "exp2": np.exp2, "expm1": np.expm1, "log2": np.log2, "log10": np.log10, "log1p": np.log1p,
    "logaddexp": np.logaddexp, "logaddexp2": np.logaddexp2, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos,
    "atan": np.arctan, "atan2": np.arctan2, "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh, "asinh": np.arcsinh,
    "acosh": np.arccosh, "atanh": np.arctanh, "sinc": np.sinc, "ceil": np.ceil, "round_half_even": np.round,
    "trunc": np.trunc, "frac": lambda x: x - np.trunc(x),
    "erf": scipy_special("erf"), "erfc": scipy_special("erfc"), "erfinv": scipy_special("erfinv"),
    "digamma": scipy_special("digamma"), "lgamma": scipy_special("gammaln"), "trigamma": _polygamma(1),
    "i0": _bessel("i0"), "i1": _bessel("i1"), "sigmoid": lambda x: 1 / (1 + np.exp(-1.0 * x)),
    "logit": scipy_special("logit"), "xlogy": scipy_special("xlogy"),
    "heaviside": lambda x, y: np.where(x == 0, y, x > 0),
    "deg2rad": np.deg2rad, "rad2deg": np.rad2deg, "ne": np.not_equal, "le": np.less_equal, "gt": np.greater,
    "ge": np.greater_equal, "isnan": np.isnan, "isinf": np.isinf, "isfinite": np.isfinite, "signbit": np.signbit,
    "logical_not": np.logical_not, "logical_and": np.logical_and, "logical_or": np.logical_or,
    "logical_xor": np.logical_xor, "bitwise_not": np.invert, "relu": lambda x: np.where(x != x, x, np.maximum(x, 0)),
    "conj": np.conj, "sgn": _sgn, "clamp_min": np.maximum, "clamp_max": np.minimum,
    "clamp": lambda x, low, high: np.minimum(np.maximum(x, low), high),
    "addcmul": lambda x, a, b, value=1: x + value * a * b, "addcdiv": lambda x, a, b, value=1: x + value * (a / b),
    "div_trunc": lambda x, y: np.trunc(x / y) if x.dtype.kind == "f" else (x - np.fmod(x, y)) // y,
    "nextafter": np.nextafter, "gcd": np.gcd, "lcm": np.lcm, "frexp": np.frexp,
    "ldexp": lambda x, y: x * 2.0 ** np.asarray(y, np.float64),
    "polygamma": lambda x, n: scipy_special("polygamma")(n, x),
    "zeta": scipy_special("zeta"), "i0e": _scaled_bessel("i0e"), "i1e": _scaled_bessel("i1e"),
    "bessel_j0": _limits("j0", np.nan, np.nan), "bessel_j1": _limits("j1", np.nan, np.nan),
    "bessel_y0": scipy_special("y0"), "bessel_y1": scipy_special("y1"), "modified_bessel_i0": _bessel("i0"),
    "modified_bessel_i1": _bessel("i1"), "modified_bessel_k0": scipy_special("k0"),
    "modified_bessel_k1": scipy_special("k1"), "scaled_modified_bessel_k0": scipy_special("k0e"),
    "scaled_modified_bessel_k1": scipy_special("k1e"), "airy_ai": _airy,
    "spherical_bessel_j0": lambda x: np.where(np.isinf(x), 0.0, scipy_special("spherical_jn")(0, x)),
    "erfcx": scipy_special("erfcx"), "entr": scipy_special("entr"), "ndtr": scipy_special("ndtr"),
    "ndtri": scipy_special("ndtri"), "log_ndtr": scipy_special("log_ndtr"), "xlog1py": scipy_special("xlog1py"),
    "igamma": scipy_special("gammainc"), "igammac": scipy_special("gammaincc"),
})  # fmt: skip


# -- errors ------------------------------------------------------------------------------------------
@errors("add", "sub", "mul", "div", "maximum", "minimum", "pow", "atan2", "lt", "eq", "fmod", "remainder")
def _shapes(m: Maker) -> Iterator[Failure]:
    yield Failure(RuntimeError, ("(2, 3)", "(4,)", "broadcast"), m(2, 3), m(4))
    yield Failure(TypeError, ("tensor or a number", "str"), m(2), "a")


error_rows({
    "bitwise_and bitwise_or bitwise_xor shl shr": lambda m: [
        (TypeError, ("not implemented for float32", "int64"), np.ones(2, "f4"), np.ones(2, "f4")),
    ],
    "floor ceil trunc erf lgamma sign relu": lambda m: [(TypeError, "not implemented for complex64", np.ones(2, "c8"))],
    "logaddexp hypot heaviside": lambda m: [
        (TypeError, "not implemented for complex64", np.ones(2, "c8"), np.ones(2, "c8")),
    ],
})  # fmt: skip


@errors(*[op.name for op in OPS.values() if op.family is ELEMENTWISE and "y" in op.tensors])
def _numbers(m: Maker) -> Iterator[Failure]:
    yield Failure(TypeError, ("'other'", "must be a tensor", "int"), m(2), 2)
    yield Failure(TypeError, ("'input'", "must be a tensor", "int"), 2, m(2))


@errors("add", "sub")
def _fractions(m: Maker) -> Iterator[Failure]:
    yield from _shapes(m)
    yield Failure(TypeError, "alpha=2.5", np.ones(2, "i4"), np.ones(2, "i4"), alpha=2.5)
