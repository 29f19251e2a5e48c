"""The table of mappings: by domain, op and version, the function that computes the op with flambeau's ops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import flambeau as fb
from flambeau.onnx.values import Ints, Value

#: The newest version of each domain that the mappings were written for; a newer version of an op is refused.
KNOWN: Final[dict[str, int]] = {
    "": 28,
    "ai.onnx.ml": 5,
    "ai.onnx.preview": 1,
    "ai.onnx.preview.training": 1,
}

ML: Final = "ai.onnx.ml"
TRAINING: Final = "ai.onnx.preview.training"

# Any: the values that a mapping takes differ from op to op; what it gives is checked when it is bound.
Mapping = Callable[..., Any]
HostRule = Callable[..., "Ints | None"]


@dataclass(frozen=True, slots=True)
class Op:
    """A mapping: ``function(call, *inputs)`` gives one value, or a tuple of them.

    Inputs arrive as tensors, those at the positions in ``ints`` as tuples of Python ints. A ``raw`` mapping gets the
    values as they are. With ``layout`` it moves numbers without computing with them, so that narrow numbers and
    texts go through it too. ``since`` is the version of the op that it was written for, and serves later ones until
    the next mapping. ``host`` computes with numbers on the host, or declines by None. One that ``declines`` gives
    NotImplemented for forms that ONNX's own body of the op is to compute.
    """

    function: Mapping
    since: int = 1
    ints: tuple[int, ...] = ()
    raw: bool = False
    layout: bool = False
    host: HostRule | None = None
    declines: bool = False


#: By (domain, op), the mappings, oldest first.
TABLE: Final[dict[tuple[str, str], list[Op]]] = {}


def op(
    *names: str,
    since: int = 1,
    domain: str = "",
    ints: Sequence[int] = (),
    raw: bool = False,
    layout: bool = False,
    host: HostRule | None = None,
    declines: bool = False,
) -> Callable[[Mapping], Mapping]:
    """Register the decorated function as the mapping of the ops ``names`` from version ``since`` on."""

    def register(function: Mapping) -> Mapping:
        for name in names:
            row = TABLE.setdefault((domain, name), [])
            row.append(Op(function, since, tuple(ints), raw, layout, host, declines))
            row.sort(key=lambda entry: entry.since)
        return function

    return register


def same(names: dict[str, Callable[..., fb.Tensor]], since: int = 1) -> None:
    """Register functions of tensors that are ONNX's ops already."""
    for name, function in names.items():
        op(name, since=since)(_plain(function))


def _plain(function: Callable[..., fb.Tensor]) -> Mapping:
    def mapping(call: object, *inputs: Value) -> fb.Tensor:
        return function(*inputs)

    return mapping


def find(domain: str, name: str, version: int) -> Op | None:
    """The mapping for this version of an op."""
    found = None
    for entry in TABLE.get((domain, name), ()):
        if entry.since <= version:
            found = entry
    return found
