"""Moving a tensor's values to another device: within one backend, or by way of host memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Final

from flambeau.backends.base import Array
from flambeau.core.device import device
from flambeau.core.dispatch import kernel_call, tensor_of
from flambeau.core.keys import Key, key_for
from flambeau.core.record import OPS
from flambeau.core.tensor import Tensor

_waiting: Final = ContextVar("flambeau_waiting", default=True)


@contextmanager
def without_waiting() -> Iterator[None]:
    """Inside, a copy from pinned memory to a device returns before it is done: ``non_blocking=True``."""
    token = _waiting.set(False)
    try:
        yield
    finally:
        _waiting.reset(token)


def move(x: Tensor, target: device) -> Tensor:
    """A copy of a plain tensor on ``target``, contiguous and without history.

    A backend that copies between its own devices does so (:meth:`Backend.move`); everything else goes
    through host memory. A target without data takes the shape alone.
    """
    source, goal = x._key, key_for(target, x._key.dtype)
    kernel = partial(_moved, source, goal, not _waiting.get())
    return tensor_of(kernel_call(OPS["to_device"], kernel, [x._array], {"device": target}, source), goal)


def _moved(source: Key, goal: Key, later: bool, array: Array, *, device: device) -> Array:
    if goal.backend.has("no_data"):
        return goal.backend.empty(tuple(array.shape), goal.stored, device.number)
    if goal.backend is source.backend and goal.stored is source.stored:
        moved = goal.backend.move(array, device.number)
        if moved is not None:
            return moved
    return goal.from_host(source.to_host(array), later=later)
