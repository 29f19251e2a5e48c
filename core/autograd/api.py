"""backward and grad: gradients by the engine, with torch's arguments and errors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from flambeau.core import events
from flambeau.core.autograd.engine import accumulate, run_backward
from flambeau.core.blame import explain_functions
from flambeau.core.box import INFERENCE
from flambeau.core.creation import full_like, zeros_like
from flambeau.core.dispatch import tensor_of
from flambeau.core.dtype import FLOATING
from flambeau.core.errors import GradientError, ShapeError
from flambeau.core.graph import GradientEdge, Leaf, edge_of
from flambeau.core.public import public
from flambeau.core.tensor import Tensor

#: What a gradient is taken of, or by.
Roots: TypeAlias = Tensor | GradientEdge | Iterable[Tensor | GradientEdge]
Gradients: TypeAlias = Tensor | Iterable[Tensor | None] | None


def as_tuple(value: Any) -> tuple[Any, ...]:
    """One or several, in any iterable, as a tuple; a tensor and an edge are one."""
    if value.__class__ is tuple:
        return value
    several = isinstance(value, Iterable) and not isinstance(value, (Tensor, GradientEdge, str))
    return tuple(value) if several else (value,)


def _root_gradients(outputs: Sequence[Any], grads: Sequence[Any]) -> list[tuple[Any, Any]]:
    """(edge, gradient) for each output; a scalar's gradient is 1."""
    if len(grads) != len(outputs):
        raise GradientError(f"got {len(outputs)} tensors and {len(grads)} gradients; give one per tensor, or None")
    roots = []
    for i, (out, grad) in enumerate(zip(outputs, grads, strict=True)):
        if not isinstance(out, Tensor):
            if isinstance(out, GradientEdge):
                if grad is None:
                    raise GradientError(f"backward: element {i} of tensors is a GradientEdge; give its gradient")
                roots.append((out.edge, grad))
                continue
            raise TypeError(f"backward: element {i} of tensors must be a Tensor, got {type(out).__name__}")
        edge = edge_of(out)
        if edge is None:
            raise GradientError(
                f"element {i} of tensors does not require grad and does not have a grad_fn: its shape is "
                f"{tuple(out.shape)}, and it was made under no_grad(), from detached tensors, or from none that has "
                "requires_grad=True"
            )
        if grad is None:
            if out._array.shape != () and out.numel() != 1:
                raise GradientError(
                    f"grad can be implicitly created only for scalar outputs, but output {i} has shape "
                    f"{tuple(out.shape)}; give a gradient, or reduce with sum() or mean()"
                )
            if out._key.dtype.category > FLOATING:
                raise GradientError(f"grad can be implicitly created only for real scalar outputs, but got {out.dtype}")
            grad = _one(out)
        elif grad._array.shape != out._array.shape:
            raise ShapeError(
                f"Mismatch in shape: grad_output[{i}] has a shape of {tuple(grad.shape)} "
                f"and output[{i}] has a shape of {tuple(out.shape)}"
            )
        roots.append((edge, grad))
    return roots


def _one(out: Tensor) -> Tensor:
    """The gradient of a scalar with respect to itself, in memory of its own."""
    key = out._key
    if key.level is None and out._array.shape == ():
        return tensor_of(events.make(key, lambda: key.wrap(1.0)), key)
    return full_like(out, 1)


def backward(
    tensors: Roots, grad_tensors: Gradients = None, retain_graph: bool | None = None, create_graph: bool = False,
    grad_variables: Gradients = None, inputs: Roots | None = None,
) -> None:  # fmt: skip
    """Add the gradients of ``tensors`` to the ``grad`` of the leaves they came from.

    With ``inputs`` to the ``grad`` of those alone, computed tensors among them. ``grad_variables`` is an old name of
    ``grad_tensors``.

    >>> x = fb.tensor(3.0, requires_grad=True)
    >>> fb.autograd.backward(x * x)
    >>> x.grad
    tensor(6.)
    """
    if grad_variables is not None:
        if grad_tensors is not None:
            raise GradientError("backward: grad_tensors and grad_variables (its old name) are both given; give one")
        grad_tensors = grad_variables
    _go_back(tensors, grad_tensors, retain_graph, create_graph, inputs)


