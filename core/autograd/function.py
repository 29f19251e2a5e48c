"""Custom differentiable functions: subclass :class:`Function`, write forward and backward, call ``apply``."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from flambeau.core import state
from flambeau.core.autograd.compile import unpack
from flambeau.core.autograd.graph import SELF, Node, Slot, View, box_of, edge_of, freed, save
from flambeau.core.autograd.inplace import check_writable, copy_slices
from flambeau.core.dispatch import _detached
from flambeau.core.dtype import FLOATING
from flambeau.core.errors import GradientError
from flambeau.core.record import OPS
from flambeau.core.tensor import Tensor


class Context:
    """What forward hands to backward: ``ctx.save_for_backward(...)``, ``ctx.saved_tensors``, and any attribute."""

    def __init__(self, needs: tuple[bool, ...]):
        self.needs_input_grad = needs
        self.materialize_grads = True
        self._to_save: tuple[Any, ...] = ()
        self._dirty: tuple[Any, ...] = ()
        self._fixed: tuple[Any, ...] = ()
        self._node: weakref.ref[FunctionNode] | None = None  # the node holds the context

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep inputs or outputs (tensors or None) for backward, checked against later writes."""
        for t in tensors:
            if t is not None and not isinstance(t, Tensor):
                raise TypeError(f"save_for_backward can only save tensors or None, got {type(t).__name__}")
        self._to_save = tensors

    save_for_forward = save_for_backward

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What save_for_backward kept; raises when backward has freed it or a value was modified."""
        if self._node is None:
            return self._to_save
        node = self._node()
        if node is None:
            raise freed("Function")
        if node.saved is None:
            raise freed(node.name())
        return tuple(unpack(node, s, node.keep) for s in node.saved)

    def mark_dirty(self, *tensors: Any) -> None:
        """Name the inputs that forward wrote to in place; they must be among its outputs."""
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors: Any) -> None:
        """Name the outputs that have no gradient."""
        self._fixed = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Whether backward gets zeros (True) or None for outputs that no gradient reached."""
        self.materialize_grads = value


class FunctionNode(Node):
    """The node of one call of a custom function."""

    __slots__ = ("cls", "context", "keep", "single")

    cls: Any
    context: Context
    keep: bool
    single: bool

    def backward(self, grad: Any, keep: bool) -> tuple[Any, ...]:
        if self.saved is None:
            raise freed(self.name())
        self.keep = keep
        grads = grad if grad.__class__ is list else [grad]
        with state.enable_grad() if keep else state.no_grad():
            found = self.cls.backward(self.context, *grads)
        found = found if isinstance(found, tuple) else (found,)
        extra = found[len(self.edges) :]
        if len(found) < len(self.edges) or any(g is not None for g in extra):
            raise GradientError(
                f"function {self.cls.__name__}Backward returned an incorrect number of gradients: "
                f"expected {len(self.edges)}, got {len(found)}"
            )
        for i, (g, edge) in enumerate(zip(found, self.edges, strict=False)):
            if g is not None and not isinstance(g, Tensor):
                raise TypeError(
                    f"function {self.cls.__name__}Backward returned a {type(g).__name__} for gradient {i}; "
                    "expected a Tensor or None"
                )
            if g is not None and edge is not None:
                box_of(g)  # the user may hold it
        return found[: len(self.edges)]

    def name(self) -> str:
        return f"{self.cls.__name__}Backward"


class _Custom:
    """Stands in for the record in error texts."""

    def __init__(self, name: str, outputs: int):
        self.name = name
        self.single = outputs == 1

    @property
    def schema(self) -> _Custom:
        return self


