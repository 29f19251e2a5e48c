"""Mixed calls: every op of two or three operands on all pairs of dtypes and kinds of operands.

An operand is named after what it is: "int8" a vector, "int8." a 0-d tensor, "2.5" a number of Python. A *table* is
one form of one op, a function of T, a module with torch's API, and of operands; it has a cell for every choice of
operands. What a cell holds is a text: the dtype and the values of the result, or "!" where the call raises.
"""

from __future__ import annotations

import itertools
import operator
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

DTYPES: Final = (
    "bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64", "complex64",
    "complex128",
)  # fmt: skip
WIDE: Final = ("uint16", "uint32", "uint64")
NUMBERS: Final[dict[str, Any]] = {
    "True": True, "2": 2, "-1": -1, "0": 0, "300": 300, "2**40": 2**40, "2**63": 2**63, "2**70": 2**70,
    "2.5": 2.5, "-1.5": -1.5, "1e40": 1e40, "inf": float("inf"), "nan": float("nan"), "2+1j": 2 + 1j,
}  # fmt: skip
FEW_NUMBERS: Final = ("True", "2", "-1", "300", "2.5", "2+1j")
VECTORS: Final = ([5, 1, 3], [2, 3, 1], [1, 2, 2])
POINTS: Final = (3, 2, 1)


def made(T: Any, name: str, place: int, device: str = "cpu") -> Any:
    """The operand called ``name`` that stands at a place of a call."""
    if name in NUMBERS:
        return NUMBERS[name]
    dtype = getattr(T, name.removesuffix("."))
    values: Any = POINTS[place] if name.endswith(".") else VECTORS[place]
    if dtype.is_signed and dtype.is_floating_point | (not dtype.is_complex) and not name.endswith(".") and place == 0:
        values = [-5, 1, 3]
    if dtype.is_floating_point:
        values = np.asarray(values) + (0.5 if place == 0 else 0.25)
    if dtype.is_complex:
        values = np.asarray(values) + 1j
    return T.tensor(values, dtype=dtype, device=device)


@dataclass(frozen=True)
class Table:
    """One form of an op, and the names of the operands that may stand at each of its places."""

    name: str
    call: Callable[..., Any]
    places: tuple[tuple[str, ...], ...]
    skip: Callable[..., bool] = lambda *names: False

    def cells(self) -> Iterator[tuple[str, ...]]:
        return (n for n in itertools.product(*self.places) if not self.skip(*n) and not _infinite_complex(n))


def _infinite_complex(names: tuple[str, ...]) -> bool:
    """Infinities beside complex numbers: which part becomes nan is a matter of the formula, not of promotion."""
    return any(n in ("inf", "1e40") for n in names) and any("complex" in n or n == "2+1j" for n in names)


TENSORS: Final = DTYPES + tuple(f"{d}." for d in DTYPES)
WIDE_TENSORS: Final = WIDE + tuple(f"{d}." for d in WIDE)
ALL_OPERANDS: Final = (*TENSORS, *WIDE_TENSORS, *NUMBERS)
FEW: Final = ("bool", "uint8", "int32", "int64.", "float16", "bfloat16.", "float32", "float64", "float64.",
              "complex64", "complex128.")  # fmt: skip


def numbers_only(*names: str) -> bool:
    return all(n in NUMBERS for n in names)


