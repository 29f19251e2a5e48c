"""The text of the public functions: one small function per op.

Each tries the common case in the open (plain state, no level, one key) and leaves everything else,
and every failure, to the uniform path. :mod:`flambeau.core.fastpath` compiles them and says what their names mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import replace
from inspect import Signature

from flambeau.core.record import CREATE, ELEMENTWISE, VIEW, Op
from flambeau.core.schema import REQUIRED, Argument

#: By type of a param: when the fast path takes a value, and what the kernel gets for it.
_PARAMS = {
    "Axes": ("({p} is None or {p}.__class__ is int or {p}.__class__ is tuple)", "AXES[{p}, a0.ndim]"),
    "Axis": ("{p}.__class__ is int", "AXIS[{p}, a0.ndim]"),
    "Ints": ("{p}.__class__ is tuple and {p}[0].__class__ is int", "{p}"),
    "Index": ("{p}.__class__ is tuple", "{p}"),
    "int": ("{p}.__class__ is int", "{p}"),
    "int?": ("({p} is None or {p}.__class__ is int)", "{p}"),
    "float": ("({p}.__class__ is float or {p}.__class__ is int)", "float({p})"),
    "float?": ("({p} is None or {p}.__class__ is float)", "{p}"),
    "bool": ("({p} is False or {p} is True)", "{p}"),
    "str": ("{p}.__class__ is str", "{p}"),
    "DType": ("{p}.__class__ is DType", "{p}"),
    "Any": ("", "{p}"),
}
#: Variables and globals of the generated code.
_OWN_NAMES = frozenset(
    {"key", "state", "out", "okey", "params", "arrays", "infer", "record", "get", "kernel", "kind", "box", "kw"}
)
#: What fails is said by the uniform path; but where the stack is full it would fail again, twice at each of its levels.
_FAILED = ("    except RecursionError: raise", "    except Exception: pass")
_RESULT_KEY = {"same": "key", "bool": "key.boolean", "index": "key.index", "real": "key.real",
               "complex": "key.paired"}  # fmt: skip


def _signature(op: Op) -> str:
    parts, optional = [], False
    for a in (*op.schema.operands, *op.schema.params):
        optional = optional or a.default is not REQUIRED or a.public != a.name  # it may come under its other name
        parts.append(f"{a.public}={a.default!r}" if optional else a.public)
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
    """Whether an operand must be a tensor of the compute dtype, and all others, lists of indices too, go by it."""
    return (
        operands[0].type == "Tensor"
        and any(op.kind_of(a) == "same" and a.type == "Tensor" for a in operands)
        and all(a.type in ("Tensor", "Tensor?", "Scalar") or a.is_list and op.kind_of(a) == "index" for a in operands)
    )


def view_source(op: Op) -> str:
    """The text of a view's function: the params go as tuples, and the result has a View link."""
    x, params = op.schema.operands[0].public, op.schema.params
    bare = len(params) == 1 and op.dtype.results == ("same",)  # one param may stand without a dict
    made, keywords = _param_lines(op)
    values = "params" if made else "{}"
    if bare:
        values = _PARAMS[params[0].type][1].format(p=params[0].public)
        made, keywords = [], [f"{params[0].name}={values}"]
    conditions = ["not kw"]
    conditions += [f"{p.public}.__class__ is tuple" for p in params if p.type == "Ints"]  # it may be empty
    conditions += _param_conditions([p for p in params if p.type != "Ints"])
    lines = _view_lines(op, x, conditions, made, f"key.{op.name}({', '.join(['a0', *keywords])})", values)
    return "\n".join([f"def {op.name}({_signature(op)}, **kw):", *lines, f"    return {_slow_call(op)}"]) + "\n"


def view_case_source(op: Op, name: str, signature: Signature, value: str, when: str, call: str, unless: str) -> str:
    """The text of a function of its own whose common case is a view; ``body`` is what else it does."""
    parameters = signature.parameters.values()
    head = ", ".join(str(p.replace(annotation=p.empty)) for p in parameters)
    passed = ", ".join(f"{p.name}={p.name}" if p.kind is p.KEYWORD_ONLY else str(p.replace(annotation=p.empty,
                       default=p.empty)) for p in parameters)  # fmt: skip
    kernel = call or f"key.{op.name}(a0, {op.schema.params[0].name}=value)"
    x = next(iter(parameters)).name
    tail = f"return body({passed})"
    refused = [f"if {unless}: {tail}"] if unless else []
    lines = _view_lines(op, x, [when] if when else [], [f"value = {value}"], kernel, "value", refused)
    return "\n".join([f"def {name}({head}):", *lines, f"    {tail}"]) + "\n"


