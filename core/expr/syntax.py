"""The scalar expression language: what a record's ``expr`` may say, and its syntax tree.

An expression is a restricted Python expression over one element of each operand, with lets::

    let t = tanh(0.7978845608 * (x + 0.044715 * x**3)); 0.5 * x * (1 + t)

- Names: the operands, lets, ``pi e inf nan``, and of the compute type ``eps tiny max mantissa bias``
  (machine epsilon, smallest normal number, largest number, bits of the mantissa, bias of the exponent).
- Operators: ``+ - * / // % **``, comparisons (chained too), ``and or not``, ``& | ^ ~ << >>`` and ``a if c else b``.
- Calls: the minimum elementwise kernels, ``to_int(x)`` (towards zero; some integer when it does not fit),
  ``bitcast_int(x)`` and ``bitcast_float(i)`` (of the same width), and every other elementwise record by its
  name, inlined unless the target has it.

Literals have the type of what they meet, the compute type when they meet no other; float16 and bfloat16 compute
in float32. A condition on constants alone, ``a if eps > 1e-10 else b``, is decided when a kernel is made, so
one expression can hold a variant for each precision. What hardware leaves open is defined: an integer divided
by zero is 0, a shift by the width or more (or by a negative count) shifts everything out.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final


class ExprError(ValueError):
    """A scalar expression that the language does not have; the text says where and what would help."""


class Node:
    """A node of the syntax tree."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Number(Node):
    """A literal, or ``pi e inf nan``: it takes the type of what it meets."""

    value: bool | int | float


@dataclass(frozen=True, slots=True)
class Limit(Node):
    """A constant of the compute type: ``eps tiny max mantissa bias``."""

    name: str


@dataclass(frozen=True, slots=True)
class Name(Node):
    """An operand or a let."""

    id: str


@dataclass(frozen=True, slots=True)
class Call(Node):
    """A scalar function of other nodes; operators are calls too."""

    fn: str
    args: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Expr:
    """A parsed expression: the lets in order, then the result."""

    source: str
    operands: tuple[str, ...]
    lets: tuple[tuple[str, Node], ...]
    result: Node

    def __str__(self) -> str:
        return f"({', '.join(self.operands)}) -> {self.source}"


#: How many arguments the functions take that every target has: the 24 minimum kernels and the casts.
PRIMITIVES: Final = {
    "neg": 1, "abs": 1, "exp": 1, "log": 1, "sqrt": 1, "sin": 1, "cos": 1, "floor": 1,
    "add": 2, "sub": 2, "mul": 2, "div": 2, "idiv": 2, "fmod": 2, "pow": 2, "maximum": 2, "lt": 2, "eq": 2,
    "bitwise_and": 2, "bitwise_or": 2, "bitwise_xor": 2, "shl": 2, "shr": 2, "where": 3,
    "to_int": 1, "bitcast_int": 1, "bitcast_float": 1,
}  # fmt: skip

#: What those primitives mean whose records do not say it, or that have none.
MEANINGS: Final = {
    "idiv": "floor division; of integers by 0 it is 0",
    "where": "the second where the first, a condition, is true, else the third",
    "to_int": "towards zero, in the integer type of the same width; some integer when it does not fit",
    "bitcast_int": "the bits of a float32 or float64 as the signed integer of the same width",
    "bitcast_float": "the bits of an integer as the float of the same width",
}

_MATH: Final = {"pi": math.pi, "e": math.e, "inf": math.inf, "nan": math.nan}
_LIMITS: Final = ("eps", "tiny", "max", "mantissa", "bias")
_BINARY: Final[dict[type[ast.AST], str]] = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div", ast.FloorDiv: "idiv", ast.Mod: "remainder",
    ast.Pow: "pow", ast.BitAnd: "bitwise_and", ast.BitOr: "bitwise_or", ast.BitXor: "bitwise_xor",
    ast.LShift: "shl", ast.RShift: "shr", ast.And: "logical_and", ast.Or: "logical_or",
    ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge", ast.Eq: "eq", ast.NotEq: "ne",
}  # fmt: skip

#: What the operators mean that are no primitives, in primitives; records of these names cannot change it.
DERIVED: Final = {
    "gt": (("x", "y"), "y < x"),
    "ge": (("x", "y"), "(y < x) | (x == y)"),
    "le": (("x", "y"), "(x < y) | (x == y)"),
    "ne": (("x", "y"), "(x == y) ^ True"),
    "minimum": (("x", "y"), "y if y < x or (y == y) ^ True else x"),
    "remainder": (("x", "y"), "let r = fmod(x, y); r + y if r != 0 and (r < 0) != (y < 0) else r"),
}  # fmt: skip

#: Functions whose result is a condition.
CONDITIONS: Final = frozenset({
    "lt", "le", "gt", "ge", "eq", "ne", "logical_and", "logical_or", "logical_xor", "logical_not",
    "isnan", "isinf", "isfinite", "signbit", "isposinf", "isneginf",
})  # fmt: skip

#: The expressions of the other records, by name: (operands, source). The record layer fills it.
definitions: Final[dict[str, tuple[tuple[str, ...], str]]] = {}

#: Called with the name of each definition that changed.
on_define: Final[list[Callable[[str], None]]] = []


def define(name: str, source: str, operands: tuple[str, ...]) -> None:
    """Let expressions call ``name``; its source is parsed at the first call."""
    definitions[name] = (tuple(operands), source)
    for notify in on_define:
        notify(name)


