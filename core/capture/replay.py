"""From a segment to a function: straight-line Python that calls its nodes, each array dropped behind its last use.

The function of a last segment makes what remains of the call, too: the results, gradients and histories of its ending.
"""

from __future__ import annotations

import linecache
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import CellType, MethodType
from typing import Any

from flambeau.core.autograd.function import _Custom as Custom
from flambeau.core.autograd.inplace import CopySlices
from flambeau.core.box import INFERENCE, Box, box_of, mark_written
from flambeau.core.capture.ending import Ending, Form, Saved
from flambeau.core.capture.hooked import attach, custom_node, function_of, made_anew
from flambeau.core.capture.trace import Argument, External, Node, Value, values_in
from flambeau.core.graph import Keeper, Leaf, Slot, View
from flambeau.core.graph import Node as History
from flambeau.core.tensor import Tensor, blank
from flambeau.core.tree import Structure, unflatten

_written = 0
_SCOPE = dict(
    __name__=__name__,
    INFERENCE=INFERENCE, Box=Box, CopySlices=CopySlices, Leaf=Leaf, Node=History, Slot=Slot, View=View, blank=blank,
    box_of=box_of, mark_written=mark_written, unflatten=unflatten,
    CellType=CellType, Keeper=Keeper, MethodType=MethodType, attach=attach, custom_node=custom_node,
    function_of=function_of, made_anew=made_anew, partial=partial,
)  # fmt: skip


class Writer:
    """Writes the function of one segment: ``replay(given, arguments)``.

    ``given`` are the values that it reads beside ``externals``, whose arrays stand in its globals. It returns the
    values ``wanted`` as a tuple or, with an ending, the result of the call, for the tensors ``arguments``. The tensors
    ``freed`` lose the gradients that they have before it runs.
    """

    def __init__(
        self, nodes: Sequence[Node], externals: Iterable[External], wanted: Sequence[Value],
        ending: Ending | None = None, owners: Mapping[int, int | Tensor] | None = None, freed: Sequence[Tensor] = (),
    ):  # fmt: skip
        self.nodes, self.wanted, self.ending, self.owners, self.freed = nodes, wanted, ending, owners or {}, freed
        self.scope: dict[str, Any] = dict(_SCOPE)
        self.lines: list[str] = []
        self._names: dict[int, str] = {}
        self._fixed = {e.value: self._global(e.array, "x") for e in externals}
        self._kept = {*wanted, *(ending.values() if ending is not None else ())}
        self._last: dict[Value, int] = {}
        for i, node in enumerate(nodes):
            self._last.update(dict.fromkeys(values_of(node), i))
        made = {v for n in nodes for v in n.outs}
        self.given = [v for v in dict.fromkeys((*self._last, *self._kept)) if v not in made and v not in self._fixed]

    def function(self) -> tuple[Callable[[tuple[Any, ...], Sequence[Tensor]], Any], str]:
        """The function, and its source."""
        global _written
        source = self.source()
        _written += 1
        filename = f"<flambeau replay {_written}>"
        exec(compile(source, filename, "exec"), self.scope)
        linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
        return self.scope["replay"], source

    def source(self) -> str:
        self.lines = [f"{self._global(t, 't')}._grad = None" for t in self.freed]
        if self.given:
            self.lines += [f"{''.join(v.name + ', ' for v in self.given)}= given", "del given"]
        for i, node in enumerate(self.nodes):
            self.lines.append(self._call(node))
            for v in node.outs:
                if v is not None and v.wrapped and v.key is not None:
                    self.lines.append(f"{v.name} = {self._global(v.key.wrap, 'wrap')}({v.name})")
            if dead := self._dead(i, node):
                self.lines.append(f"del {', '.join(dead)}")
        if self.ending is None:
            self.lines.append(f"return ({''.join(self.text(v) + ', ' for v in self.wanted)})")
        else:
            _Finish(self, self.ending).write()
        return "\n    ".join(["def replay(given, arguments):", *self.lines]) + "\n"

    def _dead(self, i: int, node: Node) -> list[str]:
        gone = (v for v in dict.fromkeys(values_of(node)) if self._last[v] == i and v not in self._kept)
        return [v.name for v in gone if v not in self._fixed]

    def _call(self, node: Node) -> str:
        arguments = [*map(self.text, node.args), *(f"{n}={self.text(v)}" for n, v in node.params.items())]
        call = f"{self._global(node.fn, node.name)}({', '.join(arguments)})"
        if not node.outs:
            return call
        names = ", ".join("_" if v is None else v.name for v in node.outs)
        return f"{names}{',' if node.several and len(node.outs) == 1 else ''} = {call}"

    def text(self, argument: Argument) -> str:
        """An argument in Python."""
        kind = argument.__class__
        if kind is Value:
            return self._fixed.get(argument) or argument.name
        if argument is None or kind in (bool, int, str) or kind is float and math.isfinite(argument):
            return repr(argument)
        if kind in (list, tuple) and any(True for _ in values_in(argument)):
            inside = ", ".join(map(self.text, argument))
            return f"[{inside}]" if kind is list else f"({inside}{',' if len(argument) == 1 else ''})"
        return self._global(argument)

    def _global(self, thing: Any, stem: str = "g") -> str:
        name = self._names.get(id(thing))
        if name is None:
            stem = stem if stem.isidentifier() else "g"
            name = self._names[id(thing)] = f"{stem}_{len(self.scope)}"
            self.scope[name] = thing
        return name


