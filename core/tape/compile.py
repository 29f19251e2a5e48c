"""From an op's record to its saver and its backward: two small generated functions.

The saver builds the node and keeps only what the *wanted* gradients read: ``x * y`` with a gradient
for x alone keeps y alone. The backward unpacks those values and calls the record's vjp functions.
:func:`sources` gives the generated text; tracebacks show it too.
"""

from __future__ import annotations

import linecache
import threading
from collections.abc import Callable
from typing import Any

from flambeau.core.dtype import FLOATING
from flambeau.core.errors import GradientError
from flambeau.core.graph import SELF, Node, Slot, View, edge_of, freed, modified, save
from flambeau.core.locks import fork_safe
from flambeau.core.record import VIEW, Gradient, Op
from flambeau.core.schema import Argument
from flambeau.core.tensor import Tensor, blank

_lock = fork_safe(threading.Lock())


class Packed:
    """A saved value in the hands of saved_tensors_hooks."""

    __slots__ = ("edge", "unpack", "value")

    def __init__(self, value: Any, unpack: Callable[[Any], Any], edge: Any):
        self.value, self.unpack, self.edge = value, unpack, edge

    def open(self, n: Node, keep: bool) -> Any:
        """The tensor again; it takes the place of the saved one in the graph."""
        found = self.unpack(self.value)
        if not isinstance(found, Tensor):
            raise TypeError(
                f"saved_tensors_hooks: unpack_hook must return a tensor, got {type(found).__name__} (of {n.op.name})"
            )
        t = blank()
        t._array, t._key, t._box = found._array, found._key, found._box
        t._node = _edge_of_saved(n, self.edge) if keep else None
        return t


def _edge_of_saved(n: Node, edge: Any) -> Any:
    """Where the gradient of a saved value goes; a saved output is the node's own."""
    if edge.__class__ is tuple:  # (SELF, index)
        return n if n.op.schema.single else Slot(n, edge[1])
    return edge


def unpack(n: Node, saved: Any, keep: bool) -> Any:
    """The value that was saved: a tensor, with its edge only where the gradient must be differentiable."""
    if saved.__class__ is Packed:
        return saved.open(n, keep)
    if saved.__class__ is not tuple:
        return saved
    array, key, box, version, edge = saved
    if box.version != version:
        raise modified(n.op.name, box, version, array.shape)
    t = blank()
    t._array, t._key, t._box = array, key, box
    t._node = _edge_of_saved(n, edge) if keep and key.dtype.category >= FLOATING else None
    return t


def undifferentiable(op_name: str) -> GradientError:
    return GradientError(f"{op_name}: the op has no gradient rule; use it under no_grad() or on detached tensors")


class Compiled:
    """The generated functions of one op."""

    def __init__(self, op: Op):
        plan = _Plan(op)
        self.record: Callable[..., Any] = plan.build("record", plan.record_source(checked=False))
        self.record_checked: Callable[..., Any] = plan.build("record_checked", plan.record_source(checked=True))
        self.backward: Callable[..., Any] = plan.build("backward", plan.backward_source())
        self.saved_tensors = plan.saved_tensors


def compiled(op: Op) -> Compiled:
    """The op's generated functions, made at first need."""
    if op.compiled is None:
        with _lock:
            if op.compiled is None:
                op.compiled = Compiled(op)
    found: Compiled = op.compiled
    return found


def sources(op: Op) -> str:
    """The generated text, for ``python -m flambeau explain``."""
    plan = _Plan(op)
    return plan.record_source(checked=False) + "\n" + plan.backward_source()


