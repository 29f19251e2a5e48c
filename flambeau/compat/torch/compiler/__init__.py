"""torch.compiler where every program runs eagerly."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from flambeau.compat.torch._compile import compile
from flambeau.compat.unchanged import Unchanged, no, nothing, unchanged
from flambeau.core.exchange import from_numpy
from flambeau.core.tensor import Tensor

__all__ = [
    "allow_in_graph", "assume_constant_result", "compile", "cudagraph_mark_step_begin", "disable", "is_compiling",
    "is_dynamo_compiling", "is_exporting", "list_backends", "load_cache_artifacts", "nested_compile_region", "reset",
    "save_cache_artifacts", "set_stance", "substitute_in_graph", "wrap_numpy",
]  # fmt: skip

allow_in_graph = assume_constant_result = disable = nested_compile_region = unchanged
is_compiling = is_dynamo_compiling = is_exporting = no
cudagraph_mark_step_begin = reset = save_cache_artifacts = load_cache_artifacts = nothing
set_stance = Unchanged


def list_backends(exclude_tags: tuple[str, ...] = ("debug", "experimental")) -> list[str]:
    """No compilers."""
    return []


def substitute_in_graph(original_fn: Callable[..., Any], **options: Any) -> Callable[[Any], Any]:  # Any: not looked at
    """A decorator that changes nothing: there is no graph to substitute in."""
    return unchanged


def wrap_numpy(fn: Callable[..., Any]) -> Callable[..., Any]:  # Any: of fn
    """``fn``, a function of numpy arrays, as a function of tensors."""

    @functools.wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        def host(x: Any) -> Any:
            return x.numpy() if isinstance(x, Tensor) else x

        found = fn(*map(host, args), **{name: host(x) for name, x in kwargs.items()})
        return from_numpy(found) if isinstance(found, np.ndarray) else found

    return wrapped
