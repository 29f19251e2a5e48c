"""Which functions blame an argument that is no tensor themselves, and which keep the memory format of their input."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from flambeau.core.memory_format import MemoryFormat, channels_last, channels_last_3d, contiguous_format
from flambeau.core.tensor import Tensor

F = TypeVar("F", bound=Callable[..., Any])


def quick(fn: F) -> F:
    """Mark a function, most often of one op, that needs no guard around it.

    A call more would cost time, and hide from warnings whose line they are about.
    """
    fn.guarded = True  # type: ignore[attr-defined]
    return fn


def like_input(found: Any, args: Sequence[Any]) -> Any:  # Any: a tensor, or several
    """The result of a layer with channels in the memory format of its input; row-major ones cost a look."""
    if not args or not isinstance(args[0], Tensor):
        return found
    wanted = args[0]._memory_format()
    if wanted is contiguous_format and len(args) > 1 and isinstance(args[1], Tensor):
        wanted = args[1]._memory_format()  # a weight's, as in PyTorch
    if wanted is contiguous_format:
        return found
    if isinstance(found, tuple):
        return tuple(_in(t, wanted) for t in found)
    return _in(found, wanted)


def _in(t: Any, wanted: MemoryFormat) -> Any:
    return t.contiguous(memory_format=wanted) if isinstance(t, Tensor) and t.ndim == _DIMS[wanted] else t


_DIMS: Final = {channels_last: 4, channels_last_3d: 5}


def keeps_format(fn: F) -> F:
    """Give a function's result the memory format of its first argument."""

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        return like_input(fn(*args, **kwargs), args[:1])

    return call  # type: ignore[return-value]
