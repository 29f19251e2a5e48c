"""The generator of the public functions: one small function per op, written out and compiled at first call.

Each tries the common case in the open (plain state, no level, one key) and leaves everything else,
and every failure, to :func:`slow`, the uniform path. ``source(op)`` is the generated text; it shows up
in tracebacks and in ``python -m flambeau explain``.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

import numpy as np

from flambeau.core import dispatch, state, texts
from flambeau.core.arguments import AXES, AXIS, bind
from flambeau.core.autograd.compile import compiled
from flambeau.core.errors import not_a_tensor
from flambeau.core.record import CREATE, ELEMENTWISE, VIEW, Op
from flambeau.core.schema import REQUIRED, Argument

#: How a param of a type reaches the kernel in the fast path; other types pass as they are.
_NORMALISED = {"Axes": "AXES[{p}, a0.ndim]", "Axis": "AXIS[{p}, a0.ndim]"}
_FAST_PARAMS = frozenset({"Axes", "Axis", "bool"})
_RESULT_KEY = {"same": "key", "bool": "key.boolean", "index": "key.index", "real": "key.real"}


def slow(op: Op, args: Sequence[Any], params: dict[str, Any], kw: dict[str, Any]) -> Any:
    """The uniform path behind a public function: bind, call, write to ``out``."""
    out = kw.pop("out", None) if kw else None
    operands, bound = bind(op, args, params, kw)
    result = dispatch.call(op, operands, bound)
    if out is None:
        return result
    from flambeau.core.autograd.inplace import write_out

    return write_out(op, out, result)


# -- sources -----------------------------------------------------------------------------------------
def _signature(op: Op) -> str:
    parts = [
        a.public + ("" if a.default is REQUIRED else f"={a.default!r}")
        for a in (*op.schema.operands, *op.schema.params)
    ]
    seen_default = False
    for i, a in enumerate((*op.schema.operands, *op.schema.params)):
        if a.default is not REQUIRED:
            seen_default = True
        elif seen_default or a.public != a.name:  # a value may come under the other name
            seen_default = True
            parts[i] = f"{a.public}=REQUIRED"
    return ", ".join(parts)


def _slow_call(op: Op, kw: str = "kw") -> str:
    args = "".join(f"{a.public}, " for a in op.schema.operands)
    params = ", ".join(f"{p.name!r}: {p.public}" for p in op.schema.params)
    return f"slow(OP, ({args}), {{{params}}}, {kw})"


def has_fast_path(op: Op) -> bool:
    """Whether the op's common case can be written out: plain tensors, one kernel, one plain result."""
    operands = op.schema.operands
    return (
        op.family is not CREATE
        and bool(operands)
        and operands[0].type == "Tensor"
        and op.kind_of(operands[0]) in ("same", "bool")
        and any(op.kind_of(a) == "same" and a.type == "Tensor" for a in operands)
        and all(a.type in ("Tensor", "Tensor?") and op.kind_of(a) in ("same", "bool", "index") for a in operands)
        and all(p.type in _FAST_PARAMS for p in op.schema.params)
        and op.schema.single
        and op.dtype.results[0] in _RESULT_KEY
    )


def view_source(op: Op) -> str:
    """The text of a view's function: the params as they are, tuples for shapes; a View link on the result."""
    x, params = op.schema.operands[0].public, op.schema.params
    tuples = " and ".join(f"{p.public}.__class__ is tuple" for p in params if p.type in ("Ints", "Index"))
    values = "{" + ", ".join(f"{p.name!r}: {p.public}" for p in params) + "}" if len(params) != 1 else params[0].public
    passed = "".join(f", {p.name}={p.public}" for p in params)
    return f"""def {op.name}({_signature(op)}, **kw):
    try:
        key = {x}._key
        state = get()
        if state.plain and key.level is None and not kw{" and " + tuples if tuples else ""}:
            out = Tensor()
            out._array = key.{op.name}({x}._array{passed})
            out._key = key
            return make_view({x}, out, OP, {values}, state.grad)
    except Exception: pass
    return {_slow_call(op)}
"""


