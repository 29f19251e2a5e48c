"""Declaring ops: a record entered in OPS, and its public function made."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any

from flambeau.core import fastpath
from flambeau.core.record import GENERAL, OPS, Family, Op


def op(schema: str, family: Family = GENERAL, **fields: Any) -> Any:
    """Declare a primitive and return its public function.

    Fields: ``expr`` (scalar expression: also its body, and its generated kernels), ``infer`` (shapes of the
    operands and params to the result's shape, raising ShapeError), ``dtype`` (a DTypeRule), ``vjp`` (one function
    per operand, None for a setting that has no gradient, or a joint one), ``jvp``, ``batch``, ``check`` (infer
    before the kernel), ``differentiable=False``, ``linear`` (operands in which it is linear), ``names`` (more
    public names), ``kinds`` (operands with a dtype of their own), ``keywords`` (more keyword arguments of the
    public function, each a function that changes the list of operands), ``inplace``, ``method``, ``doc``.
    """
    return declare(Op(schema, family, **fields))


def composite(schema: str, family: Family = GENERAL, **fields: Any) -> Callable[[Callable[..., Any]], Any]:
    """Declare an op whose body is the decorated function of other ops; a backend may register a fused kernel.

    With such a kernel it needs a vjp of its own, or the bits of its result would depend on grad mode.
    """

    def decorate(body: Callable[..., Any]) -> Any:
        fields.setdefault("doc", inspect.getdoc(body) or "")
        return declare(Op(schema, family, body=body, **fields))

    return decorate


def declare(record: Op) -> FunctionType:
    """Enter a record in OPS and make its public function."""
    if record.name in OPS:
        raise ValueError(f"op {record.name!r} is already declared")
    OPS[record.name] = record
    function = record.function = fastpath.public_function(record)
    return function
