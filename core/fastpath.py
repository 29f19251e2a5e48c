"""The generator of the public functions: one small function per op, written out and compiled at first call.

Each tries the common case in the open (plain state, no level, one key) and leaves everything else,
and every failure, to :func:`slow`, the uniform path. ``source(op)`` is the generated text; it shows up
in tracebacks and in ``python -m flambeau explain``.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from types import FunctionType
from typing import Any

import numpy as np

from flambeau.core import dispatch, help, state
from flambeau.core.arguments import AXES, AXIS, bind
from flambeau.core.autograd.inplace import in_place
from flambeau.core.dtype import DType
from flambeau.core.errors import not_a_tensor
from flambeau.core.graph import View, make_view
from flambeau.core.out import deliver
from flambeau.core.record import CREATE, ELEMENTWISE, VIEW, Op
from flambeau.core.schema import REQUIRED, Argument
from flambeau.core.tape.compile import compiled
from flambeau.core.tensor import Tensor

#: By type of a param: when the fast path takes a value, and what the kernel gets for it.
_PARAMS = {
    "Axes": ("", "AXES[{p}, a0.ndim]"),
    "Axis": ("", "AXIS[{p}, a0.ndim]"),
    "Ints": ("{p}.__class__ is tuple and {p}[0].__class__ is int", "{p}"),
    "int": ("{p}.__class__ is int", "{p}"),
    "int?": ("({p} is None or {p}.__class__ is int)", "{p}"),
    "float": ("({p}.__class__ is float or {p}.__class__ is int)", "float({p})"),
    "float?": ("({p} is None or {p}.__class__ is float)", "{p}"),
    "bool": ("", "{p}"),
    "str": ("{p}.__class__ is str", "{p}"),
    "DType": ("{p}.__class__ is DType", "{p}"),
    "Any": ("", "{p}"),
}
#: Variables and globals of the generated code.
_OWN_NAMES = frozenset(
    {"key", "state", "out", "okey", "params", "arrays", "infer", "record", "get", "kernel", "kind", "box", "kw"}
)
_RESULT_KEY = {"same": "key", "bool": "key.boolean", "index": "key.index", "real": "key.real"}


def slow(op: Op, args: Sequence[Any], params: dict[str, Any], kw: dict[str, Any]) -> Any:
    """The uniform path behind a public function: bind, call, write to ``out``."""
    out = kw.pop("out", None) if kw else None
    operands, bound = bind(op, args, params, kw)
    result = dispatch.call(op, operands, bound)
    return deliver(op.name, result, out)


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
    """Whether the op's common case can be written out: plain tensors of one device, one kernel, plain results."""
    operands = op.schema.operands
    return (
        op.family not in (CREATE, VIEW)
        and not op.random
        and bool(operands)
        and not op.schema.returns_list
        and all(p.type in _PARAMS for p in op.schema.params)
        and (_is_one_list(operands) or _has_lead(op, operands))
    )


def _is_one_list(operands: tuple[Argument, ...]) -> bool:
    return len(operands) == 1 and operands[0].is_list


