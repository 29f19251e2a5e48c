"""One step of an optimizer for one parameter, in place. Arrays of state have the parameter's shape.

Whatever may change from step to step is a number among the operands. float16 and bfloat16 parameters are
updated in float32 and rounded once.
"""

from __future__ import annotations

from typing import Any

from flambeau.backends.base import KernelTable
from flambeau.backends.xp import Array, Bodies
from flambeau.backends.xp.reduce import is_low, wide
from flambeau.core import dtype as dt

bodies = Bodies()


def bind(table: KernelTable, xp: Any) -> None:
    bodies.bind(table, xp)


def _decayed(xp: Any, grad: Array, param: Array, weight_decay: float, maximize: bool) -> Array:
    """The gradient to go down, with the gradient of the penalty on the parameter's size."""
    grad = xp.negative(grad) if maximize else grad
    return grad + param * weight_decay if weight_decay else grad


@bodies.kernel("sgd_step", dt.FLOATS)
def sgd_step(
    xp: Any,
    param: Array,
    grad: Array,
    buffer: Array | None,
    lr: float,
    weight_decay: float,
    momentum: float,
    dampening: float,
    *,
    nesterov: bool = False,
    maximize: bool = False,
) -> Array:
    """param -= lr * (gradient, or with a ``buffer`` of momentum what it has gathered); returns ``param``.

    buffer = momentum * buffer + (1 - dampening) * gradient. For a first step give zeros and no dampening.
    """
    if is_low(param):
        work = wide(xp, param)
        kept = None if buffer is None else wide(xp, buffer)
        options: dict[str, Any] = dict(nesterov=nesterov, maximize=maximize)
        param[...] = sgd_step(xp, work, wide(xp, grad), kept, lr, weight_decay, momentum, dampening, **options)
        if buffer is not None:
            buffer[...] = kept
        return param
    step = _decayed(xp, grad, param, weight_decay, maximize)
    if buffer is not None:
        xp.multiply(buffer, momentum, buffer)
        xp.add(buffer, step if dampening == 0 else step * (1 - dampening), buffer)
        step = step + buffer * momentum if nesterov else buffer
    return xp.subtract(param, xp.multiply(step, lr), param)


@bodies.kernel("adam_step", dt.FLOATS)
def adam_step(
    xp: Any,
    param: Array,
    grad: Array,
    first: Array,
    second: Array,
    largest: Array | None,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    count: float,
    *,
    decoupled: bool = False,
    maximize: bool = False,
) -> Array:
    """A step of Adam, the ``count``-th (from 1); returns ``param``.

    ``first`` and ``second`` are the running means of the gradient and of its square, ``largest`` (or None) the
    largest of the latter so far. ``decoupled`` shrinks the parameter instead of adding to the gradient. Sources:
    Kingma and Ba, arXiv:1412.6980; Loshchilov and Hutter, arXiv:1711.05101; Reddi et al., arXiv:1904.09237.
    """
    if is_low(param):
        state = (param, first, second, largest)
        work = [None if v is None else wide(xp, v) for v in state]
        options: dict[str, Any] = dict(decoupled=decoupled, maximize=maximize)
        adam_step(xp, work[0], wide(xp, grad), *work[1:], lr, beta1, beta2, eps, weight_decay, count, **options)
        for target, value in zip(state, work, strict=True):
            if target is not None:
                target[...] = value
        return param
    if decoupled and weight_decay:
        xp.multiply(param, 1 - lr * weight_decay, param)
    grad = _decayed(xp, grad, param, 0.0 if decoupled else weight_decay, maximize)
    xp.add(first, (grad - first) * (1 - beta1), first)
    xp.multiply(second, beta2, second)
    squares = grad * grad
    squares *= 1 - beta2
    xp.add(second, squares, second)
    if largest is not None:
        xp.maximum(largest, second, out=largest)
    root = xp.sqrt(second if largest is None else largest, squares)
    root /= (1 - beta2**count) ** 0.5
    root += eps
    step = xp.divide(first, root, root)
    step *= lr / (1 - beta1**count)
    return xp.subtract(param, step, param)