FUNCTIONS: Final = [
    "add",
    "sub",
    "mul",
    "div",
    "true_divide",
    "floor_divide",
    "remainder",
    "fmod",
    "pow",
    "float_power",
    "atan2",
    "hypot",
    "copysign",
    "nextafter",
    "ldexp",
    "logaddexp",
    "logaddexp2",
    "maximum",
    "minimum",
    "fmax",
    "fmin",
    "lt",
    "le",
    "gt",
    "ge",
    "eq",
    "ne",
    "greater",
    "less_equal",
    "not_equal",
    "isclose",
    "logical_and",
    "logical_or",
    "logical_xor",
    "bitwise_and",
    "bitwise_or",
    "bitwise_xor",
    "bitwise_left_shift",
    "bitwise_right_shift",
    "gcd",
    "lcm",
    "heaviside",
    "xlogy",
    "rsub",
    "special.xlogy",
    "result_type",
    "dot",
    "mm",
    "matmul",
    "outer",
    "kron",
    "equal",
    "allclose",
    "cross",
]
METHODS: Final = [
    "add",
    "sub",
    "mul",
    "div",
    "floor_divide",
    "remainder",
    "fmod",
    "pow",
    "float_power",
    "atan2",
    "hypot",
    "copysign",
    "nextafter",
    "ldexp",
    "logaddexp",
    "maximum",
    "minimum",
    "fmax",
    "fmin",
    "lt",
    "eq",
    "ge",
    "isclose",
    "logical_and",
    "logical_xor",
    "bitwise_and",
    "bitwise_left_shift",
    "gcd",
    "lcm",
    "heaviside",
    "xlogy",
    "true_divide",
]
OPERATORS: Final = [
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "and_",
    "or_",
    "xor",
    "lshift",
    "rshift",
    "lt",
    "le",
    "gt",
    "ge",
    "eq",
    "ne",
]
INPLACE: Final = [
    "add_",
    "sub_",
    "mul_",
    "div_",
    "floor_divide_",
    "remainder_",
    "fmod_",
    "pow_",
    "float_power_",
    "atan2_",
    "hypot_",
    "copysign_",
    "nextafter_",
    "ldexp_",
    "lt_",
    "le_",
    "gt_",
    "ge_",
    "eq_",
    "ne_",
    "logical_and_",
    "logical_or_",
    "logical_xor_",
    "bitwise_and_",
    "bitwise_or_",
    "bitwise_xor_",
    "bitwise_left_shift_",
    "bitwise_right_shift_",
    "gcd_",
    "lcm_",
    "heaviside_",
    "xlogy_",
    "clamp_",
    "clamp_min_",
    "clamp_max_",
    "copy_",
    "fill_",
]
INPLACE_OPERATORS: Final = [
    "iadd",
    "isub",
    "imul",
    "itruediv",
    "ifloordiv",
    "imod",
    "ipow",
    "iand",
    "ior",
    "ixor",
    "ilshift",
    "irshift",
]
OUT: Final = [
    "add",
    "sub",
    "mul",
    "div",
    "floor_divide",
    "remainder",
    "fmod",
    "pow",
    "float_power",
    "atan2",
    "maximum",
    "fmax",
    "lt",
    "eq",
    "logical_and",
    "bitwise_and",
    "bitwise_left_shift",
    "gcd",
    "ldexp",
    "copysign",
    "heaviside",
    "xlogy",
    "hypot",
    "logaddexp",
    "nextafter",
]
UNARY: Final = [
    "abs",
    "neg",
    "sqrt",
    "exp",
    "sin",
    "floor",
    "ceil",
    "round",
    "trunc",
    "frac",
    "sign",
    "sgn",
    "sigmoid",
    "tanh",
    "reciprocal",
    "rsqrt",
    "square",
    "erf",
    "lgamma",
    "isnan",
    "isinf",
    "isfinite",
    "signbit",
    "logical_not",
    "bitwise_not",
    "real",
    "angle",
    "conj",
    "exp2",
    "log1p",
    "expm1",
    "positive",
    "sum",
    "mean",
    "prod",
    "cumsum0",
    "cumprod0",
    "amax",
    "amin",
    "max",
    "min",
    "argmax",
    "std",
    "var",
    "norm",
    "median",
    "mode",
    "nansum",
    "nanmean",
    "logsumexp0",
    "all",
    "any",
    "count_nonzero",
    "sort",
    "argsort",
    "unique",
    "topk2",
    "cummax0",
    "logcumsumexp0",
    "softmax0",
    "log_softmax0",
    "diff",
    "trace1",
    "zeros_like",
    "ones_like",
    "empty_like",
    "rand_like",
    "bincount",
    "histc",
    "relu",
    "nan_to_num",
    "deg2rad",
    "aminmax",
]


