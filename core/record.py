"""The op record: everything core knows about one op, in one place.

``op(...)`` declares a primitive and ``@composite(...)`` an op with a body of other ops; both return
the public function, whose ``op`` attribute is the record. Backends, autograd, the transforms, the
documentation, the stubs and the tests all read the records in :data:`OPS`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from flambeau.backends.base import MINIMUM_ELEMENTWISE
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from flambeau.core.schema import REQUIRED, Argument, Schema, parse

#: Every op by name, in the order of declaration.
OPS: dict[str, Op] = {}

#: An expression that starts with this is the named one of core.special, read at first need.
SPECIAL = "special:"

Infer = Callable[..., Any]
Rule = Callable[..., Any]


class DTypeRule:
    """What an op computes in and gives.

    ``compute`` maps the promoted dtype of the operands to the one that the kernel gets. ``result`` is,
    for each output, "same", "bool", "index" (int64), "real", or a function of the compute dtype and the
    params. ``accepts`` limits the compute dtypes; ``promotes`` is False where operands keep their own.
    """

    def __init__(
        self,
        name: str,
        compute: Callable[[DType], DType] = lambda d: d,
        result: Any = "same",
        accepts: tuple[DType, ...] = dt.ALL,
        promotes: bool = True,
    ):
        self.name, self.compute, self.promotes = name, compute, promotes
        self.accepts = frozenset(accepts)
        self.results = result if isinstance(result, tuple) else (result,)

    def but(self, name: str | None = None, **changes: Any) -> DTypeRule:
        """This rule with some of its parts changed."""
        accepts = tuple(self.accepts)
        values: dict[str, Any] = dict(
            compute=self.compute, result=self.results, accepts=accepts, promotes=self.promotes
        )
        return DTypeRule(name or self.name, **(values | changes))

    def out(self, i: int, compute: DType, params: Mapping[str, Any]) -> DType:
        """The dtype of output ``i``."""
        kind = self.results[i] if i < len(self.results) else self.results[-1]
        if kind == "same":
            return compute
        if kind == "bool":
            return dt.bool_
        if kind == "index":
            return dt.int64
        if kind == "real":
            return compute.to_real()
        if isinstance(kind, DType):
            return kind
        found: DType = kind(compute, params)
        return found


def _to_float(d: DType) -> DType:
    return d if d.category >= dt.FLOATING else dt.get_default_dtype()


def _to_int64(d: DType) -> DType:
    return d if d.category >= dt.FLOATING else dt.int64


same = DTypeRule("same")
floating = DTypeRule("floating", _to_float, accepts=dt.FLOATS + dt.COMPLEXES)
real_floating = floating.but("real_floating", accepts=dt.FLOATS)
numeric = DTypeRule("numeric", accepts=dt.REALS + dt.COMPLEXES)
ordered = DTypeRule("ordered", accepts=dt.BOOLS + dt.REALS)
integral = DTypeRule("integral", accepts=dt.BOOLS + dt.INTS)
comparison = DTypeRule("comparison", result="bool")
ordering = comparison.but("ordering", accepts=dt.BOOLS + dt.REALS)
accumulating = DTypeRule("accumulating", _to_int64, accepts=(dt.int64, *dt.FLOATS, *dt.COMPLEXES))
to_index = DTypeRule("to_index", result="index")


class Family:
    """A kind of op whose members share a shape rule, a batching rule, a forward rule and a fast path."""

    def __init__(self, name: str):
        self.name = name
        self.infer: Infer | None = None
        self.batch: Rule | None = None
        self.jvp: Rule | None = None

    def __repr__(self) -> str:
        return self.name


ELEMENTWISE = Family("elementwise")
REDUCE = Family("reduce")
VIEW = Family("view")
CREATE = Family("create")
GENERAL = Family("general")
FAMILIES = {f.name: f for f in (ELEMENTWISE, REDUCE, VIEW, CREATE, GENERAL)}


class Gradient:
    """One backward function: which inputs it is for, and which values it reads by parameter name."""

    def __init__(self, fn: Callable[..., Any], inputs: tuple[str, ...], joint: bool):
        self.fn, self.inputs, self.joint = fn, inputs, joint
        self.reads = _parameters(fn)


def _parameters(fn: Callable[..., Any]) -> tuple[str, ...]:
    """The parameters' names; hundreds are asked for at import, and inspect takes long."""
    code = getattr(fn, "__code__", None)
    if code is None or hasattr(fn, "__wrapped__") or code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS):
        return tuple(inspect.signature(fn).parameters)
    return tuple(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])


