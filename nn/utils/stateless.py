"""Modules as functions of their parameters, under the name of old."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from flambeau.core.blame import users_level
from flambeau.core.tensor import Tensor
from flambeau.nn import functional_call as calls
from flambeau.nn.module import Module

__all__ = ["functional_call"]


def functional_call(
    module: Module, parameters_and_buffers: Mapping[str, Tensor], args: Any = None,
    kwargs: dict[str, Any] | None = None, *, tie_weights: bool = True, strict: bool = False,
) -> Any:  # Any: as the module's forward  # fmt: skip
    """:func:`flambeau.func.functional_call`, with a FutureWarning that says so.

    >>> layer = fb.nn.Linear(2, 1, bias=False)
    >>> import warnings
    >>> with warnings.catch_warnings(action="ignore"):
    ...     functional_call(layer, {"weight": fb.tensor([[1.0, 2.0]])}, fb.tensor([3.0, 4.0]))
    tensor([11.])
    """
    warnings.warn(
        "nn.utils.stateless.functional_call is deprecated; use func.functional_call", FutureWarning,
        stacklevel=users_level(),
    )  # fmt: skip
    return calls.functional_call(module, parameters_and_buffers, args, kwargs, tie_weights=tie_weights, strict=strict)