def resolved(T: Any, name: str) -> Callable[..., Any]:
    for part in name.split("."):
        T = getattr(T, part)
    return T


def function(name: str, **kw: Any) -> Callable[..., Any]:
    return lambda T, *a: resolved(T, name)(*a, **kw)


def method(name: str, **kw: Any) -> Callable[..., Any]:
    def call(T: Any, a: Any, *rest: Any) -> Any:
        return getattr(a, name)(*rest, **kw)

    return call


def unary(name: str) -> Callable[..., Any]:
    digits = name[len(name.rstrip("0123456789")) :] if name not in ("exp2", "log1p", "expm1") else ""
    base = name.removesuffix(digits) if digits else name
    extra = (int(digits),) if digits and base not in ("trace",) else ()

    def call(T: Any, a: Any) -> Any:
        a = a.reshape(1, 3) if base == "trace" else a
        found = getattr(T, base)(a, *extra)
        return found.shape and T.zeros(1, dtype=found.dtype) if name in ("empty_like", "rand_like") else found

    return call


def out_of(name: str) -> Callable[..., Any]:
    def call(T: Any, a: Any, b: Any, out: Any) -> Any:
        return getattr(T, name)(a, b, out=out[:0].clone())

    return call


def tables() -> list[Table]:
    """Every form of every op."""
    found: list[Table] = []

    def enter(name: str, call: Callable[..., Any], *places: Sequence[str], skip: Any = numbers_only) -> None:
        found.append(Table(name, call, tuple(map(tuple, places)), skip))

    for name in FUNCTIONS:
        enter(name, function(name), ALL_OPERANDS, ALL_OPERANDS)
    for name in METHODS:
        enter(f"Tensor.{name}", method(name), TENSORS, (*TENSORS, *NUMBERS))
    for name in OPERATORS:
        plain = getattr(operator, name)
        enter(f"operator.{name}", lambda T, a, b, f=plain: f(a, b), ALL_OPERANDS, ALL_OPERANDS)
    for name in INPLACE:
        enter(f"Tensor.{name}", method(name), TENSORS, (*TENSORS, *NUMBERS))
    for name in INPLACE_OPERATORS:
        plain = getattr(operator, name)
        enter(f"operator.{name}", lambda T, a, b, f=plain: f(a, b), TENSORS, (*TENSORS, *NUMBERS))
    for name in OUT:
        enter(f"{name}(out)", out_of(name), FEW, (*FEW, *FEW_NUMBERS), DTYPES)
    for name in UNARY:
        enter(name, unary(name), TENSORS)
    for mode in ("trunc", "floor"):
        enter(f"div {mode}", function("div", rounding_mode=mode), ALL_OPERANDS, ALL_OPERANDS)
        enter(f"Tensor.div_ {mode}", method("div_", rounding_mode=mode), TENSORS, (*TENSORS, *NUMBERS))
    for alpha in (True, 2, -1, 300, 2.5, 2 + 1j):
        for name in ("add", "sub", "rsub"):
            enter(f"{name} alpha={alpha}", function(name, alpha=alpha), (*TENSORS, "2", "2.5"),
                  (*FEW, *FEW_NUMBERS))  # fmt: skip
        enter(f"Tensor.add_ alpha={alpha}", method("add_", alpha=alpha), TENSORS, (*FEW, *FEW_NUMBERS))
    ternary(enter)
    others(enter)
    assert len({t.name for t in found}) == len(found)
    return found


