"""The graph of a program as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

from flambeau.core.device import device
from flambeau.core.dtype import DType
from flambeau.export.graph import RUN_DEVICE, ExportError, Graph, Node, Value
from flambeau.export.laws import Law

#: What JSON holds.
Json: TypeAlias = Any  # Any: recursive


def law(found: Law) -> Json:
    """A law."""
    terms = [[k, list(f.dims), f.more, f.divisor] for k, f in found.terms]
    return {
        "law": [
            found.form,
            terms,
            found.constant,
            found.divisor,
            number(found.scale),
            [law(f)["law"] for f in found.factors],
        ]
    }


def number(n: int | float) -> Json:
    """A number; JSON has no infinities."""
    return n if isinstance(n, int) or math.isfinite(n) else {"float": repr(n)}


def arg(value: Any) -> Json:
    """What stands among the arguments of a node."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float)):
        return number(value)
    if isinstance(value, Value):
        return {"value": value.name}
    if isinstance(value, Law):
        return law(value)
    if isinstance(value, list):
        return [arg(v) for v in value]
    if isinstance(value, tuple):
        return {"tuple": [arg(v) for v in value]}
    if isinstance(value, slice):
        return {"slice": [arg(value.start), arg(value.stop), arg(value.step)]}
    if isinstance(value, Mapping):
        return {"dict": {str(k): arg(v) for k, v in value.items()}}
    if isinstance(value, DType):
        return {"dtype": value.name}
    if isinstance(value, complex):
        return {"complex": [number(value.real), number(value.imag)]}
    if value is RUN_DEVICE:
        return {"device": None}
    if isinstance(value, device):
        return {"device": str(value)}
    raise ExportError(f"save: a {type(value).__name__} among the arguments of an op has no form in a file: {value!r}")


def value(v: Value | None) -> Json:
    """A value where it is given."""
    if v is None:
        return None
    return [v.name, [arg(n) for n in v.shape], v.dtype.name, v.requires_grad]


def node(n: Node) -> Json:
    """A node."""
    return {
        "op": n.op, "args": [arg(a) for a in n.args], "params": {k: arg(p) for k, p in n.params.items()},
        "outs": [value(v) for v in n.outs], "several": n.several, "grad": n.grad, "place": n.place, "module": n.module,
        "branches": [graph(b) for b in n.branches],
    }  # fmt: skip


def graph(g: Graph) -> Json:
    """A graph, or a branch."""
    return {
        "inputs": [value(v) for v in g.inputs], "nodes": [node(n) for n in g.nodes],
        "outputs": [arg(o) for o in g.outputs], "failure": g.failure,
    }  # fmt: skip
