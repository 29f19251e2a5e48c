"""Interpret an expression over any values, given functions for the primitives.

core makes an op's body of its expression this way: the values are Tensors, the functions the minimum ops.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flambeau.core.dtype import DType
from flambeau.core.expr.fold import bitcast, fold, limit, power_steps
from flambeau.core.expr.syntax import CONDITIONS, Call, Expr, ExprError, Limit, Name, Node, Number, definition

_BOOLEAN = {"logical_and": "bitwise_and", "logical_or": "bitwise_or", "logical_xor": "bitwise_xor"}


def evaluate(
    expr: Expr, env: Mapping[str, Any], fns: Mapping[str, Callable[..., Any]], dtype: DType | None = None
) -> Any:
    """The value of ``expr`` with its operands taken from ``env``.

    ``fns`` has the primitives (at least those that come up), and any other function that shall not be inlined.
    Literals reach the functions as Python numbers; where two of them are all that a ``where`` has to choose from,
    one goes through ``fns["constant"](value, dtype, condition)`` first, if there is one. ``dtype`` is the compute
    type, needed where the expression uses ``eps tiny max mantissa bias``.

    >>> import math, operator
    >>> from flambeau.core.expr import parse
    >>> fns = {"mul": operator.mul, "add": operator.add}
    >>> evaluate(parse("let t = x + 1; t * t", ("x",)), {"x": 2}, fns)
    9
    """
    return _Evaluator(fns, dtype).run(expr, [env[name] for name in expr.operands], ())


class _Evaluator:
    def __init__(self, fns: Mapping[str, Callable[..., Any]], dtype: DType | None):
        self.fns, self.dtype = fns, dtype

    def run(self, expr: Expr, args: list[Any], inside: tuple[str, ...]) -> Any:
        env = dict(zip(expr.operands, args, strict=True))
        conditions: set[str] = set()
        for name, node in expr.lets:
            env[name] = self.value(node, env, conditions, inside)
            if is_condition(node, conditions):
                conditions.add(name)
        return self.value(expr.result, env, conditions, inside)

    def value(self, node: Node, env: Mapping[str, Any], conditions: set[str], inside: tuple[str, ...]) -> Any:
        match node:
            case Number(value):
                return value
            case Limit(name):
                return limit(name, self.dtype)
            case Name(id):
                return env[id]
            case Call("where", (test, yes, no)):
                decided = self.truth(test, env, conditions, inside)
                if isinstance(decided, bool):
                    return self.value(yes if decided else no, env, conditions, inside)
                branches = [self.value(branch, env, conditions, inside) for branch in (yes, no)]
                return self.fns["where"](decided, *self.typed(branches, decided))
            case Call("logical_and" | "logical_or" | "logical_xor" | "logical_not" as fn, nodes):
                return self.boolean(fn, [self.truth(a, env, conditions, inside) for a in nodes])
            case Call("bitwise_not", (inner,)) if "bitwise_not" not in self.fns:
                ones = True if is_condition(inner, conditions) else -1
                return self.fns["bitwise_xor"](self.value(inner, env, conditions, inside), ones)
            case Call(fn, nodes):
                return self.call(fn, [self.value(a, env, conditions, inside) for a in nodes], inside)
        raise TypeError(f"not a node: {node!r}")

    def typed(self, branches: list[Any], like: Any) -> list[Any]:
        """Two literals meet no value that would give them their type: they get the compute type here."""
        if "constant" not in self.fns or any(type(b) not in (int, float) for b in branches):
            return branches
        return [self.fns["constant"](branches[0], self.dtype, like), branches[1]]

    def truth(self, node: Node, env: Mapping[str, Any], conditions: set[str], inside: tuple[str, ...]) -> Any:
        """The value of a node where a condition stands: what is none yet is compared with 0."""
        value = self.value(node, env, conditions, inside)
        if isinstance(value, bool | int | float):
            return bool(value)
        return value if is_condition(node, conditions) else self.call("ne", [value, 0], inside)

    def boolean(self, fn: str, args: list[Any]) -> Any:
        if all(isinstance(a, bool) for a in args):
            return fold(fn, tuple(args))
        if fn == "logical_not":
            return self.fns["bitwise_xor"](args[0], True)
        return self.fns[_BOOLEAN[fn]](*args)

    def call(self, fn: str, args: list[Any], inside: tuple[str, ...]) -> Any:
        if all(isinstance(a, bool | int | float) for a in args):
            folded = fold(fn, tuple(args))
            if folded is not None:
                return folded
            if fn.startswith("bitcast_"):
                return bitcast(fn, args[0], self.dtype)
        if fn == "pow" and (count := power_steps(args[1])):
            square = self.fns["mul"](args[0], args[0])
            return square if count == 2 else self.fns["mul"](square, args[0] if count == 3 else square)
        native = self.fns.get(fn)
        if native is not None:
            return native(*args)
        return self.run(inlined(fn, len(args), inside), args, (*inside, fn))


def inlined(fn: str, count: int, inside: tuple[str, ...]) -> Expr:
    """The expression behind a call of ``fn`` with ``count`` arguments, from within the calls ``inside``."""
    found = definition(fn)
    if found is None:
        raise ExprError(f"unknown function {fn!r}: no primitive, and no elementwise op with an expr has this name")
    if len(found.operands) != count:
        raise ExprError(f"{fn} takes {len(found.operands)} argument(s) {found.operands}, got {count}")
    if fn in inside:
        raise ExprError(f"the expr of {fn!r} calls itself: {' -> '.join((*inside, fn))}")
    return found


def is_condition(node: Node, conditions: set[str]) -> bool:
    """Whether a node's form shows that its value is a bool."""
    match node:
        case Number(value):
            return isinstance(value, bool)
        case Name(id):
            return id in conditions
        case Call("where", (_, yes, no)):
            return is_condition(yes, conditions) and is_condition(no, conditions)
        case Call("bitwise_and" | "bitwise_or" | "bitwise_xor" | "bitwise_not", nodes):
            return all(is_condition(a, conditions) for a in nodes)
        case Call(fn, _):
            return fn in CONDITIONS
    return False
