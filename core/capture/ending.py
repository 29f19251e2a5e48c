"""What remains of a recorded call: its results, what it did to tensors that were there before, and their histories.

Each is a *form*, a picture of an object with values in the place of arrays, from which a replay makes the object anew
(:mod:`flambeau.core.capture.replay`). A result that has a history (a forward pass recorded without its backward) gets
the nodes that eager code would have made, over the arrays of the replay: what comes after, its backward too, cannot
tell them apart. Histories may be thousands of nodes long, so nothing here walks them by recursion.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from flambeau.backends.base import Array
from flambeau.core.autograd.function import FunctionNode
from flambeau.core.autograd.inplace import CopySlices
from flambeau.core.box import INFERENCE
from flambeau.core.capture.cells import Cell, plain
from flambeau.core.capture.effects import written
from flambeau.core.capture.hooked import attached_to, attribute, hook
from flambeau.core.capture.recorder import Recorder
from flambeau.core.capture.trace import Value, bits_equal
from flambeau.core.graph import Leaf, Slot, View, edge_of
from flambeau.core.graph import Node as History
from flambeau.core.keys import Key
from flambeau.core.tape.compile import Packed
from flambeau.core.tensor import Tensor
from flambeau.core.tree import Structure, flatten

Made: TypeAlias = Any  # an object of a result or a history: a tensor, a node, a number, ...


class Unpicturable(Exception):
    """An object that a replay cannot make anew; the text says which and why."""


@dataclass(eq=False, slots=True)
class Form:
    """How an object is made of ``parts``: values, other forms, what a node saved, and what is always the same."""

    kind: str
    parts: tuple[Any, ...] = ()
    own: Any = None  #: the object itself in this recording; two recordings may show that it is always the same
    index: int = -1  #: its place among the forms of its ending: behind those that it is made of


@dataclass(eq=False, slots=True)
class Saved:
    """A tensor that a node of a history saved for its gradient."""

    value: Value
    key: Key
    since: int  #: how often its memory was written to since
    edge: Any  #: a form, None, or a tuple: an output of the node itself


@dataclass(eq=False, slots=True)
class Ending:
    """The end of one path through a program."""

    structure: Structure  #: of the results
    forms: list[Form]  #: all of them, each behind those that it is made of
    results: list[Form]
    gradients: list[tuple[Form, Form]]  #: tensors of before, and the gradient that each has afterwards
    written: list[int]  #: the storages that were written to
    starts: list[tuple[Tensor, bool]]  #: tensors of before, and whether they had a gradient
    attached: list[tuple[Form, str, Any, Form]] = field(default_factory=list)  #: what hangs on nodes; see attach
    hooked: list[tuple[Form, str]] = field(default_factory=list)  #: nodes and leaves that got a hook, and where
    writers: dict[int, str] = field(default_factory=dict)  #: storages of tensors of before, and who wrote to them last

    def values(self) -> list[Value]:
        """What is read of a replay."""
        return list(dict.fromkeys(v for f in self.forms for p in f.parts for v in _values_in(p)))

    def loosen(self) -> None:
        """Keep no tensor alive that the recording made, until the next recording is compared with it."""
        for form in self.forms:
            if form.kind == "tensor":
                form.own = weakref.ref(form.own)

    def let_go(self) -> None:
        """Keep no object of the recording but those that are the same in each call."""
        for form in self.forms:
            if form.kind != "same":
                form.own = None


def _values_in(part: Any) -> Iterator[Value]:
    kind = part.__class__
    if kind is Value:
        yield part
    elif kind is Saved:
        yield part.value
    elif kind in (tuple, list):
        for p in part:
            yield from _values_in(p)
    elif kind is dict:
        yield from _values_in(tuple(part.values()))


class Pictures:
    """Makes the forms of one recording. ``links`` are those that the arguments had when the call began."""

    def __init__(self, recorder: Recorder, arguments: Sequence[Tensor], links: Sequence[Any]):
        self.recorder, self.arguments = recorder, arguments
        self._places = {id(t): i for i, t in enumerate(arguments)}
        self._links = {id(n): i for i, n in enumerate(links) if n is not None}
        self._bases = {id(n.base): i for i, n in enumerate(links) if n.__class__ is View}
        self._forms: dict[int, Form] = {}
        self._order: list[Form] = []
        self._with_more: list[Any] = []  # nodes and leaves that have hooks, or a context
        self._kept: list[Any] = []  # so that no id is given twice

    def ending(self, result: Any) -> Ending:
        """All that remains; Unpicturable where a part of it cannot be made anew."""
        leaves, structure = flatten(result)
        touched = [(t, s) for t, s in self.recorder.released() if not self._is_made(s.array)]
        for t, start in touched:
            if t._node is not start.node:
                raise Unpicturable(f"the history of a tensor of shape {tuple(t.shape)}, which was there, changes")
            if t._array is not start.array:
                raise Unpicturable(f"a tensor of shape {tuple(t.shape)}, which was there, gets other memory")
        grads = [(t, t.grad) for t, s in touched if t.grad is not s.grad]
        segments = [
            *(self.recorder.past.segments if self.recorder.past else ()),
            *(s for _, s in self.recorder.segments),
        ]
        self._histories([v for v in (*leaves, *(g for _, g in grads)) if isinstance(v, Tensor)])
        results = [self.of(leaf) for leaf in leaves]
        gradients = [(self._before(t), self.of(g)) for t, g in grads]
        attached = self._attached()
        return Ending(
            structure,
            self._order,
            results,
            gradients,
            list(dict.fromkeys(number for s in segments for n in s.nodes for number in sorted(written(n)))),
            [(t, s.grad is not None) for t, s in touched if id(t) not in self._places],
            attached,
            self._hooked(),
        )

    def _is_made(self, array: Array) -> bool:
        """Whether the call made an array."""
        value = self.recorder.known(array)
        return value is not None and value.node >= 0

    def _before(self, t: Tensor) -> Form:
        place = self._places.get(id(t))
        return self._add(Form("literal", (t,)) if place is None else Form("argument", (place,)), t)

    def _add(self, form: Form, own: Any) -> Form:
        form.own, form.index = own, len(self._order)
        self._order.append(form)
        self._forms[id(own)] = form
        self._kept.append(own)
        return form

    # -- what hangs on nodes ---------------------------------------------------------------------
    def _attached(self) -> list[tuple[Form, str, Any, Form]]:
        """Hooks and contexts: on all that is pictured, also by what they hold themselves."""
        found = []
        for node in self._with_more:  # which grows
            at = self.of(node)
            for what, place, thing in attached_to(node):
                form = attribute(self, node, place) if what == "context" else hook(self, thing)
                if form is not None:
                    found.append((at, what, place, form))
        return found

    def _hooked(self) -> list[tuple[Form, str]]:
        """The nodes and leaves that got a hook in the call; Unpicturable where one is none of a result's history."""
        self.recorder.touched = {id(t): (t, s) for t, s in self.recorder.released()}
        if any(id(n) not in self._forms for n, _ in self.recorder.hooked()):
            gc.collect()  # what the call has left in circles
        found = []
        for node, place in self.recorder.hooked():
            form = self._forms.get(id(node))
            if form is None or form.kind in ("link", "literal"):
                raise Unpicturable(registered(node, place))
            found.append((form, place))
        return found

    def form(self, kind: str, parts: tuple[Any, ...], own: Any) -> Form:
        """A new form."""
        return self._add(Form(kind, parts), own)

    def found(self, thing: Any) -> Form | None:
        """The form of an object that has one."""
        return self._forms.get(id(thing))

    def tensor(self, t: Tensor) -> Form:
        """The form of a tensor that no result led to."""
        self._histories([t])
        return self.of(t)

    # -- forms -----------------------------------------------------------------------------------
    def of(self, thing: Any) -> Form:
        """The form of an object; the same one for the same object."""
        if type(thing) is Cell:
            return self._add(Form("number", (thing._value,)), thing)
        if thing is None or thing.__class__ in (bool, int, float, complex, str, bytes):
            form = Form("literal", (thing,), None, len(self._order))
            self._order.append(form)
            return form
        found = self._forms.get(id(thing))
        return self._add(self._form_of(thing), thing) if found is None else found

    def _form_of(self, thing: Any) -> Form:
        if isinstance(thing, Tensor):
            return self._tensor(thing)
        kind = thing.__class__
        if kind is Slot:
            return Form("slot", (self.of(thing.node), thing.index))
        if kind is View:
            return self._view(thing)
        if kind is Leaf:
            return self._leaf(thing)
        return self._history(thing) if isinstance(thing, History) else Form("literal", (thing,))

    def _array(self, array: Array, key: Key) -> Value:
        return self.recorder.value_of(array, key)

    def _tensor(self, t: Tensor) -> Form:
        if id(t) in self._places:
            return Form("argument", (self._places[id(t)],))
        if id(t) in self._bases:
            return Form("base", (self._bases[id(t)],))
        if t._key.level is not None or t._in_parts:
            raise Unpicturable(f"a result is a {type(t).__name__} that is not one array")
        value = self._array(t._array, t._key)
        box = "inference" if t._box is INFERENCE else "none" if t._box is None else "storage"
        own = t._node.__class__ is Leaf and t._node.ref() is t
        if own and (t._node.hooks or t._node.post_hooks) and self._is_made(t._array):
            self._with_more.append(t._node)
        link = "leaf" if own else None if t._node is None else self.of(t._node)
        grad = None if t.grad is None or self.recorder.known(t._array).node < 0 else self.of(t.grad)  # type: ignore[union-attr]
        return Form("tensor", (value, t._key, box, link, grad, type(t)))

    def _leaf(self, leaf: Leaf) -> Form:
        tensor = leaf.ref()
        place = None if tensor is None else self._places.get(id(tensor))
        if place is not None:
            return Form("link", (place,))
        if tensor is None or not self._is_made(tensor._array):
            return Form("literal", (leaf,))  # of a tensor that was there
        return Form("leaf", (self.of(tensor),))

    def _view(self, view: View) -> Form:
        if id(view) in self._links:
            return Form("link", (self._links[id(view)],))
        if view.node is not None and (view.node.hooks or view.node.pre_hooks):
            place = next((p for n, p in self.recorder.hooked() if n is view.node), "")
            raise Unpicturable(f"a hook, registered at {place}, on {view.node.name()}, a view")
        base, parent, op, params, _, before, array, key, mode = view.made
        values = self._array(before, base._key), self._array(array, key)
        return Form("view", (self.of(base), parent and self.of(parent), op, plain(params), *values, key, mode))

    # -- histories -------------------------------------------------------------------------------
    def _histories(self, tensors: Sequence[Tensor]) -> None:
        """Make the forms of all nodes that tensors lead to, each behind those that it leads to."""
        stack: list[tuple[Any, bool]] = [(_node_of(edge_of(t)), False) for t in tensors]
        while stack:
            node, below = stack.pop()
            if not isinstance(node, History) or id(node) in self._forms:
                continue
            if below:
                self.of(node)
            else:
                stack.append((node, True))
                stack += [(_node_of(e), False) for e in self._leads_to(node)]

    def _leads_to(self, n: Any) -> list[Any]:
        if id(n) in self._links:
            return []
        inner = [n.inner] if n.__class__ is CopySlices else []
        if _is_freed(n):
            return inner
        return [*n.edges, *(e for s in (n.saved or ()) for e in _edges_of(s)), *inner]

    def _history(self, n: Any) -> Form:
        if id(n) in self._links:
            return Form("link", (self._links[id(n)],))
        rebased, custom = n.__class__ is CopySlices, isinstance(n, FunctionNode)
        if not (n.plain or rebased or custom) or n.trace:
            raise Unpicturable(f"{n.name()} in the history of a result")
        if custom or n.hooks or n.pre_hooks:
            self._with_more.append(n)
        edges = tuple(None if e is None or _is_freed(n) else self.of(e) for e in n.edges)
        if custom:
            return Form(
                "custom", (n.__class__, n.cls, edges, self._saved(n.saved), n.shape, n.key, n.aliases, n.single)
            )
        params = {k: v._value if type(v) is Cell else v for k, v in n.params.items()}
        parts = (n.op, edges, self._saved(n.saved), params, n.shape, n.key)
        if rebased:
            return Form("written", (*parts, self.of(n.inner), n.chain, n.order))
        return Form("node", parts)

    def _saved(self, saved: Any) -> Any:
        """What a node saved, with values in the place of arrays."""
        if _is_tensor(saved):
            array, key, box, version, edge = saved
            return Saved(self._array(array, key), key, box.version - version, _own_or(edge, self.of))
        if saved.__class__ in (list, tuple):
            return saved.__class__([self._saved(s) for s in saved])
        if type(saved) is Cell:
            return saved._value
        if isinstance(saved, (Tensor, History, Packed)):
            raise Unpicturable(f"a {type(saved).__name__} saved for backward")
        return saved


