"""The graph of a program from JSON, of which nothing is believed: each part is what the records say, or an error."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NoReturn

from flambeau.core import dtype as dt
from flambeau.core.device import device
from flambeau.core.dtype import DType
from flambeau.core.record import OPS, Op
from flambeau.core.schema import Argument
from flambeau.export.graph import RUN_DEVICE, SPECIAL, ExportError, Graph, Node, Value, is_random
from flambeau.export.laws import FORMS, Feature, Law
from flambeau.utils.strict_json import shortened

DTYPES: Final[Mapping[str, DType]] = {d.name: d for d in (*dt.ALL, *dt.HELD)}
_MOST_NESTED: Final = 64
_NODE: Final = {"op", "args", "params", "outs", "several", "grad", "place", "module", "branches"}
_GRAPH: Final = {"inputs", "nodes", "outputs", "failure"}


def wrong(what: str, found: object) -> NoReturn:
    """ExportError of a part of a file."""
    raise ExportError(f"the program in the file is damaged: {what}, got {shortened(found)}")


def text(found: Any, what: str) -> str:
    """A text."""
    return found if isinstance(found, str) else wrong(f"{what} must be a text", found)


def flag(found: Any, what: str) -> bool:
    """A bool."""
    return found if isinstance(found, bool) else wrong(f"{what} must be true or false", found)


def whole(found: Any, what: str, least: int | None = None) -> int:
    """An int."""
    if not isinstance(found, int) or isinstance(found, bool) or least is not None and found < least:
        wrong(f"{what} must be a whole number{'' if least is None else f' of at least {least}'}", found)
    return found


def items(found: Any, what: str, count: int | None = None) -> list[Any]:
    """A list."""
    if not isinstance(found, list) or count is not None and len(found) != count:
        wrong(f"{what} must be a list{'' if count is None else f' of {count}'}", found)
    return found


def members(found: Any, what: str, names: Iterable[str] | None = None) -> dict[str, Any]:
    """An object, with exactly the members that are named."""
    if not isinstance(found, dict) or names is not None and found.keys() != set(names):
        wrong(f"{what} must be an object{'' if names is None else ' of ' + ', '.join(sorted(names))}", found)
    return found


def dtype(found: Any) -> DType:
    """A dtype by name."""
    return DTYPES.get(text(found, "a dtype")) or wrong("a dtype must be one of flambeau's", found)


class Decoder:
    """Reads graphs whose laws are of known dimensions."""

    def __init__(self, dims: Iterable[str]):
        self.dims = frozenset(dims)
        self.values: dict[str, Value] = {}
        self._depth = 0

    # -- numbers ---------------------------------------------------------------------------------
    def number(self, found: Any) -> int | float:
        """A number."""
        if isinstance(found, dict):
            known = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}
            name = text(members(found, "a number", ["float"])["float"], "a number")
            return known.get(name) or wrong("a number", found)
        if isinstance(found, bool) or not isinstance(found, (int, float)):
            wrong("a number is expected", found)
        return found

    def law(self, found: Any, inner: bool = False) -> Law:
        """A law; ``inner`` is whether it is a factor of another one."""
        form, terms, constant, divisor, scale, factors = items(found, "a law", 6)
        read = []
        for term in items(terms, "the terms of a law"):
            factor, names, more, part = items(term, "a term of a law", 4)
            for name in items(names, "the dimensions of a law"):
                if text(name, "a dimension") not in self.dims:
                    wrong("a law must be of dimensions of the program", name)
            feature = Feature(tuple(names), whole(more, "a term of a law"), whole(part, "a divisor", 1))
            read.append((whole(factor, "a factor"), feature))
        if (
            text(form, "the form of a law") not in FORMS
            or not (read or factors)
            or inner
            and (form != "linear" or factors)
        ):
            wrong("a law must have a form that is known, and terms", found)
        rest = whole(constant, "a constant"), whole(divisor, "a divisor", 1), float(self.number(scale))
        return Law(form, tuple(read), *rest, tuple([self.law(f, True) for f in items(factors, "factors")]))

    def size(self, found: Any) -> int | Law:
        """A size."""
        if isinstance(found, dict):
            return self.law(members(found, "a size", ["law"])["law"])
        return whole(found, "a size", 0)

    # -- arguments -------------------------------------------------------------------------------
    def arg(self, found: Any) -> Any:
        """What stands among the arguments of a node."""
        if found is None or isinstance(found, (bool, str, int, float)):
            return found
        self._depth += 1
        if self._depth > _MOST_NESTED:
            wrong(f"arguments nest at most {_MOST_NESTED} deep", found)
        try:
            if isinstance(found, list):
                return [self.arg(v) for v in found]
            if len(members(found, "an argument")) != 1:
                wrong("an argument must be of one kind", found)
            ((kind, inside),) = found.items()
            read = _KINDS.get(kind) or wrong("an argument of a kind that is known is expected", kind)
            return read(self, inside)
        finally:
            self._depth -= 1

    def _value(self, name: Any) -> Value:
        return self.values.get(text(name, "a value")) or wrong("a value must be given before it is read", name)

    def _slice(self, found: Any) -> slice:
        ends = [self.arg(v) for v in items(found, "a slice", 3)]
        if any(not (v is None or _is_int(v)) for v in ends):
            wrong("the ends of a slice must be whole numbers", found)
        return slice(*ends)

    def _device(self, found: Any) -> Any:
        if found is None:
            return RUN_DEVICE
        try:
            return device(text(found, "a device"))
        except Exception as error:
            raise ExportError(f"the program in the file is damaged: {error}") from None

    def _float(self, found: Any) -> float:
        return float(self.number({"float": found}))

    def _complex(self, found: Any) -> complex:
        real, imag = items(found, "a complex number", 2)
        return complex(self.number(real), self.number(imag))

    # -- graphs ----------------------------------------------------------------------------------
    def value(self, found: Any, node: Node | None = None, index: int = 0) -> Value:
        """A value where it is given."""
        name, shape, kind, grad = items(found, "a value", 4)
        if not text(name, "the name of a value") or name in self.values:
            wrong("the name of a value must be one of its own", name)
        sizes = tuple([self.size(n) for n in items(shape, "a shape")])
        made = Value(name, sizes, dtype(kind), node, index, flag(grad, "requires_grad"))
        self.values[name] = made
        return made

    def graph(self, found: Any, *, branch: bool = False) -> Graph:
        """A graph, or a branch."""
        self._depth += 1
        if self._depth > _MOST_NESTED:
            wrong(f"branches nest at most {_MOST_NESTED} deep", "more")
        parts = members(found, "a graph", _GRAPH)
        outer = dict(self.values)
        inputs = [self.value(v) for v in items(parts["inputs"], "the inputs of a graph")]
        if branch and inputs:
            wrong("a branch has no inputs", parts["inputs"])
        nodes = [self.node(n) for n in items(parts["nodes"], "the nodes of a graph")]
        graph = Graph(inputs, nodes, [self.arg(o) for o in items(parts["outputs"], "the outputs of a graph")])
        for output in graph.outputs:
            if not isinstance(output, (Value, Law, bool, int, float, complex, str, type(None))):
                wrong("an output must be a value or a constant", output)
        graph.failure = text(parts["failure"], "failure")
        if graph.failure and not branch:
            wrong("only a branch may fail", graph.failure)
        if branch:
            self.values = outer | {n: v for n, v in self.values.items() if n in outer}
        self._depth -= 1
        return graph

    def node(self, found: Any) -> Node:
        """A node, which must be what the record of its op takes."""
        parts = members(found, "a node", _NODE)
        name = text(parts["op"], "the op of a node")
        params = {k: self.arg(p) for k, p in members(parts["params"], "params").items()}
        args = tuple([self.arg(a) for a in items(parts["args"], "the operands of a node")])
        branches = tuple([self.graph(b, branch=True) for b in items(parts["branches"], "branches")])
        node = Node(
            name, args, params, several=flag(parts["several"], "several"), grad=flag(parts["grad"], "grad"),
            place=text(parts["place"], "place"), module=text(parts["module"], "module"), branches=branches,
        )  # fmt: skip
        outs = items(parts["outs"], "the results of a node")
        node.outs = tuple([None if v is None else self.value(v, node, i) for i, v in enumerate(outs)])
        if name in SPECIAL:
            _check_special(node)
        elif name in OPS:
            _check(OPS[name], node)
        else:
            raise ExportError(f"the program in the file has an op that this flambeau has not: {shortened(name)}")
        return node


_KINDS: Final[Mapping[str, Callable[[Decoder, Any], Any]]] = {
    "value": Decoder._value, "law": Decoder.law, "slice": Decoder._slice, "device": Decoder._device,
    "tuple": lambda d, v: tuple([d.arg(x) for x in items(v, "a tuple")]), "dtype": lambda d, v: dtype(v),
    "dict": lambda d, v: {k: d.arg(x) for k, x in members(v, "a dict").items()}, "float": Decoder._float,
    "complex": Decoder._complex,
}  # fmt: skip


# -- nodes against records -------------------------------------------------------------------------
def _is_int(v: Any) -> bool:
    return isinstance(v, int) and not isinstance(v, bool) or isinstance(v, Law) and v.form == "linear"


def _is_number(v: Any) -> bool:
    return isinstance(v, (int, float, complex, Law))


def _is_index(v: Any) -> bool:
    return isinstance(v, (tuple, list)) and all(
        e is None or e is ... or isinstance(e, (slice, bool)) or _is_int(e) for e in v
    )


def _are_ints(v: Any) -> bool:
    return isinstance(v, (tuple, list)) and all(map(_is_int, v))


def _is_plain(v: Any) -> bool:
    if isinstance(v, (tuple, list)):
        return all(map(_is_plain, v))
    return v is None or isinstance(v, (str, DType, slice)) or v is RUN_DEVICE or _is_number(v)


_TYPES: Final[Mapping[str, Callable[[Any], bool]]] = {
    "Tensor": lambda v: isinstance(v, Value) or _is_number(v),
    "Tensor?": lambda v: v is None or isinstance(v, Value) or _is_number(v),
    "Tensor[]": lambda v: isinstance(v, (list, tuple)) and all(isinstance(t, Value) for t in v),
    "Scalar": _is_number,
    "Axes": lambda v: v is None or _is_int(v) or _are_ints(v),
    "Axis": lambda v: v is None or _is_int(v),
    "Ints": lambda v: v is None or _are_ints(v),
    "int": _is_int,
    "int?": lambda v: v is None or _is_int(v),
    "float": _is_number,
    "float?": lambda v: v is None or _is_number(v),
    "bool": lambda v: isinstance(v, bool),
    "str": lambda v: isinstance(v, str),
    "DType": lambda v: isinstance(v, DType),
    "DType?": lambda v: v is None or isinstance(v, DType),
    "Device": lambda v: v is RUN_DEVICE or isinstance(v, device),
    "Index": _is_index,
    "Any": _is_plain,
}


def _check(op: Op, node: Node) -> None:
    operands, params = op.schema.operands, op.schema.params
    if len(node.args) != len(operands):
        wrong(f"{op.name} takes {len(operands)} operands", node.args)
    for i, (value, argument) in enumerate(zip(node.args, operands, strict=True)):
        if i < 2 and is_random(op.name):
            if value is not None:
                wrong(f"the {argument.name} of {op.name} is drawn when it runs", value)
        else:
            _check_argument(op, argument, value)
    if node.params.keys() != {p.name for p in params}:
        wrong(f"the params of {op.name} are {', '.join(p.name for p in params) or 'none'}", list(node.params))
    for argument in params:
        _check_argument(op, argument, node.params[argument.name])
    if node.several is op.schema.single:
        wrong(f"{op.name} gives {'one result' if op.schema.single else 'several results'}", node.several)
    if not op.schema.returns_list and len(node.outs) != len(op.schema.outputs):
        wrong(f"{op.name} gives {len(op.schema.outputs)} results", len(node.outs))
    if node.branches or not any(v is not None for v in node.outs):
        wrong(f"{op.name} has results and no branches", node.outs)


def _check_argument(op: Op, argument: Argument, value: Any) -> None:
    if not _TYPES[argument.type](value):
        wrong(f"{argument.name} of {op.name} must be of type {argument.type}", value)


def _check_special(node: Node) -> None:
    values = [isinstance(a, Value) for a in node.args]
    if node.op == "cond":
        good = values == [True] and not node.params and len(node.branches) == 2 and node.several
        lengths = {len(b.outputs) for b in node.branches if not b.failure}
        good = good and lengths == {len(node.outs)} and node.args[0].shape == () and node.args[0].dtype is dt.bool_
        for branch in node.branches if good else ():
            for out, given in zip(node.outs, branch.outputs, strict=False):
                good = good and (out is None or isinstance(given, Value) and given.dtype is out.dtype)
    elif node.op == "detach":
        good = values == [True] and not node.params
    else:
        good = values == [True, True] and node.params.keys() == {"views"} and _are_views(node.params["views"])
    if node.op != "cond":
        good = good and not node.branches and not node.several and len(node.outs) == 1 and node.outs[0] is not None
    if not good:
        wrong(f"a node of {node.op} is not what it must be", node)


def _are_views(views: Any) -> bool:
    if not isinstance(views, list) or not views:
        return False
    for step in views:
        if not isinstance(step, (list, tuple)) or len(step) != 2 or not isinstance(step[1], dict):
            return False
        op = OPS.get(step[0]) if isinstance(step[0], str) else None
        if op is None or op.family.name != "view" or step[1].keys() != {p.name for p in op.schema.params}:
            return False
        if not all(_TYPES[p.type](step[1][p.name]) for p in op.schema.params):
            return False
    return True
