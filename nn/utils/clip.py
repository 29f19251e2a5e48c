"""Gradients cut to a length or to a range, and parameters as one vector."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING, Final

from flambeau.core.blame import checking, explain_functions
from flambeau.core.events import host
from flambeau.core.from_data import tensor
from flambeau.core.ops.joining import cat, stack
from flambeau.core.ops.nn import step
from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor

if TYPE_CHECKING:
    from flambeau.core.expr import Rule  # lazy for start-up

Tensors = Tensor | Iterable[Tensor]
#: Who knows tensors of which other processes have parts: the norm over all of them, or None where there are none such.
OVER_RANKS: list[Callable[[list[Tensor], float], Tensor | None]] = []
#: The orders of norms that one call computes for a list, and of what they are made.
_FOLDS: Final = {1.0: "sum_sizes", 2.0: "sum_squares", math.inf: "max_size"}


@cache
def _scaled() -> Rule:
    from flambeau.core.expr import Rule  # lazy for start-up

    return Rule(("g",), ("factor",), (("g", "g * factor"),))


@cache
def _clamped() -> Rule:
    from flambeau.core.expr import Rule  # lazy for start-up

    return Rule(("g",), ("low", "high"), (("g", "where(g < low, low, g)"), ("g", "where(g > high, high, g)")))


def _with_gradients(parameters: Tensors) -> list[Tensor]:
    """The gradients of one tensor or of several."""
    found = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [p.grad for p in found if p.grad is not None]


def get_total_norm(
    tensors: Tensors, norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: bool | None = None
) -> Tensor:
    """The norm of the norms of tensors, as if they were one vector.

    >>> fb.nn.utils.get_total_norm([fb.tensor([3.0]), fb.tensor([4.0])])
    tensor(5.)
    """
    rows = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    return _total_norm(rows, float(norm_type), error_if_nonfinite)


def _total_norm(rows: list[Tensor], norm_type: float, error_if_nonfinite: bool) -> Tensor:
    if not rows:
        return tensor(0.0)
    first = rows[0].device
    with no_grad():
        total = next((n for over in OVER_RANKS if (n := over(rows, norm_type)) is not None), None)
        if total is None:
            total = _norm_at_once(rows, norm_type)
        if total is None:
            norms = stack([t.detach().norm(norm_type).to(first) for t in rows])
            total = norms.max() if norm_type == math.inf else norms.norm(norm_type)
    if error_if_nonfinite and not math.isfinite(total.item()):
        raise RuntimeError(
            f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, so it cannot be "
            "clipped. "
            "To disable this error and scale the gradients by the non-finite norm anyway, set "
            "`error_if_nonfinite=False`"
        )
    return total


def largest_size(tensors: list[Tensor]) -> Tensor | None:
    """The largest size of all elements, on all ranks that have parts of them; None where there is no element."""
    with no_grad():
        over = next((n for over in OVER_RANKS if (n := over(tensors, math.inf)) is not None), None)
    some = [t for t in tensors if t.numel()]
    return over if over is not None else _total_norm(some, math.inf, False) if some else None


def _norm_at_once(tensors: list[Tensor], norm_type: float) -> Tensor | None:
    """The norm of tensors as one vector, where the device computes it in one call."""
    fold = _FOLDS.get(norm_type)
    found = None if fold is None else step.total(tensors, fold)
    if found is None:
        return None
    if norm_type == 2:
        found = host(math.sqrt, found)
    return tensor(found, dtype=tensors[0].dtype, device=tensors[0].device)


def clip_grads_with_norm_(
    parameters: Tensors, max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Scale the gradients, in place, by max_norm / total_norm where that is below 1.

    >>> w = fb.ones(1, requires_grad=True)
    >>> (w * 4).sum().backward()
    >>> fb.nn.utils.clip_grads_with_norm_([w], 1.0, fb.tensor(4.0))
    >>> w.grad
    tensor([1.0000])
    """
    _scale(_with_gradients(parameters), float(max_norm), total_norm)


def _scale(grads: list[Tensor], max_norm: float, total_norm: Tensor) -> None:
    if not grads:
        return
    with no_grad():
        factor = max_norm / (total_norm + 1e-6)
        if step.update(_scaled(), [grads], [host(min, factor.item(), 1.0)], "mul_"):  # the first where it is nan
            return
        factor = factor.clamp(max=1.0)
        for g in grads:
            g.mul_(factor.to(g.device))


def scale_gradients(grads: list[Tensor], factor: float) -> None:
    """Multiply gradients by a number in place, where the device can in one call."""
    if step.update(_scaled(), [grads], [factor], "mul_"):
        return
    for g in grads:
        g.mul_(factor)


def clip_grad_norm_(
    parameters: Tensors, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:  # fmt: skip
    """Scale the gradients, in place, so that their norm together is at most ``max_norm``; the norm before.

    Pascanu, Mikolov and Bengio, arXiv:1211.5063.

    >>> w = fb.ones(2, requires_grad=True)
    >>> (w * fb.tensor([3.0, 4.0])).sum().backward()
    >>> fb.nn.utils.clip_grad_norm_([w], 1.0)
    tensor(5.)
    >>> w.grad
    tensor([0.6000, 0.8000])
    """
    grads = _with_gradients(parameters)
    total = _total_norm(grads, float(norm_type), error_if_nonfinite)
    _scale(grads, float(max_norm), total)
    return total


def clip_grad_value_(parameters: Tensors, clip_value: float, foreach: bool | None = None) -> None:
    """Cut every element of the gradients, in place, to ±clip_value.

    >>> w = fb.ones(2, requires_grad=True)
    >>> (w * fb.tensor([3.0, 0.5])).sum().backward()
    >>> fb.nn.utils.clip_grad_value_([w], 1.0)
    >>> w.grad
    tensor([1.0000, 0.5000])
    """
    limit = float(clip_value)
    grads = _with_gradients(parameters)
    with no_grad():
        if step.update(_clamped(), [grads], [-limit, limit], "clamp_"):
            return
        for g in grads:
            g.clamp_(min=-limit, max=limit)


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """The elements of all parameters as one vector.

    >>> fb.nn.utils.parameters_to_vector([fb.ones(1), fb.zeros(2)])
    tensor([1., 0., 0.])
    """
    return cat([p.reshape(-1) for p in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Set the parameters, in order, to the elements of a vector.

    >>> w = fb.nn.Parameter(fb.zeros(2))
    >>> fb.nn.utils.vector_to_parameters(fb.ones(2), [w])
    >>> w
    Parameter containing:
    tensor([1., 1.], requires_grad=True)
    """
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected a Tensor, got {type(vec).__name__}")
    at = 0
    for p in parameters:
        n = p.numel()
        p.data = vec[at : at + n].reshape(tuple(p.shape)).detach().clone()
        at += n


explain_functions(globals(), wrap=checking)
