"""Steps of optimizers: one launch for each parameter."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import repeat

from flambeau.backends import layout as lay
from flambeau.backends.dialect import optim as texts
from flambeau.backends.dialect.launch import Launch
from flambeau.backends.launched.device import Arrays
from flambeau.backends.launched.launcher import Launcher
from flambeau.backends.strided import StridedArray
from flambeau.core import dtype as dt


def register(backend: Launcher) -> None:
    """Enter the steps."""
    backend.kernels.register("sgd_step", partial(sgd_step, backend), dt.FLOATS)
    backend.kernels.register("adam_step", partial(adam_step, backend), dt.FLOATS)


def sgd_step(
    backend: Launcher, params: Arrays, grads: Arrays, buffers: Arrays, lr: float, weight_decay: float,
    momentum: float, dampening: float, *, nesterov: bool, maximize: bool,
) -> list[StridedArray]:  # fmt: skip
    """params -= lr * (gradient, or with ``buffers`` what momentum has gathered)."""
    numbers = (lr, weight_decay, momentum, 1 - dampening)
    make = partial(texts.sgd, numbers=numbers, nesterov=nesterov, maximize=maximize)
    return _each(backend, make, zip(grads, params, buffers or repeat(None), strict=False))


def adam_step(
    backend: Launcher, params: Arrays, grads: Arrays, first: Arrays, second: Arrays, largest: Arrays, lr: float,
    beta1: float, beta2: float, eps: float, weight_decay: float, count: float, *, decoupled: bool, maximize: bool,
) -> list[StridedArray]:  # fmt: skip
    """A step of Adam, the ``count``-th (from 1); ``largest`` is empty unless amsgrad."""
    size, root = lr / (1 - beta1**count), (1 - beta2**count) ** 0.5
    decay = 1 - lr * weight_decay if decoupled else weight_decay
    numbers = (size, 1 - beta1, beta2, 1 - beta2, root, eps, decay)
    make = partial(texts.adam, numbers=numbers, decoupled=decoupled, maximize=maximize)
    return _each(backend, make, zip(grads, params, first, second, largest or repeat(None), strict=False))


def _each(
    backend: Launcher, make: Callable[..., Launch], rows: Iterable[tuple[StridedArray | None, ...]]
) -> list[StridedArray]:
    """Launch a step for each row of (gradient, parameter, state...)."""
    for row in rows:
        given = [x for x in row if x is not None]
        if given[0].size:
            _one(backend, make, given)
    return []


def _one(backend: Launcher, make: Callable[..., Launch], given: list[StridedArray]) -> None:
    """Where the layouts differ or have gaps, on copies, which are then written back."""
    param = given[1]
    flat = all(x.strides == param.strides for x in given) and _has_no_gaps(param)
    work = given if flat else [backend.dense(x) for x in given]
    device = backend.device(param.index)
    launch = make(device, param.dtype, param.size, [x.offset for x in work])
    device.enqueue(launch, [work[0]], work[1:])
    for target, value in zip(given[1:], work[1:], strict=True):
        if value is not target:
            backend.copy_into(target, value)


def _has_no_gaps(x: StridedArray) -> bool:
    """Whether the elements are contiguous in some order of the axes, first element first."""
    order = sorted(range(x.ndim), key=lambda a: -x.strides[a])
    return lay.is_contiguous(tuple(x.shape[a] for a in order), tuple(x.strides[a] for a in order))
