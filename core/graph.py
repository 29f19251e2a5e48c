"""The pieces of the graph: Leaf, Node, Slot and View, and what a node saves.

A tensor's link (``_node``) is None, a Leaf, a Node, a Slot (one output of a node with several) or a
View. Nodes save (array, key, box, version, edge), never a Tensor, and a Leaf refers weakly to its
tensor, so nothing points in a circle and memory is free as soon as the last name is gone.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias

from flambeau.core.box import Box
from flambeau.core.errors import GradientError, ModifiedError
from flambeau.core.node_names import node_name

Linked: TypeAlias = Any  # a Tensor: its class stands above
Edge: TypeAlias = Any  # None, Leaf, Node or Slot: told apart by `__class__ is`, which type checkers do not follow


class Leaf:
    """The end of the graph at a tensor that wants its gradient."""

    __slots__ = ("__weakref__", "hooks", "key", "post_hooks", "ref", "shape")

    def __init__(self, tensor: Linked):
        self.ref = weakref.ref(tensor)
        self.shape = tensor._array.shape
        self.key = tensor._key
        self.hooks: dict[int, Callable[..., Any]] | None = None
        self.post_hooks: dict[int, Callable[..., Any]] | None = None

    @property
    def next_functions(self) -> tuple[Any, ...]:
        return ()

    def name(self) -> str:
        return "AccumulateGrad"

    @property
    def variable(self) -> Any:
        """The tensor whose gradient accumulates here, or None when it is gone."""
        return self.ref()


_sequence = itertools.count()
_metadata: weakref.WeakKeyDictionary[Node, dict[Any, Any]] = weakref.WeakKeyDictionary()


class Node:
    """One recorded op: where its inputs came from, and what its gradient reads.

    ``edges`` has one entry per operand (None: no gradient wanted). ``shape`` and ``key`` describe the
    output, as lists where there are several. ``saved`` is None once backward has freed it.
    """

    __slots__ = ("__weakref__", "edges", "hooks", "key", "op", "params", "pre_hooks", "saved", "shape", "trace")

    op: Any
    edges: tuple[Edge, ...]
    saved: Any
    params: dict[str, Any]
    shape: Any
    key: Any
    hooks: dict[int, Callable[..., Any]] | None  # on the gradients of the inputs
    pre_hooks: list[tuple[int, Callable[..., Any]]] | None  # on the gradient of output i
    trace: Any  # anomaly mode: where the op was called
    plain = True  # whether it is a record's, whose gradient is written out
    aliases = False  # whether an output shares memory with an input behind the graph's back

    @property
    def fills(self) -> bool:
        """Whether outputs that no gradient reached get zeros, or None."""
        return self.op.fills  # type: ignore[no-any-return]

    def backward(self, grad: Any, keep: bool) -> tuple[Any, ...]:  # Any: a gradient, or a list of one per output
        """The gradients of the inputs, one per edge; ``keep`` makes them differentiable again."""
        if self.saved is None:
            raise freed(self.op.name)
        grads: tuple[Any, ...] = self.op.compiled.backward(self, grad, keep)
        return grads

    def release(self) -> None:
        """Free what was saved; a node that keeps no tensor can run again."""
        saved = self.saved
        if saved and saved.__class__ is tuple:  # a list where there is no tensor among it
            self.saved = None

    @property
    def metadata(self) -> dict[Any, Any]:
        """A dict of your own that lives as long as the node."""
        found = _metadata.get(self)
        if found is None:
            found = _metadata[self] = {}
        return found

    def name(self) -> str:
        """How torch would call it: ``MulBackward0``."""
        return node_name(self.op.name, self.params, self.shape)

    @property
    def next_functions(self) -> tuple[Any, ...]:
        """Pairs (node, output index) of the inputs, as in torch."""
        return tuple((shown(n), i) for n, i in map(place_of, self.edges))

    def register_hook(self, fn: Callable[..., Any]) -> Handle:
        """Call ``fn(grad_inputs, grad_outputs)`` after this node; what it returns replaces grad_inputs."""
        if self.hooks is None:
            self.hooks = {}
        return hook_into(self, self.hooks, fn)

    def register_prehook(self, fn: Callable[..., Any]) -> Handle:
        """Call ``fn(grad_outputs)`` before this node; what it returns replaces them."""
        return add_output_hook(self, -1, fn)

    def __repr__(self) -> str:
        return f"<{self.name()}>"


def node(op: Any, edges: tuple[Edge, ...], saved: Any, params: dict[str, Any], shape: Any, key: Any) -> Node:
    """A new Node."""
    n = Node()
    n.op, n.edges, n.saved, n.params, n.shape, n.key = op, edges, saved, params, shape, key
    n.hooks = n.pre_hooks = n.trace = None
    return n


_shown: dict[str, type[Node]] = {}


def shown(node: Any) -> Any:  # Any: a node, a leaf or None
    """A node as users get it: of a class that is called as the node is, ``MulBackward0``."""
    if node.__class__ is Node:
        name = node.name()
        found = _shown.get(name)
        if found is None:
            found = _shown[name] = type(name, (Node,), {"__slots__": (), "__module__": __name__})
        node.__class__ = found
    return node


Leaf.__name__ = Leaf.__qualname__ = "AccumulateGrad"  # as PyTorch calls what stands there


class Slot:
    """Output ``index`` of a node with several outputs."""

    __slots__ = ("index", "node")

    def __init__(self, node: Node, index: int):
        self.node, self.index = node, index


class GradientEdge(NamedTuple):
    """A place in the graph that gradients can be asked for or start from, without keeping the tensor.

    ``ownership_token`` is there for PyTorch's sake: the node alone keeps what it needs.
    """

    node: Any
    output_nr: int
    ownership_token: Any = None

    @property
    def edge(self) -> Edge:
        """The same as the link of a tensor."""
        several = self.node.__class__ is not Leaf and isinstance(self.node.shape, list)
        return Slot(self.node, self.output_nr) if several else self.node


#: Who is told of each node or leaf that gets a hook.
on_hook: list[Callable[[Any], None]] = []


def hook_into(node: Node | Leaf, hooks: dict[int, Callable[..., Any]], fn: Callable[..., Any]) -> Handle:
    """Enter a hook of a node or leaf."""
    handle = Handle.into(hooks, fn)
    for told in on_hook:
        told(node)
    return handle


def check_hook(hook: object) -> None:
    """TypeError for a hook that cannot be called."""
    if not callable(hook):
        raise TypeError(f"a hook must be a function, got {hook!r} ({type(hook).__name__})")


class RemovableHandle:
    """Removes a hook: ``handle.remove()``, also as a context manager.

    It stands for the entry ``handle.id`` of a dict of hooks, and of those in ``extra_dict``, a dict or a list of them.

    >>> hooks = {}
    >>> handle = fb.utils.hooks.RemovableHandle(hooks)
    >>> hooks[handle.id] = print
    >>> handle.remove()
    >>> hooks
    {}
    """

    __slots__ = ("__weakref__", "_remove", "id")

    def __init__(self, hooks_dict: dict[int, Any], *, extra_dict: dict[int, Any] | list[dict[int, Any]] | None = None):
        number = self.id = next(_sequence)
        extra = extra_dict if isinstance(extra_dict, list) else [] if extra_dict is None else [extra_dict]

        def remove() -> None:
            for hooks in (hooks_dict, *extra):
                hooks.pop(number, None)

        self._remove: Callable[[], None] | None = remove

    @classmethod
    def calling(cls, remove: Callable[[], None]) -> RemovableHandle:
        """One that calls a function to remove the hook."""
        made = cls({})
        made._remove = remove
        return made

    @classmethod
    def into(cls, hooks: dict[int, Any], fn: Callable[..., Any]) -> RemovableHandle:
        """Enter a hook; the handle removes it."""
        check_hook(fn)
        handle = cls(hooks)
        hooks[handle.id] = fn
        return handle

    def remove(self) -> None:
        """Take the hook out; a second call does nothing."""
        if self._remove is not None:
            self._remove()
            self._remove = None

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


Handle = RemovableHandle


class WalkHook:
    """A hook on a gradient that is told which backward it runs in: ``arrived(walk, grad)``."""

    def __init__(self, arrived: Callable[[Any, Any], None]):
        self.on_walk = arrived

    def __call__(self, grad: Any) -> None:
        raise TypeError("a WalkHook is called by the engine")


class Keeper:
    """Puts a computed tensor's gradient in its ``grad``; runs after the other hooks on it, and sees what they made."""

    def __init__(self, tensor: Linked):
        self.tensor = weakref.ref(tensor)

    def __call__(self, grad: Any) -> None:
        t = self.tensor()
        if t is not None:
            t._grad = grad.clone() if t.grad is None else t.grad + grad


