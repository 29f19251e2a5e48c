"""Types of traced values."""

from __future__ import annotations

from typing import Any

from flambeau.fx.proxy import Proxy

__all__ = ["annotate"]


def annotate(val: Any, type: Any) -> Any:  # Any: any value, and a type or annotation
    """Say of which type a traced value is; RuntimeError if that was said. Other values stay as they are."""
    if isinstance(val, Proxy):
        if val.node.type:
            raise RuntimeError(
                f"annotate: {val.node} has a type already: {val.node.type}, and is to have {type}; a type of an "
                "argument stands in the function's signature"
            )
        val.node.type = type
    return val
