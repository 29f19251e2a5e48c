"""Schemas of custom ops as PyTorch writes them: ``scale(Tensor x, float by=2.0, *, Tensor(a0!)? out=None) -> Tensor``.

The grammar is that of https://github.com/pytorch/pytorch/blob/main/aten/src/ATen/native/README.md.
"""

from __future__ import annotations

import ast
import collections.abc
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple

from flambeau.core.device import device
from flambeau.core.dtype import DType, dtype_named
from flambeau.core.tensor import Tensor

_TYPES: Final = frozenset({
    "Any", "Device", "Dimname", "Generator", "Layout", "MemoryFormat", "QScheme", "Scalar", "ScalarType", "Storage",
    "Stream", "SymBool", "SymFloat", "SymInt", "Tensor", "bool", "complex", "float", "int", "str", "t",
})  # fmt: skip
_ARGUMENT: Final = re.compile(
    r"(?P<base>[\w.]+)(?P<alias>\([^)]*\))?(?P<tail>(?:\[\d*\]|\?)*)\s+(?P<name>\w+)\s*(?:=\s*(?P<default>.+))?", re.S
)
_RETURN: Final = re.compile(r"(?P<base>[\w.]+)(?P<alias>\([^)]*\))?(?P<tail>(?:\[\d*\]|\?)*)(?:\s+(?P<name>\w+))?")
#: The annotations of Python that :func:`infer_schema` knows, by the type that a schema says.
_SCALARS: Final[dict[Any, str]] = {
    Tensor: "Tensor", int: "SymInt", float: "float", bool: "bool", str: "str", DType: "ScalarType", device: "Device",
    int | float | bool: "Scalar", int | float: "Scalar", typing.Any: "Any",
}  # fmt: skip


class Argument(NamedTuple):
    """One argument: its type without marks of aliases, such as "Tensor?[]", and whether the op writes to it."""

    name: str
    type: str
    default: Any  # Parameter.empty where there is none
    keyword_only: bool
    mutated: bool
    text: str

    @property
    def is_operand(self) -> bool:
        """Whether it is a tensor, may be one, or is a list of them."""
        return self.type in ("Tensor", "Tensor?", "Tensor[]")


class Schema(NamedTuple):
    """The name, the arguments and the types of the results of an op."""

    name: str
    arguments: tuple[Argument, ...]
    returns: tuple[str, ...]
    text: str

    @property
    def is_mutable(self) -> bool:
        """Whether the op writes to an argument."""
        return any(a.mutated for a in self.arguments)

    def signature(self) -> inspect.Signature:
        """The same for Python."""
        kinds = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
        return inspect.Signature(
            [inspect.Parameter(a.name, kinds[a.keyword_only], default=a.default) for a in self.arguments]
        )

    def __str__(self) -> str:
        return self.text


def _split(text: str) -> Iterator[str]:
    """The parts between commas that stand in no brackets or quotes."""
    depth, quote, start = 0, "", 0
    for i, c in enumerate(text):
        if quote or c in "\"'":
            quote = "" if c == quote else quote or c
        elif c in "([":
            depth += 1
        elif c in ")]":
            depth -= 1
        elif c == "," and depth == 0:
            yield text[start:i].strip()
            start = i + 1
    if text[start:].strip():
        yield text[start:].strip()


def _default(text: str | None, kind: str) -> Any:
    if text is None:
        return inspect.Parameter.empty
    if kind.startswith("ScalarType") and text != "None":
        return dtype_named(text)
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text  # a word, such as contiguous_format or Mean


def _refuse(text: str, what: str) -> RuntimeError:
    return RuntimeError(f"schema {text!r}: {what}; expected 'name(Tensor x, int n=1, *, float[]? w=None) -> Tensor'")