class Op:
    """A record. Made by :func:`op` and :func:`composite`; see them for the fields."""

    functional: Op | None = None  # of an in-place form, the op that it is derived from
    perform: Callable[..., Any] | None = None  # of an in-place form: how it runs

    def __init__(self, schema: str, family: Family = GENERAL, **fields: Any):
        self.schema: Schema = parse(schema)
        self.text = schema
        self.name = self.schema.name
        self.family = family
        self.expr: str | None = fields.pop("expr", None)
        self.dtype: DTypeRule = fields.pop("dtype", same)
        self.infer: Infer | None = fields.pop("infer", None) or family.infer
        self.jvp: Rule | None = fields.pop("jvp", None)
        self.batch: Rule | None = fields.pop("batch", None)
        self.body: Callable[..., Any] | None = fields.pop("body", None)
        self.differentiable: bool = fields.pop("differentiable", True)
        self.check: bool = fields.pop("check", False)
        self.upcast: bool = fields.pop("upcast", True)
        self.linear: tuple[str, ...] = tuple(fields.pop("linear", ()))
        self.names: tuple[str, ...] = tuple(fields.pop("names", ()))
        self.random: bool = fields.pop("random", False)  # draws from a generator: vmap has a say
        self.method: bool = fields.pop("method", True)
        self.inplace: bool = fields.pop("inplace", family is ELEMENTWISE)
        self.doc: str = fields.pop("doc", "")
        self.kinds: dict[str, str] = fields.pop("kinds", {})  # operands of a dtype of their own: "bool", "index", "any"
        self.keywords: dict[str, Callable[[list[Any], Any], None]] = fields.pop("keywords", {})  # such as add's alpha
        self.settings: tuple[str, ...] = ()  # the operands whose vjp is None: they have no gradient, and need none
        self.gradients = _gradients(self, fields.pop("vjp", None))
        self.module = "flambeau.core.ops"
        self.samples: Callable[..., Any] | None = None
        self.reference: Callable[..., Any] | None = None
        self.error_samples: Callable[..., Any] | None = None
        self.function: Any = None  # the public function, set by `declare`
        self.compiled: Any = None  # the saver and backward of core.autograd, at first need
        if fields:
            raise TypeError(f"op {self.name!r}: unknown fields {', '.join(fields)}")

    @property
    def has_vjp(self) -> bool:
        return bool(self.gradients)

    @property
    def decomposes(self) -> bool:
        """Whether other ops can stand in for a missing kernel: it has a body, or an expression of other ops."""
        return self.body is not None or (self.expr is not None and self.name not in MINIMUM_ELEMENTWISE)

    def gradient_of(self, operand: str) -> Gradient | None:
        return next((g for g in self.gradients if operand in g.inputs), None)

    def accepts(self, key_dtype: DType) -> bool:
        """Whether a kernel may run on operands of this dtype as they are."""
        return self.dtype.compute(key_dtype) is key_dtype and key_dtype in self.dtype.accepts

    def kind_of(self, argument: Argument) -> str:
        return self.kinds.get(argument.name, "same")

    def __repr__(self) -> str:
        return f"<op {self.text}>"


def _gradients(op: Op, vjp: Any) -> tuple[Gradient, ...]:
    if vjp is None:
        return ()
    if callable(vjp):  # joint: its parameter `needs` says which of the operands want a gradient
        names = tuple(
            a.name for a in op.schema.operands if a.type != "Scalar" and op.kind_of(a) not in ("bool", "index")
        )
        return (Gradient(vjp, names, True),)
    known = {a.name for a in op.schema.operands}
    unknown = set(vjp) - known
    if unknown:
        raise TypeError(f"op {op.name!r}: vjp for {sorted(unknown)}, but its operands are {sorted(known)}")
    op.settings = tuple(name for name, fn in vjp.items() if fn is None)
    return tuple(Gradient(fn, (name,), False) for name, fn in vjp.items() if fn is not None)


__all__ = ["OPS", "REQUIRED", "DTypeRule", "Family", "Gradient", "Op"]
