"""Puts the records and the plain functions of :mod:`flambeau.core.ops` on Tensor, and lists the public names."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from flambeau.core import copying, creation, fastpath, from_data, ops, printing
from flambeau.core.autograd import api
from flambeau.core.keywords import extended, guarded
from flambeau.core.record import CREATE, OPS
from flambeau.core.tensor import Tensor

OPERATORS = {
    "add": "add", "sub": "sub", "mul": "mul", "div": "truediv", "floor_divide": "floordiv", "remainder": "mod",
    "pow": "pow",
    "bitwise_and": "and", "bitwise_or": "or", "bitwise_xor": "xor", "shl": "lshift", "shr": "rshift",
}  # fmt: skip
COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
UNARY = {"neg": "__neg__", "positive": "__pos__", "abs": "__abs__", "bitwise_not": "__invert__"}

#: In-place methods that torch has as functions too.
IN_PLACE_FUNCTIONS = (
    "abs", "acos", "acosh", "addmv", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctanh", "asin", "asinh",
    "atan", "atanh", "ceil", "clamp", "clamp_max", "clamp_min", "clip", "conj_physical", "cos", "cosh", "deg2rad",
    "detach", "erf", "erfc", "exp", "exp2", "expm1", "fill", "fix", "floor", "frac", "gcd", "i0", "index_put", "lcm",
    "ldexp", "log", "log10", "log1p", "log2", "logit", "nan_to_num", "neg", "negative", "rad2deg", "reciprocal", "relu",
    "round", "rsqrt", "sigmoid", "sin", "sinc", "sinh", "sqrt", "square", "tan", "tanh", "trunc", "xlogy", "zero",
)  # fmt: skip

#: Functions whose ops blame an argument that is no tensor themselves: a call more would cost their users time.
QUICK = frozenset({
    "bmm", "clamp", "clip", "div", "divide", "dot", "matmul", "mean", "mm", "mv", "sum", "where",
})  # fmt: skip
#: What `from flambeau import *` would give of ops: name -> function.
FUNCTIONS: dict[str, Callable[..., Any]] = {}


def modules() -> list[ModuleType]:
    """The modules of ops, in processing order."""
    return [m for m in vars(ops).values() if isinstance(m, ModuleType) and m.__name__.startswith(ops.__name__)]


def install() -> None:
    """Called once, when flambeau is imported."""
    public = {id(f.op): f for m in modules() for f in vars(m).values() if hasattr(f, "op")}
    for record in OPS.values():
        function = public.get(id(record))
        if function is None or record.name.startswith("_"):
            continue
        if record.method:
            for name in (record.name, *record.names):
                FUNCTIONS[name] = function
                if record.family is not CREATE:
                    _put(name, function)
        elif record.names:
            for name in record.names:
                FUNCTIONS[name] = function
        if record.inplace and record.name != "where":
            made = fastpath.inplace_function(record)
            for name in (record.name, *(record.names if record.method else ())):
                _put(name + "_", made)
    for m in (api, copying, printing):
        for name, function in m.METHODS.items():
            setattr(Tensor, name, function)
    _operators()
    wrapped: dict[tuple[str, int], Any] = {}  # one wrapper for the function and the method
    for m in modules():
        for name, function in getattr(m, "FUNCTIONS", {}).items():
            FUNCTIONS[name] = wrapped[name, id(function)] = extended(name, function)
            if FUNCTIONS[name] is function and name not in QUICK and not hasattr(function, "op"):
                FUNCTIONS[name] = guarded(name, function)
        for name, function in getattr(m, "METHODS", {}).items():
            setattr(Tensor, name, wrapped.get((name, id(function))) or extended(name, function))
    FUNCTIONS.update({f"{name}_": getattr(Tensor, f"{name}_") for name in IN_PLACE_FUNCTIONS})
    FUNCTIONS["detach"] = Tensor.detach
    constructors = {name: creation.new_like(name) for name in ("new_zeros", "new_ones", "new_empty")}
    constructors |= {"new_full": creation.new_full, "new_tensor": from_data.new_tensor}
    for name, function in constructors.items():
        setattr(Tensor, name, function)


def _put(name: str, function: Any) -> None:
    if name not in vars(Tensor):
        setattr(Tensor, name, function)


def _operators() -> None:
    for name, stem in OPERATORS.items():
        if name not in OPS:
            continue
        record = OPS[name]
        setattr(Tensor, f"__{stem}__", fastpath.method(record, f"__{stem}__"))
        setattr(Tensor, f"__r{stem}__", fastpath.method(record, f"__r{stem}__", reflected=True))
        setattr(Tensor, f"__i{stem}__", fastpath.inplace_function(record))
    for name in COMPARISONS:
        setattr(Tensor, f"__{name}__", fastpath.method(OPS[name], f"__{name}__"))
    for name, dunder in UNARY.items():
        setattr(Tensor, dunder, FUNCTIONS[name])
    Tensor.__hash__ = object.__hash__  # type: ignore[assignment,method-assign]  # which __eq__ took away
