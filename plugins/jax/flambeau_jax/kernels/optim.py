"""Whole steps of optimizers, all parameters in one program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from flambeau.backends.strided import StridedArray
from flambeau.core import dtype as dt
from flambeau_jax.cells import Value
from flambeau_jax.kernels.reduce import wide

if TYPE_CHECKING:
    from flambeau_jax.backend import JaxBackend

Numbers = Sequence[Value]
Row = Sequence[Value]


def bind(backend: JaxBackend) -> None:
    def stepping(rule: Callable[..., Row]) -> Callable[..., list[StridedArray]]:
        def kernel(params: list[StridedArray], grads: list[StridedArray], *operands: Any, **options: bool) -> Any:
            state = [v for v in operands if isinstance(v, list)]
            numbers = [backend.operand(v, np.float64, params[0].index) for v in operands if not isinstance(v, list)]
            lists = [params, grads, *state]
            values = [backend.load(x) for xs in lists for x in xs]
            lengths = tuple([len(xs) for xs in lists])
            results = iter(backend.do(step, *values, *numbers, rule=rule, lengths=lengths, **options))
            for xs in (params, *(xs for xs in state if xs)):
                for x in xs:
                    backend.store(x, next(results))
            return []

        return kernel

    rules: dict[str, Callable[..., Row]] = {"sgd_step": sgd, "adam_step": adam}
    for name, rule in rules.items():
        backend.kernels.register(name, stepping(rule), (dt.float32, dt.float64, *dt.LOW_PRECISION))


def step(*values: Value, rule: Callable[..., Row], lengths: tuple[int, ...], **options: bool) -> tuple[Value, ...]:
    """A rule for each parameter with its gradient and state: all that is new, list by list."""
    lists, start = [], 0
    for n in lengths:
        lists.append(values[start : start + n])
        start += n
    numbers = values[start:]
    rows = []
    for row in zip(*(xs or repeat(None) for xs in lists), strict=False):
        first = wide(row[0])
        work = [None if v is None else wide(v) for v in row]
        found = rule(*work, numbers=[v.astype(first.dtype) for v in numbers], **options)
        rows.append([v.astype(row[0].dtype) for v in found])
    return tuple([row[i] for i in range(len(rows[0])) for row in rows])


def sgd(p: Value, g: Value, buffer: Value, *, numbers: Numbers, nesterov: bool, maximize: bool) -> Row:
    """param -= lr * direction, with a buffer of momentum where there is one. Sutskever et al., ICML 2013."""
    lr, weight_decay, momentum, dampening = numbers
    d = (-g if maximize else g) + p * weight_decay
    if buffer is None:
        return [p - d * lr]
    buffer = buffer * momentum + d * (1 - dampening)
    return [p - (d + buffer * momentum if nesterov else buffer) * lr, buffer]


def adam(
    p: Value, g: Value, first: Value, second: Value, largest: Value, *, numbers: Numbers, decoupled: bool,
    maximize: bool,
) -> Row:  # fmt: skip
    """Kingma and Ba, arXiv:1412.6980; decoupled decay: Loshchilov and Hutter, arXiv:1711.05101."""
    lr, beta1, beta2, eps, weight_decay, count = numbers
    d = -g if maximize else g
    if decoupled:
        p = p * (1 - lr * weight_decay)
    else:
        d = d + p * weight_decay
    first = first + (d - first) * (1 - beta1)
    second = second * beta2 + d * d * (1 - beta2)
    top = second if largest is None else jnp.maximum(largest, second)
    root = jnp.sqrt(1 - beta2**count)
    p = p - first / (jnp.sqrt(top) / root + eps) * (lr / (1 - beta1**count))
    return [p, first, second] if largest is None else [p, first, second, top]
