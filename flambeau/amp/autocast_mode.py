"""``autocast``, and the decorators of functions with a backward of their own that run under it."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

from flambeau.core import autocast as state
from flambeau.core.blame import users_level
from flambeau.core.dtype import DType

__all__ = ["autocast", "autocast_decorator", "custom_bwd", "custom_fwd", "is_autocast_available"]

F = TypeVar("F", bound=Callable[..., Any])


class autocast:
    """A block, or function, in which ops choose their precision: products in a lower dtype, sums in float32.

    What an op does stands on its record, and is what it does in PyTorch: on the CPU by PyTorch's list for the CPU, on
    all other devices by its list for CUDA. Tensors may have any dtype; those of float64 and of integers stay as they
    are, and so does what is written in place or to ``out``. The forward and the loss belong inside, backward
    outside: it runs in the dtypes of the forward. Parameters keep their dtype, and their gradients have it.

    Args:
        device_type: on whose tensors it works, such as "cpu" or "opencl".
        dtype: the lower dtype, bfloat16 or float16; by default what :func:`flambeau.get_autocast_dtype` tells.
        enabled: False switches it off inside.
        cache_enabled: whether the cast of a parameter is kept until the outermost block ends; by default as it is.

    Raises:
        ValueError: the device type is no text.
        RuntimeError: no backend has this type of device.

    A dtype that is not for autocast, or that the device lacks, and a device that is not there, warn, and nothing is
    cast.

    >>> x = fb.ones(2, 2)
    >>> with fb.autocast("cpu"):
    ...     y = x @ x
    >>> y.dtype
    flambeau.bfloat16
    """

    def __init__(
        self, device_type: str, dtype: DType | None = None, enabled: bool = True, cache_enabled: bool | None = None
    ):
        self.device = state.type_of("autocast", device_type)
        state.require_available("autocast", self.device)
        now = state.setting()
        self.fast_dtype = now.dtype(self.device) if dtype is None else state.checked_dtype("autocast", dtype)
        self._cache_enabled = now.caching if cache_enabled is None else bool(cache_enabled)
        self._enabled = bool(enabled)
        reason = state.unsupported(self.device, self.fast_dtype) if enabled else None
        if reason is not None:
            warnings.warn(f"autocast: {reason}. Disabling autocast.", stacklevel=users_level())
            self._enabled = False

    def __enter__(self) -> Self:
        state.enter(self.device, self.fast_dtype, self._enabled, self._cache_enabled)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        state.leave()

    def __call__(self, func: F) -> F:
        if not callable(func):
            raise TypeError(
                f"autocast: expected a function to decorate, got {type(func).__name__}; as a context manager it is "
                f"used as `with autocast({self.device!r}):`"
            )
        return autocast_decorator(self, func)


def autocast_decorator(autocast_instance: autocast, func: F) -> F:
    """``func`` as a function that runs inside the block.

    >>> product = fb.amp.autocast_mode.autocast_decorator(fb.autocast("cpu"), fb.matmul)
    >>> product(fb.ones(1, 1), fb.ones(1, 1))
    tensor([[1.]], dtype=flambeau.bfloat16)
    """

    @functools.wraps(func)
    def inside(*args: Any, **kwargs: Any) -> Any:
        with autocast_instance:
            return func(*args, **kwargs)

    return inside  # type: ignore[return-value]  # of func's signature


def is_autocast_available(device_type: str) -> bool:
    """Whether :class:`autocast` knows a type of device, be one there or not.

    >>> fb.amp.is_autocast_available("cpu")
    True
    """
    return state.is_available(state.type_of("is_autocast_available", device_type))


# -- functions with a backward of their own ----------------------------------------------------------------
def custom_fwd(fwd: Any = None, *, device_type: str, cast_inputs: DType | None = None) -> Any:
    """Decorate ``forward`` of a :class:`flambeau.autograd.Function` that is to run under autocast.

    With ``cast_inputs`` it gets its floats in that dtype and runs with autocast off; otherwise its ops are cast as
    any. Outside of autocast it is the function as it is. Decorate ``backward`` with :func:`custom_bwd`.

    >>> class Product(fb.autograd.Function):
    ...     @staticmethod
    ...     @fb.amp.custom_fwd(device_type="cpu", cast_inputs=fb.float32)
    ...     def forward(ctx, a, b):
    ...         ctx.save_for_backward(a, b)
    ...         return a @ b
    ...     @staticmethod
    ...     @fb.amp.custom_bwd(device_type="cpu")
    ...     def backward(ctx, g):
    ...         a, b = ctx.saved_tensors
    ...         return g @ b.T, a.T @ g
    >>> with fb.autocast("cpu"):
    ...     Product.apply(fb.ones(1, 1), fb.ones(1, 1)).dtype
    flambeau.float32
    """
    where = state.type_of("custom_fwd", device_type)
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @functools.wraps(fwd)
    def forward(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        now = state.setting()
        on = where in now.types
        ctx._dtype, ctx._fwd_used_autocast = now.dtype(where), on and cast_inputs is None
        if not on or cast_inputs is None:
            return fwd(ctx, *args, **kwargs)
        with autocast(where, enabled=False):
            args, kwargs = state.cast_floats((args, kwargs), where, cast_inputs)
            return fwd(ctx, *args, **kwargs)

    return forward


def custom_bwd(bwd: Any = None, *, device_type: str) -> Any:
    """Decorate ``backward``: it runs under the autocast that ``forward``, decorated by :func:`custom_fwd`, ran under.

    >>> fb.amp.custom_bwd(lambda ctx, g: g, device_type="cpu").__name__
    '<lambda>'
    """
    where = state.type_of("custom_bwd", device_type)
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)

    @functools.wraps(bwd)
    def backward(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        with autocast(where, ctx._dtype, enabled=ctx._fwd_used_autocast):
            return bwd(ctx, *args, **kwargs)

    return backward
