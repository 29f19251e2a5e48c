"""The text of a tensor, as torch prints it."""

from __future__ import annotations

from typing import Any

from flambeau.core import dispatch, formatting


def represent(t: Any) -> str:
    """``repr(t)``: its values, its history, and its device where that is not the host."""
    key = t._key
    level = key.level
    if level is not None:
        return f"{level.kind} tensor(shape={tuple(t.shape)}, dtype={key.dtype}, {level.describe(t._array)})"
    suffixes = []
    grad_fn = t.grad_fn
    if grad_fn is not None:
        suffixes.append(f"grad_fn=<{grad_fn.name()}>")
    elif t.requires_grad:
        suffixes.append("requires_grad=True")
    host = None if key.backend.has("no_data") else dispatch._detached(t)._host()
    text = formatting.format_tensor(
        host,
        dtype=key.dtype,
        shape=tuple(t.shape),
        device=None if key.backend.has("shares_host") else str(key.device),
        suffixes=suffixes,
    )
    return f"Parameter containing:\n{text}" if t._is_parameter else text


METHODS = {"__repr__": represent}
