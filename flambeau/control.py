"""Control flow by functions: cond and while_loop look at a value and run what it says.

>>> fb.cond(True, lambda x: x + 1, lambda x: x - 1, (fb.tensor(1.0),))
tensor(2.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flambeau.core.state import current
from flambeau.core.tensor import Tensor


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
    if isinstance(pred, Tensor):
        for layer in reversed(current().layers):
            if (both := getattr(layer, "cond", None)) is not None:  # who writes the program down needs both branches
                return both(pred, (true_fn, false_fn), operands)
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


__all__ = ["cond", "while_loop"]