def ternary(enter: Callable[..., None]) -> None:
    some = (*FEW, *FEW_NUMBERS)
    never = lambda *names: False  # noqa: E731
    enter("where", lambda T, a, b: T.where(T.tensor([True, False, True]), a, b), ALL_OPERANDS, ALL_OPERANDS, skip=never)
    enter("where 0-d", lambda T, a, b: T.where(T.tensor(False), a, b), some, some, skip=never)
    enter("where condition", lambda T, c: T.where(c, T.tensor([1, 2, 3]), 7), (*TENSORS, *NUMBERS), skip=never)
    enter("Tensor.where", lambda T, a, b: a.where(T.tensor([True, False, True]), b), TENSORS, (*TENSORS, *NUMBERS))
    enter(
        "where(out)",
        lambda T, a, b, o: T.where(T.tensor([True, False, True]), a, b, out=o[:0].clone()),
        FEW,
        some,
        DTYPES,
    )
    enter("lerp", function("lerp"), TENSORS, some, some)
    enter("Tensor.lerp", method("lerp"), FEW, some, some)
    enter("Tensor.lerp_", method("lerp_"), FEW, some, some)
    enter("clamp", function("clamp"), TENSORS, some, some)
    enter("Tensor.clip", method("clip"), FEW, some, some)
    enter("Tensor.clamp_ both", method("clamp_"), FEW, some, some)
    enter("clamp min", function("clamp", max=None), TENSORS, (*TENSORS, *NUMBERS))
    enter("clamp max", lambda T, a, b: T.clamp(a, max=b), TENSORS, (*TENSORS, *NUMBERS))
    enter("clamp_min", function("clamp_min"), TENSORS, (*TENSORS, *NUMBERS))
    enter("clamp_max", function("clamp_max"), TENSORS, (*TENSORS, *NUMBERS))
    for name in ("addcmul", "addcdiv"):
        enter(name, function(name), TENSORS, some, some)
        enter(f"Tensor.{name}_", method(f"{name}_"), FEW, some, some)
        for value in (True, 2, 300, 2.5, 2 + 1j):
            enter(f"{name} value={value}", function(name, value=value), FEW, FEW, FEW)
            enter(f"Tensor.{name}_ value={value}", method(f"{name}_", value=value), FEW, FEW, FEW)
    mask = [True, False, True]
    fill = (*TENSORS, *NUMBERS)
    enter("masked_fill", lambda T, a, b: T.masked_fill(a, T.tensor(mask), b), TENSORS, fill)
    enter("Tensor.masked_fill_", lambda T, a, b: a.masked_fill_(T.tensor(mask), b), TENSORS, fill)
    enter("masked_fill mask", lambda T, m: T.tensor([1, 2, 3]).masked_fill(m, 7), TENSORS)
    enter("masked_select mask", lambda T, m: T.tensor([1, 2, 3]).masked_select(m), TENSORS)
    enter("masked_scatter", lambda T, a, b: a.masked_scatter(T.tensor(mask), b), TENSORS, TENSORS)
    enter("index_fill", lambda T, a, b: T.index_fill(a, 0, T.tensor([0, 2]), b), DTYPES, fill)
    enter(
        "index_fill index", lambda T, i: T.tensor([1, 2, 3]).index_fill(0, i % 2 if False else i, 7), ("int32", "int64")
    )
    enter("index_add", lambda T, a, b: T.index_add(a, 0, T.tensor([0, 1, 2]), b), DTYPES, DTYPES)
    enter("index_copy", lambda T, a, b: T.index_copy(a, 0, T.tensor([0, 1, 2]), b), DTYPES, DTYPES)
    enter("scatter", lambda T, a, b: T.scatter(a, 0, T.tensor([0, 1, 2]), b), DTYPES, (*DTYPES, *NUMBERS))
    enter("scatter_add", lambda T, a, b: T.scatter_add(a, 0, T.tensor([0, 1, 2]), b), DTYPES, DTYPES)
    enter("index_put", lambda T, a, b: T.index_put(a, (T.tensor([0, 1, 2]),), b), DTYPES, TENSORS)
    enter("setitem", set_item, TENSORS[:12], fill)
    enter("setitem mask", set_mask, TENSORS[:12], fill)
    enter("addmm", lambda T, a, b, c: T.addmm(a[:1], b.reshape(1, 3), c.reshape(3, 1)), DTYPES, DTYPES, FEW_DTYPES)
    enter("addmv", lambda T, a, b, c: T.addmv(a[:1], b.reshape(1, 3), c), DTYPES, DTYPES, FEW_DTYPES)
    enter(
        "baddbmm",
        lambda T, a, b, c: T.baddbmm(a[:1], b.reshape(1, 1, 3), c.reshape(1, 3, 1)),
        DTYPES,
        DTYPES,
        FEW_DTYPES,
    )
    enter("linear", lambda T, a, b: T.nn.functional.linear(a, b.reshape(1, 3)), DTYPES, DTYPES)
    enter("mv", lambda T, a, b: T.mv(a.reshape(1, 3), b), DTYPES, DTYPES)
    enter("mm2", lambda T, a, b: T.mm(a.reshape(1, 3), b.reshape(3, 1)), DTYPES, DTYPES)
    enter("bmm", lambda T, a, b: T.bmm(a.reshape(1, 1, 3), b.reshape(1, 3, 1)), DTYPES, DTYPES)
    enter("einsum", lambda T, a, b: T.einsum("i,i->i", a, b), DTYPES, DTYPES)
    enter("einsum sum", lambda T, a, b: T.einsum("i,i->", a, b), DTYPES, DTYPES)
    enter("tensordot", lambda T, a, b: T.tensordot(a, b, 1), DTYPES, DTYPES)
    enter("vdot", lambda T, a, b: T.vdot(a, b), DTYPES, DTYPES)
    enter("inner", lambda T, a, b: T.inner(a, b), TENSORS, TENSORS)
    enter("addr", lambda T, a, b, c: T.addr(a, b, c), FEW_DTYPES, FEW_DTYPES, FEW_DTYPES)
    enter("dist", lambda T, a, b: T.dist(a, b), DTYPES, DTYPES)
    enter("mse_loss", lambda T, a, b: T.nn.functional.mse_loss(a, b), DTYPES, DTYPES)
    enter("searchsorted", lambda T, a, b: T.searchsorted(a.sort().values, b), DTYPES[:-2], (*TENSORS[:10], "2", "2.5"))
    enter("bucketize", lambda T, b, a: T.bucketize(b, a.sort().values), (*TENSORS[:10], "2", "2.5"), DTYPES[:-2])
    enter("isin", lambda T, a, b: T.isin(a, b), (*TENSORS, *NUMBERS), (*TENSORS, *NUMBERS))