def place_of(edge: Edge) -> tuple[Any, int]:
    """The leaf or node that an edge leads to, and which of its outputs."""
    return (edge.node, edge.index) if edge.__class__ is Slot else (edge, 0)


def add_hook(edge: Edge, fn: Callable[..., Any]) -> Handle:
    """Call ``fn(grad)`` on the gradient that flows along an edge."""
    if edge.__class__ is not Leaf:
        return add_output_hook(*place_of(edge), fn)
    if edge.hooks is None:
        edge.hooks = {}
    return hook_into(edge, edge.hooks, fn)


def add_output_hook(n: Node, index: int, fn: Callable[..., Any]) -> Handle:
    """Call ``fn(grad)`` on the gradient of output ``index`` (-1: ``fn(all gradients)``) before the node runs."""
    if n.pre_hooks is None:
        n.pre_hooks = []
    entry = (index, fn)
    hooks = n.pre_hooks
    keeper = next((i for i, (_, f) in enumerate(hooks) if f.__class__ is Keeper), len(hooks))
    hooks.insert(len(hooks) if fn.__class__ is Keeper else keeper, entry)
    for told in on_hook:
        told(n)
    return Handle.calling(lambda: hooks.remove(entry) if entry in hooks else None)


def carry_keepers(before: Edge, after: Edge) -> None:
    """After a write a tensor's kept gradient is that of its new value: the keepers go to its new edge."""
    node, index = place_of(before)
    if not isinstance(node, Node) or not node.pre_hooks or after is None:
        return
    target, place = place_of(after)
    for entry in [e for e in node.pre_hooks if e[0] == index and e[1].__class__ is Keeper]:
        node.pre_hooks.remove(entry)
        add_output_hook(target, place, entry[1])