class Function:
    """A differentiable function of your own.

    >>> import flambeau as fb
    >>> class Square(fb.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x * x
    ...     @staticmethod
    ...     def backward(ctx, g):
    ...         (x,) = ctx.saved_tensors
    ...         return 2 * x * g
    >>> x = fb.tensor(3.0, requires_grad=True)
    >>> Square.apply(x).backward()
    >>> x.grad
    tensor(6.)
    """

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("a Function needs a forward(ctx, *args), or forward(*args) beside setup_context")

    @staticmethod
    def setup_context(ctx: Context, inputs: tuple[Any, ...], output: Any) -> None:
        raise NotImplementedError

    @staticmethod
    def backward(ctx: Context, *grads: Any) -> Any:
        raise NotImplementedError("a Function needs a backward(ctx, *grad_outputs) to be differentiated")

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Run forward without recording, and link the outputs to backward."""
        edges = tuple(edge_of(a) if isinstance(a, Tensor) else None for a in args)
        before = state.current()
        wants = before.grad and any(e is not None for e in edges)
        ctx = Context(tuple(e is not None and wants for e in edges))
        inputs = tuple(_detached(a) if isinstance(a, Tensor) else a for a in args)
        back = {id(i): a for i, a in zip(inputs, args, strict=True)}
        with state.no_grad():
            separate = cls.setup_context is not Function.setup_context
            out = cls.forward(*inputs, **kwargs) if separate else cls.forward(ctx, *inputs, **kwargs)
            if separate:
                cls.setup_context(ctx, inputs, out)
        outs = out if isinstance(out, tuple) else (out,)
        results = [_result(o, ctx, back, inputs) for o in outs]
        if wants:
            _link(cls, ctx, args, edges, outs, results, back)
        return tuple(results) if isinstance(out, tuple) else results[0]


def _result(o: Any, ctx: Context, back: dict[int, Any], inputs: tuple[Any, ...]) -> Any:
    """The output that the caller gets: a dirty input is the input itself, an untouched one a new tensor."""
    if not isinstance(o, Tensor):
        return o
    if any(o is d for d in ctx._dirty) and id(o) in back:
        return back[id(o)]
    if any(o is i for i in inputs):
        return _detached(o) if o._node is not None else _alias(o)
    return o


def _alias(o: Any) -> Any:
    t = Tensor()
    t._array, t._key, t._box, t._node = o._array, o._key, box_of(o), None
    return t


def _link(
    cls: Any, ctx: Context, args: Any, edges: Any, outs: Sequence[Any], results: list[Any], back: dict[int, Any]
) -> None:
    tensors = [r for r in results if isinstance(r, Tensor)]
    node = FunctionNode()
    node.cls, node.context, node.keep, node.single = cls, ctx, False, len(tensors) == 1
    node.op = _Custom(cls.__name__, len(tensors))
    node.params, node.hooks, node.pre_hooks, node.trace = {}, None, None, None
    node.edges = edges
    shapes, keys = [t._array.shape for t in tensors], [t._key for t in tensors]
    node.shape, node.key = (shapes[0], keys[0]) if node.single else (shapes, keys)
    saved: list[Any] = []
    for t in ctx._to_save:
        if t is None:
            saved.append(None)
        elif any(t is o for o in outs):
            index = next(i for i, o in enumerate(outs) if o is t)
            saved.append(save(results[index], (SELF, index)))
        else:
            original = back.get(id(t), t)
            saved.append(save(original, edge_of(original)))
    node.saved = tuple(saved)
    ctx._node, ctx._to_save = weakref.ref(node), ()
    fixed = {id(t) for t in ctx._fixed}
    originals = [o for o in outs if isinstance(o, Tensor)]
    for i, (t, o) in enumerate(zip(tensors, originals, strict=True)):
        if id(o) in fixed or t._key.dtype.category < FLOATING:
            continue
        _attach(t, node if node.single else Slot(node, i), any(o is d for d in ctx._dirty), cls.__name__)


def _attach(t: Any, link: Any, dirty: bool, name: str) -> None:
    """Link an output; one that was written in place counts as a write."""
    if not dirty:
        t._node = link
        return
    check_writable(OPS["copy"], t, True, state.current())
    box = box_of(t)
    box.version += 1
    box.writer = name
    view = t._node
    if view.__class__ is View:
        view.base._node = copy_slices(edge_of(view.base), link, view.chain(), view.base)
    else:
        t._node = link
    box.generation += 1


def once_differentiable(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a backward that cannot be differentiated again: doing so raises instead of being wrong."""

    @wraps(fn)
    def wrapped(ctx: Context, *grads: Any) -> Any:
        with state.no_grad():
            found = fn(ctx, *[None if g is None else _detached(g) for g in grads])
        node = ctx._node() if ctx._node is not None else None
        if node is None or not node.keep:
            return found
        outs = found if isinstance(found, tuple) else (found,)
        refused = tuple(_refuse(o, node) if isinstance(o, Tensor) else o for o in outs)
        return refused if isinstance(found, tuple) else refused[0]

    return wrapped


def _refuse(o: Any, called: FunctionNode) -> Any:
    node = RefusingNode()
    node.op, node.params, node.saved, node.hooks, node.pre_hooks, node.trace = (
        _Custom("once_differentiable", 1),
        {},
        (),
        None,
        None,
        None,
    )
    node.edges, node.shape, node.key = called.edges, o._array.shape, o._key
    o._node = node
    return o


class RefusingNode(Node):
    """Raises when a gradient is asked for."""

    __slots__ = ()

    def backward(self, grad: Any, keep: bool) -> tuple[Any, ...]:
        raise GradientError("trying to differentiate twice a function that was marked with @once_differentiable")
