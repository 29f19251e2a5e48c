"""What optimizers written for torch import from its ``optim.optimizer``."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from flambeau.core import dtype as dt
from flambeau.core.ops.storage import view_as_real_p
from flambeau.core.state import enable_grad, no_grad
from flambeau.core.tensor import Tensor

F = TypeVar("F", bound=Callable[..., Any])


def _use_grad_for_differentiable(func: F) -> F:
    """A step that records where the option ``differentiable`` is on, and does not where it is off."""

    @wraps(func)
    def step(self: Any, *args: Any, **kwargs: Any) -> Any:
        with enable_grad() if self.defaults.get("differentiable") else no_grad():
            return func(self, *args, **kwargs)

    return cast(F, step)


def _get_value(x: Any) -> Any:
    """A tensor of one element as a number."""
    return x.item() if isinstance(x, Tensor) else x


def _dispatch_sqrt(x: Any) -> Any:
    """The root of a number or of a tensor."""
    return x.sqrt() if isinstance(x, Tensor) else math.sqrt(x)


def _stack_if_compiling(x: Any) -> Any:
    """Nothing is compiled: what it is given."""
    return x


def _to_scalar(x: Any) -> Any:
    """A tensor of one element without axes."""
    return x.squeeze() if isinstance(x, Tensor) and x.ndim else x


def _get_scalar_dtype(is_fused: bool | None = None) -> dt.DType:
    """The dtype of counts of steps."""
    return dt.float64 if not is_fused and dt.get_default_dtype() is dt.float64 else dt.float32


def _view_as_real(params: list[Tensor], *state_and_grads: list[Tensor]) -> None:
    """In lists that begin with parameters, complex tensors become their parts, in place."""
    for i, p in enumerate(params):
        if p.dtype.category == dt.COMPLEX:
            params[i] = view_as_real_p(p)
            for others in state_and_grads:
                others[i] = view_as_real_p(others[i])


def _default_to_fused_or_foreach(
    params: list[Tensor], differentiable: bool, use_fused: bool = False
) -> tuple[bool, bool]:
    """(fused, foreach) by default: neither. Steps go over lists anyway, in one kernel where there is one."""
    return False, False
