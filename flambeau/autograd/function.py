"""Custom differentiable functions, and the names that old programs give them."""

from __future__ import annotations

from typing import Any

from flambeau.core.autograd.function import Function, FunctionCtx, FunctionMeta, once_differentiable
from flambeau.core.autograd.function import FunctionNode as BackwardCFunction

__all__ = [
    "BackwardCFunction", "Function", "FunctionCtx", "FunctionMeta", "InplaceFunction", "NestedIOFunction",
    "once_differentiable",
]  # fmt: skip


class InplaceFunction(Function):
    """A :class:`Function` that remembers whether it is to write in place; for old programs."""

    def __init__(self, inplace: bool = False):
        self.inplace = inplace


class NestedIOFunction(Function):
    """The base of functions of nested tensors in old programs; calling one raises, as with any legacy function.

    :class:`Function` takes nested arguments too: those that are no tensors have no gradient.
    """

    def save_for_backward(self, *tensors: Any) -> None:  # Any: tensors in any nesting
        """Keep nested tensors for :meth:`backward_extended`, which finds them as ``saved_tensors``."""
        self._kept, self.to_save = tensors, tensors

    @property
    def saved_tensors(self) -> tuple[Any, ...]:  # Any: as they were given
        """What :meth:`save_for_backward` was given."""
        kept: tuple[Any, ...] = getattr(self, "_kept", ())
        return kept

    def mark_dirty(self, *args: Any, **kwargs: Any) -> None:  # Any: tensors in any nesting
        """Note the inputs that the function changes."""
        self.dirty_tensors = (args, kwargs)

    def mark_non_differentiable(self, *args: Any, **kwargs: Any) -> None:  # Any: tensors in any nesting
        """Note the outputs that have no gradient."""
        self.non_differentiable = (args, kwargs)

    def forward_extended(self, *inputs: Any) -> Any:  # Any: for a subclass to name
        raise NotImplementedError("a NestedIOFunction needs a forward_extended(*inputs)")

    def backward_extended(self, *grads: Any) -> Any:  # Any: for a subclass to name
        raise NotImplementedError("a NestedIOFunction needs a backward_extended(*grad_outputs)")