FEW_DTYPES: Final = ("bool", "int32", "float16", "float32", "float64", "complex64")


def set_item(T: Any, a: Any, b: Any) -> Any:
    a[1:] = b[1:] if hasattr(b, "shape") and len(b.shape) else b
    return a


def set_mask(T: Any, a: Any, b: Any) -> Any:
    a[T.tensor([True, False, False])] = b[:1] if hasattr(b, "shape") and len(b.shape) else b
    return a


def others(enter: Callable[..., None]) -> None:
    never = lambda *names: False  # noqa: E731
    for name in ("cat", "stack", "hstack", "vstack", "dstack", "concat", "column_stack"):
        enter(name, lambda T, a, b, n=name: getattr(T, n)([a, b]), TENSORS, TENSORS)
    enter("cat of three", lambda T, a, b, c: T.cat([a, b, c]), FEW_DTYPES, FEW_DTYPES, FEW_DTYPES)
    enter("cat(out)", lambda T, a, b, o: T.cat([a, b], out=o[:0].clone()), FEW_DTYPES, FEW_DTYPES, FEW_DTYPES)
    enter("cartesian_prod", lambda T, a, b: T.cartesian_prod(a, b), DTYPES, DTYPES)
    enter("meshgrid", lambda T, a, b: T.meshgrid(a, b, indexing="ij"), DTYPES, DTYPES)
    enter("block_diag", lambda T, a, b: T.block_diag(a, b), DTYPES, DTYPES)
    enter("broadcast_tensors", lambda T, a, b: T.broadcast_tensors(a, b), DTYPES, DTYPES)
    enter("complex", lambda T, a, b: T.complex(a, b), DTYPES, DTYPES)
    enter("polar", lambda T, a, b: T.polar(a, b), DTYPES, DTYPES)
    enter("tensor of two", lambda T, a, b: T.tensor([a, b]), NUMBERS, NUMBERS, skip=never)
    enter("tensor of 0-d", lambda T, a, b: T.tensor([a, b]), TENSORS[12:] + FEW_NUMBERS, TENSORS[12:] + FEW_NUMBERS)
    enter("tensor nested", lambda T, a, b: T.tensor([[a], [b]]), NUMBERS, NUMBERS, skip=never)
    enter(
        "result_type of numbers", lambda T, a, b: str(T.result_type(a, b)).split(".")[-1], NUMBERS, NUMBERS, skip=never
    )
    for of in (*DTYPES, *WIDE):
        enter(f"tensor {of}", lambda T, a, d=of: T.tensor(a, dtype=getattr(T, d)), NUMBERS, skip=never)
        enter(f"tensor list {of}", lambda T, a, d=of: T.tensor([a], dtype=getattr(T, d)), NUMBERS, skip=never)
        enter(
            f"full {of}", lambda T, a, d=of: T.full((2,), a, dtype=getattr(T, d)), (*NUMBERS, *TENSORS[12:]), skip=never
        )
        enter(
            f"full_like {of}",
            lambda T, a, d=of: T.full_like(T.ones(2, dtype=getattr(T, d)), a),
            (*NUMBERS, *TENSORS[12:]),
            skip=never,
        )
        enter(
            f"new_full {of}",
            lambda T, a, d=of: T.ones(2, dtype=getattr(T, d)).new_full((2,), a),
            (*NUMBERS, *TENSORS[12:]),
            skip=never,
        )
        enter(f"new_tensor {of}", lambda T, a, d=of: T.ones(2, dtype=getattr(T, d)).new_tensor(a), NUMBERS, skip=never)
        enter(f"to {of}", lambda T, a, d=of: a.to(getattr(T, d)), TENSORS)
        enter(f"scalar_tensor {of}", lambda T, a, d=of: T.scalar_tensor(a, dtype=getattr(T, d)), NUMBERS, skip=never)
        enter(
            f"arange {of}",
            lambda T, a, d=of: T.arange(0, a, dtype=getattr(T, d)),
            ("True", "2", "2.5", "-1", "0"),
            skip=never,
        )
        enter(f"linspace {of}", lambda T, a, d=of: T.linspace(0, a, 3, dtype=getattr(T, d)), FEW_NUMBERS, skip=never)
        for name in ("sum", "mean", "prod", "cumsum", "cumprod", "nansum", "nanmean"):
            enter(
                f"{name} {of}",
                lambda T, a, n=name, d=of: getattr(T, n)(a, *((0,) if "cum" in n else ()), dtype=getattr(T, d)),
                DTYPES,
            )
        for name in ("can_cast", "promote_types"):
            enter(
                f"{name} {of}",
                lambda T, a, n=name, d=of: str(getattr(T, n)(getattr(T, d), a.dtype)).split(".")[-1],
                (*DTYPES, *WIDE),
            )
    enter("full", lambda T, a: T.full((2,), a), (*NUMBERS, *TENSORS[12:]), skip=never)
    enter("tensor", lambda T, a: T.tensor(a), NUMBERS, skip=never)
    enter("scalar_tensor", lambda T, a: T.scalar_tensor(a), NUMBERS, skip=never)
    enter(
        "arange",
        lambda T, a, b: T.arange(a, b),
        ("True", "2", "-1", "0", "2.5", "-1.5", "int32.", "float64.", "uint8."),
        ("True", "2", "0", "2.5", "int64.", "float16.", "bool."),
        skip=never,
    )
    enter(
        "arange step",
        lambda T, a, b, c: T.arange(a, b, c),
        ("0", "-1.5"),
        ("2", "2.5"),
        ("True", "2", "2.5", "0", "-1", "float64.", "int32."),
        skip=never,
    )
    enter(
        "linspace",
        lambda T, a, b: T.linspace(a, b, 3),
        ("True", "2", "2.5", "2+1j", "float64.", "int32.", "complex128."),
        ("True", "2", "2.5", "2+1j", "float64.", "int32."),
        skip=never,
    )
    enter(
        "logspace",
        lambda T, a, b: T.logspace(a, b, 3),
        ("True", "2", "2.5", "float64.", "int32."),
        ("True", "2", "2.5", "2+1j", "float64.", "int32."),
        skip=never,
    )
    enter("polygamma", lambda T, a: T.polygamma(1, abs(a)), TENSORS)
    enter("item", lambda T, a: (a.item(), type(a.item()).__name__), TENSORS[12:])
    for kind in (bool, int, float, complex, operator.index):
        enter(f"{kind.__name__}()", lambda T, a, k=kind: repr(k(a)), TENSORS[12:])
    enter("quantile", lambda T, a, q: T.quantile(a, q), DTYPES, ("0", "float32.", "float64."))
    enter("renorm", lambda T, a: T.renorm(a.reshape(3, 1), 2, 0, 1.5), DTYPES)
    enter(
        "threshold", lambda T, a, b, c: T.nn.functional.threshold(a, b, c), DTYPES, FEW_NUMBERS, FEW_NUMBERS, skip=never
    )
    enter("hardtanh", lambda T, a, b: T.nn.functional.hardtanh(a, b, 3), DTYPES, FEW_NUMBERS)
    enter("leaky_relu", lambda T, a, b: T.nn.functional.leaky_relu(a, b), DTYPES, FEW_NUMBERS)
    enter("pad", lambda T, a, b: T.nn.functional.pad(a, (1, 0), value=b), DTYPES, FEW_NUMBERS)
    enter("nan_to_num with", lambda T, a, b: T.nan_to_num(a, b), DTYPES, FEW_NUMBERS)
    enter("cov", lambda T, a: T.cov(a), DTYPES)
    enter("trapezoid", lambda T, a, b: T.trapezoid(a, b), DTYPES, DTYPES)
    enter("take_along_dim", lambda T, i: T.tensor([1, 2, 3, 4, 5, 6]).take_along_dim(abs(i)), DTYPES[:6])
    enter("gather", lambda T, i: T.tensor([1, 2, 3, 4, 5, 6]).gather(0, abs(i)), DTYPES)
    enter("index_select", lambda T, i: T.tensor([1, 2, 3, 4, 5, 6]).index_select(0, abs(i)), DTYPES)
    enter(
        "getitem", lambda T, i: T.tensor([1, 2, 3, 4, 5, 6])[i], tuple(d for d in TENSORS if d not in ("bool", "uint8"))
    )
    enter("pow of numbers", lambda T, a, b: T.pow(T.tensor(a), b), NUMBERS, FEW_NUMBERS, skip=never)
    for by in ("0", "int64 0", "uint8 0", "float 0", "bool 0"):
        for name in ("div", "floor_divide", "remainder", "fmod", "div trunc", "div floor"):
            enter(f"{name} by {by}", lambda T, a, n=name, b=by: _by_zero(T, a, n, b), TENSORS)