def _view_lines(op: Op, x: str, conditions: list[str], made: list[str], call: str, values: str,
                refused: Sequence[str] = ()) -> list[str]:  # fmt: skip
    """Try to make a view of ``x``: a tensor of the same storage, which a View links to it."""
    key = _result_key(op, 0)
    lines = [
        f"a0 = {x}._array",
        *made,
        *([] if key == "key" else [f"okey = {key}"]),
        f"a = {call}",
        *refused,
        "out = blank()",
        "out._array = a",
        f"out._key = {(okey := 'key' if key == 'key' else 'okey')}",
        f"link = {x}._node",
        f"if link is not None: return make_view({x}, out, OP, {values}, state.grad)",
        f"box = {x}._box",
        f"if box is None: box = {x}._box = Box()",
        "out._box = box",
        "out._node = view = View()",
        "view.node, view.generation = None, box.generation",
        f"view.made = ({x}, None, OP, {values}, box, a0, a, {okey}, state.grad)",
        "return out",
    ]
    return [
        "    try:",
        f"        key = {x}._key",
        "        state = get()",
        f"        {_if([*conditions, 'state.plain', 'key.level is None'])}",
        *("            " + line for line in lines),
        *_FAILED,
    ]


def source(op: Op) -> str:
    """The text of the op's public function."""
    if op.family is VIEW:
        return view_source(op)
    head = f"def {op.name}({_signature(op)}, **kw):"
    if op.shortcut is not None:
        return "\n".join([head, *_shortcut_lines(op.schema.operands[0].public), f"    return {_slow_call(op)}"]) + "\n"
    if not has_fast_path(op):
        return f"{head}\n    return {_slow_call(op)}\n"
    op, aliases = _without_collisions(op)
    body = "\n".join(_fast_lines(op, op.schema.operands, "        "))
    return (
        f"{head}\n{aliases}    if kw: return {_slow_call(op)}\n    try:\n{body}\n"
        f"{_FAILED[0]}\n{_FAILED[1]}\n    return {_slow_call(op)}\n"
    )


def _shortcut_lines(x: str) -> list[str]:
    """The case in which an op is another function, or gives its operand itself; an overriding class is asked before."""
    return [
        "    try:",
        f"        key = {x}._key",
        "        if not kw and key.dtype in shortcut[0] and key.__class__ is Key and key.level is None:",
        f"            if get().plain: return shortcut[1]({x})",
        *_FAILED,
    ]


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


def _constants(op: Op) -> tuple[str, str]:
    """The key's caches of constants: those whose numbers fit, where the op does not let them wrap around."""
    return ("exact_floats", "exact_ints") if op.dtype.exact is not None else ("floats", "ints")


def _takes_numbers(op: Op, operands: tuple[Argument, ...]) -> bool:
    """Whether numbers beside tensors reach the kernel as constants: where operands broadcast."""
    return op.family is ELEMENTWISE and len(operands) > 2


def _operand_condition(op: Op, a: Argument, numbers: bool) -> str:
    """When an operand goes with the leading one."""
    kind = op.kind_of(a)
    if a.is_list:
        return f"{a.public}.__class__ in (list, tuple) and not [t for t in {a.public} if t._key is not key.index]"
    if a.type == "Scalar":
        return f"({_number(a.public)})"
    if kind == "any":
        match = f"{a.public}._key.level is None and {a.public}._key.device is key.device"
    else:
        match = f"{a.public}._key is { ({'same': 'key', 'bool': 'key.boolean', 'index': 'key.index'}[kind]) }"
    if a.type == "Tensor?":
        return f"({a.public} is None or {match})"
    return f"({_number(a.public)} or {match})" if numbers and kind == "same" and a.name not in op.tensors else match


