"""What an op is and who runs it: the text behind ``python -m flambeau explain``."""

from __future__ import annotations

from flambeau.core import dtype as dt
from flambeau.core import fastpath, registry
from flambeau.core.autograd.compile import sources
from flambeau.core.device import device
from flambeau.core.dispatch import Key, key_for, native_kernel
from flambeau.core.record import ELEMENTWISE, OPS, SPECIAL, Op
from flambeau.core.transforms import batching, forward


def serves(key: Key, op: Op) -> tuple[str, str]:
    """Who serves ``op`` for a key: ("native" | "composite" | "fallback" | "missing", why)."""
    stack = [o for o in registry.overlays.get((key.device.type, op.name), ()) if o.serves(key.dtype)]
    if not op.accepts(key.dtype):
        compute = op.dtype.compute(key.dtype)
        if compute in op.dtype.accepts and compute is not key.dtype:
            return serves(key.sibling(compute), op)[0], f"after a cast to {compute.name}"
        return "missing", f"the op does not take {key.dtype.name}"
    table = key.backend.kernels
    own = table.own(op.name, key.dtype)
    parent = table.parent.lookup(op.name, key.dtype) if table.parent is not None else None
    if stack:
        return "native", f"overlay of {stack[-1].source}, priority {stack[-1].priority}"
    if own is not None:
        return "native", f"kernel `{getattr(own.fn, '__name__', type(own.fn).__name__)}` registered by {own.source}"
    if op.expr is not None and op.family is ELEMENTWISE and native_kernel(key, op) is not None:
        return "native", "generated from the expression"
    if parent is not None:
        return (
            "native",
            f"kernel `{getattr(parent.fn, '__name__', type(parent.fn).__name__)}` of the parent table {parent.source}",
        )
    if op.decomposes:
        return "composite", "no kernel registered; " + (
            "its body" if op.body is not None else "its expression"
        ) + " runs as other ops"
    return (
        "missing" if key.backend.has("shares_host") else "fallback"
    ), "no kernel and no body: the fallback policy decides"


def explain(name: str, device_name: str | None = None) -> str:
    """The record of an op, its generated code, its rules, and who serves it on each device.

    KeyError names close matches for an unknown op.
    """
    if name not in OPS:
        import difflib

        close = ", ".join(difflib.get_close_matches(name, OPS)) or "none"
        raise KeyError(f"there is no op {name!r}; close names: {close}")
    op = OPS[name]
    lines = [f"{op.text}", f"  {op.doc}" if op.doc else "", f"  family: {op.family.name}; dtypes: {op.dtype.name}"]
    if op.expr:
        lines.append(f"  expression: {op.expr if not op.expr.startswith(SPECIAL) else 'in core.special'}")
    lines.append(f"  gradient: {_gradient(op)}")
    lines.append(f"  under vmap: {batching.explain(op)}; in forward mode: {forward.explain(op)}")
    lines += ["", "public function:", _indent(fastpath.source(op))]
    if op.gradients:
        lines += ["recording and backward:", _indent(sources(op))]
    lines.append("devices:")
    for d in [device_name] if device_name else sorted(registry.backends) or ["cpu"]:
        lines += _device_lines(device(d), op)
    return "\n".join(line for line in lines if line is not None)


def _gradient(op: Op) -> str:
    if not op.differentiable:
        return "declared not differentiable"
    if op.gradients:
        return "; ".join(f"{', '.join(g.inputs)} reads {', '.join(g.reads)}" for g in op.gradients)
    return "through its body" if op.decomposes else "none: an error when asked for"


def _device_lines(d: device, op: Op) -> list[str]:
    lines = []
    for dtype in dt.ALL:
        try:
            key = key_for(d, dtype)
        except Exception as error:
            lines.append(f"  {d} {dtype.name:10} unavailable: {error}")
            continue
        kind, why = serves(key, op)
        lines.append(f"  {d!s} {dtype.name:10} {kind}: {why}")
    return lines


def _indent(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())
