"""The op record: everything core knows about one op, in one place.

``op(...)`` declares a primitive and ``@composite(...)`` an op with a body of other ops; both return
the public function, whose ``op`` attribute is the record. Backends, autograd, the transforms, the
documentation, the stubs and the tests all read the records in :data:`OPS`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, TypedDict, Unpack

from flambeau.backends.base import MINIMUM_ELEMENTWISE
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from flambeau.core.errors import DTypeError
from flambeau.core.schema import REQUIRED, Argument, Schema, parse

#: Every op by name, in the order of declaration.
OPS: dict[str, Op] = {}

#: An expression that starts with this is the named one of core.special, read at first need.
SPECIAL = "special:"

# What these functions take stands in the schema of their op, and so do the numbers of their results.
Infer = Callable[..., Any]
Rule = Callable[..., Any]
Vjp = Callable[..., Any]
#: Raises for operands (of an op that is called so) that do not go together.
Check = Callable[[str, Sequence[Any]], None]
#: Whether a Python number must fit in a dtype, for an operand's name and the dtype.
Exact = Callable[[str, DType], bool]
#: What an output has: "same", "bool", "index", "real", "complex", a dtype, or a function of the
#: compute dtype and the params.
ResultDType = str | DType | Callable[[DType, Mapping[str, Any]], DType]


class DTypeRule:
    """What an op computes in and gives.

    ``compute`` maps the promoted dtype of the operands to the one that the kernel gets. ``result`` is,
    for each output, "same", "bool", "index" (int64), "real", "complex", or a function of the compute dtype and the
    params. ``accepts`` limits the compute dtypes; ``promotes`` is False where operands keep their own.
    ``check`` raises where operands of mixed dtypes are not to be promoted: it gets the op's name and the operands.
    ``exact`` says for which operands and dtypes a Python number must fit in the compute dtype; elsewhere it wraps.
    """

    def __init__(
        self,
        name: str,
        compute: Callable[[DType], DType] = lambda d: d,
        result: ResultDType | tuple[ResultDType, ...] = "same",
        accepts: tuple[DType, ...] = dt.ALL,
        promotes: bool = True,
        check: Check | None = None,
        exact: Exact | None = None,
    ):
        self.name, self.compute, self.promotes, self.check, self.exact = name, compute, promotes, check, exact
        self.accepts = frozenset(accepts)
        self.results = result if isinstance(result, tuple) else (result,)

    def but(self, name: str | None = None, *, compute: Callable[[DType], DType] | None = None,
            result: ResultDType | tuple[ResultDType, ...] = (), accepts: tuple[DType, ...] = (),
            check: Check | None = None, exact: Exact | None = None) -> DTypeRule:  # fmt: skip
        """This rule with some of its parts changed."""
        accepts, result, exact = accepts or tuple(self.accepts), result or self.results, exact or self.exact
        return DTypeRule(name or self.name, compute or self.compute, result, accepts, self.promotes,
                         check or self.check, exact)  # fmt: skip

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
        if kind == "complex":
            return compute.to_complex()
        if isinstance(kind, str):
            raise ValueError(f"dtype rule {self.name!r}: there is no result {kind!r}")
        return kind if isinstance(kind, DType) else kind(compute, params)


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


def must_fit(operand: str, dtype: DType) -> bool:
    """The ``exact`` of a rule whose numbers never wrap around."""
    return True


def alike(what: str = "the tensors") -> Check:
    """A rule's check that all tensors among the operands are of one dtype, as torch asks of ``what``."""

    def check(name: str, operands: Sequence[Any]) -> None:
        found = list(dict.fromkeys(a.dtype for a in operands if hasattr(a, "_key")))
        if len(found) > 1:
            listing = " and ".join(d.name for d in found)
            raise DTypeError(f"{name}: {what} must be of the same dtype, got {listing}; cast with .to(dtype)")

    return check


#: What autocast does with the floats among an op's operands: nothing, nothing but that a body opens with it still on,
#: cast them to its dtype, to float32, to the widest dtype among them, to that of the first, or refuse the call.
AUTOCAST: Final = frozenset({"same", "inside", "low", "float32", "widest", "first", "raises"})


def autocast_words(name: str, text: str) -> tuple[str, str]:
    """What autocast does with an op on the host and on accelerators, where PyTorch has a list for each: one word of
    AUTOCAST for both, or two with a bar between."""
    words = text.split("|")
    if not 1 <= len(words) <= 2 or not AUTOCAST.issuperset(words):
        known = ", ".join(sorted(AUTOCAST))
        raise ValueError(f"op {name!r}: autocast={text!r} must be one of {known}, or two with a bar between")
    return words[0], words[-1]


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


class Gradient:
    """One backward function: which inputs it is for, and which values it reads by parameter name."""

    def __init__(self, fn: Vjp, inputs: tuple[str, ...], joint: bool):
        self.fn, self.inputs, self.joint = fn, inputs, joint
        self.reads = _parameters(fn)


def _parameters(fn: Callable[..., Any]) -> tuple[str, ...]:
    """The parameters' names; hundreds are asked for at import, and inspect takes long."""
    code = getattr(fn, "__code__", None)
    if code is None or hasattr(fn, "__wrapped__") or code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS):
        return tuple(inspect.signature(fn).parameters)
    return tuple(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])