def values_of(node: Node) -> list[Value]:
    """The values that a node reads and makes."""
    return [v for v in (*values_in(node.args), *values_in(tuple(node.params.values())), *node.outs) if v is not None]


class _Finish:
    """Writes what remains of a call."""

    def __init__(self, writer: Writer, ending: Ending):
        self.writer, self.ending, self.lines = writer, ending, writer.lines
        self._made: dict[int, str] = {}  # index of a form -> how it is called
        self._boxes: dict[int, str] = {}
        self._count = 0

    def write(self) -> None:
        for storage in self.ending.written:
            owner = self._owner(storage)
            if owner is not None:
                self.lines.append(f"mark_written({owner}, {self.ending.writers.get(storage, 'a replay')!r})")
        for form in self.ending.forms:
            self._made[form.index] = getattr(self, f"_{form.kind}")(form)
        for at, what, place, thing in self.ending.attached:
            if at.kind != "same":
                self.lines.append(f"attach({self.of(at)}, {what!r}, {self.writer.text(place)}, {self.of(thing)})")
        for tensor, grad in self.ending.gradients:
            self.lines.append(f"{self.of(tensor)}._grad = {self.of(grad)}")
        self.lines.append(f"return {self._result([self.of(f) for f in self.ending.results])}")

    def of(self, form: Form | None) -> str:
        return "None" if form is None else self._made[form.index]

    def _result(self, leaves: list[str]) -> str:
        structure: Structure = self.ending.structure
        if structure.kind is None:
            return leaves[0]
        if structure.kind in (tuple, list) and all(c.kind is None for c in structure.children):
            inside = ", ".join(leaves)
            return f"[{inside}]" if structure.kind is list else f"({inside}{',' if len(leaves) == 1 else ''})"
        return f"unflatten([{', '.join(leaves)}], {self.writer._global(structure)})"

    def _owner(self, storage: int) -> str | None:
        owner = self.writer.owners.get(storage)
        if owner is None:
            return None
        return f"arguments[{owner}]" if isinstance(owner, int) else self.writer._global(owner, "t")

    def _box(self, storage: int) -> str:
        """The box of a storage: that of the tensor of before that owns it, or a new one."""
        found = self._boxes.get(storage)
        if found is None:
            owner = self._owner(storage)
            found = self._boxes[storage] = f"box{len(self._boxes)}"
            self.lines.append(f"{found} = {'Box()' if owner is None else f'box_of({owner})'}")
        return found

    def _new(self, stem: str, call: str, /, **fields: str) -> str:
        """A variable that holds a new object with these attributes."""
        self._count += 1
        name = f"{stem}{self._count}"
        self.lines.append("; ".join([f"{name} = {call}", *(f"{name}.{k} = {v}" for k, v in fields.items())]))
        return name

    # -- one function a kind of form -------------------------------------------------------------
    def _literal(self, form: Form) -> str:
        return self.writer.text(form.parts[0])

    def _same(self, form: Form) -> str:
        return self.writer._global(form.own)

    def _number(self, form: Form) -> str:
        return self.writer.text(form.parts[0])

    def _argument(self, form: Form) -> str:
        return f"arguments[{form.parts[0]}]"

    def _base(self, form: Form) -> str:
        return f"arguments[{form.parts[0]}]._node.base"

    def _link(self, form: Form) -> str:
        return f"arguments[{form.parts[0]}]._node"

    def _leaf(self, form: Form) -> str:
        return f"{self.of(form.parts[0])}._node"

    def _tensor(self, form: Form) -> str:
        value, key, box, link, grad, _ = form.parts
        held = self._box(value.storage) if box == "storage" else "INFERENCE" if box == "inference" else "None"
        text, key = self.writer.text(value), self.writer._global(key, "key")
        name = self._new("t", "blank()", _array=text, _key=key, _box=held)
        self.lines.append(f"{name}._node = {f'Leaf({name})' if link == 'leaf' else self.of(link)}")
        if grad is not None:
            self.lines.append(f"{name}._grad = {self.of(grad)}")
        return name

    def _slot(self, form: Form) -> str:
        return f"Slot({self.of(form.parts[0])}, {form.parts[1]})"

    def _view(self, form: Form) -> str:
        base, parent, op, params, before, array, key, mode = form.parts
        text = self.writer.text
        made = (
            self.of(base), self.of(parent), text(op), text(params), self._box(array.storage), text(before),
            text(array), text(key), repr(mode),
        )  # fmt: skip
        return self._new("view", "View()", generation="-1", node="None", made=f"({', '.join(made)})")

    def _node(self, form: Form) -> str:
        return self._new("n", "Node()", **self._fields(form))

    def _written(self, form: Form) -> str:
        inner, chain, order = form.parts[6:]
        more = dict(inner=self.of(inner), chain=self.writer.text(chain), order=self.writer.text(order))
        return self._new("n", "CopySlices()", **self._fields(form), **more)

    def _custom(self, form: Form) -> str:
        kind, cls, edges, saved, shape, key, aliases, single = form.parts
        text = self.writer.text
        op = self.writer._global(Custom(cls.__name__, 1 if single else len(shape)))
        return self._new(
            "n", f"custom_node({text(kind)}, {text(cls)})", op=op, edges=f"({self._all(edges)})",
            saved=self._saved(saved), params="{}", shape=text(shape), key=text(key), hooks="None", pre_hooks="None",
            trace="None", aliases=repr(aliases), single=repr(single),
        )  # fmt: skip

    def _all(self, forms: Iterable[Form | None]) -> str:
        return "".join(self.of(f) + ", " for f in forms)

    def _named(self, forms: Mapping[Any, Form]) -> str:
        return f"{{{', '.join(f'{self.writer.text(k)}: {self.of(v)}' for k, v in forms.items())}}}"

    # -- what hooks and contexts hold ------------------------------------------------------------
    def _keeper(self, form: Form) -> str:
        return self._new("h", f"Keeper({self.of(form.parts[0])})")

    def _function(self, form: Form) -> str:
        code, space, names, defaults, cells = form.parts
        given = ["None" if forms is None else f"({self._all(forms)})" for forms in (defaults, cells)]
        return self._new("h", f"function_of({', '.join([*map(self.writer.text, (code, space, names)), *given])})")

    def _cell(self, form: Form) -> str:
        return self._new("h", f"CellType({self._all(form.parts)})")

    def _method(self, form: Form) -> str:
        return self._new("h", f"MethodType({self._all(form.parts)})")

    def _partial(self, form: Form) -> str:
        fn, args, keywords = form.parts
        return self._new("h", f"partial({self.of(fn)}, {self._all(args)} **{self._named(keywords)})")

    def _tuple(self, form: Form) -> str:
        return self._new("h", f"({self._all(form.parts)})")

    def _list(self, form: Form) -> str:
        return self._new("h", f"[{self._all(form.parts)}]")

    def _dict(self, form: Form) -> str:
        return self._new("h", self._named(form.parts[0]))

    def _value(self, form: Form) -> str:
        return self.writer.text(form.parts[0])

    def _object(self, form: Form) -> str:
        return self._new("h", f"made_anew({self.writer.text(form.parts[0])}, {self._named(form.parts[1])})")

    def _fields(self, form: Form) -> dict[str, str]:
        op, edges, saved, params, shape, key = form.parts[:6]
        inside = ", ".join(f"{k!r}: {self.writer.text(v)}" for k, v in params.items())
        return dict(
            op=self.writer._global(op), edges=f"({self._all(edges)})", saved=self._saved(saved),
            params=f"{{{inside}}}", shape=self.writer.text(shape), key=self.writer.text(key),
            hooks="None", pre_hooks="None", trace="None",
        )  # fmt: skip

    def _saved(self, saved: Any) -> str:
        kind = saved.__class__
        if kind is Saved:
            box = self._box(saved.value.storage)
            edge = saved.edge if saved.edge is None or saved.edge.__class__ is tuple else self.of(saved.edge)
            text = self.writer.text(edge) if edge is None or edge.__class__ is tuple else edge
            version = f"{box}.version" + (f" - {saved.since}" if saved.since else "")
            return (
                f"({self.writer.text(saved.value)}, {self.writer._global(saved.key, 'key')}, {box}, {version}, {text})"
            )
        if kind is list:
            return f"[{', '.join(map(self._saved, saved))}]"
        if kind is tuple:
            return f"({''.join(self._saved(s) + ', ' for s in saved)})"
        return self.writer.text(saved)
