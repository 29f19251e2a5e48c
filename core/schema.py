"""Op schemas: ``"sum(x: Tensor, *, axis: Axes = None, keepdims: bool = False) -> Tensor"``, parsed.

Operands stand before the star: ``Tensor``, ``Tensor?``, ``Tensor[]`` or ``Scalar``. Params stand after
it; they are hashable and never vary from step to step.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import Any, Final

REQUIRED: Final = type("Required", (), {"__repr__": lambda self: "REQUIRED"})()

#: The names that users type, where the array API's name of a parameter differs from torch's.
PUBLIC_NAMES: Final = {"x": "input", "y": "other", "axis": "dim", "axes": "dims", "keepdims": "keepdim",
                       "axis1": "dim1", "axis2": "dim2"}  # fmt: skip

_SCHEMA = re.compile(r"(\w+)\((.*)\)\s*->\s*(.+)", re.S)
_OPERAND_TYPES = frozenset({"Tensor", "Tensor?", "Tensor[]", "Scalar"})
_PARAM_TYPES = frozenset({"Axes", "Axis", "Ints", "int", "int?", "float", "float?", "bool", "str", "DType", "DType?",
                          "Device", "Index", "Any"})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Argument:
    """One operand or param: its name, the public name, type and default (REQUIRED when there is none)."""

    name: str
    public: str
    type: str
    default: Any = REQUIRED

    @property
    def is_list(self) -> bool:
        return self.type == "Tensor[]"


@dataclass(frozen=True, slots=True)
class Schema:
    """A parsed schema. ``outputs`` names the results; one unnamed Tensor is ``("out",)``."""

    name: str
    operands: tuple[Argument, ...]
    params: tuple[Argument, ...]
    outputs: tuple[str, ...]
    returns_list: bool = False

    @property
    def single(self) -> bool:
        return len(self.outputs) == 1 and not self.returns_list

    def argument(self, name: str) -> Argument | None:
        """The argument called ``name``, under either of its names."""
        for a in (*self.operands, *self.params):
            if name in (a.name, a.public):
                return a
        return None


def parse(text: str) -> Schema:
    """The schema of ``text``; ValueError says what is wrong with it.

    >>> parse("mul(x: Tensor, y: Tensor) -> Tensor").operands[1].public
    'other'
    """
    match = _SCHEMA.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"schema {text!r} is not 'name(arguments) -> results'")
    name, inside, result = match.groups()
    operands: list[Argument] = []
    params: list[Argument] = []
    target, allowed = operands, _OPERAND_TYPES
    for part in _split(inside):
        if part == "*":
            target, allowed = params, _PARAM_TYPES
            continue
        target.append(_argument(part, allowed, text))
    if result.strip() == "Tensor[]":
        return Schema(name, tuple(operands), tuple(params), ("out",), returns_list=True)
    return Schema(name, tuple(operands), tuple(params), _outputs(result))


def _argument(part: str, allowed: frozenset[str], text: str) -> Argument:
    declared, _, default = (s.strip() for s in part.partition("="))
    name, _, kind = (s.strip() for s in declared.partition(":"))
    if kind not in allowed:
        raise ValueError(
            f"schema {text!r}: argument {name!r} has type {kind!r}; allowed here: {', '.join(sorted(allowed))}"
        )
    value = ast.literal_eval(default) if default else REQUIRED
    return Argument(name, PUBLIC_NAMES.get(name, name), kind, value)


def _split(inside: str) -> list[str]:
    """Split at the commas that stand outside brackets."""
    parts, depth, start = [], 0, 0
    for i, c in enumerate(inside):
        depth += (c in "([") - (c in ")]")
        if c == "," and depth == 0:
            parts.append(inside[start:i].strip())
            start = i + 1
    return [p for p in (*parts, inside[start:].strip()) if p]


def _outputs(result: str) -> tuple[str, ...]:
    result = result.strip()
    if not result.startswith("("):
        return ("out",)
    parts = _split(result[1:-1])
    return tuple(p.partition(":")[0].strip() if ":" in p else f"out{i}" for i, p in enumerate(parts))