def registered(node: Any, place: str) -> str:
    """That a hook is registered on what a replay does not make."""
    on = f"a tensor of shape {tuple(node.shape)}" if node.__class__ is Leaf else node.name()
    return f"a hook is registered at {place} on {on}, which is neither gone after the call nor made for a result"


def _is_freed(n: Any) -> bool:
    """Whether a node's gradient has been computed for good: nothing gets past it."""
    return (n.inner if n.__class__ is CopySlices else n).saved is None


def _node_of(edge: Any) -> Any:
    return edge.node if edge.__class__ is Slot else edge


def _is_tensor(saved: Any) -> bool:
    return saved.__class__ is tuple and len(saved) == 5 and isinstance(saved[1], Key)


def _own_or(edge: Any, form: Any) -> Any:
    return edge if edge is None or edge.__class__ is tuple else form(edge)


def _edges_of(saved: Any) -> Iterator[Any]:
    if _is_tensor(saved):
        if saved[4].__class__ is not tuple:
            yield saved[4]
    elif saved.__class__ in (list, tuple):
        for s in saved:
            yield from _edges_of(s)


#: Forms of what is found anew in each call, by the arguments or by numbers.
_OF_CALL = frozenset({"argument", "base", "link", "number", "slot", "view", "leaf"})


# -- two recordings ------------------------------------------------------------------------------
def agreeing(a: Ending, b: Ending) -> str:
    """ "" where two endings are the same, else what differs; forms of one object in both become ``same`` in ``b``."""
    if a.structure != b.structure or len(a.results) != len(b.results):
        return "the result's structure became another one"
    if len(a.gradients) != len(b.gradients):
        return "the gradients of other tensors are set"
    if len(a.forms) != len(b.forms):
        return "the history of the results became another one"
    for p, q in zip(a.forms, b.forms, strict=True):
        own = p.own() if p.own.__class__ is weakref.ref else p.own
        if own is not None and own is q.own and not {p.kind, q.kind} & _OF_CALL:
            q.kind, q.parts = "same", ()
        elif p.kind != q.kind:
            return f"in the result a {p.kind} became a {q.kind}"
        elif q.kind == "tensor" and q.parts[-1] is not Tensor:
            return f"the result is a {q.parts[-1].__name__} that is made in the call"
        elif q.kind == "fixed":
            return f"{q.parts[0]} in the history of a result, holds a {type(q.own).__name__} made in each call"
        elif not _alike(p.parts, q.parts):
            return f"in the result {_short(p.parts)} became {_short(q.parts)}"
    if not _alike(a.attached, b.attached):
        return "other hooks are on the history of the results"
    return next((registered(f.own, place) for f, place in b.hooked if f.kind == "same"), "")


def _alike(a: Any, b: Any) -> bool:
    kind = a.__class__
    if kind is not b.__class__:
        return False
    if kind is Form:
        return bool(a.index == b.index)
    if kind is Value:
        return bool(a == b)
    if kind is Saved:
        return _alike((a.value, a.key, a.since, a.edge), (b.value, b.key, b.since, b.edge))
    if kind in (list, tuple):
        return len(a) == len(b) and all(map(_alike, a, b))
    if kind is dict:
        return a.keys() == b.keys() and all(_alike(v, b[k]) for k, v in a.items())
    return bits_equal(a, b)


def _short(parts: Sequence[Any]) -> str:
    text = repr(parts[0] if parts else "")
    return text if len(text) < 60 else text[:57] + "..."


def owners_of(ending: Ending, arguments: Sequence[Value], others: Mapping[int, Tensor]) -> dict[int, int | Tensor]:
    """For each storage of before the argument, by its place, or the tensor that it belongs to."""
    return {**others, **{v.storage: i for i, v in enumerate(arguments)}}
