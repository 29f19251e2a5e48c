"""Which modules are running: by their names, in the forward and in the backward."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from flambeau.core.graph import RemovableHandle
from flambeau.core.tensor import Tensor
from flambeau.core.tree import flatten
from flambeau.nn import hooks
from flambeau.nn.module import Module

__all__ = ["ModuleTracker"]


class ModuleTracker:
    """Inside the block, ``parents`` holds the names of the modules that are running, and "Global".

    >>> seen = []
    >>> class Looking(fb.nn.Module):
    ...     def forward(self, x):
    ...         seen.append(sorted(tracker.parents))
    ...         return x
    >>> with ModuleTracker() as tracker:
    ...     _ = fb.nn.Sequential(Looking())(fb.ones(1))
    >>> seen
    [['Global', 'Sequential', 'Sequential.0']]
    """

    def __init__(self) -> None:
        self.parents: set[str] = {"Global"}
        self.is_bw = False
        self._names: dict[int, str] = {}
        self._alive: list[Module] = []
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> Self:
        self._handles = [
            hooks.register_module_forward_pre_hook(self._before),
            hooks.register_module_forward_hook(self._after, always_call=True),
            hooks.register_module_full_backward_pre_hook(self._before_backward),
        ]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()

    def name_of(self, module: Module) -> str:
        """A module's name: that of its class at the top, and how its parent calls it below."""
        if id(module) not in self._names:
            top = type(module).__name__
            for path, inner in module.named_modules():
                if id(inner) not in self._names:
                    self._names[id(inner)] = f"{top}.{path}" if path else top
                    self._alive.append(inner)
        return self._names[id(module)]

    def _before(self, module: Any, args: Any) -> None:
        self.is_bw = False
        name = self.name_of(module)
        self.parents.add(name)
        for t in flatten(args)[0]:
            if isinstance(t, Tensor) and t.requires_grad and t.grad_fn is not None:
                t.register_hook(lambda grad: self.parents.discard(name))  # what flows out of it backwards

    def _after(self, module: Any, args: Any, output: Any) -> None:
        self.parents.discard(self.name_of(module))

    def _before_backward(self, module: Any, grads: Any) -> None:
        self.is_bw = True
        self.parents.add(self.name_of(module))
