"""Steps of optimizers, in place, on lists of parameters, of their gradients, and of state of the same shapes.

A list of state is empty where there is none. Whatever may change from step to step is a number among the
operands. float16 and bfloat16 parameters are updated in float32 and rounded once.

Each step is made once for a list (``make(xp, number, *numbers, **options)`` with the constants as the namespace
likes them) and then called for each parameter with its gradient and state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import repeat
from typing import Any

from flambeau.backends.xp import Array, Namespace
from flambeau.backends.xp.reduce import is_low, wide

Step = Callable[..., Any]
Number = Callable[[float], Any]


def kernel(
    make: Callable[..., Step],
    xp: Namespace,
    constant: Callable[[float, Any], Any],
    call: Callable[[Step, Sequence[Array]], None],
    params: Sequence[Array],
    grads: Sequence[Array],
    *operands: Any,
    **options: Any,
) -> list[Array]:
    """A kernel on lists: ``call`` runs the step for the arrays of one parameter."""
    state = [v for v in operands if isinstance(v, list)]
    low = is_low(params[0])
    dtype = xp.dtype("float32") if low else params[0].dtype
    step = make(xp, lambda value: constant(value, dtype), *operands[len(state) :], **options)
    step = partial(_widened, xp, step) if low else step
    for row in zip(params, grads, *(v or repeat(None) for v in state), strict=False):
        if not row[0].ndim:  # of operands without axes numpy makes scalars, which nothing can be written to
            row = tuple([None if v is None else v.reshape(1) for v in row])
        call(step, row)
    return []


def _widened(xp: Namespace, step: Step, *row: Array | None) -> None:
    """A step in float32, rounded once at the end."""
    work = [None if v is None else wide(xp, v) for v in row]
    step(*work)
    for target, value in zip(row[:1] + row[2:], work[:1] + work[2:], strict=True):
        if target is not None:
            target[...] = value


def _decaying(xp: Namespace, number: Number, weight_decay: float, maximize: bool) -> Callable[[Array, Array], Array]:
    """The gradient to go down, with the gradient of the penalty on the parameter's size."""
    rate = number(weight_decay)

    def direction(param: Array, grad: Array) -> Array:
        grad = xp.negative(grad) if maximize else grad
        return xp.add(grad, xp.multiply(param, rate)) if weight_decay else grad

    return direction


def sgd(
    xp: Namespace,
    number: Number,
    lr: float,
    weight_decay: float,
    momentum: float,
    dampening: float,
    *,
    nesterov: bool,
    maximize: bool,
) -> Step:
    """param -= lr * (gradient, or with a ``buffer`` of momentum what it has gathered).

    buffer = momentum * buffer + (1 - dampening) * gradient. For a first step give zeros and no dampening.
    """
    multiply, add, subtract, rate = xp.multiply, xp.add, xp.subtract, number(lr)

    def plain(param: Array, grad: Array, buffer: None) -> None:
        subtract(param, multiply(grad, rate), param)

    if not weight_decay and not maximize and not momentum:
        return plain
    direction = _decaying(xp, number, weight_decay, maximize)
    kept, taken = number(momentum), number(1 - dampening)

    def general(param: Array, grad: Array, buffer: Array | None) -> None:
        step = direction(param, grad)
        if buffer is not None:
            multiply(buffer, kept, buffer)
            add(buffer, step if dampening == 0 else multiply(step, taken), buffer)
            step = add(step, multiply(buffer, kept)) if nesterov else buffer
        subtract(param, multiply(step, rate), param)

    return general


def adam(
    xp: Namespace, number: Number, lr: float, beta1: float, beta2: float, eps: float, weight_decay: float, count: float,
    *, decoupled: bool, maximize: bool,
) -> Step:  # fmt: skip
    """A step of Adam, the ``count``-th (from 1).

    ``first`` and ``second`` are the running means of the gradient and of its square, ``largest`` (or None) the
    largest of the latter so far. ``decoupled`` shrinks the parameter instead of adding to the gradient. Sources:
    Kingma and Ba, arXiv:1412.6980; Loshchilov and Hutter, arXiv:1711.05101; Reddi et al., arXiv:1904.09237.
    """
    multiply, add, subtract, divide, sqrt = xp.multiply, xp.add, xp.subtract, xp.divide, xp.sqrt
    direction = _decaying(xp, number, 0.0 if decoupled else weight_decay, maximize)
    shrink = number(1 - lr * weight_decay) if decoupled and weight_decay else None
    new1, old2, new2 = number(1 - beta1), number(beta2), number(1 - beta2)
    root2, size, tiny = number((1 - beta2**count) ** 0.5), number(lr / (1 - beta1**count)), number(eps)

    def step(param: Array, grad: Array, first: Array, second: Array, largest: Array | None) -> None:
        if shrink is not None:
            multiply(param, shrink, param)
        grad = direction(param, grad)
        work = subtract(grad, first)
        add(first, multiply(work, new1, work), first)
        multiply(second, old2, second)
        multiply(grad, grad, work)
        add(second, multiply(work, new2, work), second)
        if largest is not None:
            xp.maximum(largest, second, out=largest)
        sqrt(second if largest is None else largest, work)
        add(divide(work, root2, work), tiny, work)
        divide(first, work, work)
        subtract(param, multiply(work, size, work), param)

    return step
