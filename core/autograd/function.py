"""Custom differentiable functions: subclass :class:`Function`, write forward and backward, call ``apply``."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from flambeau.core import state
from flambeau.core.autograd.inplace import check_writable, copy_slices
from flambeau.core.box import box_of, mark_written
from flambeau.core.dispatch import _detached
from flambeau.core.dtype import FLOATING
from flambeau.core.errors import GradientError
from flambeau.core.graph import SELF, Edge, Node, Slot, View, carry_keepers, edge_of, freed, save
from flambeau.core.record import OPS
from flambeau.core.tape.compile import unpack
from flambeau.core.tape.modes import watch_node
from flambeau.core.tensor import Tensor, blank

F = TypeVar("F", bound=Callable[..., Any])


class FunctionCtx:
    """What forward hands to backward: ``ctx.save_for_backward(...)``, ``ctx.saved_tensors``, and any attribute."""

    def __init__(self, needs: tuple[bool, ...] = ()):
        self.needs_input_grad = needs
        self.materialize_grads = True
        self._to_save: tuple[Any, ...] = ()
        self._for_forward: tuple[Any, ...] = ()
        self._dirty: tuple[Any, ...] = ()
        self._fixed: tuple[Any, ...] = ()
        self._node: weakref.ref[FunctionNode] | None = None  # the node holds the context

    if TYPE_CHECKING:  # any other attribute is the author's own

        def __getattr__(self, name: str) -> Any: ...
        def __setattr__(self, name: str, value: Any) -> None: ...

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep inputs or outputs (tensors or None) for backward, checked against later writes."""
        self._to_save = _tensors("save_for_backward", tensors)

    def save_for_forward(self, *tensors: Tensor | None) -> None:
        """Keep tensors or None for ``jvp``."""
        self._for_forward = _tensors("save_for_forward", tensors)

    @property
    def saved_tensors(self) -> tuple[Any, ...]:  # each a Tensor, or the None that was saved
        """What was kept for backward (in jvp: for forward mode); raises when it was freed or modified."""
        if self._node is None:
            return self._for_forward or self._to_save
        node = self._node()
        if node is None:
            raise freed("Function")
        if node.saved is None:
            raise freed(node.name())
        linked = node.keep or not state.current().levels  # they have their place in the graph, as in PyTorch
        return tuple(unpack(node, s, linked) for s in node.saved)

    @property
    def saved_variables(self) -> tuple[Any, ...]:  # as saved_tensors
        """The old name of ``saved_tensors``."""
        return self.saved_tensors

    @property
    def to_save(self) -> tuple[Any, ...]:  # as saved_tensors
        """What forward has given to ``save_for_backward``."""
        return self._to_save

    @property
    def next_functions(self) -> tuple[Any, ...]:  # nodes with the index of an output
        """Where the gradients of the inputs go, as at any node."""
        return self._called().next_functions

    @property
    def metadata(self) -> dict[Any, Any]:  # the user's own
        """A dict of your own that lives as long as the node."""
        return self._called().metadata

    def name(self) -> str:
        """The name of the node: that of the function and Backward."""
        return self._called().name()

    def _called(self) -> FunctionNode:
        node = None if self._node is None else self._node()
        if node is None:
            raise GradientError("ctx: the call has no node in the graph yet; forward runs before it is made")
        return node

    def mark_shared_storage(self, *pairs: tuple[Tensor, Tensor]) -> None:
        """Accepted from old programs: which outputs share memory with inputs is found without it."""

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Name the inputs that forward wrote to in place; they must be among its outputs."""
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Name the outputs that have no gradient."""
        self._fixed = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Whether backward gets zeros (True) or None for outputs that no gradient reached."""
        self.materialize_grads = value


def _tensors(name: str, values: tuple[Any, ...]) -> tuple[Any, ...]:
    for t in values:
        if t is not None and not isinstance(t, Tensor):
            raise TypeError(f"{name} can only save tensors or None, got {type(t).__name__}")
    return values


class FunctionNode(Node):
    """The node of one call of a custom function; the attributes of its context can be read from it."""

    __slots__ = ("aliases", "cls", "context", "keep", "single")
    plain = False

    cls: type[Function]
    context: FunctionCtx
    keep: bool
    single: bool
    aliases: bool

    @property
    def fills(self) -> bool:
        return self.context.materialize_grads

    def __getattr__(self, name: str) -> Any:
        if name == "context":
            raise AttributeError(name)
        return getattr(self.context, name)

    def release(self) -> None:
        if self.saved:
            self.saved = None

    def backward(self, grad: Any, keep: bool) -> tuple[Any, ...]:
        if self.saved is None:
            raise freed(self.name())
        self.keep = keep
        grads = grad if grad.__class__ is list else [grad]
        # Inside a transform the mode stays: off, it would blind the outer levels.
        mode = state.enable_grad() if keep else nullcontext() if state.current().levels else state.no_grad()
        with mode:
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
                self._check_shape(g, edge, i)
                box_of(g)  # the user may hold it
        return found[: len(self.edges)]

    def _check_shape(self, g: Tensor, edge: Edge, i: int) -> None:
        """The gradient may be broadcast of its input's shape, and nothing else."""
        wanted = edge.node.shape[edge.index] if edge.__class__ is Slot else edge.shape
        have = g._array.shape
        fits = len(have) >= len(wanted) and all(
            w in (1, h) for w, h in zip(reversed(wanted), reversed(have), strict=False)
        )
        if not fits:
            raise GradientError(
                f"function {self.name()} returned an invalid gradient at index {i}: got shape {tuple(have)}, "
                f"expected a shape compatible with {tuple(wanted)}"
            )

    def apply(self, *grads: Any) -> Any:  # Any: what the author's backward takes and gives
        """Call the function's backward on gradients of the outputs."""
        return self.cls.backward(self.context, *grads)

    def name(self) -> str:
        return f"{self.cls.__name__}Backward"


