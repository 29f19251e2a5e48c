"""torch.autograd.graph: edges of the graph, hooks on several gradients, and what happens to saved values."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from flambeau.core.box import box_of, mark_written
from flambeau.core.errors import GradientError
from flambeau.core.graph import GradientEdge, Handle, Leaf, WalkHook, edge_of, place_of
from flambeau.core.graph import Node as _Node
from flambeau.core.locks import fork_safe
from flambeau.core.state import State, _Scope
from flambeau.core.tape.modes import saved_tensors_hooks
from flambeau.core.tensor import Tensor

__all__ = [
    "GradientEdge", "Node", "allow_mutation_on_saved_tensors", "disable_saved_tensors_hooks", "get_gradient_edge",
    "increment_version", "region_activation_memory_budget", "register_multi_grad_hook", "save_on_cpu",
    "saved_tensors_hooks", "set_override_stale_capture_stream", "set_warn_on_accumulate_grad_stream_mismatch",
]  # fmt: skip


class _NodeMeta(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, (_Node, Leaf))

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, (_Node, Leaf))


class Node(metaclass=_NodeMeta):
    """What a ``grad_fn`` is: an op of the graph, or the end of it at a leaf.

    >>> x = fb.ones(1, requires_grad=True)
    >>> isinstance((x * 2).grad_fn, fb.autograd.graph.Node)
    True
    """

    # Nodes of the graph are of classes of their own: what is called here is theirs.
    def name(self) -> str:
        """The name of its kind, as ``"MulBackward0"``."""
        return str(self.name())

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:  # Any: a node, or None where no gradient goes
        """Where the gradients of its inputs go: nodes, and which of their outputs the inputs were."""
        return tuple(self.next_functions)

    @property
    def metadata(self) -> dict[Any, Any]:
        """A dict of your own that lives as long as the node."""
        return dict(self.metadata)

    def register_hook(self, fn: Callable[..., Any]) -> Handle:
        """Call ``fn(grad_inputs, grad_outputs)`` after it in every backward."""
        return self.register_hook(fn)

    def register_prehook(self, fn: Callable[..., Any]) -> Handle:
        """Call ``fn(grad_outputs)`` before it in every backward."""
        return self.register_prehook(fn)


def get_gradient_edge(tensor: Tensor) -> GradientEdge:
    """Where the gradient of ``tensor`` goes: ``grad`` takes it in the tensor's place, which may be gone by then.

    >>> x = fb.tensor(3.0, requires_grad=True)
    >>> edge = get_gradient_edge(x)
    >>> fb.autograd.grad(x * x, edge)
    (tensor(6.),)
    """
    edge = edge_of(tensor)
    if edge is None:
        raise GradientError("get_gradient_edge: the tensor does not require grad")
    return GradientEdge(*place_of(edge))


def register_multi_grad_hook(tensors: Sequence[Tensor], fn: Callable[..., Any], *, mode: str = "all") -> Handle:
    """Call ``fn`` once in each backward for several tensors.

    ``mode="all"``: ``fn(gradients)`` when the last of those that this backward reaches is there, None for the
    others. ``mode="any"``: ``fn(gradient)`` with the first.
    """
    if mode not in ("all", "any"):
        raise ValueError(f"register_multi_grad_hook: mode must be 'all' or 'any', got {mode!r}")
    gathered = _Gathering(tuple(tensors), fn, mode == "any")
    handles = [t.register_hook(WalkHook(partial(gathered.arrived, i))) for i, t in enumerate(tensors)]

    def remove() -> None:
        for handle in handles:
            handle.remove()

    return Handle.calling(remove)


class _Gathering:
    """What arrived for a multi-gradient hook, for each running backward."""

    def __init__(self, tensors: tuple[Tensor, ...], fn: Callable[..., Any], first: bool):
        self.edges = [get_gradient_edge(t) for t in tensors]
        self.fn, self.first = fn, first
        self.lock = fork_safe(threading.Lock())
        # By walk: who is still awaited, and what is there.
        self.walks: weakref.WeakKeyDictionary[Any, tuple[set[int], list[Any]]] = weakref.WeakKeyDictionary()

    def arrived(self, i: int, walk: Any, grad: Any) -> None:
        with self.lock:
            opens = walk not in self.walks
            if opens:
                reached = {j for j, e in enumerate(self.edges) if walk.reaches(e.node)}
                self.walks[walk] = (reached, [None] * len(self.edges))
            awaited, got = self.walks[walk]
            got[i] = grad
            awaited.discard(i)
            complete = not awaited
        if self.first and opens:
            self.fn(grad)
        elif complete and not self.first:
            self.fn(got)


class save_on_cpu(saved_tensors_hooks):
    """What nodes save inside is kept in the host's memory, and moved back when backward reads it."""

    def __init__(self, pin_memory: bool = False, device_type: str | None = None):
        def pack(t: Tensor) -> tuple[Any, Tensor]:
            host = t.detach().to("cpu", copy=True)
            return t.device, host.pin_memory() if pin_memory else host

        def unpack(packed: tuple[Any, Tensor]) -> Tensor:
            device, host = packed
            return host.to(device)

        super().__init__(pack, unpack)


class disable_saved_tensors_hooks(_Scope):
    """Entering :class:`saved_tensors_hooks` inside raises with this text."""

    def __init__(self, error_message: str):
        super().__init__()
        self._text = error_message

    def _next(self, state: State) -> State:
        return state.replace(saved_hooks=(*state.saved_hooks, self._text))

    def _copy(self) -> _Scope:
        return disable_saved_tensors_hooks(self._text)


def _as_it_is(t: Tensor) -> Tensor:
    return t


class allow_mutation_on_saved_tensors(saved_tensors_hooks):
    """What is saved inside may be written to afterwards: backward reads a copy made when it was saved."""

    def __init__(self) -> None:
        super().__init__(lambda t: t.clone(), _as_it_is)

    def _next(self, state: State) -> State:
        if any(pair.__class__ is tuple and pair[1] is _as_it_is for pair in state.saved_hooks):
            raise GradientError("allow_mutation_on_saved_tensors contexts cannot be nested")
        return super()._next(state)

    def _copy(self) -> _Scope:
        return allow_mutation_on_saved_tensors()

    def clear(self) -> None:
        """Accepted for PyTorch's sake: the copies belong to the nodes, and go with them."""


def increment_version(tensor: Tensor | Sequence[Tensor]) -> None:
    """Count a write that autograd did not see: gradients that need the old value then raise."""
    for t in (tensor,) if isinstance(tensor, Tensor) else tensor:
        if edge_of(t).__class__ is Leaf and t.dtype.category < 2:
            continue
        box_of(t)
        mark_written(t, "increment_version")


def region_activation_memory_budget(budget: float) -> None:
    """How much of a compiled region's activations to keep; without a compiler it raises, as in PyTorch."""
    if not 0 <= budget <= 1:
        raise ValueError(f"region_activation_memory_budget: budget must be in [0, 1], got {budget!r}")
    raise RuntimeError(
        "region_activation_memory_budget: it can only be used inside a compiled region; it has no effect in eager mode"
    )


def set_warn_on_accumulate_grad_stream_mismatch(enabled: bool) -> None:
    """Accepted for PyTorch's sake: gradients here are made and added on one stream, so nothing can mismatch."""


def set_override_stale_capture_stream(enabled: bool) -> None:
    """Accepted for PyTorch's sake: backward here is never captured on a stream of its own."""