def _go_back(
    tensors: Roots, grad_tensors: Gradients, retain_graph: bool | None, create_graph: bool, inputs: Roots | None
) -> None:
    outputs = as_tuple(tensors)
    grads = (None,) * len(outputs) if grad_tensors is None else as_tuple(grad_tensors)
    targets: list[Any] | None = None
    chosen: tuple[Any, ...] = ()
    if inputs is not None:
        chosen = as_tuple(inputs)
        if not chosen:
            raise GradientError("backward: inputs must not be empty")
        targets = [_target(t, i, "backward") for i, t in enumerate(chosen)]
    keep = create_graph if retain_graph is None else retain_graph
    roots = _root_gradients(outputs, grads)
    found = run_backward(roots, keep_graph=keep, create_graph=create_graph, targets=targets)
    for t, g in dict(zip(chosen, found, strict=True)).items() if chosen else ():
        if g is not None and edge_of(t).__class__ is not Leaf and not t.retains_grad:
            accumulate(t, g, create_graph)


def _target(t: Any, i: int, where: str) -> Any:
    if isinstance(t, GradientEdge):
        return t.edge
    if not isinstance(t, Tensor):
        raise GradientError(f"{where}: all inputs have to be Tensors or GradientEdges, but got {type(t).__name__}")
    edge = edge_of(t)
    if edge is None:
        raise GradientError(f"{where}: input {i} does not require grad; call requires_grad_() on it before computing")
    return edge


def grad(
    outputs: Roots, inputs: Roots, grad_outputs: Gradients = None, retain_graph: bool | None = None,
    create_graph: bool = False, allow_unused: bool | None = None, materialize_grads: bool = False,
) -> tuple[Any, ...]:  # Tensors, and None for those unused  # fmt: skip
    """The gradients of ``outputs`` with respect to ``inputs``, without touching any ``grad``.

    An input that was not used raises, or gives None with ``allow_unused``, or zeros with ``materialize_grads``.

    >>> x = fb.tensor(2.0, requires_grad=True)
    >>> (g,) = fb.autograd.grad(x**3, x, create_graph=True)
    >>> fb.autograd.grad(g, x)
    (tensor(12.),)
    """
    if materialize_grads and allow_unused is False:
        raise ValueError(
            "grad: materialize_grads=True gives zeros for unused inputs, so allow_unused must not be False"
        )
    outs, ins = as_tuple(outputs), as_tuple(inputs)
    if not ins:
        raise GradientError("grad: inputs must not be empty")
    grads = (None,) * len(outs) if grad_outputs is None else as_tuple(grad_outputs)
    targets = [_target(t, i, "grad") for i, t in enumerate(ins)]
    keep = create_graph if retain_graph is None else retain_graph
    roots = _root_gradients(outs, grads)
    found = run_backward(roots, keep_graph=keep, create_graph=create_graph, targets=targets, accumulate=False)
    for i, g in enumerate(found):
        if g is not None:
            continue
        if materialize_grads:
            found[i] = zeros_like(ins[i])
        elif not allow_unused:
            raise GradientError(
                f"One of the differentiated Tensors (input {i}, shape {tuple(ins[i].shape)}) appears to not have been "
                "used in the graph. Set allow_unused=True if this is the desired behavior"
            )
    return tuple(found)


@public()
def is_inference(input: Tensor) -> bool:
    """Whether a tensor was made in :class:`inference_mode`.

    >>> with fb.inference_mode():
    ...     made = fb.ones(1)
    >>> made.is_inference(), fb.ones(1).is_inference()
    (True, False)
    """
    return input._box is INFERENCE


@public("backward", function=False)
def _backward(
    self: Tensor, gradient: Tensor | None = None, retain_graph: bool | None = None, create_graph: bool = False,
    inputs: Roots | None = None,
) -> None:  # fmt: skip
    """Add the gradients of this tensor to the ``grad`` of the leaves it came from.

    ``gradient`` weighs the elements; a scalar needs none. The graph is freed unless ``retain_graph``.

    >>> x = fb.tensor(3.0, requires_grad=True)
    >>> (x * x).backward()
    >>> x.grad
    tensor(6.)
    """
    _go_back((self,), (gradient,), retain_graph, create_graph, inputs)


explain_functions(globals(), "backward")