def _fast_lines(op: Op, operands: tuple[Argument, ...], pad: str) -> list[str]:
    """The tensor-tensor case, and for binary elementwise ops the tensor-number case."""
    if _is_one_list(operands):
        return [pad + s for s in _list_lines(op, operands[0])]
    lead, *others = [a for a in operands if op.kind_of(a) == "same" and a.type == "Tensor"]
    numbers = _takes_numbers(op, operands)
    either = numbers and lead is not operands[0] and lead.name not in op.tensors and bool(others)
    model = f"({others[0].public} if {_number(lead.public)} else {lead.public})" if either else lead.public
    lines = [f"key = {model}._key", "state = get()"]
    conditions = ["state.plain", "key.level is None"]
    conditions += [_operand_condition(op, a, numbers) for a in operands if either or a is not lead]
    given = _param_conditions(op.schema.params)
    binary = op.family is ELEMENTWISE and len(operands) == 2 and not op.kinds and not op.schema.params
    if not binary:
        call = _call_lines(op, operands, [a for a in operands if either or a is not lead] if numbers else ())
        return [pad + s for s in (*lines, _if([*conditions, *given]), *("    " + s for s in call))]
    x, y = (a.public for a in operands)
    number = [] if operands[1].name in op.tensors else _number_lines(op, x, y)
    return [
        pad + s
        for s in (
            *lines,
            "if state.plain and key.level is None:",
            *number,
            f"    if {y}._key is key:",
            *("        " + s for s in _call_lines(op, operands)),
        )
    ]


def _number_lines(op: Op, x: str, y: str) -> list[str]:
    """The tensor-number case."""
    record, (floats, ints) = f"record_checked({x}, {y}, {{}}, out)", _constants(op)
    whole = "kind is int" if op.negative is None else f"kind is int and ({y} >= 0 or key.floats is not None)"
    return [
        f"    kind = {y}.__class__",
        f"    if kind is float or {whole}:",
        f"        c = key.{floats}[{y}] if kind is float else key.{ints}[{y}]",
        *("        " + s for s in _result_lines(op, f"key.{op.name}({x}._array, c)", f"{x}._node is None", record)),
    ]


def _if(conditions: Sequence[str]) -> str:
    return f"if {' and '.join(conditions)}:"


def _param_conditions(params: Iterable[Argument]) -> list[str]:
    return [c.format(p=p.public) for p in params if (c := _PARAMS[p.type][0])]


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
    conditions = ["state.plain", "key.level is None", f"{xs}.__class__ in (list, tuple)"]
    if op.check:
        body.append(f"infer({', '.join(['[a.shape for a in arrays]', *keywords])})")
    params = "params" if made else "{}"
    untracked = f"not [t for t in {xs} if t._node is not None]"
    call, record = f"key.{op.name}({', '.join(['*arrays', *keywords])})", f"record_checked({xs}, {params}, out)"
    body += _result_lines(op, call, untracked, record)
    return [
        f"key = {xs}[0]._key",
        "state = get()",
        _if([*conditions, *_param_conditions(op.schema.params)]),
        f"    arrays = [t._array for t in {xs} if t._key is key]",
        f"    if len(arrays) == len({xs}):",
        *("        " + s for s in body),
    ]


def _call_lines(op: Op, operands: tuple[Argument, ...], numbers: Sequence[Argument] = ()) -> list[str]:
    """The kernel call; some of the operands may be ``numbers``."""
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
        elif a.type == "Scalar":
            arrays.append(n)
            continue
        elif a.type == "Tensor?":
            arrays.append(f"None if {n} is None else {n}._array")
        elif a in numbers and op.kind_of(a) == "same":
            floats, ints = _constants(op)
            constant = f"key.{floats}[{n}] if {n}.__class__ is float else key.{ints}[{n}] if {n}.__class__ is int"
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
        lines.append(f"infer({', '.join([*map(_shape, operands, arrays), *keywords])})")
    saver = "record" if not numbers and not any(a.is_list for a in operands) else "record_checked"
    record = f"{saver}({', '.join([*(a.public for a in operands), 'params' if made else '{}'])}, out)"
    return lines + _result_lines(op, f"key.{op.name}({', '.join([*arrays, *keywords])})", " and ".join(links), record)


def _shape(a: Argument, array: str) -> str:
    if a.is_list:
        return f"[t._array.shape for t in {a.public}]"
    if a.type == "Scalar":
        return "()"
    return f"None if {a.public} is None else {a.public}._array.shape" if a.type == "Tensor?" else f"{array}.shape"


