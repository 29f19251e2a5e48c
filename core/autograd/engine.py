"""The backward engine: counts dependencies, then walks the graph with a list, freeing it as it goes.

Un-broadcasting, casting to the dtype of the input and lifting to its level happen here, once, when a
gradient is delivered to the edge it is for.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from flambeau.backends.layout import is_dense
from flambeau.core import dispatch, events, keys
from flambeau.core.autograd.policy import callbacks, policy
from flambeau.core.box import Box, box_of
from flambeau.core.dtype import COMPLEX
from flambeau.core.errors import GradientError
from flambeau.core.graph import Edge, Leaf, Node, Slot, WalkHook, edge_of, place_of
from flambeau.core.graph import node as new_node
from flambeau.core.keys import Key
from flambeau.core.locks import fork_safe
from flambeau.core.record import OPS
from flambeau.core.state import current, get, put, with_grad, without_casts
from flambeau.core.tape.compile import Packed, compiled
from flambeau.core.tensor import Tensor

_accumulating = fork_safe(threading.Lock())  # two threads may add to one leaf


def run_backward(
    roots: Sequence[tuple[Edge, Tensor]], *, keep_graph: bool, create_graph: bool,
    targets: Sequence[Edge] | None = None, accumulate: bool = True,
) -> list[Tensor | None]:  # fmt: skip
    """Send the gradients of ``roots`` (edge, gradient) down the graph.

    With ``targets`` (edges) only what leads to them runs; their gradients are returned, and added to
    the leaves only where ``accumulate``. Without, every leaf accumulates. Autocast is off: what it cast in the forward
    has the dtypes that the gradients need. Inside a transform the
    engine drops the saved edges instead of switching grad mode off, which would blind the outer levels.
    """
    state = current()
    # The twin state is cached, and with levels present the mode stays: see above.
    inside = without_casts(state)
    if create_graph or not state.levels:
        inside = with_grad(inside, create_graph)
    outer = callbacks.waiting
    waiting = callbacks.waiting = []
    second = outer is not None and callbacks.outermost is None  # inside of the outermost one
    if second:
        callbacks.outermost = outer
    try:
        if inside is not state:
            put(inside)
        run = _Run(keep_graph or create_graph, create_graph, targets, accumulate, state.anomaly)
        run.slice = None if create_graph or state.levels else OPS["basic_index"]
        found = run.all(roots)
        for callback in waiting:
            callback()
        return found
    finally:
        callbacks.waiting = outer
        if second:
            callbacks.outermost = None
        if inside is not state:
            put(state)


class _Run:
    """One walk."""

    __slots__ = (
        "__weakref__", "accumulate", "anomaly", "captured", "create", "grads", "keep_graph", "roots", "slice", "stops",
        "targets", "waiting", "wanted", "whole",
    )  # fmt: skip
    slice: Any  #: the op of slices, where their gradients may be added in place
    whole: set[Any] | None  #: the edges whose gradient a slice has made, so that it is nobody else's

    def __init__(
        self, keep_graph: bool, create: bool, targets: Sequence[Edge] | None, accumulate: bool, anomaly: bool | str
    ):
        self.keep_graph, self.create, self.accumulate, self.anomaly = keep_graph, create, accumulate, anomaly
        self.slice = self.whole = None
        self.grads: dict[Any, Any] = {}  # node -> gradient, or a list of them for several outputs
        self.waiting: dict[Any, int] = {}
        self.roots: list[Any] = []
        self.captured: dict[tuple[Any, int], Tensor] = {}
        self.targets = None if targets is None else [place_of(t) for t in targets]
        self.wanted: set[Any] | None = None
        self.stops: set[tuple[Any, int]] = set(self.targets or ())

    def all(self, roots: Sequence[tuple[Edge, Tensor]]) -> list[Tensor | None]:
        nodes = self.roots = [place_of(edge)[0] for edge, _ in roots]
        self._count(nodes)
        if self.targets is not None:
            self._select(nodes)
        for edge, grad in roots:
            if grad._box is None:
                grad._box = Box()  # the caller's: nobody may take it over
            self._deliver(edge, grad)
        self._walk(nodes[:] if len(nodes) == 1 else [n for n in dict.fromkeys(nodes) if not self.waiting.get(n)])
        return [] if self.targets is None else [self.captured.get(t) for t in self.targets]

    def _walk(self, ready: list[Any]) -> None:
        """Run what is ready, and what becomes ready by it; the commonest cases of a delivery stand here."""
        grads, waiting = self.grads, self.waiting
        while ready:
            node = ready.pop()
            grad = grads.pop(node, None)
            if node.__class__ is Leaf:
                if grad is not None:
                    self._leaf(node, grad)
                continue
            inputs = self._node(node, grad)
            for i, edge in enumerate(node.edges):
                if edge is None:
                    continue
                target = edge.node if edge.__class__ is Slot else edge
                if inputs is not None and (g := inputs[i]) is not None:
                    if target is edge and edge not in grads and g._key is edge.key and g._array.shape == edge.shape:
                        grads[edge] = g
                    else:
                        self._deliver(edge, g)
                left = waiting[target] - 1
                if left == 0:
                    ready.append(target)
                else:
                    waiting[target] = left

    def reaches(self, node: Any) -> bool:
        """Whether a gradient is computed for ``node``."""
        if self.wanted is not None and node not in self.wanted and not any(n is node for n, _ in self.stops):
            return False
        return node in self.waiting or node in self.roots

    def _count(self, nodes: list[Any]) -> None:
        """How many edges lead to each node."""
        waiting, roots = self.waiting, dict.fromkeys(nodes)
        stack = [n for n in roots if n.__class__ is not Leaf]
        while stack:
            for edge in stack.pop().edges:
                if edge is not None:
                    target = edge.node if edge.__class__ is Slot else edge
                    if target in waiting:
                        waiting[target] += 1
                        continue
                    waiting[target] = 1
                    if target.__class__ is not Leaf and target not in roots:
                        stack.append(target)

    def _select(self, nodes: list[Any]) -> None:
        """The nodes from which a target can be reached; the others do not run."""
        waiting = dict(self.waiting)
        order, stack = [], [n for n in dict.fromkeys(nodes) if not waiting.get(n)]
        while stack:
            node = stack.pop()
            order.append(node)
            for edge in () if node.__class__ is Leaf else node.edges:
                if edge is not None:
                    target = edge.node if edge.__class__ is Slot else edge
                    waiting[target] -= 1
                    if waiting[target] == 0:
                        stack.append(target)
        wanted = {node for node, _ in self.stops}
        ends = set(wanted)
        runs: set[Any] = set()
        for node in reversed(order):
            if node.__class__ is Leaf:
                continue
            below = (e.node if e.__class__ is Slot else e for e in node.edges if e is not None)
            if any(t in runs or t in ends for t in below):
                runs.add(node)
        self.wanted = runs

    def _deliver(self, edge: Edge, grad: Tensor) -> None:
        """Add a gradient to what has arrived for an edge, in the edge's own shape, dtype and level."""
        if edge.__class__ is Slot:
            node, index = edge.node, edge.index
            grad = fit(grad, node.shape[index], node.key[index])
            have = self.grads.setdefault(node, [None] * len(node.shape))
            have[index] = grad if have[index] is None else _plus(have[index], grad)
            return
        if grad._key is not edge.key or grad._array.shape != edge.shape:
            grad = fit(grad, edge.shape, edge.key)
        have = self.grads.get(edge)
        self.grads[edge] = grad if have is None else _plus(have, grad)

    def _node(self, node: Any, grad: Any) -> Any:
        """Run one node: the gradients of its inputs, or None when nothing arrived or nobody wants it."""
        if grad is not None and node.pre_hooks is not None:
            grad = _pre_hooks(self, node, grad)
        if self.stops and grad is not None:
            for i, g in enumerate(grad) if grad.__class__ is list else ((0, grad),):
                if (node, i) in self.stops and g is not None:
                    self.captured[node, i] = g
        if grad is None or (self.wanted is not None and node not in self.wanted):
            return None
        if node.op is self.slice and self._into_whole(node, grad):
            return None
        several = grad.__class__ is list
        if several and node.fills:
            grad = [_zeros(s, k) if g is None and k.dtype.category > 1 else g
                    for g, s, k in zip(grad, node.shape, node.key, strict=True)]  # fmt: skip
        if node.plain and node.op.compiled is None:  # a view's, built when it was asked for
            compiled(node.op)
        try:
            inputs = (
                node.op.compiled.backward(node, grad, self.create) if node.plain else node.backward(grad, self.create)
            )
        except Exception as error:
            if not getattr(error, "__notes__", None):
                error.add_note(
                    f"while computing the gradient of {node.op.name}"
                    + (f", called at\n{node.trace}" if node.trace else "")
                )
            raise
        if self.create and node.plain:
            inputs = _linked(node, inputs)
        if self.anomaly is True:
            _look_for_nan(node, inputs)
        if node.hooks is not None:
            for hook in list(node.hooks.values()):
                replaced = hook(inputs, tuple(grad) if several else (grad,))
                inputs = inputs if replaced is None else replaced if isinstance(replaced, tuple) else (replaced,)
        if not self.keep_graph:
            node.release()
        if len(inputs) > 1 or inputs[0] is grad:
            before = [grad]
            for g in inputs:
                for other in before:
                    if g is other and g is not None and g._box is None:
                        g._box = Box()  # shared: nobody may take it over
                before.append(g)
        return inputs

    def _into_whole(self, node: Any, grad: Any) -> bool:
        """Add a slice's gradient in place to what another slice of the same tensor has made: zeros with its own.

        Without this each of split's outputs would make zeros of the whole, and a sum with them.
        """
        edge = node.edges[0]
        if edge is None or edge.__class__ is Slot or node.hooks is not None or self.anomaly is True:
            return False
        if self.whole is None:
            self.whole = set()
        if edge not in self.whole:
            self.whole.add(edge)  # what is there after this node has run is its zeros, or a sum with them
            return False
        whole = self.grads.get(edge)
        if whole.__class__ is not Tensor or grad.__class__ is not Tensor or grad._key is not whole._key:
            return False
        _add_to_part(whole, node.params["index"], grad)
        if not self.keep_graph:
            node.release()
        return True

    def _leaf(self, leaf: Leaf, grad: Tensor) -> None:
        if leaf.hooks:
            for hook in list(leaf.hooks.values()):
                box_of(grad)  # the hook may keep it
                replaced = hook(grad) if hook.__class__ is not WalkHook else hook.on_walk(self, grad)
                if replaced is not None:
                    _check_hook(replaced, grad)
                    grad = replaced
                    box_of(grad)
        if (leaf, 0) in self.stops:
            self.captured[leaf, 0] = grad
        if self.targets is not None and not (self.accumulate and (leaf, 0) in self.stops):
            return
        tensor = leaf.ref()
        if tensor is None:
            return
        accumulate(tensor, grad, self.create)
        if leaf.post_hooks:
            for hook in list(leaf.post_hooks.values()):
                hook(tensor)


