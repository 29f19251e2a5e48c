"""Control flow and compilation as they are without a compiler: cond and while_loop run, compile hands on.

>>> fb.cond(True, lambda x: x + 1, lambda x: x - 1, (fb.tensor(1.0),))
tensor(2.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from flambeau.core.tensor import Tensor
from flambeau.nn.module import Module

_MODES: Final = ("default", "lite", "reduce-overhead", "max-autotune-no-cudagraphs", "max-autotune")
_BACKENDS: Final = ("eager", "inductor")


# -- control flow ---------------------------------------------------------------------------------------
def _is_true(name: str, what: str, value: object) -> bool:
    if isinstance(value, Tensor):
        if value.numel() != 1:
            raise RuntimeError(
                f"{name}: {what} must be a bool or a tensor of one element, got shape {tuple(value.shape)}"
            )
        return bool(value)
    if not isinstance(value, (bool, int, float)):
        raise RuntimeError(f"{name}: {what} must be a bool or a tensor of one element, got {type(value).__name__}")
    return bool(value)


def cond(
    pred: bool | int | float | Tensor, true_fn: Callable[..., Any], false_fn: Callable[..., Any],
    operands: Sequence[Any] = (),
) -> Any:  # Any: what the branch returns  # fmt: skip
    """``true_fn(*operands)`` if ``pred``, else ``false_fn(*operands)``.

    >>> fb.cond(fb.tensor(False), lambda x: x + 1, lambda x: x - 1, (fb.tensor(1.0),))
    tensor(0.)
    """
    for what, fn in (("true_fn", true_fn), ("false_fn", false_fn)):
        if not callable(fn):
            raise TypeError(f"cond: {what} must be a function, got {type(fn).__name__}")
    if not isinstance(operands, (tuple, list)):
        raise TypeError(f"cond: operands must be a tuple or list, got {type(operands).__name__}")
    return (true_fn if _is_true("cond", "pred", pred) else false_fn)(*operands)


def while_loop(
    cond_fn: Callable[..., Any], body_fn: Callable[..., Any], carried_inputs: Sequence[Any],
) -> Any:  # Any: as the carried inputs are  # fmt: skip
    """``carried_inputs`` after ``body_fn`` gave new ones for as long as ``cond_fn`` of them was true.

    >>> while_loop(lambda i: i < 3, lambda i: (i + 1,), (fb.tensor(0),))
    (tensor(3),)
    """
    for what, fn in (("cond_fn", cond_fn), ("body_fn", body_fn)):
        if not callable(fn):
            raise TypeError(f"while_loop: {what} must be a function, got {type(fn).__name__}")
    if not isinstance(carried_inputs, (tuple, list)):
        raise TypeError(f"while_loop: carried_inputs must be a tuple or list, got {type(carried_inputs).__name__}")
    state: tuple[Any, ...] = tuple(carried_inputs)
    while _is_true("while_loop", "the result of cond_fn", cond_fn(*state)):
        made = body_fn(*state)
        given = tuple(made) if isinstance(made, (tuple, list)) else (made,)
        if len(given) != len(state):
            raise RuntimeError(
                f"while_loop: body_fn must return {len(state)} values as it takes them, got {len(given)}"
            )
        state = given
    return state


# -- compile --------------------------------------------------------------------------------------------
class OptimizedModule(Module):
    """What :func:`compile` makes of a module: its calls, parameters (under ``_orig_mod``) and attributes.

    >>> fb.compile(fb.nn.Linear(2, 1))(fb.ones(2)).shape
    flambeau.Size([1])
    """

    _orig_mod: Module

    def __init__(self, module: Module):
        super().__init__()
        self._orig_mod = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:  # Any: as the module's own
        """The module's own."""
        return self._orig_mod(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:  # Any: any attribute of the module
        module = self.__dict__.get("_modules", {}).get("_orig_mod")
        if module is None:  # while the object is made
            raise AttributeError(name)
        return module if name == "_orig_mod" else getattr(module, name)

    def train(self, mode: bool = True) -> OptimizedModule:
        """Switches the module, too."""
        self._orig_mod.train(mode)
        self.training = mode
        return self


def compile(
    model: Any = None, *, fullgraph: bool = False, dynamic: bool | None = None,
    backend: str | Callable[..., Any] | None = None, mode: str | None = None,
    options: Mapping[str, Any] | None = None, name: str | None = None, disable: bool = False,
    recompile_limit: int | None = None, isolate_recompiles: bool = False, shapes_spec: Any = None,
) -> Any:  # Any: a function, a module, or a decorator of them  # fmt: skip
    """``model``, a function or module, as it is run without a compiler; without it a decorator.

    A module comes back in an :class:`OptimizedModule`. The options are looked at, and change nothing: there is no
    compiler, and what a model computes is the same with one. RuntimeError for both ``mode`` and ``options``, or for a
    mode or backend that does not exist.

    >>> @fb.compile
    ... def double(x):
    ...     return x + x
    >>> double(fb.tensor(2.0))
    tensor(4.)
    """
    if mode is not None and options is not None:
        raise RuntimeError("compile: give mode or options, not both")
    if mode is not None and mode not in _MODES:
        raise RuntimeError(f"compile: mode must be one of {', '.join(map(repr, _MODES))}, got {mode!r}")
    if backend is not None and not callable(backend) and backend not in _BACKENDS:
        raise RuntimeError(
            f"compile: backend must be a function or one of {', '.join(map(repr, _BACKENDS))}, got {backend!r}"
        )
    if model is None:
        return _compiled
    if not callable(model):
        raise TypeError(f"compile: model must be a function or a module, got {type(model).__name__}")
    return model if disable else _compiled(model)


def _compiled(model: Any) -> Any:
    return OptimizedModule(model) if isinstance(model, Module) and not isinstance(model, OptimizedModule) else model


__all__ = ["OptimizedModule", "compile", "cond", "while_loop"]