def _node_class(cls: type[Function]) -> type[FunctionNode]:
    """The class of a function's nodes, which has its name."""
    if "_node_class" not in cls.__dict__:
        cls._node_class = type(f"{cls.__name__}Backward", (FunctionNode,), {"__slots__": ()})
    return cls._node_class


class _Custom:
    """Stands in for the record in error texts."""

    def __init__(self, name: str, outputs: int):
        self.name = name
        self.single = outputs == 1

    @property
    def schema(self) -> _Custom:
        return self


class FunctionMeta(type):
    """The class of the classes of functions."""

    @property
    def _backward_cls(cls) -> type[FunctionNode]:
        """The class of the nodes of this function's calls."""
        return _node_class(cls)  # type: ignore[arg-type]  # a Function


class Function(metaclass=FunctionMeta):
    """A differentiable function of your own: ``forward`` and ``backward``, called by :meth:`apply`.

    Either ``forward(ctx, *args)``, or ``forward(*args)`` beside ``setup_context(ctx, inputs, output)``. ``vmap(info,
    in_dims, *args) -> (output, out_dims)`` and ``jvp(ctx, *tangents)`` may give rules for the transforms; without
    them forward and backward are mapped over, and forward mode is made of backward.

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
    def forward(*args: Any, **kwargs: Any) -> Any:  # Any: so that a subclass can name its own, as below
        raise NotImplementedError("a Function needs a forward(ctx, *args), or forward(*args) beside setup_context")

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Any, ...], output: Any) -> None:  # Any: what forward gives
        raise NotImplementedError

    @staticmethod
    def backward(ctx: FunctionCtx, *args: Any, **kwargs: Any) -> Any:  # Any: as in forward
        raise NotImplementedError("a Function needs a backward(ctx, *grad_outputs) to be differentiated")

    @staticmethod
    def jvp(ctx: FunctionCtx, *args: Any, **kwargs: Any) -> Any:  # Any: as in forward
        raise NotImplementedError

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any, **kwargs: Any) -> Any:  # Any: as in forward
        raise NotImplementedError

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # Any: it raises
        raise RuntimeError(
            f"{type(self).__name__}: a Function is not called as an object; legacy functions with a non-static forward "
            "are deprecated: make forward and backward static, and call "
            f"{type(self).__name__}.apply(...)"
        )

    generate_vmap_rule = False  # accepted for PyTorch's sake: a rule is made wherever none is given
    _node_class: ClassVar[type[FunctionNode]]
    _signature: ClassVar[inspect.Signature]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "vjp" in cls.__dict__ and "backward" not in cls.__dict__:
            cls.backward = cls.vjp  # type: ignore[attr-defined, method-assign]

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:  # Any: what the subclass's forward takes and gives
        """Run forward without recording, and link the outputs to backward."""
        if cls.setup_context is not Function.setup_context:
            args, kwargs = _with_defaults(cls, args, kwargs), {}
        edges = tuple(edge_of(a) if isinstance(a, Tensor) else None for a in args)
        before = state.current()
        wants = before.grad and any(e is not None for e in edges)
        ctx = FunctionCtx(tuple(e is not None and wants for e in edges))
        level = _level(args) if before.levels else None
        # forward may keep its inputs, with their history; a transform looks at what is done to them
        inputs = args if level is None else tuple(_detached(a) if isinstance(a, Tensor) else a for a in args)
        back = {id(i): a for i, a in zip(inputs, args, strict=True)}
        if level is None:
            with state.no_grad():
                out = run_forward(cls, ctx, inputs, kwargs)
            kept = out
        else:
            out = level.custom(cls, inputs, kwargs)
            kept = fill(cls, ctx, inputs, kwargs, out) if wants else out
        outs = kept if isinstance(kept, tuple) else (kept,)
        _check_dirty(cls, ctx, outs)
        results = [_result(o, ctx, back, inputs) for o in (out if isinstance(out, tuple) else (out,))]
        if wants:
            _link(cls, ctx, inputs, edges, outs, results, back)
        return tuple(results) if isinstance(out, tuple) else results[0]


def run_forward(cls: type[Function], ctx: FunctionCtx, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The output of forward, the context filled."""
    if cls.setup_context is Function.setup_context:
        return cls.forward(ctx, *inputs, **kwargs)
    out = cls.forward(*inputs, **kwargs)
    cls.setup_context(ctx, inputs, out)
    return out