def _has_lead(op: Op, operands: tuple[Argument, ...]) -> bool:
    """Whether an operand must be a tensor of the compute dtype, and all others go by it."""
    return (
        operands[0].type == "Tensor"
        and any(op.kind_of(a) == "same" and a.type == "Tensor" for a in operands)
        and all(a.type in ("Tensor", "Tensor?") or (a.is_list and op.kind_of(a) == "index") for a in operands)
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
    op, aliases = _without_collisions(op)
    body = "\n".join(_fast_lines(op, op.schema.operands, "        "))
    return (
        f"{head}\n{aliases}    if kw: return {_slow_call(op)}\n    try:\n{body}\n"
        f"    except Exception: pass\n    return {_slow_call(op)}\n"
    )


def _without_collisions(op: Op) -> tuple[Op, str]:
    """The op with other public names for arguments that are called as the generated code's own variables are."""
    renamed = copy(op)
    aliases = ""

    def free(a: Argument) -> Argument:
        nonlocal aliases
        if a.public not in _OWN_NAMES:
            return a
        aliases += f"    {a.public}_ = {a.public}\n"
        return replace(a, public=f"{a.public}_")

    operands, params = (tuple(map(free, arguments)) for arguments in (op.schema.operands, op.schema.params))
    renamed.schema = replace(op.schema, operands=operands, params=params)
    return renamed, aliases


def _number(name: str) -> str:
    """The condition that an operand is a Python number."""
    return f"{name}.__class__ is float or {name}.__class__ is int"


def _takes_numbers(op: Op, operands: tuple[Argument, ...]) -> bool:
    """Whether numbers beside tensors reach the kernel as constants: where operands broadcast."""
    return op.family is ELEMENTWISE and len(operands) > 2


def _operand_condition(op: Op, a: Argument, numbers: bool) -> str:
    """When an operand goes with the leading one."""
    kind = op.kind_of(a)
    if a.is_list:
        return f"all([t._key is key.index for t in {a.public}])"
    if kind == "any":
        match = f"{a.public}._key.level is None and {a.public}._key.device is key.device"
    else:
        match = f"{a.public}._key is { ({'same': 'key', 'bool': 'key.boolean', 'index': 'key.index'}[kind]) }"
    if a.type == "Tensor?":
        return f"({a.public} is None or {match})"
    return f"({_number(a.public)} or {match})" if numbers and kind == "same" else match


def _fast_lines(op: Op, operands: tuple[Argument, ...], pad: str) -> list[str]:
    """The tensor-tensor case, and for binary elementwise ops the tensor-number case."""
    if _is_one_list(operands):
        return [pad + s for s in _list_lines(op, operands[0])]
    lead = next(a for a in operands if op.kind_of(a) == "same" and a.type == "Tensor")
    numbers = _takes_numbers(op, operands)
    lines = [f"key = {lead.public}._key", "state = get()"]
    conditions = ["state.plain", "key.level is None"]
    conditions += [_operand_condition(op, a, numbers) for a in operands if a is not lead]
    binary = op.family is ELEMENTWISE and len(operands) == 2 and not op.kinds and not op.schema.params
    if not binary:
        call = _call_lines(op, operands, lead if numbers else None)
        return [pad + s for s in (*lines, _if([*conditions, *_param_conditions(op)]), *("    " + s for s in call))]
    x, y = (a.public for a in operands)
    number = _result_lines(
        op, f"key.{op.name}({x}._array, c)", f"{x}._node is None", f"record_checked({x}, {y}, {{}}, out)"
    )
    return [
        pad + s
        for s in (
            *lines,
            "if state.plain and key.level is None:",
            f"    kind = {y}.__class__",
            "    if kind is float or kind is int:",
            f"        c = key.floats[{y}] if kind is float else key.ints[{y}]",
            *("        " + s for s in number),
            f"    if {y}._key is key:",
            *("        " + s for s in _call_lines(op, operands)),
        )
    ]


def _if(conditions: Sequence[str]) -> str:
    return f"if {' and '.join(conditions)}:"


def _param_conditions(op: Op) -> list[str]:
    return [c.format(p=p.public) for p in op.schema.params if (c := _PARAMS[p.type][0])]


def _param_lines(op: Op) -> tuple[list[str], list[str]]:
    """The line that makes ``params``, and the keywords that the kernel gets."""
    params = op.schema.params
    if not params:
        return [], []
    values = ", ".join(f"{p.name!r}: {_PARAMS[p.type][1].format(p=p.public)}" for p in params)
    return [f"params = {{{values}}}"], [f"{p.name}=params[{p.name!r}]" for p in params]


def _list_lines(op: Op, operand: Argument) -> list[str]:
    """An op of one list of tensors, all of one device and dtype."""
    xs = operand.public
    made, keywords = _param_lines(op)
    body = [f"a0 = {xs}[0]._array", *made]
    if op.check:
        body.append(f"infer({', '.join(['[a.shape for a in arrays]', *keywords])})")
    params = "params" if made else "{}"
    untracked = f"not [t for t in {xs} if t._node is not None]"
    call, record = f"key.{op.name}({', '.join(['*arrays', *keywords])})", f"record_checked({xs}, {params}, out)"
    body += _result_lines(op, call, untracked, record)
    return [
        f"key = {xs}[0]._key",
        "state = get()",
        _if(["state.plain", "key.level is None", f"{xs}.__class__ in (list, tuple)", *_param_conditions(op)]),
        f"    arrays = [t._array for t in {xs} if t._key is key]",
        f"    if len(arrays) == len({xs}):",
        *("        " + s for s in body),
    ]


def _call_lines(op: Op, operands: tuple[Argument, ...], lead: Argument | None = None) -> list[str]:
    """The kernel call; where a ``lead`` is given, the operands beside it may be numbers."""
    lines, arrays, links = [], [], []
    needs_first = any("a0" in _PARAMS[p.type][1] for p in op.schema.params)
    for i, a in enumerate(operands):
        n = a.public
        if i == 0 and needs_first:
            lines.append(f"a0 = {n}._array")
            arrays.append("a0")
        elif a.is_list:  # of indices, which have no gradient
            arrays.append(f"*[t._array for t in {n}]")
            continue
        elif a.type == "Tensor?":
            arrays.append(f"None if {n} is None else {n}._array")
        elif lead is not None and a is not lead and op.kind_of(a) == "same":
            constant = f"key.floats[{n}] if {n}.__class__ is float else key.ints[{n}] if {n}.__class__ is int"
            lines.append(f"c{i} = {constant} else {n}._array")
            arrays.append(f"c{i}")
            links.append(f"({_number(n)} or {n}._node is None)")
            continue
        else:
            arrays.append(f"{n}._array")
        links.append(f"({n} is None or {n}._node is None)" if a.type == "Tensor?" else f"{n}._node is None")
    made, keywords = _param_lines(op)
    lines += made
    if op.check:
        shapes = [f"None if {a.public} is None else {a.public}._array.shape" if a.type == "Tensor?"
                  else f"[t._array.shape for t in {a.public}]" if a.is_list
                  else f"{v}.shape" for a, v in zip(operands, arrays, strict=True)]  # fmt: skip
        lines.append(f"infer({', '.join([*shapes, *keywords])})")
    saver = "record" if lead is None and not any(a.is_list for a in operands) else "record_checked"
    record = f"{saver}({', '.join([*(a.public for a in operands), 'params' if made else '{}'])}, out)"
    return lines + _result_lines(op, f"key.{op.name}({', '.join([*arrays, *keywords])})", " and ".join(links), record)


def _result_lines(op: Op, call: str, untracked: str, record: str) -> list[str]:
    """Call the kernel, make the tensors, record where somebody wants a gradient."""
    keys = [_result_key(op, i) for i in range(len(op.schema.outputs))]
    if op.schema.single:
        lines = ["out = Tensor()", f"r = {call}"]
        result = keys[0]
        if result != "key":
            lines.append(f"okey = {result}")
            result = "okey"
        lines += [
            f"out._array = r if r.__class__ is {result}.array else {result}.wrap(r)",
            f"out._key = {result}",
            "out._box = None",
            "out._node = None",
        ]
    else:
        names = [f"r{i}" for i in range(len(keys))]
        made = ", ".join(f"tensor_of({n}, {k})" for n, k in zip(names, keys, strict=True))
        lines = [f"{', '.join(names)} = {call}", f"out = ({made})"]
    if not op.differentiable:
        return [*lines, "return out"]
    return [*lines, f"if {untracked} or not state.grad: return out", f"return {record}"]


def _result_key(op: Op, i: int) -> str:
    kind = op.dtype.results[min(i, len(op.dtype.results) - 1)]
    if isinstance(kind, str):
        return _RESULT_KEY[kind]
    return f"key.sibling(result_dtype({i}, key.dtype, {'params' if op.schema.params else '{}'}))"


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
        call, record = f"key.{op.name}(c, {y.public}._array)", f"record_checked({x.public}, {y.public}, {{}}, out)"
        made = _result_lines(op, call, f"{y.public}._node is None", record)
        lines = [
            f"key = {swap[x.public]}._key",
            "state = get()",
            "if state.plain and key.level is None:",
            f"    c = key.floats[{x.public}] if {x.public}.__class__ is float else key.ints[{x.public}]",
            f"    if {x.public}.__class__ is float or {x.public}.__class__ is int:",
            *("        " + s for s in made),
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
        n if i == 0 else f"{n}={'REQUIRED' if a.default is REQUIRED else repr(a.default)}"
        for i, (n, a) in enumerate(zip(names, op.schema.operands, strict=True))
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
    scope.update(
        OP=op,
        get=state.get,
        slow=slow,
        Tensor=Tensor,
        AXES=AXES,
        AXIS=AXIS,
        REQUIRED=REQUIRED,
        View=View,
        make_view=make_view,
        infer=op.infer,
        DType=DType,
        tensor_of=dispatch.tensor_of,
        result_dtype=op.dtype.out,
        in_place=in_place,
        operand_types=(Tensor, bool, int, float, complex, np.generic),
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
    lazy.__module__ = "flambeau.core.ops"
    lazy.op = op  # type: ignore[attr-defined]
    return lazy


def _placeholder(*args: Any, **kw: Any) -> Any:
    return compile_now()(*args, **kw)  # type: ignore[name-defined]  # noqa: F821  # in the function's own globals


_PLACEHOLDER = _placeholder.__code__


def public_function(op: Op) -> FunctionType:
    """The public function of an op."""
    function = lazy_function(op, op.name, lambda: source(op))
    function.__doc__ = help.describe(op)
    function.__signature__ = help.signature(op)  # type: ignore[attr-defined]
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
    function.__signature__ = help.signature(op, inplace=True)  # type: ignore[attr-defined]
    return function