def source(op: Op) -> str:
    """The text of the op's public function."""
    if (
        op.family is VIEW
        and op.dtype.results == ("same",)
        and all(p.type in ("Ints", "Index") for p in op.schema.params)
    ):
        return view_source(op)
    head = f"def {op.name}({_signature(op)}, **kw):"
    if not has_fast_path(op):
        return f"{head}\n    return {_slow_call(op)}\n"
    body = "\n".join(_fast_lines(op, op.schema.operands, "        "))
    return (
        f"{head}\n    if kw: return {_slow_call(op)}\n    try:\n{body}\n"
        f"    except Exception: pass\n    return {_slow_call(op)}\n"
    )


def _fast_lines(op: Op, operands: tuple[Argument, ...], pad: str) -> list[str]:
    """The tensor-tensor case, and for binary elementwise ops the tensor-number case."""
    lead = next(a for a in operands if op.kind_of(a) == "same" and a.type == "Tensor")
    lines = [f"key = {lead.public}._key", "state = get()"]
    conditions = ["state.plain", "key.level is None"]
    for a in operands:
        if a is lead:
            continue
        key = {"same": "key", "bool": "key.boolean", "index": "key.index"}[op.kind_of(a)]
        match = f"{a.public}._key is {key}"
        conditions.append(f"({a.public} is None or {match})" if a.type == "Tensor?" else match)
    binary = op.family is ELEMENTWISE and len(operands) == 2 and not op.kinds and not op.schema.params
    if not binary:
        return [
            pad + s
            for s in (*lines, f"if {' and '.join(conditions)}:", *("    " + s for s in _call_lines(op, operands)))
        ]
    x, y = (a.public for a in operands)
    return [
        pad + s
        for s in (
            *lines,
            "if state.plain and key.level is None:",
            f"    if {y}.__class__ is float or {y}.__class__ is int:",
            f"        c = key.floats[{y}] if {y}.__class__ is float else key.ints[{y}]",
            *(
                "        " + s
                for s in _result_lines(op, f"key.{op.name}({x}._array, c)", [x], f"record_checked({x}, {y}, {{}}, out)")
            ),
            f"    if {y}._key is key:",
            *("        " + s for s in _call_lines(op, operands)),
        )
    ]


def _call_lines(op: Op, operands: tuple[Argument, ...]) -> list[str]:
    names = [a.public for a in operands]
    lines = []
    arrays = []
    needs_first = any(p.type in _NORMALISED for p in op.schema.params)
    for i, a in enumerate(operands):
        if i == 0 and needs_first:
            lines.append(f"a0 = {a.public}._array")
            arrays.append("a0")
        elif a.type == "Tensor?":
            arrays.append(f"None if {a.public} is None else {a.public}._array")
        else:
            arrays.append(f"{a.public}._array")
    if op.check:
        shapes = [
            f"None if {a.public} is None else {a.public}._array.shape"
            if a.type == "Tensor?"
            else f"{a.public}._array.shape"
            for a in operands
        ]
        lines.append(f"infer({', '.join([*shapes, *(f'{p.name}={p.public}' for p in op.schema.params)])})")
    if op.schema.params:
        values = ", ".join(f"{p.name!r}: {_NORMALISED.get(p.type, '{p}').format(p=p.public)}" for p in op.schema.params)
        lines.append(f"params = {{{values}}}")
        arrays += [f"{p.name}=params[{p.name!r}]" for p in op.schema.params]
    record = f"record({', '.join(names)}, {'params' if op.schema.params else '{}'}, out)"
    optional = [a.public for a in operands if a.type == "Tensor?"]
    return lines + _result_lines(op, f"key.{op.name}({', '.join(arrays)})", names, record, optional)


