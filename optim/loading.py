"""What state must be before it is taken over: an error names what is wrong, and nothing is half loaded."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from flambeau.core.tensor import Tensor

_SEEN = 80  # characters of a wrong value in an error


def mapping(value: object, what: str, needs: Collection[str] = ()) -> Mapping[Any, Any]:
    """``value`` if it is a dict that has all of ``needs``."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{what} must be a dict, got {shown(value)}")
    missing = [name for name in needs if name not in value]
    if missing:
        raise ValueError(f"{what} lacks {', '.join(map(repr, missing))}; it has {shown(list(value))}")
    return value


def shown(value: object) -> str:
    """A value in an error."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, int) and abs(value) >= 1 << 63:
        return f"an int of {value.bit_length()} bits"
    try:
        text = repr(value)
    except ValueError:  # it has such an int in it
        text = "..."
    return f"{text if len(text) <= _SEEN else text[: _SEEN - 3] + '...'} ({type(value).__name__})"


def finite(value: object, what: str, infinite: bool = False) -> float:
    """``value`` as a number, if it is one that can be computed with; a tensor of one element is."""
    plain = value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
    if isinstance(plain, bool) or not isinstance(plain, (int, float)):
        raise TypeError(f"{what} must be a number, got {shown(value)}")
    if isinstance(plain, int) and abs(plain) >= 1 << 63 or plain != plain or math.isinf(plain) and not infinite:
        raise ValueError(f"{what} must be a finite number below 2**63, got {shown(value)}")
    return plain


def like(own: Any, value: Any, what: str, infinite: bool = False) -> Any:
    """``value`` if it is of the kind of the value ``own`` that it takes the place of."""
    if isinstance(own, bool):
        if type(value) is not bool:
            raise TypeError(f"{what} must be True or False, got {shown(value)}")
    elif isinstance(own, (int, float)) or isinstance(own, Tensor) and own.numel() == 1:
        finite(value, what, infinite)
    elif isinstance(own, str):
        if not isinstance(value, str):
            raise TypeError(f"{what} must be a text such as {own!r}, got {shown(value)}")
    elif isinstance(own, (list, tuple)):
        if not isinstance(value, (list, tuple)):
            raise TypeError(f"{what} must be a {type(own).__name__}, got {shown(value)}")
        if len(value) != len(own):
            raise ValueError(f"{what} must have {len(own)} members, it has {len(value)}")
        return type(own)(like(o, v, f"{what}[{i}]") for i, (o, v) in enumerate(zip(own, value, strict=True)))
    elif isinstance(own, Mapping):
        for key, count in mapping(value, what).items():
            finite(key, f"a key of {what}")
            finite(count, f"{what}[{shown(key)}]")
        return type(own)(value)  # type: ignore[call-arg]
    return value
