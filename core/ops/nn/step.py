"""Optimizer steps over lists of parameters: one record each, which writes to all its lists but the gradients.

A backend may have one kernel for a whole step. Numbers that change from step to step (learning rate, bias
corrections) are Scalar operands. The bodies do the same with in-place ops, for every other backend.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from flambeau.core import dispatch
from flambeau.core.box import INFERENCE, mark_written
from flambeau.core.declare import OpFunction, composite
from flambeau.core.errors import GradientError
from flambeau.core.keys import Key
from flambeau.core.record import DTypeRule
from flambeau.core.state import get
from flambeau.core.tensor import Tensor

if TYPE_CHECKING:
    from flambeau.core.expr import Rule  # lazy for start-up

Tensors: TypeAlias = Sequence[Tensor]
Step: TypeAlias = Callable[..., list[Tensor]]
_by_first = DTypeRule("step", promotes=False)


def _step(schema: str) -> Callable[[Step], OpFunction[list[Tensor]]]:
    """A record that writes to its operands and returns nothing: an empty list."""
    return composite(f"{schema} -> Tensor[]", dtype=_by_first, differentiable=False, upcast=False, public=False)


def run(function: OpFunction[list[Tensor]], lists: Sequence[Tensors], *scalars: float, **params: bool) -> None:
    """Run a step on lists of plain tensors of one dispatch key: parameters, gradients, and then lists of state."""
    if not lists[0]:
        return
    op, key, state = function.op, lists[0][0]._key, get()
    kernel = getattr(key, op.name) if key.level is None else None
    written = (lists[0], *lists[2:])
    if state is not None and not state.inference and any(INFERENCE in [t._box for t in ts] for ts in written):
        raise GradientError(
            f"{op.name}: a step that writes to inference tensors outside inference mode is not allowed; clone() them "
            "there, which gives ordinary tensors"
        )
    if kernel is not None and state is not None and state.plain:
        kernel(*[[t._array for t in tensors] for tensors in lists], *scalars, **params)
    else:
        dispatch.call(op, [*lists, *scalars], params)
    if kernel is None:
        return  # the body's in-place ops have counted their writes
    name = op.name
    for tensors in written:
        for t in tensors:
            mark_written(t, name)


def updates(x: Tensor) -> bool:
    """Whether :func:`update` may serve a tensor."""
    key, state = x._key, get()
    return state is not None and state.plain and key.level is None and getattr(key, "update_lists", None) is not None


def update(rule: Rule, lists: Sequence[Tensors], numbers: Sequence[float], name: str) -> bool:
    """Change lists of tensors by a rule in one kernel; False, and nothing done, where that does not serve.

    It serves what records nothing, on a device that has the kernel: tensors of one dispatch key, no two of which share
    a part of their memory. ``name`` is what errors call the writer.
    """
    first, state = lists[0], get()
    if not first or state is None or not updates(first[0]):
        return False
    key = first[0]._key
    for tensors in lists:
        for t in tensors:
            if t._key is not key or (state.grad and t._node is not None) or t._box is INFERENCE:
                return False
    if not (_apart(t for ts in lists for t in ts) or all(_apart(row) for row in zip(*lists, strict=True))):
        return False
    if not key.update_lists(rule, [[t._array for t in tensors] for tensors in lists], numbers):
        return False
    for tensors, written in zip(lists, rule.written, strict=True):
        if written:
            for t in tensors:
                mark_written(t, name)
    return True


def outputs(tensors: Tensors) -> list[Tensor]:
    """New tensors of the shapes of others that :func:`updates` serves, with anything in them."""
    key = tensors[0]._key
    make, stored, number = key.backend.empty, key.stored, key.device.number
    return [dispatch.tensor_of(make(t._array.shape, stored, number), key) for t in tensors]


def _apart(tensors: Iterable[Tensor]) -> bool:
    """Whether tensors are of different storages, or the same one."""
    boxes = {id(t): id(t._box) for t in tensors if t._box is not None}
    return len(set(boxes.values())) == len(boxes)


def total(tensors: Tensors, fold: str) -> float | None:
    """The sum of the squares ("sum_squares") or sizes, or the largest size ("max_size"), of the elements of tensors.

    None where no kernel does it in one call.
    """
    state = get()
    if not tensors or state is None or not state.plain:
        return None
    key = tensors[0]._key
    kernel = getattr(key, "total_of_lists", None) if key.level is None else None
    if kernel is None or any(t._key is not key for t in tensors):
        return None
    found: float | None = kernel([t._array for t in tensors], fold)
    return found


def by_key(parameters: Tensors, sparse: Callable[[Tensor], None]) -> list[tuple[list[Tensor], list[Tensor]]]:
    """Parameters that have a gradient, and the gradients, in lists of one dispatch key each.

    Those whose gradient is sparse stand in none of them: ``sparse`` is given each.
    """
    groups: dict[Key, tuple[list[Tensor], list[Tensor]]] = {}
    last: Key | None = None
    ps: list[Tensor] = []
    gs: list[Tensor] = []
    for p in parameters:
        g = p.grad
        if g is None:
            continue
        if g.__class__ is not Tensor and g.is_sparse:
            sparse(p)
            continue
        key = p._key
        if key is not last:
            if key not in groups:
                groups[key] = ([], [])
            (ps, gs), last = groups[key], key
        ps.append(p)
        gs.append(g if g._key is key else g.to(p))
    return list(groups.values())


# -- SGD ---------------------------------------------------------------------------------------------
@_step(
    "sgd_step(params: Tensor[], grads: Tensor[], buffers: Tensor[], lr: Scalar, weight_decay: Scalar, "
    "momentum: Scalar, dampening: Scalar, *, nesterov: bool, maximize: bool)"
)
def sgd_step_p(
    params: Tensors, grads: Tensors, buffers: Tensors, lr: float, weight_decay: float, momentum: float,
    dampening: float, *, nesterov: bool, maximize: bool,
) -> list[Tensor]:  # fmt: skip
    """params -= lr * d for the gradient d, or with momentum for buffers = momentum * buffers + (1 - dampening) * d.

    ``buffers`` is empty without momentum. Nesterov: d + momentum * buffers. Sutskever et al., ICML 2013.
    """
    decays = bool(weight_decay)  # asked once: whoever records the step branches there
    for i, (p, g) in enumerate(zip(params, grads, strict=True)):
        d = -g if maximize else g
        if decays:
            d = d + p * weight_decay
        if buffers:
            b = buffers[i].mul_(momentum).add_(d, alpha=1 - dampening)
            d = d + b * momentum if nesterov else b
        p.add_(d, alpha=-lr)
    return []


def kept(x: Tensor) -> Tensor:
    """A state as the step has it: where that is recorded a copy, since the next step writes over it."""
    return x.clone() if x.requires_grad else x


# -- Adam --------------------------------------------------------------------------------------------
@_step(
    "adam_step(params: Tensor[], grads: Tensor[], first: Tensor[], second: Tensor[], largest: Tensor[], lr: Scalar, "
    "beta1: Scalar, beta2: Scalar, eps: Scalar, weight_decay: Scalar, count: Scalar, *, decoupled: bool, maximize: "
    "bool)"
)
def adam_step_p(
    params: Tensors, grads: Tensors, first: Tensors, second: Tensors, largest: Tensors, lr: float, beta1: float,
    beta2: float, eps: float, weight_decay: float, count: float, *, decoupled: bool, maximize: bool,
) -> list[Tensor]:  # fmt: skip
    """params -= lr / (1 - beta1^n) * first / (sqrt(second) / sqrt(1 - beta2^n) + eps), after both took in the gradient.

    n is ``count``, from 1; ``largest`` is empty unless amsgrad. Kingma and Ba, arXiv:1412.6980; decoupled decay:
    Loshchilov and Hutter, arXiv:1711.05101.
    """
    size, root = lr / (1 - beta1**count), (1 - beta2**count) ** 0.5
    decays = bool(weight_decay)
    for i, (p, g) in enumerate(zip(params, grads, strict=True)):
        d = -g if maximize else g
        if decays and decoupled:
            p.mul_(1 - lr * weight_decay)
        elif decays:
            d = d + p * weight_decay
        m = first[i].lerp_(d, 1 - beta1)
        v = second[i].mul_(beta2).add_(d * d, alpha=1 - beta2)
        if largest:
            v = largest[i].copy_(largest[i].maximum(v))
        p.add_(kept(m) / (v.sqrt() / root + eps), alpha=-size)
    return []