class _Plan:
    """What one op saves, and the source of its functions."""

    def __init__(self, op: Op):
        self.op = op
        self.operands = op.schema.operands
        self.tensors = [a for a in self.operands if a.type != "Scalar"]
        self.outputs = op.schema.outputs
        names = {a.name for a in self.operands}
        params = {a.name for a in op.schema.params}
        self.entries: list[str] = []
        for gradient in op.gradients:
            for read in gradient.reads:
                stem = read.removesuffix("_shape").removesuffix("_dtype")
                known = read in ("g", "needs", "out", *params, *self.outputs) or read in names or stem in names
                if not known:
                    raise TypeError(f"op {op.name!r}: its vjp reads {read!r}, which is no operand, param or output")
                if read not in params and read not in ("g", "needs") and read not in self.entries:
                    self.entries.append(read)
        if op.family is VIEW:
            self.entries = ["x_shape"]
        self.saved_tensors = [i for i, e in enumerate(self.entries) if not e.endswith(("_shape", "_dtype"))]
        self.params = params

    # -- which values each gradient reads -------------------------------------------------------
    def _wanted(self, entry: str) -> str:
        """The condition under which ``entry`` must be kept."""
        readers = [g for g in self.op.gradients if entry in g.reads]
        edges = [f"e_{name}" for g in readers for name in g.inputs]
        if not readers or len(set(edges)) == len(self.tensors):
            return ""
        return " or ".join(f"{e} is not None" for e in dict.fromkeys(edges))

    def _argument(self, name: str) -> Argument | None:
        return next((a for a in self.operands if a.name == name), None)

    def _keep(self, entry: str, checked: bool) -> str:
        """The expression that saves ``entry``."""
        if entry in self.outputs or entry == "out":
            index = 0 if entry == "out" else self.outputs.index(entry)
            source = "out" if self.op.schema.single else f"out[{index}]"
            return f"keep({source}, (SELF, {index}))"
        for suffix, attribute in (("_shape", "_array.shape"), ("_dtype", "_key.dtype")):
            if entry.endswith(suffix) and self._argument(entry) is None:
                name = entry.removesuffix(suffix)
                argument = self._argument(name)
                assert argument is not None
                if argument.is_list:
                    return f"[t.{attribute} for t in {name}]"
                if checked:
                    return f"{name}.{attribute} if isinstance({name}, Tensor) else None"
                return f"{name}.{attribute}"
        argument = self._argument(entry)
        assert argument is not None
        if argument.type == "Scalar":
            return entry
        if argument.is_list:
            return f"[keep(t, e) for t, e in zip({entry}, e_{entry} or (None,) * len({entry}))]"
        if checked or argument.type == "Tensor?":
            return f"keep({entry}, e_{entry}) if isinstance({entry}, Tensor) else {entry}"
        return f"keep({entry}, e_{entry})"

    # -- sources ---------------------------------------------------------------------------------
    def record_source(self, checked: bool) -> str:
        """``record(*operands, params, out)``: link ``out`` to a new node, if any operand wants a gradient."""
        names = [a.name for a in self.operands]
        lines = [f"def record_{self.op.name}({', '.join([*names, 'params', 'out'])}):"]
        for a in self.tensors:
            lines += self._edge_lines(a, checked)
        edges = [f"e_{a.name}" for a in self.tensors]
        none = "out._node = None" if self.op.schema.single else "for t in out: t._node = None"
        lines += [
            f"    if {' and '.join(f'{e} is None' for e in edges) or 'True'}:",
            f"        {none}",
            "        return out",
        ]
        if not self.op.gradients:
            lines += (
                [f"        {none}", "    raise undifferentiable(OP.name)"]
                if self.op.differentiable
                else [f"    {none}"]
            )
            return "\n".join([*lines, "    return out"]) + "\n"
        for e in self.entries:
            condition = self._wanted(e)
            value = self._keep(e, checked)
            lines.append(f"    s_{e} = ({value}) if {condition} else None" if condition else f"    s_{e} = {value}")
        parts = [f"*(e_{a.name} or (None,) * len({a.name}))" if a.is_list else f"e_{a.name}" for a in self.tensors]
        lines += [
            "    n = Node()",
            "    n.op = OP",
            f"    n.edges = ({', '.join(parts)},)",
            f"    n.saved = {self._saved_source()}",
            "    n.params = params",
            "    n.hooks = n.pre_hooks = n.trace = None",
        ]
        return "\n".join([*lines, *self._link_lines(), "    return out"]) + "\n"

    def _saved_source(self) -> str:
        """A tuple, which backward frees; a list where nothing in it is worth freeing."""
        values = "".join(f"s_{e}, " for e in self.entries)
        return f"[{values}]" if self.entries and not self.saved_tensors else f"({values})"

    def _edge_lines(self, a: Argument, checked: bool) -> list[str]:
        e = f"e_{a.name}"
        if a.is_list:
            return [
                f"    {e} = [edge_of(t) for t in {a.name}]",
                f"    if not any(t is not None for t in {e}): {e} = None",
            ]
        if checked or a.type == "Tensor?":
            return [f"    {e} = edge_of({a.name}) if isinstance({a.name}, Tensor) else None"]
        return [f"    {e} = {a.name}._node", f"    if {e}.__class__ is View: {e} = {e}.resolve()"]

    def _link_lines(self) -> list[str]:
        if self.op.schema.single:
            lines = ["    n.shape = out._array.shape", "    n.key = out._key"]
            if self.op.dtype.results != ("same",) or self.op.name == "cast":
                lines.append("    out._node = n if out._key.dtype.category >= FLOATING else None")
            else:
                lines.append("    out._node = n")
            return lines
        return [
            "    n.shape = [t._array.shape for t in out]",
            "    n.key = [t._key for t in out]",
            "    for i, t in enumerate(out): t._node = Slot(n, i) if t._key.dtype.category >= FLOATING else None",
        ]

    def backward_source(self) -> str:
        """``backward(node, g, keep)``: the gradients, one per edge."""
        lines = [
            f"def backward_{self.op.name}(_n, g, keep):",
            "    _saved = _n.saved",
            "    if _saved is None: raise freed(OP.name)",
        ]
        lines += ["    _edges = _n.edges"]
        if any(p in g.reads for g in self.op.gradients for p in self.params):
            lines.append("    _params = _n.params")
        for i, e in enumerate(self.entries):
            if i not in self.saved_tensors:
                lines.append(f"    {e} = _saved[{i}]")
            elif (a := self._argument(e)) is not None and a.is_list:
                lines.append(f"    {e} = [unpack(_n, v, keep) for v in _saved[{i}]]")
            else:
                lines.append(f"    {e} = unpack(_n, _saved[{i}], keep)")
        if any(a.is_list for a in self.tensors):
            return "\n".join([*lines, *self._list_lines()]) + "\n"
        results = {a.name: "None" for a in self.tensors}
        position = {a.name: i for i, a in enumerate(self.tensors)}
        for k, gradient in enumerate(self.op.gradients):
            if gradient.joint:
                places = [position[n] for n in gradient.inputs]
                lines.append(f"    needs = tuple(_edges[i] is not None for i in {places})")
                lines.append(f"    joint = {self._call(k, gradient)}")
                results |= {name: f"joint[{j}]" for j, name in enumerate(gradient.inputs)}
            else:
                i = position[gradient.inputs[0]]
                results[gradient.inputs[0]] = f"{self._call(k, gradient)} if _edges[{i}] is not None else None"
        missing = [
            a.name for a in self.tensors if results[a.name] == "None" and self.op.kind_of(a) not in ("bool", "index")
        ]
        for name in missing:
            lines.append(
                f"    if _edges[{position[name]}] is not None: "
                f"raise undifferentiable({self.op.name + ' (operand ' + name + ')'!r})"
            )
        return "\n".join([*lines, f"    return ({''.join(results[a.name] + ', ' for a in self.tensors)})"]) + "\n"

    def _list_lines(self) -> list[str]:
        """With a Tensor[] operand the edges are flat, and so are the gradients."""
        lines = ["    grads = []"]
        first_list = next(i for i, a in enumerate(self.tensors) if a.is_list)
        for i, a in enumerate(self.tensors):
            gradient = self.op.gradient_of(a.name)
            call = self._call(self.op.gradients.index(gradient), gradient) if gradient else "None"
            if a.is_list:
                lines.append(
                    f"    grads.extend({call if gradient else f'(None,) * (len(_edges) - {len(self.tensors) - 1})'})"
                )
            else:
                edge = f"_edges[{i if i < first_list else i - len(self.tensors)}]"
                lines.append(f"    grads.append({call} if {edge} is not None else None)")
        return [*lines, "    return tuple(grads)"]

    def _call(self, k: int, gradient: Gradient) -> str:
        arguments = [f"_params[{r!r}]" if r in self.params else r for r in gradient.reads]
        return f"vjp_{k}({', '.join(arguments)})"

    def build(self, kind: str, source: str) -> Callable[..., Any]:
        filename = f"<flambeau {kind} of {self.op.name}>"
        scope: dict[str, Any] = dict(
            OP=self.op, Tensor=Tensor, Node=Node, Slot=Slot, View=View, SELF=SELF, FLOATING=FLOATING, keep=save,
            unpack=unpack, freed=freed, edge_of=edge_of, undifferentiable=undifferentiable,
        )  # fmt: skip
        scope |= {f"vjp_{k}": g.fn for k, g in enumerate(self.op.gradients)}
        exec(compile(source, filename, "exec"), scope)
        linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
        name = source[4 : source.index("(")]
        function: Callable[..., Any] = scope[name]
        return function