def fill(cls: type[Function], ctx: FunctionCtx, inputs: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> Any:
    """Fill the context at the level of ``inputs``; returns the outputs that it knows."""
    if cls.setup_context is Function.setup_context:  # forward fills it, so it runs here too, for that alone
        return run_forward(cls, ctx, inputs, kwargs)
    cls.setup_context(ctx, inputs, out)
    return out


def _with_defaults(cls: type[Function], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """The arguments by position, those left out too: setup_context sees them all."""
    if "_signature" not in cls.__dict__:
        cls._signature = inspect.signature(cls.forward)
    signature = cls._signature
    if not kwargs and len(args) == len(signature.parameters):
        return args
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    return bound.args


def _level(args: tuple[Any, ...]) -> Any:
    """The innermost transform among the arguments."""
    levels = [a._key.level for a in args if isinstance(a, Tensor) and a._key.level is not None]
    return max(levels, key=lambda v: v.depth, default=None)


def _check_dirty(cls: type[Function], ctx: FunctionCtx, outs: tuple[Any, ...]) -> None:
    if not all(any(d is o for o in outs) for d in ctx._dirty):
        raise GradientError(
            f"{cls.__name__}: some inputs that mark_dirty named were not returned; every input that forward writes to "
            "must be among its outputs"
        )


def _result(o: Any, ctx: FunctionCtx, back: dict[int, Any], inputs: tuple[Any, ...]) -> Any:
    """The output that the caller gets: a dirty input is the input itself, an untouched one a new tensor."""
    if not isinstance(o, Tensor):
        return o
    if any(o is d for d in ctx._dirty) and id(o) in back:
        return back[id(o)]
    if any(o is i for i in inputs):
        return _detached(o) if o._node is not None else _alias(o)
    return o


def _alias(o: Tensor) -> Tensor:
    t = blank()
    t._array, t._key, t._box, t._node = o._array, o._key, box_of(o), None
    return t


def _link(
    cls: type[Function], ctx: FunctionCtx, inputs: tuple[Any, ...], edges: Any, outs: Sequence[Any], results: list[Any],
    back: dict[int, Any],
) -> None:  # fmt: skip
    tensors = [r for r in results if isinstance(r, Tensor)]
    node = _node_class(cls)()
    dirty = {id(d) for d in ctx._dirty}
    boxes = {id(i._box) for i in inputs if isinstance(i, Tensor) and i._box is not None and id(i) not in dirty}
    node.aliases = any(id(t._box) in boxes for t in tensors if t._box is not None)
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
    ctx._node, ctx._to_save, ctx._for_forward = weakref.ref(node), (), ()
    now = state.current()
    if not now.plain and (now.saved_hooks or now.anomaly):
        watch_node(node, range(len(saved)), now)
    fixed = {id(t) for t in ctx._fixed}
    originals = [o for o in outs if isinstance(o, Tensor)]
    for i, (t, o) in enumerate(zip(tensors, originals, strict=True)):
        if id(o) in fixed or t._key.dtype.category < FLOATING:
            continue
        _attach(t, node if node.single else Slot(node, i), any(o is d for d in ctx._dirty), cls.__name__)


def _attach(t: Tensor, link: Edge, dirty: bool, name: str) -> None:
    """Link an output; one that was written in place counts as a write."""
    if not dirty:
        t._node = link
        return
    check_writable(OPS["copy"], t, True, state.current())
    box = box_of(t)
    mark_written(t, name)
    view = t._node
    if view.__class__ is View:
        before = edge_of(view.base)
        view.base._node = copy_slices(before, link, view.chain(), view.base)
        carry_keepers(before, view.base._node)
    else:
        carry_keepers(view, link)
        t._node = link
    box.generation += 1


def once_differentiable(fn: F) -> F:
    """Mark a backward that cannot be differentiated again: doing so raises instead of being wrong."""

    @wraps(fn)
    def wrapped(ctx: FunctionCtx, *grads: Any) -> Any:
        with state.no_grad():
            found = fn(ctx, *[None if g is None else _detached(g) for g in grads])
        node = ctx._node() if ctx._node is not None else None
        if node is None or not node.keep:
            return found
        outs = found if isinstance(found, tuple) else (found,)
        refused = tuple(_refuse(o, node) if isinstance(o, Tensor) else o for o in outs)
        return refused if isinstance(found, tuple) else refused[0]

    return wrapped  # type: ignore[return-value]  # as fn


def _refuse(o: Tensor, called: FunctionNode) -> Tensor:
    node = RefusingNode()
    node.op, node.params, node.saved = _Custom("once_differentiable", 1), {}, ()
    node.hooks = node.pre_hooks = node.trace = None
    node.edges, node.shape, node.key = called.edges, o._array.shape, o._key
    o._node = node
    return o


class RefusingNode(Node):
    """Raises when a gradient is asked for."""

    __slots__ = ()
    plain = False

    def backward(self, grad: Any, keep: bool) -> tuple[Any, ...]:
        raise GradientError("trying to differentiate twice a function that was marked with @once_differentiable")
