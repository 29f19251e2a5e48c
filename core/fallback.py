"""The host fallback: an op without a kernel runs on the CPU and its result goes back, counted."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from flambeau.core import dispatch, state
from flambeau.core.device import device
from flambeau.core.errors import MissingKernelError
from flambeau.core.record import OPS, VIEW, Op


def run_on_host(op: Op, args: list[Any], params: Mapping[str, Any], key: Any, host: device, *, warn: bool) -> Any:
    """Move the operands to the host, run the op there, move the results back."""
    if op.family is VIEW:
        raise MissingKernelError(f"{op.name}: views never fall back to the host; device {str(key.device)!r}")
    moved = 0

    def move(a: Any, to: device) -> Any:
        nonlocal moved
        if isinstance(a, dispatch.Tensor):
            if a._key.device is to:
                return a
            moved += a.nbytes
            return dispatch.call(OPS["to_device"], (a,), {"device": to})
        if isinstance(a, (list, tuple)):
            return type(a)(move(t, to) for t in a)
        return a

    with state.no_grad():
        there = dict(params) | ({"device": host} if "device" in params else {})
        out = move(dispatch.call(op, [move(a, host) for a in args], there), key.device)
    counts = dispatch.fallbacks.setdefault((str(key.device), op.name), [0, 0])
    counts[0] += 1
    counts[1] += moved
    if warn and counts[0] == 1:
        warnings.warn(
            f"{op.name}: no kernel on {str(key.device)!r} for {key.dtype.name}; it runs on the cpu "
            f"({moved} bytes moved in this call). FLAMBEAU_FALLBACK=allow silences this",
            RuntimeWarning,
            stacklevel=2,
        )
    return out


def fallback_counts() -> dict[tuple[str, str], tuple[int, int]]:
    """For each (device, op) that fell back: how often, and how many bytes moved."""
    return {k: (v[0], v[1]) for k, v in dispatch.fallbacks.items()}