def _result_lines(op: Op, call: str, untracked: str, record: str) -> list[str]:
    """Call the kernel, make the tensors, record where somebody wants a gradient."""
    keys = [_result_key(op, i) for i in range(len(op.schema.outputs))]
    if op.schema.single:
        lines = ["out = blank()", f"r = {call}"]
        result = keys[0]
        if result != "key":
            lines.append(f"okey = {result}")
            result = "okey"
        lines += [
            f"out._array = r if r.__class__ is {result}.array else {result}.wrap(r)",
            f"out._key = {result}",
            "out._box = state.box",
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
    strange = "foreign" if reflected else "stranger"
    tail = [
        *_FAILED,
        f"    if not isinstance({second.public}, operand_types): return {strange}(OP, {first.public}, {second.public})",
        f"    return {slow_call}",
    ]
    if reflected:
        call, record = f"key.{op.name}(c, {y.public}._array)", f"record_checked({x.public}, {y.public}, {{}}, out)"
        made = _result_lines(op, call, f"{y.public}._node is None", record)
        floats, ints = _constants(op)
        lines = [
            f"key = {swap[x.public]}._key",
            "state = get()",
            "if state.plain and key.level is None:",
            f"    c = key.{floats}[{x.public}] if {x.public}.__class__ is float else key.{ints}[{x.public}]",
            f"    if {x.public}.__class__ is float or {x.public}.__class__ is int:",
            *("        " + s for s in made),
        ]  # fmt: skip
        lines = ["        " + s for s in lines]
    else:
        lines = _fast_lines(op, op.schema.operands, "        ")
    return "\n".join([head, "    try:", *lines, *tail]) + "\n"


def inplace_source(op: Op) -> str:
    """The text of ``add_``: a written-to tensor without history, the same shape or a number beside it."""
    names = [a.public for a in op.schema.operands]
    optional = (f", {a.public}={a.default!r}" for a in (*op.schema.operands[1:], *op.schema.params))
    head = f"def {op.name}_({names[0]}{''.join(optional)}, **kw):"
    bound = ", ".join(f"{p.name!r}: {p.public}" for p in op.schema.params)
    tail = f"    return in_place(OP, ({''.join(n + ', ' for n in names)}), {{{bound}}}, kw)\n"
    fast = op.family is ELEMENTWISE and not op.kinds and not op.schema.params and op.dtype.results == ("same",)
    if not fast:
        return f"{head}\n{tail}"
    x, others = names[0], [f"a{i}" for i in range(1, len(names))]
    made, conditions = [], []
    for a, operand in zip(others, op.schema.operands[1:], strict=True):
        array, condition = _beside_lines(op, x, a, operand)
        made.append(f"            {a} = {array}")
        conditions.append(condition)
    lines = [
        head,
        "    kernel = None",
        "    try:",
        f"        key = {x}._key; state = get(); box = {x}._box; a = {x}._array",
        f"        if not kw and state.plain and key.level is None and ({x}._node is None or unrecorded({x}, state)) "
        "and (box is None or box is not INFERENCE and (a.base is None or a.flags.c_contiguous)):",
        *made,
        f"            if {' and '.join(conditions) or 'True'}:",
        f"                kernel = key.{op.name}_",
        _FAILED[0],
        "    except Exception: kernel = None",
        "    if kernel is not None:",
        f"        kernel({', '.join(['a', *others, 'a'])})",
        f"        if box is None: box = {x}._box = Box()",
        f"        box.version += 1; box.writer = '{op.name}_'",
        f"        return {x}",
    ]
    return "\n".join(lines) + "\n" + tail


def _beside_lines(op: Op, x: str, a: str, operand: Argument) -> tuple[str, str]:
    """The array of an operand beside ``x``, which is written to, and when it is one to go on with."""
    n, (floats, ints) = operand.public, _constants(op)
    match = (
        f"{n}._key is key and ({a}.shape == a.shape or not {a}.shape) and ({n}._node is None or not state.grad) "
        f"and (box is None or {n}._box is not box or {n} is {x})"
    )
    if operand.name in op.tensors:
        return f"{n}._array", match
    array, condition = f"key.{floats}[{n}] if {n}.__class__ is float else ", f"{n}.__class__ is float"
    if op.negative is None:
        array, condition = array + f"key.{ints}[{n}] if {n}.__class__ is int else ", _number(n)
    return f"{array}{n}._array", f"({condition} or {match})"


def inplace_operator_source(op: Op) -> str:
    """The text of ``__iadd__``: ``add_``'s, and NotImplemented for strangers: ``x += y`` is ``x = x + y`` then."""
    text, other = inplace_source(op), op.schema.operands[1].public
    last = text.rindex("    return in_place(")
    return f"{text[:last]}    if not isinstance({other}, operand_types): return NotImplemented\n{text[last:]}"