def _result_lines(op: Op, call: str, names: list[str], record: str, optional: Sequence[str] = ()) -> list[str]:
    """Call the kernel, make the tensor, record where somebody wants a gradient."""
    result = _RESULT_KEY[op.dtype.results[0]]
    lines = ["out = Tensor()", f"r = {call}"]
    if result != "key":
        lines.append(f"okey = {result}")
        result = "okey"
    lines += [
        f"out._array = r if r.__class__ is {result}.array else {result}.wrap(r)",
        f"out._key = {result}",
        "out._box = None",
    ]
    if not op.differentiable:
        return [*lines, "out._node = None", "return out"]
    links = " and ".join(
        f"({n} is None or {n}._node is None)" if n in optional else f"{n}._node is None" for n in names
    )
    return [*lines, f"if {links} or not state.grad:", "    out._node = None", "    return out", f"return {record}"]


def dunder_source(op: Op, name: str, reflected: bool = False) -> str:
    """The text of an operator method: the same fast path without keywords; NotImplemented for strangers."""
    x, y = op.schema.operands
    first, second = (y, x) if reflected else (x, y)
    swap = {x.public: first.public, y.public: second.public} if reflected else {}
    head = f"def {name}({first.public}, {second.public}):"
    slow_call = f"slow(OP, ({x.public}, {y.public}), {{}}, None)"
    tail = [
        "    except Exception: pass",
        f"    if not isinstance({second.public}, operand_types): return stranger(OP, {second.public})",
        f"    return {slow_call}",
    ]
    if reflected:
        lines = [
            f"key = {swap[x.public]}._key",
            "state = get()",
            "if state.plain and key.level is None:",
            f"    c = key.floats[{x.public}] if {x.public}.__class__ is float else key.ints[{x.public}]",
            f"    if {x.public}.__class__ is float or {x.public}.__class__ is int:",
            *("        " + s for s in _result_lines(op, f"key.{op.name}(c, {y.public}._array)", [y.public],
                                                     f"record_checked({x.public}, {y.public}, {{}}, out)")),
        ]  # fmt: skip
        lines = ["        " + s for s in lines]
    else:
        lines = _fast_lines(op, op.schema.operands, "        ")
    return "\n".join([head, "    try:", *lines, *tail]) + "\n"


def _stranger(op: Op, other: Any) -> Any:
    """What an operator gives for an object that is no operand: its own type may know better."""
    if type(other).__name__ == "ndarray":
        raise not_a_tensor(op.name, "other", other)
    return NotImplemented


def inplace_source(op: Op) -> str:
    """The text of ``add_``: a written-to tensor without history, the same shape or a number beside it."""
    names = [a.public for a in op.schema.operands]
    params = "".join(f", {p.public}" + ("" if p.default is REQUIRED else f"={p.default!r}") for p in op.schema.params)
    defaults = [
        n if a.default is REQUIRED else f"{n}={a.default!r}" for n, a in zip(names, op.schema.operands, strict=True)
    ]
    head = f"def {op.name}_({', '.join(defaults)}{params}, **kw):"
    bound = ", ".join(f"{p.name!r}: {p.public}" for p in op.schema.params)
    tail = f"    return in_place(OP, ({''.join(n + ', ' for n in names)}), {{{bound}}}, kw)\n"
    fast = (
        op.family is ELEMENTWISE
        and len(names) <= 2
        and not op.kinds
        and not op.schema.params
        and op.dtype.results == ("same",)
    )
    if not fast:
        return f"{head}\n{tail}"
    x = names[0]
    other = (
        [
            f"            a1 = {names[1]}._array if {names[1]}.__class__ is not float else key.floats[{names[1]}]",
            f"            if {names[1]}.__class__ is float or {names[1]}._key is key and a1.shape == a.shape "
            f"and ({names[1]}._node is None or not state.grad):",
        ]
        if len(names) == 2
        else ["            if True:"]
    )
    lines = [
        head,
        "    kernel = None",
        "    try:",
        f"        key = {x}._key; state = get(); box = {x}._box; a = {x}._array",
        f"        if not kw and state.plain and key.level is None and ({x}._node is None or not state.grad "
        f"and {x}._node.__class__ is not View) and (box is None or a.flags.c_contiguous):",
        *other,
        f"                kernel = key.{op.name}_",
        "    except Exception: kernel = None",
        "    if kernel is not None:",
        f"        kernel(a{', a1' if len(names) == 2 else ''}, a)",
        f"        if box is not None: box.version += 1; box.writer = '{op.name}_'",
        f"        return {x}",
    ]
    return "\n".join(lines) + "\n" + tail


