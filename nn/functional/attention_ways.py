"""Which of the ways to compute attention are allowed: for the process, and inside a block."""

from __future__ import annotations

import enum
from contextvars import ContextVar
from typing import NamedTuple


class SDPBackend(enum.IntEnum):
    """How scaled_dot_product_attention computes: MATH is its ops one by one, all others are a device's own kernel.

    >>> fb.nn.attention.SDPBackend.MATH.name
    'MATH'
    """

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3
    OVERRIDEABLE = 4


class Ways(NamedTuple):
    """The ways that are allowed, and whether MATH is to be preferred."""

    allowed: frozenset[SDPBackend]
    math_first: bool = False


#: Those that there are switches for; OVERRIDEABLE is asked for by name alone.
_process = Ways(frozenset(SDPBackend) - {SDPBackend.ERROR, SDPBackend.OVERRIDEABLE})
inside: ContextVar[Ways | None] = ContextVar("flambeau_attention_ways", default=None)


def ways() -> Ways:
    """Those of the block around, else of the process."""
    return inside.get() or _process


def switch(way: SDPBackend, on: bool) -> None:
    """Allow a way or not: until the block around ends, else for the whole process."""
    global _process
    if not isinstance(on, bool):
        raise RuntimeError(f"attention: whether {way.name} is allowed must be a bool, got {on!r}")
    now = ways()
    changed = now._replace(allowed=now.allowed | {way} if on else now.allowed - {way})
    if inside.get() is None:
        _process = changed
    else:
        inside.set(changed)


def composed() -> bool:
    """Whether attention is to run as its ops one by one; RuntimeError where no way is allowed."""
    allowed, math_first = ways()
    if not allowed:
        raise RuntimeError(
            "scaled_dot_product_attention: no way to compute it is allowed; sdpa_kernel or switches of "
            "torch.backends.cuda have turned all of them off"
        )
    return math_first or allowed == {SDPBackend.MATH}