def _by_zero(T: Any, a: Any, name: str, by: str) -> Any:
    zero = {"0": 0, "int64 0": T.tensor([0, 1, 0]), "uint8 0": T.tensor(0, dtype=T.uint8), "float 0": 0.0,
            "bool 0": False}[by]  # fmt: skip
    base, _, mode = name.partition(" ")
    return getattr(T, base)(a, zero, **({"rounding_mode": mode} if mode else {}))


# -- cells -------------------------------------------------------------------------------------------
def cell(T: Any, table: Table, names: tuple[str, ...], make: Callable[..., Any] = made) -> Any:
    """What one call gives: (dtype, shape, values), nested as the result is, or ("!", class and text)."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return told(table.call(T, *(make(T, n, i) for i, n in enumerate(names))))
        except Exception as error:
            return "!", type(error).__name__, str(error)


def told(found: Any) -> Any:
    if isinstance(found, (tuple, list)):
        return [told(v) for v in found]
    if not hasattr(found, "requires_grad"):
        return found if isinstance(found, (bool, int, float, complex)) else str(found).split(".")[-1]
    host = found.detach()
    host = (host.float() if "bfloat16" in str(found.dtype) else host).resolve_conj().cpu().numpy()
    return str(found.dtype).split(".")[-1], list(host.shape), host.reshape(-1)