# -- functions ---------------------------------------------------------------------------------------
def _fill(scope: dict[str, Any], op: Op) -> None:
    """The globals of a generated function."""
    from flambeau.core.autograd.graph import View, make_view
    from flambeau.core.autograd.inplace import in_place

    scope.update(
        OP=op,
        get=state.get,
        slow=slow,
        Tensor=dispatch.Tensor,
        AXES=AXES,
        AXIS=AXIS,
        REQUIRED=REQUIRED,
        View=View,
        make_view=make_view,
        infer=op.infer,
        in_place=in_place,
        operand_types=(dispatch.Tensor, bool, int, float, complex, np.generic),
        stranger=_stranger,
    )

    def record(*args: Any) -> Any:
        scope["record"] = compiled(op).record
        return scope["record"](*args)

    def record_checked(*args: Any) -> Any:
        scope["record_checked"] = compiled(op).record_checked
        return scope["record_checked"](*args)

    scope["record"], scope["record_checked"] = record, record_checked


def lazy_function(op: Op, name: str, text: Callable[[], str]) -> FunctionType:
    """A function whose source is written and compiled at its first call; its identity never changes."""
    scope: dict[str, Any] = {}

    def compile_now() -> FunctionType:
        if "OP" in scope:
            return lazy
        _fill(scope, op)
        filename = f"<flambeau {name}>"
        made = text()
        local: dict[str, Any] = {}
        exec(compile(made, filename, "exec"), scope, local)
        linecache.cache[filename] = (len(made), None, made.splitlines(True), filename)
        real = local[name]
        lazy.__defaults__, lazy.__kwdefaults__ = real.__defaults__, real.__kwdefaults__
        lazy.__code__ = real.__code__
        return lazy

    scope["compile_now"] = compile_now
    lazy = FunctionType(_PLACEHOLDER, scope, name)
    lazy.__qualname__ = name
    lazy.__module__ = op.module
    lazy.op = op  # type: ignore[attr-defined]
    lazy.compile_now = compile_now  # type: ignore[attr-defined]
    return lazy


def _placeholder(*args: Any, **kw: Any) -> Any:
    return compile_now()(*args, **kw)  # type: ignore[name-defined]  # noqa: F821  # in the function's own globals


_PLACEHOLDER = _placeholder.__code__


def public_function(op: Op) -> FunctionType:
    """The public function of an op."""
    function = lazy_function(op, op.name, lambda: source(op))
    function.__doc__ = texts.describe(op)
    function.__signature__ = texts.signature(op)  # type: ignore[attr-defined]
    return function


def method(op: Op, name: str, reflected: bool = False) -> FunctionType:
    """An operator method such as ``__add__``."""
    function = lazy_function(op, name, lambda: dunder_source(op, name, reflected))
    function.__doc__ = f"See :func:`flambeau.{op.name}`."
    return function


def inplace_function(op: Op) -> FunctionType:
    """The in-place method of an op, ``add_`` of ``add``."""
    function = lazy_function(op, f"{op.name}_", lambda: inplace_source(op))
    function.__doc__ = f"In place: :func:`flambeau.{op.name}`, written to the tensor, which is returned."
    function.__signature__ = texts.signature(op, inplace=True)  # type: ignore[attr-defined]
    return function
