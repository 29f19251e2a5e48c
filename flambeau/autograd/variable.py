"""``Variable``, what tensors with gradients were called: every tensor is one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau.core.autograd import policy
from flambeau.core.creation import empty
from flambeau.core.tensor import Tensor

__all__ = ["Variable", "VariableMeta"]


class Engine:
    """The engine of backward, as far as programs speak to it."""

    def queue_callback(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` when the backward that runs now is done."""
        policy.queue_callback(callback)


class VariableMeta(type):
    """Makes every tensor an instance of :class:`Variable`."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, Tensor)

    def __call__(cls, data: Any = None, requires_grad: bool = False, volatile: bool = False) -> Tensor:  # Any: below
        if data is None:
            return empty(0).requires_grad_(requires_grad)
        if not isinstance(data, Tensor):
            raise TypeError(f"Variable: data has to be a tensor, but got {type(data).__name__}")
        return data.detach().requires_grad_(requires_grad)


class Variable(metaclass=VariableMeta):
    """A tensor of the same values without history; for programs from before tensors had gradients.

    >>> x = fb.autograd.Variable(fb.ones(2), requires_grad=True)
    >>> x, isinstance(x, fb.autograd.Variable)
    (tensor([1., 1.], requires_grad=True), True)
    """

    _execution_engine = Engine()