PART: Final = "part"  # the grad mode of a view that was made with others, none of which may be written to


ITSELF: Final = "itself"  # the grad mode of the link of a tensor that has become a view of what it was


def mark_parts(views: tuple[Linked, ...]) -> tuple[Linked, ...]:
    """The views that one call gave, as such: with gradients on, a write to one of them raises."""
    for t in views:
        link = t._node
        if link.__class__ is View and link.made[8]:
            link.made = (*link.made[:8], PART)
    return views


class View:
    """The link of a view: whose it is and by which op. Its node is built when an edge is asked for.

    A write through any tensor of the storage bumps ``box.generation``, and the node is built anew
    from the base's edge.
    """

    __slots__ = ("generation", "made", "node")

    #: base, parent, op, params (the bare value where the op has one), box, the array it is a view of, its own
    #: array, key, grad mode. One tuple: each attribute or dict more would cost a view some percent of its time.
    made: tuple[Any, View | None, Any, Any, Box, Any, Any, Any, bool | str]
    node: Any
    generation: int

    @property
    def base(self) -> Linked:
        """The Tensor whose storage it is; never itself a view.

        One that has become a view in place since, as by ``t_``, has left what it was as the base.
        """
        base = self.made[0]
        while base._node.__class__ is View:
            base = base._node.made[0]
        return base

    @property
    def parent(self) -> View | None:
        """The view that this one was taken of, None where that was the base."""
        return self.made[1]

    @property
    def op(self) -> Any:
        return self.made[2]

    @property
    def params(self) -> dict[str, Any]:
        found = self.made[3]
        if found.__class__ is dict:
            return found
        op = self.made[2]
        if op.spelled is not None:
            found = op.spelled(found, self.in_shape)
        return {op.schema.params[0].name: found}

    @property
    def box(self) -> Box:
        return self.made[4]

    @property
    def in_shape(self) -> Any:
        return self.made[5].shape

    @property
    def shape(self) -> Any:
        return self.made[6].shape

    @property
    def key(self) -> Any:
        return self.made[7]

    @property
    def grad_mode(self) -> bool | str:
        """Whether it was made with gradients on, a view made without may not be written to with them; or PART or
        ITSELF."""
        return self.made[8]

    def resolve(self) -> Edge:
        """The current edge: None when nothing under the base wants a gradient."""
        generation = self.box.generation
        if self.generation == generation:
            return self.node
        stale: list[View] = [self]
        while stale[-1].parent is not None and stale[-1].parent.generation != generation:
            stale.append(stale[-1].parent)
        for view in reversed(stale):
            edge = view.parent.node if view.parent is not None else view.base._node
            before = view.node
            if view.grad_mode and edge is not None and view.op.differentiable:
                view.node = node(view.op, (edge,), [view.in_shape], view.params, view.shape, view.key)
                if before is not None:
                    carry_keepers(before, view.node)
            else:
                view.node = None
            view.generation = generation
        return self.node

    def chain(self) -> list[View]:
        """The views from the base to this one."""
        steps: list[View] = []
        view: View | None = self
        while view is not None:
            steps.append(view)
            view = view.parent
        return steps[::-1]


