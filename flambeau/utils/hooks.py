"""Handles of hooks, hooks on what flows back through a module, and the warning where hooks are lost in a file."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from flambeau.core.blame import users_level
from flambeau.core.graph import Leaf, RemovableHandle
from flambeau.core.tensor import Tensor
from flambeau.nn.hooks import Flow

__all__ = ["BackwardHook", "RemovableHandle", "unserializable_hook", "warn_if_has_hooks"]

F = TypeVar("F", bound=Callable[..., Any])


class BackwardHook:
    """Calls hooks on the gradients of what a module got and gave, as ``register_full_backward_hook`` does.

    Lead the arguments through :meth:`setup_input_hook` before the call, and the result through
    :meth:`setup_output_hook` after it.

    >>> seen = []
    >>> hook = BackwardHook("m", [lambda m, grad_in, grad_out: seen.append((m, grad_out))], [])
    >>> x = fb.ones(1, requires_grad=True)
    >>> hook.setup_output_hook(hook.setup_input_hook((x,))[0] * 2).sum().backward()
    >>> seen
    [('m', (tensor([1.]),))]
    """

    def __init__(
        self, module: object, user_hooks: Iterable[Callable[..., Any]], user_pre_hooks: Iterable[Callable[..., Any]]
    ):
        self.module = module
        self.user_hooks, self.user_pre_hooks = list(user_hooks), list(user_pre_hooks)
        self._flow = Flow(module, lambda: self.user_pre_hooks, lambda: self.user_hooks)

    def setup_input_hook(self, args: Any) -> Any:  # Any: the arguments, in any nesting
        """The arguments, whose gradients are seen from now on."""
        return self._flow.at_inputs(args)

    def setup_output_hook(self, args: Any) -> Any:  # Any: the result, in any nesting
        """The result, whose gradients are seen from now on."""
        return self._flow.at_outputs(args)


def unserializable_hook(f: F) -> F:
    """Mark a backward hook as one that need not be in a file of its tensor, so that nothing warns of it.

    >>> unserializable_hook(lambda grad: None).__torch_unserializable__
    True
    """
    f.__torch_unserializable__ = True  # type: ignore[attr-defined]
    return f


def warn_if_has_hooks(tensor: Tensor) -> None:
    """Warn of each backward hook of a tensor that a file of it would not have, but those marked as such.

    >>> warn_if_has_hooks(fb.ones(1))
    """
    leaf = tensor._node
    for hook in dict((leaf.hooks if leaf.__class__ is Leaf else None) or {}).values():
        if not hasattr(hook, "__torch_unserializable__"):
            warnings.warn(
                f"backward hook {hook!r} on tensor will not be serialized; decorate the function with "
                "flambeau.utils.hooks.unserializable_hook if that is meant",
                stacklevel=users_level(),
            )