def parse(text: str) -> Schema:
    """The schema that a text says; RuntimeError where it says none.

    >>> from flambeau.core.library.schemas import parse
    >>> [(a.name, a.type, a.default) for a in parse("f(Tensor x, int n=1) -> Tensor").arguments][1]
    ('n', 'int', 1)
    """
    found = re.fullmatch(r"\s*([\w.:]*)\s*\((.*)\)\s*->\s*(.+?)\s*", text, re.S)
    if found is None:
        raise _refuse(text, "not a schema")
    name, inside, result = found.groups()
    arguments, keyword_only = [], False
    for part in _split(inside):
        if part == "*":
            keyword_only = True
            continue
        match = _ARGUMENT.fullmatch(part)
        if match is None:
            raise _refuse(text, f"{part!r} is no argument")
        if match["base"] not in _TYPES and "." not in match["base"]:
            raise _refuse(text, f"unknown type {match['base']!r} in {part!r}")
        kind = match["base"] + re.sub(r"\d", "", match["tail"])
        mutated = "!" in (match["alias"] or "")
        arguments.append(Argument(match["name"], kind, _default(match["default"], kind), keyword_only, mutated, part))
    inner = result[1:-1] if result.startswith("(") and result.endswith(")") else result
    returns = []
    for part in _split(inner):
        match = _RETURN.fullmatch(part)
        if match is None or match["base"] not in _TYPES and "." not in match["base"]:
            raise _refuse(text, f"{part!r} is no type of a result")
        returns.append(match["base"] + re.sub(r"\d", "", match["tail"]))
    return Schema(name, tuple(arguments), tuple(returns), text.strip())


def _type_of(hint: Any) -> str | None:
    """What a schema says for an annotation; None for one that no schema has."""
    if hint in _SCALARS:
        return _SCALARS[hint]
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType) and type(None) in args:
        rest = [a for a in args if a is not type(None)]
        inner = _type_of(rest[0] if len(rest) == 1 else typing.Union[tuple(rest)])  # noqa: UP007  # made of values
        return None if inner is None or inner.endswith("?") else f"{inner}?"
    if origin in (list, collections.abc.Sequence) and args:
        inner = _type_of(args[0])
        return None if inner is None or inner.endswith("]") else f"{inner}[]"
    return None


def _default_text(value: Any, where: str) -> str:
    if value is None or isinstance(value, (bool, int, float)):
        return str(value)
    if isinstance(value, (str, device)):
        return f'"{value}"'
    if isinstance(value, DType):
        return value.name
    raise ValueError(
        f"infer_schema: {where} has the default {value!r}; a number, text, dtype, device or None can be one"
    )


def infer_schema(
    prototype_function: Callable[..., Any], /, *, mutates_args: str | Iterable[str], op_name: str | None = None
) -> str:
    """The schema of an op with the signature of a function whose arguments and result have annotations.

    ``mutates_args`` names the arguments that it writes to, or is "unknown": any tensor. ValueError where an annotation
    lacks or has no type in schemas.

    >>> def scale(x: fb.Tensor, by: float = 2.0) -> fb.Tensor: ...
    >>> fb.library.infer_schema(scale, mutates_args=())
    '(Tensor x, float by=2.0) -> Tensor'
    """
    signature = inspect.signature(prototype_function)
    hints = typing.get_type_hints(prototype_function)
    written = set(signature.parameters) if mutates_args == "unknown" else {*mutates_args}
    unknown = written - set(signature.parameters)
    if unknown:
        raise ValueError(f"infer_schema: mutates_args names {', '.join(sorted(unknown))}, no arguments of the function")
    parts: list[str] = []
    for name, parameter in signature.parameters.items():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise ValueError(f"infer_schema: argument {name!r} must have a name that a caller can use, and no star")
        if name not in hints:
            raise ValueError(
                f"infer_schema: argument {name!r} needs an annotation (Tensor, Tensor | None, list[Tensor], int, ...)"
            )
        kind = _type_of(hints[name])
        if kind is None:
            raise ValueError(f"infer_schema: argument {name!r} has the annotation {hints[name]}, no type of a schema")
        if kind.startswith("Tensor") and name in written:
            mark = sum("!" in p for p in parts)
            kind = kind.replace("Tensor", f"Tensor(a{mark}!)", 1)
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in parts:
            parts.append("*")
        given = parameter.default
        default = "" if given is parameter.empty else f"={_default_text(given, f'argument {name!r}')}"
        parts.append(f"{kind} {name}{default}")
    return f"{op_name or ''}({', '.join(parts)}) -> {_returns(hints)}"


def _returns(hints: dict[str, Any]) -> str:
    if "return" not in hints:
        raise ValueError("infer_schema: the function needs an annotation of what it returns")
    result = hints["return"]
    if result is type(None):
        return "()"
    if typing.get_origin(result) is tuple:
        inner = [_type_of(a) for a in typing.get_args(result)]
        if None not in inner:
            return f"({', '.join(map(str, inner))})"
    kind = _type_of(result)
    if kind is None:
        raise ValueError(f"infer_schema: the function returns {result}, no type of a schema")
    return kind