def edge_of(x: Linked) -> Edge:
    """What the gradient of ``x`` flows to: None, a Leaf, a Node or a Slot."""
    link = x._node
    if link.__class__ is View:
        return link.resolve()
    return link


def make_view(x: Linked, out: Linked, op: Any, params: Any, grad_mode: bool) -> Any:
    """Link ``out``, which shares the storage of ``x``, as the view that ``op`` made of it; one param may stand bare."""
    link = x._node
    box = x._box
    view = out._node = View()
    if link is None:
        if box is None:
            box = x._box = Box()
        view.generation = box.generation  # no edge: should the base want a gradient later, this view has none
        view.made = (x, None, op, params, box, x._array, out._array, out._key, grad_mode)
    else:
        if box is None:
            box = x._box = Box()
        view.generation = -1
        base, parent = (link.made[0], link) if link.__class__ is View else (x, None)
        view.made = (base, parent, op, params, box, x._array, out._array, out._key, grad_mode)
    view.node = None
    out._box = box
    return out


def disown(x: Linked) -> None:
    """Make ``x``, a view of a tensor that nobody else has, no view: its history is its own."""
    link = x._node
    if link.__class__ is View:
        x._node = link.resolve()


SELF = object()  # the edge of a saved output: the node itself


def save(x: Linked, edge: Edge) -> tuple[Any, Any, Box, int, Edge]:
    """What a node keeps of a tensor operand."""
    box = x._box
    if box is None:
        box = x._box = Box()
    return (x._array, x._key, box, box.version, edge)


def freed(name: str) -> GradientError:
    return GradientError(
        f"{name}: trying to backward through the graph a second time, but its saved values are already freed; "
        "call backward(retain_graph=True) the first time"
    )


def modified(name: str, box: Box, version: int, shape: tuple[int, ...]) -> ModifiedError:
    return ModifiedError(
        f"{name}: a value of shape {tuple(shape)} saved for backward has been modified by an inplace operation: "
        f"it is at version {box.version}, expected version {version}; the last write was {box.writer or 'unknown'!s}. "
        f"Clone the value before writing to it, or use the out-of-place op"
    )