class Facts(TypedDict, total=False):
    """What may be said of an op beside how it is computed."""

    dtype: DTypeRule  #: what it computes in and gives
    jvp: Rule | None  #: forward rule
    batch: Rule | str | None  #: batching rule, or the name of one
    differentiable: bool  #: whether a result has a gradient; the rules of an op without are for its form in place
    check: bool  #: infer before the kernel
    upcast: bool  #: in low precision its decomposition computes in float32
    fills: bool  #: whether a joint vjp gets zeros for results that no gradient reached; else None
    linear: Sequence[str]  #: operands in which it is linear
    public: bool | Sequence[str]  #: its public names; True is its own, False none
    aliases: Sequence[str]  #: more public names
    title: str  #: what errors call it, where the function of its name is another
    random: bool  #: draws from a generator: vmap has a say
    inplace: bool | Literal["function"]  #: has an in-place form as a method, or also as a function
    operator: str  #: the stem of its operator method: "add" for ``__add__``
    doc: str  #: a text for help; of an elementwise op what an element of the result is
    example: str  #: a call and, behind ``->``, what it gives
    kinds: Mapping[str, str]  #: operands of a dtype of their own: "bool", "index", "any"
    tensors: Sequence[str]  #: operands that may be no numbers where others are tensors
    numbers: bool  #: takes numbers alone, too
    negative: Callable[[Sequence[Any]], None]  #: looks at a negative int given for the second operand, and may raise
    keywords: Mapping[str, Callable[[list[Any], Any], None]]  #: more keywords of the public function, such as alpha
    shortcut: tuple[frozenset[DType], Callable[[Any], Any]]  #: the dtypes of its one operand where it is this function
    autocast: str  #: what autocast does with its floats, in a word of :func:`autocast_words`


class Fields(Facts, total=False):
    """All that may be said of an op beside its schema and family; :class:`Op` has the defaults."""

    expr: str | None  #: scalar expression: also its body, and its generated kernels
    infer: Infer | None  #: shapes of the operands and params to the result's shape, raising ShapeError
    vjp: Vjp | Mapping[str, Vjp | None] | None  #: one per operand (None for a setting without gradient), or a joint one
    body: Callable[..., Any] | None  #: of other ops


class Op:
    """A record. Made by :func:`flambeau.core.declare.op` and ``composite``; :class:`Fields` says what it holds."""

    functional: Op | None = None  # of an in-place form, the op that it is derived from
    perform: Callable[..., Any] | None = None  # of an in-place form: how it runs
    spelled: Callable[..., Any] | None = None  # of a view: its one param from what a call gave and the input's shape

    def __init__(self, schema: str, family: Family = GENERAL, **fields: Unpack[Fields]):
        self.schema: Schema = parse(schema)
        self.text = schema
        self.name = self.schema.name
        self.title = fields.get("title", self.name)
        if unknown := fields.keys() - Fields.__optional_keys__:
            raise TypeError(f"op {self.name!r}: unknown fields {', '.join(sorted(unknown))}")
        self.family = family
        self.expr = fields.get("expr")
        self.dtype: DTypeRule = fields.get("dtype", same)
        self.infer: Infer | None = fields.get("infer") or family.infer
        self.jvp = fields.get("jvp")
        self.batch = fields.get("batch")
        self.body = fields.get("body")
        self.differentiable = fields.get("differentiable", True)
        self.check = fields.get("check", False)
        self.upcast = fields.get("upcast", True)
        self.fills = fields.get("fills", True)
        self.linear = tuple(fields.get("linear", ()))
        self.public = self._public_names(fields.get("public", True), fields.get("aliases", ()))
        self.random = fields.get("random", False)
        self.inplace = fields.get("inplace", family is ELEMENTWISE)
        self.operator = fields.get("operator", "")
        self.doc = fields.get("doc", "")
        self.example = fields.get("example", "")
        self.kinds = fields.get("kinds", {})
        self.tensors = frozenset(fields.get("tensors", ()))
        self.numbers = fields.get("numbers", False)
        self.negative = fields.get("negative")
        self.keywords = fields.get("keywords", {})
        self.shortcut = fields.get("shortcut")
        self.autocast = autocast_words(self.name, fields.get("autocast", "same"))
        self.settings: tuple[str, ...] = ()  # the operands whose vjp is None: they have no gradient, and need none
        self.gradients = _gradients(self, fields.get("vjp"))
        self.samples: Callable[..., Any] | None = None
        self.reference: Callable[..., Any] | None = None
        self.error_samples: Callable[..., Any] | None = None
        self.function: Any = None  # made by `declare`
        self.compiled: Any = None  # the saver and backward of core.autograd, at first need

    def _public_names(self, public: bool | Sequence[str], aliases: Sequence[str]) -> tuple[str, ...]:
        own = ((self.name,) if public else ()) if isinstance(public, bool) else tuple(public)
        return (*own, *aliases)

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


def _gradients(op: Op, vjp: Vjp | Mapping[str, Vjp | None] | None) -> tuple[Gradient, ...]:
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


__all__ = ["OPS", "REQUIRED", "DTypeRule", "Family", "Fields", "Gradient", "Op"]