class _Constant(Node):
    """The history of a gradient that is made from saved values and does not change with them, as relu's: zeros."""

    __slots__ = ()
    plain = False

    def backward(self, grad: Any, keep: bool) -> tuple[Tensor | None, ...]:
        return tuple(None if edge is None else _zeros(*_form(edge)) for edge in self.edges)

    def name(self) -> str:
        return "ZerosBackward0"


def _form(edge: Edge) -> tuple[tuple[int, ...], Key]:
    """The shape and key of what an edge leads to."""
    if edge.__class__ is Slot:
        return edge.node.shape[edge.index], edge.node.key[edge.index]
    return edge.shape, edge.key


def _linked(node: Node, grads: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
    """The gradients of a node, each with a history where it is a function of what the node saved."""
    if all(g is None or g._node is not None for g in grads) or not _saved_history(node):
        return tuple(grads)
    return tuple(g if g is None or g._node is not None else _constant(node, g) for g in grads)


def _constant(node: Node, g: Tensor) -> Tensor:
    """``g`` as a function of the node's inputs that does not change with them."""
    t = dispatch.tensor_of(g._array, g._key)
    t._box = box_of(g)
    t._node = made = _Constant()
    made.op, made.edges, made.saved, made.params, made.shape, made.key = (
        node.op, node.edges, [], {}, g._array.shape, g._key
    )  # fmt: skip
    made.hooks = made.pre_hooks = made.trace = None
    return t


def _saved_history(node: Node) -> bool:
    """Whether a tensor that the node saved has a history."""
    saved = [node.saved[i] for i in node.op.compiled.saved_tensors]
    flat = [v for s in saved for v in (s if s.__class__ is list else (s,))]
    return any(v.edge is not None if v.__class__ is Packed else v.__class__ is tuple and v[4] is not None for v in flat)


def accumulate(tensor: Tensor, grad: Tensor, create: bool) -> None:
    """Take the gradient over when nobody else has it; add to what is there. One thread at a time."""
    events.touch(tensor)
    with _accumulating:
        have = getattr(tensor, "_grad", None)
        if grad._in_parts or have is not None and have._in_parts:
            if have is None or create or have._in_parts:
                total = grad if have is None else _plus(have, grad)
                tensor._grad = total if create else total.detach().clone() if have is None else total.detach()
            else:
                have.add_(grad.detach())
        elif have is None:
            if grad._box is not None or (grad._node is not None and not create):
                fresh = dispatch._detached(grad) if not create else grad
                grad = dispatch.call(OPS["clone"], (fresh,), {"order": "K"})
            tensor._grad = grad if create or not policy.layout else _laid_out(grad, tensor)
        elif create:
            tensor._grad = have + grad
        else:
            have.add_(dispatch._detached(grad))


def _plus(a: Tensor, b: Tensor) -> Tensor:
    """The sum of two gradients, of which one may be sparse: then the dense one comes first."""
    total: Tensor = b + a if a._in_parts and not b._in_parts else a + b
    return total


def _laid_out(grad: Tensor, like: Tensor) -> Tensor:
    """``grad``, which nobody else has, with the strides of its tensor; in order where that one has holes."""
    key, array, other = like._key, grad._array, like._array
    if getattr(array, "strides", 0) == getattr(other, "strides", 1) or grad._key is not key or key.level is not None:
        return grad  # most often in one test
    have, wanted = key.backend.layout(array), key.backend.layout(other)
    if have.strides == wanted.strides:
        return grad
    if not is_dense(wanted.shape, wanted.strides):
        return grad if grad.is_contiguous() else dispatch.call(OPS["clone"], (grad,), {"order": "C"})
    moving = [i for i, n in enumerate(wanted.shape) if n > 1]
    if all(have.strides[i] == wanted.strides[i] for i in moving):
        return grad
    order = tuple(sorted(range(len(wanted.shape)), key=lambda i: -wanted.strides[i]))
    copied = dispatch.call(OPS["clone"], (grad.permute(order),), {"order": "C"})
    laid: Tensor = copied.permute(tuple(order.index(i) for i in range(len(order))))
    detached: Tensor = dispatch._detached(laid)
    return detached


def _zeros(shape: tuple[int, ...], key: Key) -> Tensor:
    plain = keys.key_for(key.device, key.dtype)
    params = {"shape": tuple(shape), "value": 0, "dtype": key.dtype, "device": key.device}
    return fit(dispatch.call(OPS["full"], (), params), shape, plain if key.level is None else key)


def fit(grad: Tensor, shape: tuple[int, ...], key: Key) -> Tensor:
    """A gradient in the shape (summed over what was broadcast), dtype, device and level of its edge."""
    have = grad._array.shape
    if have != shape:
        grad = sum_to(grad, shape)
    if grad._key is key:
        return grad
    if grad._key.dtype is not key.dtype:
        if grad._key.dtype.category == COMPLEX and key.dtype.category != COMPLEX:
            grad = grad.real
        if grad._key.dtype is not key.dtype:
            grad = dispatch.call(OPS["cast"], (grad,), {"dtype": key.dtype})
    if grad._key.device is not key.device:
        grad = dispatch.call(OPS["to_device"], (grad,), {"device": key.device})
    level, own = key.level, grad._key.level
    if level is not None and (own is None or own.depth < level.depth):  # a deeper one maps over this graph
        grad = level.lift(grad)
    return grad


def _add_to_part(whole: Tensor, index: tuple[Any, ...], grad: Tensor) -> None:
    """``whole[index] += grad``, of tensors without history that nobody else has."""
    key, state = whole._key, get()
    if state is not None and state.plain and key.add is not None:
        part = key.basic_index(whole._array, index=index)
        key.add(part, grad._array, out=part)
    else:  # somebody watches
        OPS["basic_index"].function(whole, index).add_(grad)


def _sum(x: Tensor, axes: tuple[int, ...], keepdims: bool) -> Tensor:
    state = get()
    if state is not None and state.plain:
        found: Tensor = OPS["sum"].function(x, axes, keepdims)
    else:
        found = dispatch.call(OPS["sum"], (x,), {"axis": axes, "keepdims": keepdims})
    return found


def sum_to(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The sum of ``x`` over the axes along which ``shape`` was broadcast to its shape."""
    have = x._array.shape
    extra = len(have) - len(shape)
    if extra < 0:
        return _expand(x, tuple(shape))
    if extra and have[extra:] == shape:  # of a bias: with no view of what is summed, a leaf takes it over as it is
        return _sum(x, tuple(range(extra)), False)
    axes = tuple(range(extra)) + tuple(i + extra for i, n in enumerate(shape) if n == 1 and have[i + extra] != 1)
    if axes:
        x = _sum(x, axes, True)
    if extra:
        x = x.reshape(tuple(shape))
    elif x._array.shape != shape:  # a gradient smaller than its input, as from sum: it stands for all elements
        x = _expand(x, tuple(shape))
    return x


def _expand(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """``x.expand(shape)``; without a View where nothing is recorded and nobody else sees the result."""
    key = x._key
    if x._node is not None or key.level is not None:
        found: Tensor = OPS["expand"].function(x, shape)
        return found
    array = dispatch.kernel_call(OPS["expand"], key.expand, [x._array], {"shape": shape}, key)
    t = dispatch.tensor_of(array, key)
    t._box = box_of(x)  # its memory is shared: a leaf must not take it over
    return t


def _pre_hooks(walk: _Run, node: Any, grad: Any) -> Any:
    for index, hook in list(node.pre_hooks):
        several = grad.__class__ is list
        if index < 0:
            replaced = hook(tuple(grad) if several else (grad,))
            if replaced is not None:
                given = tuple(replaced) if isinstance(replaced, (tuple, list)) else (replaced,)
                grad = list(given) if several else given[0]
        else:
            mine = grad[index] if several else grad
            if mine is None:
                continue
            box_of(mine)  # the hook may keep it
            replaced = hook(mine) if hook.__class__ is not WalkHook else hook.on_walk(walk, mine)
            if replaced is not None:
                _check_hook(replaced, mine)
                box_of(replaced)
                if several:
                    grad[index] = replaced
                else:
                    grad = replaced
    return grad


def _check_hook(replaced: object, grad: Tensor) -> None:
    """A hook may change a gradient's values, and nothing else about it."""
    if not isinstance(replaced, Tensor):
        raise TypeError(f"a hook on a tensor must return a tensor or None, got {type(replaced).__name__}")
    if replaced._array.shape != grad._array.shape or replaced._key.dtype is not grad._key.dtype:
        raise GradientError(
            f"a hook has changed the shape or dtype of a gradient: got {tuple(replaced.shape)} of {replaced.dtype}, "
            f"for {tuple(grad.shape)} of {grad.dtype}"
        )
    if replaced._key.device is not grad._key.device:
        raise GradientError(f"a hook has moved a gradient from {grad.device} to {replaced.device}")


def _look_for_nan(node: Any, inputs: Sequence[Any]) -> None:
    for i, g in enumerate(inputs):
        if g is None or g._key.dtype.category <= 1:
            continue
        if bool((g.detach() if g._in_parts else dispatch._detached(g)).isnan().any()):
            where = f"; the forward call was\n{node.trace}" if node.trace else ""
            raise GradientError(
                f"{node.name()} returned nan values in its gradient {i} (op {node.op.name}, "
                f"shape {tuple(g.shape)}){where}"
            )


def alias(x: Tensor) -> Tensor:
    """A tensor of the same values that the graph tells apart from ``x``: its gradient passes on to x."""
    t = dispatch.tensor_of(x._array, x._key)
    t._box = x._box
    edge = edge_of(x)
    if edge is None:
        return t.requires_grad_()
    compiled(OPS["cast"])
    t._node = new_node(OPS["cast"], (edge,), (), {"dtype": x._key.dtype}, x._array.shape, x._key)
    return t
