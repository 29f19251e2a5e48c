"""Declaring ops: a record entered in OPS, and its function made.

A record's function is bound to ``<name>_p`` in the modules of ops (p for primitive, as in JAX), whether users meet
it under its name (``exp_p`` is ``flambeau.exp``) or under a public function of the same name that calls it
(``sum`` calls ``sum_p``): so no record hides a builtin or the function that stands for it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, Unpack, cast

from flambeau.core import fastpath
from flambeau.core.record import GENERAL, OPS, Family, Fields, Op
from flambeau.core.tensor import Tensor

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class OpFunction(Protocol[R_co]):
    """The function of a record, whose ``op`` it is. Its operands may be tensors or numbers, by position or name."""

    op: Op
    __name__: str

    def __call__(self, *args: Any, **kw: Any) -> R_co: ...  # what it takes stands in the schema


def op(schema: str, family: Family = GENERAL, **fields: Unpack[Fields]) -> OpFunction[Tensor]:
    """Declare a primitive of one result and return its function; :class:`Fields` has what can be said of it."""
    return declare(Op(schema, family, **fields))


def several(schema: str, family: Family = GENERAL, **fields: Unpack[Fields]) -> OpFunction[tuple[Tensor, ...]]:
    """Declare a primitive of several results."""
    return declare(Op(schema, family, **fields))


def composite(
    schema: str, family: Family = GENERAL, **fields: Unpack[Fields]
) -> Callable[[Callable[..., R]], OpFunction[R]]:
    """Declare an op whose body is the decorated function of other ops; a backend may register a fused kernel.

    With such a kernel it needs a vjp of its own, or the bits of its result would depend on grad mode.
    """

    def decorate(body: Callable[..., R]) -> OpFunction[R]:
        given: Fields = {"doc": inspect.getdoc(body) or "", **fields, "body": body}
        return declare(Op(schema, family, **given))

    return decorate


def declare(record: Op) -> OpFunction[Any]:  # the result is the schema's, which no type checker reads
    """Enter a record in OPS and make its function."""
    if record.name in OPS:
        raise ValueError(f"op {record.name!r} is already declared")
    OPS[record.name] = record
    made = cast(OpFunction[Any], fastpath.public_function(record))
    record.function = made
    return made