def definition(name: str) -> Expr | None:
    """The parsed expression that stands behind a call of ``name``; None when there is none."""
    found = DERIVED.get(name) or definitions.get(name)
    return None if found is None else parse(found[1], found[0])


@cache
def parse(source: str, operands: tuple[str, ...]) -> Expr:
    """The expression that ``source`` writes over ``operands``; ExprError for anything outside the language.

    >>> parse("let t = x + y; t * t", ("x", "y")).result
    Call(fn='mul', args=(Name(id='t'), Name(id='t')))
    """
    for name in operands:
        if name in _MATH or name in _LIMITS:
            raise ExprError(f"expr {source!r}: operand {name!r} has the name of a constant; call it something else")
    *lets, result = [part.strip() for part in source.split(";")]
    parser = _Parser(source, set(operands))
    return Expr(source, operands, tuple(parser.let(text) for text in lets), parser.expression(result))


class _Parser:
    def __init__(self, source: str, names: set[str]):
        self.source, self.names = source, names

    def fail(self, text: str) -> ExprError:
        return ExprError(f"expr {self.source!r}: {text}")

    def let(self, text: str) -> tuple[str, Node]:
        words, equals, value = text.partition("=")
        keyword, _, name = words.strip().partition(" ")
        name = name.strip()
        if keyword != "let" or not equals or not name.isidentifier():
            raise self.fail(f"{text!r} is not 'let NAME = EXPRESSION'; only the part after the last ';' stands alone")
        if name in self.names or name in _MATH or name in _LIMITS:
            raise self.fail(f"let {name!r} hides a name that is already taken; choose another")
        node = self.expression(value.strip())
        self.names.add(name)
        return name, node

    def expression(self, text: str) -> Node:
        try:
            tree = ast.parse(f"({text}\n)", mode="eval").body
        except SyntaxError as error:
            raise self.fail(f"{text!r} is not a Python expression ({error.msg})") from None
        return self.node(tree)

    def node(self, tree: ast.AST) -> Node:
        rule = getattr(self, f"on_{type(tree).__name__.lower()}", None)
        if rule is None:
            raise self.fail(
                f"{ast.unparse(tree)!r} ({type(tree).__name__}) is outside the language of names, numbers, operators, "
                "calls, comparisons and 'a if c else b'"
            )
        found: Node = rule(tree)
        return found

    def on_constant(self, tree: ast.Constant) -> Node:
        if not isinstance(tree.value, bool | int | float):
            raise self.fail(f"literal {tree.value!r} is not a bool, int or float")
        return Number(tree.value)

    def on_name(self, tree: ast.Name) -> Node:
        if tree.id in self.names:
            return Name(tree.id)
        if tree.id in _MATH:
            return Number(_MATH[tree.id])
        if tree.id in _LIMITS:
            return Limit(tree.id)
        known = ", ".join(sorted(self.names))
        raise self.fail(f"unknown name {tree.id!r}; known here: {known}, {', '.join((*_MATH, *_LIMITS))}")

    def on_binop(self, tree: ast.BinOp) -> Node:
        fn = _BINARY.get(type(tree.op))
        if fn is None:
            raise self.fail(f"operator {type(tree.op).__name__} is outside the language")
        return Call(fn, (self.node(tree.left), self.node(tree.right)))

    def on_boolop(self, tree: ast.BoolOp) -> Node:
        first, *rest = (self.node(value) for value in tree.values)
        for other in rest:
            first = Call(_BINARY[type(tree.op)], (first, other))
        return first

    def on_unaryop(self, tree: ast.UnaryOp) -> Node:
        inner = self.node(tree.operand)
        match tree.op:
            case ast.USub() if isinstance(inner, Number):
                return Number(-inner.value)
            case ast.USub():
                return Call("neg", (inner,))
            case ast.Invert():
                return Call("bitwise_not", (inner,))
            case ast.Not():
                return Call("logical_not", (inner,))
        return inner

    def on_compare(self, tree: ast.Compare) -> Node:
        values = [self.node(value) for value in (tree.left, *tree.comparators)]
        result: Node | None = None
        for op, left, right in zip(tree.ops, values, values[1:], strict=False):
            fn = _BINARY.get(type(op))
            if fn is None:
                raise self.fail(f"comparison {type(op).__name__} is outside the language")
            link = Call(fn, (left, right))
            result = link if result is None else Call("logical_and", (result, link))
        assert result is not None
        return result

    def on_ifexp(self, tree: ast.IfExp) -> Node:
        return Call("where", (self.node(tree.test), self.node(tree.body), self.node(tree.orelse)))

    def on_call(self, tree: ast.Call) -> Node:
        if not isinstance(tree.func, ast.Name):
            raise self.fail(f"{ast.unparse(tree.func)!r} cannot be called; call functions by their plain names")
        if tree.keywords or any(isinstance(a, ast.Starred) for a in tree.args):
            raise self.fail(f"{ast.unparse(tree)!r}: functions take plain positional arguments")
        fn, count = tree.func.id, len(tree.args)
        expected = PRIMITIVES.get(fn)
        if expected is not None and count != expected:
            raise self.fail(f"{fn} takes {expected} argument(s), got {count}")
        return Call(fn, tuple(self.node(a) for a in tree.args))
