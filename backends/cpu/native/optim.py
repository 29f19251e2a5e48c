"""Steps of optimizers in machine code: all parameters of a list in one call, which passes over memory once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final

import numpy as np

from flambeau.backends.cpu.native.update import update
from flambeau.backends.llvm.target import Target
from flambeau.core.expr import Rule

Array = np.ndarray[Any, Any]


def sgd_step(
    target: Target, params: list[Array], grads: list[Array], buffers: list[Array], lr: float, weight_decay: float,
    momentum: float, dampening: float, *, nesterov: bool, maximize: bool,
) -> bool:  # fmt: skip
    """:func:`flambeau.backends.xp.optim.sgd` on lists; False, and nothing done, for what is not served."""
    rule = _sgd(bool(buffers), bool(weight_decay), dampening != 0, nesterov, maximize)
    columns = [params, grads, buffers] if buffers else [params, grads]
    return update(target, rule, columns, (lr, weight_decay, momentum, 1 - dampening))


@cache
def _sgd(momentum: bool, decay: bool, damped: bool, nesterov: bool, maximize: bool) -> Rule:
    lines = _direction(decay, maximize)
    if momentum:
        lines.append(("b", "b * momentum + d * taken" if damped else "b * momentum + d"))
        lines.append(("d", "d + b * momentum" if nesterov else "b"))
    lines.append(("p", "p - d * lr"))
    columns = ("p", "g", "b") if momentum else ("p", "g")
    return Rule(columns, ("lr", "decay", "momentum", "taken"), tuple(lines))


def adam_step(
    target: Target, params: list[Array], grads: list[Array], first: list[Array], second: list[Array],
    largest: list[Array], lr: float, beta1: float, beta2: float, eps: float, weight_decay: float, count: float, *,
    decoupled: bool, maximize: bool,
) -> bool:  # fmt: skip
    """:func:`flambeau.backends.xp.optim.adam` on lists; False, and nothing done, for what is not served."""
    rule = _adam(bool(largest), bool(weight_decay), decoupled, maximize)
    columns = [params, grads, first, second, *([largest] if largest else [])]
    root, size = (1 - beta2**count) ** 0.5, lr / (1 - beta1**count)
    decay = 1 - lr * weight_decay if decoupled else weight_decay
    return update(target, rule, columns, (decay, 1 - beta1, beta2, 1 - beta2, root, eps, size))


@cache
def _adam(amsgrad: bool, decay: bool, decoupled: bool, maximize: bool) -> Rule:
    lines = [("p", "p * decay")] if decay and decoupled else []
    lines += _direction(decay and not decoupled, maximize)
    lines += [("m", "m + (d - m) * new1"), ("v", "v * old2 + d * d * new2")]
    if amsgrad:
        lines.append(("most", "maximum(most, v)"))
    lines.append(("p", f"p - m / (sqrt({'most' if amsgrad else 'v'}) / root2 + tiny_) * size"))
    columns = ("p", "g", "m", "v", *(("most",) if amsgrad else ()))
    return Rule(columns, ("decay", "new1", "old2", "new2", "root2", "tiny_", "size"), tuple(lines))


def _direction(decay: bool, maximize: bool) -> list[tuple[str, str]]:
    """The gradient to go down, with the gradient of the penalty on the parameter's size."""
    d = "-g" if maximize else "g"
    return [("d", f"{d} + p * decay" if decay else d)]


KERNELS: Final[dict[str, Callable[..., bool]]] = {"sgd_step": sgd_step, "adam_step": adam_step}


def dense(row: Sequence[Array | None]) -> list[Array | None] | None:
    """A parameter, its gradient and state with their axes in the order of the parameter's memory; None with gaps.

    A gradient that lies otherwise is copied.
    """
    param = row[0]
    assert param is not None
    order = sorted(range(param.ndim), key=lambda i: -param.strides[i])
    turned = [None if x is None else x.transpose(order) for x in row]
    if (grad := turned[1]) is not None and not grad.flags.c_contiguous:
        turned[1] = grad.copy()
    return turned if all(x is None or x.flags.c_contiguous for x in turned) else None
